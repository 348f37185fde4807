/* A doorbell: how a process that shares a queue with others sleeps until one of them has published
 * something. How it sleeps, on several bells and on other words too, is in sleep.h; in a loop that
 * waits for descriptors, sleep_poll.h.
 *
 *     taker                               producer
 *     seen = bell_value(bell)
 *     nothing to take? --------.          publish (release)
 *     bell_wait(bell, seen) <--+--------- bell_ring(bell)
 *
 * It is an event count (ck_ec of Concurrency Kit) on a futex shared between processes, so a ring
 * between the look and the sleep is not lost. Ringing costs one locked add; the kernel is asked
 * only when a process sleeps.
 *
 * Order: what was published before bell_ring is visible after bell_value or bell_wait returns the
 * new value.
 *
 * Whoever rings or waits writes the word. So bells are for what many write anyway: a queue has its
 * own in its segment. Readers of a stream sleep on what its writer writes.
 */
#ifndef SHM_BELL_H
#define SHM_BELL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

struct bell {
	alignas(SHM_LINE) _Atomic uint32_t word; /* a struct ck_ec32; any process may ring and wait */
	uint32_t reserved[15];
};
_Static_assert(sizeof(struct bell) == SHM_LINE, "a bell fills one line");

/* The bit of the word that says: a process sleeps. A ring that finds it clears it and wakes. */
#define BELL_MARK (1u << 31)

/* Counts, and wakes all that sleep on this bell. Any process, any thread. */
void bell_ring(struct bell *bell);

/* What to pass to bell_wait. Take it before looking for work. */
uint32_t bell_value(const struct bell *bell);

/* Says that a process sleeps until the value is no longer `seen`. False: it is not by now. */
bool bell_mark(struct bell *bell, uint32_t seen);

/* Sleeps until the bell has been rung since seen was taken, at most timeout_ns nanoseconds. Returns
 * true when rung, false on time-out or on a signal (the caller looks at its flags and comes
 * back). */
bool bell_wait(struct bell *bell, uint32_t seen, uint64_t timeout_ns);

#endif
