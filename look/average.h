/* The mean rate of a counter: since the last sample, and over the last 10, 100 and 1,000 s.
 *
 *     average_add(&average, now_ns, value)     once a sample
 *     average_rate(&average, AVERAGE_100)      the gain per second of the last 100 s
 *
 * A counter is a running sum, so its mean over a window is the gain since the window began, divided
 * by the time. For each window a few marks are kept, a twentieth of the window apart:
 *
 *     window   |<-------------------- 100 s --------------------->|
 *     marks   (x)   x    x    x    x    x    x    x    x    x     last sample
 *           dropped '-- the oldest one: begin of the gain
 *
 * So a window is up to a twentieth shorter than its name says. While there are fewer samples, the
 * mean is that of the time since the first one. When samples are further apart than the window is
 * long, the mean is that of the time since the sample before.
 */
#ifndef LOOK_AVERAGE_H
#define LOOK_AVERAGE_H

#include <stdint.h>

#define AVERAGE_MARKS 21u

enum average_window { AVERAGE_NOW, AVERAGE_10, AVERAGE_100, AVERAGE_1000, AVERAGE_WINDOWS };

struct average_mark {
	uint64_t at_ns, value;
};

/* All zero: no sample yet. */
struct average {
	unsigned n_samples; /* 0, 1, or 2 for more */
	struct average_mark last, before;
	struct {
		unsigned first, n;
		struct average_mark mark[AVERAGE_MARKS];
	} window[AVERAGE_WINDOWS - 1];
};

/* Notes the counter's value at the time now_ns (CLOCK_MONOTONIC). A counter that went down has
 * started again: what was before is forgotten. A time not later than the last is ignored. */
void average_add(struct average *average, uint64_t now_ns, uint64_t value);

/* The gain per second. 0 before the second sample. */
double average_rate(const struct average *average, enum average_window window);

/* Seconds of a window; 0 for AVERAGE_NOW. */
unsigned average_seconds(enum average_window window);

#endif
