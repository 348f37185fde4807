/* libmillrace as an outside program uses it, on an instance made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/millrace.h"
#include "event/event.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define SIZE (1u << 18)

struct fixture {
	struct sandbox sandbox;
	struct millrace *millrace;
	int supervised; /* the lock that a supervisor would hold */
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
	if (sandbox_make(&f->sandbox) != 0 || instance_make(f->sandbox.directory, topics, 2, &error) != 0)
		return -1;
	setenv("MILLRACE_INSTANCE", "test", 1);
	f->supervised = instance_hold(f->sandbox.directory, "lock");
	if (f->supervised < 0)
		return -1;
	f->millrace = millrace_attach(NULL, why, sizeof why);
	return f->millrace == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	millrace_detach(f->millrace);
	if (f->supervised >= 0)
		close(f->supervised);
	sandbox_remove(&f->sandbox);
	free(f);
	return 0;
}

static unsigned take_all(struct millrace_reader *reader, uint64_t *last)
{
	unsigned n = 0;
	while (millrace_peek(reader, 0) > 0) {
		const struct millrace_record *record;
		while ((record = millrace_next(reader)) != NULL) {
			assert_int_equal(record->length, 8);
			memcpy(last, record->data, 8);
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

static struct millrace_reader *read_group(struct fixture *f, const char *group, enum millrace_kind kind)
{
	errno = 0;
	return millrace_read(f->millrace, "mine", group, kind, MILLRACE_FROM_OLDEST);
}

/* Nobody would ever take it back, and it would hold back the next run. */
static void no_required_group_is_made_while_the_instance_is_down_or_ends(void **state)
{
	struct fixture *f = *state;
	struct segment page = {0};
	struct shm_error error;
	struct millrace_reader *reader = read_group(f, "old", MILLRACE_REQUIRED);
	assert_non_null(reader);
	millrace_read_end(reader);
	for (unsigned down = 0; down < 2; down++) {
		if (down) {
			close(f->supervised);
			f->supervised = -1;
		} else {
			assert_int_equal(segment_attach(&page, f->sandbox.directory, "instance",
			                                SEGMENT_INSTANCE, SEGMENT_WRITE, &error),
			                 0);
			atomic_store(&((struct instance_page *)page.body)->draining, 1);
		}
		assert_null(read_group(f, "new", MILLRACE_REQUIRED));
		assert_int_equal(errno, EPIPE);
		assert_non_null(strstr(millrace_error(f->millrace), down ? "is down" : "is ending"));
		assert_int_equal(millrace_forget(f->millrace, "mine", "new"), -ENOENT);
		reader = read_group(f, "old", MILLRACE_REQUIRED);
		assert_non_null(reader); /* what waits for it is its own */
		millrace_read_end(reader);
		reader = read_group(f, "tap", MILLRACE_OPTIONAL);
		assert_non_null(reader); /* holds nobody back, and goes with its reader */
		millrace_read_end(reader);
		assert_null(
		        millrace_read(f->millrace, "nowhere", "new", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL));
		assert_int_equal(errno, ENOENT);
		atomic_store(&((struct instance_page *)page.body)->draining, 0);
	}
	segment_detach(&page);
}

/* Another process can write the header in the lane at any time; what counts is what
 * millrace_next found there. */
static void the_json_of_a_record_has_the_length_that_was_checked(void **state)
{
	struct fixture *f = *state;
	char text[512];
	alignas(struct record) char changed[sizeof(struct record) + 8];
	*(struct record *)(void *)changed = (struct record){.length = 1u << 30, .type = EVENT_RAW};
	memcpy(changed + sizeof(struct record), "abcdefgh", 8);
	struct millrace_record record = {.data = changed + sizeof(struct record), .length = 8, .type = 256};
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	assert_non_null(reader);
	assert_true(millrace_json(reader, &record, text, sizeof text) > 0);
	assert_non_null(strstr(text, "\"length\":8,\"data\":\"abcdefgh\""));
	assert_non_null(strstr(text, "\"record_type\":256"));
	millrace_read_end(reader);
}

static void what_was_not_advanced_comes_again(void **state)
{
	struct fixture *f = *state;
	const struct millrace_record *record;
	uint64_t last = 0, number;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	for (uint64_t i = 1; i <= 10; i++)
		millrace_append(writer, 256, &i, sizeof i, 0);
	millrace_commit(writer);
	assert_int_equal(millrace_peek(reader, 0), 1);
	for (int i = 0; i < 3; i++)
		assert_non_null(millrace_next(reader));
	millrace_advance(reader); /* passes 3 of the batch */
	assert_int_equal(millrace_peek(reader, 0), 1);
	record = millrace_next(reader);
	assert_non_null(record);
	memcpy(&number, record->data, 8);
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
	assert_non_null(strstr(millrace_writer_error(writer), "full"));
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
	assert_non_null(strstr(millrace_writer_error(writer), "ended"));
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
	tree_remove(f->sandbox.directory);
	nanosleep(&(struct timespec){.tv_nsec = 110000000}, NULL);
	assert_int_equal(millrace_append(writer, 256, &number, sizeof number, 0), 0);
	assert_int_equal(millrace_commit(writer), -EPIPE);
	millrace_write_end(writer);
}

/* What the supervisor does at the end: `ended`, a fence, a look at what waits. What a commit said
 * is taken must be seen by that look. */
static void what_a_commit_says_is_taken_the_last_look_sees(void **state)
{
	struct fixture *f = *state;
	struct instance instance;
	uint64_t seed = draw_seed(9), written = 0;
	struct instance_page *page = page_of(&instance);
	_Atomic uint64_t *taken = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct segment lane = {0};
	struct shm_error error;
	assert_true(taken != MAP_FAILED);
	assert_int_equal(segment_attach(&lane, f->sandbox.directory, "mine.lane.0", SEGMENT_LANE,
	                                SEGMENT_READ, &error),
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
		nanosleep(&(struct timespec){.tv_nsec = 1000000 + (long)(draw_next(&seed) % 2000000)}, NULL);
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

static void ignore_signal(int number)
{
	(void)number;
}

static void copy_file(const char *from, const char *to)
{
	char bytes[4096];
	size_t n;
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	assert_true(in != NULL && out != NULL);
	while ((n = fread(bytes, 1, sizeof bytes, in)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

/* ---- moving a group ---- */

static void write_numbers(struct millrace_writer *writer, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		assert_int_equal(millrace_append(writer, 256, &i, sizeof i, 0), 0);
		if (i % 100 == 99)
			assert_int_equal(millrace_commit(writer), 0);
	}
	assert_int_equal(millrace_commit(writer), 0);
}

static uint64_t next_number(struct millrace_reader *reader)
{
	uint64_t number = UINT64_MAX;
	if (millrace_peek(reader, 0) == 1)
		memcpy(&number, millrace_next(reader)->data, sizeof number);
	return number;
}

static void a_group_goes_to_either_end_and_to_a_record(enum millrace_kind kind, struct fixture *f)
{
	char id[96], text[256];
	uint64_t last = 0;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader = millrace_read(f->millrace, "mine", "g", kind, MILLRACE_FROM_TAIL);
	write_numbers(writer, 0, 5000); /* 80,000 bytes of 262,144 */
	assert_int_equal(millrace_seek_oldest(reader), 0);
	for (uint64_t i = 0; i < 1234; i++)
		assert_int_equal(next_number(reader), i), millrace_advance(reader);
	assert_int_equal(millrace_peek(reader, 0), 1);
	const struct millrace_record *record = millrace_next(reader);
	assert_true(millrace_id(reader, record, id, sizeof id) > 0);
	assert_true(millrace_json(reader, record, text, sizeof text) > 0);
	assert_non_null(strstr(text, id));
	assert_int_equal(millrace_id(reader, record, id, 10), -ENOSPC);
	millrace_id(reader, record, id, sizeof id);

	assert_int_equal(millrace_seek_tail(reader), 0);
	assert_int_equal(millrace_waiting(reader), 0);
	write_numbers(writer, 5000, 5010);
	assert_int_equal(next_number(reader), 5000);
	assert_int_equal(millrace_seek_id(reader, id), 0);
	assert_int_equal(millrace_waiting(reader), 5010 - 1234);
	assert_int_equal(next_number(reader), 1234);
	assert_int_equal(take_all(reader, &last), 5010 - 1234);
	assert_int_equal(last, 5009);
	assert_int_equal(millrace_missed(reader), 0);
	millrace_read_end(reader);
	millrace_write_end(writer);
}

static void a_required_group_goes_to_either_end_and_to_a_record(void **state)
{
	a_group_goes_to_either_end_and_to_a_record(MILLRACE_REQUIRED, *state);
}

static void an_optional_group_goes_to_either_end_and_to_a_record(void **state)
{
	a_group_goes_to_either_end_and_to_a_record(MILLRACE_OPTIONAL, *state);
}

static void what_cannot_be_sought_moves_nothing(void **state)
{
	struct fixture *f = *state;
	char id[96], other[128];
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_OLDEST);
	write_numbers(writer, 0, 2000);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(next_number(reader), i), millrace_advance(reader);
	assert_int_equal(millrace_peek(reader, 0), 1);
	millrace_id(reader, millrace_next(reader), id, sizeof id);
	static const char *const wrong[] = {"", "1", "0000000000000000-mine-0-0", "x-mine-0-0"};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_int_equal(millrace_seek_id(reader, wrong[i]), -EINVAL);
	snprintf(other, sizeof other, "%.16s-mine-9-0", id);
	assert_int_equal(millrace_seek_id(reader, other), -EINVAL);
	snprintf(other, sizeof other, "%.16s-mine-0-0x", id);
	assert_int_equal(millrace_seek_id(reader, other), -EINVAL);
	snprintf(other, sizeof other, "%.16s-mine-0-99999999", id);
	assert_int_equal(millrace_seek_id(reader, other), -ERANGE);
	snprintf(other, sizeof other, "%.16s-mine-0-8", id);
	assert_int_equal(millrace_seek_id(reader, other), -EBADMSG);
	assert_int_equal(millrace_seek_time(reader, 0), -ENODATA);
	assert_non_null(strstr(millrace_reader_error(reader), "time"));
	assert_int_equal(next_number(reader), 1000);
	assert_int_equal(millrace_waiting(reader), 1000);
	millrace_read_end(reader);
	millrace_write_end(writer);
}

/* Records of millrace's own begin with their arrival. */
static void a_group_goes_to_a_time(void **state)
{
	struct fixture *f = *state;
	static const enum millrace_kind kinds[] = {MILLRACE_REQUIRED, MILLRACE_OPTIONAL};
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t event[8] = {(1000 + i) * 1000000};
		assert_int_equal(millrace_append(writer, EVENT_IP, event, sizeof event, 0), 0);
		if (i % 50 == 49)
			millrace_commit(writer);
	}
	for (unsigned k = 0; k < 2; k++) {
		struct millrace_reader *reader =
		        millrace_read(f->millrace, "mine", k == 0 ? "r" : "o", kinds[k], MILLRACE_FROM_TAIL);
		static const uint64_t times[] = {0, 1000, 1001, 1999, 2500, 2999};
		for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
			assert_int_equal(millrace_seek_time(reader, times[i]), 0);
			assert_int_equal(next_number(reader), (times[i] < 1000 ? 1000 : times[i]) * 1000000);
		}
		assert_int_equal(millrace_seek_time(reader, 3000), 0);
		assert_int_equal(millrace_peek(reader, 0), 0);
		millrace_read_end(reader);
	}
	millrace_write_end(writer);
}

/* A writer at full speed in another process; a required group that jumps about never sees what the
 * writer has overwritten. */
static void seeking_back_under_a_writer_at_work_tears_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = draw_seed(5), sought = 0;
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	pid_t pid = fork();
	if (pid == 0) {
		struct millrace *own = millrace_attach(NULL, NULL, 0);
		struct millrace_writer *writer = millrace_write(own, "mine");
		for (uint64_t i = 0; writer != NULL; i++) {
			uint64_t pattern[4] = {i, i * 3, i * 5, i * 7};
			if (millrace_append(writer, 256, pattern, sizeof pattern, 5000) != 0)
				break;
			if (i % 20 == 0)
				millrace_commit(writer);
		}
		_exit(1);
	}
	struct timespec begun, now;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		uint64_t expected = 0, n = 0;
		if (draw_next(&seed) % 4 == 0)
			sought += millrace_seek_oldest(reader) == 0;
		while (n < 300 && millrace_peek(reader, 100) == 1) {
			const struct millrace_record *record;
			while ((record = millrace_next(reader)) != NULL) {
				uint64_t got[4];
				memcpy(got, record->data, sizeof got);
				assert_int_equal(record->length, sizeof got);
				assert_true(got[1] == got[0] * 3 && got[2] == got[0] * 5 &&
				            got[3] == got[0] * 7);
				assert_true(expected == 0 || got[0] == expected);
				expected = got[0] + 1;
				n++;
			}
			millrace_advance(reader);
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - begun.tv_sec < 2);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(sought > 10);
	assert_int_equal(millrace_missed(reader), 0);
	millrace_read_end(reader);
}

/* ---- descriptors, several readers, threads ---- */

static int readable(int fd, int timeout_ms)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	return poll(&polled, 1, timeout_ms);
}

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void a_descriptor_becomes_readable_when_records_come(void **state)
{
	struct fixture *f = *state;
	uint64_t took[51], number = 1, last;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	int fd = millrace_fd(reader);
	assert_true(fd >= 0);
	assert_int_equal(millrace_fd(reader), fd);
	assert_int_equal(readable(fd, 0), 1); /* nobody has looked yet */
	for (unsigned i = 0; i < 51; i++) {
		assert_int_equal(millrace_peek(reader, 0), 0);
		assert_int_equal(readable(fd, 2), 0);
		millrace_append(writer, 256, &number, sizeof number, 0);
		uint64_t begun = now_us();
		millrace_commit(writer);
		assert_int_equal(readable(fd, 5000), 1);
		took[i] = now_us() - begun;
		assert_int_equal(take_all(reader, &last), 1);
	}
	qsort(took, 51, sizeof took[0], compare);
	print_message("woken after %llu us (median)\n", (unsigned long long)took[25]);
	assert_true(took[25] < 1000);
	millrace_read_end(reader);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it went with the reader */
	millrace_write_end(writer);
}

static void the_first_of_several_readers_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	uint64_t number = 1;
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader[2] = {
	        millrace_read(f->millrace, "stage", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL),
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL),
	};
	assert_int_equal(millrace_wait(reader, 0, 0), -EINVAL);
	assert_int_equal(millrace_wait(reader, 2, 0), 0);
	assert_int_equal(millrace_wait(reader, 2, 20), 0);
	millrace_append(writer, 256, &number, sizeof number, 0);
	millrace_commit(writer);
	assert_int_equal(millrace_wait(reader, 2, -1), 1);
	assert_int_equal(millrace_peek(reader[0], 0), 0);
	assert_int_equal(millrace_peek(reader[1], 0), 1);
	assert_non_null(millrace_next(reader[1]));
	millrace_advance(reader[1]);
	assert_int_equal(millrace_wait(reader, 2, 0), 0);
	millrace_read_end(reader[0]);
	millrace_read_end(reader[1]);
	millrace_write_end(writer);
}

static void a_negative_time_out_waits_until_a_signal(void **state)
{
	struct fixture *f = *state;
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	struct sigaction noted = {.sa_handler = ignore_signal};
	sigaction(SIGPROF, &noted, NULL);
	pid_t self = getpid(), pid = fork();
	if (pid == 0) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		kill(self, SIGPROF);
		_exit(0);
	}
	assert_int_equal(millrace_peek(reader, -1), 0);
	waitpid(pid, NULL, 0);
	millrace_read_end(reader);
}

struct in_thread {
	struct millrace *millrace;
	const char *group;
	unsigned rounds;
};

static void *take_and_give_back(void *argument)
{
	struct in_thread *mine = argument;
	for (unsigned i = 0; i < 200; i++) {
		struct millrace_reader *reader = millrace_read(mine->millrace, "mine", mine->group,
		                                               MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
		if (reader == NULL)
			break;
		(void)millrace_peek(reader, 0);
		millrace_read_end(reader);
		if (millrace_forget(mine->millrace, "mine", mine->group) != 0)
			break;
		if (millrace_read(mine->millrace, "absent", mine->group, MILLRACE_REQUIRED,
		                  MILLRACE_FROM_TAIL) != NULL ||
		    strstr(millrace_error(mine->millrace), "absent") == NULL)
			break;
		mine->rounds++;
	}
	return NULL;
}

static void threads_may_share_an_instance(void **state)
{
	struct fixture *f = *state;
	struct in_thread mine[3] = {{f->millrace, "a", 0}, {f->millrace, "b", 0}, {f->millrace, "c", 0}};
	pthread_t thread[3];
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, take_and_give_back, &mine[i]), 0);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(mine[i].rounds, 200);
	}
}

/* ---- what there is ---- */

static int note_topic(void *argument, const struct millrace_topic *topic)
{
	char *text = argument;
	sprintf(text + strlen(text), "%s %u %u %llu;", topic->name, topic->lanes, topic->outside_lanes,
	        (unsigned long long)topic->lane_bytes);
	return 0;
}

static int note_group(void *argument, const struct millrace_group *group)
{
	char *text = argument;
	sprintf(text + strlen(text), "%s %d %d %d %llu %llu %llu;", group->name, group->kind, group->of_stage,
	        group->reader_pid == getpid(), (unsigned long long)group->read,
	        (unsigned long long)group->waiting, (unsigned long long)group->missed);
	return 0;
}

static int stop_at_once(void *argument, const struct millrace_topic *topic)
{
	(void)argument;
	(void)topic;
	return 7;
}

static void topics_and_groups_can_be_listed(void **state)
{
	struct fixture *f = *state;
	char text[512] = "";
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	write_numbers(writer, 0, 10);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(next_number(reader), i), millrace_advance(reader);
	assert_int_equal(millrace_topics(f->millrace, note_topic, text), 0);
	assert_string_equal(text, "mine 2 2 262144;stage 1 0 262144;");
	assert_int_equal(millrace_topics(f->millrace, stop_at_once, NULL), 7);
	text[0] = 0;
	assert_int_equal(millrace_groups(f->millrace, "mine", note_group, text), 0);
	assert_string_equal(text, "g 1 0 1 3 7 0;");
	assert_int_equal(millrace_groups(f->millrace, "absent", note_group, text), -ENOENT);
	assert_true(millrace_generation(f->millrace) != 0);
	assert_string_equal(millrace_version(), MILLRACE_VERSION);
	millrace_read_end(reader);
	millrace_write_end(writer);
}

/* A reader that never comes to rest learns of another page all the same. */
static void a_busy_reader_learns_that_the_page_was_replaced(void **state)
{
	struct fixture *f = *state;
	char page[300], next[300];
	struct millrace_writer *writer = millrace_write(f->millrace, "mine");
	struct millrace_reader *reader =
	        millrace_read(f->millrace, "mine", "g", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	write_numbers(writer, 0, 10);
	snprintf(page, sizeof page, "%s/instance", f->sandbox.directory);
	snprintf(next, sizeof next, "%s/copy", f->sandbox.directory);
	copy_file(page, next);
	assert_int_equal(rename(next, page), 0);
	nanosleep(&(struct timespec){.tv_nsec = 120000000}, NULL);
	assert_int_equal(millrace_peek(reader, 0), -ESTALE);
	assert_non_null(strstr(millrace_reader_error(reader), "attach again"));
	millrace_read_end(reader);
	millrace_write_end(writer);
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
	        T(the_json_of_a_record_has_the_length_that_was_checked),
	        T(no_required_group_is_made_while_the_instance_is_down_or_ends),
	        T(what_was_not_advanced_comes_again),
	        T(a_full_lane_says_so_and_is_accounted_for),
	        T(each_program_has_a_lane_of_its_own),
	        T(a_killed_writer_frees_its_lane_and_keeps_what_it_committed),
	        T(a_writer_learns_of_a_drain_at_its_next_record_and_commits_what_it_has),
	        T(a_writer_learns_that_its_page_was_replaced),
	        T(a_writer_that_waits_for_room_does_not_outwait_the_instance),
	        T(a_writer_notices_that_the_folder_is_gone),
	        T(what_a_commit_says_is_taken_the_last_look_sees),
	        T(a_required_group_goes_to_either_end_and_to_a_record),
	        T(an_optional_group_goes_to_either_end_and_to_a_record),
	        T(what_cannot_be_sought_moves_nothing),
	        T(a_group_goes_to_a_time),
	        T(seeking_back_under_a_writer_at_work_tears_nothing),
	        T(a_descriptor_becomes_readable_when_records_come),
	        T(the_first_of_several_readers_ends_the_wait),
	        T(a_negative_time_out_waits_until_a_signal),
	        T(threads_may_share_an_instance),
	        T(topics_and_groups_can_be_listed),
	        T(a_busy_reader_learns_that_the_page_was_replaced),
	        T(absent_instances_are_explained),
	};
	alarm(60);
	return cmocka_run_group_tests_name("libmillrace", tests, NULL, NULL);
}
