/* A request as a handler sees it: method, path, parameters, and the fields that matter.
 *
 *     head of libwebsockets --server.c--> request_init, request_set_path, request_add_query, fields
 *                                              --router_find--> route, parameters
 *
 * libwebsockets has decoded the path already (%xx, // and /../), so a slash within a segment cannot
 * be told from one between two: the last parameter of a pattern therefore takes all that is left
 * (router.h). The query is decoded after it was taken apart, so any byte may be in a value.
 */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"

#define REQUEST_PATH_MAX   2048u /* bytes; a longer one is 414 */
#define REQUEST_QUERY_MAX  16u   /* parameters */
#define REQUEST_QUERY_ROOM 4096u /* bytes of all of them, their final 0 included */
#define REQUEST_FIELD_MAX  1024u /* bytes of a field; a longer one counts as one that says nothing */
#define REQUEST_PARAMETERS 16u   /* of a route */

enum request_method {
	REQUEST_GET,
	REQUEST_HEAD,
	REQUEST_POST,
	REQUEST_PUT,
	REQUEST_PATCH,
	REQUEST_DELETE,
	REQUEST_OPTIONS,
	REQUEST_OTHER,
	REQUEST_METHOD_COUNT
};

/* What is read of the head. */
enum request_field {
	REQUEST_HOST,
	REQUEST_ORIGIN,
	REQUEST_AUTHORIZATION,
	REQUEST_ACCEPT,
	REQUEST_ACCEPT_ENCODING,
	REQUEST_IF_NONE_MATCH,
	REQUEST_VIA,
	REQUEST_PROTOCOL, /* Sec-WebSocket-Protocol */
	REQUEST_FIELD_COUNT
};

struct route;

struct request {
	enum request_method method;
	char path[REQUEST_PATH_MAX + 1]; /* decoded */
	const char *fault;               /* why it cannot be answered; NULL: it can */
	unsigned fault_status;
	struct {
		const char *name, *value;
	} query[REQUEST_QUERY_MAX];
	unsigned n_query;
	char query_text[REQUEST_QUERY_ROOM];
	size_t query_bytes;
	bool has_field[REQUEST_FIELD_COUNT];
	char field[REQUEST_FIELD_COUNT][REQUEST_FIELD_MAX + 1];
	bool upgrade;              /* to a WebSocket */
	const struct route *route; /* set by the router */
	/* By the parameters of its row: the value, or its default; NULL: not given. */
	const char *value[REQUEST_PARAMETERS];
	int64_t number[REQUEST_PARAMETERS];
	char segments[REQUEST_PATH_MAX + 2]; /* that values of the path point into */
};

/* "GET"; the name that routes.def and Allow use. */
const char *request_method_name(enum request_method method);

void request_init(struct request *request, enum request_method method);

/* Takes a decoded path. One that is too long, does not begin with a slash, or has control
 * characters, becomes the request's fault. */
void request_set_path(struct request *request, const char *path, size_t bytes);

/* Takes one decoded "name=value" ("name" alone has the value ""). Too many, or one with control
 * characters, become the request's fault. */
void request_add_query(struct request *request, const char *text, size_t bytes);

/* Takes a field's value; a longer one than REQUEST_FIELD_MAX is kept as "" (has_field is true). */
void request_set_field(struct request *request, enum request_field field, const char *value, size_t bytes);

/* NULL when the request has no such field. */
const char *request_field(const struct request *request, enum request_field field);

/* The value of a parameter of the route's row; NULL when it was not given and has no default. A
 * name that the row does not have is our own bug: abort. */
const char *request_text(const struct request *request, const char *name);

/* The same for a number; `otherwise` when it was not given and has no default. */
int64_t request_number(const struct request *request, const char *name, int64_t otherwise);

/* The value of parameter number i of this name, in the order of the query; NULL: there are no more.
 * For those that a route's row has as MANY. */
const char *request_each(const struct request *request, const char *name, unsigned i);

/* The weight that a field Accept gives to a type ("text/html"), in thousandths: that of the most
 * specific range that covers it (RFC 9110, 12.5.1). list NULL, no such field: 1000. */
unsigned request_weight(const char *list, const char *type);

/* Whether a list of the form of Accept-Encoding or Accept (RFC 9110, 12.4.2) names the word with a
 * weight other than 0. "*" counts for every coding, not for types. */
bool request_accepts(const char *list, const char *word);

/* The parameter "id" as the id of a postback: its two numbers, and its text as it is stored, in
 * lower case. False: it is none. */
bool request_postback(const struct request *request, uint64_t id[2], char text[EVENT_POSTBACK_ID_BYTES + 1]);

#endif
