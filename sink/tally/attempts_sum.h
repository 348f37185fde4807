/* Attempts to deliver of one kind, summed: how many, how long they took. And sums by outcome as
 * JSON, as attempts.h shows them:
 *
 *     "attempts": 12, "success": 0.75, "average_us": 20114, "p50_us": 2560, "p90_us": 65536, "p99_us": 114688,
 *     "outcomes": {"delivered": {"count": 9, "average_us": ..., "p50_us": ..., "p90_us": ..., "p99_us": ...}, "again": {...}}
 *
 * What reports of several boxes are merged from has in each outcome what its averages and
 * percentiles came from, too: "sum_us" as text (base/wide.h), and the histogram (latency.h) as
 * "latency": [first bucket that is not 0, its count, the next one's ...].
 */
#ifndef SINK_TALLY_ATTEMPTS_SUM_H
#define SINK_TALLY_ATTEMPTS_SUM_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "event/event.h"
#include "sink/tally/latency.h"

struct attempts_sum {
	uint64_t count;
	unsigned __int128 us;
	uint64_t bucket[LATENCY_BUCKETS];
};

void attempts_sum_add(struct attempts_sum *into, const struct attempts_sum *from);

/* Sets the fields in object. sums: with what averages came from. Returns 0 or -ENOMEM. */
int attempts_sums_put(json_t *object, const struct attempts_sum outcome[OUTCOME_COUNT], bool sums);

/* Adds the outcomes of an object that attempts_sums_put has made with sums. False, and nothing is
 * added, for any other. */
bool attempts_sums_take(const json_t *object, struct attempts_sum outcome[OUTCOME_COUNT]);

#endif
