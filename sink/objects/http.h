/* HTTP requests for the stores and the services that give credentials, by libcurl (multi). Nothing
 * blocks.
 *
 *     http_start --> sent, when there is a connection; signed at that moment --> http_next gives it back with its answer
 *
 * Never a proxy from the environment, no redirects, TLS always verified (own CA file by option),
 * HTTP/1.1, connections kept, no signals. Bodies are sent from pieces without copying. Answers are
 * kept up to a limit. A request that ends without an answer says whether anything had been sent
 * (sent): only then may the server have acted.
 */
#ifndef SINK_OBJECTS_HTTP_H
#define SINK_OBJECTS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "shm/segment.h"
#include "sink/objects/store.h"

struct http; /* opaque; one thread */

struct http_options {
	unsigned connections; /* at a time */
	uint64_t connect_timeout_ns;
	uint64_t stall_timeout_ns; /* without a byte in either direction */
	uint64_t total_timeout_ns;
	const char *ca_file; /* "": the system's */
	size_t answer_max;   /* bytes of an answer's body that are kept */
};

#define HTTP_HEADERS_MAX 24u

/* Belongs to the caller until http_next gives it back. Strings stay until then. */
struct http_request {
	const char *method;
	char *url;
	const char *header[HTTP_HEADERS_MAX]; /* "name: value" */
	unsigned n_headers;
	const struct iovec *piece;
	unsigned n_pieces;
	uint64_t bytes;
	bool expect; /* Expect: 100-continue */
	/* Called just before it is sent, to add a date and a signature; NULL: nothing to add.
	 * Returns 0, or -errno: the request ends with that and nothing was sent. */
	int (*sign)(struct http_request *request, void *owner);
	void *owner;
	/* ---- out ---- */
	int result; /* 0: there was an answer; -ETIMEDOUT, -ECONNREFUSED, -EPROTO (TLS), -EIO, ... */
	bool sent;  /* at least one byte of the request had gone out */
	long status;
	char *body; /* 0-ended, body_bytes long; freed by http_request_fini */
	size_t body_bytes;
	bool body_cut;    /* it was longer than answer_max */
	char *answer;     /* the answer's head: lines of "name: value" */
	char reason[160]; /* libcurl's words when result is not 0 */
	struct http_request *next;
	void *own;
};

int http_open(struct http **http, const struct http_options *options, struct shm_error *error);
void http_close(struct http *http);

/* False when all connections are busy. */
bool http_start(struct http *http, struct http_request *request);
struct http_request *http_next(struct http *http, uint64_t now_ns);

/* As store_ops.wait. */
unsigned http_wait(struct http *http, struct store_wait *wait, unsigned n, uint64_t *timeout_ns);

/* The value of a header of the answer, without white space around it; case of the name does not
 * matter. Returns its length, or -ENOENT, -ENOSPC. */
int http_header(const struct http_request *request, const char *name, char *value, size_t size);

/* What Retry-After asks for, 0 when there is none; at most `most`. Seconds or a date (RFC 9110, 10.2.3). */
uint64_t http_retry_after_ns(const struct http_request *request, uint64_t most_ns);

/* Frees what an answer took. */
void http_request_fini(struct http_request *request);

#endif
