/* Reading an instance while it works, and while its stages are dead. */
#include "look/snapshot.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "event/event.h"
#include "shm/topic.h"
#include "tests/fixture/descriptors.h"
#include "tests/fixture/instance.h"

#define WORK_NS (300 * NS_PER_MS)

static struct sandbox sandbox;
static struct snapshot *snapshot;
static struct snapshot_source *source;

static const struct test_topic topics[] = {
        {"ip", 1 << 20, 2, {"writer.0", "writer.1"}, "tally"},
        {"raw", 1 << 16, 1, {""}, NULL},
};

/* Adds a role to the page, as if the supervisor had planned it. */
static void add_role(const char *name)
{
	struct segment page = {0};
	struct shm_error error;
	assert_int_equal(
	        segment_attach(&page, sandbox.directory, "instance", SEGMENT_INSTANCE, SEGMENT_WRITE, &error),
	        0);
	struct instance_page *body = page.body;
	struct instance_role *role = &body->role[body->n_roles++];
	snprintf(role->name, sizeof role->name, "%s", name);
	snprintf(role->program, sizeof role->program, "test");
	segment_detach(&page);
	char segment[SEGMENT_NAME_MAX];
	assert_int_equal(segment_create(sandbox.directory, instance_stage_name(segment, name), SEGMENT_STAGE,
	                                7, sizeof(struct control), NULL, NULL, &error),
	                 0);
}

static struct control *control_of(struct segment *segment, const char *role)
{
	char name[SEGMENT_NAME_MAX];
	struct shm_error error;
	*segment = (struct segment){0};
	int result = segment_attach(segment, sandbox.directory, instance_stage_name(name, role),
	                            SEGMENT_STAGE, SEGMENT_WRITE, &error);
	return result == 0 ? segment->body : NULL;
}

static int make(void **state)
{
	(void)state;
	struct shm_error error = {""};
	if (sandbox_make(&sandbox) != 0 || instance_make(sandbox.directory, topics, 2, &error) != 0) {
		print_error("%s\n", error.text);
		return -1;
	}
	snapshot = calloc(1, sizeof *snapshot);
	source = calloc(1, sizeof *source);
	return snapshot == NULL || source == NULL ? -1 : 0;
}

static int unmake(void **state)
{
	(void)state;
	snapshot_close(source);
	free(snapshot);
	free(source);
	sandbox_remove(&sandbox);
	return 0;
}

static void take(void)
{
	struct shm_error error = {""};
	int result = snapshot_take(source, snapshot, &error);
	if (result != 0)
		fail_msg("%s", error.text);
}

static void open_and_take(void)
{
	struct shm_error error = {""};
	if (snapshot_open(source, "test", &error) != 0)
		fail_msg("%s", error.text);
	take();
}

/* In a child: writes batches of n records and keeps the ledger, one in four rejected. */
static void write_batches(const char *role, uint64_t until_ns)
{
	struct instance instance;
	struct topic_writer writer;
	struct shm_error error;
	if (instance_attach(&instance, "test", SEGMENT_READ, &error) != 0 ||
	    topic_writer_attach(&writer, &instance, "ip", role, &error) != 0)
		_exit(2);
	struct ledger *ledger = &writer.stream.shared->ledger;
	for (uint64_t n = 1; clock_monotonic_ns() < until_ns; n = n % 64 + 1) {
		char *at = stream_reserve(&writer.stream, n * record_bytes(64));
		for (uint64_t i = 0; at != NULL && i < n; i++)
			memset(record_put(at + i * record_bytes(64), 1, 64), 0, 64);
		if (at != NULL)
			stream_commit(&writer.stream, n * record_bytes(64), n);
		else
			ledger_add(&ledger->dropped, n);
		ledger_add(&ledger->rejected[LEDGER_BAD_SHA], n / 4);
		ledger_add(&ledger->received, n + n / 4);
		for (volatile unsigned pause = 0; pause < 2000; pause++)
			;
	}
	_exit(0);
}

static void an_instance_at_rest_is_all_zeros_and_balanced(void **state)
{
	(void)state;
	open_and_take();
	assert_int_equal(snapshot->generation, 7);
	assert_int_equal(snapshot->n_topics, 2);
	assert_int_equal(snapshot->n_stages, 0);
	assert_false(snapshot->supervisor_alive);
	assert_string_equal(snapshot->topic[0].name, "ip");
	assert_int_equal(snapshot->topic[0].n_lanes, 2);
	assert_string_equal(snapshot->topic[0].lane[1].role, "writer.1");
	assert_true(snapshot->topic[0].lane[0].present);
	assert_int_equal(snapshot->topic[0].lane[0].size_bytes, 1 << 20);
	assert_int_equal(snapshot->topic[0].lane[0].n_groups, 1);
	assert_string_equal(snapshot->topic[0].lane[0].group[0].name, "tally");
	assert_true(snapshot->topic[0].lane[0].group[0].required);
	assert_int_equal(snapshot->topic[0].lane[0].group[0].reader_pid, 0);
	assert_int_equal(snapshot->topic[1].lane[0].n_groups, 0);
	assert_true(snapshot_balanced(&snapshot->topic[0].ledger));
}

/* Nobody reads, so the lanes fill up and the writers drop: every counter moves. */
static void the_ledger_adds_up_while_writers_are_at_work(void **state)
{
	(void)state;
	open_and_take();
	uint64_t until = clock_monotonic_ns() + WORK_NS;
	pid_t child[2];
	for (unsigned i = 0; i < 2; i++) {
		child[i] = fork();
		if (child[i] == 0)
			write_batches(topics[0].lane_role[i], until);
		assert_true(child[i] > 0);
	}
	unsigned taken = 0, unbalanced = 0;
	while (clock_monotonic_ns() < until) {
		take();
		taken++;
		unbalanced += !snapshot_balanced(&snapshot->topic[0].ledger);
	}
	for (unsigned i = 0; i < 2; i++) {
		int status;
		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_int_equal(status, 0);
	}
	take();
	const struct snapshot_ledger *ledger = &snapshot->topic[0].ledger;
	assert_true(snapshot_balanced(ledger));
	assert_true(ledger->written > 0 && ledger->dropped > 0 && ledger->rejected[LEDGER_BAD_SHA] > 0);
	assert_int_equal(ledger->written, snapshot->topic[0].lane[0].written_records +
	                                          snapshot->topic[0].lane[1].written_records);
	print_message("%u readings, %u unbalanced\n", taken, unbalanced);
	assert_true(taken > 10);
	assert_true(unbalanced <= taken / 10);
}

static void what_waits_and_what_was_read_make_up_what_was_written(void **state)
{
	(void)state;
	struct instance instance;
	struct topic_writer writer;
	struct topic_reader reader;
	struct shm_error error;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_writer_attach(&writer, &instance, "ip", "writer.1", &error), 0);
	char *at = stream_reserve(&writer.stream, 100 * record_bytes(64));
	assert_non_null(at);
	for (unsigned i = 0; i < 100; i++)
		memset(record_put(at + i * record_bytes(64), 1, 64), 0, 64);
	stream_commit(&writer.stream, 100 * record_bytes(64), 100);
	assert_int_equal(topic_reader_attach_stage(&reader, &instance, "ip", "tally",
	                                           (struct topic_share){.n = 1}, &error),
	                 0);
	struct record_batch batch;
	unsigned lane;
	assert_true(topic_peek(&reader, &lane, &batch));
	for (unsigned i = 0; i < 30; i++)
		assert_non_null(record_next(&batch));
	stream_advance(&reader.lane[lane], &batch, 30);
	open_and_take();
	const struct snapshot_group *group = &snapshot->topic[0].lane[1].group[0];
	assert_int_equal(group->read_records, 30);
	assert_int_equal(group->waiting_records, 70);
	assert_int_equal(group->waiting_bytes, 70 * record_bytes(64));
	assert_int_equal(group->reader_pid, getpid());
	topic_reader_detach(&reader);
	take();
	assert_int_equal(group->reader_pid, 0);
	assert_int_equal(group->waiting_records, 70);
	topic_writer_detach(&writer);
	instance_detach(&instance);
}

/* Writes an event that arrived so long ago, or something that is no event of ours. */
static void write_event(struct topic_writer *writer, uint16_t type, uint64_t age_ns)
{
	char *at = stream_reserve(&writer->stream, record_bytes(sizeof(struct event_ip)));
	assert_non_null(at);
	struct event_ip *event = record_put(at, type, sizeof *event);
	memset(event, 0, sizeof *event);
	event->arrival_ns = clock_real_ns() - age_ns;
	stream_commit(&writer->stream, record_bytes(sizeof *event), 1);
}

static void the_oldest_event_that_waits_tells_its_age(void **state)
{
	(void)state;
	struct instance instance;
	struct topic_writer writer, other;
	struct topic_reader reader;
	struct shm_error error;
	struct record_batch batch;
	unsigned lane;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_writer_attach(&writer, &instance, "ip", "writer.0", &error), 0);
	assert_int_equal(topic_writer_attach(&other, &instance, "ip", "writer.1", &error), 0);
	assert_int_equal(topic_reader_attach_stage(&reader, &instance, "ip", "tally",
	                                           (struct topic_share){.n = 1}, &error),
	                 0);
	const struct snapshot_group *group = &snapshot->topic[0].lane[0].group[0];
	open_and_take();
	assert_int_equal(group->oldest_age_ns, 0);
	write_event(&writer, EVENT_IP, 600 * NS_PER_SEC);
	write_event(&writer, EVENT_IP, 300 * NS_PER_SEC);
	write_event(&writer, EVENT_OUTSIDE, 200 * NS_PER_SEC);
	take();
	assert_in_range(group->oldest_age_ns, 600 * NS_PER_SEC, 700 * NS_PER_SEC);
	assert_int_equal(snapshot->topic[0].lane[1].group[0].oldest_age_ns, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(topic_peek(&reader, &lane, &batch));
		assert_non_null(record_next(&batch));
		stream_advance(&reader.lane[lane], &batch, 1);
		take();
		if (i == 0)
			assert_in_range(group->oldest_age_ns, 300 * NS_PER_SEC, 400 * NS_PER_SEC);
		else if (i == 1)
			assert_true(group->oldest_age_ns == SNAPSHOT_NO_AGE);
		else
			assert_int_equal(group->oldest_age_ns, 0);
	}
	topic_reader_detach(&reader);
	topic_writer_detach(&writer);
	topic_writer_detach(&other);
	instance_detach(&instance);
}

/* A lane whose writer waits for nobody overwrites what an optional group has not read, also while a
 * snapshot copies it: an age comes from a whole event or not at all. */
static void an_event_that_is_overwritten_has_no_age(void **state)
{
	(void)state;
	struct instance instance;
	struct topic_writer writer;
	struct topic_reader reader;
	struct shm_error error;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_writer_attach_outside(&writer, &instance, "raw", &error), 0);
	assert_int_equal(topic_reader_attach(&reader, &instance, "raw", "slow", GROUP_OPTIONAL,
	                                     STREAM_FROM_TAIL, &error),
	                 0);
	const struct snapshot_group *group = &snapshot->topic[1].lane[0].group[0];
	write_event(&writer, EVENT_IP, 100 * NS_PER_SEC);
	open_and_take();
	assert_in_range(group->oldest_age_ns, 100 * NS_PER_SEC, 200 * NS_PER_SEC);
	for (unsigned i = 0; i < 2000; i++)
		write_event(&writer, EVENT_IP, 50 * NS_PER_SEC);
	take();
	assert_true(group->oldest_age_ns == SNAPSHOT_NO_AGE);
	topic_reader_detach(&reader);
	topic_writer_detach(&writer);
	instance_detach(&instance);
}

/* In a child: takes the role's lock and says so, then waits to be killed. */
static void live(const char *role, int report)
{
	char file[SEGMENT_NAME_MAX];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(file, sizeof file, "%s.role", role);
	if (instance_lock(sandbox.directory, file, 0, NULL) < 0 || write(report, "x", 1) != 1)
		_exit(2);
	for (;;)
		pause();
}

static void a_stage_whose_lock_nobody_holds_is_dead(void **state)
{
	(void)state;
	add_role("tally.0");
	struct segment segment;
	struct control *control = control_of(&segment, "tally.0");
	assert_non_null(control);
	open_and_take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "none");

	int report[2];
	char byte;
	assert_int_equal(pipe(report), 0);
	pid_t child = fork();
	if (child == 0)
		live("tally.0", report[1]);
	assert_true(child > 0);
	assert_int_equal(read(report[0], &byte, 1), 1);
	atomic_store(&control->state, STAGE_RUNNING);
	atomic_store(&control->pid, (uint32_t)child);
	atomic_store(&control->heartbeat_ns, clock_monotonic_ns() - 5 * NS_PER_SEC);
	take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "running");
	assert_int_equal(snapshot->stage[0].pid, child);
	assert_true(snapshot->stage[0].heartbeat_age_ns >= 5 * NS_PER_SEC);
	assert_true(snapshot->stage[0].heartbeat_age_ns < 15 * NS_PER_SEC);

	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "dead");
	assert_false(snapshot->stage[0].alive);
	atomic_store(&control->throttled, 1);
	take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "throttled");
	atomic_store(&control->throttled, 0);
	atomic_store(&control->state, STAGE_ENDED);
	take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "ended");
	close(report[0]);
	close(report[1]);
	segment_detach(&segment);
}

static void metrics_come_with_their_names(void **state)
{
	(void)state;
	static const struct metric_description table[] = {METRIC_ROW(
	        events, COUNTER, "counted events") METRIC_ROW(waiting_records, GAUGE, "not read yet")};
	add_role("tally.0");
	struct segment segment;
	struct control *control = control_of(&segment, "tally.0");
	assert_non_null(control);
	control_declare(control, table, 2);
	metric_add(control, 0, 41);
	metric_set(control, 1, 3);
	open_and_take();
	assert_int_equal(snapshot->stage[0].n_metrics, 2);
	assert_string_equal(snapshot->stage[0].metric[0].about.name, "events");
	assert_string_equal(snapshot->stage[0].metric[1].about.help, "not read yet");
	assert_int_equal(snapshot->stage[0].metric[0].value, 41);
	assert_int_equal(snapshot->stage[0].metric[1].about.kind, METRIC_GAUGE);
	/* a damaged count of metrics is no reason to read past the end */
	atomic_store(&control->n_metrics, UINT64_MAX);
	take();
	assert_int_equal(snapshot->stage[0].n_metrics, METRICS_MAX);
	segment_detach(&segment);
}

static void a_histogram_is_one_metric_with_its_buckets(void **state)
{
	(void)state;
	static const struct metric_description table[] = {
	        METRIC_ROW(before, COUNTER, "the word before") HISTOGRAM_ROW(took_ns, "how long", 10, 100)
	                METRIC_ROW(after, GAUGE, "the word after")};
	add_role("tally.0");
	struct segment segment;
	struct control *control = control_of(&segment, "tally.0");
	assert_non_null(control);
	control_declare(control, table, 3);
	for (unsigned word = 0; word < 6; word++)
		metric_set(control, word, word + 1);
	open_and_take();
	const struct snapshot_stage *stage = &snapshot->stage[0];
	assert_int_equal(stage->n_metrics, 3);
	assert_int_equal(stage->metric[0].value, 1);
	assert_int_equal(stage->metric[1].about.kind, METRIC_HISTOGRAM);
	assert_int_equal(stage->metric[1].about.n_bounds, 2);
	assert_int_equal(stage->metric[1].about.bound[1], 100);
	assert_int_equal(stage->metric[1].sum, 2);
	assert_int_equal(stage->metric[1].bucket[0], 3);
	assert_int_equal(stage->metric[1].bucket[2], 5);
	assert_int_equal(stage->metric[1].value, 3 + 4 + 5);
	assert_int_equal(snapshot_percentile(&stage->metric[1], 25), 0);
	assert_int_equal(snapshot_percentile(&stage->metric[1], 50), 1);
	assert_int_equal(snapshot_percentile(&stage->metric[1], 99), 2);
	assert_int_equal(stage->metric[2].value, 6);
	/* a damaged number of bounds is no reason to read past the end */
	control->description[1].n_bounds = UINT32_MAX;
	take();
	assert_int_equal(stage->metric[1].about.n_bounds, METRIC_BOUNDS_MAX);
	for (unsigned i = 0; i < METRICS_MAX; i++)
		control->description[i] = control->description[1];
	atomic_store(&control->n_metrics, METRICS_MAX);
	take();
	assert_int_equal(stage->n_metrics, METRIC_WORDS_MAX / (METRIC_BOUNDS_MAX + 2));
	segment_detach(&segment);
}

static void what_a_stage_says_in_words_comes_with_it(void **state)
{
	(void)state;
	add_role("enrich.0");
	add_role("tally.0");
	struct segment segment;
	struct control *control = control_of(&segment, "enrich.0");
	assert_non_null(control);
	control_note(control, "database %s", "GeoLite2-City");
	open_and_take();
	assert_string_equal(snapshot->stage[0].note, "database GeoLite2-City");
	assert_string_equal(snapshot->stage[1].note, "");
	control_note(control, "%s", "none");
	take();
	assert_string_equal(snapshot->stage[0].note, "none");
	segment_detach(&segment);
}

static void reading_keeps_the_locks_that_this_process_has(void **state)
{
	(void)state;
	add_role("tally.0");
	int lock = instance_lock(sandbox.directory, "tally.0.role", 0, NULL);
	assert_true(lock >= 0);
	struct segment segment;
	struct control *control = control_of(&segment, "tally.0");
	assert_non_null(control);
	atomic_store(&control->state, STAGE_RUNNING);
	atomic_store(&control->pid, (uint32_t)getpid());
	open_and_take();
	take();
	assert_string_equal(snapshot_state(&snapshot->stage[0]), "running");
	segment_detach(&segment);
	pid_t child = fork();
	if (child == 0)
		_exit(instance_lock(sandbox.directory, "tally.0.role", 0, NULL) == -EWOULDBLOCK ? 0 : 1);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(lock);
}

static void an_instance_that_was_replaced_is_followed_and_one_that_ended_is_missed(void **state)
{
	(void)state;
	struct shm_error error;
	open_and_take();
	sandbox_remove(&sandbox);
	assert_int_equal(snapshot_take(source, snapshot, &error), -ENOENT);
	assert_int_equal(snapshot_take(source, snapshot, &error), -ENOENT);
	/* the name again, another instance behind it */
	assert_int_equal(sandbox_make(&sandbox), 0);
	assert_int_equal(instance_make(sandbox.directory, topics, 1, &error), 0);
	take();
	assert_int_equal(snapshot->n_topics, 1);
	/* the same instance, another page: a topic more, whose segments are not there yet */
	struct test_topics more = {.topic = topics, .n = 2};
	assert_int_equal(segment_destroy(sandbox.directory, "instance"), 0);
	assert_int_equal(segment_create(sandbox.directory, "instance", SEGMENT_INSTANCE, 7,
	                                sizeof(struct instance_page), fill_test_page, &more, &error),
	                 0);
	take();
	assert_int_equal(snapshot->n_topics, 2);
	assert_true(snapshot->topic[0].lane[0].present);
	assert_false(snapshot->topic[1].lane[0].present);
}

static void nothing_is_created_by_looking(void **state)
{
	(void)state;
	struct shm_error error;
	assert_int_equal(snapshot_open(source, "absent", &error), -ENOENT);
	char path[128];
	snprintf(path, sizeof path, "%s/absent", sandbox.root);
	assert_int_equal(access(path, F_OK), -1);
	snapshot_close(source);
	add_role("tally.0");
	open_and_take();
	snprintf(path, sizeof path, "%s/tally.0.role", sandbox.directory);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/lock", sandbox.directory);
	assert_int_equal(access(path, F_OK), -1);
}

/* In a child: has a role, and reads a topic. */
static void live_and_read(const char *role, int report)
{
	struct instance instance;
	struct topic_reader reader;
	struct shm_error error;
	if (instance_attach(&instance, "test", SEGMENT_READ, &error) != 0 ||
	    topic_reader_attach_stage(&reader, &instance, "ip", "tally", (struct topic_share){.n = 1},
	                              &error) != 0)
		_exit(2);
	live(role, report);
}

#define SPARE 12u /* descriptors: more than a reading keeps */

/* Of a live stage and a live reader, and of a role whose lock nobody holds. */
static void looking_again_and_again_leaves_no_descriptor_open(void **state)
{
	(void)state;
	struct shm_error error;
	struct segment segment;
	int report[2];
	char byte;
	add_role("tally.0");
	add_role("enrich.0");
	int lock = instance_lock(sandbox.directory, "enrich.0.role", 0, NULL);
	assert_true(lock >= 0);
	close(lock);
	assert_int_equal(pipe(report), 0);
	pid_t child = fork();
	if (child == 0)
		live_and_read("tally.0", report[1]);
	assert_true(child > 0);
	assert_int_equal(read(report[0], &byte, 1), 1);
	struct control *control = control_of(&segment, "tally.0");
	assert_non_null(control);
	atomic_store(&control->state, STAGE_RUNNING);
	atomic_store(&control->pid, (uint32_t)child);
	segment_detach(&segment);

	unsigned before = descriptors_open();
	for (unsigned i = 0; i < 20; i++) {
		open_and_take();
		take();
		assert_string_equal(snapshot_state(&snapshot->stage[0]), "running");
		assert_int_equal(snapshot->topic[0].lane[0].group[0].reader_pid, child);
		snapshot_close(source);
		assert_int_equal(descriptors_open(), before);
	}
	/* with few left, whatever can be read is read */
	for (unsigned spare = 0; spare < SPARE; spare++) {
		struct rlimit limit = descriptors_limit(spare);
		if (snapshot_open(source, "test", &error) == 0)
			(void)snapshot_take(source, snapshot, &error);
		descriptors_unlimit(&limit);
		snapshot_close(source);
		assert_int_equal(descriptors_open(), before);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(report[0]);
	close(report[1]);
}

static void following_an_instance_that_comes_and_goes_leaves_no_descriptor_open(void **state)
{
	(void)state;
	struct shm_error error;
	unsigned before = descriptors_open();
	open_and_take();
	for (unsigned i = 0; i < 20; i++) {
		sandbox_remove(&sandbox);
		assert_int_equal(snapshot_take(source, snapshot, &error), -ENOENT);
		assert_int_equal(sandbox_make(&sandbox), 0);
		assert_int_equal(instance_make(sandbox.directory, topics, 2, &error), 0);
		add_role("tally.0");
		int lock = instance_lock(sandbox.directory, "tally.0.role", 0, NULL);
		assert_true(lock >= 0);
		close(lock);
		take();
	}
	snapshot_close(source);
	assert_int_equal(descriptors_open(), before);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_instance_at_rest_is_all_zeros_and_balanced, make, unmake),
	        cmocka_unit_test_setup_teardown(the_ledger_adds_up_while_writers_are_at_work, make, unmake),
	        cmocka_unit_test_setup_teardown(what_waits_and_what_was_read_make_up_what_was_written, make,
	                                        unmake),
	        cmocka_unit_test_setup_teardown(a_stage_whose_lock_nobody_holds_is_dead, make, unmake),
	        cmocka_unit_test_setup_teardown(metrics_come_with_their_names, make, unmake),
	        cmocka_unit_test_setup_teardown(a_histogram_is_one_metric_with_its_buckets, make, unmake),
	        cmocka_unit_test_setup_teardown(the_oldest_event_that_waits_tells_its_age, make, unmake),
	        cmocka_unit_test_setup_teardown(an_event_that_is_overwritten_has_no_age, make, unmake),
	        cmocka_unit_test_setup_teardown(what_a_stage_says_in_words_comes_with_it, make, unmake),
	        cmocka_unit_test_setup_teardown(reading_keeps_the_locks_that_this_process_has, make, unmake),
	        cmocka_unit_test_setup_teardown(
	                an_instance_that_was_replaced_is_followed_and_one_that_ended_is_missed, make, unmake),
	        cmocka_unit_test_setup_teardown(nothing_is_created_by_looking, make, unmake),
	        cmocka_unit_test_setup_teardown(looking_again_and_again_leaves_no_descriptor_open, make,
	                                        unmake),
	        cmocka_unit_test_setup_teardown(
	                following_an_instance_that_comes_and_goes_leaves_no_descriptor_open, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
