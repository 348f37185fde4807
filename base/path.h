/* Folders that lead to a place. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

/* Makes the folder at path and those above it that are missing, with the mode 0770 as far as the
 * umask leaves it (0750 with the usual one); symbolic links on the way are the user's own. Returns
 * 0, also when something of that name was there, or -errno.
 */
int path_make(const char *path);

#endif
