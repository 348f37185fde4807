/* Where the enrich stage finds its two files.
 *
 *     country.mmdb   which country an address is in          (enrich/geo)
 *     regexes.yaml   what a User-Agent is                    (enrich/agent)
 *
 * `make data` fetches both into data/; build/share/millrace/ links to them, `make install` copies
 * them to PREFIX/share/millrace. The search, first that exists and can be read:
 *
 *     1. the configured path, and nothing else when there is one
 *     2. ROOT/share/millrace/FILE, the program being in ROOT/bin or ROOT/libexec/millrace: the build, or an installed tree
 *     3. PREFIX/share/millrace/FILE, as configured when it was built
 *     4. /usr/share/uap-core/regexes.yaml, of Debian's package uap-core, for that file
 */
#ifndef ENRICH_DATA_DATA_FILE_H
#define ENRICH_DATA_DATA_FILE_H

#include <stddef.h>

#define DATA_FILE_COUNTRY "country.mmdb"
#define DATA_FILE_AGENTS  "regexes.yaml"

/* Finds `file`, one of the above, and writes its path into path. configured: a path, "" or NULL for
 * none; it is used as it is, even if nothing is there (yet). Returns 0; -ENOENT when the file is
 * nowhere, then path is that of 2., where it may appear later; or another -errno. */
int data_file_find(char *path, size_t size, const char *configured, const char *file);

#endif
