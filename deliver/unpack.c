#include "deliver/unpack.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define GZIP_BITS 31
#define ZLIB_BITS 15
#define BARE_BITS (-15)

struct unpack {
	z_stream z;
	bool gzip, begun;
	unsigned char out[UNPACK_BYTES];
};

struct unpack *unpack_open(bool gzip)
{
	struct unpack *unpack = calloc(1, sizeof *unpack);
	if (unpack == NULL)
		return NULL;
	unpack->gzip = gzip;
	if (inflateInit2(&unpack->z, gzip ? GZIP_BITS : ZLIB_BITS) == Z_OK)
		return unpack;
	free(unpack);
	return NULL;
}

void unpack_close(struct unpack *unpack)
{
	if (unpack == NULL)
		return;
	inflateEnd(&unpack->z);
	free(unpack);
}

/* RFC 1950, 2.2: the first byte of zlib's header has method 8 and a window of at most 32 KiB. No
 * deflate stream that anybody writes begins so: it would be a stored block with bits set that have
 * no meaning. */
static bool has_header(unsigned char first)
{
	return (first & 0x0f) == Z_DEFLATED && first >> 4 <= 7;
}

bool unpack(struct unpack *unpack, const char *piece, size_t bytes, size_t *used, struct reply_span *span)
{
	z_stream *z = &unpack->z;
	unsigned part = bytes < UINT_MAX ? (unsigned)bytes : UINT_MAX;
	if (!unpack->begun && bytes > 0) {
		unpack->begun = true;
		if (!unpack->gzip && !has_header((unsigned char)piece[0]))
			(void)inflateReset2(z, BARE_BITS);
	}
	z->next_in = (unsigned char *)(uintptr_t)piece;
	z->avail_in = part;
	z->next_out = unpack->out;
	z->avail_out = sizeof unpack->out;
	int r = inflate(z, Z_SYNC_FLUSH);
	*used = part - z->avail_in;
	*span = (struct reply_span){(const char *)unpack->out, sizeof unpack->out - z->avail_out};
	return r == Z_OK || r == Z_BUF_ERROR;
}
