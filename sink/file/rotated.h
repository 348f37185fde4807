/* Files that a growing file was before: PATH.20261127T114537Z, and ...Z-2 for a second one in the
 * same second (or when the clock was set back). They sort as versions do (sort -V, ls -v), the
 * oldest first. */
#ifndef SINK_FILE_ROTATED_H
#define SINK_FILE_ROTATED_H

#include <stdint.h>

/* Gives the file at path such a name; one that is there is never replaced. Returns 0 or -errno. */
int rotated_rename(const char *path, uint64_t real_ns);

/* Waits until the names in the folder of path are on the disk. Returns 0 or -errno. */
int rotated_sync(const char *path);

/* Removes the oldest, so that `keep` are left; 0 keeps all. Returns 0, or the first -errno. */
int rotated_remove(const char *path, uint64_t keep);

/* The descriptor of the file with this device and inode in the folder of path, for writing; -ENOENT
 * when none has them, another -errno. */
int rotated_find(const char *path, uint64_t device, uint64_t inode);

#endif
