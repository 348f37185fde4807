/* HTTP requests for the stores and the services that give credentials, by libcurl (multi). Nothing
 * blocks.
 *
 *     http_start --> sent, when there is a connection; signed at that moment --> http_next gives it back with its answer
 *
 * Never a proxy from the environment, no redirects, TLS always verified (own CA file by option),
 * HTTP/1.1, connections kept, no signals (SIGPIPE must be ignored, as stage_main does). Bodies are
 * sent from pieces without copying. Answers are kept up to a limit. A request that ends without an
 * answer says whether anything had been sent (sent): only then may the server have acted.
 *
 * A kept connection may turn out to be dead when the request has been sent. GET and HEAD are then
 * sent again, signed again. Any other request ends with -EIO and sent: whether it may be repeated
 * is for the caller to know. (libcurl would repeat it unasked.)
 *
 * Names are resolved in threads. A request that times out meanwhile ends at once; its thread goes
 * on for as long as getaddrinfo(3) takes.
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

#define HTTP_ANSWER_HEAD_MAX 32768u /* bytes of an answer's head; a longer one is an error, -EBADMSG */

struct http_options {
	unsigned connections; /* at a time */
	uint64_t connect_timeout_ns;
	uint64_t stall_timeout_ns; /* once connected, without a byte in either direction */
	uint64_t total_timeout_ns;
	const char *ca_file; /* "": the system's */
	size_t answer_max;   /* bytes of an answer's body that are kept; the rest is thrown away */
};

#define HTTP_HEADERS_MAX 24u

/* The caller fills the first part and leaves it, and all that it points to, alone until http_next
 * gives the request back. */
struct http_request {
	const char *method;                   /* "GET", "HEAD", "PUT", "POST", "DELETE" */
	char *url;                            /* percent-encoded; its path goes out as it is */
	const char *header[HTTP_HEADERS_MAX]; /* "name: value", no Content-Length and no Expect */
	unsigned n_headers;
	const struct iovec *piece; /* the body, of PUT and POST */
	unsigned n_pieces;
	uint64_t bytes; /* of all pieces */
	/* Expect: 100-continue; the body follows after a second without an answer, too. A server
	 * that answers 417 knows no Expect: it is left out from then on, and the request may be
	 * started again. */
	bool expect;
	/* Called when there is a connection, just before the head is sent, to add headers with a
	 * date and a signature; NULL: nothing to add. The URL is settled by then. Called again,
	 * with the headers as they were at the start, when the request is sent again. Returns 0, or
	 * -errno: the request ends with that, and nothing was sent. */
	int (*sign)(struct http_request *request, void *owner);
	void *owner;
	/* ---- out ---- */
	/* 0: there was a whole answer; -ETIMEDOUT; -EHOSTUNREACH: no such name; -ECONNREFUSED and
	 * what else connect(2) says; -EPROTO: TLS; -EIO: the connection was lost; -EBADMSG: an
	 * answer that is none; -EINVAL: a URL or header that is none; -ENOMEM; what sign said */
	int result;
	bool sent;   /* at least one byte of the request had gone out */
	long status; /* 0 when result is not 0 */
	char *body;  /* 0-ended, body_bytes long; NULL when there is none; freed by http_request_fini */
	size_t body_bytes;
	bool body_cut;    /* it was longer than answer_max */
	char *answer;     /* the answer's head: lines of "name: value", each with a newline; or NULL */
	char reason[160]; /* libcurl's words when result is not 0 */
	struct http_request *next;
	void *own;
};

/* Returns 0 or -errno with the reason in error: no memory, or a ca_file that cannot be read. The
 * strings of options are copied. */
int http_open(struct http **http, const struct http_options *options, struct shm_error *error);

/* Gives up what is under way: those requests are the caller's again, without an answer. Does not
 * wait for names that are being resolved. NULL does nothing. */
void http_close(struct http *http);

/* Bytes of ordinary memory that it can come to hold, answers included. */
uint64_t http_memory_max(const struct http_options *options);

/* Starts a request. False when as many as there are connections are under way. */
bool http_start(struct http *http, struct http_request *request);

/* A request that has ended, or NULL. Drives all; never blocks. now_ns: clock_monotonic_ns. */
struct http_request *http_next(struct http *http, uint64_t now_ns);

/* As store_ops.wait: at most one descriptor, which stays the same, so that several can be waited
 * for. */
unsigned http_wait(struct http *http, struct store_wait *wait, unsigned n, uint64_t *timeout_ns);

/* The value of a header of the answer, without white space around it; case of the name does not
 * matter. Returns its length, or -ENOENT, -ENOSPC. */
int http_header(const struct http_request *request, const char *name, char *value, size_t size);

/* The answer's Date, in seconds since 1970, or 0 when there is none. */
int64_t http_date(const struct http_request *request);

/* What Retry-After asks for, 0 when there is none; at most `most`. Seconds or a date (RFC 9110,
 * 10.2.3). */
uint64_t http_retry_after_ns(const struct http_request *request, uint64_t most_ns);

/* Frees what an answer took. Once after http_next, before the request is started again. */
void http_request_fini(struct http_request *request);

#endif
