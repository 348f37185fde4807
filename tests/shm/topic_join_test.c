/* Required groups that join while a writer is at work, lap after lap: what a group may read is
 * never overwritten, the batch it holds does not change, its counts are those of the records it
 * sees, and what it could not have is counted. Processes, two lanes of 1 MiB; a record carries its
 * number in the lane and a pattern made from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define SIZE  (1u << 20)
#define LANES 2u
#define JOINS 120u
#define KILLS 60u

/* What the joiners found wrong, shared with the children. */
struct faults {
	_Atomic uint64_t lost;        /* records between two that a group saw */
	_Atomic uint64_t repeated;    /* seen by a group that had passed them */
	_Atomic uint64_t torn;        /* not what a writer writes */
	_Atomic uint64_t changed;     /* under the hands of the reader that held them */
	_Atomic uint64_t misnumbered; /* whose number is not the one that the cursor says */
	_Atomic uint64_t missed;      /* that the cursor admits to have missed */
	_Atomic uint64_t joins, read;
	_Atomic uint64_t next[LANES]; /* number that the group comes to next; for lives of one group */
};

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct faults *faults;
	struct shm_error error;
};

static int set_up(void **state)
{
	static const struct test_topic topics[] = {{"t", SIZE, LANES, {"w.0", "w.1"}, NULL}};
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	f->faults = mmap(NULL, sizeof *f->faults, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->faults == MAP_FAILED || sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, topics, 1, &f->error) != 0)
		return -1;
	return instance_attach(&f->instance, "test", SEGMENT_READ, &f->error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	munmap(f->faults, sizeof *f->faults);
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

static bool write_batch(struct topic_writer *writer, unsigned n)
{
	char *first = stream_reserve(&writer->stream, n * record_bytes(136));
	if (first == NULL)
		return false;
	char *at = first;
	for (unsigned i = 0; i < n; i++) {
		uint64_t number = writer->stream.records + i;
		uint64_t *payload = record_put(at, 1, length_of(number));
		payload[0] = number;
		for (unsigned k = 1; k < length_of(number) / 8; k++)
			payload[k] = number * (k + 3);
		at += record_bytes(length_of(number));
	}
	stream_commit(&writer->stream, (size_t)(at - first), n);
	topic_ring(writer);
	return true;
}

/* Child: one lane, for ever. */
static void write_steadily(struct fixture *f, unsigned long lane)
{
	struct topic_writer writer;
	unsigned long random = 17 + lane;
	if (topic_writer_attach(&writer, &f->instance, "t", lane == 0 ? "w.0" : "w.1", &f->error) != 0)
		_exit(1);
	for (;;)
		if (!write_batch(&writer, 1 + (unsigned)(draw_next(&random) % 40)))
			sched_yield();
}

static bool is_whole(const struct record *record)
{
	const uint64_t *payload = (const uint64_t *)(const void *)record->payload;
	if (record->length < 16 || record->length > 136 || record->length != length_of(payload[0]))
		return false;
	for (unsigned k = 1; k < record->length / 8; k++)
		if (payload[k] != payload[0] * (k + 3))
			return false;
	return true;
}

static uint64_t number_of(const struct record *record)
{
	uint64_t number;
	memcpy(&number, record->payload, sizeof number);
	return number;
}

static uint64_t sum_of(struct record_batch batch)
{
	uint64_t sum = 0;
	for (const char *at = batch.at; at < batch.end; at += 8) {
		uint64_t word;
		memcpy(&word, at, sizeof word);
		sum = sum * 31 + word;
	}
	return sum;
}

/* Deals with one batch that is held for a while: it must be the same at the end of it. */
static void take_batch(struct faults *faults, struct stream_reader *lane, struct record_batch *batch,
                       uint64_t *next)
{
	uint64_t n = 0, before = sum_of(*batch);
	struct record_batch held = *batch;
	usleep(300);
	for (const struct record *record; (record = record_next(batch)) != NULL; n++) {
		if (!is_whole(record)) {
			atomic_fetch_add(&faults->torn, 1);
			continue;
		}
		uint64_t number = number_of(record);
		if (number != lane->records + n)
			atomic_fetch_add(&faults->misnumbered, 1);
		if (*next != UINT64_MAX && number > *next)
			atomic_fetch_add(&faults->lost, number - *next);
		if (*next != UINT64_MAX && number < *next)
			atomic_fetch_add(&faults->repeated, 1);
		*next = number + 1;
	}
	if (batch->corrupt)
		atomic_fetch_add(&faults->torn, 1);
	if (sum_of(held) != before)
		atomic_fetch_add(&faults->changed, 1);
	stream_advance(lane, batch, n);
	atomic_fetch_add(&faults->read, n);
}

static void join_once(struct fixture *f, const char *name, enum stream_start from)
{
	struct topic_reader reader;
	struct record_batch batch;
	uint64_t next[LANES] = {UINT64_MAX, UINT64_MAX};
	unsigned lane;
	if (topic_reader_attach(&reader, &f->instance, "t", name, GROUP_REQUIRED, from, &f->error) != 0)
		_exit(1);
	for (unsigned i = 0; i < 6; i++)
		if (topic_peek(&reader, &lane, &batch))
			take_batch(f->faults, &reader.lane[lane], &batch, &next[lane]);
	for (lane = 0; lane < LANES; lane++)
		atomic_fetch_add(&f->faults->missed, reader.lane[lane].missed);
	atomic_fetch_add(&f->faults->joins, 1);
	topic_reader_detach(&reader);
	if (topic_group_forget(&f->instance, "t", name, &f->error) != 0)
		_exit(1);
}

static void join_often(struct fixture *f, unsigned long seed)
{
	char name[SHM_NAME_MAX];
	unsigned long random = seed;
	snprintf(name, sizeof name, "joiner.%lu", seed);
	for (unsigned i = 0; i < JOINS / 2; i++) {
		join_once(f, name, draw_next(&random) % 3 == 0 ? STREAM_FROM_TAIL : STREAM_FROM_OLDEST);
		usleep((useconds_t)(draw_next(&random) % 2000));
	}
}

static void expect_no_faults(const struct faults *faults)
{
	assert_int_equal(atomic_load(&faults->torn), 0);
	assert_int_equal(atomic_load(&faults->changed), 0);
	assert_int_equal(atomic_load(&faults->lost), 0);
	assert_int_equal(atomic_load(&faults->repeated), 0);
	assert_int_equal(atomic_load(&faults->misnumbered), 0);
	assert_int_equal(atomic_load(&faults->missed), 0);
}

static void wait_for(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void groups_that_join_a_steady_writer_lose_nothing(void **state)
{
	struct fixture *f = *state;
	pid_t writer[LANES];
	for (unsigned i = 0; i < LANES; i++)
		writer[i] = start(write_steadily, f, i);
	pid_t first = start(join_often, f, draw_seed(21)), second = start(join_often, f, 22);
	wait_for(first);
	wait_for(second);
	for (unsigned i = 0; i < LANES; i++)
		end(writer[i]);
	assert_int_equal(atomic_load(&f->faults->joins), JOINS);
	assert_true(atomic_load(&f->faults->read) > 1000);
	expect_no_faults(f->faults);
}

/* The same while writers are killed and go on: what a life was permitted is still permitted to the
 * next, and no more. */
static void writers_that_are_killed_while_groups_join_overrun_nobody(void **state)
{
	struct fixture *f = *state;
	unsigned long random = draw_seed(23);
	pid_t joiner = start(join_often, f, 24);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t writer[LANES];
		for (unsigned k = 0; k < LANES; k++)
			writer[k] = start(write_steadily, f, k);
		usleep((useconds_t)(500 + draw_next(&random) % 20000));
		for (unsigned k = 0; k < LANES; k++)
			end(writer[k]);
	}
	end(joiner);
	expect_no_faults(f->faults);
}

/* Child: one group, taken up again and again; whoever kills it may do so while it joins. */
static void read_on(struct fixture *f, unsigned long unused)
{
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	(void)unused;
	if (topic_reader_attach(&reader, &f->instance, "t", "steady", GROUP_REQUIRED, STREAM_FROM_OLDEST,
	                        &f->error) != 0)
		_exit(1);
	for (;;) {
		if (!topic_peek(&reader, &lane, &batch))
			continue;
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++) {
			if (!is_whole(record))
				atomic_fetch_add(&f->faults->torn, 1);
			else if (number_of(record) != reader.lane[lane].records + n)
				atomic_fetch_add(&f->faults->misnumbered, 1);
		}
		if (batch.corrupt)
			atomic_fetch_add(&f->faults->torn, 1);
		atomic_fetch_add(&f->faults->read, n);
		stream_advance(&reader.lane[lane], &batch, n);
	}
}

static void joiners_that_are_killed_go_on_with_whole_records(void **state)
{
	struct fixture *f = *state;
	unsigned long random = draw_seed(25);
	pid_t writer[LANES];
	for (unsigned i = 0; i < LANES; i++)
		writer[i] = start(write_steadily, f, i);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t reader = start(read_on, f, 0);
		usleep((useconds_t)(draw_next(&random) % 4000));
		end(reader);
		if (i % 4 == 3)
			(void)topic_group_forget(&f->instance, "t", "steady", &f->error);
	}
	for (unsigned i = 0; i < LANES; i++)
		end(writer[i]);
	assert_int_equal(atomic_load(&f->faults->torn), 0);
	assert_int_equal(atomic_load(&f->faults->misnumbered), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(groups_that_join_a_steady_writer_lose_nothing),
	        T(writers_that_are_killed_while_groups_join_overrun_nobody),
	        T(joiners_that_are_killed_go_on_with_whole_records),
	};
	alarm(120);
	return cmocka_run_group_tests_name("groups that join", tests, NULL, NULL);
}
