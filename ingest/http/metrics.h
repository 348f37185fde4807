/* What the HTTP stage counts. It gathers in plain memory and adds to the control block at each
 * tick.
 *
 *     answer --metrics_answer--> by route: requests, failures, response times --metrics_flush--> control block
 *
 * A response time runs from the first byte of the request to the end of the turn, when the answer
 * is handed to the kernel. Most requests come and are answered within one turn: these are only
 * counted, and get the turn's length when it ends.
 */
#ifndef INGEST_HTTP_METRICS_H
#define INGEST_HTTP_METRICS_H

#include "event/event.h"
#include "ingest/http/routes.h"
#include "stage/control.h"

enum http_metric {
#define METRIC(name, kind, help) HTTP_##name,
#define HISTOGRAM(name, help, ...) \
	HTTP_##name, HTTP_##name##_end = HTTP_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "ingest/http/metrics.def"
#undef METRIC
#undef HISTOGRAM
	HTTP_METRIC_COUNT
};
_Static_assert((int)HTTP_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

/* FAILURE_bad, FAILURE_token ... */
enum failure {
#define S(status, reason)
#define FAILURE(A, name, statuses, help) FAILURE_##name,
	FAILURES(FAILURE, )
#undef FAILURE
#undef S
	        FAILURE_COUNT,
};

/* Of each route, in the order of ROUTE_METRICS (metrics.def). */
enum route_metric {
	ROUTE_METRIC_requests,
	ROUTE_METRIC_failed,
	ROUTE_METRIC_time_ns = ROUTE_METRIC_failed + FAILURE_COUNT, /* the sum, and after it the buckets */
	ROUTE_METRIC_time_bucket,
	ROUTE_METRIC_COUNT = ROUTE_METRIC_time_ns + HISTOGRAM_WORDS(RESPONSE_TIMES_NS)
};
_Static_assert((int)HTTP_time_min_ns == (int)ROUTE_COUNT * (int)ROUTE_METRIC_COUNT,
               "the metrics of routes come first");

struct metrics {
	uint64_t route[ROUTE_COUNT][ROUTE_METRIC_COUNT];
	uint64_t fresh[ROUTE_COUNT]; /* answered in the turn in which they began */
	/* the others, by their metric; those before time_min_ns unused */
	uint64_t own[HTTP_METRIC_COUNT];
	uint64_t time_min_ns, time_max_ns; /* 0: none yet */
};

/* The failure of an answer's status; FAILURE_COUNT for success. */
enum failure metrics_failure(unsigned status);

/* Status and reason phrase of an error: "404 Not Found"; NULL when no failure has the status. */
const char *metrics_reason(unsigned status);

/* One answer. took_ns 0: the request began in this turn. */
void metrics_answer(struct metrics *metrics, enum route route, unsigned status, uint64_t took_ns);

/* The turn has ended; it took turn_ns. */
void metrics_turn(struct metrics *metrics, uint64_t turn_ns);

/* What came in the turn was committed, so long after its begin. */
void metrics_to_ring(struct metrics *metrics, uint64_t turn_ns);

/* Adds all to the control block and starts again from 0. */
void metrics_flush(struct metrics *metrics, struct control *control);

/* ---- GET /debug/vars: over all HTTP stages of an instance, from their control blocks ---- */

struct metrics_sum {
	uint64_t requests, failed;
	uint64_t time_ns, time_min_ns, time_max_ns;
};

/* Adds what one control block says. */
void metrics_sum_add(struct metrics_sum *sum, const struct control *control);

#endif
