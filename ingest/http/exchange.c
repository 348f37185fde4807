#include "ingest/http/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ingest/http/handlers.h"

int exchange_find_outlets(struct exchange_shared *shared, struct shm_error *error)
{
	for (unsigned i = 0; i < ROUTE_COUNT; i++) {
		if (routes[i].outlet[0] == '\0')
			continue;
		int place = outlet_find(shared->outlet, routes[i].outlet);
		if (place < 0) {
			shm_explain(
			        error,
			        "route \"%s\" writes to \"%s\", which flow/flow.def does not name for the stage",
			        routes[i].name, routes[i].outlet);
			return -EINVAL;
		}
		shared->place[i] = (uint8_t)place;
	}
	return 0;
}

/* ---- answers ---- */

static bool origin_allowed(const struct exchange_settings *settings, const struct slice *origin)
{
	if (origin->text == NULL || origin->bytes > ANSWER_ORIGIN_MAX)
		return false;
	for (unsigned i = 0; i < settings->n_origins; i++)
		if (strcmp(settings->origin[i], "*") == 0 ||
		    (strlen(settings->origin[i]) == origin->bytes &&
		     strncasecmp(settings->origin[i], origin->text, origin->bytes) == 0))
			return true;
	return false;
}

/* The answer found no room. This one fits: every caller has made sure of ANSWER_ROOM. */
static void answer_short(struct exchange *exchange, struct answer *answer)
{
	*answer = (struct answer){
	        .status = 503,
	        .type = ANSWER_TEXT,
	        .body = "",
	        .close = answer->close,
	        .http_1_0 = answer->http_1_0,
	        .retry_after_s = 1,
	};
	exchange->shared->metrics->own[HTTP_answer_memory_short]++;
	if (!answer_write(answer, exchange->output))
		abort();
}

void reply(struct exchange *exchange, struct answer *answer)
{
	const struct request *request = exchange->request;
	bool close = exchange->last || request == NULL || !request->keep_alive;
	answer->close = close;
	if (request != NULL) {
		answer->head_only = request->method == REQUEST_HEAD;
		answer->http_1_0 = request->minor == 0;
		if (routes[exchange->route].cors && answer->allow_headers.bytes <= ANSWER_HEADERS_MAX &&
		    origin_allowed(&exchange->shared->settings, &request->origin))
			answer->allow_origin = request->origin;
	}
	if (!answer_write(answer, exchange->output))
		answer_short(exchange, answer);
	exchange->status = answer->status;
	exchange->closed = close;
}

void reply_json(struct exchange *exchange, unsigned status, const char *text, size_t bytes)
{
	struct answer answer = {.status = status, .type = ANSWER_JSON, .body = text, .body_bytes = bytes};
	reply(exchange, &answer);
}

static void reply_error_with(struct exchange *exchange, struct answer *answer, const char *error,
                             const char *where)
{
	char text[ANSWER_ERROR_BYTES];
	answer->type = ANSWER_JSON;
	answer->body = text;
	answer->body_bytes = answer_error(text, error, where);
	reply(exchange, answer);
	answer->body = NULL;
}

void reply_error(struct exchange *exchange, unsigned status, const char *error, const char *where)
{
	struct answer answer = {.status = status};
	reply_error_with(exchange, &answer, error, where);
}

void reply_full(struct exchange *exchange)
{
	const struct outlet *outlet = exchange->shared->outlet;
	struct answer answer = {
	        .status = 503,
	        .retry_after_s = outlet_retry_after_s(outlet, exchange_place(exchange)),
	};
	reply_error_with(exchange, &answer, "full: try again later",
	                 outlet_is_queue(outlet, exchange_place(exchange)) ? "queue" : "topic");
}

void exchange_fail(struct exchange *exchange, unsigned status, const char *error, const char *where)
{
	struct answer answer = {.status = status};
	exchange->last = true;
	if (status == 503)
		answer.retry_after_s = 1;
	reply_error_with(exchange, &answer, error, where);
}

/* ---- what a head asks for ---- */

bool exchange_type(const struct exchange *exchange, const char *type)
{
	const struct slice *field = &exchange->request->content_type;
	size_t bytes = strlen(type);
	if (field->text == NULL || field->bytes < bytes || strncasecmp(field->text, type, bytes) != 0)
		return false;
	for (size_t i = bytes; i < field->bytes; i++) {
		if (field->text[i] == ';')
			return true;
		if (field->text[i] != ' ' && field->text[i] != '\t')
			return false;
	}
	return true;
}

static void answer_options(struct exchange *exchange, unsigned methods)
{
	const struct request *request = exchange->request;
	char text[ROUTE_METHODS_BYTES];
	struct answer answer = {.status = 204, .allow = route_methods(methods, text)};
	if (routes[exchange->route].cors && request->request_method.text != NULL) {
		answer.allow_methods = answer.allow;
		answer.allow_headers = request->request_headers;
	}
	reply(exchange, &answer);
}

static bool method_fits(struct exchange *exchange, const struct route_path *path)
{
	const struct request *request = exchange->request;
	char text[ROUTE_METHODS_BYTES];
	if (path->handle == NULL) {
		reply_error(exchange, 404, path->hint, "path");
		return false;
	}
	if ((path->methods & 1u << request->method) != 0)
		return true;
	if (route_is_rest(path)) {
		exchange->route = ROUTE_other;
		reply_error(exchange, 404, "no such route", "path");
		return false;
	}
	struct answer answer = {.status = 405, .allow = route_methods(path->methods, text)};
	reply_error_with(exchange, &answer, "method not allowed on this route", "method");
	return false;
}

static bool token_fits(struct exchange *exchange)
{
	bool challenged = false;
	const struct slice *field = &exchange->request->authorization;
	if (tokens_allow(&exchange->shared->tokens, exchange->route, field->text, field->bytes, &challenged))
		return true;
	if (exchange->shared->tokens.unread) {
		struct answer later = {.status = 503, .retry_after_s = 1};
		reply_error_with(exchange, &later, TOKENS_UNREAD, "ingest.http[].tokens");
		return false;
	}
	struct answer answer = {
	        .status = 401,
	        .challenge = challenged ? "Bearer error=\"invalid_token\"" : "Bearer",
	};
	reply_error_with(exchange, &answer,
	                 challenged ? "not a token for this route" : "a bearer token is needed",
	                 "Authorization");
	return false;
}

static bool type_fits(struct exchange *exchange)
{
	const struct request *request = exchange->request;
	if (request->coding == REQUEST_CODING_OTHER) {
		reply_error(exchange, 415, "must be gzip, deflate or identity", "Content-Encoding");
		return false;
	}
	const struct route_types *allowed = routes[exchange->route].types;
	/* Without the field the recipient may assume a type (RFC 9110, 8.3). */
	if (allowed->types[0] == NULL || request->method != REQUEST_POST ||
	    request->content_type.text == NULL)
		return true;
	for (const char *const *type = allowed->types; *type != NULL; type++)
		if (exchange_type(exchange, *type))
			return true;
	reply_error(exchange, allowed->status, allowed->error, "Content-Type");
	return false;
}

#define ALL_METHODS (1u << REQUEST_GET | 1u << REQUEST_HEAD | 1u << REQUEST_POST | 1u << REQUEST_OPTIONS)

bool exchange_begin(struct exchange *exchange)
{
	const struct request *request = exchange->request;
	if (request->path.bytes == 1 && request->path.text[0] == '*') {
		exchange->route = ROUTE_other;
		answer_options(exchange, ALL_METHODS);
		return false;
	}
	const struct route_path *path = route_find(&request->path);
	exchange->route = path->route;
	if (!method_fits(exchange, path))
		return false;
	if (request->method == REQUEST_OPTIONS) {
		answer_options(exchange, path->methods);
		return false;
	}
	if (!token_fits(exchange) || !type_fits(exchange))
		return false;
	if (request->content_length > exchange->shared->settings.max_body) {
		reply_error(exchange, 413, "body is longer than max_body", "Content-Length");
		return false;
	}
	return true;
}

/* ---- the body ---- */

static void run(struct exchange *exchange, const struct route_path *path, char *text, size_t bytes)
{
	struct body body = {.text = text, .bytes = bytes};
	path->handle(exchange, &body);
}

static void inflate_and_run(struct exchange *exchange, const struct route_path *path, const char *text,
                            size_t bytes)
{
	struct exchange_shared *shared = exchange->shared;
	/* Most bodies inflate to little; a bomb gets no more than max_inflated. */
	for (size_t guess = 16 * bytes + 4096;; guess = shared->settings.max_inflated) {
		if (guess > shared->settings.max_inflated)
			guess = shared->settings.max_inflated;
		char *room = pool_take(shared->pool, guess, NULL);
		if (room == NULL) {
			shared->metrics->own[HTTP_memory_short]++;
			exchange_fail(exchange, 503, "out of memory for request bodies: try again later",
			              "body");
			return;
		}
		long length =
		        inflater_run(shared->inflater, exchange->request->coding, text, bytes, room, guess);
		if (length >= 0) {
			shared->metrics->own[HTTP_inflated_bytes] += (uint64_t)length;
			run(exchange, path, room, (size_t)length);
		} else if (length != -EMSGSIZE) {
			reply_error(exchange, 400, "is not what Content-Encoding says", "body");
		} else if (guess == shared->settings.max_inflated) {
			reply_error(exchange, 413, "body inflates to more than max_inflated", "body");
		}
		pool_give(shared->pool, room);
		if (length != -EMSGSIZE || guess == shared->settings.max_inflated)
			return;
	}
}

void exchange_finish(struct exchange *exchange, char *body, size_t bytes)
{
	const struct route_path *path = route_find(&exchange->request->path);
	exchange->route = path->route;
	if (exchange->request->coding == REQUEST_IDENTITY || bytes == 0)
		run(exchange, path, body, bytes);
	else
		inflate_and_run(exchange, path, body, bytes);
}
