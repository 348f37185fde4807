#include "deliver/stall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000000ull

static struct stalls stalls;

/* The host takes so many a millisecond for `ms`, and is full all the time. Returns the milliseconds
 * in which the queue waited. */
static unsigned run(const char *origin, uint64_t *now_ns, unsigned ms, unsigned each)
{
	unsigned waited = 0;
	for (unsigned i = 0; i < ms; i++, *now_ns += MS) {
		bool waits = stall_waits(&stalls, origin, *now_ns);
		waited += waits;
		for (unsigned k = 0; waits && k < each; k++)
			stall_passed(&stalls, origin);
	}
	return waited;
}

static void the_queue_waits_for_a_fast_host_as_long_as_it_is_fast(void **state)
{
	uint64_t now_ns = 1000 * MS;
	(void)state;
	stalls = (struct stalls){0};
	assert_int_equal(run("http://fast:80", &now_ns, 5000, 4), 5000);
}

static void a_slow_host_holds_the_queue_up_ever_more_rarely(void **state)
{
	uint64_t now_ns = 1000 * MS;
	(void)state;
	stalls = (struct stalls){0};
	assert_int_equal(run("http://slow:80", &now_ns, 1000, 1), 100);
	assert_in_range(run("http://slow:80", &now_ns, 200000, 1), 100, 1000);
	/* and a fast one beside it waits as before */
	assert_int_equal(run("http://fast:80", &now_ns, 1000, 4), 1000);
}

static void a_host_that_becomes_fast_is_waited_for_again(void **state)
{
	uint64_t now_ns = 1000 * MS;
	(void)state;
	stalls = (struct stalls){0};
	(void)run("http://host:80", &now_ns, 1000, 0);
	now_ns += 2000 * MS;
	assert_int_equal(run("http://host:80", &now_ns, 1000, 4), 1000);
}

static void a_window_that_was_left_open_long_ago_tells_nothing(void **state)
{
	uint64_t now_ns = 1000 * MS;
	(void)state;
	stalls = (struct stalls){0};
	assert_true(stall_waits(&stalls, "http://host:80", now_ns));
	now_ns += 60000 * MS;
	assert_true(stall_waits(&stalls, "http://host:80", now_ns));
	assert_true(stall_waits(&stalls, "http://host:80", now_ns + 50 * MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_queue_waits_for_a_fast_host_as_long_as_it_is_fast),
	        cmocka_unit_test(a_slow_host_holds_the_queue_up_ever_more_rarely),
	        cmocka_unit_test(a_host_that_becomes_fast_is_waited_for_again),
	        cmocka_unit_test(a_window_that_was_left_open_long_ago_tells_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
