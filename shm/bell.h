/* A doorbell: how a process sleeps until another has published something. For a loop that must wait
 * for sockets at the same time there is bell_poll.h.
 *
 *     reader                              writer
 *     seen = bell_value(bell)
 *     nothing to read? --------.          publish (release)
 *     bell_wait(bell, seen) <--+--------- bell_ring(bell)
 *
 * It is an event count (ck_ec of Concurrency Kit) on a futex shared between processes, so a ring
 * between the look and the sleep is not lost. Ringing costs one locked add; the kernel is asked
 * only when a process sleeps. Futex calls never carry the private flag.
 *
 * Order: what was published before bell_ring is visible after bell_value or bell_wait returns the
 * new value.
 */
#ifndef SHM_BELL_H
#define SHM_BELL_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

struct bell {
	alignas(SHM_LINE) uint32_t word; /* a struct ck_ec32; any process may ring and wait */
	uint32_t reserved[15];
};
_Static_assert(sizeof(struct bell) == SHM_LINE, "a bell fills one line");

/* Counts, and wakes all that sleep on this bell. Any process, any thread. */
void bell_ring(struct bell *bell);

/* What to pass to bell_wait. Take it before looking for work. */
uint32_t bell_value(const struct bell *bell);

/* Sleeps until the bell has been rung since seen was taken, at most timeout_ns nanoseconds. Returns
 * true when rung, false on time-out or on a signal (the caller looks at its flags and comes
 * back). */
bool bell_wait(struct bell *bell, uint32_t seen, uint64_t timeout_ns);

/* The same for n bells, 1 to BELL_WAIT_MAX of them: sleeps until one has been rung since its value
 * in `seen` was taken. One system call (futex_waitv(2), Linux 5.16). Where that is denied, as in an
 * old sandbox, it sleeps on the first bell and looks at the others every BELL_WAIT_SLICE_NS. */
#define BELL_WAIT_MAX      64u
#define BELL_WAIT_SLICE_NS 10000000u
bool bell_wait_any(struct bell *const bell[], const uint32_t seen[], unsigned n, uint64_t timeout_ns);

#endif
