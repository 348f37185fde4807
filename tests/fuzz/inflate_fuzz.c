/* Any bytes as the compressed body of a request: zlib, used in the plainest way (one member after
 * the other, a byte at a time), must find the same bytes, or no such stream either. The first byte
 * chooses the coding, the second the room. */
#include <errno.h>
#include <zlib.h>

#include "ingest/http/inflate.h"
#include "tests/fuzz/fuzz.h"

#define ROOM_MAX 65536u

static uint8_t plain[ROOM_MAX + 1];

/* One stream of that window; *used: of the input. Returns the bytes, or -1 when it is none. */
static long inflate_one(int window, const uint8_t *data, size_t bytes, size_t at, size_t room, size_t *used)
{
	z_stream stream = {.next_out = plain + at, .avail_out = (unsigned)(room + 1 - at)};
	int result = Z_OK;
	size_t i = 0;
	must(inflateInit2(&stream, window) == Z_OK);
	while (result == Z_OK && stream.avail_out > 0 && i < bytes) {
		stream.next_in = (uint8_t *)(uintptr_t)data + i;
		stream.avail_in = 1;
		while (result == Z_OK && stream.avail_in > 0 && stream.avail_out > 0)
			result = inflate(&stream, Z_NO_FLUSH);
		i += stream.avail_in == 0;
	}
	long n = (long)stream.total_out;
	bool full = stream.avail_out == 0; /* also of the byte beyond the room */
	inflateEnd(&stream);
	*used = i;
	return full ? -2 : result == Z_STREAM_END ? n : -1;
}

static long expected(enum request_coding coding, const uint8_t *data, size_t bytes, size_t room)
{
	size_t at = 0, used = 0;
	long n;
	if (coding != REQUEST_GZIP) {
		/* RFC 1950, 2.2 */
		bool header = bytes >= 2 && data[0] % 16 == 8 && data[0] / 16 <= 7 &&
		              (data[0] * 256 + data[1]) % 31 == 0;
		n = inflate_one(header ? 15 : -15, data, bytes, 0, room, &used);
		return n >= 0 && used != bytes ? -1 : n;
	}
	for (size_t from = 0; from < bytes || at == 0; from += used) {
		n = inflate_one(16 + 15, data + from, bytes - from, at, room, &used);
		if (n < 0)
			return n;
		at += (size_t)n;
		if (from + used == bytes)
			return (long)at;
	}
	return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct inflater *inflater;
	if (inflater == NULL)
		must((inflater = inflater_create()) != NULL);
	if (bytes < 3)
		return 0;
	enum request_coding coding = data[0] % 2 == 0 ? REQUEST_GZIP : REQUEST_DEFLATE;
	size_t room = (size_t)data[1] * data[1];
	char *copy = fuzz_copy(data + 2, bytes - 2), *out = malloc(room > 0 ? room : 1);
	must(out != NULL);
	long n = inflater_run(inflater, coding, copy, bytes - 2, out, room);
	long wanted = expected(coding, (const uint8_t *)copy, bytes - 2, room);
	must(n == -EMSGSIZE || n == -EBADMSG || (n >= 0 && (size_t)n <= room));
	if (n >= 0 || wanted >= 0)
		must(n == wanted && memcmp(out, plain, (size_t)n) == 0);
	must(n != -EMSGSIZE || wanted == -2);
	free(out);
	free(copy);
	return 0;
}
