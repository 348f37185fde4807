#include "look/average.h"

#include "base/clock.h"

#define APART (AVERAGE_MARKS - 1) /* marks of a window that are kept, the one at its end apart */

unsigned average_seconds(enum average_window window)
{
	static const unsigned seconds[AVERAGE_WINDOWS] = {
	        [AVERAGE_10] = 10, [AVERAGE_100] = 100, [AVERAGE_1000] = 1000};
	return seconds[window];
}

static void add_mark(struct average *average, unsigned i, struct average_mark mark)
{
	uint64_t length_ns = average_seconds(AVERAGE_10 + i) * NS_PER_SEC;
	unsigned *first = &average->window[i].first, *n = &average->window[i].n;
	struct average_mark *ring = average->window[i].mark;
	while (*n > 0 && mark.at_ns - ring[*first].at_ns > length_ns) {
		*first = (*first + 1) % AVERAGE_MARKS;
		(*n)--;
	}
	/* Marks are at least a twentieth of the window apart, so there is room for one more. */
	if (*n == 0 || mark.at_ns - ring[(*first + *n - 1) % AVERAGE_MARKS].at_ns >= length_ns / APART)
		ring[(*first + (*n)++) % AVERAGE_MARKS] = mark;
}

void average_add(struct average *average, uint64_t now_ns, uint64_t value)
{
	struct average_mark mark = {now_ns, value};
	if (average->n_samples > 0 && now_ns <= average->last.at_ns)
		return;
	if (average->n_samples > 0 && value < average->last.value)
		*average = (struct average){0};
	average->before = average->last;
	average->last = mark;
	if (average->n_samples < 2)
		average->n_samples++;
	for (unsigned i = 0; i < AVERAGE_WINDOWS - 1; i++)
		add_mark(average, i, mark);
}

double average_rate(const struct average *average, enum average_window window)
{
	if (average->n_samples < 2)
		return 0;
	struct average_mark begin = average->before, end = average->last;
	if (window != AVERAGE_NOW) {
		unsigned i = window - AVERAGE_10;
		struct average_mark oldest = average->window[i].mark[average->window[i].first];
		if (average->window[i].n > 0 && oldest.at_ns < begin.at_ns)
			begin = oldest;
	}
	return (double)(end.value - begin.value) * 1e9 / (double)(end.at_ns - begin.at_ns);
}
