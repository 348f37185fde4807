/* Requests for the routes of ingest-http, each made from its number.
 *
 *     seed, number --send_http_request_make--> POST /event HTTP/1.1 ... {"username":"user7","count":<event>,"metric":"login"}
 *
 * A request depends only on the seed and its number, so it can be made again. Each event carries a
 * unique number, in count (event), content_id (log) or n (the others): a
 * request has `batch` of them, and request i starts at first + i * batch. So a test can compare the
 * acknowledged events with the stored ones.
 *
 * A postback (of the command `send postback`) is {"n":<number>,"t":<time>,"data":"..."}: t is when
 * the request was made, in microseconds of CLOCK_REALTIME. It alone differs when a request is made
 * again.
 *
 * The mix "collector" is that of BEHAVIOUR's metric collector: 20 random events to 1 example event,
 * which is always the same.
 */
#ifndef CLI_LOAD_SEND_HTTP_REQUEST_H
#define CLI_LOAD_SEND_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SEND_HTTP_BATCH_MAX 10000u
#define SEND_HTTP_TEXT_MAX  1024u     /* bytes of each text of the settings */
#define SEND_HTTP_DATA_MAX  65536u    /* bytes of the data of a postback */
#define SEND_HTTP_EXAMPLE   12412414u /* count of the example event */

enum send_http_route {
	SEND_HTTP_EVENT,
	SEND_HTTP_LOG,
	SEND_HTTP_TRACK,
	SEND_HTTP_BATCH,
	SEND_HTTP_INGEST,
	SEND_HTTP_POSTBACK, /* /ingest for `send postback`; never corrupted */
};

/* The ways to corrupt a request. */
enum send_http_corruption {
	SEND_HTTP_VALID,
#define CORRUPTION(symbol, name, routes, last, help) SEND_HTTP_##symbol,
#include "cli/load/send_http_corruptions.def"
#undef CORRUPTION
	SEND_HTTP_CORRUPTIONS
};

struct send_http_request_settings {
	enum send_http_route route;
	bool collector; /* the mix: route is SEND_HTTP_EVENT */
	bool close;     /* ask the server to close after the answer */
	double corrupt_percent;
	uint64_t seed;
	uint64_t first; /* unique number of the first event, at least 1 */
	/* events in a request, 1 .. SEND_HTTP_BATCH_MAX; 1 except for batch and ingest */
	uint32_t batch;
	uint64_t time_ms;   /* the time in events that have one */
	const char *host;   /* the Host field */
	const char *prefix; /* before the route's path: "" or "/behind/a/proxy" */
	const char *token;  /* bearer token, NULL for none */
	/* target of postbacks: a URL without a query; for SEND_HTTP_POSTBACK a template */
	const char *endpoint;
	const char *method;  /* SEND_HTTP_POSTBACK: of the endpoint */
	uint32_t data_bytes; /* SEND_HTTP_POSTBACK: length of data, 0: there is none */
};

/* A request that was made. */
struct send_http_request {
	uint32_t bytes;
	uint8_t corruption; /* enum send_http_corruption */
	bool last;          /* the server may or must close the connection after it */
	bool head;          /* its answer has no body */
	bool example;       /* the example event: its number is SEND_HTTP_EXAMPLE */
};

/* The most bytes of a request. */
size_t send_http_request_room(const struct send_http_request_settings *settings);

/* Makes request number `number` (from 0) at out, send_http_request_room bytes. */
struct send_http_request send_http_request_make(const struct send_http_request_settings *settings,
                                                uint64_t number, char *out);

/* The unique number of the first event of a request; those of the others follow. */
static inline uint64_t send_http_request_first(const struct send_http_request_settings *settings,
                                               uint64_t number)
{
	return settings->first + number * settings->batch;
}

/* The corruption's name in the account: "two_hosts". */
const char *send_http_corruption_name(enum send_http_corruption corruption);

/* The place for text. The caller makes it large enough. */
struct send_http_text {
	char *at;
};

static inline void send_http_put(struct send_http_text *text, const char *from)
{
	size_t n = strlen(from);
	memcpy(text->at, from, n);
	text->at += n;
}

static inline void send_http_put_number(struct send_http_text *text, uint64_t number)
{
	char digits[20], *first = digits + sizeof digits;
	do
		*--first = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	size_t n = (size_t)(digits + sizeof digits - first);
	memcpy(text->at, first, n);
	text->at += n;
}

#endif
