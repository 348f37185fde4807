/* Segments of an instance: made, taken over by the next supervisor, changed with the configuration,
 * removed. */
#include "tests/fixture/segments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "stage/control.h"
#include "supervisor/lane_file.h"

static void set_state(const char *role, enum stage_state stage_state)
{
	struct shm_error error;
	struct segment segment = {0};
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(segment_attach(&segment, sandbox.directory, instance_stage_name(name, role),
	                                SEGMENT_STAGE, SEGMENT_WRITE, &error),
	                 0);
	atomic_store(&((struct control *)segment.body)->state, (uint32_t)stage_state);
	segment_detach(&segment);
}

/* Writes n records of 100 bytes as the role, numbered from `from`. */
static void write_records(const char *role, uint64_t from, uint64_t n)
{
	struct shm_error error;
	struct instance instance;
	struct topic_writer writer;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_writer_attach(&writer, &instance, "ip", role, &error), 0);
	for (uint64_t i = from; i < from + n; i++) {
		char *at = stream_reserve(&writer.stream, record_bytes(100));
		assert_non_null(at);
		memcpy(record_put(at, 1, 100), &i, sizeof i);
		ledger_add(&writer.stream.shared->ledger.received, 1);
		stream_commit(&writer.stream, record_bytes(100), 1);
	}
	topic_writer_detach(&writer);
	instance_detach(&instance);
}

/* Reads as tally all there is; the records must be numbered on from `from`. Returns how many. */
static uint64_t read_records(uint64_t from)
{
	struct shm_error error;
	struct instance instance;
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(topic_reader_attach_stage(&reader, &instance, "ip", "tally",
	                                           (struct topic_share){.n = 1}, &error),
	                 0);
	while (topic_peek(&reader, &lane, &batch)) {
		uint64_t in_batch = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; in_batch++) {
			uint64_t number;
			memcpy(&number, record->payload, sizeof number);
			assert_int_equal(number, from + n + in_batch);
		}
		assert_false(batch.corrupt);
		stream_advance(&reader.lane[lane], &batch, in_batch);
		n += in_batch;
	}
	topic_reader_detach(&reader);
	instance_detach(&instance);
	return n;
}

static struct lane_file_state look(unsigned lane)
{
	struct lane_file_state lane_state;
	struct shm_error error = {""};
	if (lane_file_look(sandbox.directory, "ip", lane, &lane_state, &error) != 0)
		fail_msg("%s", error.text);
	return lane_state;
}

/* Applies the plan of the text with these required groups in its topic. */
static void apply_with_groups(struct segments *segments, const char *text, const char *first,
                              const char *second)
{
	struct shm_error error = {""};
	struct plan *plan = plan_of("%s", text);
	plan->topic[0].n_required = second == NULL ? 1 : 2;
	snprintf(plan->topic[0].required[0], SHM_NAME_MAX, "%s", first);
	snprintf(plan->topic[0].required[1], SHM_NAME_MAX, "%s", second == NULL ? "" : second);
	if (segments_apply(segments, plan, &error) != 0)
		fail_msg("%s", error.text);
	plan_free(plan);
}

/* Records that wait for the group, which must be there; -1 when it is not. */
static long waits_for(const char *group)
{
	struct shm_error error;
	struct instance instance;
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	long n = 0;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_WRITE, &error), 0);
	int result = topic_reader_attach_stage(&reader, &instance, "ip", group, (struct topic_share){.n = 1},
	                                       &error);
	if (result == 0) {
		while (topic_peek(&reader, &lane, &batch)) {
			uint64_t in_batch = 0;
			while (record_next(&batch) != NULL)
				in_batch++;
			stream_pass(&reader.lane[lane], &batch, in_batch);
			n += (long)in_batch;
		}
		topic_reader_detach(&reader);
	}
	instance_detach(&instance);
	return result == 0 ? n : -1;
}

static const char small[] = "ingest: {udp: [{listen: ':1', buffers: 16}]}\ntopics: {ip: {size: 64KiB}}";
static const char large[] = "ingest: {udp: [{listen: ':1', buffers: 16}]}\ntopics: {ip: {size: 256KiB}}";
static const char two[] =
        "ingest: {udp: [{listen: ':1', buffers: 16, processes: 2}]}\ntopics: {ip: {size: 64KiB}}";

static void a_group_that_the_configuration_adds_begins_with_what_comes_then(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, small);
	write_records("ingest-udp.0", 0, 5);
	apply_with_groups(&segments, small, "tally", "lines");
	assert_int_equal(waits_for("lines"), 0);
	write_records("ingest-udp.0", 5, 3);
	assert_int_equal(waits_for("lines"), 3);
	assert_int_equal(waits_for("tally"), 8);
	/* The same again changes nothing, nor does another order. */
	apply_with_groups(&segments, small, "lines", "tally");
	assert_int_equal(waits_for("lines"), 3);
	assert_int_equal(waits_for("tally"), 8);
	assert_int_equal(segments_remove(&segments), 0);
	segments_fini(&segments);
}

static void a_group_that_the_configuration_drops_holds_nobody_up(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, small);
	apply_with_groups(&segments, small, "tally", "lines");
	write_records("ingest-udp.0", 0, 4);
	assert_int_equal(read_records(0), 4);
	assert_string_equal(look(0).slowest, "lines");
	apply_with_groups(&segments, small, "tally", NULL);
	assert_int_equal(waits_for("lines"), -1);
	assert_int_equal(look(0).waiting_records, 0);
	/* Under the same name it begins anew. */
	apply_with_groups(&segments, small, "tally", "lines");
	assert_int_equal(waits_for("lines"), 0);
	assert_int_equal(segments_remove(&segments), 0);
	segments_fini(&segments);
}

static void a_group_of_an_outside_program_is_not_taken(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error = {""};
	struct instance instance;
	struct topic_reader reader;
	must_apply(&segments, small);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_WRITE, &error), 0);
	assert_int_equal(topic_reader_attach(&reader, &instance, "ip", "lines", GROUP_REQUIRED,
	                                     STREAM_FROM_TAIL, &error),
	                 0);
	topic_reader_detach(&reader);
	instance_detach(&instance);
	struct plan *plan = plan_of("%s", small);
	snprintf(plan->topic[0].required[plan->topic[0].n_required++], SHM_NAME_MAX, "lines");
	assert_int_equal(segments_apply(&segments, plan, &error), -EPERM);
	assert_non_null(strstr(error.text, "made by an outside program"));
	plan_free(plan);
	assert_int_equal(segments_remove(&segments), 0);
	segments_fini(&segments);
}

static void all_segments_of_the_plan_are_made_and_removed(void **state)
{
	(void)state;
	struct segments segments;
	struct segment segment = {0};
	struct shm_error error = {""};
	must_apply(&segments, small);
	assert_false(segments.adopted);
	assert_int_not_equal(segments.generation, 0);
	struct instance instance;
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(instance.page->n_topics, 1);
	assert_int_equal(instance.page->supervisor_pid, getpid());
	assert_int_equal(instance.generation, segments.generation);
	instance_detach(&instance);
	assert_int_equal(segment_attach(&segment, sandbox.directory, "ingest-udp.0.private", SEGMENT_PRIVATE,
	                                SEGMENT_READ, &error),
	                 0);
	segment_detach(&segment);
	assert_int_equal(segment_attach(&segment, sandbox.directory, "tally.0.stage", SEGMENT_STAGE,
	                                SEGMENT_READ, &error),
	                 0);
	assert_int_equal(((struct control *)segment.body)->last_exit, -1);
	segment_detach(&segment);
	assert_int_equal(segment_attach(&segment, sandbox.directory, "tally.0.errand", SEGMENT_ERRAND,
	                                SEGMENT_READ, &error),
	                 0);
	segment_detach(&segment);
	/* one that takes no errands */
	assert_int_equal(segment_attach(&segment, sandbox.directory, "ingest-udp.0.errand", SEGMENT_ERRAND,
	                                SEGMENT_READ, &error),
	                 -ENOENT);
	assert_int_equal(segments_remove(&segments), 0);
	assert_int_equal(access(sandbox.directory, F_OK), -1);
	segments_fini(&segments);
}

static void the_next_supervisor_goes_on_from_the_cursors(void **state)
{
	(void)state;
	struct segments first, second;
	must_apply(&first, small);
	write_records("ingest-udp.0", 0, 100);
	assert_int_equal(segments_waiting(&first, NULL), 100);
	must_apply(&second, small);
	assert_true(second.adopted);
	assert_int_equal(second.generation, first.generation);
	assert_int_equal(segments_waiting(&second, NULL), 100);
	struct instance_page *page = first.page.body;
	assert_int_equal(page->draining, 0); /* the page is the same file: nothing changed */
	assert_int_equal(read_records(0), 100);
	write_records("ingest-udp.0", 100, 10);
	assert_int_equal(read_records(100), 10);
	assert_int_equal(segments_waiting(&second, NULL), 0);
	segments_fini(&first);
	segments_fini(&second);
}

static void new_lanes_are_added_and_the_old_page_says_replaced(void **state)
{
	(void)state;
	struct segments first, second;
	struct instance instance;
	struct shm_error error = {""};
	must_apply(&first, small);
	write_records("ingest-udp.0", 0, 7);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	must_apply(&second, two);
	assert_int_equal(((struct instance_page *)first.page.body)->draining, 0);
	assert_int_equal(((struct instance_page *)first.page.body)->replaced, 1);
	assert_int_equal(((struct instance_page *)second.page.body)->draining, 0);
	assert_int_equal(((struct instance_page *)second.page.body)->replaced, 0);
	/* who is attached takes the new page, and hears there of the end */
	assert_int_equal(instance_look(&instance), INSTANCE_REPLACED);
	assert_int_equal(instance.page->n_roles, first.old->n_roles);
	assert_int_equal(instance_follow(&instance, &error), 0);
	assert_int_equal(instance_look(&instance), INSTANCE_IN_PLACE);
	assert_int_equal(instance.page->n_roles, second.old->n_roles);
	segments_set_draining(&second);
	assert_int_equal(instance.page->draining, 1);
	instance_detach(&instance);
	assert_int_equal(look(0).waiting_records, 7);
	assert_string_equal(look(0).slowest, "tally");
	assert_int_equal(look(1).waiting_records, 0);
	assert_int_equal(read_records(0), 7);
	write_records("ingest-udp.1", 0, 3);
	assert_int_equal(read_records(0), 3);
	segments_fini(&first);
	segments_fini(&second);
}

static void an_empty_lane_takes_its_new_size_and_goes_on_at_its_position(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, small);
	/* several times round, so that positions are larger than the lane */
	for (uint64_t from = 0; from < 4000; from += 400) {
		write_records("ingest-udp.0", from, 400);
		assert_int_equal(read_records(from), 400);
	}
	set_state("ingest-udp.0", STAGE_ENDED);
	uint64_t tail = look(0).tail;
	segments_fini(&segments);
	must_apply(&segments, large);
	assert_int_equal(look(0).size_bytes, 256 * 1024);
	assert_int_equal(look(0).tail, tail);
	assert_int_equal(look(0).waiting_bytes, 0);
	write_records("ingest-udp.0", 4000, 1500);
	assert_int_equal(look(0).waiting_records, 1500);
	assert_int_equal(read_records(4000), 1500);
	set_state("ingest-udp.0", STAGE_ENDED);
	segments_fini(&segments);
	must_apply(&segments, small);
	assert_int_equal(look(0).size_bytes, 64 * 1024);
	for (uint64_t from = 5500; from < 7500; from += 400) {
		write_records("ingest-udp.0", from, 400);
		assert_int_equal(read_records(from), 400);
	}
	segments_fini(&segments);
}

/* A tap that comes after the change may look back only as far as there is something. */
static void a_resized_lane_has_no_records_before_the_change(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error;
	struct instance instance;
	struct topic_reader tap;
	struct record_batch batch;
	unsigned lane;
	must_apply(&segments, small);
	write_records("ingest-udp.0", 0, 300);
	assert_int_equal(read_records(0), 300);
	set_state("ingest-udp.0", STAGE_ENDED);
	segments_fini(&segments);
	must_apply(&segments, large);
	write_records("ingest-udp.0", 300, 5);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	assert_int_equal(
	        topic_reader_attach(&tap, &instance, "ip", "tap", GROUP_OPTIONAL, STREAM_FROM_OLDEST, &error),
	        0);
	assert_int_equal(stream_reader_rewind(&tap.lane[0], 100), 5);
	assert_true(topic_peek(&tap, &lane, &batch));
	const struct record *record = record_next(&batch);
	assert_non_null(record);
	uint64_t number;
	memcpy(&number, record->payload, sizeof number);
	assert_int_equal(number, 300);
	topic_reader_detach(&tap);
	instance_detach(&instance);
	segments_fini(&segments);
}

static void a_lane_with_something_in_it_keeps_its_size(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, small);
	write_records("ingest-udp.0", 0, 12);
	set_state("ingest-udp.0", STAGE_ENDED);
	segments_fini(&segments);
	must_apply(&segments, large);
	assert_int_equal(look(0).size_bytes, 64 * 1024);
	assert_int_equal(read_records(0), 12);
	segments_fini(&segments);
	set_state("ingest-udp.0", STAGE_RUNNING); /* was killed: a redo note may name the old lane */
	must_apply(&segments, large);
	assert_int_equal(look(0).size_bytes, 64 * 1024);
	set_state("ingest-udp.0", STAGE_ENDED);
	segments_fini(&segments);
	must_apply(&segments, large);
	assert_int_equal(look(0).size_bytes, 256 * 1024);
	segments_fini(&segments);
}

static void a_removed_lane_keeps_what_waits_and_then_shrinks(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(
	        &segments,
	        "ingest: {udp: [{listen: ':1', buffers: 16, processes: 2}]}\ntopics: {ip: {size: 256KiB}}");
	write_records("ingest-udp.1", 0, 9);
	set_state("ingest-udp.1", STAGE_ENDED);
	segments_fini(&segments);
	must_apply(&segments, large);
	assert_int_equal(segments.old->topic[0].n_lanes, 2);
	assert_int_equal(look(1).size_bytes, 256 * 1024);
	assert_int_equal(read_records(0), 9);
	segments_fini(&segments);
	must_apply(&segments, large);
	assert_int_equal(look(1).size_bytes, STREAM_SIZE_MIN);
	segments_fini(&segments);
	must_apply(&segments, two);
	write_records("ingest-udp.1", 9, 4);
	assert_int_equal(read_records(9), 4);
	segments_fini(&segments);
}

static void private_memory_of_a_role_that_died_is_kept(void **state)
{
	(void)state;
	struct segments segments;
	struct segment segment = {0};
	struct shm_error error = {""};
	const char name[] = "ingest-udp.0.private";
	must_apply(&segments, small);
	segments_fini(&segments);
	assert_int_equal(
	        segment_attach(&segment, sandbox.directory, name, SEGMENT_PRIVATE, SEGMENT_WRITE, &error), 0);
	memset(segment.body, 0x5a, 4096);
	size_t bytes = segment.body_bytes;
	segment_detach(&segment);
	set_state("ingest-udp.0", STAGE_RUNNING);
	must_apply(&segments, "ingest: {udp: [{listen: ':1', buffers: 32}]}\ntopics: {ip: {size: 64KiB}}");
	segments_fini(&segments);
	assert_int_equal(
	        segment_attach(&segment, sandbox.directory, name, SEGMENT_PRIVATE, SEGMENT_READ, &error), 0);
	assert_int_equal(segment.body_bytes, bytes);
	assert_int_equal(*(unsigned char *)segment.body, 0x5a);
	segment_detach(&segment);
	set_state("ingest-udp.0", STAGE_ENDED);
	must_apply(&segments, "ingest: {udp: [{listen: ':1', buffers: 32}]}\ntopics: {ip: {size: 64KiB}}");
	segments_fini(&segments);
	assert_int_equal(
	        segment_attach(&segment, sandbox.directory, name, SEGMENT_PRIVATE, SEGMENT_READ, &error), 0);
	assert_true(segment.body_bytes > bytes);
	assert_int_equal(*(unsigned char *)segment.body, 0);
	segment_detach(&segment);
}

/* The first word of the header is the magic, the second the layout. */
static void overwrite(const char *name, off_t at, uint64_t value)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", sandbox.directory, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, sizeof value, at), sizeof value);
	close(fd);
}

static void segments_of_another_build_are_refused_with_the_remedy(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error = {""};
	must_apply(&segments, small);
	segments_fini(&segments);
	overwrite("instance", offsetof(struct segment_header, layout_hash), 12345);
	assert_int_equal(segments_look(&segments, sandbox.directory, &error), -EPROTO);
	assert_non_null(strstr(error.text, "another build"));
	assert_non_null(strstr(error.text, sandbox.directory));
	segments_fini(&segments);
}

static void segments_of_another_life_are_refused_with_the_remedy(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error = {""};
	must_apply(&segments, small);
	segments_fini(&segments);
	overwrite("ip.lane.0", offsetof(struct segment_header, generation), 12345);
	struct plan *plan = plan_of(small);
	assert_int_equal(segments_look(&segments, sandbox.directory, &error), 0);
	assert_int_equal(plan_merge(plan, segments.old, &error), 0);
	assert_int_equal(segments_apply(&segments, plan, &error), -EPROTO);
	assert_non_null(strstr(error.text, "ip.lane.0"));
	assert_non_null(strstr(error.text, "remove"));
	plan_free(plan);
	segments_fini(&segments);
}

/* A supervisor that died before it had published its page left files that mean nothing. */
static void files_without_a_page_are_replaced(void **state)
{
	(void)state;
	struct segments segments;
	struct segment segment = {0};
	struct shm_error error = {""};
	assert_int_equal(
	        segment_create(sandbox.directory, "drops", SEGMENT_DROPS, 99, 4096, NULL, NULL, &error), 0);
	assert_int_equal(stream_create(sandbox.directory, "ip.lane.0", 99, 64 * 1024, &error), 0);
	must_apply(&segments, small);
	assert_int_equal(
	        segment_attach(&segment, sandbox.directory, "ip.lane.0", SEGMENT_LANE, SEGMENT_READ, &error),
	        0);
	assert_int_equal(segment.header->generation, segments.generation);
	segment_detach(&segment);
	segments_fini(&segments);
}

static void too_little_room_is_refused_with_the_numbers(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error = {""};
	char needed[40];
	struct plan *plan =
	        plan_of("topics: {ip: {size: 64GiB}}\ningest: {udp: [{listen: ':1', processes: 32}]}");
	assert_int_equal(segments_look(&segments, sandbox.directory, &error), 0);
	assert_int_equal(segments_check_room(&segments, plan, &error), -ENOSPC);
	snprintf(needed, sizeof needed, "%llu", (unsigned long long)plan_bytes(plan));
	assert_non_null(strstr(error.text, needed));
	assert_non_null(strstr(error.text, "free"));
	assert_int_equal(rmdir(sandbox.directory), 0); /* nothing was made */
	plan_free(plan);
	segments_fini(&segments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(all_segments_of_the_plan_are_made_and_removed,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(
	                a_group_that_the_configuration_adds_begins_with_what_comes_then, segments_set_up,
	                segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_group_that_the_configuration_drops_holds_nobody_up,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_group_of_an_outside_program_is_not_taken, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(the_next_supervisor_goes_on_from_the_cursors, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(new_lanes_are_added_and_the_old_page_says_replaced,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(an_empty_lane_takes_its_new_size_and_goes_on_at_its_position,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_resized_lane_has_no_records_before_the_change,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_lane_with_something_in_it_keeps_its_size, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_removed_lane_keeps_what_waits_and_then_shrinks,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(private_memory_of_a_role_that_died_is_kept, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(segments_of_another_build_are_refused_with_the_remedy,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(segments_of_another_life_are_refused_with_the_remedy,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(files_without_a_page_are_replaced, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(too_little_room_is_refused_with_the_numbers, segments_set_up,
	                                        segments_tear_down),
	};
	alarm(30);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
