/* What is here, whether it works, and what the instance's shared memory says. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "look/flow.h"
#include "look/json.h"
#include "look/prometheus.h"
#include "look/sinks.h"
#include "serve/page.h"
#include "serve/problem.h"
#include "serve/serve.h"

/* A browser prefers HTML; who says nothing, or takes anything, gets the list. */
static bool prefers_page(const struct request *request)
{
	const char *accept = request_field(request, REQUEST_ACCEPT);
	return request_weight(accept, "text/html") > request_weight(accept, "application/json");
}

void handle_index(struct serve *serve, const struct request *request, struct answer *answer)
{
	answer->by_accept = true;
	if (prefers_page(request) && page_answer(serve, "index.html", request, answer))
		return;
	json_t *routes = json_array();
	for (size_t i = 0; i < router_n_routes; i++) {
		const struct route *route = &router_routes[i];
		json_array_append_new(routes,
		                      json_pack("{s:s, s:s, s:s, s:s}", "method",
		                                request_method_name(route->method), "path", route->pattern,
		                                "for", router_who(route->who), "help", route->help));
	}
	answer_json(answer, 200,
	            json_pack("{s:s, s:s, s:o}", "name", "millrace", "version", MILLRACE_VERSION, "routes",
	                      routes));
	answer->public = true;
}

void handle_healthz(struct serve *serve, const struct request *request, struct answer *answer)
{
	(void)serve;
	(void)request;
	answer_text(answer, 200, "application/json", "{\"status\":\"ok\"}");
}

/* Why the instance does not work as it should; NULL: it does. */
static const char *obstacle(const struct snapshot *snapshot, char *text, size_t size)
{
	if (!snapshot_supervised(snapshot))
		return "the supervisor is gone";
	if (snapshot->draining)
		return "draining";
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const char *state = snapshot_state(&snapshot->stage[i]);
		if (strcmp(state, "running") == 0)
			continue;
		snprintf(text, size, "%s is %s", snapshot->stage[i].name, state);
		return text;
	}
	return NULL;
}

/* The snapshot; without one the answer is a problem. */
static const struct snapshot *look(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	const struct snapshot *snapshot = view_take(&serve->view, &error);
	if (snapshot == NULL)
		problem(answer, 503, request->path, "%s", error.text);
	return snapshot;
}

void handle_readyz(struct serve *serve, const struct request *request, struct answer *answer)
{
	char text[128];
	const struct snapshot *snapshot = look(serve, request, answer);
	const char *why = snapshot == NULL         ? NULL
	                  : serve->stage->lost     ? "the instance's shared memory was removed"
	                  : serve->stage->draining ? "draining"
	                                           : obstacle(snapshot, text, sizeof text);
	if (snapshot == NULL)
		return;
	if (why != NULL)
		problem(answer, 503, request->path, "%s", why);
	else
		answer_text(answer, 200, "application/json", "{\"status\":\"ready\"}");
}

void handle_stat(struct serve *serve, const struct request *request, struct answer *answer)
{
	const struct snapshot *snapshot = look(serve, request, answer);
	struct rates rates;
	if (snapshot == NULL)
		return;
	(void)rates_init(&rates, snapshot, NULL);
	answer_json(answer, 200, look_json(&rates, serve->view.instance));
}

void handle_flow(struct serve *serve, const struct request *request, struct answer *answer)
{
	const struct snapshot *snapshot = look(serve, request, answer);
	if (snapshot != NULL)
		answer_json(answer, 200, look_flow(snapshot));
}

void handle_sinks(struct serve *serve, const struct request *request, struct answer *answer)
{
	const struct snapshot *snapshot = look(serve, request, answer);
	if (snapshot != NULL)
		answer_json(
		        answer, 200,
		        sinks_json(snapshot, serve->view.instance, config_string(serve->config, "data_dir")));
}

void handle_metrics(struct serve *serve, const struct request *request, struct answer *answer)
{
	const struct snapshot *snapshot = look(serve, request, answer);
	size_t bytes = 0;
	if (snapshot == NULL)
		return;
	view_scraped(&serve->view, clock_monotonic_ns());
	struct prometheus prometheus = {
	        .snapshot = snapshot,
	        .instance = serve->view.instance,
	        .peaks = serve->view.peaks,
	        .data_dir = config_string(serve->config, "data_dir"),
	        .openmetrics = prometheus_asks_openmetrics(request_field(request, REQUEST_ACCEPT)),
	};
	char *text = prometheus_text(&prometheus, &bytes);
	if (text == NULL)
		problem(answer, 503, request->path, "no memory");
	else
		answer_body(answer, 200,
		            prometheus.openmetrics ? PROMETHEUS_OPENMETRICS_TYPE : PROMETHEUS_TEXT_TYPE, text,
		            bytes);
}

/* ---- /debug/vars ---- */

struct sum {
	uint64_t requests, failed, time_ns, time_min_ns, time_max_ns;
};

/* Of a route there are requests, failed_<reason> and time_ns, behind its name. */
static void add_metric(struct sum *sum, const struct snapshot_metric *metric)
{
	const char *name = metric->about.name;
	if (metric->about.route_bytes != 0) {
		name += metric->about.route_bytes + 1;
		if (strcmp(name, "requests") == 0)
			sum->requests += metric->value;
		else if (strcmp(name, "time_ns") == 0)
			sum->time_ns += metric->sum;
		else if (strncmp(name, "failed_", 7) == 0)
			sum->failed += metric->value;
	} else if (strcmp(name, "time_min_ns") == 0) {
		if (metric->value != 0 && (sum->time_min_ns == 0 || metric->value < sum->time_min_ns))
			sum->time_min_ns = metric->value;
	} else if (strcmp(name, "time_max_ns") == 0) {
		if (metric->value > sum->time_max_ns)
			sum->time_max_ns = metric->value;
	}
}

void handle_vars(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct sum sum = {0};
	const struct snapshot *snapshot = look(serve, request, answer);
	if (snapshot == NULL)
		return;
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		for (unsigned k = 0; strcmp(stage->program, "ingest-http") == 0 && k < stage->n_metrics; k++)
			add_metric(&sum, &stage->metric[k]);
	}
	double average = sum.requests == 0 ? 0 : (double)sum.time_ns / (double)sum.requests;
	answer_json(answer, 200,
	            json_pack("{s:{s:I, s:I, s:I}, s:{s:f, s:f, s:f}}", "requests", "total",
	                      (json_int_t)sum.requests, "failed", (json_int_t)sum.failed, "successful",
	                      (json_int_t)(sum.requests - sum.failed), "response_time", "minimum",
	                      (double)sum.time_min_ns / NS_PER_SEC, "maximum",
	                      (double)sum.time_max_ns / NS_PER_SEC, "average", average / NS_PER_SEC));
}
