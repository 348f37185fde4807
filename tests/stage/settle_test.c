/* When a sink makes safe what it has read: a small sink that sums the numbers it reads, and a store
 * that keeps the sum with the cursors and fails, dawdles or dies as it is told. In the other form
 * the store answers when the test says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "stage/settle.h"
#include "tests/fixture/instance.h"

#define LANES       2u
#define LANE_BYTES  65536u
#define RECORD      16u /* bytes of one with its number */
#define INTERVAL_NS (100 * NS_PER_MS)

/* What outlives the sink. */
struct store {
	uint64_t sum, commits;
	struct settle_cursor cursor[LANES];
	bool any[LANES];
	int result, look_result; /* what the next calls return */
	bool die;                /* after the effect, before the cursors move */
	uint64_t takes_ns;
};

static struct {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer[LANES];
	struct ports ports;
	struct settle settle;
	struct control *control;
	struct store *store;
	uint64_t sum; /* in the sink's memory */
	uint64_t written;
	uint64_t now_ns;
	struct shm_error error;
} f;

/* ---- the store ---- */

static int commit(void *sink, const struct settle_cursor *cursor, unsigned n, struct shm_error *error)
{
	struct store *store = f.store;
	assert_ptr_equal(sink, &f);
	nanosleep(&(struct timespec){.tv_nsec = (long)store->takes_ns}, NULL);
	if (store->result != 0) {
		shm_explain(error, "/data/store: %s", strerror(-store->result));
		return store->result;
	}
	store->sum = f.sum;
	store->commits++;
	for (unsigned i = 0; i < n; i++) {
		assert_string_equal(cursor[i].topic, "in");
		store->cursor[cursor[i].lane] = cursor[i];
		store->any[cursor[i].lane] = true;
	}
	if (store->die)
		_exit(0);
	return 0;
}

static int stored(void *sink, struct settle_cursor *cursor, struct shm_error *error)
{
	(void)sink;
	(void)error;
	if (!f.store->any[cursor->lane])
		return -ENOENT;
	const char *topic = cursor->topic;
	*cursor = f.store->cursor[cursor->lane];
	cursor->topic = topic;
	return 0;
}

static int look(void *sink, struct shm_error *error)
{
	(void)sink;
	if (f.store->look_result != 0)
		shm_explain(error, "/data/store: gone");
	return f.store->look_result;
}

static const struct settle_store store = {.name = "store", .commit = commit, .stored = stored, .look = look};

static const struct settle_store broker = {.name = "broker", .look = look};

/* ---- a life of the sink ---- */

static int begin_with(const struct settle_store *of, uint64_t *lost)
{
	static const char *const reads[] = {"in", NULL};
	struct ports_wanted wanted = {
	        .instance = &f.instance, .role = "sink.0", .group = "sink", .reads = reads};
	assert_int_equal(ports_open(&f.ports, &wanted, &f.error), 0);
	settle_init(&f.settle, of, &f, &f.ports, f.control, 0);
	f.settle.interval_ns = INTERVAL_NS;
	f.settle.folder = "/data";
	int result = settle_take_up(&f.settle, lost, &f.error);
	f.sum = f.store->sum;
	return result;
}

static int begin(uint64_t *lost)
{
	return begin_with(&store, lost);
}

static void end(void)
{
	ports_close(&f.ports);
}

static void write_numbers(unsigned lane, uint64_t n)
{
	char *at = stream_reserve(&f.writer[lane].stream, n * RECORD);
	assert_non_null(at);
	for (uint64_t i = 0; i < n; i++, at += RECORD) {
		uint64_t number = ++f.written;
		memcpy(record_put(at, 1, sizeof number), &number, sizeof number);
	}
	stream_commit(&f.writer[lane].stream, n * RECORD, n);
}

/* Sums at most `most` records of one lane. */
static uint64_t poll_some(uint64_t most, bool wish)
{
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0, number;
	settle_poll(&f.settle, f.now_ns);
	if (!topic_peek(&f.ports.reader[0], &lane, &batch))
		return 0;
	for (const struct record *record; n < most && (record = record_next(&batch)) != NULL; n++) {
		memcpy(&number, record->payload, sizeof number);
		f.sum += number;
	}
	settle_pass(&f.settle, 0, lane, &batch, n, wish, f.now_ns);
	return n;
}

static void read_all(void)
{
	while (poll_some(UINT64_MAX, false) != 0) {
	}
}

static uint64_t metric(enum settle_metric which)
{
	return atomic_load(&f.control->metric[which]);
}

static uint64_t cursor_records(void)
{
	uint64_t records = 0;
	for (unsigned i = 0; i < LANES; i++)
		records += atomic_load(&f.ports.reader[0].group->cursor[i].records);
	return records;
}

static uint64_t sum_of(uint64_t n)
{
	return n * (n + 1) / 2;
}

static int set_up(void **state)
{
	static const struct test_topic topic = {"in", LANE_BYTES, LANES, {"w.0", "w.1"}, "sink"};
	(void)state;
	memset(&f, 0, sizeof f);
	size_t bytes = sizeof *f.store + sizeof *f.control;
	f.store = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	f.control = calloc(1, sizeof *f.control);
	f.now_ns = NS_PER_SEC;
	if (f.store == MAP_FAILED || f.control == NULL || sandbox_make(&f.sandbox) != 0 ||
	    instance_make(f.sandbox.directory, &topic, 1, &f.error) != 0 ||
	    instance_attach(&f.instance, "test", SEGMENT_WRITE, &f.error) != 0)
		return -1;
	for (unsigned i = 0; i < LANES; i++)
		if (topic_writer_attach(&f.writer[i], &f.instance, "in", topic.lane_role[i], &f.error) != 0)
			return -1;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)settle_finish(&f.settle);
	end();
	for (unsigned i = 0; i < LANES; i++)
		topic_writer_detach(&f.writer[i]);
	instance_detach(&f.instance);
	sandbox_remove(&f.sandbox);
	munmap(f.store, sizeof *f.store + sizeof *f.control);
	free(f.control);
	return 0;
}

static void begin_well(void)
{
	uint64_t lost = 77;
	assert_int_equal(begin(&lost), 0);
	assert_int_equal(lost, 0);
}

/* ---- when ---- */

static void what_was_passed_is_committed_when_its_time_has_come(void **state)
{
	(void)state;
	begin_well();
	write_numbers(0, 10);
	write_numbers(1, 5);
	read_all();
	assert_true(settle_open(&f.settle));
	assert_int_equal(settle_timeout(&f.settle, NS_PER_SEC, f.now_ns + INTERVAL_NS / 4),
	                 INTERVAL_NS / 4 * 3);
	f.now_ns += INTERVAL_NS - 1;
	read_all();
	settle_tick(&f.settle, f.now_ns);
	assert_int_equal(f.store->commits, 0);
	assert_int_equal(cursor_records(), 0);
	assert_int_equal(metric(SETTLE_uncommitted_records), 15);
	f.now_ns++;
	read_all();
	assert_int_equal(f.store->commits, 1);
	assert_int_equal(f.store->sum, sum_of(15));
	assert_int_equal(cursor_records(), 15);
	assert_false(settle_open(&f.settle));
	assert_int_equal(settle_timeout(&f.settle, NS_PER_SEC, f.now_ns), NS_PER_SEC);
	settle_tick(&f.settle, f.now_ns);
	assert_int_equal(metric(SETTLE_uncommitted_records), 0);
	assert_int_equal(metric(SETTLE_early_commits), 0);
}

static void a_lane_that_is_a_quarter_full_is_committed_early(void **state)
{
	(void)state;
	begin_well();
	write_numbers(0, LANE_BYTES / 4 / RECORD - 1);
	read_all();
	assert_int_equal(f.store->commits, 0);
	write_numbers(0, 1);
	read_all();
	assert_int_equal(f.store->commits, 1);
	assert_int_equal(metric(SETTLE_early_commits), 1);
	assert_int_equal(cursor_records(), f.written);
}

static void where_more_is_waiting_it_is_taken_before_an_early_commit(void **state)
{
	(void)state;
	begin_well();
	for (unsigned i = 0; i < 2; i++)
		write_numbers(0, LANE_BYTES / 2 / RECORD - 1);
	assert_int_equal(poll_some(LANE_BYTES / 4 / RECORD, false), LANE_BYTES / 4 / RECORD);
	assert_int_equal(f.store->commits, 0);
	(void)poll_some(LANE_BYTES / 2 / RECORD, false); /* three quarters */
	assert_int_equal(f.store->commits, 1);
}

static void bytes_of_all_lanes_and_the_sinks_wish_bring_a_commit_early(void **state)
{
	(void)state;
	begin_well();
	f.settle.most_bytes = 20 * RECORD;
	write_numbers(0, 10);
	write_numbers(1, 9);
	read_all();
	assert_int_equal(f.store->commits, 0);
	write_numbers(1, 1);
	read_all();
	assert_int_equal(f.store->commits, 1);
	write_numbers(0, 1);
	assert_int_equal(poll_some(UINT64_MAX, true), 1);
	assert_int_equal(f.store->commits, 2);
	assert_int_equal(metric(SETTLE_early_commits), 2);
}

/* ---- a store that fails ---- */

static void expect_note(const char *text)
{
	char note[CONTROL_NOTE_BYTES];
	control_read_note(f.control, note);
	assert_string_equal(note, text);
}

static void while_the_store_fails_cursors_stay_and_each_tick_tries_again(void **state)
{
	(void)state;
	begin_well();
	settle_note(&f.settle, "%s", "all is well");
	f.store->result = -EIO;
	write_numbers(0, 10);
	read_all();
	f.now_ns += INTERVAL_NS;
	read_all();
	assert_int_equal(metric(SETTLE_failing), 1);
	assert_int_equal(metric(SETTLE_failed_commits), 1);
	expect_note("cannot commit: store: Input/output error");
	write_numbers(1, LANE_BYTES / 4 / RECORD + 1); /* neither polls nor a full lane try again */
	f.now_ns += INTERVAL_NS;
	read_all();
	assert_int_equal(metric(SETTLE_failed_commits), 1);
	assert_int_equal(settle_timeout(&f.settle, NS_PER_SEC, f.now_ns), NS_PER_SEC);
	for (unsigned i = 2; i < 5; i++) {
		settle_tick(&f.settle, f.now_ns);
		assert_int_equal(metric(SETTLE_failed_commits), i);
	}
	assert_int_equal(cursor_records(), 0);
	f.store->result = 0;
	settle_tick(&f.settle, f.now_ns);
	assert_int_equal(metric(SETTLE_failing), 0);
	assert_int_equal(cursor_records(), f.written);
	assert_int_equal(f.store->sum, sum_of(f.written));
	expect_note("all is well");
}

static void a_store_that_goes_while_nothing_comes_in_is_noticed(void **state)
{
	(void)state;
	begin_well();
	settle_tick(&f.settle, f.now_ns);
	f.store->look_result = -ESTALE;
	f.store->result = -ESTALE;
	settle_tick(&f.settle, f.now_ns + NS_PER_SEC / 2); /* it has looked just now */
	assert_int_equal(metric(SETTLE_failing), 0);
	settle_tick(&f.settle, f.now_ns + NS_PER_SEC);
	assert_int_equal(metric(SETTLE_failing), 1);
	expect_note("cannot commit: store: gone");
	f.store->result = f.store->look_result = 0;
	settle_tick(&f.settle, f.now_ns + NS_PER_SEC + 1);
	assert_int_equal(metric(SETTLE_failing), 0);
	expect_note("");
}

static void a_slow_store_is_measured(void **state)
{
	(void)state;
	begin_well();
	f.store->takes_ns = 20 * NS_PER_MS;
	write_numbers(0, 1);
	assert_int_equal(poll_some(1, true), 1);
	f.store->takes_ns = 0;
	write_numbers(0, 1);
	assert_int_equal(poll_some(1, true), 1);
	assert_true(metric(SETTLE_commit_max_us) >= 20000);
	assert_true(metric(SETTLE_commit_last_us) < metric(SETTLE_commit_max_us));
}

static void draining_commits_at_once_and_waits_for_a_store_that_fails(void **state)
{
	(void)state;
	begin_well();
	assert_true(settle_drained(&f.settle));
	assert_int_equal(f.store->commits, 0);
	write_numbers(0, 3);
	read_all();
	f.store->result = -ENOSPC;
	assert_false(settle_drained(&f.settle));
	assert_false(settle_drained(&f.settle)); /* its tick tries again */
	assert_int_equal(metric(SETTLE_failed_commits), 1);
	assert_false(settle_finish(&f.settle));
	assert_int_equal(cursor_records(), 0);
	f.store->result = 0;
	settle_tick(&f.settle, f.now_ns);
	assert_true(settle_drained(&f.settle));
	assert_true(settle_finish(&f.settle));
	assert_int_equal(cursor_records(), 3);
}

/* ---- deaths ---- */

static void killed_between_effect_and_cursor_the_next_life_goes_on_from_the_store(void **state)
{
	(void)state;
	for (unsigned life = 0; life < 20; life++) {
		write_numbers(0, 7 + life);
		write_numbers(1, 3);
		pid_t pid = fork();
		if (pid == 0) {
			uint64_t lost = 0;
			f.store->die = life % 2 == 0;
			if (begin(&lost) != 0 || lost != 0)
				_exit(1);
			read_all();
			_exit(settle_drained(&f.settle) && life % 2 == 1 ? 0 : 2);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(f.store->sum, sum_of(f.written));
	}
	f.store->die = false;
	begin_well();
	assert_int_equal(cursor_records(), f.written);
	assert_int_equal(poll_some(1, false), 0);
}

static void a_life_tells_how_many_records_its_store_lacks(void **state)
{
	(void)state;
	uint64_t lost;
	begin_well();
	write_numbers(0, 10);
	write_numbers(1, 4);
	read_all();
	assert_true(settle_drained(&f.settle));
	end();
	f.store->cursor[0].position -= 3 * RECORD; /* an older copy */
	f.store->cursor[0].records -= 3;
	assert_int_equal(begin(&lost), 0);
	assert_int_equal(lost, 3);
	end();
	f.store->cursor[1].generation++; /* of another instance */
	assert_int_equal(begin(&lost), 0);
	assert_int_equal(lost, 3 + 4);
	end();
	memset(f.store->any, 0, sizeof f.store->any); /* deleted */
	assert_int_equal(begin(&lost), 0);
	assert_int_equal(lost, 14);
	assert_int_equal(metric(SETTLE_lost_records), 14);
}

static void a_position_that_the_lane_has_not_reached_is_refused(void **state)
{
	(void)state;
	uint64_t lost;
	begin_well();
	write_numbers(0, 10);
	read_all();
	assert_true(settle_drained(&f.settle));
	end();
	f.store->cursor[0].position += RECORD;
	assert_int_equal(begin(&lost), -EINVAL);
	assert_string_equal(
	        f.error.text,
	        "lane 0 of topic in: the store is at position 176, which the lane has not reached");
}

/* ---- in flight ---- */

static void begin_in_flight(uint32_t most_flights)
{
	uint64_t lost;
	assert_int_equal(begin_with(&broker, &lost), 0);
	assert_int_equal(settle_init_flights(&f.settle, most_flights), 0);
}

/* Adds at most `most` records of a lane to a flight, one effect each. */
static void fly(struct settle_flight *flight, uint64_t most)
{
	struct record_batch batch;
	uint64_t n = 0;
	assert_true(stream_peek(&f.ports.reader[0].lane[flight->lane], &batch));
	while (n < most && record_next(&batch) != NULL)
		n++;
	flight->awaited += (uint32_t)n;
	settle_fly(&f.settle, flight, &batch, n);
}

/* Sends n records of a lane as one flight. */
static struct settle_flight *send_some(unsigned lane, uint64_t n)
{
	struct settle_flight *flight = settle_open_flight(&f.settle, 0, lane, f.now_ns);
	assert_non_null(flight);
	fly(flight, n);
	settle_close_flight(&f.settle, flight);
	return flight;
}

static void land(struct settle_flight *flight, uint32_t effects)
{
	settle_land(&f.settle, flight, effects, f.now_ns);
}

static uint64_t lane_cursor(unsigned lane)
{
	return atomic_load(&f.ports.reader[0].group->cursor[lane].records);
}

static void the_cursor_moves_over_what_has_landed_at_the_front_and_no_further(void **state)
{
	(void)state;
	begin_in_flight(8);
	write_numbers(0, 12);
	struct settle_flight *flight[4];
	for (unsigned i = 0; i < 4; i++)
		flight[i] = send_some(0, 3);
	assert_false(topic_peek(&f.ports.reader[0], &(unsigned){0}, &(struct record_batch){0}));
	land(flight[1], 3);
	land(flight[3], 2);
	land(flight[0], 2);
	assert_int_equal(lane_cursor(0), 0);
	land(flight[0], 1);
	assert_int_equal(lane_cursor(0), 6);
	land(flight[3], 1);
	assert_int_equal(lane_cursor(0), 6);
	settle_tick(&f.settle, f.now_ns);
	assert_int_equal(metric(SETTLE_uncommitted_records), 6);
	assert_true(settle_open(&f.settle));
	f.now_ns += 5 * NS_PER_MS;
	land(flight[2], 3);
	assert_int_equal(lane_cursor(0), 12);
	assert_int_equal(atomic_load(&f.ports.reader[0].group->cursor[0].position), 12 * RECORD);
	assert_false(settle_open(&f.settle));
	assert_int_equal(metric(SETTLE_commits), 2);
	assert_int_equal(metric(SETTLE_commit_last_us), 5000);
}

static void lanes_do_not_wait_for_each_other(void **state)
{
	(void)state;
	begin_in_flight(8);
	write_numbers(0, 2);
	write_numbers(1, 3);
	assert_true(settle_oldest_ns(&f.settle) == UINT64_MAX);
	struct settle_flight *first = send_some(0, 2);
	uint64_t begun_ns = f.now_ns++;
	struct settle_flight *second = send_some(1, 3);
	assert_int_equal(settle_oldest_ns(&f.settle), begun_ns);
	land(second, 3);
	assert_int_equal(lane_cursor(0), 0);
	assert_int_equal(lane_cursor(1), 3);
	land(first, 2);
	assert_int_equal(lane_cursor(0), 2);
}

static void what_is_in_flight_is_bounded_by_number_and_bytes(void **state)
{
	(void)state;
	begin_in_flight(3);
	write_numbers(0, 100);
	struct settle_flight *flight[3];
	for (unsigned i = 0; i < 3; i++)
		flight[i] = send_some(0, 2);
	assert_null(settle_open_flight(&f.settle, 0, 1, f.now_ns));
	land(flight[1], 2);
	assert_null(settle_open_flight(&f.settle, 0, 1, f.now_ns)); /* the first holds it up */
	land(flight[0], 2);
	f.settle.most_bytes = 12 * RECORD;
	flight[0] = send_some(0, 9);
	assert_int_equal(f.settle.passed_bytes, 11 * RECORD);
	flight[1] = send_some(0, 1);
	assert_null(settle_open_flight(&f.settle, 0, 0, f.now_ns));
	land(flight[2], 2);
	land(flight[1], 1);
	land(flight[0], 9);
	assert_int_equal(f.settle.passed_bytes, 0);
	land(send_some(0, 50), 50);
	assert_int_equal(lane_cursor(0), 66);
}

static void a_flight_without_effects_lands_after_those_before_it(void **state)
{
	(void)state;
	struct record_batch batch;
	begin_in_flight(8);
	write_numbers(0, 4);
	struct settle_flight *first = send_some(0, 1);
	struct settle_flight *left_out = settle_open_flight(&f.settle, 0, 0, f.now_ns);
	assert_true(stream_peek(&f.ports.reader[0].lane[0], &batch));
	assert_non_null(record_next(&batch));
	assert_non_null(record_next(&batch));
	settle_fly(&f.settle, left_out, &batch, 2);
	settle_close_flight(&f.settle, left_out);
	assert_int_equal(lane_cursor(0), 0);
	land(first, 1);
	assert_int_equal(lane_cursor(0), 3);
	shm_explain(&f.error, "gone");
	settle_fail(&f.settle, -ENOTCONN, &f.error);
	left_out = settle_open_flight(&f.settle, 0, 0, f.now_ns);
	assert_true(stream_peek(&f.ports.reader[0].lane[0], &batch));
	assert_non_null(record_next(&batch));
	settle_fly(&f.settle, left_out, &batch, 1);
	settle_close_flight(&f.settle, left_out);
	assert_int_equal(lane_cursor(0), 4);
	assert_int_equal(metric(SETTLE_failing), 1); /* the store has said nothing */
}

static void batches_of_one_flight_land_together(void **state)
{
	(void)state;
	begin_in_flight(1);
	write_numbers(1, 10);
	struct settle_flight *transaction = settle_open_flight(&f.settle, 0, 1, f.now_ns);
	fly(transaction, 4);
	land(transaction, 4);
	fly(transaction, 6);
	land(transaction, 6);
	assert_int_equal(lane_cursor(1), 0);
	assert_int_equal(transaction->end.records, 10);
	assert_int_equal(transaction->end.position, 10 * RECORD);
	settle_close_flight(&f.settle, transaction);
	assert_int_equal(lane_cursor(1), 10);
}

static void in_flight_failing_is_told_until_something_lands_or_the_store_is_there_again(void **state)
{
	(void)state;
	begin_in_flight(8);
	settle_note(&f.settle, "%s", "all is well");
	write_numbers(0, 1);
	struct settle_flight *flight = send_some(0, 1);
	shm_explain(&f.error, "all brokers are down");
	settle_fail(&f.settle, -ENOTCONN, &f.error);
	settle_tick(&f.settle, f.now_ns += NS_PER_SEC); /* asks no store that owes an answer */
	assert_int_equal(metric(SETTLE_failing), 1);
	assert_int_equal(metric(SETTLE_failed_commits), 1);
	expect_note("cannot deliver: all brokers are down");
	assert_int_equal(cursor_records(), 0);
	land(flight, 1);
	assert_int_equal(metric(SETTLE_failing), 0);
	expect_note("all is well");
	settle_fail(&f.settle, -ENOTCONN, &f.error);
	f.store->look_result = -ENOTCONN;
	settle_tick(&f.settle, f.now_ns += NS_PER_SEC);
	expect_note("cannot deliver: store: gone");
	f.store->look_result = 0;
	settle_tick(&f.settle, f.now_ns += NS_PER_SEC);
	assert_int_equal(metric(SETTLE_failing), 0);
	expect_note("all is well");
}

static void what_the_store_will_not_answer_for_is_read_again_from_the_cursor(void **state)
{
	(void)state;
	begin_in_flight(8);
	write_numbers(0, 10);
	write_numbers(1, 1);
	struct settle_flight *other = send_some(1, 1);
	land(send_some(0, 2), 2);
	(void)send_some(0, 3);
	land(send_some(0, 3), 3);
	struct settle_flight *open = settle_open_flight(&f.settle, 0, 0, f.now_ns);
	fly(open, 1);
	settle_return(&f.settle, 0, 0);
	assert_int_equal(f.settle.n_flights, 1);
	assert_int_equal(f.settle.passed_bytes, RECORD);
	assert_int_equal(lane_cursor(0), 2);
	assert_int_equal(f.ports.reader[0].lane[0].records, 2);
	land(send_some(0, 8), 8);
	assert_int_equal(lane_cursor(0), 10);
	land(other, 1);
	assert_int_equal(lane_cursor(1), 1);
}

static void draining_waits_for_what_is_in_flight(void **state)
{
	(void)state;
	begin_in_flight(8);
	assert_true(settle_drained(&f.settle));
	write_numbers(0, 5);
	struct settle_flight *flight = send_some(0, 5);
	assert_false(settle_drained(&f.settle));
	land(flight, 5);
	assert_true(settle_drained(&f.settle));
	write_numbers(0, 1);
	(void)send_some(0, 1);
	assert_false(settle_finish(&f.settle));
	assert_int_equal(cursor_records(), 5);
}

static void killed_in_flight_the_next_life_reads_what_had_not_landed(void **state)
{
	(void)state;
	write_numbers(0, 9);
	pid_t pid = fork();
	if (pid == 0) {
		begin_in_flight(8);
		land(send_some(0, 4), 4);
		(void)send_some(0, 2);
		land(send_some(0, 3), 3);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	begin_in_flight(8);
	assert_int_equal(f.ports.reader[0].lane[0].records, 4);
	land(send_some(0, 5), 5);
	assert_int_equal(cursor_records(), 9);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(what_was_passed_is_committed_when_its_time_has_come),
	        T(a_lane_that_is_a_quarter_full_is_committed_early),
	        T(where_more_is_waiting_it_is_taken_before_an_early_commit),
	        T(bytes_of_all_lanes_and_the_sinks_wish_bring_a_commit_early),
	        T(while_the_store_fails_cursors_stay_and_each_tick_tries_again),
	        T(a_store_that_goes_while_nothing_comes_in_is_noticed),
	        T(a_slow_store_is_measured),
	        T(draining_commits_at_once_and_waits_for_a_store_that_fails),
	        T(killed_between_effect_and_cursor_the_next_life_goes_on_from_the_store),
	        T(a_life_tells_how_many_records_its_store_lacks),
	        T(a_position_that_the_lane_has_not_reached_is_refused),
	        T(the_cursor_moves_over_what_has_landed_at_the_front_and_no_further),
	        T(lanes_do_not_wait_for_each_other),
	        T(what_is_in_flight_is_bounded_by_number_and_bytes),
	        T(a_flight_without_effects_lands_after_those_before_it),
	        T(batches_of_one_flight_land_together),
	        T(in_flight_failing_is_told_until_something_lands_or_the_store_is_there_again),
	        T(what_the_store_will_not_answer_for_is_read_again_from_the_cursor),
	        T(draining_waits_for_what_is_in_flight),
	        T(killed_in_flight_the_next_life_reads_what_had_not_landed),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
