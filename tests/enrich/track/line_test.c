/* Tracking events as lines: to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "event/line.h"
#include "event/query.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/track_make.h"

static char line[1 << 20];

/* The line of what was made, with a final 0. */
static const char *line_of(const struct track_make *make)
{
	struct record *record = track_make(make);
	assert_true(event_check(record));
	int n = event_line(line, sizeof line - 1, record);
	assert_true(n > 0);
	line[n] = '\0';
	free(record);
	return line;
}

static void the_example_comes_out_to_the_byte(void **state)
{
	(void)state;
	assert_string_equal(
	        line_of(&track_example),
	        "app_open type=Desktop&browser=Firefox&engine=Gecko&version=56.0&os=Mac&host=192.168.64.2&pod=10.0.0.7&ts=1510826008003&ip=ffffac110001&klag=266&country=XX&city=XX "
	        "deviceid=abcdf&ts=123456&referrer=website");
}

static void a_call_without_parameters_ends_in_e(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.query = NULL;
	const char *text = line_of(&make);
	assert_string_equal(text + strlen(text) - 10, "&city=XX e");
}

static void everything_may_be_empty(void **state)
{
	(void)state;
	struct track_make make = {0};
	assert_string_equal(
	        line_of(&make),
	        "/ type=&browser=&engine=&version=&os=&host=&pod=&ts=0&ip=0&klag=0&country=XX&city=XX e");
}

static void the_type_of_a_call_of_the_root_is_a_slash(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.type = "/";
	assert_memory_equal(line_of(&make), "/ type=Desktop&", 15);
}

static void an_address_is_one_hexadecimal_number(void **state)
{
	(void)state;
	static const struct {
		uint8_t address[16];
		const char *number;
	} cases[] = {
	        {{0}, "0"},
	        {{[15] = 1}, "1"},
	        {{[10] = 0xff, [11] = 0xff}, "ffff00000000"},
	        {{[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 7}, "ffff0a000007"},
	        {{0x20, 0x01, 0x0d, 0xb8, [15] = 1}, "20010db8000000000000000000000001"},
	        {{0x00, 0x64, 0xff, 0x9b, [12] = 8, 8, 8, 8}, "64ff9b000000000000000008080808"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct track_make make = track_example;
		char expected[64];
		make.address = cases[i].address;
		snprintf(expected, sizeof expected, "&ip=%s&klag=", cases[i].number);
		assert_non_null(strstr(line_of(&make), expected));
	}
}

/* By the letter of RFC 3986, 2.3, not by the table of the code. */
static size_t encoded(char *out, unsigned char byte, bool slash_stays)
{
	if (isascii(byte) &&
	    (isalnum(byte) || strchr("-._~", byte) != NULL || (slash_stays && byte == '/')) && byte != 0) {
		out[0] = (char)byte;
		return 1;
	}
	return (size_t)sprintf(out, "%%%02X", byte);
}

static void every_byte_in_metadata_is_percent_encoded_but_the_unreserved(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		char text[3] = {'a', (char)byte, 'z'}, expected[512];
		char in_type[4] = "", in_value[4] = "";
		in_type[encoded(in_type, (unsigned char)byte, true)] = '\0';
		in_value[encoded(in_value, (unsigned char)byte, false)] = '\0';
		struct track_make make = track_example;
		make.type = make.host = text;
		make.type_bytes = make.host_bytes = 3;
		snprintf(expected, sizeof expected,
		         "a%sz type=Desktop&browser=Firefox&engine=Gecko&version=56.0&os=Mac&host=a%sz&pod=",
		         in_type, in_value);
		assert_memory_equal(line_of(&make), expected, strlen(expected));
	}
}

static void texts_in_metadata_are_percent_encoded(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.browser = "Mobile Safari";
	make.os = "a&b=c d%";
	make.host = "[2001:db8::1]:8080";
	make.pod = "2001:db8::7";
	make.city = "Z\xc3\xbcrich";
	make.country = "CH";
	assert_non_null(strstr(line_of(&make), "&browser=Mobile%20Safari&engine="));
	assert_non_null(strstr(
	        line, "&os=a%26b%3Dc%20d%25&host=%5B2001%3Adb8%3A%3A1%5D%3A8080&pod=2001%3Adb8%3A%3A7&ts="));
	assert_non_null(strstr(line, "&country=CH&city=Z%C3%BCrich deviceid"));
}

/* At every place of a query of every length. A byte of 0x80 and above alone is no UTF-8. */
static void a_query_is_left_as_it_is_but_for_what_would_break_the_line(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		for (size_t bytes = 1; bytes <= 20; bytes++) {
			size_t place = draw_below((unsigned)bytes);
			char query[20], expected[64];
			memset(query, '%', sizeof query);
			query[place] = (char)byte;
			bool kept = byte > 0x20 && byte < 0x7f;
			int n = kept ? snprintf(expected, sizeof expected, " %.*s", (int)bytes, query)
			             : snprintf(expected, sizeof expected, " %.*s%%%02X%.*s", (int)place,
			                        query, byte, (int)(bytes - place - 1), query + place + 1);
			struct track_make make = track_example;
			make.query = query;
			make.query_bytes = bytes;
			const char *text = line_of(&make);
			assert_string_equal(text + strlen(text) - (size_t)n, expected);
		}
	}
}

static void what_a_terminal_would_obey_is_encoded_in_a_query_and_other_text_is_not(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.query = "q=Z\xc3\xbcrich\xe2\x82\xac\xf0\x9f\x98\x80&x=\xc2\x9b"
	             "31m&y=\xe2\x80\xaez\xe2\x81\xa6";
	make.query_bytes = strlen(make.query);
	const char *text = line_of(&make);
	assert_non_null(strstr(
	        text, " q=Z\xc3\xbcrich\xe2\x82\xac\xf0\x9f\x98\x80&x=%C2%9B31m&y=%E2%80%AEz%E2%81%A6"));
}

/* Whatever is in an event, a reader finds three fields, and in the second the values that went
 * in. */
static void any_line_has_two_spaces_and_gives_back_what_went_in(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 20000; n++) {
		char text[3][64], decoded[64];
		size_t bytes[3];
		for (unsigned i = 0; i < 3; i++) {
			bytes[i] = 1 + draw_below(63);
			for (size_t at = 0; at < bytes[i]; at++)
				text[i][at] = (char)draw();
		}
		struct track_make make = track_example;
		make.type = text[0], make.type_bytes = bytes[0];
		make.host = text[1], make.host_bytes = bytes[1];
		make.query = text[2], make.query_bytes = bytes[2];
		const char *whole = line_of(&make);
		const char *first = strchr(whole, ' '), *second = strchr(first + 1, ' ');
		assert_null(strchr(second + 1, ' '));
		assert_null(strpbrk(whole, "\n\r\t\x7f"));
		assert_int_equal(query_decode(decoded, whole, (size_t)(first - whole)), bytes[0]);
		assert_memory_equal(decoded, text[0], bytes[0]);
		struct query query = {first + 1, second};
		struct query_pair pair;
		unsigned pairs = 0;
		while (query_next(&query, &pair)) {
			if (pairs++ != 5)
				continue;
			assert_true(query_is(pair.name, pair.name_bytes, "host", 4));
			assert_int_equal(query_decode(decoded, pair.value, pair.value_bytes), bytes[1]);
			assert_memory_equal(decoded, text[1], bytes[1]);
		}
		assert_int_equal(pairs, 12);
	}
}

static void a_buffer_of_any_size_too_small_is_said_and_never_overrun(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.host = "a b\xff";
	make.query = "a=1 2\n3&b=4";
	make.city = "S\xc3\xa3o Paulo";
	struct record *record = track_make(&make);
	int whole = event_line(line, sizeof line, record);
	assert_true(whole > 150);
	for (int size = 0; size <= whole; size++) {
		char *exact = malloc((size_t)size + 1);
		exact[size] = '!';
		assert_int_equal(event_line(exact, (size_t)size, record), size < whole ? -ENOSPC : whole);
		assert_int_equal(exact[size], '!');
		free(exact);
	}
	free(record);
}

static void other_records_and_broken_ones_have_no_line(void **state)
{
	(void)state;
	struct record *record = track_make(&track_example);
	for (uint32_t length = 0; length < record->length; length++) {
		struct record *cut = malloc(sizeof *cut + length);
		memcpy(cut, record, sizeof *cut + length);
		cut->length = length;
		assert_false(event_check(cut));
		assert_int_equal(event_line(line, sizeof line, cut), -EINVAL);
		free(cut);
	}
	record->type = EVENT_TRACK_RAW;
	assert_int_equal(event_line(line, sizeof line, record), -EINVAL);
	record->type = EVENT_OUTSIDE;
	assert_int_equal(event_line(line, sizeof line, record), -EINVAL);
	free(record);
}

static void long_texts_are_cut_between_characters_and_the_clock_never_runs_backwards(void **state)
{
	(void)state;
	char browser[600] = "";
	for (unsigned i = 0; i < 128; i++)
		memcpy(browser + 2 * i, "\xc3\xa9", 2);
	struct track_make make = track_example;
	make.browser = browser;
	struct record *record = track_make(&make);
	const struct event_track *event = (const void *)record->payload;
	assert_int_equal(event->browser_bytes, 254);
	assert_true(event_check(record));
	free(record);

	struct event_track_raw *raw = track_make_raw(&track_example);
	struct track track = {.raw = raw,
	                      .place = {.city = "XX", .city_bytes = 2, .country = {'X', 'X'}},
	                      .now_ns = raw->arrival_ns - 1};
	struct event_track *made = calloc(1, track_room(raw));
	assert_int_equal(track_put(made, &track), sizeof *made + 8 + 12 + 2 + 41);
	assert_int_equal(made->klag_ns, 0);
	free(made);
	free(raw);
}

int main(void)
{
	alarm(60);
	draw_init(20261121);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_comes_out_to_the_byte),
	        cmocka_unit_test(a_call_without_parameters_ends_in_e),
	        cmocka_unit_test(everything_may_be_empty),
	        cmocka_unit_test(the_type_of_a_call_of_the_root_is_a_slash),
	        cmocka_unit_test(an_address_is_one_hexadecimal_number),
	        cmocka_unit_test(every_byte_in_metadata_is_percent_encoded_but_the_unreserved),
	        cmocka_unit_test(texts_in_metadata_are_percent_encoded),
	        cmocka_unit_test(a_query_is_left_as_it_is_but_for_what_would_break_the_line),
	        cmocka_unit_test(what_a_terminal_would_obey_is_encoded_in_a_query_and_other_text_is_not),
	        cmocka_unit_test(any_line_has_two_spaces_and_gives_back_what_went_in),
	        cmocka_unit_test(a_buffer_of_any_size_too_small_is_said_and_never_overrun),
	        cmocka_unit_test(other_records_and_broken_ones_have_no_line),
	        cmocka_unit_test(long_texts_are_cut_between_characters_and_the_clock_never_runs_backwards),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
