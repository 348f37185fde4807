#include "ingest/http/counts.h"

#include <string.h>

const char *const route_names[ROUTE_COUNT] = {
#define ROUTE(symbol, name, help) #name,
#include "ingest/http/routes.def"
#undef ROUTE
};

static const uint64_t time_bounds_ns[] = {RESPONSE_TIMES_NS};

enum failure counts_failure(unsigned status)
{
	switch (status) {
	case 400:
		return FAILURE_BAD;
	case 401:
		return FAILURE_TOKEN;
	case 404:
		return FAILURE_ROUTE;
	case 405:
		return FAILURE_METHOD;
	case 408:
		return FAILURE_LATE;
	case 413:
	case 414:
	case 431:
		return FAILURE_LARGE;
	case 415:
		return FAILURE_TYPE;
	case 417:
	case 501:
	case 505:
		return FAILURE_FEATURE;
	case 503:
		return FAILURE_REFUSED;
	default:
		return FAILURE_COUNT;
	}
}

static void add_times(struct counts *counts, enum route route, uint64_t took_ns, uint64_t n)
{
	unsigned bucket = 0;
	while (bucket < sizeof time_bounds_ns / sizeof time_bounds_ns[0] && took_ns > time_bounds_ns[bucket])
		bucket++;
	counts->route[route][ROUTE_METRIC_time_bucket + bucket] += n;
	counts->route[route][ROUTE_METRIC_time_ns] += n * took_ns;
	if (counts->time_min_ns == 0 || took_ns < counts->time_min_ns)
		counts->time_min_ns = took_ns;
	if (took_ns > counts->time_max_ns)
		counts->time_max_ns = took_ns;
}

void counts_answer(struct counts *counts, enum route route, unsigned status, uint64_t took_ns)
{
	counts->route[route][ROUTE_METRIC_requests]++;
	if (__builtin_expect(status >= 400, 0)) {
		enum failure failure = counts_failure(status);
		if (failure != FAILURE_COUNT)
			counts->route[route][ROUTE_METRIC_failed + failure]++;
	}
	if (__builtin_expect(took_ns == 0, 1))
		counts->fresh[route]++;
	else
		add_times(counts, route, took_ns, 1);
}

void counts_turn(struct counts *counts, uint64_t turn_ns)
{
	for (unsigned route = 0; route < ROUTE_COUNT; route++)
		if (counts->fresh[route] != 0) {
			add_times(counts, route, turn_ns == 0 ? 1 : turn_ns, counts->fresh[route]);
			counts->fresh[route] = 0;
		}
}

void counts_flush(struct counts *counts, struct control *control)
{
	for (unsigned route = 0; route < ROUTE_COUNT; route++)
		for (unsigned i = 0; i < ROUTE_METRIC_COUNT; i++)
			if (counts->route[route][i] != 0)
				metric_add(control, route * ROUTE_METRIC_COUNT + i, counts->route[route][i]);
	memset(counts->route, 0, sizeof counts->route);
	metric_set(control, HTTP_time_min_ns, counts->time_min_ns);
	metric_set(control, HTTP_time_max_ns, counts->time_max_ns);
	for (unsigned i = 0; i < HTTP_METRIC_COUNT; i++)
		if (counts->own[i] != 0) {
			metric_add(control, i, counts->own[i]);
			counts->own[i] = 0;
		}
}

/* ---- over all stages ---- */

static uint64_t read_metric(const struct control *control, unsigned i)
{
	return atomic_load_explicit(&control->metric[i], memory_order_relaxed);
}

void counts_sum_add(struct counts_sum *sum, const struct control *control)
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
