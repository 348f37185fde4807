/* Lines into compressed members: what zlib, libzstd, gzip and zstd read of them. */
#include "sink/objects/pack.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/fixture/draw.h"

#define RAW_BYTES (300u * 1024)

static const char *const methods[] = {"none",   "isal:0", "isal:1", "isal:2", "isal:3", "zlib:1",
                                      "zlib:6", "zlib:9", "zstd:1", "zstd:3", "zstd:12"};
#define METHODS (sizeof methods / sizeof methods[0])

static unsigned char raw[RAW_BYTES];

/* Where members go: pieces of room with a byte after each that must stay. */
struct room {
	unsigned char *bytes;
	size_t used, size;
	size_t piece;       /* the last that was given */
	size_t most;        /* of a piece; drawn below it */
	unsigned char *end; /* the byte after the last piece */
	unsigned char was;
};

static struct room room_make(size_t size, size_t most)
{
	struct room room = {.bytes = malloc(size + 1), .size = size, .most = most};
	assert_non_null(room.bytes);
	memset(room.bytes, 0xa5, size + 1);
	return room;
}

static void assert_nothing_after(struct room *room)
{
	if (room->end != NULL)
		assert_int_equal(*room->end, room->was);
}

static void *give(void *argument, size_t *bytes)
{
	struct room *room = argument;
	assert_nothing_after(room);
	room->used += room->piece;
	room->piece = 0;
	size_t left = room->size - room->used;
	if (left == 0)
		return NULL;
	size_t n = room->most > 1 ? 1 + draw_below((unsigned)room->most) : 1;
	*bytes = room->piece = n < left ? n : left;
	room->end = room->bytes + room->used + room->piece;
	room->was = *room->end;
	return room->bytes + room->used;
}

static struct pack *opened(const char *method)
{
	struct pack *pack;
	assert_int_equal(pack_open(&pack, method), 0);
	return pack;
}

/* Adds in pieces of at most so many bytes. */
static int pack_pieces(struct pack *pack, struct room *room, const unsigned char *from, size_t bytes,
                       size_t most, uint64_t *packed)
{
	pack_begin(pack, give, room);
	for (size_t n; bytes > 0; from += n, bytes -= n) {
		n = most > 1 ? 1 + draw_below((unsigned)most) : 1;
		n = n < bytes ? n : bytes;
		int error = pack_add(pack, from, n);
		if (error != 0)
			return error;
	}
	int error = pack_end(pack, packed);
	assert_nothing_after(room);
	return error;
}

/* ---- reading back ---- */

/* All whole members, one after another; what comes after the last is left. */
static size_t read_gzip(const unsigned char *from, size_t bytes, unsigned char *out, size_t size)
{
	size_t done = 0;
	z_stream stream = {0};
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	stream.next_in = (Bytef *)(uintptr_t)from;
	stream.avail_in = (uInt)bytes;
	stream.next_out = out;
	stream.avail_out = (uInt)size;
	while (stream.avail_in > 0 && inflate(&stream, Z_FINISH) == Z_STREAM_END) {
		done = (size_t)(stream.next_out - out);
		assert_int_equal(inflateReset(&stream), Z_OK);
	}
	inflateEnd(&stream);
	return done;
}

static size_t read_zstd(const unsigned char *from, size_t bytes, unsigned char *out, size_t size)
{
	size_t done = 0;
	for (size_t at = 0, n; at < bytes; at += n) {
		n = ZSTD_findFrameCompressedSize(from + at, bytes - at);
		if (ZSTD_isError(n))
			break;
		size_t got = ZSTD_decompress(out + done, size - done, from + at, n);
		assert_false(ZSTD_isError(got));
		done += got;
	}
	return done;
}

static size_t read_back(const struct pack *pack, const unsigned char *from, size_t bytes, unsigned char *out,
                        size_t size)
{
	if (strcmp(pack_encoding(pack), "gzip") == 0)
		return read_gzip(from, bytes, out, size);
	if (strcmp(pack_encoding(pack), "zstd") == 0)
		return read_zstd(from, bytes, out, size);
	assert_in_range(bytes, 0, size);
	memcpy(out, from, bytes);
	return bytes;
}

static void assert_read_back(const struct pack *pack, const struct room *room, uint64_t packed,
                             const unsigned char *expected, size_t bytes)
{
	unsigned char *out = malloc(bytes + 1);
	assert_non_null(out);
	assert_int_equal(read_back(pack, room->bytes, packed, out, bytes + 1), bytes);
	assert_memory_equal(out, expected, bytes);
	free(out);
}

/* What the program says of the bytes on its standard input; those beginning with `expected`. */
static void assert_tool_reads(const char *tool, const unsigned char *from, size_t bytes,
                              const unsigned char *expected, size_t n, bool whole)
{
	char path[] = "/tmp/millrace-pack-XXXXXX", command[200];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, from, bytes), bytes);
	close(fd);
	snprintf(command, sizeof command, "%s < %s 2> /dev/null", tool, path);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	unsigned char *out = malloc(n + 1);
	assert_non_null(out);
	size_t got = fread(out, 1, n + 1, pipe);
	int status = pclose(pipe);
	unlink(path);
	assert_int_equal(got, n);
	assert_memory_equal(out, expected, n);
	assert_int_equal(status == 0, whole);
	free(out);
}

/* ---- tests ---- */

static void methods_are_known_by_their_texts_alone(void **state)
{
	(void)state;
	static const char *const no[] = {
	        "",       "isal",    "isal:",  "isal:4",  "isal:01",  "isal:1 ", "isal:-1",
	        "zlib:0", "zlib:10", "zstd:0", "zstd:20", "zstd:190", "none:0",  "none:",
	        "ISAL:1", "isal:+1", "gzip:1", "isal:1x", "isal:1:1", " none",   "zstd:99999999999999999999"};
	struct pack *pack = NULL;
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
		assert_false(pack_known(no[i]));
		assert_int_equal(pack_open(&pack, no[i]), -EINVAL);
		assert_null(pack);
		assert_int_equal(pack_memory(no[i]), 0);
	}
	static const struct {
		const char *name;
		int least, most;
	} yes[] = {{"isal", 0, 3}, {"zlib", 1, 9}, {"zstd", 1, 19}};
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		for (int level = yes[i].least; level <= yes[i].most; level++) {
			char text[16];
			snprintf(text, sizeof text, "%s:%d", yes[i].name, level);
			assert_true(pack_known(text));
		}
	assert_true(pack_known("none"));
	pack_close(NULL);
}

static void names_of_what_comes_out_are_those_of_the_field(void **state)
{
	(void)state;
	static const struct {
		const char *method, *encoding, *suffix;
	} cases[] = {{"none", "identity", ""},
	             {"isal:1", "gzip", ".gz"},
	             {"zlib:6", "gzip", ".gz"},
	             {"zstd:3", "zstd", ".zst"}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct pack *pack = opened(cases[i].method);
		assert_string_equal(pack_encoding(pack), cases[i].encoding);
		assert_string_equal(pack_suffix(pack), cases[i].suffix);
		pack_close(pack);
	}
}

static void a_member_unpacks_to_what_went_in_whatever_the_pieces_and_the_room(void **state)
{
	(void)state;
	static const size_t most[] = {1, 7, 1000, 16384, RAW_BYTES};
	for (size_t m = 0; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		for (unsigned i = 0; i < 25; i++) {
			uint64_t packed = 0;
			size_t bytes = i < 5 ? i : draw_below(i % 5 == 0 ? RAW_BYTES : 20000);
			struct room room = room_make(pack_most(pack, bytes), most[i / 5 % 5]);
			assert_int_equal(pack_pieces(pack, &room, raw, bytes, most[i % 5], &packed), 0);
			assert_in_range(packed, 0, room.size);
			assert_read_back(pack, &room, packed, raw, bytes);
			free(room.bytes);
		}
		pack_close(pack);
	}
}

static void lines_get_shorter(void **state)
{
	(void)state;
	for (size_t m = 1; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		struct room room = room_make(pack_most(pack, RAW_BYTES), 16384);
		uint64_t packed = 0;
		assert_int_equal(pack_pieces(pack, &room, raw, RAW_BYTES, 16384, &packed), 0);
		assert_in_range(packed, 1, RAW_BYTES / 3);
		free(room.bytes);
		pack_close(pack);
	}
}

static void no_bytes_are_a_member_too(void **state)
{
	(void)state;
	for (size_t m = 0; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		struct room room = room_make(pack_most(pack, 0) + 1, 3);
		uint64_t packed = 99;
		pack_begin(pack, give, &room);
		assert_int_equal(pack_add(pack, raw, 0), 0);
		assert_int_equal(pack_end(pack, &packed), 0);
		assert_int_equal(packed > 0, m > 0);
		assert_read_back(pack, &room, packed, raw, 0);
		free(room.bytes);
		pack_close(pack);
	}
}

/* Bytes that do not compress, of 8 bits and of 7, in the lengths at which libraries begin a
 * block. */
static void no_member_is_longer_than_was_said(void **state)
{
	(void)state;
	static const size_t sizes[] = {1, 100, 16383, 16384, 32767, 65535, 65536, 131072, RAW_BYTES};
	unsigned char *noise = malloc(RAW_BYTES);
	assert_non_null(noise);
	for (unsigned kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < RAW_BYTES; i++)
			noise[i] = kind == 0   ? (unsigned char)draw()
			           : kind == 1 ? (unsigned char)(draw() | 0x80)
			                       : 0xff;
		for (size_t m = 0; m < METHODS; m++) {
			struct pack *pack = opened(methods[m]);
			for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
				uint64_t packed = 0;
				struct room room = room_make(pack_most(pack, sizes[i]), 16384);
				assert_int_equal(pack_pieces(pack, &room, noise, sizes[i], 16384, &packed),
				                 0);
				assert_read_back(pack, &room, packed, noise, sizes[i]);
				free(room.bytes);
			}
			pack_close(pack);
		}
	}
	free(noise);
}

static void without_room_a_member_is_given_up_and_the_next_is_whole(void **state)
{
	(void)state;
	const size_t bytes = 5000;
	for (size_t m = 0; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		struct room all = room_make(pack_most(pack, bytes), 16384);
		uint64_t packed = 0;
		assert_int_equal(pack_pieces(pack, &all, raw, bytes, 700, &packed), 0);
		for (size_t size = 0; size < packed && size < 500; size += 1 + size / 7) {
			struct room little = room_make(size, 50);
			uint64_t none = 77;
			assert_int_equal(pack_pieces(pack, &little, raw, bytes, 700, &none), -ENOSPC);
			assert_int_equal(none, 77);
			assert_int_equal(pack_add(pack, raw, 1), -ENOSPC);
			assert_int_equal(pack_add(pack, raw, 0), -ENOSPC);
			assert_int_equal(pack_end(pack, &none), -ENOSPC);
			free(little.bytes);
			struct room again = room_make(pack_most(pack, bytes), 16384);
			uint64_t whole = 0;
			assert_int_equal(pack_pieces(pack, &again, raw, bytes, 700, &whole), 0);
			assert_read_back(pack, &again, whole, raw, bytes);
			free(again.bytes);
		}
		free(all.bytes);
		pack_close(pack);
	}
}

static void one_byte_more_than_a_member_has_is_room_enough_and_one_less_is_not(void **state)
{
	(void)state;
	const size_t bytes = 700;
	for (size_t m = 0; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		struct room all = room_make(pack_most(pack, bytes), 1), exact, less;
		uint64_t packed = 0, again = 0;
		assert_int_equal(pack_pieces(pack, &all, raw, bytes, 1, &packed), 0);
		exact = room_make(packed + 1, 1);
		less = room_make(packed - 1, 1);
		assert_int_equal(pack_pieces(pack, &less, raw, bytes, 1, &again), -ENOSPC);
		assert_int_equal(pack_pieces(pack, &exact, raw, bytes, 1, &again), 0);
		assert_int_equal(again, packed);
		assert_memory_equal(exact.bytes, all.bytes, packed);
		free(all.bytes);
		free(exact.bytes);
		free(less.bytes);
		pack_close(pack);
	}
}

#define MEMBERS 5u

static void a_file_of_members_is_readable_up_to_the_last_whole_one(void **state)
{
	(void)state;
	const size_t bytes = 40000;
	for (size_t m = 1; m < METHODS; m++) {
		struct pack *pack = opened(methods[m]);
		struct room room = room_make(MEMBERS * pack_most(pack, bytes), 16384);
		unsigned char *out = malloc(MEMBERS * bytes + 1);
		assert_non_null(out);
		size_t end[MEMBERS], at = 0;
		for (unsigned i = 0; i < MEMBERS; i++) {
			struct room one = {.bytes = room.bytes + at, .size = room.size - at, .most = 16384};
			uint64_t packed = 0;
			assert_int_equal(pack_pieces(pack, &one, raw + i * bytes, bytes, 16384, &packed), 0);
			end[i] = at += packed;
		}
		const char *tool = strcmp(pack_encoding(pack), "gzip") == 0 ? "gzip -dc" : "zstd -dcq";
		for (unsigned i = 0; i < MEMBERS; i++) {
			size_t here = (i + 1) * bytes;
			assert_int_equal(read_back(pack, room.bytes, end[i], out, MEMBERS * bytes + 1), here);
			assert_memory_equal(out, raw, here);
			assert_tool_reads(tool, room.bytes, end[i], raw, here, true);
			/* cut within the next */
			if (i + 1 < MEMBERS)
				assert_int_equal(
				        read_back(pack, room.bytes, end[i + 1] - 1, out, MEMBERS * bytes + 1),
				        here);
		}
		free(out);
		free(room.bytes);
		pack_close(pack);
	}
}

static void the_memory_is_what_was_said_and_stays_so(void **state)
{
	(void)state;
	assert_in_range(pack_memory("none"), 1, 100 * 1024);
	assert_in_range(pack_memory("isal:1"), 64 * 1024, 1024 * 1024);
	assert_in_range(pack_memory("zlib:6"), 256 * 1024, 1024 * 1024);
	assert_in_range(pack_memory("zstd:3"), 1024 * 1024, 8 * 1024 * 1024);
	assert_true(pack_memory("zstd:12") > pack_memory("zstd:1"));
}

/* Lines of a log, which repeat in part. */
static int make_lines(void **state)
{
	(void)state;
	draw_init(20261127);
	size_t at = 0;
	while (at < RAW_BYTES) {
		char line[300];
		int n = snprintf(
		        line, sizeof line,
		        "{\"text\":\"message %u of a conversation about %u\",\"content_id\":%u,\"client_id\":%u,\"timestamp\":15868466%05u}\n",
		        draw_below(1000), draw_below(50), draw_below(100000), draw_below(9),
		        draw_below(100000));
		size_t fits = (size_t)n < RAW_BYTES - at ? (size_t)n : RAW_BYTES - at;
		memcpy(raw + at, line, fits);
		at += fits;
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(methods_are_known_by_their_texts_alone),
	        cmocka_unit_test(names_of_what_comes_out_are_those_of_the_field),
	        cmocka_unit_test(a_member_unpacks_to_what_went_in_whatever_the_pieces_and_the_room),
	        cmocka_unit_test(lines_get_shorter),
	        cmocka_unit_test(no_bytes_are_a_member_too),
	        cmocka_unit_test(no_member_is_longer_than_was_said),
	        cmocka_unit_test(without_room_a_member_is_given_up_and_the_next_is_whole),
	        cmocka_unit_test(one_byte_more_than_a_member_has_is_room_enough_and_one_less_is_not),
	        cmocka_unit_test(a_file_of_members_is_readable_up_to_the_last_whole_one),
	        cmocka_unit_test(the_memory_is_what_was_said_and_stays_so),
	};
	alarm(50);
	return cmocka_run_group_tests(tests, make_lines, NULL);
}
