/* An exchange: one request and its answer. It is between the connections (server.h), which know
 * bytes and time, and the topics (outlet.h).
 *
 *     head parsed --exchange_begin--> refused at once (404, 405, 401, 413, 415 ...), or the body is wanted
 *     body whole  --exchange_finish--> handler of the route --> event kept in the outlet --> answer appended to the output
 *
 * routes.def says what the routes take and answer; docs/ROUTES.md is made from it.
 *
 * HEAD answers as GET does, without the body, and records nothing. Errors are {"error": "...",
 * "where": "..."}.
 */
#ifndef INGEST_HTTP_EXCHANGE_H
#define INGEST_HTTP_EXCHANGE_H

#include "ingest/http/answer.h"
#include "ingest/http/client.h"
#include "ingest/http/metrics.h"
#include "ingest/http/inflate.h"
#include "ingest/http/outlet.h"
#include "stage/tokens.h"
#include "stage/stage.h"

#define EXCHANGE_ORIGINS_MAX 64u

/* Of the configuration entry; what lists point to lives as long as the configuration. */
struct exchange_settings {
	uint64_t max_body, max_inflated;
	uint32_t batch_errors;
	uint32_t agent_longest;                   /* bytes of a User-Agent that a record keeps */
	const char *origin[EXCHANGE_ORIGINS_MAX]; /* of CORS; "*" is any */
	unsigned n_origins;
};

/* What all exchanges of a process use. */
struct exchange_shared {
	struct exchange_settings settings;
	struct outlet *outlet;
	struct tokens tokens;
	struct inflater *inflater;
	struct pool *pool; /* of requests; answers have their own (output) */
	struct metrics *metrics;
	uint8_t place[ROUTE_COUNT]; /* of the outlet, where each route writes (exchange_find_outlets) */
	const struct stage *stage;  /* for /readyz and /debug/vars; NULL: a stage alone */
	char *scratch;              /* one payload before its lane has room for it */
	size_t scratch_bytes;
};

/* The sender of the request. */
struct exchange_peer {
	struct outlet_source source; /* the connection's other end, after the PROXY protocol */
	bool trusted;                /* its forwarding headers are believed */
};

struct exchange {
	struct exchange_shared *shared;
	const struct request *request;
	const struct exchange_peer *peer;
	struct output *output;
	/* the connection ends with this answer, whatever the request says (in exchange_begin: if it
	 * answers) */
	bool last;
	enum route route;
	unsigned status; /* of the answer, once it is written */
	bool closed;     /* the answer says Connection: close */
};

/* Where the request's events go. Only for routes that have an outlet. */
static inline unsigned exchange_place(const struct exchange *exchange)
{
	return exchange->shared->place[exchange->route];
}

/* Finds the outlet of each route among what the stage writes. Returns 0, or -EINVAL with the
 * reason: a row of routes.def names one that the stage does not write. shared->outlet is open. */
int exchange_find_outlets(struct exchange_shared *shared, struct shm_error *error);

/* Looks at a head: finds the route and says whether its body is wanted. Returns true when it is;
 * otherwise the answer is written (status, closed set). */
bool exchange_begin(struct exchange *exchange);

/* The body is whole (0 bytes: none; body may be written to): writes the answer. Needs ANSWER_ROOM
 * in output; a larger answer makes output grow from the pool. */
void exchange_finish(struct exchange *exchange, char *body, size_t bytes);

/* An answer to what could not become an exchange: a bad head, a body that came late. request may be
 * NULL. Always closes. */
void exchange_fail(struct exchange *exchange, unsigned status, const char *error, const char *where);

#endif
