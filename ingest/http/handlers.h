/* The handlers of the routes, and how they answer. Internal to exchange.c and route_*.c.
 *
 * A handler is called once the body is whole and inflated. It writes exactly one answer.
 */
#ifndef INGEST_HTTP_HANDLERS_H
#define INGEST_HTTP_HANDLERS_H

#include "ingest/http/exchange.h"
#include "ingest/json/event.h"

/* A body as the handler gets it. */
struct body {
	char *text;
	size_t bytes;
};

/* The handlers that routes.def names. */
#define PATH(name, path, match, methods, handler, takes, answers) route_handler handler;
#include "ingest/http/each_route.h"

/* What became of one event. */
enum taken { TAKEN, TAKEN_NOT, TAKEN_FULL };

extern const struct json_fault fault_too_large;

#define HOST_LONGEST 261u /* a name, a colon, a port; of a longer Host a record keeps the beginning */

/* What records keep of the request's User-Agent and Host: at most agent_longest and HOST_LONGEST
 * bytes, whole characters. */
struct call_from {
	struct slice agent, host;
};
struct call_from call_from(const struct exchange *exchange);

/* An answer with a JSON body. */
void reply_json(struct exchange *exchange, unsigned status, const char *text, size_t bytes);

/* The error as JSON. */
void reply_error(struct exchange *exchange, unsigned status, const char *error, const char *where);

/* The same for what is wrong in a body: 413 when something is too large, else 400. */
void reply_wrong(struct exchange *exchange, const struct json_fault *fault);

/* 503 with Retry-After: the route's outlet is full. */
void reply_full(struct exchange *exchange);

/* Any answer: fills in what the exchange knows (closing, HEAD, CORS) and writes it. */
void reply(struct exchange *exchange, struct answer *answer);

/* The type of a Content-Type field without its parameters, compared without case: exchange_type(e,
 * "application/json"). */
bool exchange_type(const struct exchange *exchange, const char *type);

#define REPLY_OK "{\"status\":\"ok\"}"

#endif
