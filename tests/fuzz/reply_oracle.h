/* Whether deliver/reply.h and Debian's http-parser (2.9.4) see the same in an answer.
 *
 * An answer whose connection we would use again (`keep`) must be to http-parser what it is to us:
 * status, framing, body, end, Location and Retry-After, keep-alive. One that we take and do not
 * keep must have the same status and values, and the same body where the framing is the same, if
 * http-parser takes it. The other way round nothing is asked. Where the two differ on purpose:
 *
 *   heads with tabs               http-parser refuses a length with a tab after it
 *   a CR that ends no line        http-parser throws the next byte away; we do not keep the connection
 *   a space before a colon        http-parser takes it for a part of the name; we do not keep the connection
 *   lengths that are repeated     http-parser refuses them though they are the same (RFC 9112, 6.3 lets them be one)
 *   Connection with more than     http-parser stops at empty elements and overlooks a comma: only `close` and `keep-alive`
 *   one word, Proxy-Connection    alone are compared; no RFC knows the other field
 *   a name that begins with       http-parser forgets that the body is chunked
 *   "Transfer-Encoding"
 *   trailers                      http-parser judges them, we throw them away
 *
 * Nor may it make a difference in which pieces the bytes come.
 */
#ifndef TESTS_FUZZ_REPLY_ORACLE_H
#define TESTS_FUZZ_REPLY_ORACLE_H

#include <stddef.h>
#include <stdint.h>

enum reply_agreement {
	REPLY_DISAGREED, /* what differs is on standard error */
	REPLY_AGREED,    /* both took the head, and what was compared is the same */
	REPLY_PARTIAL,   /* the head is not whole */
	REPLY_REFUSED,   /* by us */
	REPLY_UNDECIDED, /* http-parser refuses it, or cannot judge it */
};

/* data as what comes over a connection; the seed tells the pieces, and whether it answers HEAD. */
enum reply_agreement reply_oracle(const char *data, size_t bytes, uint64_t seed);

#endif
