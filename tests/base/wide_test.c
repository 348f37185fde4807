/* Sums of 128 bits as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/wide.h"

#define MOST ((__int128)(((unsigned __int128)1 << 127) - 1))

static void what_is_printed_is_read_again(void **state)
{
	(void)state;
	static const struct {
		__int128 number;
		const char *text;
	} rows[] = {
	        {0, "0"},
	        {-1, "-1"},
	        {10, "10"},
	        {INT64_MAX, "9223372036854775807"},
	        {INT64_MIN, "-9223372036854775808"},
	        {(__int128)UINT64_MAX + 1, "18446744073709551616"},
	        {MOST, "170141183460469231731687303715884105727"},
	        {-MOST - 1, "-170141183460469231731687303715884105728"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[WIDE_TEXT_BYTES];
		__int128 number = 7;
		assert_string_equal(wide_print(text, rows[i].number), rows[i].text);
		assert_true(wide_parse(text, &number));
		assert_true(number == rows[i].number);
	}
}

static void what_is_not_printed_is_not_read(void **state)
{
	(void)state;
	static const char *const wrong[] = {
	        "",
	        "-",
	        "-0",
	        "00",
	        "01",
	        "+1",
	        " 1",
	        "1 ",
	        "1.0",
	        "1e3",
	        "0x10",
	        "--1",
	        "a",
	        "1a2",
	        "170141183460469231731687303715884105728",
	        "-170141183460469231731687303715884105729",
	        "340282366920938463463374607431768211456",
	        "99999999999999999999999999999999999999999999",
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		__int128 number = 7;
		assert_false(wide_parse(wrong[i], &number));
		assert_true(number == 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_printed_is_read_again),
	        cmocka_unit_test(what_is_not_printed_is_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
