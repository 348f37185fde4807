/* Answers: built into the output of a connection, one after the other when requests are
 * pipelined.
 *
 *     struct answer answer = {.status = 200, .type = ANSWER_JSON, ...};
 *     answer_write(&answer, output)      HTTP/1.1 200 OK CRLF Date: ... CRLF ... CRLF CRLF body
 *
 * Every answer carries Date (RFC 9110, 6.6.1) and, unless it has none, Content-Type and
 * Content-Length. An answer to HEAD has the length of the body that it leaves out.
 */
#ifndef INGEST_HTTP_ANSWER_H
#define INGEST_HTTP_ANSWER_H

#include "ingest/http/pool.h"
#include "ingest/http/request.h"

/* What an answer copies from a request has a limit; beyond it the answer has no field of CORS at
 * all. */
#define ANSWER_ORIGIN_MAX  320u  /* Origin: a scheme, a host of at most 253 bytes, a port */
#define ANSWER_HEADERS_MAX 1024u /* Access-Control-Request-Headers */

#define ANSWER_ERROR_BYTES 512u /* the body of an error */
#define ANSWER_HEAD_MAX    704u /* a head without what it copies */

/* Any answer fits but a preflight's and one with a longer body. */
#define ANSWER_ROOM (ANSWER_HEAD_MAX + ANSWER_ORIGIN_MAX + ANSWER_ERROR_BYTES)

#define ANSWER_JSON "application/json"
#define ANSWER_TEXT "text/plain; charset=utf-8"
#define ANSWER_GIF  "image/gif"

/* Bytes on their way out. base is a block of the pool, which output grows from. */
struct output {
	char *base;
	size_t used, room;
	struct pool *pool;
};

struct answer {
	unsigned status;
	const char *type; /* Content-Type; NULL: no body, no type (204) */
	const char *body;
	size_t body_bytes;
	bool head_only;         /* answer to HEAD */
	bool close;             /* Connection: close */
	bool http_1_0;          /* says Connection: keep-alive when it does not close */
	bool no_store;          /* Cache-Control: no-store */
	const char *allow;      /* Allow: "GET, POST", or NULL */
	unsigned retry_after_s; /* 0: no Retry-After */
	const char *challenge;  /* WWW-Authenticate, or NULL */
	/* Access-Control-Allow-Origin; text NULL: none. The other fields of CORS go with it. */
	struct slice allow_origin;
	/* of a preflight: Access-Control-Allow-Headers; text NULL: it is none */
	struct slice allow_headers;
	const char *allow_methods; /* of a preflight */
};

/* Sets the time that answers carry: seconds since the epoch. Call at least once a second. */
void answer_set_time(uint64_t seconds);

/* Appends the answer; output grows when it has no room. False when the pool has none either: then
 * output holds what it held. Never fails with ANSWER_ROOM bytes of room, a body of at most
 * ANSWER_ERROR_BYTES, and no allow_headers. */
bool answer_write(const struct answer *answer, struct output *output);

/* "HTTP/1.1 100 Continue" (RFC 9110, 10.1.1). The same. */
bool answer_continue(struct output *output);

/* A whole answer that needs no output: 503, Retry-After and Connection: close, when there is no
 * memory for another. *bytes is its length. */
const char *answer_without_output(size_t *bytes);

/* Makes room for `bytes` more in output. False when the pool has none; then output is as it was. */
bool output_grow(struct output *output, size_t bytes);

/* {"error": "...", "where": "..."} at text (ANSWER_ERROR_BYTES); returns its length. error and
 * where are shortened when they are too long; quotes, backslashes and controls are escaped. */
size_t answer_error(char text[ANSWER_ERROR_BYTES], const char *error, const char *where);

#endif
