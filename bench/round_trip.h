/* How long one cache line takes from one processor to another and back, measured between the turns
 * of a benchmark. Rates of what passes lines between processors can only be compared with those of
 * another machine, or of another hour on this one, when this is known.
 *
 *     processor 0    store 1 ------------> sees 1     processor 1
 *                    sees 2  <------------ store 2                    one round trip
 *
 * The processors are the two that turns_pin gives the first two processes.
 */
#ifndef BENCH_ROUND_TRIP_H
#define BENCH_ROUND_TRIP_H

#include "bench/turns.h"

/* Zero at first. */
struct round_trip {
	unsigned n;     /* turns that were measured */
	double best_ns; /* of all turns */
	double best_cycles;
	double median_ns[TURNS_MAX]; /* of each turn */
	double median_cycles[TURNS_MAX];
};

/* Measures once: two milliseconds, at most 50, in a process of its own beside this one, which keeps
 * the processors that it may run on. Adds nothing beyond TURNS_MAX turns, or when the two cannot
 * run at the same time (they have one processor, or no process can be made). Cycles are those of
 * the processor's clock as it ran then. */
void round_trip_measure(struct round_trip *trip);

/* Prints one line, as turns_print does. */
void round_trip_print(const struct round_trip *trip);

/* Prints members of a JSON object, a comma before each: line_round_trip_ns and _cycles, the
 * medians; line_round_trip_best_ns and _best_cycles. All are null when nothing was measured. */
void round_trip_print_json(const struct round_trip *trip);

#endif
