/* Mistyped words, and the digits of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <string.h>

#include "base/hex.h"
#include "base/word.h"

static void the_nearest_word_is_suggested_and_a_far_one_is_not(void **state)
{
	(void)state;
	static const char *const words[] = {"run",    "check", "stat",  "tap", "consume",
	                                    "report", "send",  "bench", "help"};
	static const struct {
		const char *word, *nearest;
	} cases[] = {{"stats", "stat"}, {"stta", "stat"},      {"cosnume", "consume"}, {"reprot", "report"},
	             {"rn", "run"},     {"tab", "tap"},        {"xyzzy", NULL},        {"q", NULL},
	             {"", NULL},        {"consumption", NULL}, {"bench", "bench"},     {"chack", "check"},
	             {"b", NULL},       {"help", "help"},      {"hlep", "help"}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *nearest = word_nearest(cases[i].word, words, sizeof words / sizeof words[0]);
		if (cases[i].nearest == NULL)
			assert_null(nearest);
		else
			assert_non_null(nearest);
		if (nearest != NULL && strcmp(nearest, cases[i].nearest) != 0)
			fail_msg("%s: %s, not %s", cases[i].word, nearest, cases[i].nearest);
	}
	char length[200];
	memset(length, 'a', sizeof length - 1);
	length[sizeof length - 1] = 0;
	assert_null(word_nearest(length, words, 1));
}

static void of_equally_near_words_the_first_is_suggested(void **state)
{
	(void)state;
	assert_string_equal(word_nearest("tac", (const char *const[]){"tab", "tap", "tac2"}, 3), "tab");
	assert_string_equal(word_nearest("tac", (const char *const[]){"tac2", "tab", "tac"}, 3), "tac");
	assert_null(word_nearest("tac", NULL, 0));
}

static void every_byte_is_the_digit_that_it_is(void **state)
{
	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		static const char digits[] = "0123456789abcdef";
		const char *at = byte == 0 ? NULL : strchr(digits, byte < 128 ? tolower(byte) : byte);
		assert_int_equal(hex_value((char)byte), at == NULL ? -1 : at - digits);
	}
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(hex_value(hex_lower(i)), i);
		assert_int_equal(hex_value(hex_upper(i + 0xf0)), i);
		assert_false(isupper(hex_lower(i)) || islower(hex_upper(i)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_nearest_word_is_suggested_and_a_far_one_is_not),
	        cmocka_unit_test(of_equally_near_words_the_first_is_suggested),
	        cmocka_unit_test(every_byte_is_the_digit_that_it_is),
	};
	return cmocka_run_group_tests_name("word", tests, NULL, NULL);
}
