/* Folders that lead to a place, and the one that a service manager makes for one unit. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>

/* Makes the folder at path and those above it that are missing, with the mode 0770 as far as the
 * umask leaves it (0750 with the usual one); symbolic links on the way are the user's own. Returns
 * 0, also when something of that name was there, or -errno.
 */
int path_make(const char *path);

/* The variable that names it (systemd.exec(5)). */
#define PATH_CREDENTIALS "CREDENTIALS_DIRECTORY"

/* What it says, an absolute path; NULL when it does not. */
const char *path_credentials(void);

/* Whether the path is that of a file right in it. */
bool path_is_credential(const char *path);

#endif
