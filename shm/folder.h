/* Folders of shared memory: every file of an instance is opened, made, renamed and removed by the
 * descriptor of its folder and its name, never by a path, and no symbolic link is followed.
 *
 *     /dev/shm/millrace     the root: it belongs to root, to us, or to the owner of the instance; nobody else can rename anything in it
 *         default           checked once (folder_hold), and held open from then on: what is put at the path later does not matter
 *             ip.lane.0     openat(held, "ip.lane.0", ... | O_NOFOLLOW)
 *
 * So a user that makes the root first, or a link in it, cannot make another user's process write
 * elsewhere; and a supervisor whose folder was removed does not touch the one that another made
 * under the same name.
 *
 * What is made in a held folder belongs to the folder's owner, whoever makes it: root may start an
 * instance that is another user's. And where the folder is its owner's alone (0700), so is the
 * file; where a group may enter it (0750), the group may do with the file what the caller allows.
 *
 * The functions still name folders by their path. A held path means the held descriptor; a folder
 * directly below a held one is looked up in it; any other is opened for the call, its parent first,
 * without following links. Several threads may call these.
 */
#ifndef SHM_FOLDER_H
#define SHM_FOLDER_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "shm/segment.h"

#define FOLDER_PATH_MAX 160u /* the final 0 included */

/* Opens the folder of an instance, checks it and the one it is in, and holds it; each call needs
 * its folder_release. A second call for the same path finds what is there now, and that is used
 * from then on. Returns 0; -ENOENT when there is none; -EPERM when another user may change it or
 * its root (error names the user and the remedy); other -errno. */
int folder_hold(const char *path, struct shm_error *error);

/* Does nothing for a path that is not held. */
void folder_release(const char *path);

/* Is the held folder the one that has the path? False when it is not held. */
bool folder_in_place(const char *path);

/* openat(2), with O_NOFOLLOW and O_CLOEXEC in addition to flags. A file that it makes has the
 * folder's owner, and the mode, whatever the umask; of the mode the group's rights only where the
 * folder is open to the group. Returns the descriptor or -errno. */
int folder_open(const char *folder, const char *name, int flags, mode_t mode);

/* What has the name there, itself when it is a symbolic link; "." is the folder. Returns 0 or
 * -errno. */
int folder_stat(const char *folder, const char *name, struct stat *status);

/* Removes a file. Returns 0 or -errno. */
int folder_unlink(const char *folder, const char *name);

/* from/name becomes to/new_name. Returns 0 or -errno. */
int folder_rename(const char *from, const char *name, const char *to, const char *new_name);

/* Makes the folder: within a held one as a file is made, otherwise its user alone may enter it;
 * removes it when it is empty. Return 0 or -errno. */
int folder_make(const char *path);
int folder_remove(const char *path);

/* Makes the folder, with the owner, the group and the mode of another one. Returns 0 or -errno:
 * then there is no new folder. */
int folder_make_like(const char *path, const char *other);

/* For readdir(3) and closedir(3). NULL with errno. */
DIR *folder_list(const char *path);

#endif
