/* libmillrace as an outside program uses it, on an instance made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/millrace.h"
#include "tests/instance_place.h"

#define SIZE (1u << 18)

struct fixture {
	struct place place;
	struct millrace *millrace;
};

static int set_up(void **state)
{
	/* "mine" has two lanes for outside programs, "stage" one that belongs to a role */
	static const struct test_topic topics[] = {{"mine", SIZE, 2, {"", ""}, NULL},
	                                           {"stage", SIZE, 1, {"w.0"}, NULL}};
	struct fixture *f = calloc(1, sizeof *f);
	struct shm_error error;
	char why[256];
	*state = f;
	if (place_make(&f->place) != 0 || instance_make(f->place.directory, topics, 2, &error) != 0)
		return -1;
	setenv("MILLRACE_INSTANCE", "test", 1);
	f->millrace = millrace_attach(NULL, why, sizeof why);
	return f->millrace == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	millrace_detach(f->millrace);
	place_remove(&f->place);
	free(f);
	return 0;
}

static unsigned take_all(struct millrace_reader *reader, uint64_t *last)
{
	unsigned n = 0;
	while (millrace_peek(reader, 0) > 0) {
		struct millrace_record record;
		while (millrace_next(reader, &record)) {
			assert_int_equal(record.length, 8);
			memcpy(last, record.data, 8);
			n++;
		}
		millrace_advance(reader);
	}
	return n;
}

static void what_one_program_writes_another_reads(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	assert_non_null(writer);
	assert_non_null(reader);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(millrace_append(writer, 256, &i, sizeof i, 0), 0);
	assert_int_equal(millrace_peek(reader, 0), 0); /* not committed yet */
	millrace_commit(writer);
	assert_int_equal(millrace_waiting(reader), 1000);
	assert_int_equal(take_all(reader, &last), 1000);
	assert_int_equal(last, 1000);
	assert_int_equal(millrace_missed(reader), 0);
	millrace_read_end(reader);
	millrace_write_end(writer);
}

static void what_was_not_advanced_comes_again(void **state)
{
	struct fixture *f = *state;
	struct millrace_record record;
	uint64_t last = 0, number;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	for (uint64_t i = 1; i <= 10; i++)
		millrace_append(writer, 256, &i, sizeof i, 0);
	millrace_commit(writer);
	assert_int_equal(millrace_peek(reader, 0), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(millrace_next(reader, &record), 1);
	millrace_advance(reader); /* passes 3 of the batch */
	assert_int_equal(millrace_peek(reader, 0), 1);
	assert_int_equal(millrace_next(reader, &record), 1);
	memcpy(&number, record.data, 8);
	assert_int_equal(number, 4);
	millrace_read_end(reader); /* without advance */
	reader = millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	assert_int_equal(take_all(reader, &last), 7);
	assert_int_equal(last, 10);
	millrace_read_end(reader);
	millrace_write_end(writer);
}

static void a_full_lane_says_so_and_is_accounted_for(void **state)
{
	struct fixture *f = *state;
	static char data[1000];
	unsigned taken = 0;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	while (millrace_append(writer, 256, data, sizeof data, 0) == 0)
		taken++;
	assert_in_range(taken, SIZE / 1016, SIZE / 1000);
	assert_non_null(strstr(millrace_error(f->millrace), "full"));
	assert_int_equal(millrace_append(writer, 256, data, SIZE / 2, 0), -EMSGSIZE);
	millrace_read_end(reader);
	assert_int_equal(millrace_forget(f->millrace, "mine", "g"), 0);
	assert_int_equal(millrace_append(writer, 256, data, sizeof data, 0), 0);
	millrace_write_end(writer);

	struct instance instance;
	struct topic_writer lane;
	struct shm_error error;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_writer_attach_outside(&lane, &instance, "mine", &error), 0);
	struct ledger *ledger = &lane.stream.shared->ledger;
	assert_int_equal(atomic_load(&ledger->dropped), 1);
	assert_int_equal(atomic_load(&ledger->received), atomic_load(&ledger->dropped) + lane.stream.records);
	topic_writer_detach(&lane);
	instance_detach(&instance);
}

static void each_program_has_a_lane_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct millrace_writer *first = millrace_write(f->millrace, "mine");
	struct millrace_writer *second = millrace_write(f->millrace, "mine");
	assert_non_null(first);
	assert_non_null(second);
	assert_null(millrace_write(f->millrace, "mine"));
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(millrace_error(f->millrace), "outside_lanes"));
	assert_null(millrace_write(f->millrace, "stage"));
	assert_null(millrace_write(f->millrace, "absent"));
	assert_int_equal(errno, ENOENT);
	millrace_write_end(first);
	first = millrace_write(f->millrace, "mine");
	assert_non_null(first);
	millrace_write_end(first);
	millrace_write_end(second);
}

static void a_killed_writer_frees_its_lane_and_keeps_what_it_committed(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0;
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	for (unsigned life = 0; life < 5; life++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct millrace *own = millrace_attach(NULL, NULL, 0);
			struct millrace_writer *writer = own == NULL ? NULL : millrace_write(own, "mine");
			if (writer == NULL)
				_exit(1);
			for (uint64_t i = 0; i < 20; i++) {
				millrace_append(writer, 256, &i, sizeof i, 0);
				if (i == 9)
					millrace_commit(writer);
			}
			raise(SIGKILL);
		}
		int status;
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
	}
	assert_int_equal(take_all(reader, &last), 50);
	assert_int_equal(last, 9);
	millrace_read_end(reader);
}

/* ---- the end, as writers see it ---- */

static struct instance_page *page_of(struct instance *instance)
{
	struct shm_error error;
	assert_int_equal(instance_attach(instance, "test", SEGMENT_WRITE, &error), 0);
	return instance->page_segment.body;
}

static void a_writer_learns_of_a_drain_at_its_next_record_and_commits_what_it_has(void **state)
{
	struct fixture *f = *state;
	struct instance instance;
	uint64_t last = 0, number = 1;
	struct instance_page *page = page_of(&instance);
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 0), 0);
	atomic_store(&page->draining, 1);
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 1000), -EPIPE);
	assert_non_null(strstr(millrace_error(f->millrace), "ended"));
	assert_int_equal(millrace_commit(writer), 0);
	assert_int_equal(take_all(reader, &last), 1);
	assert_null(millrace_write(f->millrace, "mine"));
	assert_int_equal(errno, EPIPE);
	millrace_write_end(writer);
	millrace_read_end(reader);
	instance_detach(&instance);
}

static void a_writer_learns_that_its_page_was_replaced(void **state)
{
	struct fixture *f = *state;
	struct instance instance;
	uint64_t number = 1;
	struct instance_page *page = page_of(&instance);
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 0), 0);
	atomic_store(&page->replaced, 1);
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 0), -ESTALE);
	assert_int_equal(millrace_commit(writer), 0); /* the page in place has not ended */
	millrace_write_end(writer);
	instance_detach(&instance);
}

static void a_writer_that_waits_for_room_does_not_outwait_the_instance(void **state)
{
	struct fixture *f = *state;
	static char data[1000];
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	while (millrace_append(writer, 256, data, sizeof data, 0) == 0)
		;
	pid_t pid = fork();
	if (pid == 0) {
		struct instance instance;
		struct shm_error error;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		if (instance_attach(&instance, "test", SEGMENT_WRITE, &error) != 0)
			_exit(1);
		atomic_store(&((struct instance_page *)instance.page_segment.body)->draining, 1);
		_exit(0);
	}
	assert_int_equal(millrace_append(writer, 256, data, sizeof data, 50000), -EPIPE);
	int status;
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	millrace_write_end(writer);
	millrace_read_end(reader);
}

static void a_writer_notices_that_the_folder_is_gone(void **state)
{
	struct fixture *f = *state;
	uint64_t number = 1;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	place_clear(f->place.directory);
	nanosleep(&(struct timespec){.tv_nsec = 110000000}, NULL);
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 0), 0);
	assert_int_equal(millrace_commit(writer), -EPIPE);
	millrace_write_end(writer);
}

/* What the supervisor does at the end: `ended`, a fence, a look at what waits. What a commit said is taken must be seen by that look. */
static void what_a_commit_says_is_taken_the_last_look_sees(void **state)
{
	struct fixture *f = *state;
	struct instance instance;
	uint64_t seed = test_seed(9), written = 0;
	struct instance_page *page = page_of(&instance);
	_Atomic uint64_t *taken = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct segment lane = {0};
	struct shm_error error;
	assert_true(taken != MAP_FAILED);
	assert_int_equal(
	        segment_attach(&lane, f->place.directory, "mine.lane.0", SEGMENT_LANE, SEGMENT_READ, &error),
	        0);
	const struct stream_shared *shared = lane.body;
	for (unsigned round = 0; round < 100; round++) {
		atomic_store(&page->ended, 0);
		atomic_store(taken, atomic_load(&shared->records));
		pid_t pid = fork();
		if (pid == 0) {
			struct millrace *own = millrace_attach(NULL, NULL, 0);
			struct millrace_writer *writer = own == NULL ? NULL : millrace_write(own, "mine");
			while (writer != NULL && millrace_append(writer, 256, &round, sizeof round, 0) == 0 &&
			       millrace_commit(writer) == 0)
				atomic_fetch_add(taken, 1);
			_exit(0);
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000 + (long)(test_random(&seed) % 2000000)},
		          NULL);
		atomic_store_explicit(&page->ended, 1, memory_order_release);
		atomic_thread_fence(memory_order_seq_cst);
		uint64_t seen = atomic_load(&shared->records);
		waitpid(pid, NULL, 0);
		assert_true(atomic_load(taken) <= seen);
		written += seen;
	}
	assert_true(written > 100); /* it was not always before the first record */
	segment_detach(&lane);
	munmap((void *)taken, 4096);
	instance_detach(&instance);
}

static void absent_instances_are_explained(void **state)
{
	(void)state;
	char why[256];
	assert_null(millrace_attach("absent", why, sizeof why));
	assert_non_null(strstr(why, "not running"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(what_one_program_writes_another_reads),
	        T(what_was_not_advanced_comes_again),
	        T(a_full_lane_says_so_and_is_accounted_for),
	        T(each_program_has_a_lane_of_its_own),
	        T(a_killed_writer_frees_its_lane_and_keeps_what_it_committed),
	        T(a_writer_learns_of_a_drain_at_its_next_record_and_commits_what_it_has),
	        T(a_writer_learns_that_its_page_was_replaced),
	        T(a_writer_that_waits_for_room_does_not_outwait_the_instance),
	        T(a_writer_notices_that_the_folder_is_gone),
	        T(what_a_commit_says_is_taken_the_last_look_sees),
	        T(absent_instances_are_explained),
	};
	alarm(60);
	return cmocka_run_group_tests_name("libmillrace", tests, NULL, NULL);
}
