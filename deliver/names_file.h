/* The hosts file (hosts(5)): names that the machine knows by itself.
 *
 *     192.0.2.7  db.internal db    # comment
 *
 * It is read whole and read again when it has changed. Zones of addresses are left out, as glibc
 * does.
 */
#ifndef DELIVER_NAMES_FILE_H
#define DELIVER_NAMES_FILE_H

#include <stdint.h>

#define NAMES_FILE_BYTES_MAX (16u << 20) /* a longer file is cut there */

struct names_file; /* opaque; one thread */

/* path "": a file with nothing in it; one that is not there is the same, until it is. Returns 0;
 * -ENOMEM, or what open(2) and read(2) say. */
int names_file_open(struct names_file **file, const char *path);
void names_file_close(struct names_file *file);

/* Reads it again if it has changed. On failure, what was read before stays. Returns 0 or -errno. */
int names_file_refresh(struct names_file *file);

/* The first `most` addresses of a name (ASCII; case makes no difference), IPv4 as ::ffff:a.b.c.d,
 * in the order of the file. Returns how many. */
unsigned names_file_find(const struct names_file *file, const char *name, uint8_t (*address)[16],
                         unsigned most);

#endif
