/* Databases that are made to take time: whatever is in them, a step with one stays short, all of it
 * ends, and a look-up is cheap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "enrich/geo/entry.h"
#include "base/log.h"
#include "tests/fixture/geo.h"

#define STEP_MS_MAX   200u /* some milliseconds, under sanitizers and on a slow machine */
#define STEPS_MAX     100000u
#define LOOKUP_US_MAX 2000u

/* libmaxminddb 1.7.1 forgets some memory when it refuses metadata; our own leaks are still
 * found. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libmaxminddb.so\n";
}

/* Time on the processor: what else runs on the machine does not count. */
static uint64_t used_us(void)
{
	struct timespec time;
	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), 0);
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static void put_file(struct mmdb_make *make)
{
	size_t length;
	unsigned char *bytes = mmdb_finish(make, &length);
	geo_write(geo_path, bytes, length);
	free(bytes);
}

/* A record for each of n networks: the array, then the country. */
static void add_networks(struct mmdb_make *make, unsigned n, uint32_t array)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t record = mmdb_map(make, 2);
		mmdb_text(make, "a"), mmdb_pointer(make, array);
		mmdb_text(make, "country_code"), mmdb_text(make, "SE");
		mmdb_add4(make, 0x0b000000 + (i << 8), 24, record);
	}
}

static uint32_t put_numbers(struct mmdb_make *make, unsigned n)
{
	uint32_t array = mmdb_array(make, n);
	for (unsigned i = 0; i < n; i++)
		mmdb_number(make, 5, 0);
	return array;
}

/* The file comes while the stage runs. Ticks until it is judged, and looks at each tick's time;
 * returns the number of ticks. */
static unsigned judge(struct mmdb_make *make, struct geo **geo)
{
	uint64_t now_ns = 0;
	unsigned steps = 0;
	(void)unlink(geo_path);
	*geo = geo_open(geo_path);
	assert_non_null(*geo);
	put_file(make);
	while (geo_status(*geo)->loads + geo_status(*geo)->refusals == 0 && steps++ < STEPS_MAX) {
		uint64_t before = used_us();
		now_ns += GEO_CHECK_NS;
		(void)geo_check(*geo, now_ns);
		if (used_us() - before > STEP_MS_MAX * 1000)
			fail_msg("step %u took %u ms", steps, (unsigned)((used_us() - before) / 1000));
	}
	assert_true(steps < STEPS_MAX);
	return steps;
}

static void assert_refused(struct mmdb_make *make, const char *reason)
{
	struct geo *geo;
	(void)judge(make, &geo);
	if (geo_status(geo)->loaded)
		fail_msg("taken, though: %s", reason);
	if (strstr(geo_status(geo)->refusal, reason) == NULL)
		fail_msg("refused for \"%s\" instead of \"%s\"", geo_status(geo)->refusal, reason);
	geo_close(geo);
}

static void a_record_with_more_values_than_any_real_one_is_refused_before_it_is_walked_over(void **state)
{
	(void)state;
	struct mmdb_make make;
	mmdb_init(&make, 28, 6, "Test-Array");
	add_networks(&make, 20000, put_numbers(&make, 65000));
	assert_refused(&make, "has more than 2048 values");
}

static void records_that_all_point_to_one_array_are_refused_in_the_end_in_short_steps(void **state)
{
	(void)state;
	struct mmdb_make make;
	mmdb_init(&make, 28, 6, "Test-Shared");
	add_networks(&make, 60000, put_numbers(&make, ENTRY_VALUES_MAX - 100));
	assert_refused(&make, "point to the same values too often");
}

static void many_records_are_checked_over_many_short_steps(void **state)
{
	(void)state;
	struct mmdb_make make;
	struct geo *geo;
	mmdb_init(&make, 28, 6, "Test-Many");
	uint32_t array = put_numbers(&make, 100);
	add_networks(&make, 60000, array);
	unsigned steps = judge(&make, &geo);
	assert_true(geo_status(geo)->loaded);
	assert_int_equal(geo_status(geo)->records, 60000);
	assert_true(steps > 15); /* 60,000 records of 106 values, 400,000 a step */
	assert_country(geo_at(geo, "11.0.1.1"), "SE");
	geo_close(geo);
}

/* What stands in front of the country has to be walked over each time. */
static void a_look_up_in_the_largest_record_is_cheap(void **state)
{
	(void)state;
	struct mmdb_make make;
	struct geo *geo;
	mmdb_init(&make, 28, 6, "Test-Inline");
	for (unsigned i = 0; i < 64; i++) {
		uint32_t record = mmdb_map(&make, 2);
		mmdb_text(&make, "a"), put_numbers(&make, ENTRY_VALUES_MAX - 5);
		mmdb_text(&make, "country_code"), mmdb_text(&make, "SE");
		mmdb_add4(&make, 0x0b000000 + (i << 8), 24, record);
	}
	(void)judge(&make, &geo);
	assert_true(geo_status(geo)->loaded);
	uint64_t before = used_us();
	for (unsigned i = 0; i < 64; i++) {
		char text[16];
		snprintf(text, sizeof text, "11.0.%u.1", i);
		assert_country(geo_at(geo, text), "SE");
	}
	uint64_t each = (used_us() - before) / 64;
	print_message("%u us a look-up\n", (unsigned)each);
	assert_true(each < LOOKUP_US_MAX);
	geo_close(geo);
}

static void a_long_text_costs_nothing(void **state)
{
	(void)state;
	struct mmdb_make make;
	struct geo *geo;
	const uint32_t bytes = 8u << 20;
	mmdb_init(&make, 28, 6, "Test-Text");
	uint32_t record = mmdb_map(&make, 2);
	mmdb_text(&make, "city"), mmdb_control(&make, 2, bytes);
	make.data = mmdb_more(make.data, &make.room, make.used + bytes, 1);
	memset(make.data + make.used, 'a', bytes);
	make.used += bytes;
	mmdb_text(&make, "country_code"), mmdb_text(&make, "SE");
	mmdb_add4(&make, 0x0b000000, 24, record);
	(void)judge(&make, &geo);
	assert_country(geo_at(geo, "11.0.0.1"), "SE");
	assert_int_equal(geo_at(geo, "11.0.0.1").city_bytes, 255);
	geo_close(geo);
}

/* Each element holds the one before twice. */
static void put_doubled(struct mmdb_make *make)
{
	mmdb_array(make, 40);
	uint32_t before = mmdb_text(make, "en");
	for (unsigned i = 1; i < 40; i++) {
		uint32_t next = mmdb_array(make, 2);
		mmdb_pointer(make, before), mmdb_pointer(make, before);
		before = next;
	}
}

static void put_nested(struct mmdb_make *make)
{
	for (unsigned i = 0; i < 60000; i++)
		mmdb_array(make, 1);
	mmdb_text(make, "en");
}

static void put_too_many(struct mmdb_make *make)
{
	mmdb_array(make, 16000000);
	mmdb_text(make, "en");
}

static void metadata_that_would_never_end_are_refused_before_the_library_sees_them(void **state)
{
	(void)state;
	void (*const bad[])(struct mmdb_make *) = {put_doubled, put_nested, put_too_many};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct mmdb_make make;
		mmdb_init(&make, 28, 6, "Test-Metadata");
		make.languages = bad[i];
		add_networks(&make, 1, put_numbers(&make, 1));
		assert_refused(&make, "its metadata are broken or endless");
	}
}

static void put_number(struct mmdb_make *make)
{
	mmdb_array(make, 2);
	mmdb_text(make, "en");
	mmdb_number(make, 5, 7);
}

static void put_map(struct mmdb_make *make)
{
	mmdb_map(make, 1);
	mmdb_text(make, "en");
	mmdb_number(make, 5, 7);
}

/* Each refusal would cost memory otherwise: found by a fuzzer, told by the leak sanitizer. */
static void languages_that_are_no_texts_are_refused_before_the_library_sees_them(void **state)
{
	(void)state;
	void (*const bad[])(struct mmdb_make *) = {put_number, put_map};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct mmdb_make make;
		mmdb_init(&make, 28, 6, "Test-Languages");
		make.languages = bad[i];
		add_networks(&make, 1, put_numbers(&make, 1));
		assert_refused(&make, "its languages or descriptions are no texts");
	}
}

int main(void)
{
	alarm(120);
	log_init("geo_limits_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(
	                a_record_with_more_values_than_any_real_one_is_refused_before_it_is_walked_over),
	        cmocka_unit_test(records_that_all_point_to_one_array_are_refused_in_the_end_in_short_steps),
	        cmocka_unit_test(many_records_are_checked_over_many_short_steps),
	        cmocka_unit_test(a_look_up_in_the_largest_record_is_cheap),
	        cmocka_unit_test(a_long_text_costs_nothing),
	        cmocka_unit_test(metadata_that_would_never_end_are_refused_before_the_library_sees_them),
	        cmocka_unit_test(languages_that_are_no_texts_are_refused_before_the_library_sees_them),
	};
	return cmocka_run_group_tests(tests, geo_folder_make, geo_folder_remove);
}
