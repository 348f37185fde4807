/* The JSON scanner, case by case, after the categories of nst/JSONTestSuite: what must be accepted,
 * what must be refused, and what RFC 8259 leaves open (scan.h says which way it goes here). Every
 * text ends where a page ends that nothing may be read behind. */
#include "ingest/json/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fuzz/json_oracle.h"
#include "tests/fixture/json_scan_cases.h"
#include "tests/fixture/json_scan_suite.h"
#include "tests/fixture/page_end.h"

#define ROOM         (1u << 20)
#define RANDOM_TEXTS 300000u

static char *page_end;

#define N(array) (sizeof array / sizeof *array)

static char *place(const char *data, size_t bytes)
{
	assert_true(bytes <= ROOM);
	return memcpy(page_end - bytes, data, bytes);
}

/* Scans to the end, asking a few times more, as a caller may. */
static enum scan_error verdict(const char *data, size_t bytes)
{
	struct scan scan;
	scan_init(&scan, place(data, bytes), bytes);
	enum scan_token token;
	do {
		token = scan_next(&scan);
		assert_true(scan.at >= page_end - bytes && scan.at <= page_end);
	} while (token > SCAN_END);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(scan_next(&scan), token);
	assert_int_equal(token == SCAN_END, scan.error == SCAN_OK);
	return scan.error;
}

static void assert_error(struct text text, enum scan_error expected)
{
	enum scan_error error = verdict(text.data, text.bytes);
	if (error != expected)
		fail_msg("%.*s: %s, expected %s", (int)text.bytes, text.data, scan_error_text(error),
		         scan_error_text(expected));
	assert_int_not_equal(json_oracle_scan(place(text.data, text.bytes), text.bytes), JSON_DISAGREED);
}

static void assert_errors(const struct text *text, size_t n, enum scan_error expected)
{
	for (size_t i = 0; i < n; i++)
		assert_error(text[i], expected);
}

static void texts_in_the_grammar_are_accepted(void **state)
{
	(void)state;
	assert_errors(valid, N(valid), SCAN_OK);
}

static void texts_outside_the_grammar_are_refused(void **state)
{
	(void)state;
	assert_errors(wrong, N(wrong), SCAN_SYNTAX);
}

static void bytes_that_are_not_utf_8_are_refused(void **state)
{
	(void)state;
	assert_errors(not_utf8, N(not_utf8), SCAN_NOT_UTF8);
}

static void nothing_is_read_in_front_of_a_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(valid); i++) {
		struct scan scan;
		enum scan_token token;
		scan_init(&scan, memcpy(page_end - ROOM, valid[i].data, valid[i].bytes), valid[i].bytes);
		do
			token = scan_next(&scan);
		while (token > SCAN_END);
		assert_int_equal(token, SCAN_END);
	}
}

static void halves_of_surrogate_pairs_are_refused(void **state)
{
	(void)state;
	assert_errors(half_pairs, N(half_pairs), SCAN_HALF_PAIR);
}

static void texts_that_end_early_are_truncated(void **state)
{
	(void)state;
	assert_errors(truncated, N(truncated), SCAN_TRUNCATED);
}

/* A number alone is whole after any digit; everything else is not before its last byte. */
static void each_beginning_of_a_text_is_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(valid); i++) {
		size_t whole = valid[i].bytes;
		while (whole > 0 && strchr(" \t\r\n", valid[i].data[whole - 1]))
			whole--;
		bool number = strchr("-0123456789 ", *valid[i].data) && !strchr(valid[i].data, '[');
		for (size_t bytes = 0; bytes < whole; bytes++) {
			enum scan_error error = verdict(valid[i].data, bytes);
			if (error != SCAN_TRUNCATED && !(number && error == SCAN_OK))
				fail_msg("%s cut at %zu: %s", valid[i].data, bytes, scan_error_text(error));
		}
	}
}

/* The name begins with what the suite wants: y, n, or i for either. */
static void every_case_of_the_fields_suite_is_judged_as_it_wants(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(suite); i++) {
		enum scan_error error = verdict(suite[i].text.data, suite[i].text.bytes);
		if (error != suite[i].verdict)
			fail_msg("%s: %s, expected %s", suite[i].name, scan_error_text(error),
			         scan_error_text(suite[i].verdict));
		if ((*suite[i].name == 'y' && error != SCAN_OK) ||
		    (*suite[i].name == 'n' && error == SCAN_OK))
			fail_msg("%s: %s", suite[i].name, scan_error_text(error));
		assert_error(suite[i].text, suite[i].verdict); /* and as jansson does */
	}
	static char deep[ROOM];
	for (size_t n = 0; n < 250000; n += 5)
		memcpy(deep + n, "[{\"\":", 5);
	assert_int_equal(verdict(deep, 250000), SCAN_TOO_DEEP); /* n_structure_open_array_object */
	memset(deep, '[', 100000);
	assert_int_equal(verdict(deep, 100000), SCAN_TOO_DEEP); /* n_structure_100000_opening_arrays */
	memset(deep + 500, ']', 500);
	assert_int_equal(verdict(deep, 1000), SCAN_TOO_DEEP); /* i_structure_500_nested_arrays */
}

/* So that each vector and each tail of the fast loop meets each kind of byte at each place. */
static void a_string_is_judged_byte_by_byte_at_every_length_and_place(void **state)
{
	(void)state;
	char text[64];
	for (unsigned length = 1; length <= 40; length++) {
		for (unsigned place_of = 0; place_of < length; place_of++) {
			for (unsigned byte = 0; byte < 256; byte++) {
				memset(text, 'x', sizeof text);
				text[0] = text[length + 1] = '"';
				text[1 + place_of] = (char)byte;
				enum scan_error expected = SCAN_OK;
				if (byte < 0x20 || byte == '\\' || (byte == '"' && length > 0))
					expected = SCAN_SYNTAX;
				if (byte == '\\' && place_of + 1 == length)
					expected = SCAN_TRUNCATED; /* the closing quote is escaped */
				if (byte >= 0x80)
					expected = SCAN_NOT_UTF8;
				assert_int_equal(verdict(text, length + 2), expected);
			}
		}
	}
}

static void every_code_point_is_read_raw_and_escaped(void **state)
{
	(void)state;
	for (unsigned code = 0x20; code < 0x110000; code += code < 0x3000 ? 1 : 61) {
		if ((code >= 0xd800 && code < 0xe000) || code == '"' || code == '\\')
			continue;
		char raw[8], escaped[16], out[16];
		size_t n = 0;
		if (code < 0x80) {
			raw[n++] = (char)code;
		} else if (code < 0x800) {
			raw[n++] = (char)(0xc0 + code / 64);
		} else if (code < 0x10000) {
			raw[n++] = (char)(0xe0 + code / 4096);
			raw[n++] = (char)(0x80 + code / 64 % 64);
		} else {
			raw[n++] = (char)(0xf0 + code / 262144);
			raw[n++] = (char)(0x80 + code / 4096 % 64);
			raw[n++] = (char)(0x80 + code / 64 % 64);
		}
		if (code >= 0x80)
			raw[n++] = (char)(0x80 + code % 64);
		int bytes = code < 0x10000
		                    ? sprintf(escaped, "\\u%04x", code)
		                    : sprintf(escaped, "\\u%04X\\u%04x", 0xd800 + (code - 0x10000) / 1024,
		                              0xdc00 + (code - 0x10000) % 1024);
		char text[32];
		int whole = sprintf(text, "\"%.*s\"", (int)n, raw);
		assert_int_equal(verdict(text, (size_t)whole), SCAN_OK);
		whole = sprintf(text, "\"%s\"", escaped);
		assert_int_equal(verdict(text, (size_t)whole), SCAN_OK);
		assert_int_equal(scan_unescape(out, escaped, (size_t)bytes), n);
		assert_memory_equal(out, raw, n);
	}
}

static void escapes_are_resolved_in_place_among_plain_text(void **state)
{
	(void)state;
	static const char text[] =
	        "a\\\"b\\\\c\\/d\\be\\ff\\ng\\rh\\ti\\u0000j\\u00e9k\\u20ACl\\ud83d\\uDE00m";
	static const char resolved[] = "a\"b\\c/d\be\ff\ng\rh\ti\0j\xc3\xa9k\xe2\x82\xacl\xf0\x9f\x98\x80m";
	char out[sizeof text];
	assert_int_equal(scan_unescape(out, text, sizeof text - 1), sizeof resolved - 1);
	assert_memory_equal(out, resolved, sizeof resolved - 1);
	assert_int_equal(scan_unescape(out, "", 0), 0);
}

static void tokens_come_in_order_with_their_texts(void **state)
{
	(void)state;
	static const struct {
		enum scan_token token;
		const char *text;
	} wanted[] = {
	        {SCAN_OBJECT, NULL}, {SCAN_KEY, "a"},     {SCAN_NUMBER, "-1.5e3"},
	        {SCAN_KEY, "b\\n"},  {SCAN_ARRAY, NULL},  {SCAN_STRING, "x"},
	        {SCAN_TRUE, NULL},   {SCAN_ARRAY, NULL},  {SCAN_ARRAY_END, NULL},
	        {SCAN_FALSE, NULL},  {SCAN_NULL, NULL},   {SCAN_ARRAY_END, NULL},
	        {SCAN_KEY, ""},      {SCAN_OBJECT, NULL}, {SCAN_OBJECT_END, NULL},
	        {SCAN_KEY, "c"},     {SCAN_NUMBER, "7"},  {SCAN_OBJECT_END, NULL},
	        {SCAN_END, NULL},
	};
	static const char text[] = " {\"a\":-1.5e3,\"b\\n\" : [\"x\",true,[],false,null], \"\":{},\"c\":7} ";
	struct scan scan;
	scan_init(&scan, place(text, sizeof text - 1), sizeof text - 1);
	for (size_t i = 0; i < N(wanted); i++) {
		assert_int_equal(scan_next(&scan), wanted[i].token);
		if (!wanted[i].text)
			continue;
		assert_int_equal(scan.bytes, strlen(wanted[i].text));
		assert_memory_equal(scan.text, wanted[i].text, scan.bytes);
		if (wanted[i].token == SCAN_NUMBER)
			assert_int_equal(scan.integer, wanted[i].text[0] == '7');
		else
			assert_int_equal(scan.escaped, strchr(wanted[i].text, '\\') != NULL);
	}
}

static void skipping_ends_behind_the_container_and_checks_it(void **state)
{
	(void)state;
	static const char text[] = "[[1,[2],{\"a\":[3]}],4]";
	struct scan scan;
	scan_init(&scan, place(text, sizeof text - 1), sizeof text - 1);
	assert_int_equal(scan_next(&scan), SCAN_ARRAY);
	assert_int_equal(scan_skip(&scan, scan_next(&scan)), SCAN_ARRAY_END);
	assert_int_equal(scan_skip(&scan, scan_next(&scan)), SCAN_NUMBER);
	assert_memory_equal(scan.text, "4", 1);
	assert_int_equal(scan_next(&scan), SCAN_ARRAY_END);
	assert_int_equal(scan_next(&scan), SCAN_END);
	static const char bad[] = "[[1,[2],{\"a\":[3}],4]";
	scan_init(&scan, place(bad, sizeof bad - 1), sizeof bad - 1);
	assert_int_equal(scan_next(&scan), SCAN_ARRAY);
	assert_int_equal(scan_skip(&scan, scan_next(&scan)), SCAN_ERROR);
	assert_int_equal(scan.at - (page_end - (sizeof bad - 1)), 15); /* the brace */
}

static void integers_are_read_to_the_last_of_int64_and_no_further(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int result;
		int64_t value;
	} cases[] = {
	        {"0", 0, 0},
	        {"-0", 0, 0},
	        {"7", 0, 7},
	        {"-7", 0, -7},
	        {"9223372036854775807", 0, INT64_MAX},
	        {"-9223372036854775808", 0, INT64_MIN},
	        {"9223372036854775808", -ERANGE, 0},
	        {"-9223372036854775809", -ERANGE, 0},
	        {"18446744073709551616", -ERANGE, 0},
	        {"99999999999999999999999", -ERANGE, 0},
	        {"9223372036854775817", -ERANGE, 0},
	        {"1.0", -EINVAL, 0},
	        {"1e3", -EINVAL, 0},
	        {"-0.0", -EINVAL, 0},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct scan scan;
		int64_t value = 4711;
		scan_init(&scan, cases[i].text, strlen(cases[i].text));
		assert_int_equal(scan_next(&scan), SCAN_NUMBER);
		assert_int_equal(scan_int64(&scan, &value), cases[i].result);
		assert_true(value == (cases[i].result == 0 ? cases[i].value : 4711));
	}
}

static void containers_nest_to_the_limit_and_no_deeper(void **state)
{
	(void)state;
	static char text[6 * (SCAN_DEPTH_MAX + 2)];
	for (unsigned depth = SCAN_DEPTH_MAX - 1; depth <= SCAN_DEPTH_MAX + 1; depth++) {
		size_t bytes = 0;
		for (unsigned i = 0; i < depth; i++)
			bytes += (size_t)sprintf(text + bytes, i % 3 ? "[" : "{\"\":");
		text[bytes++] = '0';
		for (unsigned i = depth; i-- > 0;)
			text[bytes++] = i % 3 ? ']' : '}';
		assert_error((struct text){text, bytes}, depth <= SCAN_DEPTH_MAX ? SCAN_OK : SCAN_TOO_DEEP);
	}
	static char open[ROOM];
	memset(open, '[', sizeof open);
	assert_int_equal(verdict(open, sizeof open), SCAN_TOO_DEEP);
}

static void long_strings_and_numbers_have_no_limit(void **state)
{
	(void)state;
	static char text[ROOM];
	memset(text, '7', sizeof text);
	assert_int_equal(verdict(text, sizeof text), SCAN_OK);
	text[0] = text[sizeof text - 1] = '"';
	assert_int_equal(verdict(text, sizeof text), SCAN_OK);
	text[sizeof text / 2] = 1;
	assert_int_equal(verdict(text, sizeof text), SCAN_SYNTAX);
}

/* Random texts near the grammar: pieces of JSON in random order, mostly nested right, then damaged
 * in one of three. */
static size_t put_random_value(char *out, unsigned depth)
{
	static const char *const scalars[] = {"0",
	                                      "-1",
	                                      "1.5",
	                                      "2e3",
	                                      "12345678901234567890",
	                                      "1e400",
	                                      "true",
	                                      "false",
	                                      "null",
	                                      "\"\"",
	                                      "\"a b\"",
	                                      "\"\\u00e9\\n\"",
	                                      "\"\\ud83d\\ude00\"",
	                                      "\"\xc3\xa9\xe2\x82\xac\"",
	                                      "\"0123456789abcdef0123456789\"",
	                                      "\"\\u0000\"",
	                                      "\"\xf0\x9f\x98\x80 \\\\ \\\"\""};
	size_t n = 0;
	bool object = draw_one_in(2);
	if (depth == 0 || draw_one_in(3))
		return (size_t)sprintf(out, "%s", scalars[draw_below(N(scalars))]);
	out[n++] = object ? '{' : '[';
	for (unsigned i = 0, members = draw_below(4); i < members; i++) {
		n += (size_t)sprintf(out + n, "%s%s", i > 0 ? "," : "", draw_one_in(4) ? " \n" : "");
		if (object)
			n += (size_t)sprintf(out + n, "\"%.*s\":", (int)draw_below(5), "keys");
		n += put_random_value(out + n, depth - 1);
	}
	out[n++] = object ? '}' : ']';
	return n;
}

static void random_texts_get_the_verdict_and_values_of_jansson(void **state)
{
	(void)state;
	static char text[1 << 16];
	unsigned seen[JSON_UNDECIDED + 1] = {0};
	for (unsigned i = 0; i < RANDOM_TEXTS; i++) {
		size_t bytes = put_random_value(text, 4);
		if (draw_one_in(3)) {
			text[draw_below((unsigned)bytes)] ^= (char)(1u << draw_below(8));
			if (draw_one_in(2))
				bytes = draw_below((unsigned)bytes + 1);
			if (draw_one_in(3))
				text[bytes++] = "{}[],:\"0 \xc3"[draw_below(10)];
		}
		enum json_agreement agreement = json_oracle_scan(place(text, bytes), bytes);
		assert_int_not_equal(agreement, JSON_DISAGREED);
		seen[agreement]++;
	}
	print_message("%u texts: %u accepted, %u refused, %u undecided\n", RANDOM_TEXTS, seen[JSON_ACCEPTED],
	              seen[JSON_REFUSED], seen[JSON_UNDECIDED]);
	assert_true(seen[JSON_ACCEPTED] > RANDOM_TEXTS / 3 && seen[JSON_REFUSED] > RANDOM_TEXTS / 10);
}

static int make_pages(void **state)
{
	(void)state;
	page_end = page_end_make(ROOM);
	return page_end ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(texts_in_the_grammar_are_accepted),
	        cmocka_unit_test(texts_outside_the_grammar_are_refused),
	        cmocka_unit_test(bytes_that_are_not_utf_8_are_refused),
	        cmocka_unit_test(nothing_is_read_in_front_of_a_text),
	        cmocka_unit_test(halves_of_surrogate_pairs_are_refused),
	        cmocka_unit_test(texts_that_end_early_are_truncated),
	        cmocka_unit_test(each_beginning_of_a_text_is_truncated),
	        cmocka_unit_test(every_case_of_the_fields_suite_is_judged_as_it_wants),
	        cmocka_unit_test(a_string_is_judged_byte_by_byte_at_every_length_and_place),
	        cmocka_unit_test(every_code_point_is_read_raw_and_escaped),
	        cmocka_unit_test(escapes_are_resolved_in_place_among_plain_text),
	        cmocka_unit_test(tokens_come_in_order_with_their_texts),
	        cmocka_unit_test(skipping_ends_behind_the_container_and_checks_it),
	        cmocka_unit_test(integers_are_read_to_the_last_of_int64_and_no_further),
	        cmocka_unit_test(containers_nest_to_the_limit_and_no_deeper),
	        cmocka_unit_test(long_strings_and_numbers_have_no_limit),
	        cmocka_unit_test(random_texts_get_the_verdict_and_values_of_jansson),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, make_pages, NULL);
}
