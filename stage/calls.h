/* Which system calls a process may make: a filter of seccomp(2) for all its threads, made by
 * libseccomp from calls.def. There is no way back.
 *
 *     call --> in calls.def, by its grants, and its arguments too? --yes--> done
 *                    '--no--> signal SIGSYS in the thread: counted, noted by number; the call fails with EPERM
 *
 * With SANDBOX_QUIET it fails without the signal, and nothing is counted. A thread that blocks
 * SIGSYS cannot be told so: the kernel ends the process. So threads of ours that block signals
 * leave that one.
 *
 * Some calls are looked at more closely, whatever a stage is granted: clone makes threads only;
 * kill asks whether a process is there and sends nothing; signals within the process are free; mmap
 * and mprotect make no memory executable unless that is granted; prctl gives names to threads and
 * memory; limits can be read, not changed; who makes no sockets sends to no address that it
 * chooses, as a socket for datagrams that it was handed would let it; sockets are of the families
 * of the Internet, Unix and (which addresses are there) netlink; ioctl asks about terminals and
 * how many bytes wait; nothing is cut by its path, which Landlock before Linux 6.2 cannot refuse.
 */
#ifndef STAGE_CALLS_H
#define STAGE_CALLS_H

#include <stdint.h>

#include "shm/segment.h"

/* Puts the filter in place. grants: enum sandbox_grant. Returns 0; -ENOSYS where the kernel has no
 * such filters; other -errno, then nothing has changed. */
int calls_restrict(unsigned grants, struct shm_error *error);

/* Before init: no ring of io_uring can be set up from now on, in this thread and those that it
 * starts later. A library that would use one if it could takes another way then; one that had its
 * ring would find it useless once calls_restrict is in force (libuv ends the process). Errors as
 * calls_restrict. */
int calls_refuse_rings(struct shm_error *error);

/* How many calls were refused so far in this process. */
uint64_t calls_refused(void);

/* A kind of call that was refused and that this function has not returned yet: its number, or -1.
 * Numbers from 511 on are returned as 511. */
int calls_next_refused(void);

/* The name of a call; buffer (at least 32 bytes) is returned. */
const char *calls_name(int number, char *buffer, size_t size);

#endif
