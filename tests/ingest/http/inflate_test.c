/* Compressed bodies: what zlib's deflater makes comes back whole, and whatever is cut, changed,
 * appended or too large is told apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "ingest/http/inflate.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"

enum form { FORM_GZIP, FORM_ZLIB, FORM_RAW, FORMS };

static const enum request_coding coding_of[FORMS] = {REQUEST_GZIP, REQUEST_DEFLATE, REQUEST_DEFLATE};
static const int bits_of[FORMS] = {15 + 16, 15, -15};

#define ROOM (1u << 20)
static char plain[ROOM], packed[2 * ROOM], out[ROOM];
static struct inflater *inflater;

/* Compresses bytes of data to `to`; returns the length. */
static size_t deflate_to(char *to, size_t room, int bits, int level, const char *data, size_t bytes)
{
	z_stream zlib = {0};
	assert_int_equal(deflateInit2(&zlib, level, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
	zlib.next_in = (z_const Bytef *)data;
	zlib.avail_in = (uInt)bytes;
	zlib.next_out = (Bytef *)to;
	zlib.avail_out = (uInt)room;
	assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
	size_t length = room - zlib.avail_out;
	deflateEnd(&zlib);
	return length;
}

static size_t pack(enum form form, const char *data, size_t bytes)
{
	return deflate_to(packed, sizeof packed, bits_of[form], 6, data, bytes);
}

static long unpack(enum form form, size_t bytes, size_t room)
{
	return inflater_run(inflater, coding_of[form], packed, bytes, out, room);
}

/* Text that compresses about as bodies do. */
static void make_plain(size_t bytes)
{
	size_t n = 0;
	while (n < bytes) {
		char line[128];
		int length =
		        snprintf(line, sizeof line,
		                 "{\"username\": \"user%u\", \"count\": %u, \"metric\": \"kite_call\"}\n",
		                 draw_below(100), draw_below(1u << 31));
		size_t left = bytes - n;
		memcpy(plain + n, line, (size_t)length < left ? (size_t)length : left);
		n += (size_t)length < left ? (size_t)length : left;
	}
}

static void what_was_deflated_comes_back_whole_in_all_three_forms(void **state)
{
	(void)state;
	static const size_t lengths[] = {0, 1, 2, 61, 4096, 32768, 32769, 100000, ROOM};
	for (enum form form = 0; form < FORMS; form++)
		for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
			for (int level = 0; level <= 9; level += 3) {
				make_plain(lengths[i]);
				size_t bytes = deflate_to(packed, sizeof packed, bits_of[form], level, plain,
				                          lengths[i]);
				assert_int_equal(unpack(form, bytes, ROOM), lengths[i]);
				assert_memory_equal(out, plain, lengths[i]);
			}
}

static void windows_smaller_than_the_greatest_are_taken(void **state)
{
	(void)state;
	make_plain(50000);
	for (int bits = 9; bits < 15; bits++) {
		size_t bytes = deflate_to(packed, sizeof packed, bits, 6, plain, 50000);
		assert_int_equal(unpack(FORM_ZLIB, bytes, ROOM), 50000);
		bytes = deflate_to(packed, sizeof packed, -bits, 6, plain, 50000);
		assert_int_equal(unpack(FORM_RAW, bytes, ROOM), 50000);
		assert_memory_equal(out, plain, 50000);
	}
}

static void forms_can_follow_one_another_in_any_order(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		enum form form = draw_below(FORMS);
		size_t length = draw_below(3000);
		make_plain(length);
		size_t bytes = pack(form, plain, length);
		if (draw_one_in(3)) { /* a bad one leaves nothing behind for the next */
			packed[draw_below((unsigned)bytes)] ^= (char)(1 + draw_below(255));
			(void)unpack(form, bytes, draw_below(3000));
			bytes = pack(form, plain, length);
		}
		assert_int_equal(unpack(form, bytes, ROOM), length);
		assert_memory_equal(out, plain, length);
	}
}

static void a_gzip_body_of_several_members_is_their_sum(void **state)
{
	(void)state;
	make_plain(9000);
	size_t bytes = 0, taken = 0;
	for (unsigned i = 0; i < 9; i++) {
		size_t length = i == 4 ? 0 : 1000; /* one of them empty */
		bytes += deflate_to(packed + bytes, sizeof packed - bytes, bits_of[FORM_GZIP], 6,
		                    plain + taken, length);
		taken += length;
	}
	assert_int_equal(unpack(FORM_GZIP, bytes, ROOM), 8000);
	assert_memory_equal(out, plain, 8000);
	assert_int_equal(unpack(FORM_GZIP, bytes, 8000), 8000);
	assert_int_equal(unpack(FORM_GZIP, bytes, 7999), -EMSGSIZE);
	assert_int_equal(unpack(FORM_GZIP, bytes, 500), -EMSGSIZE);
}

static void anything_behind_the_end_is_an_error(void **state)
{
	(void)state;
	static const char *const garbage[] = {"x", "\x1f", "\x1f\x8b", "0123456789", "\x78\x9c"};
	make_plain(500);
	for (enum form form = 0; form < FORMS; form++) {
		size_t bytes = pack(form, plain, 500);
		for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
			memcpy(packed + bytes, garbage[i], strlen(garbage[i]));
			assert_int_equal(unpack(form, bytes + strlen(garbage[i]), ROOM), -EBADMSG);
			assert_int_equal(unpack(form, bytes + strlen(garbage[i]), 500), -EBADMSG);
		}
		packed[bytes] = 0;
		assert_int_equal(unpack(form, bytes + 1, ROOM), -EBADMSG);
	}
	size_t bytes = pack(FORM_ZLIB, plain, 500); /* two streams are no deflate body */
	memcpy(packed + bytes, packed, bytes);
	assert_int_equal(unpack(FORM_ZLIB, 2 * bytes, ROOM), -EBADMSG);
}

static void a_body_cut_anywhere_is_an_error_and_nothing_behind_it_is_read(void **state)
{
	(void)state;
	char *end = page_end_make(65536);
	assert_non_null(end);
	make_plain(3000);
	for (enum form form = 0; form < FORMS; form++) {
		size_t bytes = pack(form, plain, 3000);
		for (size_t cut = 0; cut <= bytes; cut++) {
			memcpy(end - cut, packed, cut);
			assert_int_equal(inflater_run(inflater, coding_of[form], end - cut, cut, out, ROOM),
			                 cut == bytes ? 3000 : -EBADMSG);
		}
	}
}

static void an_empty_body_is_no_stream(void **state)
{
	(void)state;
	for (enum form form = 0; form < FORMS; form++) {
		assert_int_equal(unpack(form, 0, ROOM), -EBADMSG);
		assert_int_equal(unpack(form, 0, 0), -EBADMSG);
	}
}

static void what_needs_more_than_the_room_is_told_apart_at_every_size(void **state)
{
	(void)state;
	char *end = page_end_make(4096); /* a write behind the room crashes */
	assert_non_null(end);
	make_plain(600);
	for (enum form form = 0; form < FORMS; form++) {
		size_t bytes = pack(form, plain, 600);
		for (size_t room = 0; room < 700; room++) {
			long length =
			        inflater_run(inflater, coding_of[form], packed, bytes, end - room, room);
			assert_int_equal(length, room < 600 ? -EMSGSIZE : 600);
			assert_memory_equal(end - room, plain, room < 600 ? 0 : 600);
		}
		bytes = pack(form, plain, 0);
		assert_int_equal(unpack(form, bytes, 0), 0);
	}
}

static void a_bomb_stops_at_the_room(void **state)
{
	(void)state;
	/* 16 MiB of zeros in 16 KiB. */
	static char zeros[ROOM];
	for (enum form form = 0; form < FORMS; form++) {
		z_stream zlib = {0};
		assert_int_equal(deflateInit2(&zlib, 9, Z_DEFLATED, bits_of[form], 8, Z_DEFAULT_STRATEGY),
		                 Z_OK);
		zlib.next_out = (Bytef *)packed;
		zlib.avail_out = sizeof packed;
		for (unsigned i = 0; i < 16; i++) {
			zlib.next_in = (z_const Bytef *)zeros;
			zlib.avail_in = sizeof zeros;
			assert_int_equal(deflate(&zlib, i == 15 ? Z_FINISH : Z_NO_FLUSH),
			                 i == 15 ? Z_STREAM_END : Z_OK);
		}
		size_t bytes = sizeof packed - zlib.avail_out;
		deflateEnd(&zlib);
		assert_true(bytes < 16 * sizeof zeros / 900);
		out[1000] = 'x';
		assert_int_equal(unpack(form, bytes, 1000), -EMSGSIZE);
		assert_int_equal(out[1000], 'x');
		assert_int_equal(unpack(form, bytes, ROOM), -EMSGSIZE);
	}
}

static void a_wrong_checksum_or_length_is_an_error(void **state)
{
	(void)state;
	make_plain(1000);
	for (size_t back = 1; back <= 8; back++) { /* CRC-32 and length */
		size_t bytes = pack(FORM_GZIP, plain, 1000);
		packed[bytes - back] ^= 1;
		assert_int_equal(unpack(FORM_GZIP, bytes, ROOM), -EBADMSG);
		assert_int_equal(unpack(FORM_GZIP, bytes, 1000), -EBADMSG);
	}
	for (size_t back = 1; back <= 4; back++) { /* Adler-32 */
		size_t bytes = pack(FORM_ZLIB, plain, 1000);
		packed[bytes - back] ^= 1;
		assert_int_equal(unpack(FORM_ZLIB, bytes, ROOM), -EBADMSG);
	}
}

static void other_formats_and_dictionaries_are_errors(void **state)
{
	(void)state;
	static const char text[] = "{\"username\": \"a\"}";
	assert_int_equal(inflater_run(inflater, REQUEST_GZIP, text, strlen(text), out, ROOM), -EBADMSG);
	assert_int_equal(inflater_run(inflater, REQUEST_DEFLATE, text, strlen(text), out, ROOM), -EBADMSG);
	make_plain(100);
	assert_int_equal(inflater_run(inflater, REQUEST_GZIP, packed, pack(FORM_ZLIB, plain, 100), out, ROOM),
	                 -EBADMSG);
	assert_int_equal(
	        inflater_run(inflater, REQUEST_DEFLATE, packed, pack(FORM_GZIP, plain, 100), out, ROOM),
	        -EBADMSG);
	z_stream zlib = {.next_out = (Bytef *)packed, .avail_out = sizeof packed};
	assert_int_equal(deflateInit(&zlib, 6), Z_OK);
	assert_int_equal(deflateSetDictionary(&zlib, (const Bytef *)"abc", 3), Z_OK);
	zlib.next_in = (z_const Bytef *)"abcabc";
	zlib.avail_in = 6;
	assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
	size_t bytes = sizeof packed - zlib.avail_out;
	deflateEnd(&zlib);
	assert_int_equal(unpack(FORM_ZLIB, bytes, ROOM), -EBADMSG);
}

static void a_damaged_body_never_writes_beyond_the_room(void **state)
{
	(void)state;
	char *end = page_end_make(8192);
	assert_non_null(end);
	for (unsigned i = 0; i < 5000; i++) {
		enum form form = draw_below(FORMS);
		size_t length = draw_below(400), room = draw_below(500);
		make_plain(length);
		size_t bytes = deflate_to(packed, sizeof packed, bits_of[form], 1, plain, length);
		for (unsigned n = 1 + draw_below(3); n > 0; n--)
			packed[draw_below((unsigned)bytes)] = (char)draw();
		long got = inflater_run(inflater, coding_of[form], packed, bytes, end - room, room);
		assert_true(got == -EBADMSG || got == -EMSGSIZE || (got >= 0 && (size_t)got <= room));
	}
}

int main(void)
{
	alarm(60);
	draw_init(2024);
	inflater = inflater_create();
	if (inflater == NULL)
		return 1;
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_was_deflated_comes_back_whole_in_all_three_forms),
	        cmocka_unit_test(windows_smaller_than_the_greatest_are_taken),
	        cmocka_unit_test(forms_can_follow_one_another_in_any_order),
	        cmocka_unit_test(a_gzip_body_of_several_members_is_their_sum),
	        cmocka_unit_test(anything_behind_the_end_is_an_error),
	        cmocka_unit_test(a_body_cut_anywhere_is_an_error_and_nothing_behind_it_is_read),
	        cmocka_unit_test(an_empty_body_is_no_stream),
	        cmocka_unit_test(what_needs_more_than_the_room_is_told_apart_at_every_size),
	        cmocka_unit_test(a_bomb_stops_at_the_room),
	        cmocka_unit_test(a_wrong_checksum_or_length_is_an_error),
	        cmocka_unit_test(other_formats_and_dictionaries_are_errors),
	        cmocka_unit_test(a_damaged_body_never_writes_beyond_the_room),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	inflater_destroy(inflater);
	return failed;
}
