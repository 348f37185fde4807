/* Answers of an HTTP/1 server (RFC 9112), parsed as they come: the answers are the same however the
 * bytes are split.
 *
 *     ...200 OK CRLF Content-Length: 2 CRLF CRLF OK|HTTP/1.1 400 Bad Request CRLF ...
 *                                                 '-- _feed returns SEND_HTTP_ANSWER_DONE here; _begin, and feed the rest
 *
 * It keeps only the current line and the first bytes of the body, so a connection needs a few
 * hundred bytes. The body ends as RFC 9112, 6.3 says: none for HEAD, 204 and 304; chunked;
 * Content-Length; or the end of the connection. Interim answers (1xx) are skipped. Lines must end
 * in CR LF: a server under test gets no leniency.
 */
#ifndef CLI_LOAD_SEND_HTTP_ANSWER_H
#define CLI_LOAD_SEND_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEND_HTTP_ANSWER_LINE_KEPT \
	256u /* of each line; longer lines are cut, but none of the fields read here is so long */
#define SEND_HTTP_ANSWER_HEAD_MAX  65536u /* bytes of status line and fields, or of chunk lines and trailers */
#define SEND_HTTP_ANSWER_BODY_KEPT 64u

enum send_http_answer_result { SEND_HTTP_ANSWER_MORE, SEND_HTTP_ANSWER_DONE, SEND_HTTP_ANSWER_BAD };

struct send_http_answer {
	/* after SEND_HTTP_ANSWER_DONE */
	uint16_t status;
	bool close;       /* the server closes the connection, or its close ended the body */
	bool retry_after; /* there was a Retry-After with a number of seconds */
	uint32_t retry_after_s;
	uint64_t body_bytes;
	/* first bytes of the body, without the chunked coding; no final 0 */
	char body[SEND_HTTP_ANSWER_BODY_KEPT];
	const char *error; /* after SEND_HTTP_ANSWER_BAD: a phrase */
	/* private to the parser */
	uint8_t state;
	bool head; /* the answer to HEAD */
	bool begun, chunked, length_given, line_cut;
	uint64_t left; /* of the body, or of the current chunk */
	uint32_t head_bytes;
	uint32_t line_bytes; /* kept of a line that has not ended yet */
	char line_last;      /* its last byte so far, kept or not */
	char line[SEND_HTTP_ANSWER_LINE_KEPT];
};

/* Before the first byte of each answer. head: it answers a HEAD request. */
void send_http_answer_begin(struct send_http_answer *answer, bool head);

/* Parses data; sets *used to the bytes taken. SEND_HTTP_ANSWER_MORE: it took all, and the answer
 * goes on. DONE: the answer ends there. BAD: it is not an answer; answer->error has the reason. */
enum send_http_answer_result send_http_answer_feed(struct send_http_answer *answer, const char *data,
                                                   size_t bytes, size_t *used);

/* Call it when the connection has ended. DONE when that ends the body; MORE when no answer had
 * begun; otherwise BAD: the answer was cut off. */
enum send_http_answer_result send_http_answer_end(struct send_http_answer *answer);

#endif
