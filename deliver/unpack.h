/* The beginning of a body in gzip or deflate, as it was before it was packed.
 *
 *     unpack_open --unpack(piece)--> span of at most UNPACK_BYTES, again until the piece is used
 *
 * By zlib, which takes up to 48 KiB for each body that is under way. "deflate" is zlib's format, or
 * what some servers take for it, without zlib's header (RFC 9110, 8.4.1.2). */
#ifndef DELIVER_UNPACK_H
#define DELIVER_UNPACK_H

#include <stdbool.h>

#include "deliver/reply.h"

#define UNPACK_BYTES  4096u
#define UNPACK_MEMORY (48u << 10)

struct unpack;

/* NULL: no memory. */
struct unpack *unpack_open(bool gzip);
void unpack_close(struct unpack *unpack); /* NULL: nothing */

/* Takes something of the piece, *used bytes, and sets *span to what came out of it, which stands
 * until the next call. To be called until the piece is used and nothing comes out. Returns false at
 * the end of what is packed, and for what is not packed so: nothing comes after that. */
bool unpack(struct unpack *unpack, const char *piece, size_t bytes, size_t *used, struct reply_span *span);

#endif
