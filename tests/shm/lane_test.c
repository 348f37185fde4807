/* Lanes of a batch: what readers and the ledger see before a commit, after it, and of what was
 * taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <unistd.h>

#include "event/event.h"
#include "shm/lane.h"
#include "tests/fixture/instance.h"

#define ROLE       "writer.0"
#define LANES      3u
#define LANE_BYTES STREAM_SIZE_MIN

static const struct test_topic topics[LANES] = {
        {"one", LANE_BYTES, 1, {ROLE}, "reader"},
        {"two", LANE_BYTES, 1, {ROLE}, "reader"},
        {"three", LANE_BYTES, 1, {ROLE}, "reader"},
};

struct scene {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer[LANES];
	struct topic_reader reader[LANES];
	struct lane lane[LANES];
	struct redo_note note;
	struct redo redo;
};

static struct scene scene;

static int make_scene(void **state)
{
	(void)state;
	struct shm_error error = {0};
	memset(&scene, 0, sizeof scene);
	if (sandbox_make(&scene.sandbox) != 0 ||
	    instance_make(scene.sandbox.directory, topics, LANES, &error) != 0 ||
	    instance_attach(&scene.instance, "test", SEGMENT_READ, &error) != 0)
		return -1;
	scene.redo.note = &scene.note;
	for (unsigned i = 0; i < LANES; i++) {
		if (topic_writer_attach(&scene.writer[i], &scene.instance, topics[i].name, ROLE, &error) !=
		            0 ||
		    topic_reader_attach_stage(&scene.reader[i], &scene.instance, topics[i].name, "reader",
		                              (struct topic_share){.n = 1}, &error) != 0)
			return -1;
		lane_stream(&scene.lane[i], &scene.writer[i]);
		scene.redo.base[1 + i] = (char *)scene.writer[i].stream.shared;
	}
	return 0;
}

static int remove_scene(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LANES; i++) {
		topic_reader_detach(&scene.reader[i]);
		topic_writer_detach(&scene.writer[i]);
	}
	instance_detach(&scene.instance);
	sandbox_remove(&scene.sandbox);
	return 0;
}

/* Keeps a record that holds one number; false when there is no room. */
static bool put(unsigned i, uint64_t number)
{
	size_t bytes = record_bytes(sizeof number);
	char *at = lane_room(&scene.lane[i], bytes);
	if (at == NULL)
		return false;
	memcpy(record_put(at, EVENT_RAW, sizeof number), &number, sizeof number);
	lane_keep(&scene.lane[i], bytes);
	scene.lane[i].received++;
	return true;
}

static void commit(void)
{
	lanes_commit(scene.lane, LANES, &scene.redo);
}

/* Reads all there is: numbers from `first` on, n of them. */
static void expect_numbers(unsigned i, uint64_t first, uint64_t n)
{
	unsigned lane;
	struct record_batch batch;
	uint64_t found = 0;
	while (topic_peek(&scene.reader[i], &lane, &batch)) {
		uint64_t records = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL;) {
			uint64_t number;
			assert_int_equal(record->length, sizeof number);
			memcpy(&number, record->payload, sizeof number);
			assert_int_equal(number, first + found++);
			records++;
		}
		stream_advance(&scene.reader[i].lane[lane], &batch, records);
	}
	assert_int_equal(found, n);
}

static uint64_t sum(const struct stream_shared *shared)
{
	uint64_t all = shared->ledger.dropped + shared->ledger.refused + shared->records;
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		all += shared->ledger.rejected[i];
	return all;
}

static uint32_t asleep(unsigned topic)
{
	return atomic_load(&scene.reader[topic].group->asleep[0]);
}

/* The readers of all lanes say that they sleep, as in sleep_begin; 0: that they are awake. */
static void say_asleep(uint32_t odd)
{
	for (unsigned i = 0; i < LANES; i++)
		while ((asleep(i) & 1) != odd)
			atomic_fetch_add(&scene.reader[i].group->asleep[0], 1);
}

static void records_are_seen_when_the_batch_is_committed_and_not_before(void **state)
{
	(void)state;
	assert_true(put(0, 1) && put(0, 2) && put(2, 9));
	for (unsigned i = 0; i < LANES; i++)
		expect_numbers(i, 0, 0);
	say_asleep(1);
	commit();
	assert_int_equal(scene.writer[0].woken[0], asleep(0));
	expect_numbers(0, 1, 2);
	expect_numbers(1, 0, 0);
	expect_numbers(2, 9, 1);
	assert_int_equal(scene.writer[0].stream.shared->ledger.received, 2);
	for (unsigned i = 0; i < LANES; i++)
		assert_int_equal(scene.lane[i].used + scene.lane[i].records + scene.lane[i].received, 0);
}

static void what_was_kept_since_a_mark_can_be_taken_back(void **state)
{
	(void)state;
	assert_true(put(0, 1));
	struct lane_mark mark = lane_mark(&scene.lane[0]);
	for (uint64_t i = 0; i < 50; i++)
		assert_true(put(0, 100 + i));
	lane_back(&scene.lane[0], mark);
	scene.lane[0].received = 1;
	assert_true(put(0, 2));
	commit();
	expect_numbers(0, 1, 2);
	assert_int_equal(scene.writer[0].stream.shared->records, 2);
}

static void a_full_lane_gives_no_room_until_its_readers_went_on(void **state)
{
	(void)state;
	uint64_t next = 0;
	for (unsigned half = 0; half < 2; half++) { /* a batch takes half a lane at most */
		while (put(0, next))
			next++;
		assert_int_equal(next, (half + 1) * LANE_BYTES / 2 / record_bytes(8));
		commit();
	}
	assert_null(lane_room(&scene.lane[0], record_bytes(8)));
	expect_numbers(0, 0, next);
	assert_true(put(0, 7));
	commit();
	expect_numbers(0, 7, 1);
}

static void what_is_larger_than_half_a_lane_never_has_room(void **state)
{
	(void)state;
	assert_int_equal(scene.lane[0].most, LANE_BYTES / 2);
	assert_null(lane_room(&scene.lane[0], LANE_BYTES / 2 + 8));
	assert_non_null(lane_room(&scene.lane[0], LANE_BYTES / 2));
}

static void counts_of_every_kind_reach_the_ledger_in_one_note(void **state)
{
	(void)state;
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < LANES; i++) {
			struct lane *lane = &scene.lane[i];
			assert_true(put(i, round));
			lane->dropped = 2;
			lane->refused = 3;
			lane->received += 5;
			for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++) {
				lane->rejected[reason] = 1 + reason;
				lane->received += 1 + reason;
			}
		}
		commit();
		for (unsigned i = 0; i < LANES; i++) {
			const struct stream_shared *shared = scene.writer[i].stream.shared;
			assert_int_equal(shared->ledger.dropped, 2 * round);
			assert_int_equal(shared->ledger.refused, 3 * round);
			assert_int_equal(shared->ledger.rejected[LEDGER_TOO_LARGE],
			                 round * (1 + LEDGER_TOO_LARGE));
			assert_int_equal(shared->ledger.received, sum(shared));
		}
	}
	/* The words stay in the note's memory when it is empty again: the last one used tells how
	 * many there were. */
	assert_int_equal(scene.note.n, 0);
	assert_int_equal(scene.note.word[LANES * LANE_NOTE_WORDS - 1].region, LANES);
	assert_int_equal(scene.note.word[LANES * LANE_NOTE_WORDS].region, 0);
}

static void counts_alone_are_committed_without_records(void **state)
{
	(void)state;
	scene.lane[1].received = 4;
	scene.lane[1].refused = 4;
	say_asleep(1);
	commit();
	assert_int_equal(scene.writer[1].stream.shared->ledger.refused, 4);
	assert_int_equal(scene.writer[1].stream.shared->records, 0);
	assert_int_not_equal(scene.writer[1].woken[0], asleep(1));
}

static void words_of_the_callers_are_committed_with_the_lanes(void **state)
{
	(void)state;
	alignas(8) struct {
		_Atomic uint64_t mark;
	} own = {.mark = 5};
	scene.redo.base[0] = (char *)&own;
	redo_add(&scene.redo, 0, &own.mark, 0);
	assert_true(put(0, 1));
	assert_int_equal(own.mark, 5);
	commit();
	assert_int_equal(own.mark, 0);
	expect_numbers(0, 1, 1);
}

static void a_lane_in_memory_is_filled_to_its_end_and_emptied_without_a_commit(void **state)
{
	(void)state;
	alignas(8) static char memory[5 * 16 + 8];
	lane_memory(&scene.lane[0], memory, sizeof memory);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 5; i++)
			assert_true(put(0, i));
		assert_false(put(0, 5));
		assert_ptr_equal(scene.lane[0].base, memory);
		assert_int_equal(scene.lane[0].used, 5 * 16);
		lane_reset(&scene.lane[0]);
	}
	lane_stream(&scene.lane[0], &scene.writer[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scene, remove_scene)

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        TEST(records_are_seen_when_the_batch_is_committed_and_not_before),
	        TEST(what_was_kept_since_a_mark_can_be_taken_back),
	        TEST(a_full_lane_gives_no_room_until_its_readers_went_on),
	        TEST(what_is_larger_than_half_a_lane_never_has_room),
	        TEST(counts_of_every_kind_reach_the_ledger_in_one_note),
	        TEST(counts_alone_are_committed_without_records),
	        TEST(words_of_the_callers_are_committed_with_the_lanes),
	        TEST(a_lane_in_memory_is_filled_to_its_end_and_emptied_without_a_commit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
