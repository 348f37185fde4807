/* Answers: built into the output of a connection, one behind the other when requests were pipelined.
 *
 *     struct answer answer = {.status = 200, .type = ANSWER_JSON, ...};
 *     answer_write(&answer, output)      HTTP/1.1 200 OK CRLF Date: ... CRLF ... CRLF CRLF body
 *
 * Every answer carries Date (RFC 9110, 6.6.1) and, unless it has none, Content-Type and Content-Length. An answer to HEAD has the
 * length of the body that it leaves out.
 */
#ifndef INGEST_HTTP_ANSWER_H
#define INGEST_HTTP_ANSWER_H

#include "ingest/http/pool.h"
#include "ingest/http/request.h"

#define ANSWER_ROOM 1536u /* of any answer without a body of its own making; the longest is an error with CORS fields */

#define ANSWER_JSON "application/json"
#define ANSWER_TEXT "text/plain; charset=utf-8"
#define ANSWER_GIF  "image/gif"

/* Bytes on their way out. base is a block of the pool. */
struct output {
	char *base;
	size_t used, room;
};

struct answer {
	unsigned status;
	const char *type;  /* Content-Type; NULL: no body, no type (204) */
	const char *body;
	size_t body_bytes;
	bool head_only;    /* answer to HEAD */
	bool close;        /* Connection: close */
	bool http_1_0;     /* says Connection: keep-alive when it does not close */
	bool no_store;     /* Cache-Control: no-store */
	const char *allow; /* Allow: "GET, POST", or NULL */
	unsigned retry_after_s;    /* 0: no Retry-After */
	const char *challenge;     /* WWW-Authenticate, or NULL */
	struct slice allow_origin; /* Access-Control-Allow-Origin; text NULL: none. The other fields of CORS go with it. */
	struct slice allow_headers; /* of a preflight: Access-Control-Allow-Headers; text NULL: it is none */
	const char *allow_methods;  /* of a preflight */
};

/* Sets the time that answers carry: seconds since the epoch. Call at least once a second. */
void answer_set_time(uint64_t seconds);

/* Appends the answer. output has at least ANSWER_ROOM + body_bytes bytes of room (the caller sees to it). */
void answer_write(const struct answer *answer, struct output *output);

/* "HTTP/1.1 100 Continue" (RFC 9110, 10.1.1). */
void answer_continue(struct output *output);

/* {"error": "...", "where": "..."} at text (ANSWER_ERROR_BYTES); returns its length. error and where are shortened when they are too long; quotes, backslashes and
 * controls are escaped. */
#define ANSWER_ERROR_BYTES 512u
size_t answer_error(char text[ANSWER_ERROR_BYTES], const char *error, const char *where);

#endif
