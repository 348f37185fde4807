/* Times as people type and read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "base/moment.h"

#define NOW 1795230000000

static void times_are_local_unless_they_end_with_z(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
	        {"2026-07-01", 1782856800000}, /* two hours east of Greenwich */
	        {"2026-07-01 12:30", 1782901800000},
	        {"2026-07-01 12:30:05", 1782901805000},
	        {"2026-07-01T12:30:05", 1782901805000},
	        {"2026-07-01T12:30:05Z", 1782909005000},
	        {"2026-01-01", 1767222000000}, /* one hour in winter */
	        {"0s", NOW},
	        {"90s", NOW - 90000},
	        {"30m", NOW - 1800000},
	        {"2h", NOW - 7200000},
	        {"7d", NOW - 604800000},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t ms = 0;
		if (!moment_parse(cases[i].text, NOW, &ms) || ms != cases[i].ms)
			fail_msg("%s: %lld", cases[i].text, (long long)ms);
	}
}

static void what_is_no_time_changes_nothing(void **state)
{
	(void)state;
	static const char *const cases[] = {
	        "",     "yesterday", "2h ", "2", "h", "-1h", "2026-13-01", "2026-07-01 ", "2026-07-01 25:00",
	        "1e3s", "99999999d", "2H"};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t ms = 7;
		if (moment_parse(cases[i], NOW, &ms) || ms != 7)
			fail_msg("\"%s\": %lld", cases[i], (long long)ms);
	}
}

static void times_are_shown_as_they_can_be_typed(void **state)
{
	(void)state;
	char text[MOMENT_BYTES];
	int64_t ms;
	assert_string_equal(moment_show(text, 1782901805000), "2026-07-01 12:30:05");
	assert_true(moment_parse(text, NOW, &ms));
	assert_int_equal(ms, 1782901805000);
	assert_string_equal(moment_show(text, 0), "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(times_are_local_unless_they_end_with_z),
	        cmocka_unit_test(what_is_no_time_changes_nothing),
	        cmocka_unit_test(times_are_shown_as_they_can_be_typed),
	};
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
