/* Required groups that join while a writer is at work, lap after lap: what a group may read is
 * never overwritten, the batch it holds does not change, its counts are those of the records it
 * sees, and what it could not have is counted. Processes, two lanes of 1 MiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/numbered.h"

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

static struct faults *faults_of(const struct numbered *f)
{
	return f->shared;
}

static int set_up(void **state)
{
	static const struct test_topic topic = {"t", SIZE, LANES, {"w.0", "w.1"}, NULL};
	return numbered_make(state, &topic, sizeof(struct faults));
}

/* Child: one lane, for ever. */
static void write_steadily(struct numbered *f, unsigned long lane)
{
	struct topic_writer writer;
	unsigned long random = 17 + lane;
	if (topic_writer_attach(&writer, &f->instance, "t", lane == 0 ? "w.0" : "w.1", &f->error) != 0)
		_exit(1);
	for (;;)
		if (!numbered_write(&writer, 1 + (unsigned)(draw_next(&random) % 40)))
			sched_yield();
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
		if (!numbered_is_whole(record)) {
			atomic_fetch_add(&faults->torn, 1);
			continue;
		}
		uint64_t number = numbered_of(record);
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

static void join_once(struct numbered *f, const char *name, enum stream_start from)
{
	struct topic_reader reader;
	struct record_batch batch;
	uint64_t next[LANES] = {UINT64_MAX, UINT64_MAX};
	unsigned lane;
	if (topic_reader_attach(&reader, &f->instance, "t", name, GROUP_REQUIRED, from, &f->error) != 0)
		_exit(1);
	for (unsigned i = 0; i < 6; i++)
		if (topic_peek(&reader, &lane, &batch))
			take_batch(faults_of(f), &reader.lane[lane], &batch, &next[lane]);
	for (lane = 0; lane < LANES; lane++)
		atomic_fetch_add(&faults_of(f)->missed, reader.lane[lane].missed);
	atomic_fetch_add(&faults_of(f)->joins, 1);
	topic_reader_detach(&reader);
	if (topic_group_forget(&f->instance, "t", name, &f->error) != 0)
		_exit(1);
}

static void join_often(struct numbered *f, unsigned long seed)
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
	struct numbered *f = *state;
	pid_t writer[LANES];
	for (unsigned i = 0; i < LANES; i++)
		writer[i] = numbered_start(write_steadily, f, i);
	pid_t first = numbered_start(join_often, f, draw_seed(21)),
	      second = numbered_start(join_often, f, 22);
	wait_for(first);
	wait_for(second);
	for (unsigned i = 0; i < LANES; i++)
		numbered_end(writer[i]);
	assert_int_equal(atomic_load(&faults_of(f)->joins), JOINS);
	assert_true(atomic_load(&faults_of(f)->read) > 1000);
	expect_no_faults(faults_of(f));
}

/* The same while writers are killed and go on: what a life was permitted is still permitted to the
 * next, and no more. */
static void writers_that_are_killed_while_groups_join_overrun_nobody(void **state)
{
	struct numbered *f = *state;
	unsigned long random = draw_seed(23);
	pid_t joiner = numbered_start(join_often, f, 24);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t writer[LANES];
		for (unsigned k = 0; k < LANES; k++)
			writer[k] = numbered_start(write_steadily, f, k);
		usleep((useconds_t)(500 + draw_next(&random) % 20000));
		for (unsigned k = 0; k < LANES; k++)
			numbered_end(writer[k]);
	}
	numbered_end(joiner);
	expect_no_faults(faults_of(f));
}

/* Child: one group, taken up again and again; whoever kills it may do so while it joins. */
static void read_on(struct numbered *f, unsigned long unused)
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
			if (!numbered_is_whole(record))
				atomic_fetch_add(&faults_of(f)->torn, 1);
			else if (numbered_of(record) != reader.lane[lane].records + n)
				atomic_fetch_add(&faults_of(f)->misnumbered, 1);
		}
		if (batch.corrupt)
			atomic_fetch_add(&faults_of(f)->torn, 1);
		atomic_fetch_add(&faults_of(f)->read, n);
		stream_advance(&reader.lane[lane], &batch, n);
	}
}

static void joiners_that_are_killed_go_on_with_whole_records(void **state)
{
	struct numbered *f = *state;
	unsigned long random = draw_seed(25);
	pid_t writer[LANES];
	for (unsigned i = 0; i < LANES; i++)
		writer[i] = numbered_start(write_steadily, f, i);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t reader = numbered_start(read_on, f, 0);
		usleep((useconds_t)(draw_next(&random) % 4000));
		numbered_end(reader);
		if (i % 4 == 3)
			(void)topic_group_forget(&f->instance, "t", "steady", &f->error);
	}
	for (unsigned i = 0; i < LANES; i++)
		numbered_end(writer[i]);
	assert_int_equal(atomic_load(&faults_of(f)->torn), 0);
	assert_int_equal(atomic_load(&faults_of(f)->misnumbered), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, numbered_tear_down)
	const struct CMUnitTest tests[] = {
	        T(groups_that_join_a_steady_writer_lose_nothing),
	        T(writers_that_are_killed_while_groups_join_overrun_nobody),
	        T(joiners_that_are_killed_go_on_with_whole_records),
	};
	alarm(120);
	return cmocka_run_group_tests_name("groups that join", tests, NULL, NULL);
}
