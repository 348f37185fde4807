/* An answer of HTTP/1 taken apart (RFC 9110, RFC 9112): its head when it is whole, then its body in
 * whatever pieces it comes.
 *
 *     bytes --reply_head--> -EAGAIN: go on reading
 *        ^             |---> n: the head is whole, n bytes long --reply_body--> spans of the body, then DONE or BROKEN
 *        '--status 1xx-'---> -EBADMSG: this is no answer
 *
 * It allocates nothing and keeps nothing but what stands here. How much is read is the caller's to
 * bound: the head by what it gives, the body by what it takes.
 *
 * The server has dealt with the request when its head is whole, so a head is taken that can be
 * understood at all, and one that is odd (see `keep`) only costs the connection. Refused are: a
 * first line that is not HTTP/d.d and three digits; a field without a name; a NUL; a length that is
 * no number (two different ones leave the body unread); more content codings than CODINGS_MAX; 101,
 * for which nobody has asked.
 */
#ifndef DELIVER_REPLY_H
#define DELIVER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REPLY_CODINGS_MAX 5u
#define REPLY_EXTRA_MAX   65536u /* bytes of extensions and trailers in a chunked body */

struct reply_span {
	const char *text; /* NULL: there is none */
	size_t bytes;
};

enum reply_framing {
	REPLY_EMPTY,    /* no body: by its status, to HEAD, or with lengths that contradict each other */
	REPLY_LENGTH,   /* `left` bytes */
	REPLY_CHUNKED,  /* until the last chunk */
	REPLY_TO_CLOSE, /* until the connection ends */
};

enum reply_coding {
	REPLY_IDENTITY,
	REPLY_GZIP,
	REPLY_DEFLATE,
	REPLY_UNKNOWN, /* another one, or several */
};

enum reply_place { /* in a chunked body */
	           REPLY_SIZE,
	           REPLY_SIZE_REST,
	           REPLY_SIZE_END,
	           REPLY_DATA,
	           REPLY_DATA_CR,
	           REPLY_DATA_LF,
	           REPLY_TRAILER,
	           REPLY_TRAILER_REST,
	           REPLY_TRAILER_CR,
	           REPLY_LAST,
};

struct reply {
	unsigned status; /* 100 to 999 */
	/* The connection may be used again after the body: HTTP/1.1 without close, or 1.0 with
	 * keep-alive; a body whose end is certain; no field that is not quite one. */
	bool keep;
	enum reply_framing framing;
	enum reply_coding coding;
	struct reply_span retry_after, location; /* within the head; the last one counts */
	/* of the body, reply_body's */
	uint64_t left; /* bytes of the length or of the chunk; UINT64_MAX: too many to count */
	enum reply_place place;
	unsigned digits;
	uint32_t extra;
};

/* The head at the beginning of text, which is written to where lines are folded (obs-fold becomes
 * spaces). seen: so many of the bytes were there the last time, when it said -EAGAIN; 0 at first.
 * head: the request was HEAD. Returns the head's length with its empty line; -EAGAIN: it is not
 * whole; -EBADMSG, as soon as that is certain: it is none. */
ssize_t reply_head(struct reply *answer, char *text, size_t bytes, size_t seen, bool head);

enum reply_step { REPLY_MORE, REPLY_DONE, REPLY_BROKEN };

/* What comes after the head. Takes *used of the bytes, at least one unless there are none or it is
 * DONE; some of them may be body proper: *span (bytes 0: none). To be called until it has used all,
 * or says DONE (what is left is not of this answer) or BROKEN (of the chunked coding nothing can be
 * made any more). A body that goes to the connection's end is never DONE. */
enum reply_step reply_body(struct reply *answer, const char *text, size_t bytes, size_t *used,
                           struct reply_span *span);

#endif
