/* Attempts to deliver postbacks over a span of time, from tally.db alone: by endpoint and outcome,
 * with latencies.
 *
 *     {"from_ts": 1795230000000, "to_ts": 1795233660000, "step_s": 0,
 *      "all": {"attempts": 12, "success": 0.75, "average_us": 20114, "p50_us": 2560, "p90_us": 65536, "p99_us": 114688,
 *              "outcomes": {"delivered": {"count": 9, "average_us": ..., "p50_us": ..., "p90_us": ..., "p99_us": ...}, "again": {...}}},
 *      "items": [{"endpoint": "http://host/data", "attempts": 12, ...as in all}],
 *      "total": 1}
 *
 * With a step there is an item for each endpoint and step in which there were attempts, and "ts" is
 * the step's begin; the first step begins at from_ts. Items are ordered by step, then by endpoint,
 * so that pages of limit and offset fit together; total says how many there are, all adds up all
 * of them.
 *
 * "endpoint": null and "other": true stand for the endpoints over tally.endpoints in their minute,
 * together, and for postbacks whose URL names none.
 *
 * success is the share of attempts that delivered, to six digits. pN_us is the upper bound of the
 * histogram's bucket in which the latency lies that N percent do not exceed: at most a quarter too
 * large (latency.h). average_us is exact. Attempts that came to no request (an address that is not
 * allowed, a name without one) have no latency: where none has one these fields are left out.
 */
#ifndef SINK_TALLY_ATTEMPTS_H
#define SINK_TALLY_ATTEMPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

#define ATTEMPTS_LIMIT     1000u
#define ATTEMPTS_LIMIT_MAX 10000u
#define ATTEMPTS_STEP_MS   60000
#define ATTEMPTS_SPAN_MS   3600000 /* unless told: the last hour */

struct attempts_question {
	int64_t from_ms, to_ms; /* of the attempts' begin; from down and to up to whole minutes */
	int64_t step_ms;        /* whole minutes; 0: the span is one step */
	const char *endpoint;   /* it begins so; NULL: any */
	uint64_t limit, offset; /* of items; limit at most ATTEMPTS_LIMIT_MAX */
	bool sums;              /* with what averages came from (attempts_sum.h) */
};

/* Returns 0 with *json, one line without a newline, malloced, the caller frees it. Otherwise -errno
 * with a line for a person in error, *json unchanged: -EINVAL a question that makes no sense; or as
 * reader_open (reader.h). */
int attempts_json(const char *data_dir, const struct attempts_question *question, char **json,
                  struct shm_error *error);

#endif
