/* From a request to its answer: the checks that hold for all routes, then the route's handler.
 *
 *     fault of the head -> Host -> route -> origin -> tokens -> parameters -> handler -> ETag, gzip
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/limit.h"
#include "serve/problem.h"
#include "serve/serve.h"

#define CHALLENGE         "Bearer realm=\"millrace\""
#define CHALLENGE_INVALID CHALLENGE ", error=\"invalid_token\""

static void count(struct serve *serve, enum serve_metric metric)
{
	metric_add(serve->control, (unsigned)metric, 1);
}

static void count_answer(struct serve *serve, const struct answer *answer)
{
	metric_observe(serve->control, serve->answer_times, SERVE_answer_time_us,
	               (clock_monotonic_ns() - answer->began_ns) / NS_PER_US);
}

static bool host_fits(struct serve *serve, const struct request *request, struct answer *answer)
{
	if (host_allowed(&serve->hosts, request_field(request, REQUEST_HOST)))
		return true;
	count(serve, SERVE_refused_host);
	problem(answer, 421, request->path,
	        "the header Host names another machine; allowed: an address, localhost, this machine's name, and what serve.hosts names");
	answer->close = true;
	return false;
}

/* A path's methods, for OPTIONS: those that other requests of it could have. */
static void answer_options(const struct auth *auth, const struct request *request, unsigned methods,
                           struct answer *answer)
{
	const char *origin = request_field(request, REQUEST_ORIGIN);
	answer->status = 204;
	answer->allow = methods;
	answer->preflight = origin != NULL && auth_origin_named(auth, origin);
}

static bool route_fits(struct serve *serve, struct request *request, struct answer *answer)
{
	unsigned methods;
	char text[ROUTER_METHODS_BYTES];
	if (router_find(request, &methods) != NULL)
		return true;
	if (methods == 0) {
		problem(answer, 404, request->path, "there is nothing; / lists what there is");
	} else if (request->method == REQUEST_OPTIONS) {
		answer_options(&serve->auth, request, methods, answer);
	} else {
		problem(answer, 405, request->path, "allowed: %s", router_methods(methods, text));
		answer->allow = methods;
	}
	return false;
}

/* Pages that serve.origins names may read; any other page may change nothing, nor open a WebSocket,
 * whose messages its browser would let it read. */
static bool origin_fits(struct serve *serve, const struct request *request, struct answer *answer)
{
	const char *origin = request_field(request, REQUEST_ORIGIN);
	const char *host = request_field(request, REQUEST_HOST);
	bool looks = (request->method == REQUEST_GET || request->method == REQUEST_HEAD) && !request->upgrade;
	if (looks || origin == NULL || auth_origin_own(origin, host) ||
	    auth_origin_named(&serve->auth, origin))
		return true;
	count(serve, SERVE_refused_origin);
	problem(answer, 403, request->path,
	        "a page of another origin can neither change anything nor open a WebSocket; serve.origins names those that can");
	return false;
}

static bool token_fits(struct serve *serve, const struct request *request, struct answer *answer)
{
	char bearer[AUTH_BEARER_BYTES];
	const char *field = request_field(request, REQUEST_AUTHORIZATION);
	if (field == NULL && request->upgrade)
		field = auth_from_protocols(request_field(request, REQUEST_PROTOCOL), bearer);
	enum auth_verdict verdict = auth_judge(&serve->auth, request->route->who, field);
	if (verdict == AUTH_ALLOWED)
		return true;
	count(serve, SERVE_refused_token);
	switch (verdict) {
	case AUTH_UNREAD:
		problem(answer, 503, request->path, TOKENS_UNREAD);
		answer->retry_after_s = 1;
		break;
	case AUTH_CLOSED:
		problem(answer, 403, request->path, "nobody may: serve.admin_tokens names no file");
		break;
	default:
		problem(answer, 401, request->path,
		        verdict == AUTH_BAD_TOKEN ? "not a token for this route"
		                                  : "a bearer token is needed");
		answer->challenge = verdict == AUTH_BAD_TOKEN ? CHALLENGE_INVALID : CHALLENGE;
	}
	return false;
}

static bool parameters_fit(struct request *request, struct answer *answer)
{
	char wrong[512];
	int64_t now_ms = (int64_t)(clock_real_ns() / NS_PER_MS);
	if (router_read(request, now_ms, wrong, sizeof wrong))
		return true;
	problem(answer, 400, request->path, "%s", wrong);
	return false;
}

void serve_ask(struct serve *serve, const struct request *request, struct answer *answer)
{
	limit_begin(serve->query_ns);
	request->route->handle(serve, request, answer);
	if (limit_end())
		count(serve, SERVE_query_timeouts);
}

/* What is done with every answer of a handler. */
static void end(struct serve *serve, const struct request *request, struct answer *answer)
{
	if (answer->status == 0)
		abort(); /* a handler answers */
	if (answer->bytes > serve->answer_max)
		problem(answer, 500, request->path,
		        "the answer is longer than serve.max_answer allows: ask for less");
	answer_finish(answer, request);
}

static void answer_it(struct serve *serve, struct request *request, struct answer *answer)
{
	const char *origin = request_field(request, REQUEST_ORIGIN);
	answer->varies = serve->auth.n_origins > 0;
	if (origin != NULL && auth_origin_named(&serve->auth, origin))
		answer->origin = origin;
	if (request->fault != NULL) {
		problem(answer, request->fault_status, request->path, "%s", request->fault);
		answer->close = true;
	} else if (host_fits(serve, request, answer) && route_fits(serve, request, answer) &&
	           origin_fits(serve, request, answer) && token_fits(serve, request, answer) &&
	           parameters_fit(request, answer)) {
		if (fleet_asks(serve->fleet, request))
			fleet_answer(serve->fleet, request, answer);
		else
			serve_ask(serve, request, answer);
		if (answer->later == NULL)
			end(serve, request, answer);
	}
}

void serve_count(struct serve *serve, const struct answer *answer)
{
	count(serve, SERVE_requests);
	count(serve, answer->status < 300   ? SERVE_answers_2xx
	             : answer->status < 400 ? SERVE_answers_3xx
	             : answer->status < 500 ? SERVE_answers_4xx
	                                    : SERVE_answers_5xx);
}

void serve_answer(struct serve *serve, struct request *request, struct answer *answer)
{
	answer->began_ns = clock_monotonic_ns();
	answer_it(serve, request, answer);
	if (answer->later == NULL)
		count_answer(serve, answer);
}

void serve_finish(struct serve *serve, const struct request *request, struct answer *answer)
{
	end(serve, request, answer);
	count_answer(serve, answer);
}
