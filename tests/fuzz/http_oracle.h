/* Whether ingest/http and Debian's http-parser (2.9.4) see the same in the head of a request and in
 * a chunked body.
 *
 * What request_parse takes as whole, http-parser must take, with the same end, method, target,
 * version, length and kind of body, keep-alive and field values. The other way round nothing is
 * asked: http-parser takes much that RFC 9112 lets a server refuse (bare line feeds, folded lines,
 * HTTP/0.9, no Host). Where the two differ on purpose, and what is done about it:
 *
 *   a method that http-parser does not know    any token is a method (RFC 9110, 9.1): it is shown PUT instead
 *   a name that begins with                    http-parser forgets that the body is chunked: it is shown another name
 *   "Transfer-Encoding" and goes on
 *   Proxy-Connection                           http-parser takes it for Connection; no RFC does: it is shown another name
 *   HTTP/1.0 with both close and keep-alive    http-parser keeps it; close wins (RFC 9112, 9.3)
 *   Connection with tabs, empty elements,      http-parser stops at an empty element and at tabs, lets words follow an option ("close x") and
 *   more words in one, or "clo, close"         overlooks the comma after an option cut short: keep-alive is compared when the values are plain
 *                                              lists of other words
 *   a host in the target of other characters   RFC 3986 allows sub-delims, "%", IPvFuture, an empty port, ports over 65535;
 *   than letters, digits and "._-:[]"          http_parser_parse_url does not, so path and query are cut from the URI by hand
 *   white space after a value                  http-parser leaves it on, and refuses a length with a tab after it: it is shown spaces
 *   Content-Length in a trailer                http-parser judges it, we throw trailers away: nothing is compared
 *
 * The second half asks nobody: a verdict may not depend on the pieces that the bytes come in.
 */
#ifndef TESTS_FUZZ_HTTP_ORACLE_H
#define TESTS_FUZZ_HTTP_ORACLE_H

#include <stddef.h>
#include <stdint.h>

enum http_agreement {
	HTTP_DISAGREED, /* what differs is on standard error */
	HTTP_WHOLE,     /* both take it, as the same */
	HTTP_PARTIAL,   /* neither has seen its end */
	HTTP_REFUSED,   /* by us; http-parser may have taken it */
	HTTP_UNDECIDED, /* http-parser cannot judge it */
};

/* The limits that heads are parsed with: small, so that they are met. */
extern const struct request_limits http_oracle_limits;

/* The head at data. */
enum http_agreement http_oracle_head(const char *data, size_t bytes);

/* data as a chunked body, fed in pieces that the seed tells, in place. */
enum http_agreement http_oracle_chunked(const char *data, size_t bytes, uint64_t seed);

/* Some prefixes of data, which the seed tells, have a verdict that fits that on all of it, and
 * request_ready does not miss it. HTTP_DISAGREED, or the verdict on data. */
enum http_agreement http_oracle_pieces(const char *data, size_t bytes, uint64_t seed);

/* For all three: says what differs. Returns HTTP_DISAGREED. */
enum http_agreement http_oracle_differs(const char *what, const char *data, size_t bytes);

#endif
