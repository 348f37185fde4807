#include "ingest/http/inflate.h"

#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <stdlib.h>
#include <zlib.h>

#define WINDOW_BITS 15 /* the greatest; the window is kept over all bodies only while this does not change */
#define GZIP        16 /* added to the bits: gzip's header and trailer instead of zlib's */

/* zlib takes about 7 KiB for its state and 32 KiB for the window. */
#define MEMORY_BYTES (64u * 1024)

struct inflater {
	z_stream zlib;
	size_t used;
	alignas(64) unsigned char memory[MEMORY_BYTES];
};

static voidpf take(voidpf opaque, uInt items, uInt size)
{
	struct inflater *inflater = opaque;
	size_t bytes = ((size_t)items * size + 63) & ~(size_t)63;
	if (bytes > MEMORY_BYTES - inflater->used)
		return Z_NULL;
	inflater->used += bytes;
	return inflater->memory + inflater->used - bytes;
}

/* All of it goes with the inflater. */
static void give(voidpf opaque, voidpf address)
{
	(void)opaque;
	(void)address;
}

struct inflater *inflater_create(void)
{
	struct inflater *inflater = aligned_alloc(alignof(struct inflater), sizeof *inflater);
	if (inflater == NULL)
		return NULL;
	inflater->used = 0;
	inflater->zlib = (z_stream){.zalloc = take, .zfree = give, .opaque = inflater};
	/* The dictionary makes zlib take the window now and not with the first body that needs
	 * it. */
	if (inflateInit2(&inflater->zlib, -WINDOW_BITS) != Z_OK ||
	    inflateSetDictionary(&inflater->zlib, (const Bytef *)"", 1) != Z_OK) {
		free(inflater);
		errno = ENOMEM;
		return NULL;
	}
	return inflater;
}

void inflater_destroy(struct inflater *inflater)
{
	free(inflater);
}

/* RFC 1950, 2.2. A bare stream cannot look so: it would begin with a stored block whose padding is
 * not 0. */
static bool has_zlib_header(const unsigned char *data, size_t bytes)
{
	return bytes >= 2 && (data[0] & 15) == Z_DEFLATED && data[0] >> 4 <= WINDOW_BITS - 8 &&
	       (data[0] << 8 | data[1]) % 31 == 0;
}

static int bits_for(enum request_coding coding, const char *data, size_t bytes)
{
	switch (coding) {
	case REQUEST_GZIP:
		return WINDOW_BITS + GZIP;
	case REQUEST_DEFLATE:
		return has_zlib_header((const unsigned char *)data, bytes) ? WINDOW_BITS : -WINDOW_BITS;
	default:
		abort();
	}
}

/* The room is full. Only what comes of one byte more tells whether the stream is too long or just
 * about to end. */
static int look_beyond(z_stream *zlib, bool *too_long)
{
	unsigned char one;
	Bytef *end = zlib->next_out;
	zlib->next_out = &one;
	zlib->avail_out = 1;
	int result = inflate(zlib, Z_FINISH);
	*too_long = zlib->avail_out == 0;
	zlib->next_out = end;
	zlib->avail_out = 0;
	return result;
}

long inflater_run(struct inflater *inflater, enum request_coding coding, const char *data, size_t bytes,
                  char *out, size_t room)
{
	z_stream *zlib = &inflater->zlib;
	if (bytes > UINT_MAX || room > LONG_MAX)
		return -EMSGSIZE;
	if (inflateReset2(zlib, bits_for(coding, data, bytes)) != Z_OK)
		abort();
	unsigned char nothing = 0; /* zlib takes no NULL, even without room */
	Bytef *begin = room == 0 ? &nothing : (Bytef *)out;
	zlib->next_in = (z_const Bytef *)data;
	zlib->avail_in = (uInt)bytes;
	zlib->next_out = begin;
	zlib->avail_out = (uInt)(room < UINT_MAX ? room : UINT_MAX);
	for (;;) {
		bool too_long = false;
		int result = inflate(zlib, Z_FINISH);
		if (result != Z_STREAM_END && result != Z_DATA_ERROR && zlib->avail_out == 0)
			result = look_beyond(zlib, &too_long);
		if (too_long)
			return -EMSGSIZE;
		if (result == Z_MEM_ERROR || result == Z_STREAM_ERROR)
			abort();
		if (result != Z_STREAM_END || (zlib->avail_in != 0 && coding != REQUEST_GZIP))
			return -EBADMSG;
		if (zlib->avail_in == 0)
			return zlib->next_out - begin;
		/* One more member. */
		if (inflateReset(zlib) != Z_OK)
			abort();
	}
}
