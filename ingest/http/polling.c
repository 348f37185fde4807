#include "ingest/http/polling.h"

#include "base/clock.h"

#define LEAST_RECEIVED 8u               /* between two waits: they are worth a nap */
#define LEAST_NAP_NS   (10 * NS_PER_US) /* setting a timer for less does not pay */
#define JUDGED_WAITS   16u              /* a spell is judged after so many */
#define NO_SPELL_NS    (10 * NS_PER_MS) /* after one: beginning and ending cost little of it */

/* 0: no nap. Serving n requests took busy_ns. */
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

static void judge(struct polling *polling, bool poor, uint64_t now_ns)
{
	bool over = !polling_is_load(polling);
	polling->n_poor += poor;
	if (++polling->n_waits < JUDGED_WAITS && !over)
		return;
	if (over || polling->n_poor > JUDGED_WAITS / 2) {
		polling->on = false;
		polling->begin_ns = now_ns + NO_SPELL_NS;
	}
	polling->n_waits = polling->n_poor = 0;
}

/* The most that were polled before a wait; it decays with each. */
static void count_hot(struct polling *polling)
{
	polling->n_hot -= polling->n_hot / 16;
	if (polling->slots.n_in > polling->n_hot)
		polling->n_hot = polling->slots.n_in;
}

uint64_t polling_pace(struct polling *polling, uint32_t n, uint64_t most_ns, bool *arm)
{
	*arm = polling->enough = false;
	if (!polling->on && !polling_is_load(polling))
		return 0;
	uint64_t now_ns = clock_monotonic_ns();
	bool in_vain = polling->all_missed > polling->all_found, again = in_vain && polling->in_vain;
	if (polling->on)
		count_hot(polling);
	uint64_t nap_ns = length_of_nap(polling, now_ns - polling->woken_ns, n, most_ns);
	polling->waits_ns = now_ns;
	polling->all_found = polling->all_missed = 0;
	polling->in_vain = in_vain;
	if (polling->on) {
		judge(polling, in_vain || nap_ns == 0, now_ns);
		*arm = again || nap_ns == 0 || !polling->on;
	} else {
		polling->on = n >= LEAST_RECEIVED && most_ns > 0 && now_ns >= polling->begin_ns;
	}
	return nap_ns;
}

void polling_woken(struct polling *polling, uint64_t nap_ns, uint64_t most_ns)
{
	polling->woken_ns = clock_monotonic_ns();
	uint64_t took_ns = polling->woken_ns - polling->waits_ns;
	if (nap_ns == 0 || took_ns < nap_ns)
		return;
	/* Something else may have kept us from the processor: the clock is blamed for no more than
	 * the longest nap. */
	uint64_t late_ns = took_ns - nap_ns;
	polling->late_ns -= polling->late_ns / 8;
	polling->late_ns += (late_ns < most_ns ? late_ns : most_ns) / 8;
}

void polling_end_look(struct polling *polling)
{
	polling->enough |= polling->missed > polling->found;
	polling->all_found += polling->found;
	polling->all_missed += polling->missed;
	polling->found = polling->missed = 0;
}
