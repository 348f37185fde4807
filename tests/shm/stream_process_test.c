/* The stream between processes: loss, duplication, reordering and tearing are four different
 * failures. Then with SIGKILL at random moments, and how long a sleeper takes to wake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/numbered.h"

#define SIZE    (1u << 18)
#define KILLS   40u
#define WAKINGS 300u

struct seen {
	_Atomic uint64_t next; /* number that the reader expects */
	_Atomic uint64_t lost, repeated, torn;
	uint64_t latency_ns[WAKINGS];
	_Atomic uint64_t wakings;
};

static struct seen *seen_of(const struct numbered *f)
{
	return f->shared;
}

static int set_up(void **state)
{
	static const struct test_topic topic = {"t", SIZE, 1, {"w.0"}, "stage"};
	return numbered_make(state, &topic, sizeof(struct seen));
}

/* Child: writes for ever. */
static void write_for_ever(struct numbered *f, unsigned long seed)
{
	struct topic_writer writer;
	if (topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error) != 0)
		_exit(1);
	for (unsigned long random = seed;;)
		(void)numbered_write(&writer, 1 + (unsigned)(draw_next(&random) % 60));
}

static void check(struct seen *seen, const struct record *record)
{
	if (!numbered_is_whole(record)) {
		atomic_fetch_add(&seen->torn, 1);
		return;
	}
	uint64_t number = numbered_of(record), next = atomic_load(&seen->next);
	if (number > next)
		atomic_fetch_add(&seen->lost, number - next);
	else if (number < next)
		atomic_fetch_add(&seen->repeated, 1);
	if (number >= next)
		atomic_store(&seen->next, number + 1);
}

/* Child, and in the parent with a limit: reads and checks. */
static void read_until(struct numbered *f, uint64_t end_ns)
{
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	if (topic_reader_attach_stage(&reader, &f->instance, "t", "stage", (struct topic_share){.n = 1},
	                              &f->error) != 0)
		_exit(1);
	while (clock_monotonic_ns() < end_ns) {
		if (!topic_peek(&reader, &lane, &batch)) {
			topic_wait(&reader, 10 * NS_PER_MS);
			continue;
		}
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++)
			check(seen_of(f), record);
		if (batch.corrupt)
			atomic_fetch_add(&seen_of(f)->torn, 1);
		stream_advance(&reader.lane[lane], &batch, n);
	}
	topic_reader_detach(&reader);
}

static void read_for_ever(struct numbered *f, unsigned long unused)
{
	(void)unused;
	read_until(f, UINT64_MAX);
}

static void nothing_is_lost_repeated_or_torn_between_two_processes(void **state)
{
	struct numbered *f = *state;
	pid_t writer = numbered_start(write_for_ever, f, draw_seed(11));
	read_until(f, clock_monotonic_ns() + NS_PER_SEC);
	numbered_end(writer);
	assert_true(atomic_load(&seen_of(f)->next) > 100000);
	assert_int_equal(atomic_load(&seen_of(f)->lost), 0);
	assert_int_equal(atomic_load(&seen_of(f)->repeated), 0);
	assert_int_equal(atomic_load(&seen_of(f)->torn), 0);
}

static void a_killed_writer_leaves_nothing_half_written(void **state)
{
	struct numbered *f = *state;
	unsigned long random = draw_seed(12);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t writer = numbered_start(write_for_ever, f, random);
		read_until(f, clock_monotonic_ns() + 1000000 + draw_next(&random) % 30000000);
		numbered_end(writer);
	}
	read_until(f, clock_monotonic_ns() + 20 * NS_PER_MS);
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error), 0);
	assert_true(writer.stream.records > 10000);
	assert_int_equal(atomic_load(&seen_of(f)->next), writer.stream.records);
	assert_int_equal(atomic_load(&seen_of(f)->lost), 0);
	assert_int_equal(atomic_load(&seen_of(f)->repeated), 0);
	assert_int_equal(atomic_load(&seen_of(f)->torn), 0);
	topic_writer_detach(&writer);
}

static void a_killed_reader_loses_nothing(void **state)
{
	struct numbered *f = *state;
	unsigned long random = draw_seed(13);
	pid_t writer = numbered_start(write_for_ever, f, random);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t reader = numbered_start(read_for_ever, f, 0);
		usleep((useconds_t)(1000 + draw_next(&random) % 30000));
		numbered_end(reader);
	}
	numbered_end(writer);
	read_until(f, clock_monotonic_ns() + 50 * NS_PER_MS);
	assert_true(atomic_load(&seen_of(f)->next) > 10000);
	/* What a reader had done without moving its cursor comes again (law 2); nothing is
	 * skipped. */
	assert_int_equal(atomic_load(&seen_of(f)->lost), 0);
	assert_int_equal(atomic_load(&seen_of(f)->torn), 0);
	struct topic_reader reader;
	assert_int_equal(topic_reader_attach_stage(&reader, &f->instance, "t", "stage",
	                                           (struct topic_share){.n = 1}, &f->error),
	                 0);
	struct topic_writer counted;
	assert_int_equal(topic_writer_attach(&counted, &f->instance, "t", "w.0", &f->error), 0);
	assert_int_equal(reader.lane[0].records, counted.stream.records);
	topic_writer_detach(&counted);
	topic_reader_detach(&reader);
}

/* Child: an overrun tap must never see a torn record, whatever the writer does meanwhile. */
static void tap_slowly(struct numbered *f, unsigned long seed)
{
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	if (topic_reader_attach(&reader, &f->instance, "t", "tap", GROUP_OPTIONAL, STREAM_FROM_TAIL,
	                        &f->error) != 0)
		_exit(1);
	for (unsigned long random = seed;;) {
		if (!topic_peek(&reader, &lane, &batch))
			continue;
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++) {
			if (!numbered_is_whole(record))
				atomic_fetch_add(&seen_of(f)->torn, 1);
			atomic_fetch_add(&seen_of(f)->wakings, 1);
		}
		if (batch.corrupt)
			atomic_fetch_add(&seen_of(f)->torn, 1);
		stream_advance(&reader.lane[0], &batch, n);
		atomic_store(&seen_of(f)->lost, atomic_load(&reader.group->cursor[0].missed_records));
		if (draw_next(&random) % 8 == 0)
			usleep(2000);
	}
}

static void an_overrun_tap_sees_whole_records_only(void **state)
{
	struct numbered *f = *state;
	pid_t tap = numbered_start(tap_slowly, f, draw_seed(14));
	pid_t writer = numbered_start(write_for_ever, f, 5);
	struct numbered reader = *f;
	struct seen own = {0};
	reader.shared = &own;
	read_until(&reader, clock_monotonic_ns() + NS_PER_SEC);
	numbered_end(writer);
	numbered_end(tap);
	assert_true(atomic_load(&seen_of(f)->wakings) > 1000);
	assert_true(atomic_load(&seen_of(f)->lost) > 0);
	assert_int_equal(atomic_load(&seen_of(f)->torn), 0);
	assert_int_equal(own.torn + own.lost + own.repeated, 0);
}

static void sleep_and_measure(struct numbered *f, unsigned long unused)
{
	(void)unused;
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	if (topic_reader_attach_stage(&reader, &f->instance, "t", "stage", (struct topic_share){.n = 1},
	                              &f->error) != 0)
		_exit(1);
	for (;;) {
		while (!topic_peek(&reader, &lane, &batch))
			topic_wait(&reader, NS_PER_SEC);
		uint64_t now_ns = clock_monotonic_ns(), sent_ns;
		const struct record *record = record_next(&batch);
		memcpy(&sent_ns, record->payload, 8);
		uint64_t i = atomic_load(&seen_of(f)->wakings);
		seen_of(f)->latency_ns[i % WAKINGS] = now_ns - sent_ns;
		stream_advance(&reader.lane[0], &batch, 1);
		atomic_store(&seen_of(f)->wakings, i + 1);
	}
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void a_sleeping_reader_wakes_within_a_millisecond(void **state)
{
	struct numbered *f = *state;
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error), 0);
	pid_t reader = numbered_start(sleep_and_measure, f, 0);
	usleep(50000);
	for (unsigned i = 0; i < WAKINGS; i++) {
		char *at = stream_reserve(&writer.stream, record_bytes(8));
		uint64_t now_ns = clock_monotonic_ns();
		memcpy(record_put(at, 1, 8), &now_ns, 8);
		stream_commit(&writer.stream, record_bytes(8), 1);
		topic_ring(&writer);
		for (unsigned wait_ms = 0; wait_ms < 2000 && atomic_load(&seen_of(f)->wakings) <= i;
		     wait_ms++)
			usleep(1000);
		assert_int_equal(atomic_load(&seen_of(f)->wakings), i + 1);
		usleep(2000);
	}
	numbered_end(reader);
	qsort(seen_of(f)->latency_ns, WAKINGS, sizeof seen_of(f)->latency_ns[0], ascending);
	printf("wake-up: median %lu us, 99th percentile %lu us\n",
	       (unsigned long)seen_of(f)->latency_ns[WAKINGS / 2] / 1000,
	       (unsigned long)seen_of(f)->latency_ns[WAKINGS * 99 / 100] / 1000);
	assert_true(seen_of(f)->latency_ns[WAKINGS / 2] < NS_PER_MS);
	topic_writer_detach(&writer);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, numbered_tear_down)
	const struct CMUnitTest tests[] = {
	        T(nothing_is_lost_repeated_or_torn_between_two_processes),
	        T(a_killed_writer_leaves_nothing_half_written),
	        T(a_killed_reader_loses_nothing),
	        T(an_overrun_tap_sees_whole_records_only),
	        T(a_sleeping_reader_wakes_within_a_millisecond),
	};
	alarm(120);
	return cmocka_run_group_tests_name("stream between processes", tests, NULL, NULL);
}
