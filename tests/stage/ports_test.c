/* Ports: attached, recovered, following the instance's page; and two real stages that are killed
 * and whose page is replaced under them.
 *
 *     source.0 --> in lane 0 --.
 *     source.1 --> in lane 1 --+--> copy.0 --> out        source.1 comes with the second page
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "stage/stage.h"
#include "shm/folder.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define RECORD   16u /* bytes of one with its number */
#define PER_LANE 20000u
#define IN_BYTES 65536u

/* ---- the instance ---- */

static const char *const role_names[] = {"source.0", "copy.0", "source.1"};

struct page {
	struct test_topics topics;
	unsigned n_roles;
};

static void fill_page(void *body, void *argument)
{
	struct instance_page *page = body;
	struct page *wanted = argument;
	fill_test_page(body, &wanted->topics);
	page->n_roles = wanted->n_roles;
	for (unsigned i = 0; i < wanted->n_roles; i++) {
		snprintf(page->role[i].name, SHM_NAME_MAX, "%s", role_names[i]);
		snprintf(page->role[i].program, SHM_NAME_MAX, "%.*s", (int)strcspn(role_names[i], "."),
		         role_names[i]);
	}
}

static struct {
	struct sandbox sandbox;
	struct instance instance;
	struct control *control;
	struct shm_error error;
	/* of a stage in this process */
	struct ports ports;
	struct lane lane[2];
	struct queue queue[2];
	struct redo redo;
} f;

static const struct test_topic first_topics[] = {
        {"in", IN_BYTES, 1, {"source.0"}, "copy"},
        {"out", 1u << 20, 1, {"copy.0"}, NULL},
};
static const struct test_topic second_topics[] = {
        {"in", IN_BYTES, 2, {"source.0", "source.1"}, "copy"},
        {"out", 1u << 20, 1, {"copy.0"}, NULL},
};
static const struct test_queue first_queues[] = {{"jobs", 16, 64}};
static const struct test_queue second_queues[] = {{"jobs", 32, 64}};

/* As the supervisor does it: made elsewhere, renamed into place. */
static void replace_page(const struct test_topic *topic, const struct test_queue *queue)
{
	struct page page = {.topics = {topic, 2, queue, 1}, .n_roles = 3};
	char next[160], from[200], to[200];
	snprintf(next, sizeof next, "%s/next", f.sandbox.directory);
	snprintf(from, sizeof from, "%s/instance", next);
	snprintf(to, sizeof to, "%s/instance", f.sandbox.directory);
	assert_true(mkdir(next, 0700) == 0 || errno == EEXIST);
	assert_int_equal(segment_create(next, "instance", SEGMENT_INSTANCE, 7, sizeof(struct instance_page),
	                                fill_page, &page, &f.error),
	                 0);
	assert_int_equal(rename(from, to), 0);
}

static void add_lane(unsigned lane)
{
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(stream_create(f.sandbox.directory, instance_lane_name(name, "in", lane), 7, IN_BYTES,
	                               &f.error),
	                 0);
}

static int set_up(void **state)
{
	(void)state;
	char name[SEGMENT_NAME_MAX];
	memset(&f, 0, sizeof f);
	f.control = calloc(1, sizeof *f.control);
	assert_int_equal(sandbox_make(&f.sandbox), 0);
	assert_int_equal(
	        instance_make_queues(f.sandbox.directory, first_topics, 2, first_queues, 1, &f.error), 0);
	replace_page(first_topics, first_queues); /* with roles */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(segment_create(f.sandbox.directory,
		                                instance_private_name(name, role_names[i]), SEGMENT_PRIVATE,
		                                7, PRIVATE_NOTE_BYTES, NULL, NULL, &f.error),
		                 0);
		assert_int_equal(segment_create(f.sandbox.directory, instance_stage_name(name, role_names[i]),
		                                SEGMENT_STAGE, 7, sizeof(struct control), NULL, NULL,
		                                &f.error),
		                 0);
	}
	assert_int_equal(instance_attach(&f.instance, "test", SEGMENT_READ, &f.error), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	ports_close(&f.ports);
	instance_detach(&f.instance);
	sandbox_remove(&f.sandbox);
	free(f.control);
	return 0;
}

/* ---- ports in this process ---- */

static const char *const in[] = {"in", NULL}, *const out[] = {"out", NULL}, *const jobs[] = {"jobs", NULL},
                         *const none[] = {"none", NULL};

static struct ports_wanted copy_wants(void)
{
	return (struct ports_wanted){
	        .instance = &f.instance,
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
	int result = ports_open(&f.ports, wanted, &f.error);
	if (result != 0)
		fail_msg("%s", f.error.text);
}

/* Written as the role of its lane. */
static void write_in(const char *role, uint64_t n)
{
	struct topic_writer writer;
	assert_int_equal(topic_writer_attach(&writer, &f.instance, "in", role, &f.error), 0);
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
	struct ports_wanted tally = ports_declared(&f.instance, "tally.0", NULL);
	assert_string_equal(tally.group, "tally");
	assert_string_equal(tally.reads[0], "ip");
	assert_string_equal(tally.reads[3], "delivery");
	assert_null(tally.reads[4]);
	struct ports_wanted enrich = ports_declared(&f.instance, "enrich.0", NULL);
	assert_string_equal(enrich.reads[0], "track.raw");
	assert_null(enrich.reads[1]);
	struct ports_wanted http = ports_declared(&f.instance, "ingest-http.1", NULL);
	assert_string_equal(http.puts[0], "postback");
	struct ports_wanted udp = ports_declared(&f.instance, "ingest-udp.1", "json");
	assert_string_equal(udp.writes[0], "metric");
	assert_string_equal(udp.writes[1], "track.raw");
	struct ports_wanted other = ports_declared(&f.instance, "nobody.0", NULL);
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
	snprintf(directory, sizeof directory, "%s/second", f.sandbox.root);
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(instance_make(directory, topics, 4, &f.error), 0);
	assert_int_equal(instance_attach(&instance, "second", SEGMENT_READ, &f.error), 0);
	config = config_load(NULL, NULL, 0, &errors);
	assert_non_null(config);
	struct ports_wanted tally = ports_declared(&instance, "tally.0", NULL);
	ports_declare_listed(&tally, config);
	assert_int_equal(ports_open(&f.ports, &tally, &f.error), 0);
	assert_int_equal(f.ports.n_reads, 2);
	assert_string_equal(f.ports.wanted.reads[0], "ip");
	assert_string_equal(f.ports.wanted.reads[1], "delivery");
	ports_close(&f.ports);
	/* Where it has none of them nothing is read. */
	tally = ports_declared(&f.instance, "tally.0", NULL);
	ports_declare_listed(&tally, config);
	assert_int_equal(ports_open(&f.ports, &tally, &f.error), 0);
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
		assert_int_equal(ports_open(&f.ports, &wanted, &f.error), cases[i].result);
		if (strstr(f.error.text, cases[i].why) == NULL)
			fail_msg("no \"%s\" in: %s", cases[i].why, f.error.text);
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
	assert_int_equal(instance_follow(&f.instance, &f.error), 0);
	assert_int_equal(ports_follow(&f.ports, &f.error), expected);
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
	add_lane(1);
	replace_page(second_topics, first_queues);
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
	replace_page(second_topics, first_queues);
	follow(-ENOENT);
	assert_non_null(strstr(f.error.text, "in.lane.1"));
	assert_int_equal(f.ports.reader[0].n_lanes, 1);
	add_lane(1);
	follow(0);
	assert_int_equal(f.ports.reader[0].n_lanes, 2);
}

static void a_share_takes_only_the_lanes_that_are_its_own(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	wanted.share = (struct topic_share){.index = 0, .n = 2};
	open_copy(&wanted);
	add_lane(1);
	replace_page(second_topics, first_queues);
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
	        {"in", IN_BYTES, 1, {"source.0"}, "copy"},
	        {"out", 1u << 20, 2, {"", "copy.0"}, NULL},
	};
	struct ports_wanted wanted = copy_wants();
	char name[SEGMENT_NAME_MAX];
	open_copy(&wanted);
	put_out(&f.lane[0], 1);
	assert_int_equal(
	        stream_create(f.sandbox.directory, instance_lane_name(name, "out", 1), 7, 1u << 20, &f.error),
	        0);
	replace_page(moved, first_queues);
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
	assert_int_equal(folder_unlink(f.sandbox.directory, name), 0);
	assert_int_equal(stream_create(f.sandbox.directory, name, 7, bytes, &f.error), 0);
}

static void a_lane_replaced_while_the_stage_attached_is_attached_anew(void **state)
{
	(void)state;
	struct ports_wanted wanted = copy_wants();
	struct record_batch batch;
	unsigned lane;
	open_copy(&wanted);
	const void *before = f.ports.reader[0].lane[0].shared;
	replace_lane("in", 0, IN_BYTES);
	replace_lane("out", 0, 1u << 20);
	replace_page(first_topics, first_queues);
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
	        f.sandbox.directory, instance_lane_name(name, "out", 0), SEGMENT_READ, &result, &error);
	assert_non_null(written);
	assert_int_equal(written->records, 1);
	stream_head_unmap(written);
}

static void what_only_a_new_life_can_follow_is_said(void **state)
{
	(void)state;
	static const struct test_topic without[] = {
	        {"in", IN_BYTES, 1, {"source.0"}, "copy"},
	        {"out", 1u << 20, 1, {"other.0"}, NULL},
	};
	struct ports_wanted wanted = copy_wants();
	wanted.puts = jobs;
	open_copy(&wanted);
	replace_page(first_topics, second_queues);
	follow(-ESTALE);
	assert_non_null(strstr(f.error.text, "queue \"jobs\" is another one by now"));
	replace_page(without, first_queues);
	follow(-ESTALE);
	assert_non_null(strstr(f.error.text, "topic \"out\""));
	replace_page(first_topics, first_queues);
	follow(0);
}

/* ---- real stages ---- */

struct worker {
	struct ports ports;
	struct lane lane;
	struct redo redo;
};

static int worker_init(struct stage *stage, struct shm_error *error)
{
	bool copies = strcmp(stage->ops->name, "copy") == 0;
	struct worker *worker = calloc(1, sizeof *worker);
	struct ports_wanted wanted = {
	        .instance = &stage->instance,
	        .role = stage->role,
	        .group = "copy",
	        .reads = copies ? in : NULL,
	        .writes = copies ? out : in,
	        .lane = &worker->lane,
	        .redo = &worker->redo,
	        .control = stage->control,
	        .recovered_notes = 0,
	};
	stage->own = worker;
	stage->ports = &worker->ports;
	return ports_open(&worker->ports, &wanted, error);
}

static void worker_fini(struct stage *stage)
{
	struct worker *worker = stage->own;
	ports_close(&worker->ports);
	free(worker);
}

static bool keep(struct lane *lane, uint64_t number)
{
	char *at = lane_room(lane, RECORD);
	if (at == NULL)
		return false;
	memcpy(record_put(at, 1, sizeof number), &number, sizeof number);
	lane_keep(lane, RECORD);
	lane->received++;
	return true;
}

static void sleep_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

/* Numbers go on where the lane ends, whatever life wrote the last. */
static bool source_poll(struct stage *stage)
{
	struct worker *worker = stage->own;
	uint64_t next = worker->ports.writer[0].stream.records;
	unsigned n = 0;
	while (n < 8 && next + n < PER_LANE && keep(&worker->lane, (uint64_t)stage->index << 32 | (next + n)))
		n++;
	if (n != 0)
		ports_commit(&worker->ports);
	sleep_us(100); /* so that it lives through all that is to come */
	return n != 0;
}

static bool copy_poll(struct stage *stage)
{
	struct worker *worker = stage->own;
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0, number;
	if (!topic_peek(&worker->ports.reader[0], &lane, &batch))
		return false;
	for (const struct record *record; n < 16 && (record = record_next(&batch)) != NULL; n++) {
		memcpy(&number, record->payload, sizeof number);
		if (!keep(&worker->lane, number))
			abort(); /* it has room for all */
	}
	stream_pass(&worker->ports.reader[0].lane[lane], &batch, n);
	ports_note(&worker->ports, 0, lane);
	ports_commit(&worker->ports);
	return true;
}

static void worker_idle(struct stage *stage, uint64_t timeout_ns)
{
	struct worker *worker = stage->own;
	if (worker->ports.n_reads != 0)
		(void)topic_wait(&worker->ports.reader[0], timeout_ns);
	else
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static const struct metric_description worker_metrics[] = {
        METRIC_ROW(recovered_notes, COUNTER, "notes of the last life that were finished")};

#define WORKER(stage_name, poll_function)                                                             \
	{                                                                                             \
		.name = stage_name, .help = "is a test", .metrics = worker_metrics, .n_metrics = 1,   \
		.init = worker_init, .poll = poll_function, .idle = worker_idle, .fini = worker_fini, \
		.section = "tally"                                                                    \
	}

static const struct stage_ops source_stage = WORKER("source", source_poll);
static const struct stage_ops copy_stage = WORKER("copy", copy_poll);

static pid_t start(const char *role)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/proc/self/exe", role[0] == 's' ? "source" : "copy", "--instance", "test", "--role",
		      role, (char *)NULL);
		_exit(98);
	}
	return pid;
}

static int end(pid_t pid, int signal)
{
	int status = -1;
	assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Kills a role at a random moment and starts it again, some times. */
static void kill_often(pid_t *pid, const char *role, unsigned times, unsigned long *random)
{
	for (unsigned i = 0; i < times; i++) {
		sleep_us(3000 + (unsigned)(draw_next(random) % 15000));
		assert_true(WIFSIGNALED(end(*pid, SIGKILL)));
		*pid = start(role);
	}
}

static const struct control *map_control(struct segment *segment, const char *role)
{
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(segment_attach(segment, f.sandbox.directory, instance_stage_name(name, role),
	                                SEGMENT_STAGE, SEGMENT_READ, &f.error),
	                 0);
	return segment->body;
}

/* Ends a stage in order, once it runs: before that SIGTERM just kills it. */
static void end_well(pid_t pid, const char *role)
{
	struct segment segment;
	const struct control *control = map_control(&segment, role);
	for (unsigned waited = 0; waited < 5000; waited++, sleep_us(1000))
		if (control->pid == (uint32_t)pid && control->state == STAGE_RUNNING)
			break;
	assert_int_equal(end(pid, SIGTERM), 0);
	printf("%s finished %llu notes\n", role, (unsigned long long)control->metric[0]);
	segment_detach(&segment);
}

/* Reads `out`: each lane's numbers in order, none missing, none twice. Returns how many there
 * are. */
static uint64_t look_at_out(struct stream_reader *reader, uint64_t next[2])
{
	struct record_batch batch;
	uint64_t n = 0, number;
	while (stream_peek(reader, &batch)) {
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++) {
			memcpy(&number, record->payload, sizeof number);
			assert_in_range(number >> 32, 0, 1);
			assert_int_equal(number & UINT32_MAX, next[number >> 32]++);
		}
		stream_advance(reader, &batch, n);
	}
	return n;
}

static void killed_and_with_another_page_two_stages_hand_on_each_record_once(void **state)
{
	(void)state;
	unsigned long random = draw_seed(clock_real_ns() | 1);
	struct stream_reader reader;
	struct stream_cursor cursor = {0};
	uint64_t next[2] = {0}, n = 0;
	char path[160];
	snprintf(path, sizeof path, "%s/config.yaml", f.sandbox.directory);
	FILE *file = fopen(path, "we");
	assert_true(file != NULL && fputs("data_dir: /tmp\n", file) >= 0 && fclose(file) == 0);
	assert_int_equal(stream_reader_attach(&reader, f.sandbox.directory, "out.lane.0", &cursor, false,
	                                      STREAM_FROM_CURSOR, &f.error),
	                 0);
	pid_t source = start("source.0"), copy = start("copy.0");
	kill_often(&copy, "copy.0", 8, &random);
	kill_often(&source, "source.0", 8, &random);
	while (next[0] == 0) { /* the copier runs, with the first page */
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	add_lane(1);
	replace_page(second_topics, first_queues);
	pid_t second = start("source.1");
	for (unsigned waited = 0; next[1] == 0 && waited < 10000; waited++) {
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	assert_true(next[1] != 0); /* the copier reads it, in the same life */
	assert_int_equal(waitpid(copy, NULL, WNOHANG), 0);
	kill_often(&copy, "copy.0", 8, &random);
	kill_often(&second, "source.1", 8, &random);
	for (unsigned waited = 0; n < 2 * PER_LANE && waited < 20000; waited++) {
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	assert_int_equal(next[0], PER_LANE);
	assert_int_equal(next[1], PER_LANE);
	assert_int_equal(reader.shared->ledger.received, reader.shared->records);
	end_well(source, "source.0");
	end_well(second, "source.1");
	end_well(copy, "copy.0");
	stream_reader_detach(&reader);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
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
	        T(killed_and_with_another_page_two_stages_hand_on_each_record_once),
	};
	if (argc > 1)
		return stage_main(argc, argv, argv[0][0] == 's' ? &source_stage : &copy_stage);
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
