/* Looking at a queue: every message that stays is shown once and whole, whatever the others do
 * meanwhile. queue_look.c is compiled in with its gap opened, so that a slot can change between the
 * copy and the second look at its word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void (*in_the_gap)(void);

static void queue_test_gap(const char *name)
{
	(void)name;
	if (in_the_gap != NULL)
		in_the_gap();
}

#define QUEUE_TEST_HOOKS
#include "shm/queue_look.c"

#include "tests/fixture/draw.h"
#include "tests/fixture/queue_memory.h"

/* The number of the next message, 0 at the end of the sweep. */
static uint64_t look_on(struct queue_look *look, const struct queue *queue)
{
	if (!queue_look(look, queue))
		return 0;
	uint64_t number;
	assert_int_equal(look->length, sizeof number);
	memcpy(&number, look->data, sizeof number);
	assert_int_not_equal(number, 0);
	return number;
}

/* One sweep shows the numbers first .. last and no other. */
static void expect_sweep(struct queue_look *look, const struct queue *queue, uint64_t first, uint64_t last)
{
	for (uint64_t number = first; number <= last; number++)
		assert_int_equal(look_on(look, queue), number);
	assert_int_equal(look_on(look, queue), 0);
}

struct scene {
	struct queue_memory memory;
	struct queue producer, taker, looker;
	struct queue_look look;
};

static struct scene scene;

static void begin(uint64_t slots)
{
	scene.memory = memory_make(slots);
	scene.producer = user(scene.memory, 1);
	scene.taker = user(scene.memory, 2);
	scene.looker = user(scene.memory, 0);
	assert_int_equal(queue_look_open(&scene.look, &scene.looker), 0);
}

static void end(void)
{
	queue_look_close(&scene.look);
	free(scene.memory.shared);
}

static void each_message_is_shown_once_in_its_order_over_many_laps(void **state)
{
	(void)state;
	for (uint64_t slots = 2; slots <= 32; slots *= 2) {
		begin(slots);
		uint64_t next = 1;
		expect_sweep(&scene.look, &scene.looker, 1, 0);
		for (unsigned i = 0; i < 100; i++) {
			uint64_t first = next, burst = 1 + i % slots;
			for (uint64_t k = 0; k < burst; k++)
				push(&scene.producer, next++);
			expect_sweep(&scene.look, &scene.looker, first, next - 1);
			expect_sweep(&scene.look, &scene.looker, 1, 0);
			for (uint64_t k = 0; k < burst; k++)
				assert_int_equal(pop(&scene.taker), first + k);
			expect_sweep(&scene.look, &scene.looker, 1, 0);
		}
		end();
	}
}

static void whoever_begins_to_look_sees_all_that_is_there(void **state)
{
	(void)state;
	begin(8);
	for (uint64_t i = 1; i <= 19; i++) {
		push(&scene.producer, i);
		if (i <= 13)
			assert_int_equal(pop(&scene.taker), i);
	}
	expect_sweep(&scene.look, &scene.looker, 14, 19);
	struct queue_look late;
	assert_int_equal(queue_look_open(&late, &scene.looker), 0);
	expect_sweep(&late, &scene.looker, 14, 19);
	queue_look_close(&late);
	end();
}

static void a_message_that_was_taken_before_the_sweep_is_shown_and_told_apart(void **state)
{
	(void)state;
	begin(8);
	struct queue_slot slot;
	push(&scene.producer, 1);
	push(&scene.producer, 2);
	assert_true(queue_take(&scene.taker, &slot));
	assert_int_equal(look_on(&scene.look, &scene.looker), 1);
	assert_true(scene.look.taken);
	assert_int_equal(look_on(&scene.look, &scene.looker), 2);
	assert_false(scene.look.taken);
	assert_int_equal(look_on(&scene.look, &scene.looker), 0);
	end();
}

static void what_is_being_filled_or_was_cancelled_is_not_shown(void **state)
{
	(void)state;
	begin(4);
	struct queue_slot slow, cancelled;
	assert_true(queue_reserve(&scene.producer, &slow));
	memcpy(slow.data, &(uint64_t){7}, sizeof(uint64_t));
	assert_true(queue_reserve(&scene.producer, &cancelled));
	expect_sweep(&scene.look, &scene.looker, 1, 0);
	assert_int_equal(queue_cancel(&scene.producer, &cancelled), 0);
	push(&scene.producer, 1);
	expect_sweep(&scene.look, &scene.looker, 1, 1);
	assert_int_equal(queue_commit(&scene.producer, &slow, sizeof(uint64_t)), 0);
	expect_sweep(&scene.look, &scene.looker, 7, 7);
	end();
}

static void a_message_held_while_others_go_round_it_is_shown_once(void **state)
{
	(void)state;
	begin(4);
	struct queue_slot held;
	push(&scene.producer, 100);
	expect_sweep(&scene.look, &scene.looker, 100, 100);
	assert_true(queue_take(&scene.taker, &held));
	for (uint64_t i = 1; i <= 30; i++) {
		push(&scene.producer, i);
		expect_sweep(&scene.look, &scene.looker, i, i);
		assert_int_equal(pop(&scene.taker), i);
	}
	for (unsigned i = 0; i < 3; i++) { /* nor when it becomes ready again, as often as that may be */
		assert_int_equal(queue_give_back(&scene.taker, &held), 0);
		expect_sweep(&scene.look, &scene.looker, 1, 0);
		assert_true(queue_take(&scene.taker, &held));
		expect_sweep(&scene.look, &scene.looker, 1, 0);
	}
	assert_int_equal(queue_done(&scene.taker, &held), 0);
	expect_sweep(&scene.look, &scene.looker, 1, 0);
	/* The slot's next message is another one, even when it is the same to the byte. */
	for (unsigned i = 0; i < 4; i++)
		push(&scene.producer, 100);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(look_on(&scene.look, &scene.looker), 100);
	assert_int_equal(look_on(&scene.look, &scene.looker), 0);
	end();
}

static void a_message_that_a_slow_producer_published_laps_later_is_shown_once(void **state)
{
	(void)state;
	begin(4);
	struct queue quick = user(scene.memory, 3);
	for (unsigned round = 0; round < 5; round++) {
		struct queue_slot slow;
		assert_true(queue_reserve(&scene.producer, &slow));
		for (uint64_t i = 1; i <= 20; i++) {
			push(&quick, i);
			expect_sweep(&scene.look, &scene.looker, i, i);
			assert_int_equal(pop(&scene.taker), i);
		}
		memcpy(slow.data, &(uint64_t){99}, sizeof(uint64_t));
		assert_int_equal(queue_commit(&scene.producer, &slow, sizeof(uint64_t)), 0);
		expect_sweep(&scene.look, &scene.looker, 99, 99);
		assert_int_equal(pop(&scene.taker), 99);
		expect_sweep(&scene.look, &scene.looker, 1, 0);
	}
	end();
}

/* ---- while it is copied ---- */

static struct queue_slot gap_slot;

static void gap_take(void)
{
	in_the_gap = NULL;
	assert_true(queue_take(&scene.taker, &gap_slot));
}

static void gap_finish(void)
{
	gap_take();
	assert_int_equal(queue_done(&scene.taker, &gap_slot), 0);
}

static void gap_replace(void)
{
	gap_finish();
	for (uint64_t i = 2; i <= 5; i++) { /* the last of them into the slot of the first */
		push(&scene.producer, i);
		if (i < 5)
			assert_int_equal(pop(&scene.taker), i);
	}
}

static void gap_replace_and_take(void)
{
	gap_replace();
	assert_true(queue_take(&scene.taker, &gap_slot));
}

static void gap_refill(void)
{
	gap_finish();
	for (uint64_t i = 2; i <= 4; i++) {
		push(&scene.producer, i);
		assert_int_equal(pop(&scene.taker), i);
	}
	assert_true(queue_reserve(&scene.producer, &gap_slot));
	memset(gap_slot.data, 0xff, 8);
}

static void a_message_that_goes_while_it_is_copied_is_not_shown(void **state)
{
	(void)state;
	static void (*const change[])(void) = {gap_finish, gap_replace, gap_replace_and_take, gap_refill};
	static const uint64_t then[] = {0, 5, 5, 0};
	for (unsigned i = 0; i < 4; i++) {
		begin(4);
		push(&scene.producer, 1);
		in_the_gap = change[i];
		assert_int_equal(look_on(&scene.look, &scene.looker), 0);
		assert_null(in_the_gap);
		/* What is in its place by now is shown next time. */
		assert_int_equal(look_on(&scene.look, &scene.looker), then[i]);
		if (then[i] != 0)
			assert_int_equal(look_on(&scene.look, &scene.looker), 0);
		end();
	}
}

static void a_message_that_is_taken_while_it_is_copied_is_shown(void **state)
{
	(void)state;
	begin(4);
	push(&scene.producer, 1);
	in_the_gap = gap_take;
	assert_int_equal(look_on(&scene.look, &scene.looker), 1);
	assert_true(scene.look.taken);
	expect_sweep(&scene.look, &scene.looker, 1, 0);
	end();
}

/* ---- limits ---- */

static void looking_changes_nothing(void **state)
{
	(void)state;
	begin(8);
	struct queue_slot slot;
	for (uint64_t i = 1; i <= 6; i++)
		push(&scene.producer, i);
	assert_true(queue_take(&scene.taker, &slot));
	char *before = malloc(scene.memory.bytes);
	assert_non_null(before);
	memcpy(before, scene.memory.shared, scene.memory.bytes);
	expect_sweep(&scene.look, &scene.looker, 1, 6);
	assert_memory_equal(before, scene.memory.shared, scene.memory.bytes);
	free(before);
	end();
}

static void messages_of_every_length_come_whole(void **state)
{
	(void)state;
	begin(4);
	for (uint32_t length = 0; length <= SLOT_BYTES; length++) {
		unsigned char sent[SLOT_BYTES];
		memset(sent, (int)(length + 1), sizeof sent);
		assert_true(queue_push(&scene.producer, sent, length));
		assert_true(queue_look(&scene.look, &scene.looker));
		assert_int_equal(scene.look.length, length);
		assert_memory_equal(scene.look.data, sent, length);
		assert_false(queue_look(&scene.look, &scene.looker));
		struct queue_slot slot;
		assert_true(queue_take(&scene.taker, &slot));
		assert_int_equal(queue_done(&scene.taker, &slot), 0);
	}
	end();
}

static void an_impossible_length_is_passed_over(void **state)
{
	(void)state;
	begin(4);
	for (uint64_t i = 1; i <= 3; i++)
		push(&scene.producer, i);
	uint32_t wrong = SLOT_BYTES + 1;
	memcpy((char *)scene.memory.shared + scene.memory.shared->data_offset +
	               scene.memory.shared->stride_bytes,
	       &wrong, sizeof wrong);
	assert_int_equal(look_on(&scene.look, &scene.looker), 1);
	assert_int_equal(look_on(&scene.look, &scene.looker), 3);
	assert_int_equal(look_on(&scene.look, &scene.looker), 0);
	expect_sweep(&scene.look, &scene.looker, 1, 0);
	end();
}

static void laps_of_a_century_and_laps_that_pass_their_low_half_are_told_apart(void **state)
{
	(void)state;
	static const uint64_t laps[] = {1ull << 46, (1ull << 32) - 3, (1ull << 33) - 1};
	for (unsigned i = 0; i < sizeof laps / sizeof laps[0]; i++) {
		begin(4);
		for (unsigned k = 0; k < 4; k++)
			atomic_store(&scene.memory.shared->word[k], laps[i] << LAP_SHIFT);
		for (uint64_t number = 1; number <= 40; number++) {
			push(&scene.producer, number);
			expect_sweep(&scene.look, &scene.looker, number, number);
			assert_int_equal(pop(&scene.taker), number);
		}
		end();
	}
}

/* ---- at random ---- */

#define RANDOM_STEPS 20000u

/* After every step a sweep: each message that was published is shown exactly then, and never
 * again. */
static void a_random_history_is_shown_without_a_gap_and_without_a_repetition(void **state)
{
	(void)state;
	begin(8);
	struct queue_slot filling[8], held[8];
	unsigned n_filling = 0, n_held = 0;
	uint64_t next = 1;
	for (unsigned step = 0; step < RANDOM_STEPS; step++) {
		uint64_t published = 0;
		unsigned which = draw_below(8);
		switch (draw_below(6)) {
		case 0:
		case 1:
			if (n_filling < 3 && queue_reserve(&scene.producer, &filling[n_filling]))
				n_filling++;
			break;
		case 2:
			if (n_filling == 0)
				break;
			which %= n_filling;
			published = draw_one_in(5) ? 0 : next++;
			memcpy(filling[which].data, &published, sizeof published);
			if (published == 0)
				assert_int_equal(queue_cancel(&scene.producer, &filling[which]), 0);
			else
				assert_int_equal(
				        queue_commit(&scene.producer, &filling[which], sizeof published), 0);
			filling[which] = filling[--n_filling];
			break;
		case 3:
			if (n_held < 4 && queue_take(&scene.taker, &held[n_held]))
				n_held++;
			break;
		default:
			if (n_held == 0)
				break;
			which %= n_held;
			assert_int_equal(draw_one_in(3) ? queue_give_back(&scene.taker, &held[which])
			                                : queue_done(&scene.taker, &held[which]),
			                 0);
			held[which] = held[--n_held];
			break;
		}
		expect_sweep(&scene.look, &scene.looker, published == 0 ? 1 : published, published);
	}
	assert_true(next > RANDOM_STEPS / 20);
	end();
}

/* ---- two processes ---- */

#define TORN_MESSAGES 200000u
#define TORN_BYTES    1000u
#define TORN_WORDS    (TORN_BYTES / 8)
#define TORN_SLOTS    8u

struct field {
	_Atomic uint32_t looking; /* the looker has begun */
	alignas(SHM_LINE) struct queue_shared queue;
};

/* All words of a message are its number. */
static void work(struct field *field, size_t bytes)
{
	struct queue queue;
	uint64_t message[TORN_WORDS];
	if (queue_join(&queue, &field->queue, bytes, 1) != 0)
		_exit(2);
	while (atomic_load(&field->looking) == 0)
		sched_yield();
	for (uint64_t number = 1; number <= TORN_MESSAGES; number++) {
		struct queue_slot slot;
		for (unsigned i = 0; i < TORN_WORDS; i++)
			message[i] = number;
		if (!queue_push(&queue, message, sizeof message))
			_exit(3);
		/* The last few stay: whoever looks at the end finds them. */
		if (number > TORN_SLOTS / 2 && (!queue_take(&queue, &slot) || queue_done(&queue, &slot) != 0))
			_exit(4);
	}
	_exit(0);
}

static void messages_that_come_and_go_are_never_shown_torn_or_twice(void **state)
{
	(void)state;
	size_t bytes = queue_bytes(TORN_SLOTS, TORN_BYTES);
	struct field *field =
	        mmap(NULL, sizeof *field + bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(field, MAP_FAILED);
	assert_int_equal(queue_init(&field->queue, bytes, TORN_SLOTS, TORN_BYTES), 0);
	pid_t child = fork();
	if (child == 0)
		work(field, bytes);
	struct queue looker;
	struct queue_look look;
	unsigned char *shown = calloc(TORN_MESSAGES + 1, 1);
	unsigned torn = 0, twice = 0, strange = 0, n = 0;
	int status = -1;
	bool ended = false, last = false;
	assert_non_null(shown);
	assert_int_equal(queue_join(&looker, &field->queue, bytes, 0), 0);
	assert_int_equal(queue_look_open(&look, &looker), 0);
	atomic_store(&field->looking, 1);
	while (!last) {
		last = ended; /* one sweep after the end */
		while (queue_look(&look, &looker)) {
			const uint64_t *word = look.data;
			if (look.length != TORN_WORDS * 8 || word[0] == 0 || word[0] > TORN_MESSAGES) {
				strange++;
				continue;
			}
			for (unsigned i = 1; i < TORN_WORDS; i++)
				torn += word[i] != word[0];
			twice += shown[word[0]]++ != 0;
			n++;
		}
		ended = ended || waitpid(child, &status, WNOHANG) == child;
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	printf("%u of %u messages were seen\n", n, TORN_MESSAGES);
	assert_int_equal(torn + twice + strange, 0);
	for (unsigned i = 0; i < TORN_SLOTS / 2; i++)
		assert_int_equal(shown[TORN_MESSAGES - i], 1);
	queue_look_close(&look);
	free(shown);
	munmap(field, sizeof *field + bytes);
}

static void a_queue_is_looked_at_read_only_by_name(void **state)
{
	(void)state;
	char directory[] = "/dev/shm/millrace-queue-test-XXXXXX";
	struct shm_error error = {0};
	struct queue producer, looker;
	struct queue_look look;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(queue_create(directory, "postback.queue", 1, 64, 100, &error), 0);
	assert_int_equal(queue_attach(&producer, directory, "postback.queue", SEGMENT_WRITE, 1, &error), 0);
	assert_int_equal(queue_attach(&looker, directory, "postback.queue", SEGMENT_READ, 0, &error), 0);
	assert_int_equal(queue_look_open(&look, &looker), 0);
	push(&producer, 1);
	expect_sweep(&look, &looker, 1, 1);
	/* What was seen stays seen when the queue is attached anew. */
	queue_detach(&looker);
	assert_int_equal(queue_attach(&looker, directory, "postback.queue", SEGMENT_READ, 0, &error), 0);
	push(&producer, 2);
	expect_sweep(&look, &looker, 2, 2);
	queue_look_close(&look);
	queue_detach(&looker);
	queue_detach(&producer);
	assert_int_equal(segment_destroy(directory, "postback.queue"), 0);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	alarm(60);
	draw_init(2026);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_message_is_shown_once_in_its_order_over_many_laps),
	        cmocka_unit_test(whoever_begins_to_look_sees_all_that_is_there),
	        cmocka_unit_test(a_message_that_was_taken_before_the_sweep_is_shown_and_told_apart),
	        cmocka_unit_test(what_is_being_filled_or_was_cancelled_is_not_shown),
	        cmocka_unit_test(a_message_held_while_others_go_round_it_is_shown_once),
	        cmocka_unit_test(a_message_that_a_slow_producer_published_laps_later_is_shown_once),
	        cmocka_unit_test(a_message_that_goes_while_it_is_copied_is_not_shown),
	        cmocka_unit_test(a_message_that_is_taken_while_it_is_copied_is_shown),
	        cmocka_unit_test(looking_changes_nothing),
	        cmocka_unit_test(messages_of_every_length_come_whole),
	        cmocka_unit_test(an_impossible_length_is_passed_over),
	        cmocka_unit_test(laps_of_a_century_and_laps_that_pass_their_low_half_are_told_apart),
	        cmocka_unit_test(a_random_history_is_shown_without_a_gap_and_without_a_repetition),
	        cmocka_unit_test(messages_that_come_and_go_are_never_shown_torn_or_twice),
	        cmocka_unit_test(a_queue_is_looked_at_read_only_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
