/* Topics: who may claim a group, what remains of it, who waits for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm/life.h"
#include "tests/fixture/instance.h"

#define SIZE (1u << 20)

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer[2];
	struct shm_error error;
};

static int set_up(void **state)
{
	static const struct test_topic topics[] = {{"t", SIZE, 2, {"w.0", "w.1"}, "stage"},
	                                           {"free", SIZE, 1, {"w.0"}, NULL}};
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	if (sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, topics, 2, &f->error) != 0 ||
	    instance_attach(&f->instance, "test", SEGMENT_READ, &f->error) != 0)
		return -1;
	for (unsigned i = 0; i < 2; i++)
		if (topic_writer_attach(&f->writer[i], &f->instance, "t", i == 0 ? "w.0" : "w.1",
		                        &f->error) != 0)
			return -1;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 2; i++)
		topic_writer_detach(&f->writer[i]);
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	free(f);
	return 0;
}

static bool put(struct topic_writer *writer, uint64_t number)
{
	char *at = stream_reserve(&writer->stream, record_bytes(8));
	if (at == NULL)
		return false;
	memcpy(record_put(at, 1, 8), &number, 8);
	stream_commit(&writer->stream, record_bytes(8), 1);
	topic_ring(writer);
	return true;
}

static unsigned take(struct topic_reader *reader)
{
	struct record_batch batch;
	unsigned lane, total = 0;
	while (topic_peek(reader, &lane, &batch)) {
		unsigned n = 0;
		while (record_next(&batch) != NULL)
			n++;
		stream_advance(&reader->lane[lane], &batch, n);
		total += n;
	}
	return total;
}

static int claim(struct fixture *f, struct topic_reader *reader, const char *name, enum group_state kind)
{
	return topic_reader_attach(reader, &f->instance, "t", name, kind, STREAM_FROM_TAIL, &f->error);
}

static int claim_stage(struct fixture *f, struct topic_reader *reader)
{
	return topic_reader_attach_stage(reader, &f->instance, "t", "stage", (struct topic_share){.n = 1},
	                                 &f->error);
}

static void a_reader_gets_the_records_of_all_lanes(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	put(&f->writer[0], 1);
	assert_int_equal(claim_stage(f, &reader), 0);
	put(&f->writer[1], 2);
	put(&f->writer[1], 3);
	assert_int_equal(take(&reader), 3);
	topic_reader_detach(&reader);
}

static void a_new_group_begins_at_the_tail_or_at_the_oldest(void **state)
{
	struct fixture *f = *state;
	struct topic_reader tail, oldest;
	put(&f->writer[0], 1);
	assert_int_equal(claim(f, &tail, "tail", GROUP_OPTIONAL), 0);
	assert_int_equal(topic_reader_attach(&oldest, &f->instance, "t", "old", GROUP_OPTIONAL,
	                                     STREAM_FROM_OLDEST, &f->error),
	                 0);
	put(&f->writer[0], 2);
	assert_int_equal(take(&tail), 1);
	assert_int_equal(take(&oldest), 2);
	topic_reader_detach(&tail);
	topic_reader_detach(&oldest);
}

static void a_group_has_one_reader_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct topic_reader first, second;
	assert_int_equal(claim(f, &first, "g", GROUP_REQUIRED), 0);
	assert_int_equal(claim(f, &second, "g", GROUP_REQUIRED), -EBUSY);
	assert_non_null(strstr(f->error.text, "is being read by process"));
	topic_reader_detach(&first);
	assert_int_equal(claim(f, &second, "g", GROUP_REQUIRED), 0);
	topic_reader_detach(&second);
	assert_int_equal(claim(f, &second, "g", GROUP_OPTIONAL), -EINVAL);
}

static void a_required_group_keeps_its_place_between_readers(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	assert_int_equal(claim(f, &reader, "g", GROUP_REQUIRED), 0);
	put(&f->writer[0], 1);
	assert_int_equal(take(&reader), 1);
	topic_reader_detach(&reader);
	put(&f->writer[0], 2);
	put(&f->writer[1], 3);
	assert_int_equal(claim(f, &reader, "g", GROUP_REQUIRED), 0);
	assert_int_equal(take(&reader), 2);
	topic_reader_detach(&reader);
}

static void a_required_group_holds_the_writer_until_it_is_forgotten(void **state)
{
	struct fixture *f = *state;
	struct topic_reader stage, outside;
	unsigned written = 0;
	assert_int_equal(claim_stage(f, &stage), 0);
	assert_int_equal(claim(f, &outside, "outside", GROUP_REQUIRED), 0);
	for (; written < 2 * SIZE / record_bytes(8) && put(&f->writer[0], written); written++)
		take(&stage);
	assert_int_equal(written, SIZE / record_bytes(8));
	assert_int_equal(topic_group_forget(&f->instance, "t", "outside", &f->error), -EBUSY);
	topic_reader_detach(&outside);
	assert_false(put(&f->writer[0], 0));
	assert_int_equal(topic_group_forget(&f->instance, "t", "outside", &f->error), 0);
	assert_true(put(&f->writer[0], 0));
	assert_int_equal(topic_group_forget(&f->instance, "t", "outside", &f->error), -ENOENT);
	topic_reader_detach(&stage);
	assert_int_equal(topic_group_forget(&f->instance, "t", "stage", &f->error), -EPERM);
}

static void an_optional_group_never_holds_the_writer(void **state)
{
	struct fixture *f = *state;
	struct topic_reader stage, tap;
	assert_int_equal(claim_stage(f, &stage), 0);
	assert_int_equal(claim(f, &tap, "tap.1", GROUP_OPTIONAL), 0);
	for (unsigned i = 0; i < 3 * SIZE / record_bytes(8); i++) {
		assert_true(put(&f->writer[0], i));
		take(&stage);
	}
	assert_true(take(&tap) > 0);
	assert_true(atomic_load(&tap.group->cursor[0].missed_records) > 0);
	topic_reader_detach(&tap);
	topic_reader_detach(&stage);
}

static void groups_of_dead_taps_are_used_again(void **state)
{
	struct fixture *f = *state;
	struct topic_reader tap;
	/* 15 free groups beside "stage": let 40 children take one and die with it */
	for (unsigned i = 0; i < 40; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			char name[SHM_NAME_MAX];
			struct topic_reader own;
			snprintf(name, sizeof name, "tap.%u", i);
			if (claim(f, &own, name, GROUP_OPTIONAL) != 0)
				_exit(1);
			raise(SIGKILL);
		}
		int status;
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
	}
	assert_int_equal(claim(f, &tap, "mine", GROUP_OPTIONAL), 0);
	topic_reader_detach(&tap);
}

/* From now on this process may open n descriptors more, 8 at most. */
static void leave_descriptors(unsigned n)
{
	int taken[8];
	rlim_t end = 0;
	struct rlimit limit;
	for (unsigned i = 0; i < n; i++) {
		taken[i] = dup(0);
		end = (rlim_t)taken[i] + 1;
	}
	for (unsigned i = 0; i < n; i++)
		close(taken[i]);
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		_exit(99);
	limit.rlim_cur = end;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		_exit(99);
}

static void a_claimer_without_descriptors_takes_nobody_for_dead(void **state)
{
	struct fixture *f = *state;
	struct topic_reader tap, kept, other;
	assert_int_equal(claim(f, &tap, "tap", GROUP_OPTIONAL), 0);
	assert_int_equal(claim(f, &kept, "kept", GROUP_REQUIRED), 0);
	topic_reader_detach(&kept);
	/* The claim needs two at a time and keeps one: whether a reader lives cannot be told
	 * then. */
	for (unsigned n = 0; n < 4; n++) {
		pid_t pid = fork();
		if (pid == 0) {
			leave_descriptors(n);
			bool told = claim(f, &other, "other", GROUP_OPTIONAL) == -EMFILE &&
			            (n != 2 || strstr(f->error.text, "cannot tell whether") != NULL) &&
			            strstr(f->error.text, "Too many open files") != NULL &&
			            strstr(f->error.text, "process 0") == NULL;
			if (n == 2)
				told = told && claim(f, &other, "kept", GROUP_REQUIRED) == -EMFILE &&
				       strstr(f->error.text,
				              "cannot tell whether it has a reader: Too many") != NULL &&
				       topic_group_forget(&f->instance, "t", "kept", &f->error) == -EMFILE;
			_exit(n == 3 || told ? 0 : 1);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(atomic_load(&tap.group->state), GROUP_OPTIONAL);
		assert_string_equal(tap.group->name, "tap");
	}
	assert_int_equal(claim(f, &kept, "kept", GROUP_REQUIRED), 0);
	topic_reader_detach(&kept);
	topic_reader_detach(&tap);
}

static void a_free_group_whose_lock_is_still_held_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct topic_reader tap;
	assert_int_equal(claim(f, &tap, "tap", GROUP_OPTIONAL), 0);
	unsigned index = tap.group_index;
	topic_reader_detach(&tap);
	char file[SEGMENT_NAME_MAX];
	snprintf(file, sizeof file, "t.reader.%u", index);
	int lock = instance_hold(f->instance.directory, file);
	assert_true(lock >= 0);
	assert_int_equal(claim(f, &tap, "tap", GROUP_OPTIONAL), 0);
	assert_true(tap.group_index != index);
	topic_reader_detach(&tap);
	close(lock);
}

static void whether_a_file_is_locked_has_three_answers(void **state)
{
	struct fixture *f = *state;
	const char *directory = f->instance.directory;
	int pid = 7, lock = instance_hold(directory, "some.lock");
	assert_true(lock >= 0);
	assert_int_equal(instance_locked(directory, "some.lock", &pid), 1);
	assert_int_equal(pid, -1);
	close(lock);
	assert_int_equal(instance_locked(directory, "some.lock", &pid), 0);
	assert_int_equal(instance_locked(directory, "none.lock", &pid), 0);
	pid_t child = fork();
	if (child == 0) {
		leave_descriptors(1);
		_exit(instance_locked(directory, "some.lock", NULL) == -EMFILE &&
		                      life_supervised(&f->instance)
		              ? 0
		              : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_false(life_supervised(&f->instance));
}

static void too_many_groups_are_refused_with_a_remedy(void **state)
{
	struct fixture *f = *state;
	static struct topic_reader tap[STREAM_GROUPS_MAX];
	for (unsigned i = 0; i < STREAM_GROUPS_MAX - 1; i++) {
		char name[SHM_NAME_MAX];
		snprintf(name, sizeof name, "tap.%u", i);
		assert_int_equal(claim(f, &tap[i], name, GROUP_OPTIONAL), 0);
	}
	assert_int_equal(claim(f, &tap[STREAM_GROUPS_MAX - 1], "one-more", GROUP_OPTIONAL), -ENOSPC);
	assert_non_null(strstr(f->error.text, "--forget"));
	for (unsigned i = 0; i < STREAM_GROUPS_MAX - 1; i++)
		topic_reader_detach(&tap[i]);
}

static void a_stage_s_group_is_the_stage_s_alone_and_the_others_are_not(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader, stage;
	struct topic_share all = {.n = 1};
	assert_int_equal(claim(f, &reader, "stage", GROUP_REQUIRED), -EPERM);
	assert_non_null(strstr(f->error.text, "belongs to a stage"));
	assert_int_equal(claim(f, &reader, "stage", GROUP_OPTIONAL), -EPERM);
	assert_int_equal(topic_reader_attach_stage(&stage, &f->instance, "t", "stage", all, &f->error), 0);
	assert_int_equal(claim(f, &reader, "stage", GROUP_REQUIRED), -EPERM);
	topic_reader_detach(&stage);
	assert_int_equal(topic_reader_attach_stage(&stage, &f->instance, "t", "absent", all, &f->error),
	                 -ENOENT);
	assert_int_equal(claim(f, &reader, "mine", GROUP_REQUIRED), 0);
	topic_reader_detach(&reader);
	assert_int_equal(topic_reader_attach_stage(&stage, &f->instance, "t", "mine", all, &f->error),
	                 -EPERM);
	assert_non_null(strstr(f->error.text, "--forget"));
}

static void unknown_names_are_explained(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	struct topic_writer writer;
	struct instance other;
	assert_int_equal(topic_reader_attach(&reader, &f->instance, "nope", "g", GROUP_OPTIONAL,
	                                     STREAM_FROM_TAIL, &f->error),
	                 -ENOENT);
	assert_non_null(strstr(f->error.text, " t free"));
	assert_int_equal(topic_writer_attach(&writer, &f->instance, "t", "w.9", &f->error), -ENOENT);
	static const char *const no_names[] = {"",
	                                       ".hidden",
	                                       "two words",
	                                       "a/b",
	                                       "\x1b[31m",
	                                       "\xc2\x9b",
	                                       "0123456789012345678901234567890.."};
	for (size_t i = 0; i < sizeof no_names / sizeof no_names[0]; i++)
		assert_int_equal(claim(f, &reader, no_names[i], GROUP_OPTIONAL), -EINVAL);
	assert_int_equal(instance_attach(&other, "absent", SEGMENT_READ, &f->error), -ENOENT);
	assert_non_null(strstr(f->error.text, "millrace run"));
	assert_int_equal(instance_attach(&other, "../up", SEGMENT_READ, &f->error), -EINVAL);
}

/* ---- shares ---- */

static int claim_share(struct fixture *f, struct topic_reader *reader, unsigned index, unsigned n)
{
	return topic_reader_attach_stage(reader, &f->instance, "t", "stage",
	                                 (struct topic_share){.index = index, .n = n}, &f->error);
}

static bool is_zero(const struct stream_reader *lane)
{
	return lane->shared == NULL && lane->data == NULL && lane->cursor == NULL && lane->position == 0 &&
	       lane->file.mapped_bytes == 0;
}

static void each_share_reads_its_own_lanes_and_no_others(void **state)
{
	struct fixture *f = *state;
	struct topic_reader share[3];
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(claim_share(f, &share[i], i, 3), 0);
	assert_true(!is_zero(&share[0].lane[0]) && is_zero(&share[0].lane[1]));
	assert_true(is_zero(&share[1].lane[0]) && !is_zero(&share[1].lane[1]));
	assert_true(is_zero(&share[2].lane[0]) && is_zero(&share[2].lane[1]));
	for (unsigned i = 0; i < 5; i++)
		put(&f->writer[0], i);
	put(&f->writer[1], 0);
	assert_int_equal(take(&share[2]), 0);
	assert_int_equal(take(&share[0]), 5);
	assert_int_equal(atomic_load(&share[0].group->cursor[0].records), 5);
	assert_int_equal(atomic_load(&share[0].group->cursor[1].records), 0);
	assert_int_equal(take(&share[1]), 1);
	assert_int_equal(atomic_load(&share[0].group->cursor[1].records), 1);
	for (unsigned i = 0; i < 3; i++)
		topic_reader_detach(&share[i]);
}

static void a_group_is_read_while_any_share_of_it_is(void **state)
{
	struct fixture *f = *state;
	struct topic_reader second;
	assert_int_equal(claim_share(f, &second, 1, 2), 0);
	unsigned group = second.group_index;
	assert_int_equal(topic_has_reader(f->instance.directory, "t", group), 1);
	topic_reader_detach(&second);
	assert_int_equal(topic_has_reader(f->instance.directory, "t", group), 0);
}

static void a_share_has_one_reader_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct topic_reader first, other, second;
	assert_int_equal(claim_share(f, &first, 0, 2), 0);
	assert_int_equal(claim_share(f, &other, 1, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(claim_share(f, &second, i, 2), -EBUSY);
		assert_non_null(strstr(f->error.text, "is being read by process"));
	}
	assert_int_equal(claim_stage(f, &second), -EBUSY); /* one that wants all lanes */
	topic_reader_detach(&other);
	assert_int_equal(claim_share(f, &second, 0, 2), -EBUSY);
	assert_int_equal(claim_share(f, &second, 1, 2), 0);
	topic_reader_detach(&second);
	topic_reader_detach(&first);
	assert_int_equal(claim_stage(f, &second), 0);
	topic_reader_detach(&second);
}

static void a_share_whose_reader_was_killed_is_taken_up_at_its_cursor(void **state)
{
	struct fixture *f = *state;
	struct topic_reader share;
	for (unsigned i = 0; i < 10; i++)
		put(&f->writer[1], i);
	pid_t pid = fork();
	if (pid == 0) {
		struct record_batch batch;
		unsigned lane;
		if (claim_share(f, &share, 1, 2) != 0 || !topic_peek(&share, &lane, &batch))
			_exit(1);
		for (unsigned i = 0; i < 4; i++)
			(void)record_next(&batch);
		stream_advance(&share.lane[lane], &batch, 4);
		raise(SIGKILL);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(claim_share(f, &share, 1, 2), 0);
	assert_int_equal(take(&share), 6);
	topic_reader_detach(&share);
}

static void with_another_number_of_shares_all_goes_on_at_the_same_cursors(void **state)
{
	struct fixture *f = *state;
	struct topic_reader share[2];
	for (unsigned n = 1; n <= 3; n++) {
		put(&f->writer[0], n);
		put(&f->writer[1], n);
		put(&f->writer[1], n);
		unsigned shares = n == 2 ? 2 : 1;
		for (unsigned i = 0; i < shares; i++)
			assert_int_equal(claim_share(f, &share[i], i, shares), 0);
		assert_int_equal(take(&share[0]), shares == 2 ? 1 : 3);
		if (shares == 2)
			assert_int_equal(take(&share[1]), 2);
		for (unsigned i = 0; i < shares; i++)
			topic_reader_detach(&share[i]);
	}
}

static void a_share_that_nobody_reads_holds_the_writers_of_its_lanes_alone(void **state)
{
	struct fixture *f = *state;
	struct topic_reader share;
	unsigned room = SIZE / record_bytes(8), written = 0;
	assert_int_equal(claim_share(f, &share, 0, 2), 0);
	for (unsigned i = 0; i < 2 * room; i++) {
		assert_true(put(&f->writer[0], i));
		written += put(&f->writer[1], i);
		take(&share);
	}
	assert_int_equal(written, room);
	topic_reader_detach(&share);
}

static void each_share_of_a_group_is_woken_by_its_own_lanes(void **state)
{
	struct fixture *f = *state;
	struct topic_reader share[2];
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(claim_share(f, &share[i], i, 2), 0);
		assert_int_equal(take(&share[i]), 0);
	}
	put(&f->writer[1], 1);
	assert_false(topic_wait(&share[0], 20000000u));
	assert_true(topic_wait(&share[1], 20000000000u));
	assert_int_equal(take(&share[0]), 0);
	assert_int_equal(take(&share[1]), 1);
	topic_reader_detach(&share[0]);
	/* The one that stays is still woken. */
	assert_int_equal(take(&share[1]), 0);
	put(&f->writer[1], 2);
	assert_true(topic_wait(&share[1], 20000000000u));
	topic_reader_detach(&share[1]);
}

/* The group's page as a reader leaves it that was killed asleep. */
static void die_asleep(struct topic_reader *reader)
{
	assert_int_equal(take(reader), 0);
	struct sleep_word word[STREAM_LANES_MAX];
	assert_false(sleep_begin(word, topic_reader_words(reader, word)));
	topic_reader_detach(reader);
}

static void a_reader_that_died_asleep_costs_its_writers_one_call_each(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	unsigned group = reader.group_index;
	_Atomic uint32_t *asleep = &reader.group->asleep[0];
	uint32_t before = atomic_load(asleep);
	die_asleep(&reader);
	struct segment page = {0};
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(segment_attach(&page, f->instance.directory, instance_group_name(name, "t", group),
	                                SEGMENT_GROUP, SEGMENT_READ, &f->error),
	                 0);
	const struct stream_group *left = page.body;
	uint32_t odd = atomic_load(&left->asleep[0]);
	assert_int_equal(odd, before + 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(put(&f->writer[0], i));
		assert_int_equal(f->writer[0].woken[group], odd);
	}
	/* The next reader's sleep is another one; so is that of a group of another name. */
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	assert_int_equal(take(&reader), 3);
	assert_int_equal(take(&reader), 0);
	assert_false(topic_wait(&reader, 1000000));
	assert_int_equal(atomic_load(&left->asleep[0]), odd + 3);
	topic_reader_detach(&reader);
	assert_int_equal(topic_group_forget(&f->instance, "t", "outside", &f->error), 0);
	assert_int_equal(claim(f, &reader, "another", GROUP_OPTIONAL), 0);
	assert_int_equal(reader.group_index, group);
	assert_int_equal(atomic_load(&left->asleep[0]), odd + 3);
	topic_reader_detach(&reader);
	segment_detach(&page);
}

static void an_onlooker_reads_and_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct topic_reader onlooker, tap;
	put(&f->writer[0], 1);
	assert_int_equal(
	        topic_reader_attach_unseen(&onlooker, &f->instance, "none", STREAM_FROM_OLDEST, &f->error),
	        -ENOENT);
	assert_int_equal(
	        topic_reader_attach_unseen(&onlooker, &f->instance, "t", STREAM_FROM_OLDEST, &f->error), 0);
	assert_int_equal(take(&onlooker), 1);
	put(&f->writer[1], 2);
	assert_int_equal(take(&onlooker), 1);
	assert_false(topic_wait(&onlooker, 1000000));
	/* the first free group is still free */
	assert_int_equal(claim(f, &tap, "tap", GROUP_OPTIONAL), 0);
	assert_int_equal(tap.group_index, 1);
	topic_reader_detach(&tap);
	topic_reader_detach(&onlooker);
	topic_reader_detach(&onlooker);
}

/* The pages of other groups, and of a stage the claim's lock, are not needed. */
static void a_stage_needs_its_own_page_alone(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	char path[300];
	int owner;
	if (geteuid() == 0)
		skip(); /* may write everything; test_users has it with users of their own */
	int lock = instance_lock(f->instance.directory, "t.claim", 0, &owner);
	assert_true(lock >= 0);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		char name[SEGMENT_NAME_MAX];
		snprintf(path, sizeof path, "%s/%s", f->instance.directory,
		         instance_group_name(name, "t", i));
		assert_int_equal(chmod(path, i == 0 ? 0600 : 0400), 0);
	}
	snprintf(path, sizeof path, "%s/t.claim", f->instance.directory);
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(claim_share(f, &reader, 0, 1), 0);
	assert_int_equal(reader.group_index, 0);
	topic_reader_detach(&reader);
	close(lock);
}

/* Lapses a group of which `read` records were read, writes until the lane has gone round, and comes
 * back. */
static void a_group_that_lapsed_goes_on_and_counts_what_it_missed(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader, stage;
	uint64_t n = 0, capacity;
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	for (; n < 10; n++)
		assert_true(put(&f->writer[0], n));
	assert_int_equal(take(&reader), 10);
	topic_reader_detach(&reader);
	assert_int_equal(claim_stage(f, &stage), 0);
	for (; put(&f->writer[0], n); n++)
		(void)take(&stage);
	capacity = n - 10;
	assert_int_equal(topic_group_lapse(&f->instance, "t", "outside", &f->error), 0);
	assert_int_equal(topic_group_lapse(&f->instance, "t", "outside", &f->error), -ENOENT);
	assert_true(topic_has_required(&f->instance, "t", "outside"));
	for (unsigned i = 0; i < 3 * capacity; i++, n++) {
		assert_true(put(&f->writer[0], n));
		(void)take(&stage);
	}
	assert_int_equal(claim(f, &reader, "outside", GROUP_OPTIONAL), -EINVAL);
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	assert_int_equal(atomic_load(&reader.group->state), GROUP_REQUIRED);
	assert_int_equal(atomic_load(&reader.group->joined), 1);
	uint64_t oldest = stream_oldest_record(reader.lane[0].shared);
	uint64_t got = take(&reader);
	const struct stream_cursor *cursor = &reader.group->cursor[0];
	assert_int_equal(atomic_load(&cursor->records), n);
	assert_int_equal(stream_cursor_read(cursor), 10 + got);
	assert_int_equal(atomic_load(&cursor->missed_records), n - 10 - got);
	assert_true(got > capacity / 2 && got <= capacity + 1);
	assert_int_equal(oldest, n - got);
	/* It holds writers up again. */
	uint64_t more = 0;
	for (; put(&f->writer[0], n); n++, more++)
		(void)take(&stage);
	assert_true(more <= capacity + 1);
	assert_int_equal(take(&reader), more);
	topic_reader_detach(&reader);
	topic_reader_detach(&stage);
}

static void a_group_that_lapsed_and_missed_nothing_goes_on_at_its_cursor(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	topic_reader_detach(&reader);
	for (unsigned i = 0; i < 7; i++)
		assert_true(put(&f->writer[1], i));
	assert_int_equal(topic_group_lapse(&f->instance, "t", "outside", &f->error), 0);
	assert_int_equal(claim(f, &reader, "outside", GROUP_REQUIRED), 0);
	assert_int_equal(take(&reader), 7);
	assert_int_equal(atomic_load(&reader.group->cursor[1].missed_records), 0);
	topic_reader_detach(&reader);
	assert_int_equal(topic_group_lapse(&f->instance, "t", "outside", &f->error), 0);
	assert_int_equal(topic_group_forget(&f->instance, "t", "outside", &f->error), 0);
	assert_false(topic_has_required(&f->instance, "t", "outside"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_group_that_lapsed_goes_on_and_counts_what_it_missed, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_group_that_lapsed_and_missed_nothing_goes_on_at_its_cursor,
	                                        set_up, tear_down),
	        T(a_reader_gets_the_records_of_all_lanes),
	        T(a_new_group_begins_at_the_tail_or_at_the_oldest),
	        T(a_group_has_one_reader_at_a_time),
	        T(a_required_group_keeps_its_place_between_readers),
	        T(a_required_group_holds_the_writer_until_it_is_forgotten),
	        T(an_optional_group_never_holds_the_writer),
	        T(groups_of_dead_taps_are_used_again),
	        T(a_claimer_without_descriptors_takes_nobody_for_dead),
	        T(a_free_group_whose_lock_is_still_held_is_passed_over),
	        T(whether_a_file_is_locked_has_three_answers),
	        T(too_many_groups_are_refused_with_a_remedy),
	        T(a_stage_s_group_is_the_stage_s_alone_and_the_others_are_not),
	        T(unknown_names_are_explained),
	        T(each_share_reads_its_own_lanes_and_no_others),
	        T(a_group_is_read_while_any_share_of_it_is),
	        T(a_share_has_one_reader_at_a_time),
	        T(a_share_whose_reader_was_killed_is_taken_up_at_its_cursor),
	        T(with_another_number_of_shares_all_goes_on_at_the_same_cursors),
	        T(a_share_that_nobody_reads_holds_the_writers_of_its_lanes_alone),
	        T(each_share_of_a_group_is_woken_by_its_own_lanes),
	        T(a_reader_that_died_asleep_costs_its_writers_one_call_each),
	        T(an_onlooker_reads_and_leaves_no_trace),
	        T(a_stage_needs_its_own_page_alone),
	};
	alarm(60);
	return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
