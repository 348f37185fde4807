/* The exit of the stage: how long a client is asked to wait when the queue is full. */
#include "ingest/http/outlet.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/clock.h"

#define LONGEST_S 60u

static struct outlet outlet;
static struct queue producer, taker; /* other processes */
static unsigned place;
static uint64_t now_ns;

static int set_up(void **state)
{
	(void)state;
	if (outlet_open_alone(&outlet, 65536) != 0)
		return -1;
	struct queue_shared *shared = outlet.queue[0].shared;
	size_t bytes = queue_bytes(shared->slots, shared->slot_bytes);
	if (queue_join(&producer, shared, bytes, 2) != 0 || queue_join(&taker, shared, bytes, 3) != 0)
		return -1;
	outlet.retry_after_max_s = LONGEST_S;
	place = (unsigned)outlet_find(&outlet, "postback");
	now_ns = 1000 * NS_PER_SEC;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	outlet_close(&outlet);
	return 0;
}

static void fill_up(void)
{
	while (queue_push(&producer, "x", 1))
		;
	assert_false(outlet_claim(&outlet, place, 1));
}

static void take(unsigned n)
{
	struct queue_slot slot;
	while (n-- > 0) {
		assert_true(queue_take(&taker, &slot));
		assert_int_equal(queue_done(&taker, &slot), 0);
	}
}

/* So many seconds, each with so many messages taken and as many put by another process. */
static void pass(unsigned seconds, unsigned taken)
{
	for (; seconds > 0; seconds--) {
		now_ns += NS_PER_SEC;
		take(taken);
		fill_up();
		outlet_look(&outlet, now_ns);
	}
}

static void a_full_queue_that_nobody_empties_asks_for_the_longest_wait(void **state)
{
	(void)state;
	fill_up();
	outlet_look(&outlet, now_ns);
	pass(10, 0);
	assert_int_equal(outlet_retry_after_s(&outlet, place), LONGEST_S);
}

static void the_wait_is_what_emptying_the_queue_takes(void **state)
{
	(void)state;
	fill_up();
	outlet_look(&outlet, now_ns);
	unsigned slots = (unsigned)outlet_slots(&outlet, place);
	for (unsigned seconds = 4; seconds <= 16; seconds *= 2) {
		pass(15, slots / seconds);
		assert_in_range(outlet_retry_after_s(&outlet, place), seconds, seconds + 1);
	}
	pass(15, slots);
	assert_int_equal(outlet_retry_after_s(&outlet, place), 1);
	/* And it grows again when the takers stop. */
	pass(3, 0);
	assert_in_range(outlet_retry_after_s(&outlet, place), 4, 16);
	pass(20, 0);
	assert_int_equal(outlet_retry_after_s(&outlet, place), LONGEST_S);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	alarm(30);
	const struct CMUnitTest tests[] = {
	        T(a_full_queue_that_nobody_empties_asks_for_the_longest_wait),
	        T(the_wait_is_what_emptying_the_queue_takes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
