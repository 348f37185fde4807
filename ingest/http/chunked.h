/* The chunked transfer coding (RFC 9112, section 7.1), taken off in place.
 *
 *     4\r\nWiki\r\n5;x=1\r\npedia\r\n0\r\nTrailer: x\r\n\r\n   -->   Wikipedia
 *
 * Chunk extensions and trailer fields are checked and thrown away. A bare line feed, white space
 * around the size, a size that has no digits or overflows, data not followed by CRLF: all bad,
 * because such differences smuggle requests.
 */
#ifndef INGEST_HTTP_CHUNKED_H
#define INGEST_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#define CHUNKED_LINE_BYTES_MAX    256u  /* size and extensions of one chunk */
#define CHUNKED_TRAILER_BYTES_MAX 4096u /* all trailer fields */

/* All zero at the start of a body. */
struct chunked {
	uint64_t left;   /* of the chunk at hand */
	uint32_t length; /* of the line, or of the trailer, so far */
	uint8_t state;
};

enum chunked_result { CHUNKED_MORE, CHUNKED_DONE, CHUNKED_BAD };

/* Decodes bytes [*in, end) of buffer and appends the data at *out (*out <= *in: in place). Moves
 * both.
 *   CHUNKED_MORE  all input was used (*in == end).
 *   CHUNKED_DONE  the body has ended; *in is after its last byte, the rest is the next request.
 *   CHUNKED_BAD   *error is a phrase. Answer 400 and close.
 * The caller bounds the size: the data by *out, the coding by *in. */
enum chunked_result chunked_decode(struct chunked *chunked, char *buffer, size_t *in, size_t end, size_t *out,
                                   const char **error);

#endif
