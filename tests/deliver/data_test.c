/* The data element of a postback: its members, their texts, forms. */
#include "deliver/data.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N(array) (sizeof array / sizeof *array)

/* Reads a copy that lies at the end of its memory, so that a sanitizer sees a byte too many. */
static char *copy;

static int read_text(struct data *data, const char *json, size_t bytes)
{
	free(copy);
	copy = malloc(bytes > 0 ? bytes : 1);
	assert_non_null(copy);
	memcpy(copy, json, bytes);
	return data_read(data, copy, bytes);
}

static void assert_text(const struct data *data, const char *key, const char *expected)
{
	const struct data_member *member = data_find(data, key, strlen(key));
	char text[256], encoded[768], wanted[768];
	assert_non_null(member);
	assert_true(data_text_room(member) <= sizeof text);
	size_t n = data_text(member, text), m = data_percent(wanted, expected, strlen(expected));
	assert_true(n <= data_text_room(member));
	if (n != strlen(expected) || memcmp(text, expected, n) != 0)
		fail_msg("%s: %.*s, expected %s", key, (int)n, text, expected);
	assert_int_equal(data_text_percent(member, encoded, m), m);
	assert_memory_equal(encoded, wanted, m);
	if (m > 0)
		assert_true(data_text_percent(member, encoded, m - 1) == SIZE_MAX);
}

static void assert_form(const char *json, const char *expected)
{
	struct data data = {0};
	char form[4096];
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	assert_true(data_form_room(&data) <= sizeof form);
	size_t n = data_form(&data, form);
	assert_true(n <= data_form_room(&data));
	if (n != strlen(expected) || memcmp(form, expected, n) != 0)
		fail_msg("%s: %.*s, expected %s", json, (int)n, form, expected);
	data_free(&data);
}

static void every_type_of_value_has_a_text(void **state)
{
	(void)state;
	struct data data = {0};
	static const char json[] =
	        "{\"s\":\"Gopher\",\"empty\":\"\",\"n\":1.50,\"big\":123456789012345678901234567890,\"e\":-1E+2,"
	        "\"t\":true,\"f\":false,\"z\":null,\"a\":[1,\"b c\",{\"d\":[]}],\"o\":{\"x\":{\"y\":\"z\"}}}";
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	assert_int_equal(data.n, 10);
	assert_text(&data, "s", "Gopher");
	assert_text(&data, "empty", "");
	assert_text(&data, "n", "1.50");
	assert_text(&data, "big", "123456789012345678901234567890");
	assert_text(&data, "e", "-1E+2");
	assert_text(&data, "t", "true");
	assert_text(&data, "f", "false");
	assert_text(&data, "z", "");
	assert_text(&data, "a", "[1,\"b c\",{\"d\":[]}]");
	assert_text(&data, "o", "{\"x\":{\"y\":\"z\"}}");
	assert_null(data_find(&data, "x", 1));
	assert_null(data_find(&data, "", 0));
	data_free(&data);
}

static void escapes_are_resolved_in_strings_and_keys_and_stay_in_containers(void **state)
{
	(void)state;
	struct data data = {0};
	static const char json[] =
	        "{\"\\u0061\\n\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00x\",\"b\":[\"\\u00e9 \\\" ,\"]}";
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	assert_text(&data, "a\n", "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80x");
	assert_text(&data, "b", "[\"\\u00e9 \\\" ,\"]");
	assert_null(data_find(&data, "a", 1));
	assert_null(data_find(&data, "\\u0061\\n", 8));
	data_free(&data);
}

static void half_a_surrogate_pair_becomes_the_replacement_character(void **state)
{
	(void)state;
	struct data data = {0};
	static const char json[] =
	        "{\"a\":\"\\ud83d\",\"b\":\"\\ud83dx\",\"c\":\"\\ude00\\ud83d\",\"d\":\"\\ud83d\\u0041\",\"e\":\"\\ud83d\\ud83d\\ude00\",\"f\":\"\\ud83dxude00\",\"g\":\"\\udfff\"}";
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	assert_text(&data, "a", "\xef\xbf\xbd");
	assert_text(&data, "b", "\xef\xbf\xbdx");
	assert_text(&data, "c", "\xef\xbf\xbd\xef\xbf\xbd");
	assert_text(&data, "d",
	            "\xef\xbf\xbd"
	            "A");
	assert_text(&data, "e", "\xef\xbf\xbd\xf0\x9f\x98\x80");
	assert_text(&data, "f", "\xef\xbf\xbdxude00");
	assert_text(&data, "g", "\xef\xbf\xbd");
	data_free(&data);
}

static void white_space_is_left_out_of_containers_only(void **state)
{
	(void)state;
	struct data data = {0};
	static const char json[] =
	        " {\t\"a\" :\n[ 1 , \"b  c\" , { \"\\\\\" : \" \\\" \" } ] ,\r\"s\": \" x \" } ";
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	assert_text(&data, "a", "[1,\"b  c\",{\"\\\\\":\" \\\" \"}]");
	assert_text(&data, "s", " x ");
	data_free(&data);
}

static void of_repeated_keys_the_last_value_counts_at_the_first_place(void **state)
{
	(void)state;
	assert_form("{\"a\":1,\"b\":2,\"\\u0061\":3,\"a\":\"4\"}", "a=4&b=2");
	/* and when there are many */
	char json[4096] = "{", expected[4096] = "";
	for (unsigned i = 0; i < 60; i++)
		sprintf(json + strlen(json), "%s\"%sk%u\":%u", i > 0 ? "," : "", i % 7 == 0 ? "\\u0078" : "x",
		        i % 20, i);
	strcat(json, "}");
	for (unsigned i = 0; i < 20; i++)
		sprintf(expected + strlen(expected), "%sxk%u=%u", i > 0 ? "&" : "", i, 40 + i);
	assert_form(json, expected);
}

static void forms_are_as_urllib_writes_them(void **state)
{
	(void)state;
	assert_form("{}", "");
	assert_form("{\"\":\"\"}", "=");
	assert_form("{\"mascot\":\"Gopher\",\"id\":12,\"tags\":[\"a\",\"b\"]}",
	            "mascot=Gopher&id=12&tags=%5B%22a%22%2C%22b%22%5D");
	assert_form("{\"a b&=\":\"c d+~*-._\",\"\xc3\xb6\":\"\\u00f6\"}",
	            "a+b%26%3D=c+d%2B~%2A-._&%C3%B6=%C3%B6");
	assert_form("{\"z\":null,\"t\":true}", "z=&t=true");
}

static void what_is_no_object_is_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {
	        "",
	        " ",
	        "[]",
	        "1",
	        "null",
	        "{",
	        "{\"a\"}",
	        "{\"a\":}",
	        "{\"a\":1,}",
	        "{,}",
	        "{\"a\":1 \"b\":2}",
	        "{\"a\":1}x",
	        "{\"a\":1}{}",
	        "{a:1}",
	        "{\"a\":01}",
	        "{\"a\":1.}",
	        "{\"a\":.5}",
	        "{\"a\":1e}",
	        "{\"a\":+1}",
	        "{\"a\":-}",
	        "{\"a\":tru}",
	        "{\"a\":nulL}",
	        "{\"a\":NaN}",
	        "{\"a\":[1,]}",
	        "{\"a\":[1}",
	        "{\"a\":{1:2}}",
	        "{\"a\":{\"b\":}}",
	        "{\"a\":\"\n\"}",
	        "{\"a\":\"\\x\"}",
	        "{\"a\":\"\\u12g4\"}",
	        "{\"a\":\"\\u12\"}",
	        "{\"a\":\"\xff\"}",
	        "{\"a\":\"\xc3\"}",
	        "{\"a\":\"\xed\xa0\x80\"}",
	        "{\"\xc0\x80\":1}",
	};
	struct data data = {0};
	for (size_t i = 0; i < N(cases); i++) {
		if (read_text(&data, cases[i], strlen(cases[i])) != -EINVAL)
			fail_msg("%s: taken", cases[i]);
		assert_int_equal(data.n, 0);
		assert_null(data_find(&data, "a", 1));
	}
	data_free(&data);
}

static void an_object_cut_anywhere_is_refused(void **state)
{
	(void)state;
	static const char json[] =
	        "{\"a\":\"\\ud83d\\ude00\xe2\x82\xac\",\"b\":[1.5e-3,{\"c\":null}],\"d\":true}";
	struct data data = {0};
	for (size_t n = 0; n < strlen(json); n++)
		assert_int_equal(read_text(&data, json, n), -EINVAL);
	assert_int_equal(read_text(&data, json, strlen(json)), 0);
	data_free(&data);
}

static void depth_is_bounded(void **state)
{
	(void)state;
	struct data data = {0};
	static char json[100000];
	for (unsigned depth = DATA_DEPTH_MAX - 2; depth < DATA_DEPTH_MAX + 2; depth++) {
		size_t n = (size_t)sprintf(json, "{\"a\":");
		memset(json + n, '[', depth);
		memset(json + n + depth, ']', depth);
		json[n + 2 * depth] = '}';
		assert_int_equal(read_text(&data, json, n + 2 * depth + 1),
		                 1 + depth <= DATA_DEPTH_MAX ? 0 : -EINVAL);
	}
	memset(json, '[', sizeof json);
	memcpy(json, "{\"a\":", 5);
	assert_int_equal(read_text(&data, json, sizeof json), -EINVAL);
	data_free(&data);
}

static void a_hundred_thousand_members_are_found_in_no_time(void **state)
{
	(void)state;
	enum { MEMBERS = 100000 };
	char *json = malloc(MEMBERS * 16 + 2), *at = json, key[16];
	assert_non_null(json);
	*at++ = '{';
	for (unsigned i = 0; i < MEMBERS; i++)
		at += sprintf(at, "%s\"k%u\":%u", i > 0 ? "," : "", i, i);
	*at++ = '}';
	struct data data = {0};
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(data_read(&data, json, (size_t)(at - json)), 0);
		assert_int_equal(data.n, MEMBERS);
		for (unsigned i = 0; i < MEMBERS; i++) {
			sprintf(key, "k%u", i);
			assert_ptr_equal(data_find(&data, key, strlen(key)), &data.member[i]);
		}
		assert_null(data_find(&data, "k", 1));
	}
	assert_int_equal(data_read(&data, "{\"k\":1}", 7), 0);
	assert_int_equal(data.n, 1);
	assert_null(data_find(&data, "k7", 2));
	assert_non_null(data_find(&data, "k", 1));
	data_free(&data);
	free(json);
}

static void percent_leaves_letters_digits_and_four_marks(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char byte = (char)c, out[4] = {0}, expected[4];
		bool plain = c < 0x80 && c != 0 &&
		             strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~",
		                    (int)c) != NULL;
		sprintf(expected, plain ? "%c" : "%%%02X", c);
		assert_int_equal(data_percent(out, &byte, 1), strlen(expected));
		assert_string_equal(out, expected);
	}
}

static int free_copy(void **state)
{
	(void)state;
	free(copy);
	copy = NULL;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_type_of_value_has_a_text),
	        cmocka_unit_test(escapes_are_resolved_in_strings_and_keys_and_stay_in_containers),
	        cmocka_unit_test(half_a_surrogate_pair_becomes_the_replacement_character),
	        cmocka_unit_test(white_space_is_left_out_of_containers_only),
	        cmocka_unit_test(of_repeated_keys_the_last_value_counts_at_the_first_place),
	        cmocka_unit_test(forms_are_as_urllib_writes_them),
	        cmocka_unit_test(what_is_no_object_is_refused),
	        cmocka_unit_test(an_object_cut_anywhere_is_refused),
	        cmocka_unit_test(depth_is_bounded),
	        cmocka_unit_test(a_hundred_thousand_members_are_found_in_no_time),
	        cmocka_unit_test(percent_leaves_letters_digits_and_four_marks),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, free_copy);
}
