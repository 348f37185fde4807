/* The routes: which path is whose, and what holds for it. Made from routes.def, which explains the
 * columns.
 *
 *     request --route_find--> path --route_of--> route: types, CORS, tokens, outlet, metrics
 */
#ifndef INGEST_HTTP_ROUTES_H
#define INGEST_HTTP_ROUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/http/request.h"

/* ROUTE_track, ROUTE_event ... */
enum route {
#define ROUTE(name, ...) ROUTE_##name,
#include "ingest/http/each_route.h"
	ROUTE_other, /* requests that have no route or could not be read */
	ROUTE_COUNT
};
_Static_assert(ROUTE_COUNT <= 32, "a token has a bit for each");

/* Content types that a body may have. */
struct route_types {
	unsigned status;          /* of the answer to another type */
	const char *error;        /* its text */
	const char *const *types; /* ends with NULL; empty: not looked at */
};

struct route_row {
	const char *name; /* "event", for metrics and the tokens file */
	const struct route_types *types;
	const char *outlet; /* topic or queue; "": it writes nothing */
	bool cors;
	bool tokens; /* a file of tokens may close it */
};

/* By enum route. */
extern const struct route_row routes[ROUTE_COUNT];

struct exchange;
struct body;
typedef void route_handler(struct exchange *exchange, const struct body *body);

enum route_match { EXACT, ALONE, BELOW, UNDER };

struct route_path {
	const char *path;
	uint32_t bytes;
	enum route_match match;
	enum route route;
	unsigned methods;      /* 1 << enum request_method */
	route_handler *handle; /* NULL: no route, but `hint` says where to look */
	const char *hint;
};

/* The row that the path belongs to; there is always one. */
const struct route_path *route_find(const struct slice *path);

/* Whether it is the row of all paths that no other has. */
static inline bool route_is_rest(const struct route_path *path)
{
	return path->bytes == 0;
}

/* The value of an Allow field: "GET, HEAD, OPTIONS". Returns text. */
#define ROUTE_METHODS_BYTES 32u
const char *route_methods(unsigned methods, char text[ROUTE_METHODS_BYTES]);

/* Names of the routes that tokens may close, by enum route, NULL for the others (tokens_load). */
extern const char *const route_token_names[ROUTE_COUNT];

#endif
