/* Where an instance lives: its directory and lock in shared memory, its data folder, and what is
 * told at start.
 *
 *     /dev/shm/millrace            0755, of the user that made it; a root made before with the sticky bit (1777, root's) serves several users
 *         default                  0700, ours; where stages have users of their own 0750, millrace's (owners.h)
 *             lock                 held by the supervisor as long as it lives
 *         .default.secrets         likewise, where a role has secrets (in_force.h); under the same lock
 */
#ifndef SUPERVISOR_HOME_H
#define SUPERVISOR_HOME_H

#include "supervisor/supervisor.h"

/* Holds the directory of an instance (folder.h; the caller calls folder_release) for its user, or
 * for root the one of the user millrace (users.h).
 * Returns 0; -ENOENT when there is none; -EPERM when it is another user's, or another user
 * could put another in its place; other -errno; with the reason in error. */
int home_hold(const char *directory, struct shm_error *error);

/* Makes the directory, for its owner by users (NULL: nobody else), and the folder above it when
 * they are missing, holds the directory (folder.h; until the process ends) and takes the lock.
 * *made_root tells whether the folder above is new. Returns 0; -EWOULDBLOCK when another supervisor
 * has it (error names its pid); -EPERM when the directory belongs to another user, or another user
 * could replace it; other -errno. */
int home_lock(const char *directory, const struct users *users, int *lock, bool *made_root,
              struct shm_error *error);

/* For the case that the lock went with its folder (rm -r) while its holder lives: guards the
 * instance by a lock on a byte of the folder above the one that the instances are in, which is
 * never removed (/dev/shm). *guard stays open as long as the supervisor lives, and nothing else may
 * open that folder: POSIX locks go with the first close. Returns 0, also when nothing can be locked
 * there; -EBUSY when another process of this user has the byte (error names it); then an empty
 * directory goes with its lock; other -errno when it cannot be told. Call it with the lock held. */
int home_guard(const char *directory, int *guard, struct shm_error *error);

/* Are the lock, the page in force and all segments of the plan where they were made? If not, name
 * is the first that is missed. About 100 stat(2). */
bool home_in_place(const struct supervisor *supervisor, char name[SEGMENT_NAME_MAX]);

/* Removes the folder above the instance's directory when it is empty, and this process made it or
 * it is the default one. */
void home_remove_root(const char *directory, bool made_root);

/* Makes the folder and those above it, 0700, and checks that one can write there. Returns 0 or
 * -errno. */
int home_make_data_dir(const char *path, struct shm_error *error);

/* Could home_make_data_dir make it, and could one write there? Makes nothing; the reason is the
 * same. */
int home_try_data_dir(const char *path, struct shm_error *error);

/* Where people are told what is going on: standard output, or standard error when a sink writes its
 * events to standard output. */
int home_output(const struct supervisor *supervisor);

/* To home_output, without waiting for its reader: what listens where, the topics, where the
 * data goes, how to stop. */
void home_announce(const struct supervisor *supervisor);

/* The same of the listeners whose sockets are not in `known` (NULL: all): "udp 127.0.0.1:4002
 * ipevent -> ip". */
void home_announce_listeners(const struct supervisor *supervisor, const struct sockets *known);

#endif
