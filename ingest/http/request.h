/* The head of an HTTP/1 request (RFC 9112), parsed where it lies: nothing is copied, nothing
 * allocated.
 *
 *     POST /event?x=1 HTTP/1.1 CRLF   Host: a CRLF   Content-Length: 62 CRLF   CRLF   {"username": ...
 *     |method path  query           | fields ...                             |      | body: left to the caller
 *     |<------------------------------ head_bytes -------------------------------->|
 *
 * Strict where a request could be smuggled past a proxy: what RFC 9112 lets a server repair is
 * refused instead, with the connection's end. The fields that some route uses are kept as slices;
 * the others are checked and forgotten.
 */
#ifndef INGEST_HTTP_REQUEST_H
#define INGEST_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes in memory of the caller's. text is NULL when there is none ("" when it is there and
 * empty). */
struct slice {
	const char *text;
	uint32_t bytes;
};

enum request_method {
	REQUEST_GET,
	REQUEST_HEAD,
	REQUEST_POST,
	REQUEST_OPTIONS,
	REQUEST_OTHER /* some other token */
};

enum request_coding {
	REQUEST_IDENTITY,
	REQUEST_GZIP,
	REQUEST_DEFLATE,
	REQUEST_CODING_OTHER /* to be answered with 415 */
};

struct request_limits {
	uint32_t line_bytes; /* request line with its CRLF: longer is 414 */
	uint32_t head_bytes; /* all of the head, up to its last CRLF: longer is 431 */
	uint32_t fields;     /* more is 431 */
};

struct request {
	enum request_method method;
	uint8_t minor;              /* HTTP/1.minor */
	bool keep_alive;            /* the connection may stay open (RFC 9112, 9.3) */
	bool expect_continue;       /* Expect: 100-continue, HTTP/1.1 only */
	bool chunked;               /* the body is chunked; else content_length bytes long */
	bool do_not_track;          /* DNT: 1 or Sec-GPC: 1 */
	enum request_coding coding; /* Content-Encoding; x-gzip is gzip */
	uint64_t content_length;    /* below 2^63, so that adding the head's length cannot overflow */
	uint32_t head_bytes;
	struct slice method_text;
	struct slice path;  /* of origin-form and absolute-form, as sent; "*" of OPTIONS * */
	struct slice query; /* after the first '?', NULL when there was none */
	/* the field's value; of absolute-form the target's authority (RFC 9112, 3.2.2) */
	struct slice host;
	struct slice content_type, user_agent, authorization, origin;
	/* X-Push-IP, X-Forwarded-For, X-Real-IP, Forwarded: the first line of each */
	struct slice push_ip, forwarded_for, real_ip, forwarded;
	uint8_t more_lines; /* REQUEST_...: those that have more than one, for request_next_line */
	struct slice request_method, request_headers; /* Access-Control-Request-Method, -Headers */
	/* when it is bad */
	/* 400, 414, 417 (Expect that is not 100-continue), 431, 501 (a coding below chunked), 505
	 * (not HTTP/1.x) */
	unsigned status;
	const char *error; /* a phrase: "both Content-Length and Transfer-Encoding" */
	/* a constant: "request line", "field name", "field value", "fields" (431), or the field:
	 * "Content-Length" */
	const char *where;
};

/* Fields whose lines are one list (RFC 9110, 5.3). */
enum request_list {
	REQUEST_PUSH_IP = 1,
	REQUEST_FORWARDED_FOR = 2,
	REQUEST_REAL_IP = 4,
	REQUEST_FORWARDED = 8
};

enum request_result { REQUEST_WHOLE, REQUEST_PARTIAL, REQUEST_BAD };

#define REQUEST_EMPTY_BYTES 4u /* two empty lines */

/* Parses the head that begins at data. Empty lines before it (at most two) are skipped and count in
 * head_bytes.
 *   REQUEST_WHOLE    all fields of request are set; slices lie in data (but the path of an absolute-form target that has none: "/" or "*").
 *   REQUEST_PARTIAL  nothing wrong so far, more is needed; request is undefined. What is too long is never partial: it is bad as soon as
 *                    the limit is passed.
 *   REQUEST_BAD      status, error and where are set. Answer and close. What is wrong is noticed at the latest when the line that it is in
 *                    has ended, and nothing that follows changes it.
 * No byte outside data is read.
 *
 * Where RFC 9112 leaves a choice: a target may hold every printable ASCII character but '#'
 * (browsers send "|{}[]^ unescaped in queries); anything else, raw UTF-8 too, is 400. CONNECT has
 * an empty path and its authority as host. HTTP/1.2 to 1.9 are taken as 1.1. Of a field that is
 * kept and comes more than once the first counts, but Content-Length and Host are refused and lists
 * (Connection, Transfer-Encoding, Content-Encoding, Expect) go on. A Transfer-Encoding whose last
 * coding is not chunked is 400 (RFC 9112, 6.3). */
enum request_result request_parse(struct request *request, const char *data, size_t bytes,
                                  const struct request_limits *limits);

/* The next line of the same name after `value`, a line of a list that more_lines names. Moves value
 * to it; false after the last. */
bool request_next_line(struct slice *value, enum request_list list);

/* For a head that comes in many pieces, so that it is not parsed from the start for each: looks for
 * the line feed of a line that ends the head, or for anything that request_parse would refuse at
 * once (a line feed without carriage return), from *seen on, and moves *seen. Begin with *seen = 0.
 * Returns true when it is worth calling request_parse. */
bool request_ready(const char *data, size_t bytes, size_t *seen);

/* Resolves percent-encoding (RFC 3986, 2.1) of a path segment into out (room for `bytes`); "+"
 * stays. Returns the length, or -1 for a % without two hexadecimal digits. */
long percent_decode(char *out, const char *text, size_t bytes);

#endif
