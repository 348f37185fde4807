/* The stream between processes: loss, duplication, reordering and tearing are four different
 * failures. Then with SIGKILL at random moments, and how long a sleeper takes to wake. A record
 * carries its number and a pattern made from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define SIZE    (1u << 18)
#define KILLS   40u
#define WAKINGS 300u

struct seen {
	_Atomic uint64_t next; /* number that the reader expects */
	_Atomic uint64_t lost, repeated, torn;
	uint64_t latency_ns[WAKINGS];
	_Atomic uint64_t wakings;
};

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct seen *seen; /* shared with the children */
	struct shm_error error;
};

static int set_up(void **state)
{
	static const struct test_topic topics[] = {{"t", SIZE, 1, {"w.0"}, "stage"}};
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	f->seen = mmap(NULL, sizeof *f->seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->seen == MAP_FAILED || sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, topics, 1, &f->error) != 0)
		return -1;
	return instance_attach(&f->instance, "test", SEGMENT_READ, &f->error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	munmap(f->seen, sizeof *f->seen);
	free(f);
	return 0;
}

static pid_t start(void (*child)(struct fixture *, unsigned long), struct fixture *f, unsigned long argument)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	child(f, argument);
	_exit(0);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static uint32_t length_of(uint64_t number)
{
	return 16 + 8 * (uint32_t)(number * 0x9e3779b97f4a7c15ull >> 60);
}

/* Child: writes for ever; the number of a record is its number in the lane, so a new life goes on
 * where the last one committed. */
static void write_for_ever(struct fixture *f, unsigned long seed)
{
	struct topic_writer writer;
	if (topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error) != 0)
		_exit(1);
	for (unsigned long random = seed;;) {
		unsigned n = 1 + draw_next(&random) % 60;
		char *start_of_batch = stream_reserve(&writer.stream, n * record_bytes(136));
		if (start_of_batch == NULL)
			continue;
		char *at = start_of_batch;
		for (unsigned i = 0; i < n; i++) {
			uint64_t number = writer.stream.records + i;
			uint64_t *payload = record_put(at, 1, length_of(number));
			payload[0] = number;
			for (unsigned k = 1; k < length_of(number) / 8; k++)
				payload[k] = number * (k + 3);
			at += record_bytes(length_of(number));
		}
		stream_commit(&writer.stream, (size_t)(at - start_of_batch), n);
		topic_ring(&writer);
	}
}

static void check(struct seen *seen, const struct record *record)
{
	const uint64_t *payload = (const uint64_t *)(const void *)record->payload;
	uint64_t next = atomic_load(&seen->next);
	bool whole = record->length == length_of(payload[0]);
	for (unsigned k = 1; whole && k < record->length / 8; k++)
		whole = payload[k] == payload[0] * (k + 3);
	if (!whole)
		atomic_fetch_add(&seen->torn, 1);
	else if (payload[0] > next)
		atomic_fetch_add(&seen->lost, payload[0] - next);
	else if (payload[0] < next)
		atomic_fetch_add(&seen->repeated, 1);
	if (whole && payload[0] >= next)
		atomic_store(&seen->next, payload[0] + 1);
}

/* Child, and in the parent with a limit: reads and checks. */
static void read_until(struct fixture *f, uint64_t end_ns)
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
			check(f->seen, record);
		if (batch.corrupt)
			atomic_fetch_add(&f->seen->torn, 1);
		stream_advance(&reader.lane[lane], &batch, n);
	}
	topic_reader_detach(&reader);
}

static void read_for_ever(struct fixture *f, unsigned long unused)
{
	(void)unused;
	read_until(f, UINT64_MAX);
}

static void nothing_is_lost_repeated_or_torn_between_two_processes(void **state)
{
	struct fixture *f = *state;
	pid_t writer = start(write_for_ever, f, draw_seed(11));
	read_until(f, clock_monotonic_ns() + NS_PER_SEC);
	end(writer);
	assert_true(atomic_load(&f->seen->next) > 100000);
	assert_int_equal(atomic_load(&f->seen->lost), 0);
	assert_int_equal(atomic_load(&f->seen->repeated), 0);
	assert_int_equal(atomic_load(&f->seen->torn), 0);
}

static void a_killed_writer_leaves_nothing_half_written(void **state)
{
	struct fixture *f = *state;
	unsigned long random = draw_seed(12);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t writer = start(write_for_ever, f, random);
		read_until(f, clock_monotonic_ns() + 1000000 + draw_next(&random) % 30000000);
		end(writer);
	}
	read_until(f, clock_monotonic_ns() + 20 * NS_PER_MS);
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error), 0);
	assert_true(writer.stream.records > 10000);
	assert_int_equal(atomic_load(&f->seen->next), writer.stream.records);
	assert_int_equal(atomic_load(&f->seen->lost), 0);
	assert_int_equal(atomic_load(&f->seen->repeated), 0);
	assert_int_equal(atomic_load(&f->seen->torn), 0);
	topic_writer_detach(&writer);
}

static void a_killed_reader_loses_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned long random = draw_seed(13);
	pid_t writer = start(write_for_ever, f, random);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t reader = start(read_for_ever, f, 0);
		usleep((useconds_t)(1000 + draw_next(&random) % 30000));
		end(reader);
	}
	end(writer);
	read_until(f, clock_monotonic_ns() + 50 * NS_PER_MS);
	assert_true(atomic_load(&f->seen->next) > 10000);
	/* What a reader had done without moving its cursor comes again (law 2); nothing is
	 * skipped. */
	assert_int_equal(atomic_load(&f->seen->lost), 0);
	assert_int_equal(atomic_load(&f->seen->torn), 0);
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
static void tap_slowly(struct fixture *f, unsigned long seed)
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
			const uint64_t *payload = (const uint64_t *)(const void *)record->payload;
			bool whole = record->length == length_of(payload[0]);
			for (unsigned k = 1; whole && k < record->length / 8; k++)
				whole = payload[k] == payload[0] * (k + 3);
			if (!whole)
				atomic_fetch_add(&f->seen->torn, 1);
			atomic_fetch_add(&f->seen->wakings, 1);
		}
		if (batch.corrupt)
			atomic_fetch_add(&f->seen->torn, 1);
		stream_advance(&reader.lane[0], &batch, n);
		atomic_store(&f->seen->lost, atomic_load(&reader.group->cursor[0].missed_records));
		if (draw_next(&random) % 8 == 0)
			usleep(2000);
	}
}

static void an_overrun_tap_sees_whole_records_only(void **state)
{
	struct fixture *f = *state;
	pid_t tap = start(tap_slowly, f, draw_seed(14));
	pid_t writer = start(write_for_ever, f, 5);
	struct fixture reader = *f;
	struct seen own = {0};
	reader.seen = &own;
	read_until(&reader, clock_monotonic_ns() + NS_PER_SEC);
	end(writer);
	end(tap);
	assert_true(atomic_load(&f->seen->wakings) > 1000);
	assert_true(atomic_load(&f->seen->lost) > 0);
	assert_int_equal(atomic_load(&f->seen->torn), 0);
	assert_int_equal(own.torn + own.lost + own.repeated, 0);
}

static void sleep_and_measure(struct fixture *f, unsigned long unused)
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
		uint64_t i = atomic_load(&f->seen->wakings);
		f->seen->latency_ns[i % WAKINGS] = now_ns - sent_ns;
		stream_advance(&reader.lane[0], &batch, 1);
		atomic_store(&f->seen->wakings, i + 1);
	}
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void a_sleeping_reader_wakes_within_a_millisecond(void **state)
{
	struct fixture *f = *state;
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &f->instance, "t", "w.0", &f->error), 0);
	pid_t reader = start(sleep_and_measure, f, 0);
	usleep(50000);
	for (unsigned i = 0; i < WAKINGS; i++) {
		char *at = stream_reserve(&writer.stream, record_bytes(8));
		uint64_t now_ns = clock_monotonic_ns();
		memcpy(record_put(at, 1, 8), &now_ns, 8);
		stream_commit(&writer.stream, record_bytes(8), 1);
		topic_ring(&writer);
		for (unsigned wait_ms = 0; wait_ms < 2000 && atomic_load(&f->seen->wakings) <= i; wait_ms++)
			usleep(1000);
		assert_int_equal(atomic_load(&f->seen->wakings), i + 1);
		usleep(2000);
	}
	end(reader);
	qsort(f->seen->latency_ns, WAKINGS, sizeof f->seen->latency_ns[0], ascending);
	printf("wake-up: median %lu us, 99th percentile %lu us\n",
	       (unsigned long)f->seen->latency_ns[WAKINGS / 2] / 1000,
	       (unsigned long)f->seen->latency_ns[WAKINGS * 99 / 100] / 1000);
	assert_true(f->seen->latency_ns[WAKINGS / 2] < NS_PER_MS);
	topic_writer_detach(&writer);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
