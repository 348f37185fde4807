#include "ingest/http/metrics.h"

#include <string.h>

#include "base/clock.h"

static const uint64_t time_bounds_ns[] = {RESPONSE_TIMES_NS};

enum failure metrics_failure(unsigned status)
{
	switch (status) {
#define S(number, reason)                case number:
#define FAILURE(A, name, statuses, help) statuses return FAILURE_##name;
		FAILURES(FAILURE, )
#undef FAILURE
#undef S
	default:
		return FAILURE_COUNT;
	}
}

const char *metrics_reason(unsigned status)
{
	switch (status) {
#define S(number, reason) \
	case number:      \
		return #number " " reason;
#define FAILURE(A, name, statuses, help) statuses
		FAILURES(FAILURE, )
#undef FAILURE
#undef S
	default:
		return NULL;
	}
}

static void add_times(struct metrics *metrics, enum route route, uint64_t took_ns, uint64_t n)
{
	unsigned bucket =
	        metric_bucket(time_bounds_ns, sizeof time_bounds_ns / sizeof time_bounds_ns[0], took_ns);
	metrics->route[route][ROUTE_METRIC_time_bucket + bucket] += n;
	metrics->route[route][ROUTE_METRIC_time_ns] += n * took_ns;
	if (metrics->time_min_ns == 0 || took_ns < metrics->time_min_ns)
		metrics->time_min_ns = took_ns;
	if (took_ns > metrics->time_max_ns)
		metrics->time_max_ns = took_ns;
}

void metrics_answer(struct metrics *metrics, enum route route, unsigned status, uint64_t took_ns)
{
	metrics->route[route][ROUTE_METRIC_requests]++;
	if (__builtin_expect(status >= 400, 0)) {
		enum failure failure = metrics_failure(status);
		if (failure != FAILURE_COUNT)
			metrics->route[route][ROUTE_METRIC_failed + failure]++;
	}
	if (__builtin_expect(took_ns == 0, 1))
		metrics->fresh[route]++;
	else
		add_times(metrics, route, took_ns, 1);
}

void metrics_turn(struct metrics *metrics, uint64_t turn_ns)
{
	for (unsigned route = 0; route < ROUTE_COUNT; route++)
		if (metrics->fresh[route] != 0) {
			add_times(metrics, route, turn_ns == 0 ? 1 : turn_ns, metrics->fresh[route]);
			metrics->fresh[route] = 0;
		}
}

void metrics_to_ring(struct metrics *metrics, uint64_t turn_ns)
{
	static const uint64_t bound[] = {EVENT_TO_RING_US};
	uint64_t us = turn_ns / NS_PER_US;
	metrics->own[HTTP_to_ring_us] += us;
	metrics->own[HTTP_to_ring_us + 1 + metric_bucket(bound, sizeof bound / sizeof bound[0], us)]++;
}

void metrics_flush(struct metrics *metrics, struct control *control)
{
	for (unsigned route = 0; route < ROUTE_COUNT; route++)
		for (unsigned i = 0; i < ROUTE_METRIC_COUNT; i++)
			if (metrics->route[route][i] != 0)
				metric_add(control, route * ROUTE_METRIC_COUNT + i, metrics->route[route][i]);
	memset(metrics->route, 0, sizeof metrics->route);
	metric_set(control, HTTP_time_min_ns, metrics->time_min_ns);
	metric_set(control, HTTP_time_max_ns, metrics->time_max_ns);
	for (unsigned i = 0; i < HTTP_METRIC_COUNT; i++)
		if (metrics->own[i] != 0) {
			metric_add(control, i, metrics->own[i]);
			metrics->own[i] = 0;
		}
}

/* ---- over all stages ---- */

static uint64_t read_metric(const struct control *control, unsigned i)
{
	return atomic_load_explicit(&control->metric[i], memory_order_relaxed);
}

void metrics_sum_add(struct metrics_sum *sum, const struct control *control)
{
	for (unsigned route = 0; route < ROUTE_COUNT; route++) {
		unsigned first = route * ROUTE_METRIC_COUNT;
		sum->requests += read_metric(control, first + ROUTE_METRIC_requests);
		sum->time_ns += read_metric(control, first + ROUTE_METRIC_time_ns);
		for (unsigned failure = 0; failure < FAILURE_COUNT; failure++)
			sum->failed += read_metric(control, first + ROUTE_METRIC_failed + failure);
	}
	uint64_t least = read_metric(control, HTTP_time_min_ns),
	         most = read_metric(control, HTTP_time_max_ns);
	if (least != 0 && (sum->time_min_ns == 0 || least < sum->time_min_ns))
		sum->time_min_ns = least;
	if (most > sum->time_max_ns)
		sum->time_max_ns = most;
}
