/* Ports: attached, recovered, following the instance's page (tests/fixture/pages.h), by a stage
 * that is in this process. ports_kill_test.c has real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage/stage.h"
#include "shm/folder.h"
#include "tests/fixture/pages.h"

#define RECORD 16u /* bytes of one with its number */

static struct {
	struct control *control;
	struct ports ports;
	struct lane lane[2];
	struct queue queue[2];
	struct redo redo;
} f; /* a stage in this process */

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof f);
	f.control = calloc(1, sizeof *f.control);
	pages_make();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ports_close(&f.ports);
	pages_remove();
	free(f.control);
	return 0;
}

static const char *const in[] = {"in", NULL}, *const out[] = {"out", NULL}, *const jobs[] = {"jobs", NULL},
                         *const none[] = {"none", NULL};

static struct ports_wanted copy_wants(void)
{
	return (struct ports_wanted){
	        .instance = &pages.instance,
	        .role = "copy.0",
	        .group = "copy",
	        .reads = in,
	        .writes = out,
	        .lane = f.lane,
	        .queue = f.queue,
	        .redo = &f.redo,
	        .control = f.control,
	        .recovered_notes = 3,
	};
}

static void open_copy(const struct ports_wanted *wanted)
{
	int result = ports_open(&f.ports, wanted, &pages.error);
	if (result != 0)
		fail_msg("%s", pages.error.text);
}

/* Written as the role of its lane. */
static void write_in(const char *role, uint64_t n)
{
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &pages.instance, "in", role, &pages.error), 0);
	char *at = stream_reserve(&writer.stream, n * RECORD);
	assert_non_null(at);
	for (uint64_t i = 0; i < n; i++)
		memcpy(record_put(at + i * RECORD, 1, sizeof i), &i, sizeof i);
	stream_commit(&writer.stream, n * RECORD, n);
	topic_writer_detach(&writer);
}

static void put_out(struct lane *lane, uint64_t number)
{
	char *at = lane_room(lane, RECORD);
	assert_non_null(at);
	memcpy(record_put(at, 1, sizeof number), &number, sizeof number);
	lane_keep(lane, RECORD);
	lane->received++;
}

static void what_was_declared_is_attached_by_name(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	wanted.takes = jobs;
	open_copy(&wanted);
	assert_ptr_equal(ports_reader(&f.ports, "in"), &f.ports.reader[0]);
	assert_ptr_equal(ports_writer(&f.ports, "out"), &f.ports.writer[0]);
	assert_ptr_equal(ports_queue(&f.ports, "jobs"), &f.queue[0]);
	assert_ptr_equal(f.lane[0].writer, &f.ports.writer[0]);
	assert_int_equal(ports_private(&f.ports)->lives, 1);
	assert_int_equal(f.ports.role_number, 2);
}

static void the_flow_table_says_what_a_role_wants(void **state)
{
	(void)state;
	struct ports_wanted tally = ports_declared(&pages.instance, "tally.0", NULL);
	assert_string_equal(tally.group, "tally");
	assert_string_equal(tally.reads[0], "ip");
	assert_string_equal(tally.reads[3], "delivery");
	assert_null(tally.reads[4]);
	struct ports_wanted enrich = ports_declared(&pages.instance, "enrich.0", NULL);
	assert_string_equal(enrich.reads[0], "track.raw");
	assert_null(enrich.reads[1]);
	struct ports_wanted http = ports_declared(&pages.instance, "ingest-http.1", NULL);
	assert_string_equal(http.puts[0], "postback");
	struct ports_wanted udp = ports_declared(&pages.instance, "ingest-udp.1", "json");
	assert_string_equal(udp.writes[0], "metric");
	assert_string_equal(udp.writes[1], "track.raw");
	struct ports_wanted other = ports_declared(&pages.instance, "nobody.0", NULL);
	assert_true(other.reads == NULL && other.writes == NULL && other.puts == NULL);
}

/* Its row names ip, metric, track and delivery. */
static void a_stage_reads_those_of_its_topics_that_the_instance_keeps_for_it(void **state)
{
	(void)state;
	static const struct test_topic topics[] = {
	        {"delivery", 65536, 1, {"deliver.0"}, "tally"},
	        {"track", 65536, 1, {"enrich.0"}, "others"},
	        {"raw", 65536, 1, {"udp.0"}, "tally"},
	        {"ip", 65536, 1, {"udp.1"}, "tally"},
	};
	struct instance instance;
	struct config *config;
	char *errors, directory[120];
	snprintf(directory, sizeof directory, "%s/second", pages.sandbox.root);
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(instance_make(directory, topics, 4, &pages.error), 0);
	assert_int_equal(instance_attach(&instance, "second", SEGMENT_READ, &pages.error), 0);
	config = config_load(NULL, NULL, 0, &errors);
	assert_non_null(config);
	struct ports_wanted tally = ports_declared(&instance, "tally.0", NULL);
	ports_declare_listed(&tally, config);
	assert_int_equal(ports_open(&f.ports, &tally, &pages.error), 0);
	assert_int_equal(f.ports.n_reads, 2);
	assert_string_equal(f.ports.wanted.reads[0], "ip");
	assert_string_equal(f.ports.wanted.reads[1], "delivery");
	ports_close(&f.ports);
	/* Where it has none of them nothing is read. */
	tally = ports_declared(&pages.instance, "tally.0", NULL);
	ports_declare_listed(&tally, config);
	assert_int_equal(ports_open(&f.ports, &tally, &pages.error), 0);
	assert_int_equal(f.ports.n_reads, 0);
	config_free(config);
	instance_detach(&instance);
}

static void what_cannot_be_opened_says_why_and_holds_nothing(void **state)
{
	(void)state;
	static const char *const many[] = {"out", "out", "out", "out", "out", "out", "out", "out", NULL};
	const struct {
		const char *const *reads, *const *writes, *const *takes;
		int result;
		const char *why;
	} cases[] = {
	        {in, none, NULL, -ENOENT, "topic \"none\" does not exist"},
	        {none, out, NULL, -ENOENT, "topic \"none\" does not exist"},
	        {in, in, NULL, -ENOENT, "has no lane for the role \"copy.0\""},
	        {out, out, NULL, -ENOENT, "has no group \"copy\""},
	        {in, out, none, -ENOENT, "no queue \"none\" for copy.0"},
	        {in, many, NULL, -EINVAL, "at most"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ports_wanted wanted = copy_wants();
		wanted.reads = cases[i].reads;
		wanted.writes = cases[i].writes;
		wanted.takes = cases[i].takes;
		assert_int_equal(ports_open(&f.ports, &wanted, &pages.error), cases[i].result);
		if (strstr(pages.error.text, cases[i].why) == NULL)
			fail_msg("no \"%s\" in: %s", cases[i].why, pages.error.text);
		assert_null(f.redo.note);
		assert_null(f.lane[0].writer);
		assert_null(f.ports.reader[0].instance);
		assert_null(f.ports.private_segment.body);
	}
	struct ports_wanted wanted = copy_wants();
	open_copy(&wanted); /* so nothing is in the way */
}

static void a_published_note_of_the_last_life_is_applied_once_and_counted(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct record_batch batch;
	unsigned lane;
	write_in("source.0", 5);
	open_copy(&wanted);
	assert_true(topic_peek(&f.ports.reader[0], &lane, &batch));
	while (record_next(&batch) != NULL)
		put_out(&f.lane[0], 1);
	stream_pass(&f.ports.reader[0].lane[0], &batch, 5);
	/* As lanes_commit does until it has published, and then dies. */
	const struct stream_writer *stream = &f.ports.writer[0].stream;
	redo_add(&f.redo, 1, &stream->shared->records, 5);
	redo_add(&f.redo, 1, &stream->shared->tail, stream->tail + f.lane[0].used);
	ports_note(&f.ports, 0, lane);
	redo_publish(&f.redo);
	ports_close(&f.ports);
	for (unsigned life = 0; life < 2; life++) {
		open_copy(&wanted);
		assert_int_equal(f.control->metric[3], 1);
		assert_int_equal(f.ports.writer[0].stream.records, 5);
		assert_int_equal(f.ports.reader[0].lane[0].records, 5);
		assert_false(topic_peek(&f.ports.reader[0], &lane, &batch));
		ports_close(&f.ports);
	}
}

/* Passes all of "in" and dies between publishing and storing. */
static void pass_and_die(const struct ports_wanted *wanted)
{
	struct record_batch batch;
	unsigned lane;
	open_copy(wanted);
	assert_true(topic_peek(&f.ports.reader[0], &lane, &batch));
	while (record_next(&batch) != NULL)
		;
	stream_pass(&f.ports.reader[0].lane[0], &batch, 5);
	ports_note(&f.ports, 0, lane);
	redo_publish(&f.redo);
	ports_close(&f.ports);
}

static void a_note_of_a_life_with_other_topics_goes_where_it_was_meant(void **state)
{
	(void)state;
	struct ports_wanted reads = copy_wants(), both = copy_wants();
	struct record_batch batch;
	unsigned lane;
	reads.writes = NULL;
	write_in("source.0", 5);
	pass_and_die(&reads); /* its group is region 1, which is the lane "out" of the next life */
	open_copy(&both);
	assert_int_equal(f.control->metric[3], 1);
	assert_int_equal(f.ports.reader[0].lane[0].records, 5);
	assert_false(topic_peek(&f.ports.reader[0], &lane, &batch));
	assert_int_equal(f.ports.writer[0].stream.records, 0);
	assert_int_equal(f.ports.writer[0].stream.tail, 0);
}

static void words_for_what_the_next_life_does_not_have_are_dropped(void **state)
{
	(void)state;
	struct ports_wanted reads = copy_wants(), writes = copy_wants();
	reads.writes = NULL;
	writes.reads = NULL; /* none are listed */
	write_in("source.0", 5);
	pass_and_die(&reads);
	open_copy(&writes);
	assert_int_equal(f.control->metric[3], 1);
	assert_int_equal(f.ports.writer[0].stream.records, 0);
	assert_int_equal(f.ports.writer[0].stream.tail, 0);
	ports_close(&f.ports);
	open_copy(&reads);
	assert_int_equal(f.control->metric[3], 1);
	assert_int_equal(f.ports.reader[0].lane[0].records, 0);
}

/* A life that takes two messages, fills a third slot and dies. */
static void take_and_die(const struct ports_wanted *wanted)
{
	struct queue_slot slot;
	open_copy(wanted);
	for (uint64_t i = 1; i <= 3; i++)
		assert_true(queue_push(&f.queue[0], &i, sizeof i));
	assert_true(queue_take(&f.queue[0], &slot));
	assert_true(queue_take(&f.queue[0], &slot));
	assert_true(queue_reserve(&f.queue[0], &slot));
	ports_close(&f.ports); /* claims stay claimed */
}

static uint64_t number_in(const struct queue_slot *slot)
{
	uint64_t number;
	memcpy(&number, slot->data, sizeof number);
	return number;
}

static void what_the_last_life_had_taken_is_given_back(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct queue_slot slot;
	uint64_t sum = 0;
	wanted.takes = jobs;
	take_and_die(&wanted);
	open_copy(&wanted);
	assert_int_equal(f.ports.given_back, 2);
	assert_int_equal(f.ports.dropped, 1);
	while (queue_take(&f.queue[0], &slot)) {
		sum += number_in(&slot);
		assert_int_equal(queue_done(&f.queue[0], &slot), 0);
	}
	assert_int_equal(sum, 1 + 2 + 3);
}

static void a_stage_that_takes_up_gets_what_its_last_life_had_taken(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct queue_slot slot;
	struct queue_counts counts;
	wanted.takes = wanted.puts = jobs; /* it puts there, too: that gives nothing back */
	wanted.takes_up = true;
	take_and_die(&wanted);
	open_copy(&wanted);
	assert_int_equal(f.ports.given_back, 0);
	for (uint64_t i = 1; i <= 2; i++) {
		assert_true(ports_take_up(&f.ports, "jobs", &slot));
		assert_int_equal(number_in(&slot), i);
		assert_int_equal(queue_done(&f.queue[0], &slot), 0);
	}
	assert_false(ports_take_up(&f.ports, "jobs", &slot));
	queue_count(&f.queue[0], &counts);
	assert_int_equal(counts.ready, 1);
	assert_int_equal(counts.filling, 0);
}

/* A life that dies when it has published the first of three messages that it puts as one, or right
 * before it has decided to. */
static void put_and_die(const struct ports_wanted *wanted, bool decided)
{
	struct queue_slot slot[3];
	open_copy(wanted);
	for (uint64_t i = 0; i < 3; i++) {
		uint32_t length = sizeof i;
		assert_true(queue_reserve(&f.queue[0], &slot[i]));
		memcpy(slot[i].data, &i, sizeof i);
		memcpy((char *)slot[i].data - QUEUE_LENGTH_BYTES, &length, sizeof length);
	}
	if (decided) {
		atomic_store(&ports_private(&f.ports)->decided, 1);
		assert_int_equal(queue_commit(&f.queue[0], &slot[0], sizeof(uint64_t)), 0);
	}
	ports_close(&f.ports);
}

static unsigned take_all(void)
{
	struct queue_slot slot;
	unsigned n = 0;
	for (; queue_take(&f.queue[0], &slot); n++) {
		assert_int_equal(slot.length, sizeof(uint64_t));
		assert_int_equal(number_in(&slot), n);
		assert_int_equal(queue_done(&f.queue[0], &slot), 0);
	}
	return n;
}

static void what_the_last_life_had_decided_to_put_is_put(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	wanted.puts = jobs;
	put_and_die(&wanted, true);
	open_copy(&wanted);
	assert_int_equal(f.ports.published, 2);
	assert_int_equal(f.ports.dropped, 0);
	assert_int_equal(atomic_load(&ports_private(&f.ports)->decided), 0);
	assert_int_equal(take_all(), 3);
	ports_close(&f.ports);
	put_and_die(&wanted, false);
	open_copy(&wanted);
	assert_int_equal(f.ports.published, 0);
	assert_int_equal(f.ports.dropped, 3);
	assert_int_equal(take_all(), 0);
}

static void several_messages_are_put_as_one(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct queue_slot slot[3];
	struct ports none_open = {0};
	wanted.puts = jobs;
	open_copy(&wanted);
	for (unsigned n = 0; n <= 3; n++) {
		for (uint64_t i = 0; i < n; i++) {
			assert_true(queue_reserve(&f.queue[0], &slot[i]));
			memcpy(slot[i].data, &i, sizeof i);
			slot[i].length = sizeof i;
		}
		assert_int_equal(ports_put_all(n == 2 ? &none_open : &f.ports, &f.queue[0], slot, n), 0);
		assert_int_equal(atomic_load(&ports_private(&f.ports)->decided), 0);
		assert_int_equal(take_all(), n);
	}
	/* Repaired while it lived: what was taken from it is not put. */
	assert_true(queue_reserve(&f.queue[0], &slot[0]) && queue_reserve(&f.queue[0], &slot[1]));
	assert_int_equal(queue_cancel(&f.queue[0], &slot[0]), 0);
	slot[0].length = slot[1].length = sizeof(uint64_t);
	memset(slot[1].data, 0, sizeof(uint64_t));
	assert_int_equal(ports_put_all(&f.ports, &f.queue[0], slot, 2), -EPERM);
	assert_int_equal(take_all(), 1);
}

/* ---- another page ---- */

static void follow(int expected)
{
	assert_int_equal(instance_follow(&pages.instance, &pages.error), 0);
	assert_int_equal(ports_follow(&f.ports, &pages.error), expected);
}

static void lanes_that_come_are_read_and_what_was_passed_stays(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct record_batch batch;
	unsigned lane;
	open_copy(&wanted);
	write_in("source.0", 5);
	assert_true(topic_peek(&f.ports.reader[0], &lane, &batch));
	stream_pass(&f.ports.reader[0].lane[0], &batch, 0);
	uint64_t position = f.ports.reader[0].lane[0].position;
	pages_add_lane(1);
	pages_replace(pages_second_topics, pages_first_queues);
	follow(0);
	assert_int_equal(f.ports.reader[0].n_lanes, 2);
	assert_int_equal(f.ports.reader[0].lane[0].position, position);
	assert_int_equal(f.ports.reader[0].lane[0].cursor->position, 0);
	write_in("source.1", 3);
	while (topic_peek(&f.ports.reader[0], &lane, &batch) && lane != 1)
		stream_pass(&f.ports.reader[0].lane[lane], &batch, 0);
	uint64_t n = 0;
	while (record_next(&batch) != NULL)
		n++;
	assert_int_equal(n, 3);
}

static void a_lane_that_is_not_there_yet_is_attached_by_a_later_look(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	open_copy(&wanted);
	pages_replace(pages_second_topics, pages_first_queues);
	follow(-ENOENT);
	assert_non_null(strstr(pages.error.text, "in.lane.1"));
	assert_int_equal(f.ports.reader[0].n_lanes, 1);
	pages_add_lane(1);
	follow(0);
	assert_int_equal(f.ports.reader[0].n_lanes, 2);
}

static void a_share_takes_only_the_lanes_that_are_its_own(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	wanted.share = (struct topic_share){.index = 0, .n = 2};
	open_copy(&wanted);
	pages_add_lane(1);
	pages_replace(pages_second_topics, pages_first_queues);
	follow(0);
	assert_non_null(f.ports.reader[0].lane[0].shared);
	assert_null(f.ports.reader[0].lane[1].shared);
}

static void a_lane_that_became_another_one_is_attached_anew_between_two_batches(void **state)
{
	(void)state;
	/* out and in have changed places in the page, and out has two lanes, of which the role's is
	 * the second. */
	static const struct test_topic moved[] = {
	        {"in", PAGES_IN_BYTES, 1, {"source.0"}, "copy"},
	        {"out", PAGES_OUT_BYTES, 2, {"", "copy.0"}, NULL},
	};
	struct ports_wanted wanted = copy_wants();
	char name[SEGMENT_NAME_MAX];
	open_copy(&wanted);
	put_out(&f.lane[0], 1);
	assert_int_equal(stream_create(pages.sandbox.directory, instance_lane_name(name, "out", 1), 7,
	                               PAGES_OUT_BYTES, &pages.error),
	                 0);
	pages_replace(moved, pages_first_queues);
	follow(-EAGAIN);
	assert_int_equal(f.ports.writer[0].lane, 0);
	ports_commit(&f.ports);
	follow(0);
	assert_int_equal(f.ports.writer[0].lane, 1);
	put_out(&f.lane[0], 2);
	ports_commit(&f.ports);
	assert_int_equal(f.ports.writer[0].stream.shared->records, 1);
	assert_int_equal(f.ports.writer[0].stream.shared->ledger.received, 1);
}

/* Removes a lane's file and makes another of the same size in its place, as a reload does with an
 * empty one. */
static void replace_lane(const char *topic, unsigned lane, uint64_t bytes)
{
	char name[SEGMENT_NAME_MAX];
	instance_lane_name(name, topic, lane);
	assert_int_equal(folder_unlink(pages.sandbox.directory, name), 0);
	assert_int_equal(stream_create(pages.sandbox.directory, name, 7, bytes, &pages.error), 0);
}

static void a_lane_replaced_while_the_stage_attached_is_attached_anew(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct record_batch batch;
	unsigned lane;
	open_copy(&wanted);
	const void *before = f.ports.reader[0].lane[0].shared;
	replace_lane("in", 0, PAGES_IN_BYTES);
	replace_lane("out", 0, PAGES_OUT_BYTES);
	pages_replace(pages_first_topics, pages_first_queues);
	follow(0);
	assert_ptr_not_equal(f.ports.reader[0].lane[0].shared, before);
	write_in("source.0", 5);
	assert_true(topic_peek(&f.ports.reader[0], &lane, &batch));
	put_out(&f.lane[0], 1);
	ports_commit(&f.ports);
	struct shm_error error;
	int result;
	char name[SEGMENT_NAME_MAX];
	struct stream_shared *written = stream_head_map(
	        pages.sandbox.directory, instance_lane_name(name, "out", 0), SEGMENT_READ, &result, &error);
	assert_non_null(written);
	assert_int_equal(written->records, 1);
	stream_head_unmap(written);
}

static void what_only_a_new_life_can_follow_is_said(void **state)
{
	(void)state;
	static const struct test_topic without[] = {
	        {"in", PAGES_IN_BYTES, 1, {"source.0"}, "copy"},
	        {"out", PAGES_OUT_BYTES, 1, {"other.0"}, NULL},
	};
	struct ports_wanted wanted = copy_wants();
	wanted.puts = jobs;
	open_copy(&wanted);
	pages_replace(pages_first_topics, pages_second_queues);
	follow(-ESTALE);
	assert_non_null(strstr(pages.error.text, "queue \"jobs\" is another one by now"));
	pages_replace(without, pages_first_queues);
	follow(-ESTALE);
	assert_non_null(strstr(pages.error.text, "topic \"out\""));
	pages_replace(pages_first_topics, pages_first_queues);
	follow(0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(what_was_declared_is_attached_by_name),
	        T(the_flow_table_says_what_a_role_wants),
	        T(a_stage_reads_those_of_its_topics_that_the_instance_keeps_for_it),
	        T(what_cannot_be_opened_says_why_and_holds_nothing),
	        T(a_published_note_of_the_last_life_is_applied_once_and_counted),
	        T(a_note_of_a_life_with_other_topics_goes_where_it_was_meant),
	        T(words_for_what_the_next_life_does_not_have_are_dropped),
	        T(what_the_last_life_had_taken_is_given_back),
	        T(a_stage_that_takes_up_gets_what_its_last_life_had_taken),
	        T(what_the_last_life_had_decided_to_put_is_put),
	        T(several_messages_are_put_as_one),
	        T(lanes_that_come_are_read_and_what_was_passed_stays),
	        T(a_lane_that_is_not_there_yet_is_attached_by_a_later_look),
	        T(a_share_takes_only_the_lanes_that_are_its_own),
	        T(a_lane_that_became_another_one_is_attached_anew_between_two_batches),
	        T(a_lane_replaced_while_the_stage_attached_is_attached_anew),
	        T(what_only_a_new_life_can_follow_is_said),
	};
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
