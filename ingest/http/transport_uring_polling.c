/* Waiting under load: for how long, and which connections are looked at after it without being
 * waited for.
 *
 * Naps. Being woken costs, and where client and server share a machine the client pays for it:
 * waking a processor takes it as long as several requests. So under load a wait is a nap: it ends
 * by the clock, not by the first request. It lasts as long as we take to serve two thirds of those
 * that are at it (hot): no more than these can be back by then, for who is faster than we are
 * leaves us no time to wait, and the others keep the clients busy. What the clock is late by, as
 * measured, is taken off. With few clients no time is left, and the first request ends the wait.
 *
 * Polling. A connection that has just been answered is not armed again; it is looked at when its
 * next request is due.
 *
 *     armed --bytes--> answered --> polled --(a look finds bytes)--> answered --> polled ...
 *       ^                             |
 *       '-----(it finds none)---------'     armed for once: its next bytes bring it back
 *
 * An armed receive is told of bytes by the kernel on the processor on which they arrive: on one
 * machine that is the client's, and elsewhere the one that serves the network. There it costs a
 * good part of what taking the bytes in does, because what it touches lies in our cache; here it
 * costs running what it has queued. Under load nobody needs to be told: clients come back in the
 * order in which they were answered. So those answered longest ago are looked at, a few at a time,
 * for as long as most of them have sent. What NAPI does for devices (networking/napi.rst of the
 * kernel's documentation) with sockets.
 *
 * When between two waits looks were in vain more often than not, and again after the next (the
 * clients pause, or keep no order), all that are polled are armed for once: they come back with
 * their next bytes. It goes in spells: one begins when enough receives came between two waits, and
 * ends when most of its waits were poor: looks in vain, or no time for a nap. Then all are armed as
 * ever, for a while at least.
 */
#include "ingest/http/transport_uring.h"
#include "base/clock.h"

#define LEAST_RECEIVED 8u               /* between two waits: under load */
#define LEAST_NAP_NS   (10 * NS_PER_US) /* to set a timer for less costs more than it brings */
#define JUDGED_WAITS   16u              /* a spell is judged so often */
#define NO_SPELL_NS    (10 * NS_PER_MS) /* after one: to begin and to end costs little of so long a time */

/* 0: no nap. n requests took us busy_ns. */
static uint64_t length_of_nap(const struct polling *polling, uint64_t busy_ns, uint32_t n, uint64_t most_ns)
{
	if (n < LEAST_RECEIVED)
		return 0;
	uint64_t ns = busy_ns / n * polling->n_hot * 2 / 3;
	if (ns < polling->late_ns + LEAST_NAP_NS)
		return 0;
	ns -= polling->late_ns;
	return ns < most_ns ? ns : most_ns;
}

static void arm_all(struct uring *uring)
{
	uint32_t i;
	while ((i = slot_list_first(&uring->polling.slots)) != SLOT_NONE) {
		slot_list_remove(&uring->polling.slots, i);
		uring->slot[i].state &= ~(uint32_t)SLOT_HOT;
		slot_list_add(&uring->changed, i);
	}
}

static void judge(struct polling *polling, bool poor, uint64_t now_ns)
{
	polling->n_poor += poor;
	if (++polling->n_waits < JUDGED_WAITS)
		return;
	if (polling->n_poor > JUDGED_WAITS / 2) {
		polling->on = false;
		polling->begin_ns = now_ns + NO_SPELL_NS;
	}
	polling->n_waits = polling->n_poor = 0;
}

/* The most that were polled before a wait, less with each. */
static void count_hot(struct polling *polling)
{
	polling->n_hot -= polling->n_hot / 16;
	if (polling->slots.n_in > polling->n_hot)
		polling->n_hot = polling->slots.n_in;
}

uint64_t uring_pace(struct transport *transport, uint32_t n)
{
	struct uring *uring = transport->own;
	struct polling *polling = &uring->polling;
	uint64_t most_ns = transport->settings.batch_wait_ns, now_ns = clock_monotonic_ns();
	bool in_vain = polling->all_missed > polling->all_found, again = in_vain && polling->in_vain;
	if (polling->on)
		count_hot(polling);
	uint64_t nap_ns = length_of_nap(polling, now_ns - polling->woken_ns, n, most_ns);
	polling->waits_ns = now_ns;
	polling->all_found = polling->all_missed = 0;
	polling->in_vain = in_vain;
	polling->enough = false;
	if (polling->on) {
		judge(polling, in_vain || nap_ns == 0, now_ns);
		if (again || nap_ns == 0 || !polling->on)
			arm_all(uring);
	} else {
		polling->on = n >= LEAST_RECEIVED && most_ns > 0 && now_ns >= polling->begin_ns;
	}
	return nap_ns;
}

void uring_woken(struct transport *transport, uint64_t nap_ns)
{
	struct uring *uring = transport->own;
	struct polling *polling = &uring->polling;
	polling->woken_ns = clock_monotonic_ns();
	uint64_t took_ns = polling->woken_ns - polling->waits_ns;
	if (nap_ns == 0 || took_ns < nap_ns)
		return;
	/* Something else may have kept us from the processor: no more is put down to the clock than
	 * a nap lasts at most. */
	uint64_t late_ns = took_ns - nap_ns, most_ns = transport->settings.batch_wait_ns;
	polling->late_ns -= polling->late_ns / 8;
	polling->late_ns += (late_ns < most_ns ? late_ns : most_ns) / 8;
}

void uring_looked(struct transport *transport, uint32_t i, bool found)
{
	struct uring *uring = transport->own;
	if (found) {
		uring->polling.found++;
		transport->counts.polls++;
	} else {
		uring->polling.missed++;
		transport->counts.empty_polls++;
		uring->slot[i].state &= ~(uint32_t)SLOT_HOT;
	}
}

void uring_end_look(struct uring *uring)
{
	struct polling *polling = &uring->polling;
	polling->enough |= polling->missed > polling->found;
	polling->all_found += polling->found;
	polling->all_missed += polling->missed;
	polling->found = polling->missed = 0;
}
