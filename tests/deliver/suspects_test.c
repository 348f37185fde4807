#include "deliver/suspects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* One after the other, in two places. */
static const struct event_postback *postback(uint64_t number)
{
	static struct event_postback place[2];
	struct event_postback *postback = &place[number % 2];
	postback->id[0] = number;
	postback->id[1] = ~number;
	return postback;
}

static struct deliver_private *fresh(void)
{
	struct deliver_private *private = aligned_alloc(64, PRIVATE_NOTE_BYTES);
	assert_non_null(private);
	memset(private, 0, PRIVATE_NOTE_BYTES);
	return private;
}

static void a_life_that_ends_between_postbacks_counts_no_death(void **state)
{
	struct deliver_private *private = fresh();
	const struct event_postback *one = postback(1);
	uint64_t id[2];
	(void)state;
	assert_int_equal(suspects_begin(private, id), 0);
	handling_begin(private, one->id);
	handling_end(private);
	assert_int_equal(suspects_begin(private, id), 0);
	assert_int_equal(suspects_deaths(private, one->id), 0);
	free(private);
}

static void deaths_at_one_postback_add_up_and_are_counted_once_each(void **state)
{
	struct deliver_private *private = fresh();
	const struct event_postback *one = postback(1), *two = postback(2);
	uint64_t id[2];
	(void)state;
	for (uint64_t deaths = 1; deaths <= 3; deaths++) {
		handling_begin(private, one->id);
		assert_int_equal(suspects_begin(private, id), deaths);
		assert_int_equal(id[0], one->id[0]);
		assert_int_equal(id[1], one->id[1]);
		assert_int_equal(suspects_begin(private, id), 0);
	}
	assert_int_equal(suspects_deaths(private, one->id), 3);
	assert_int_equal(suspects_deaths(private, two->id), 0);
	free(private);
}

static void a_postback_that_was_delivered_is_no_suspect_any_more(void **state)
{
	struct deliver_private *private = fresh();
	const struct event_postback *one = postback(1), *two = postback(2);
	uint64_t id[2];
	(void)state;
	handling_begin(private, one->id);
	suspects_begin(private, id);
	handling_begin(private, two->id);
	suspects_begin(private, id);
	suspects_clear(private, one->id);
	assert_int_equal(suspects_deaths(private, one->id), 0);
	assert_int_equal(suspects_deaths(private, two->id), 1);
	handling_begin(private, one->id);
	assert_int_equal(suspects_begin(private, id), 1);
	free(private);
}

static void the_list_keeps_the_last_that_were_hit(void **state)
{
	struct deliver_private *private = fresh();
	uint64_t id[2];
	(void)state;
	for (uint64_t number = 1; number <= 2 * DELIVER_SUSPECTS + 5; number++) {
		const struct event_postback *one = postback(number);
		handling_begin(private, one->id);
		assert_int_equal(suspects_begin(private, id), 1);
	}
	for (uint64_t number = 1; number <= 2 * DELIVER_SUSPECTS + 5; number++) {
		const struct event_postback *one = postback(number);
		assert_int_equal(suspects_deaths(private, one->id), number > DELIVER_SUSPECTS + 5);
	}
	free(private);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_life_that_ends_between_postbacks_counts_no_death),
	        cmocka_unit_test(deaths_at_one_postback_add_up_and_are_counted_once_each),
	        cmocka_unit_test(a_postback_that_was_delivered_is_no_suspect_any_more),
	        cmocka_unit_test(the_list_keeps_the_last_that_were_hit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
