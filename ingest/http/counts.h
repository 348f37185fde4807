/* What the HTTP stage counts, gathered in plain memory and added to the control block at each tick.
 *
 *     answer --counts_answer--> by route: requests, failures by reason, response times --counts_flush--> metrics
 *
 * A response time runs from the first byte of the request to the turn's end, when the answer is
 * handed to the kernel. Most requests come and are answered within one turn: those are only
 * counted, and get the turn's length when it ends.
 */
#ifndef INGEST_HTTP_COUNTS_H
#define INGEST_HTTP_COUNTS_H

#include "stage/control.h"

enum route {
#define ROUTE(symbol, name, help) ROUTE_##symbol,
#include "ingest/http/routes.def"
#undef ROUTE
	ROUTE_COUNT
};

enum failure {
#define FAILURE(symbol, name, statuses, help) FAILURE_##symbol,
#include "ingest/http/failures.def"
#undef FAILURE
	FAILURE_COUNT,
};

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

/* In the order of ROUTE_METRICS (metrics.def). */
enum route_metric {
	ROUTE_METRIC_requests,
	ROUTE_METRIC_failed,
	ROUTE_METRIC_time_ns = ROUTE_METRIC_failed + FAILURE_COUNT, /* the sum, and after it the buckets */
	ROUTE_METRIC_time_bucket,
	ROUTE_METRIC_COUNT = ROUTE_METRIC_time_ns + HISTOGRAM_WORDS(RESPONSE_TIMES_NS)
};
_Static_assert((int)HTTP_time_min_ns == (int)ROUTE_COUNT * (int)ROUTE_METRIC_COUNT,
               "metrics.def fits routes.def");

struct counts {
	uint64_t route[ROUTE_COUNT][ROUTE_METRIC_COUNT];
	uint64_t fresh[ROUTE_COUNT]; /* answered in the turn in which they began */
	/* the others, by their metric; those before time_min_ns unused */
	uint64_t own[HTTP_METRIC_COUNT];
	uint64_t time_min_ns, time_max_ns; /* 0: none yet */
};

/* The name of a route ("event"), for metrics and the tokens file. */
extern const char *const route_names[ROUTE_COUNT];

/* The failure that an answer's status stands for; FAILURE_COUNT for success. */
enum failure counts_failure(unsigned status);

/* One answer. took_ns 0: the request began in this turn. */
void counts_answer(struct counts *counts, enum route route, unsigned status, uint64_t took_ns);

/* The turn is over; it took turn_ns. */
void counts_turn(struct counts *counts, uint64_t turn_ns);

/* Adds all to the control block and begins anew. */
void counts_flush(struct counts *counts, struct control *control);

/* ---- GET /debug/vars: over all HTTP stages of an instance, from their control blocks ---- */

struct counts_sum {
	uint64_t requests, failed;
	uint64_t time_ns, time_min_ns, time_max_ns;
};

/* Adds what one control block says. */
void counts_sum_add(struct counts_sum *sum, const struct control *control);

#endif
