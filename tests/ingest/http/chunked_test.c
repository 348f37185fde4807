/* The chunked coding, case by case, in every split. What is decoded ends where a page ends that
 * nothing may touch behind it. */
#include "ingest/http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fuzz/http_oracle.h"
#include "tests/fixture/page_end.h"

#define ROOM          (1u << 20)
#define RANDOM_BODIES 100000u
#define N(a)          (sizeof a / sizeof *a)

static char *page_end;

struct text {
	const char *data;
	size_t bytes;
};
#define T(literal)                          \
	{                                   \
		literal, sizeof literal - 1 \
	}

// clang-format off

/* A coding, its body, and what follows it in the same buffer. */
static const struct {
	struct text coding, body, rest;
} good[] = {
	{T("0\r\n\r\n"), T(""), T("")},
	{T("0\r\n\r\n"), T(""), T("GET / HTTP/1.1\r\n")},
	{T("4\r\nWiki\r\n5;x=1\r\npedia\r\n0\r\nTrailer: x\r\n\r\n"), T("Wikipedia"), T("")},
	{T("4\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\n\r\n"), T("Wikipedia in\r\n\r\nchunks."), T("\r\n")},
	{T("1\r\n\0\r\n2\r\n\xff\n\r\n0\r\n\r\n"), T("\0\xff\n"), T("0")},
	{T("00000000000000000000000000000000000A\r\n0123456789\r\n0000000000000000000000\r\n\r\n"), T("0123456789"), T("5\r\nhello")},
	{T("a\r\n0123456789\r\nA\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n"), T("0123456789\r\n0\r\n\r\n0\r\n"), T("POST")},
	{T("3;\r\nabc\r\n0;a;b=\"c;\\\" d\"\t;\xff e\r\n\r\n"), T("abc"), T("")},
	{T("0\r\nA:\r\nB: \t b\x80 \r\n!#$%&'*+-.^_`|~0: c:d\r\n\r\n"), T(""), T("x")},
	{T("1;" "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	        "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	        "01234567890123456789012345678901234567890\r\nx\r\n0\r\n\r\n"), T("x"), T("")},
};

/* Wrong with the last byte, not before. */
static const struct text bad[] = {
	/* the size */
	T("\r"), T("\n"), T(" "), T("\t"), T(";"), T("g"), T("x"), T("-"), T("+"), T("\0"), T(":"), T("@"), T("G"), T("/"), T("`"),
	T("0x"), T("5 "), T("5\t"), T("5\n"), T("5\r\r"), T("5\r0"), T("5g"), T("5,"), T("5_"), T("5\0"), T("0\n"), T("0\r\r"), T("5."),
	T("8000000000000000"), T("10000000000000000"), T("ffffffffffffffff"), T("0000000000000000000008000000000000000"),
	/* extensions */
	T("5;\n"), T("5;a\0"), T("5;\x7f"), T("5;a\x1b"), T("5;\r\r"), T("5;\ra"), T("5;a=\"\n"),
	/* data and its end */
	T("1\r\nab"), T("1\r\na\n"), T("1\r\na\r\r"), T("1\r\na\ra"), T("1\r\na0"), T("2\r\na\r\n"), T("1\r\na\r\n\r"), T("1\r\na\r\n\n"), T("1\r\na\r\n "),
	/* trailer */
	T("0\r\n\n"), T("0\r\n "), T("0\r\n\t"), T("0\r\n:"), T("0\r\n\r\r"), T("0\r\n\ra"), T("0\r\n\0"), T("0\r\na "), T("0\r\na\r"), T("0\r\na\n"),
	T("0\r\na("), T("0\r\n\x80"), T("0\r\na: b\n"), T("0\r\na: b\r\r"), T("0\r\na: b\rc"), T("0\r\na: b\0"), T("0\r\na: \x7f"), T("0\r\na: b\r\n "),
	T("0\r\na: b\r\n\t"), T("0\r\na: b\r\n:"), T("0\r\na: b\r\n\n"),
};

// clang-format on

struct outcome {
	enum chunked_result result;
	size_t in, out;
	const char *error;
};

/* Decodes in pieces that end at the given places (ascending, the last one is bytes), the coding
 * lying behind `before` bytes that stay as they are. */
static struct outcome decode_in(char *buffer, size_t before, const size_t *ends, size_t n)
{
	struct chunked chunked = {0};
	struct outcome o = {CHUNKED_MORE, before, before, NULL};
	for (size_t i = 0; i < n && o.result == CHUNKED_MORE; i++) {
		o.result = chunked_decode(&chunked, buffer, &o.in, before + ends[i], &o.out, &o.error);
		if (o.result == CHUNKED_MORE)
			assert_int_equal(o.in, before + ends[i]);
	}
	assert_int_equal(o.result == CHUNKED_BAD, o.error != NULL);
	return o;
}

static char *place(size_t before, struct text a, struct text b)
{
	size_t bytes = before + a.bytes + b.bytes;
	assert_true(bytes <= ROOM);
	char *buffer = page_end - bytes;
	memset(buffer, '#', before);
	memcpy(buffer + before, a.data, a.bytes);
	memcpy(buffer + before + a.bytes, b.data, b.bytes);
	return buffer;
}

static void assert_good(size_t i, size_t before, const size_t *ends, size_t n)
{
	const struct text *coding = &good[i].coding, *body = &good[i].body, *rest = &good[i].rest;
	char *buffer = place(before, *coding, *rest);
	struct outcome o = decode_in(buffer, before, ends, n);
	if (o.result != CHUNKED_DONE)
		fail_msg("case %zu, first end %zu: %s", i, ends[0], o.error ? o.error : "not done");
	assert_int_equal(o.in, before + coding->bytes);
	assert_int_equal(o.out, before + body->bytes);
	assert_memory_equal(buffer + before, body->data, body->bytes);
	assert_memory_equal(buffer + o.in, rest->data, rest->bytes);
	for (size_t c = 0; c < before; c++)
		assert_int_equal(buffer[c], '#');
}

static void a_body_is_taken_out_in_every_two_and_three_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		size_t all = good[i].coding.bytes + good[i].rest.bytes;
		for (size_t a = 0; a <= all; a++)
			for (size_t b = a; b <= all; b++)
				assert_good(i, b % 3 * 7, (size_t[]){a, b, all}, 3);
		assert_int_equal(http_oracle_chunked(good[i].coding.data, good[i].coding.bytes, i),
		                 HTTP_WHOLE);
	}
}

static void a_body_is_taken_out_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		size_t ends[512], all = good[i].coding.bytes + good[i].rest.bytes;
		assert_true(all < N(ends));
		for (size_t n = 0; n < all; n++)
			ends[n] = n + 1;
		assert_good(i, 5, ends, all);
	}
}

static void every_prefix_of_a_body_wants_more(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		for (size_t n = 0; n < good[i].coding.bytes; n++) {
			struct text part = {good[i].coding.data, n};
			struct outcome o = decode_in(place(0, part, (struct text)T("")), 0, &n, 1);
			assert_int_equal(o.result, CHUNKED_MORE);
		}
	}
}

static void a_coding_that_is_over_takes_no_more(void **state)
{
	(void)state;
	char buffer[] = "0\r\n\r\n0\r\n\r\n";
	struct chunked chunked = {0};
	size_t in = 0, out = 0;
	const char *error = NULL;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(chunked_decode(&chunked, buffer, &in, sizeof buffer - 1, &out, &error),
		                 CHUNKED_DONE);
		assert_int_equal(in, 5);
		assert_int_equal(out, 0);
	}
}

static void a_wrong_coding_is_refused_at_its_first_wrong_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		for (size_t split = 0; split <= bad[i].bytes; split++) {
			char *buffer = place(0, bad[i], (struct text)T("\r\n\r\n"));
			struct outcome o = decode_in(buffer, 0, (size_t[]){split, bad[i].bytes + 4}, 2);
			if (o.result != CHUNKED_BAD || o.in != bad[i].bytes - 1)
				fail_msg("case %zu (%.*s): result %d at %zu", i, (int)bad[i].bytes,
				         bad[i].data, o.result, o.in);
		}
	}
}

static void a_coding_stays_wrong(void **state)
{
	(void)state;
	char buffer[] = "x0\r\n\r\n";
	struct chunked chunked = {0};
	size_t in = 0, out = 0;
	const char *error = NULL;
	assert_int_equal(chunked_decode(&chunked, buffer, &in, 1, &out, &error), CHUNKED_BAD);
	in = 1;
	error = NULL;
	assert_int_equal(chunked_decode(&chunked, buffer, &in, sizeof buffer - 1, &out, &error), CHUNKED_BAD);
	assert_non_null(error);
}

/* The largest size that is taken, and how much of it there is. */
static void a_chunk_of_nearly_2_to_the_63_wants_more(void **state)
{
	(void)state;
	char buffer[] = "7fffffffffffffff\r\nabc";
	struct chunked chunked = {0};
	size_t in = 0, out = 0;
	const char *error = NULL;
	assert_int_equal(chunked_decode(&chunked, buffer, &in, sizeof buffer - 1, &out, &error),
	                 CHUNKED_MORE);
	assert_int_equal(out, 3);
	assert_memory_equal(buffer, "abc", 3);
	assert_true(chunked.left == INT64_MAX - 3u);
}

/* A coding of a start, n times x, and an end. */
static enum chunked_result decode_long(const char *start, size_t n, const char *end, size_t *in)
{
	char *buffer = page_end - strlen(start) - n - strlen(end);
	struct chunked chunked = {0};
	const char *error = NULL;
	size_t out = 0;
	*in = 0;
	memcpy(buffer, start, strlen(start));
	memset(buffer + strlen(start), 'x', n);
	memcpy(buffer + strlen(start) + n, end, strlen(end));
	return chunked_decode(&chunked, buffer, in, (size_t)(page_end - buffer), &out, &error);
}

static void a_size_line_may_have_256_bytes(void **state)
{
	(void)state;
	size_t in, room = CHUNKED_LINE_BYTES_MAX - strlen("0;\r\n");
	assert_int_equal(decode_long("0;", room, "\r\n\r\n", &in), CHUNKED_DONE);
	assert_int_equal(decode_long("0;", room + 1, "\r\n\r\n", &in), CHUNKED_BAD);
	assert_int_equal(in, CHUNKED_LINE_BYTES_MAX);
	assert_int_equal(decode_long("0;", room + 5000, "", &in), CHUNKED_BAD);
	assert_int_equal(in, CHUNKED_LINE_BYTES_MAX);
	/* of each chunk anew */
	assert_int_equal(decode_long("1;0123456789\r\na\r\n0;", room, "\r\n\r\n", &in), CHUNKED_DONE);
}

static void a_trailer_may_have_4096_bytes(void **state)
{
	(void)state;
	size_t in, room = CHUNKED_TRAILER_BYTES_MAX - strlen("a: b\r\nc: \r\n\r\n");
	assert_int_equal(decode_long("0\r\na: b\r\nc: ", room, "\r\n\r\n", &in), CHUNKED_DONE);
	assert_int_equal(decode_long("0\r\na: b\r\nc: ", room + 1, "\r\n\r\n", &in), CHUNKED_BAD);
	assert_int_equal(in, 3 + CHUNKED_TRAILER_BYTES_MAX);
	assert_int_equal(decode_long("0\r\n", 100000, "", &in), CHUNKED_BAD);
	assert_int_equal(in, 3 + CHUNKED_TRAILER_BYTES_MAX);
}

/* ---- at random ---- */

static size_t make_coding(char *text, size_t room)
{
	size_t at = 0;
	for (unsigned n = draw_below(6); n > 0 && at + 200 < room; n--) {
		unsigned bytes = 1 + draw_below(draw_one_in(3) ? 120 : 12);
		at += (size_t)sprintf(text + at, draw_one_in(2) ? "%x%s\r\n" : "%05X%s\r\n", bytes,
		                      draw_one_in(4) ? ";ext=\"v\"" : "");
		for (unsigned i = 0; i < bytes; i++)
			text[at++] = "\r\n0a;:"[draw_below(6)];
		text[at++] = '\r';
		text[at++] = '\n';
	}
	at += (size_t)sprintf(text + at, "0\r\n%s\r\n", draw_one_in(4) ? "Trailer: x\r\nOther:\r\n" : "");
	at += (size_t)sprintf(text + at, "%s", draw_one_in(2) ? "GET / HTTP/1.1\r\n" : "");
	return at;
}

static void random_codings_get_the_verdict_and_body_of_http_parser(void **state)
{
	(void)state;
	unsigned seen[HTTP_UNDECIDED + 1] = {0};
	for (unsigned i = 0; i < RANDOM_BODIES; i++) {
		char text[1024];
		size_t bytes = make_coding(text, sizeof text);
		if (draw_one_in(4))
			bytes = draw_below((unsigned)bytes + 1);
		for (unsigned n = draw_one_in(2) ? 0 : draw_below(3); n > 0 && bytes > 0; n--)
			text[draw_below((unsigned)bytes)] =
			        draw_one_in(2) ? "\r\n0fF;: \t"[draw_below(9)] : (char)draw();
		enum http_agreement agreement = http_oracle_chunked(text, bytes, draw() | 1);
		if (agreement == HTTP_DISAGREED)
			fail_msg("body %u differs", i);
		seen[agreement]++;
	}
	print_message("%u bodies: %u whole, %u partial, %u refused\n", RANDOM_BODIES, seen[HTTP_WHOLE],
	              seen[HTTP_PARTIAL], seen[HTTP_REFUSED]);
	assert_true(seen[HTTP_WHOLE] > RANDOM_BODIES / 4 && seen[HTTP_PARTIAL] > RANDOM_BODIES / 10 &&
	            seen[HTTP_REFUSED] > RANDOM_BODIES / 20);
}

static int make_page(void **state)
{
	(void)state;
	page_end = page_end_make(ROOM);
	return page_end ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_body_is_taken_out_in_every_two_and_three_pieces),
	        cmocka_unit_test(a_body_is_taken_out_byte_by_byte),
	        cmocka_unit_test(every_prefix_of_a_body_wants_more),
	        cmocka_unit_test(a_coding_that_is_over_takes_no_more),
	        cmocka_unit_test(a_wrong_coding_is_refused_at_its_first_wrong_byte),
	        cmocka_unit_test(a_coding_stays_wrong),
	        cmocka_unit_test(a_chunk_of_nearly_2_to_the_63_wants_more),
	        cmocka_unit_test(a_size_line_may_have_256_bytes),
	        cmocka_unit_test(a_trailer_may_have_4096_bytes),
	        cmocka_unit_test(random_codings_get_the_verdict_and_body_of_http_parser),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, make_page, NULL);
}
