/* Mean rates over windows of time. */
#include "look/average.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

static struct average average;

static int make(void **state)
{
	(void)state;
	average = (struct average){0};
	return 0;
}

static void assert_rate(enum average_window window, double expected, double off)
{
	double rate = average_rate(&average, window);
	if (fabs(rate - expected) > off)
		fail_msg("window %d: %g, not %g", window, rate, expected);
}

/* Samples each step_ms from from_s to to_s, the counter gaining so many per second. */
static uint64_t run(double from_s, double to_s, double step_s, double per_second, uint64_t value)
{
	for (unsigned i = 1; from_s + i * step_s <= to_s + 1e-9; i++)
		average_add(&average, (uint64_t)((from_s + i * step_s) * 1e9),
		            value + (uint64_t)(i * step_s * per_second));
	return value + (uint64_t)((to_s - from_s) * per_second);
}

static void before_the_second_sample_there_is_no_rate(void **state)
{
	(void)state;
	assert_rate(AVERAGE_NOW, 0, 0);
	average_add(&average, 5 * NS_PER_SEC, 1000);
	for (enum average_window window = 0; window < AVERAGE_WINDOWS; window++)
		assert_rate(window, 0, 0);
	average_add(&average, 7 * NS_PER_SEC, 1100);
	for (enum average_window window = 0; window < AVERAGE_WINDOWS; window++)
		assert_rate(window, 50, 1e-9);
}

static void each_window_has_the_mean_of_its_own_time(void **state)
{
	(void)state;
	uint64_t value = run(0, 2000, 1, 100, 0);
	value = run(2000, 2090, 1, 1000, value);
	value = run(2090, 2099, 1, 5000, value);
	run(2099, 2100, 1, 20000, value);
	assert_rate(AVERAGE_NOW, 20000, 1e-6);
	assert_rate(AVERAGE_10, (9 * 5000 + 20000) / 10.0, 1e-6);
	/* Its marks are 5 s apart, those of the longest 50 s: so much shorter may the window be. */
	assert_rate(AVERAGE_100, (90 * 1000 + 9 * 5000 + 20000) / 100.0, 30);
	assert_rate(AVERAGE_1000, (900 * 100 + 90 * 1000 + 9 * 5000 + 20000) / 1000.0, 13);
}

static void a_window_is_never_longer_than_its_name_and_at_most_a_twentieth_shorter(void **state)
{
	(void)state;
	/* A counter that is the square of the time tells by its mean when a window began. */
	for (unsigned i = 0; i < 20000; i++) {
		double at_s = 1000 + i * 0.137;
		average_add(&average, (uint64_t)(at_s * 1e9), (uint64_t)(at_s * at_s * 1e6));
		for (enum average_window window = AVERAGE_10; i > 0 && window < AVERAGE_WINDOWS; window++) {
			double begin_s = average_rate(&average, window) / 1e6 - at_s;
			double length = average_seconds(window), there = i * 0.137;
			assert_true(at_s - begin_s <= length + 1e-3);
			assert_true(at_s - begin_s >= fmin(there, length * 0.95 - 0.137) - 1e-3);
		}
	}
}

static void samples_further_apart_than_the_window_give_the_rate_since_the_last(void **state)
{
	(void)state;
	run(0, 300, 30, 100, 0);
	average_add(&average, 330 * NS_PER_SEC, 30000 + 6000);
	assert_rate(AVERAGE_10, 200, 1e-6);
	assert_rate(AVERAGE_100, (60 * 100 + 6000) / 90.0, 1e-6);
}

static void a_counter_that_went_down_starts_again(void **state)
{
	(void)state;
	run(0, 50, 1, 1000, 0);
	average_add(&average, 51 * NS_PER_SEC, 7);
	for (enum average_window window = 0; window < AVERAGE_WINDOWS; window++)
		assert_rate(window, 0, 0);
	average_add(&average, 52 * NS_PER_SEC, 10);
	assert_rate(AVERAGE_1000, 3, 1e-9);
}

static void the_same_time_again_changes_nothing(void **state)
{
	(void)state;
	run(0, 5, 1, 10, 0);
	average_add(&average, 5 * NS_PER_SEC, 1000);
	average_add(&average, 4 * NS_PER_SEC, 2000);
	assert_rate(AVERAGE_NOW, 10, 1e-9);
	assert_rate(AVERAGE_10, 10, 1e-9);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(before_the_second_sample_there_is_no_rate, make),
	        cmocka_unit_test_setup(each_window_has_the_mean_of_its_own_time, make),
	        cmocka_unit_test_setup(a_window_is_never_longer_than_its_name_and_at_most_a_twentieth_shorter,
	                               make),
	        cmocka_unit_test_setup(samples_further_apart_than_the_window_give_the_rate_since_the_last,
	                               make),
	        cmocka_unit_test_setup(a_counter_that_went_down_starts_again, make),
	        cmocka_unit_test_setup(the_same_time_again_changes_nothing, make),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
