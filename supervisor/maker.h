/* The maker: the program that made the segments of an instance without a supervisor, kept in their
 * folder for as long as they are there.
 *
 *     supervisor --segments make --copy of itself--> <instance>/maker
 *     another build is installed; then, at the stop:
 *     supervisor --segments drain, end: the segments have another layout --> becomes the copy, which can read them
 *
 * Where a supervisor runs, it is itself the program of the build that made the segments. Here no
 * process outlives the making, and the program of the next build can neither tell the stages to
 * drain nor see whether anything waits.
 *
 * It is run from memory (memfd), so /dev/shm may be mounted noexec. Its presence says that a
 * service manager runs the instance, to programs of every build.
 */
#ifndef SUPERVISOR_MAKER_H
#define SUPERVISOR_MAKER_H

#include <stdbool.h>

#include "shm/segment.h"

/* Copies the running program into the folder, which is held. Returns 0, or -errno with the reason
 * in error and no copy there. */
int maker_keep(const char *directory, struct shm_error *error);

/* Whether there is one in the folder, which is held. */
bool maker_is_kept(const char *directory);

/* Is there one, and were the segments made by another build than this program? */
bool maker_is_needed(const char *directory);

/* Becomes the copy, with these arguments. Returns only on failure: -errno with the reason in
 * error. */
int maker_become(const char *directory, char *const *argv, struct shm_error *error);

/* There is nothing any more that it could end. */
void maker_forget(const char *directory);

#endif
