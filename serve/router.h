/* The routes: which there are, who may use them, what they take. Made from routes.def.
 *
 *     method and path --router_find--> route --router_read--> parameters, checked
 *                          |                      '--> 400 with the name of what is wrong
 *                          '--> 404, or 405 with the methods that there are
 *
 * A pattern is a path with parameters in braces, "/dead/{id}/replay". A parameter takes one
 * segment, at least one byte of it; the last one of a pattern takes the rest of the path, slashes
 * included. A slash at the end of a path counts for nothing. GET answers HEAD, too; every path
 * answers OPTIONS.
 */
#ifndef SERVE_ROUTER_H
#define SERVE_ROUTER_H

#include "serve/request.h"

struct serve;
struct answer;

typedef void route_handler(struct serve *serve, const struct request *request, struct answer *answer);

/* handle_stat ... */
#define ROUTE(name, ...) route_handler handle_##name;
#include "serve/routes.def"
#undef ROUTE

/* Who may use it, as far as tokens are configured (auth.h). */
enum route_who { ROUTE_EVERYBODY, ROUTE_READER, ROUTE_ADMIN };

enum parameter_kind {
	PARAMETER_TEXT,   /* min and max bound its bytes */
	PARAMETER_NUMBER, /* an integer from min to max */
	PARAMETER_PLACE,  /* in a list, "1795807967788-17": two numbers, the second from 1 on */
	PARAMETER_TIME,   /* 2026-07-01, 2026-07-01T12:30:00Z, milliseconds, or so long ago: 30m, 2h, 7d */
};

struct route_parameter {
	const char *name;
	bool in_path;
	enum parameter_kind kind;
	int64_t min, max;
	const char *otherwise; /* its default; NULL: none */
	unsigned times;        /* in a query, at most */
	const char *help;
};

struct route {
	const char *name; /* "dead_replay" */
	enum request_method method;
	const char *pattern;
	enum route_who who;
	route_handler *handle;
	const char *type;     /* of a good answer */
	const char *statuses; /* "200 404": what it can answer besides what any route can */
	const char *help;
	const struct route_parameter *parameter; /* ends with a name of NULL */
};

extern const struct route router_routes[];
extern const size_t router_n_routes;

/* Finds the route of the request's method and path, and notes the parameters of the path in it.
 * Returns it, or NULL with *methods set to the methods (1 << enum request_method) that the path
 * has, 0: it is nobody's. */
const struct route *router_find(struct request *request, unsigned *methods);

/* Reads the parameters of request->route: those of the path and of the query. Returns true; false
 * with what is wrong in text (size bytes): a parameter that the route does not have, one that comes
 * twice, a value that is not allowed. now_ms: what "2h" counts back from. */
bool router_read(struct request *request, int64_t now_ms, char *text, size_t size);

/* The two numbers of a PARAMETER_PLACE; false: it is none. */
bool router_place(const char *text, int64_t *first, int64_t *second);

/* "GET, HEAD, OPTIONS" for an Allow field. */
#define ROUTER_METHODS_BYTES 64u
const char *router_methods(unsigned methods, char text[ROUTER_METHODS_BYTES]);

/* What of the tree is shown of a row: "everybody", "readers", "administrators". */
const char *router_who(enum route_who who);

#endif
