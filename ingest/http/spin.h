/* Spinning: looking again and again for a moment before falling asleep.
 *
 * A few connections of clients that wait for their answers have their next requests under way when
 * the process runs out of work. To fall asleep and be woken costs the server as much as a request
 * or two, and the client, which does the waking, half of one. Looking for SPIN_NS costs less, and
 * mostly finds something. Where it finds nothing (requests are rarer, or client and server share a
 * processor), it becomes rare: after each spin in vain twice as many waits go by without one, up to
 * SPIN_REST, and after each that found something half as many.
 *
 * So a process at rest spins for SPIN_NS in one of SPIN_REST waits, and a request that wakes it is
 * served as if there were no spinning.
 */
#ifndef INGEST_HTTP_SPIN_H
#define INGEST_HTTP_SPIN_H

#include <ck_pr.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define SPIN_NS   (10 * NS_PER_US)
#define SPIN_REST 255u

/* All zero at the start. */
struct spin {
	uint32_t rest;    /* waits to go by without */
	uint32_t between; /* so many after the last in vain */
};

/* Before a wait that may sleep: whether to spin first. Then spin_ended says what came of it; when
 * something was there at once, nothing is to be said. */
static inline bool spin_begins(struct spin *spin)
{
	if (spin->rest == 0)
		return true;
	spin->rest--;
	return false;
}

static inline void spin_ended(struct spin *spin, bool found)
{
	spin->between = found ? spin->between / 2 : 2 * spin->between + 1;
	if (spin->between > SPIN_REST)
		spin->between = SPIN_REST;
	spin->rest = found ? 0 : spin->between;
}

/* Calls found(of) until it is true, for SPIN_NS; what it was at last. */
static inline bool spin_until(struct spin *spin, bool (*found)(void *of), void *of)
{
	uint64_t end_ns = clock_monotonic_ns() + SPIN_NS;
	bool yes;
	do {
		ck_pr_stall();
		yes = found(of);
	} while (!yes && clock_monotonic_ns() < end_ns);
	spin_ended(spin, yes);
	return yes;
}

#endif
