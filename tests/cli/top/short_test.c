/* Numbers as short text. */
#include "cli/top/short.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS 5

static const char *(*const functions[FUNCTIONS])(char *, double) = {short_count, short_rate, short_bytes,
                                                                    short_age, short_percent};

static void assert_text(const char *(*function)(char *, double), double number, const char *expected)
{
	char text[SHORT_MAX];
	assert_string_equal(function(text, number), expected);
}

static void counts_have_three_digits_and_a_unit(void **state)
{
	(void)state;
	assert_text(short_count, 0, "0");
	assert_text(short_count, 9999, "9999");
	assert_text(short_count, 10000, "10.0k");
	assert_text(short_count, 12345, "12.3k");
	assert_text(short_count, 99949, "99.9k");
	assert_text(short_count, 999499, "999k");
	assert_text(short_count, 999500, "1.00M");
	assert_text(short_count, 4560000, "4.56M");
	assert_text(short_count, 1.8e19, "18000P");
}

static void small_rates_have_decimals(void **state)
{
	(void)state;
	assert_text(short_rate, 0, "0");
	assert_text(short_rate, 0.02, "0.02");
	assert_text(short_rate, 0.41, "0.4");
	assert_text(short_rate, 9.94, "9.9");
	assert_text(short_rate, 9.95, "10");
	assert_text(short_rate, 19998, "20.0k");
}

static void bytes_are_in_units_of_1024(void **state)
{
	(void)state;
	assert_text(short_bytes, 0, "0B");
	assert_text(short_bytes, 1023, "1023B");
	assert_text(short_bytes, 1024, "1KiB");
	assert_text(short_bytes, 1536, "1.5KiB");
	assert_text(short_bytes, 64 << 20, "64MiB");
	assert_text(short_bytes, 1024 * 1024 - 1, "1.0MiB");
}

static void ages_have_the_two_units_that_count(void **state)
{
	(void)state;
	assert_text(short_age, 0.02, "20ms");
	assert_text(short_age, 0.9996, "1.0s");
	assert_text(short_age, 1.24, "1.2s");
	assert_text(short_age, 59.9, "59s");
	assert_text(short_age, 725, "12m05s");
	assert_text(short_age, 12000, "3h20m");
	assert_text(short_age, 2 * 86400 + 3 * 3600, "2d03h");
}

static void percents_have_a_decimal_below_ten(void **state)
{
	(void)state;
	assert_text(short_percent, 0, "0");
	assert_text(short_percent, 0.3, "0.3");
	assert_text(short_percent, 9.96, "10");
	assert_text(short_percent, 100, "100");
}

static void any_number_fits_and_grows_with_its_value(void **state)
{
	(void)state;
	for (double number = 1e-4; number < 2e19; number *= 1.01)
		for (unsigned i = 0; i < FUNCTIONS; i++) {
			char text[SHORT_MAX];
			memset(text, 'x', sizeof text);
			(void)functions[i](text, number);
			assert_non_null(memchr(text, '\0', sizeof text));
			/* what is read at the front is never more than four digits of a unit */
			if (functions[i] == short_count && number >= 9999.5 && number < 9e17) {
				assert_true(strlen(text) <= 5);
				assert_true(strtod(text, NULL) >= 1 && strtod(text, NULL) < 1000);
			}
			if (functions[i] == short_bytes && number < 1e18)
				assert_true(strlen(text) <= 7 && strtod(text, NULL) < 1024);
		}
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(counts_have_three_digits_and_a_unit),
	        cmocka_unit_test(small_rates_have_decimals),
	        cmocka_unit_test(bytes_are_in_units_of_1024),
	        cmocka_unit_test(ages_have_the_two_units_that_count),
	        cmocka_unit_test(percents_have_a_decimal_below_ten),
	        cmocka_unit_test(any_number_fits_and_grows_with_its_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
