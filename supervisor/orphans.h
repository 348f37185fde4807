/* Orphans: stages whose supervisor died. The kernel tells them to end (SIGTERM) and they drain; the
 * next supervisor waits for their roles' locks, so that no two processes ever have one role.
 *
 *     lock held --wait, at most timeout--> free
 *          '------ timeout --> SIGKILL to the holder --> free
 */
#ifndef SUPERVISOR_ORPHANS_H
#define SUPERVISOR_ORPHANS_H

#include "shm/instance.h"

/* Waits until no role of the page has a live process. Signals are read from signal_fd (a signalfd,
 * or -1): SIGTERM and SIGINT end the wait, SIGHUP sets *reload for later, others mean nothing here.
 * Returns 0; -EINTR when a signal ended it; -EBUSY with the role and pid in error when a process
 * cannot be killed; other -errno when it cannot be told to the end whether a role has one. */
int orphans_wait(const char *directory, const struct instance_page *page, uint64_t timeout_ns, int signal_fd,
                 bool *reload, struct shm_error *error);

#endif
