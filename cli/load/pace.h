/* Keeps a rate: how many may be sent now. Sleeps while none is due.
 *
 *     sent so far <-- due at start + sent / rate         too early: sleep, 0
 *                                                         late:      as many as are due by now
 */
#ifndef CLI_LOAD_PACE_H
#define CLI_LOAD_PACE_H

#include <stdint.h>

struct pace {
	uint64_t rate;     /* per second; 0: no limit */
	uint64_t start_ns; /* monotonic; moved when the sender cannot keep the rate */
	uint64_t end_ns;   /* monotonic; no sleep goes beyond it */
};

/* Returns how many of the `left` may be sent now, when `sent` have been. Returns 0 after it has
 * slept a while, at most 100 ms, so that the caller sees a signal soon. */
uint64_t pace_allowed(struct pace *pace, uint64_t sent, uint64_t left);

#endif
