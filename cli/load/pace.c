#include "cli/load/pace.h"

#include <time.h>

#include "base/clock.h"

#define STEP_NS      (200 * NS_PER_US) /* shortest sleep: a shorter one costs more than it saves */
#define LAG_MAX_NS   (50 * NS_PER_MS)  /* a sender later than this does not catch up in one burst */
#define SLEEP_MAX_NS (100 * NS_PER_MS)

/* When number `sent` is due, counted from start. */
static uint64_t due_ns(uint64_t sent, uint64_t rate)
{
	return (uint64_t)((double)sent * 1e9 / (double)rate);
}

static void sleep_until(uint64_t due, uint64_t now, uint64_t end)
{
	uint64_t wait = due - now < STEP_NS ? STEP_NS : due - now;
	if (wait > SLEEP_MAX_NS)
		wait = SLEEP_MAX_NS;
	if (now + wait > end)
		wait = end > now ? end - now : 0;
	nanosleep(&(struct timespec){.tv_nsec = (long)wait}, NULL);
}

uint64_t pace_allowed(struct pace *pace, uint64_t sent, uint64_t left)
{
	if (pace->rate == 0)
		return left;
	uint64_t now = clock_monotonic_ns(), due = pace->start_ns + due_ns(sent, pace->rate);
	if (now < due) {
		sleep_until(due, now, pace->end_ns);
		return 0;
	}
	if (now - due > LAG_MAX_NS)
		pace->start_ns += now - due - LAG_MAX_NS;
	uint64_t n = (uint64_t)((double)(now - pace->start_ns) * (double)pace->rate / 1e9) + 1;
	n = n > sent ? n - sent : 0;
	return n < left ? n : left;
}
