/* The queue after a death, every state in one thread. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fixture/queue_memory.h"

#define WORD_PASSED (1ull << 16) /* as in the picture in queue.h */
#define WORD_READY  2ull

static void repair_frees_and_gives_back_what_names_the_role_and_nothing_else(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(16);
	struct queue producer = user(memory, 1), dead = user(memory, 2), taker = user(memory, 3),
	             supervisor = user(memory, 0);
	struct queue_slot slot[5];
	for (uint64_t i = 1; i <= 6; i++)
		push(&producer, i);
	assert_true(queue_take(&dead, &slot[0]) && queue_take(&taker, &slot[1]) &&
	            queue_take(&dead, &slot[2]));
	assert_true(queue_reserve(&dead, &slot[3]) && queue_reserve(&producer, &slot[4]));
	for (uint64_t i = 4; i <= 6; i++)
		assert_int_equal(pop(&taker), i);
	expect_counts(&supervisor, 11, 2, 0, 3);
	struct queue_repaired repaired = queue_repair(&supervisor, 2);
	assert_int_equal(repaired.dropped, 1);
	assert_int_equal(repaired.given_back, 2);
	expect_counts(&supervisor, 12, 1, 2, 1);
	/* the dead was not dead: its claims are void, also when somebody else has what it held */
	struct queue_slot other;
	assert_true(queue_take(&taker, &other));
	assert_int_equal(other.index, slot[0].index);
	assert_int_equal(queue_done(&dead, &slot[0]), -EPERM);
	assert_int_equal(queue_give_back(&dead, &slot[2]), -EPERM);
	assert_int_equal(queue_commit(&dead, &slot[3], 8), -EPERM);
	assert_int_equal(number_in(&other), 1);
	assert_int_equal(queue_done(&taker, &other), 0);
	assert_int_equal(pop(&taker), 3);
	assert_int_equal(pop(&taker), 0);
	repaired = queue_repair(&supervisor, 2);
	assert_int_equal(repaired.dropped + repaired.given_back, 0);
	assert_int_equal(queue_repair(&supervisor, 0).dropped, 0);
	assert_int_equal(queue_done(&taker, &slot[1]), 0);
	assert_int_equal(queue_cancel(&producer, &slot[4]), 0);
	expect_counts(&supervisor, 16, 0, 0, 0);
	free(memory.shared);
}

static void the_next_life_of_a_role_finishes_what_the_last_one_held(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(16);
	struct queue producer = user(memory, 1), last = user(memory, 2);
	struct queue_slot slot;
	for (uint64_t i = 1; i <= 4; i++)
		push(&producer, i);
	for (uint64_t i = 1; i <= 3; i++)
		assert_true(queue_take(&last, &slot));
	assert_true(queue_reserve(&last, &slot));
	struct queue next_life = user(memory, 2);
	uint32_t next = 0;
	for (uint64_t i = 1; i <= 3; i++) {
		assert_true(queue_resume(&next_life, &next, &slot));
		assert_int_equal(number_in(&slot), i);
		if (i == 2)
			assert_int_equal(queue_give_back(&next_life, &slot), 0);
		else
			assert_int_equal(queue_done(&next_life, &slot), 0);
	}
	assert_false(queue_resume(&next_life, &next, &slot));
	assert_int_equal(pop(&next_life) + pop(&next_life), 2 + 4);
	assert_int_equal(pop(&next_life), 0);
	expect_counts(&next_life, 16, 0, 0, 0);
	free(memory.shared);
}

/* Its maker died between making it ready and announcing it. */
static void a_message_that_was_never_announced_does_not_block_the_queue(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue producer = user(memory, 1), dying = user(memory, 2), taker = user(memory, 3);
	struct queue_slot held, slot;
	push(&producer, 1);
	assert_true(queue_take(&dying, &held));
	push(&producer, 2);
	assert_int_equal(pop(&taker), 2);
	uint64_t word = atomic_load(&memory.shared->word[held.index]);
	atomic_store(&memory.shared->word[held.index],
	             word >> LAP_SHIFT << LAP_SHIFT | WORD_PASSED | WORD_READY);
	assert_int_equal(pop(&taker), 0); /* nobody told */
	push(&producer, 3);
	push(&producer, 4);
	assert_false(
	        /* full at that place: announced in the dead one's stead */
	        queue_reserve(&producer, &slot));
	assert_int_equal(pop(&taker), 1);
	push(&producer, 5);
	for (uint64_t i = 3; i <= 5; i++)
		assert_int_equal(pop(&taker), i);
	free(memory.shared);
}

int main(void)
{
	alarm(30);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(repair_frees_and_gives_back_what_names_the_role_and_nothing_else),
	        cmocka_unit_test(the_next_life_of_a_role_finishes_what_the_last_one_held),
	        cmocka_unit_test(a_message_that_was_never_announced_does_not_block_the_queue),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
