/* How the io_uring back-end waits under load: for how long, and which connections it looks at
 * afterwards without having waited for them.
 *
 * Naps. Being woken costs time. Where client and server share a machine the client pays for it:
 * waking a processor takes it as long as several requests. So under load a wait is a nap: the clock
 * ends it, not the first request. It lasts as long as serving two thirds of the busy (hot)
 * connections takes: no more of them can be back by then, and the rest keep the clients busy. What
 * the clock is late by, as measured, is taken off. With few clients no time is left, and the first
 * request ends the wait.
 *
 * Polling. A connection that has just been answered is not armed again. It is looked at when its
 * next request is due.
 *
 *     armed --bytes--> answered --> polled --(a look finds bytes)--> answered --> polled ...
 *       ^                             |
 *       '-----(it finds none)---------'     armed once: its next bytes bring it back
 *
 * The kernel reports bytes to an armed receive on the processor on which they arrive: on one
 * machine that is the client's, elsewhere the one that serves the network. There it costs a good
 * part of what taking the bytes in does, because what it touches is in our cache; here it costs
 * running what it has queued. Under load no report is needed: clients come back in the order in
 * which they were answered. So those answered longest ago are looked at, a few at a time, as long
 * as most of them have sent. NAPI does the same for devices (networking/napi.rst of the kernel's
 * documentation).
 *
 * When most looks between two waits found nothing, and again after the next (the clients pause, or
 * keep no order), all polled connections are armed once: they come back with their next bytes.
 * Polling goes in spells. A spell begins when enough receives came between two waits and enough
 * connections share them. It ends when most of its waits were poor: most looks found nothing, or
 * there was no time for a nap. It ends too when few connections are busy. Then all are armed as
 * usual, for a while at least.
 *
 * Busy connections are counted by their traffic alone: how many different ones brought
 * POLLING_PERIOD receives. So it does not matter how many are open, how fast the machine is, or in
 * which of the two ways it serves them. (The number of polled connections does matter to both, and
 * was tried: whether 64 busy ones were polled then depended on chance.)
 */
#ifndef INGEST_HTTP_POLLING_H
#define INGEST_HTTP_POLLING_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/http/slot_list.h"

/* So many busy connections are load. Fewer have nothing to send while the process naps. */
#define POLLING_CONNECTIONS 32u
#define POLLING_PERIOD      256u /* receives in which the busy ones are counted */
#define POLLING_ROW         16u  /* so many in a row from one connection count as one: a large request */

/* All zero at the start, except slots. The transport reads `on` and `enough` and keeps `slots`. */
struct polling {
	/* not armed, to be looked at, in the order in which they were answered */
	struct slot_list slots;
	bool on; /* a spell of polling */
	/* the last look missed more than it found: no other before the next wait */
	bool enough;
	uint32_t n_busy; /* connections that brought the last whole period */
	/* own */
	uint32_t came, n_brought;       /* of this period: receives, times POLLING_ROW; who brought them */
	uint32_t last;                  /* who brought the last */
	uint8_t period;                 /* its number; 0, of the first, counts nobody */
	bool in_vain;                   /* so did all looks between the last two waits together */
	uint32_t found, missed;         /* by one look */
	uint64_t all_found, all_missed; /* since the last wait */
	uint64_t waits_ns, woken_ns;    /* when that began, and ended */
	uint64_t late_ns;               /* by which naps end late, about */
	/* connections that come back and back, about; of this spell or the last */
	uint32_t n_hot;
	uint32_t n_waits, n_poor; /* since the spell was judged */
	uint64_t begin_ns;        /* no spell begins before */
};

static inline bool polling_is_load(const struct polling *polling)
{
	return polling->n_busy >= POLLING_CONNECTIONS;
}

/* Counts a receive of connection i. Takes and returns what the connection keeps: the period in
 * which it last brought bytes, 0 at the start. */
static inline uint8_t polling_received(struct polling *polling, uint32_t i, uint8_t period)
{
	uint8_t now = polling->period;
	polling->n_brought += period != now;
	polling->came += i != polling->last ? POLLING_ROW : 1;
	polling->last = i;
	if (polling->came < POLLING_PERIOD * POLLING_ROW)
		return now;
	polling->n_busy = polling->n_brought;
	polling->came = polling->n_brought = 0;
	polling->period = now == UINT8_MAX ? 1 : (uint8_t)(now + 1);
	return now;
}

/* Before a wait, when n receives came since the last: begins a spell, continues it or ends it.
 * Returns for how long nothing may end the wait (at most most_ns); 0: no nap. *arm: all in `slots`
 * are to be armed. */
uint64_t polling_pace(struct polling *polling, uint32_t n, uint64_t most_ns, bool *arm);

/* After a wait. nap_ns: of a nap that only the clock could end; else 0. */
void polling_woken(struct polling *polling, uint64_t nap_ns, uint64_t most_ns);

/* A look at one connection found bytes, or none. */
static inline void polling_looked(struct polling *polling, bool found)
{
	polling->found += found;
	polling->missed += !found;
}

/* After the completions of a turn. */
void polling_end_look(struct polling *polling);

#endif
