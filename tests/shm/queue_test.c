/* The queue, every state in one thread: users are several views of one piece of memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/queue_memory.h"

static void a_new_queue_is_empty(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue queue = user(memory, 1);
	struct queue_slot slot;
	assert_false(queue_take(&queue, &slot));
	assert_null(slot.data);
	expect_counts(&queue, 4, 0, 0, 0);
	free(memory.shared);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	(void)state;
	assert_int_equal(queue_bytes(0, 8), 0);
	assert_int_equal(queue_bytes(1, 8), 0);
	assert_int_equal(queue_bytes(6, 8), 0);
	assert_int_equal(queue_bytes(8, 0), 0);
	assert_int_equal(queue_bytes(8, QUEUE_SLOT_BYTES_MAX + 1), 0);
	assert_int_equal(queue_bytes(2 * QUEUE_SLOTS_MAX, 8), 0);
	struct queue_memory memory = memory_make(8);
	struct queue queue;
	assert_int_equal(queue_init(memory.shared, memory.bytes - 1, 8, SLOT_BYTES), -EINVAL);
	assert_int_equal(queue_init((void *)((char *)memory.shared + 8), memory.bytes, 2, 8), -EINVAL);
	assert_int_equal(queue_join(&queue, memory.shared, memory.bytes, QUEUE_ROLE_MAX + 1), -EINVAL);
	assert_int_equal(queue_join(&queue, memory.shared, memory.bytes - 1, 1), -EPROTO);
	assert_int_equal(queue_join(&queue, memory.shared, 8, 1), -EPROTO);
	memory.shared->stride_bytes = 1ull << 40;
	assert_int_equal(queue_join(&queue, memory.shared, memory.bytes, 1), -EPROTO);
	memory.shared->stride_bytes = 64;
	memory.shared->slots = 1u << 20;
	assert_int_equal(queue_join(&queue, memory.shared, memory.bytes, 1), -EPROTO);
	free(memory.shared);
}

static void messages_come_out_in_order_and_whole_over_many_laps(void **state)
{
	(void)state;
	for (uint64_t slots = 2; slots <= 16; slots *= 2) {
		struct queue_memory memory = memory_make(slots);
		struct queue producer = user(memory, 1), taker = user(memory, 2);
		char sent[SLOT_BYTES];
		for (unsigned i = 0; i < 100; i++) {
			unsigned burst = 1 + i % (unsigned)slots;
			for (unsigned k = 0; k < burst; k++) {
				memset(sent, (int)(i + k), sizeof sent);
				assert_true(queue_push(&producer, sent, (i + k) % (SLOT_BYTES + 1)));
			}
			for (unsigned k = 0; k < burst; k++) {
				struct queue_slot slot;
				assert_true(queue_take(&taker, &slot));
				memset(sent, (int)(i + k), sizeof sent);
				assert_int_equal(slot.length, (i + k) % (SLOT_BYTES + 1));
				assert_memory_equal(slot.data, sent, slot.length);
				assert_int_equal(queue_done(&taker, &slot), 0);
			}
			assert_int_equal(pop(&taker), 0);
		}
		expect_counts(&taker, (unsigned)slots, 0, 0, 0);
		free(memory.shared);
	}
}

static void a_full_queue_refuses_until_a_slot_is_free(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue producer = user(memory, 1), taker = user(memory, 2);
	struct queue_slot slot;
	for (uint64_t lap = 0; lap < 5; lap++) {
		for (uint64_t i = 1; i <= 4; i++)
			push(&producer, i);
		assert_false(queue_reserve(&producer, &slot));
		assert_null(slot.data);
		assert_int_equal(pop(&taker), 1);
		push(&producer, 5);
		assert_false(queue_reserve(&producer, &slot));
		for (uint64_t i = 2; i <= 5; i++)
			assert_int_equal(pop(&taker), i);
	}
	free(memory.shared);
}

static void a_cancelled_slot_leaves_nothing(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue queue = user(memory, 1);
	for (uint64_t i = 1; i <= 20; i++) {
		struct queue_slot slot;
		assert_true(queue_reserve(&queue, &slot));
		assert_int_equal(queue_cancel(&queue, &slot), 0);
		assert_int_equal(queue_cancel(&queue, &slot), -EPERM);
		assert_int_equal(pop(&queue), 0);
		push(&queue, i);
		assert_int_equal(pop(&queue), i);
	}
	free(memory.shared);
}

static void room_for_many_is_told_without_taking_it(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(8);
	struct queue queue = user(memory, 1), other = user(memory, 2);
	for (uint64_t i = 1; i <= 40; i++) {
		assert_true(queue_has_room(&queue, 8));
		assert_false(queue_has_room(&queue, 9));
		for (uint64_t k = 1; k <= 5; k++)
			push(&other, 5 * i + k);
		/* What it remembers is old by now. */
		assert_true(queue_has_room(&queue, 3));
		assert_false(queue_has_room(&queue, 4));
		for (uint64_t k = 1; k <= 3; k++)
			push(&queue, 5 * i + 5 + k);
		assert_false(queue_has_room(&queue, 1));
		for (uint64_t k = 1; k <= 8; k++)
			assert_int_equal(pop(&other), 5 * i + k);
	}
	struct queue_slot held;
	assert_true(queue_reserve(&other, &held));
	assert_true(queue_has_room(&queue, 7));
	assert_false(queue_has_room(&queue, 8));
	free(memory.shared);
}

static void a_slot_held_for_long_delays_nobody(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue producer = user(memory, 1), taker = user(memory, 2), holder = user(memory, 3);
	struct queue_slot held;
	push(&producer, 77);
	assert_true(queue_take(&holder, &held));
	for (uint64_t i = 1; i <= 50; i++) {
		push(&producer, i);
		assert_int_equal(pop(&taker), i);
	}
	for (uint64_t i = 1; i <= 3; i++)
		push(&producer, i);
	struct queue_slot slot;
	assert_false(queue_reserve(&producer, &slot)); /* three are left, one is held */
	assert_int_equal(number_in(&held), 77);
	assert_int_equal(queue_done(&holder, &held), 0);
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(pop(&taker), i);
	for (uint64_t i = 1; i <= 4; i++)
		push(&producer, i);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(pop(&taker), i);
	expect_counts(&taker, 4, 0, 0, 0);
	free(memory.shared);
}

static void when_all_slots_are_held_nothing_can_be_reserved(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue producer = user(memory, 1), taker = user(memory, 2);
	struct queue_slot held[4], slot;
	for (uint64_t i = 0; i < 4; i++) {
		push(&producer, i + 1);
		assert_true(queue_take(&taker, &held[i]));
	}
	for (unsigned i = 0; i < 10; i++)
		assert_false(queue_reserve(&producer, &slot));
	assert_int_equal(queue_done(&taker, &held[2]), 0);
	push(&producer, 9);
	assert_int_equal(pop(&taker), 9);
	free(memory.shared);
}

static void a_slow_producer_is_passed_and_its_message_found_when_it_comes(void **state)
{
	(void)state;
	/* few messages go by: still waited for in place; more: passed; more than a lap: gone round
	 * too */
	for (uint64_t others = 0; others <= 40; others++) {
		struct queue_memory memory = memory_make(16);
		struct queue slow = user(memory, 1), quick = user(memory, 2), taker = user(memory, 3),
		             second = user(memory, 4);
		struct queue_slot slot;
		assert_true(queue_reserve(&slow, &slot));
		for (uint64_t i = 1; i <= others; i++) {
			push(&quick, i);
			assert_int_equal(pop(i % 2 ? &taker : &second), i);
		}
		assert_int_equal(pop(&taker), 0);
		memcpy(slot.data, &(uint64_t){99}, sizeof(uint64_t));
		assert_int_equal(queue_commit(&slow, &slot, sizeof(uint64_t)), 0);
		assert_int_equal(pop(&taker), 99);
		assert_int_equal(pop(&second), 0);
		expect_counts(&taker, 16, 0, 0, 0);
		free(memory.shared);
	}
}

static void what_is_given_back_comes_again_to_takers_that_were_beyond_it(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(16);
	struct queue producer = user(memory, 1), first = user(memory, 2), second = user(memory, 3);
	struct queue_slot a, b, c;
	for (uint64_t i = 1; i <= 6; i++)
		push(&producer, i);
	assert_true(queue_take(&first, &a) && queue_take(&first, &b) && queue_take(&first, &c));
	for (uint64_t i = 4; i <= 6; i++)
		assert_int_equal(pop(&second), i);
	assert_int_equal(pop(&second), 0);
	assert_int_equal(queue_give_back(&first, &b), 0);
	assert_int_equal(queue_give_back(&first, &b), -EPERM);
	assert_int_equal(pop(&second), 2);
	/* two at once, the lower slot last: the taker must not take that for one announcement */
	assert_int_equal(queue_give_back(&first, &c), 0);
	assert_int_equal(queue_give_back(&first, &a), 0);
	assert_int_equal(pop(&second) + pop(&second), 1 + 3);
	assert_int_equal(pop(&second), 0);
	assert_int_equal(pop(&first), 0);
	expect_counts(&second, 16, 0, 0, 0);
	free(memory.shared);
}

static void announcements_are_counted_right_when_their_count_wraps(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(16);
	atomic_store(&memory.shared->returned, UINT64_MAX << 24 | 5); /* one before the wrap */
	struct queue producer = user(memory, 1), holder = user(memory, 2), taker = user(memory, 3);
	struct queue_slot slot[3];
	for (uint64_t i = 1; i <= 8; i++)
		push(&producer, i);
	for (unsigned i = 0; i < 3; i++)
		assert_true(queue_take(&holder, &slot[i]));
	for (uint64_t i = 4; i <= 8; i++)
		assert_int_equal(pop(&taker), i);
	for (unsigned i = 3; i-- > 0;)
		assert_int_equal(queue_give_back(&holder, &slot[i]), 0);
	assert_int_equal(pop(&taker) + pop(&taker) + pop(&taker), 1 + 2 + 3);
	assert_int_equal(pop(&taker), 0);
	free(memory.shared);
}

static void a_queue_in_use_for_a_century_works_as_on_its_first_day(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(8);
	uint64_t lap = 1ull << 46;
	for (unsigned i = 0; i < 8; i++)
		atomic_store(&memory.shared->word[i], lap << LAP_SHIFT);
	struct queue producer = user(memory, 1), taker = user(memory, 2);
	for (uint64_t i = 1; i <= 30; i++) {
		push(&producer, i);
		assert_int_equal(pop(&taker), i);
	}
	for (uint64_t i = 1; i <= 8; i++)
		push(&producer, i);
	struct queue_slot slot;
	assert_false(queue_reserve(&producer, &slot));
	free(memory.shared);
}

static void users_that_come_late_or_slept_find_their_place(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(8);
	struct queue producer = user(memory, 1), taker = user(memory, 2);
	struct queue sleeping_producer = user(memory, 3), sleeping_taker = user(memory, 4);
	for (uint64_t i = 1; i <= 1003; i++) {
		push(&producer, i);
		if (i <= 1000)
			assert_int_equal(pop(&taker), i);
	}
	push(&sleeping_producer, 1004);
	struct queue late_producer = user(memory, 5), late_taker = user(memory, 6);
	push(&late_producer, 1005);
	assert_int_equal(pop(&sleeping_taker), 1001);
	assert_int_equal(pop(&late_taker), 1002);
	for (uint64_t i = 1003; i <= 1005; i++)
		assert_int_equal(pop(&taker), i);
	free(memory.shared);
}

static void an_impossible_length_is_thrown_away_and_counted(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(4);
	struct queue producer = user(memory, 1), taker = user(memory, 2);
	push(&producer, 1);
	push(&producer, 2);
	push(&producer, 3);
	uint32_t wrong = SLOT_BYTES + 1;
	memcpy((char *)memory.shared + memory.shared->data_offset + memory.shared->stride_bytes, &wrong,
	       sizeof wrong);
	assert_int_equal(pop(&taker), 1);
	assert_int_equal(pop(&taker), 3);
	assert_int_equal(taker.damaged, 1);
	expect_counts(&taker, 4, 0, 0, 0);
	free(memory.shared);
}

static void waiting_ends_at_once_when_there_is_something_and_in_time_when_not(void **state)
{
	(void)state;
	struct queue_memory memory = memory_make(2);
	struct queue queue = user(memory, 1);
	queue_use_bells(&queue);
	struct queue_slot slot;
	assert_false(queue_take_wait(&queue, &slot, 1000000));
	push(&queue, 1);
	assert_int_equal(bell_value(queue.pushed), 1);
	assert_true(queue_take_wait(&queue, &slot, 60000000000u));
	assert_true(queue_reserve_wait(&queue, &slot, 60000000000u));
	struct queue_slot none;
	assert_false(queue_reserve_wait(&queue, &none, 1000000));
	assert_int_equal(queue_cancel(&queue, &slot), 0);
	assert_int_equal(bell_value(queue.released), 1);
	free(memory.shared);
}

static void a_queue_is_found_by_name_and_counted_read_only(void **state)
{
	(void)state;
	char directory[] = "/dev/shm/millrace-queue-test-XXXXXX";
	assert_non_null(mkdtemp(directory));
	struct shm_error error = {0};
	assert_int_equal(queue_create(directory, "postback.queue", 1, 6, 100, &error), -EINVAL);
	assert_non_null(strstr(error.text, "power of two"));
	assert_int_equal(queue_create(directory, "postback.queue", 1, 64, 100, &error), 0);
	struct queue user_queue, looker;
	assert_int_equal(queue_attach(&user_queue, directory, "postback.queue", SEGMENT_WRITE, 1, &error), 0);
	assert_int_equal(queue_attach(&looker, directory, "postback.queue", SEGMENT_READ, 9, &error), 0);
	assert_int_equal(
	        queue_attach(&looker, directory, "postback.queue", SEGMENT_WRITE, QUEUE_ROLE_MAX + 1, &error),
	        -EINVAL);
	assert_int_equal(queue_attach(&looker, directory, "other.queue", SEGMENT_READ, 0, &error), -ENOENT);
	assert_int_equal(user_queue.segment.mapped_bytes, queue_file_bytes(64, 100));
	push(&user_queue, 1);
	expect_counts(&looker, 63, 0, 1, 0);
	queue_detach(&looker);
	queue_detach(&user_queue);
	assert_int_equal(segment_destroy(directory, "postback.queue"), 0);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	alarm(30);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_new_queue_is_empty),
	        cmocka_unit_test(sizes_that_cannot_be_are_refused),
	        cmocka_unit_test(messages_come_out_in_order_and_whole_over_many_laps),
	        cmocka_unit_test(a_full_queue_refuses_until_a_slot_is_free),
	        cmocka_unit_test(a_cancelled_slot_leaves_nothing),
	        cmocka_unit_test(room_for_many_is_told_without_taking_it),
	        cmocka_unit_test(a_slot_held_for_long_delays_nobody),
	        cmocka_unit_test(when_all_slots_are_held_nothing_can_be_reserved),
	        cmocka_unit_test(a_slow_producer_is_passed_and_its_message_found_when_it_comes),
	        cmocka_unit_test(what_is_given_back_comes_again_to_takers_that_were_beyond_it),
	        cmocka_unit_test(announcements_are_counted_right_when_their_count_wraps),
	        cmocka_unit_test(a_queue_in_use_for_a_century_works_as_on_its_first_day),
	        cmocka_unit_test(users_that_come_late_or_slept_find_their_place),
	        cmocka_unit_test(an_impossible_length_is_thrown_away_and_counted),
	        cmocka_unit_test(waiting_ends_at_once_when_there_is_something_and_in_time_when_not),
	        cmocka_unit_test(a_queue_is_found_by_name_and_counted_read_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
