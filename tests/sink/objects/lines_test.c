/* Records that become lines of objects: what is left when there is no room for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink/objects/lines.h"
#include "tests/fixture/config.h"
#include "tests/fixture/journal.h"

#define LONGEST (40u * 1024)

static const char text[] = "sinks: [{name: logs, kind: objects, topics: [log], key: \"k/{topic}\"}]\n";
static const struct journal_bounds bounds = {.open_most = 2 * LONGEST, .packed_most = 2 * LONGEST};

static struct {
	struct config *config;
	struct journal *journal;
	struct lines lines;
	char *lane;
} f;

static const char numbers[] =
        "sinks: [{name: logs, kind: objects, topics: [log], key: \"k/{date}/{client_id}\"}]\n";

static int set_up_with(const char *configuration)
{
	static const char *const topics[] = {"log", NULL};
	struct shm_error error = {""};
	f.config = load(configuration, "");
	f.lane = aligned_alloc(8, 2 * LONGEST);
	if (f.config == NULL || f.lane == NULL ||
	    journal_open_memory(&f.journal, journal_tails_least(&bounds), &bounds, &error) != 0 ||
	    lines_open(&f.lines, f.config, "sinks[0]", topics, &error) != 0) {
		print_message("%s\n", error.text);
		return -1;
	}
	return lines_begin(&f.lines, f.journal, 7);
}

static int set_up(void **state)
{
	(void)state;
	return set_up_with(text);
}

static int set_up_numbers(void **state)
{
	(void)state;
	return set_up_with(numbers);
}

static int tear_down(void **state)
{
	(void)state;
	lines_close(&f.lines);
	journal_close(f.journal);
	config_free(f.config);
	free(f.lane);
	return 0;
}

/* One log entry of which the line has so many bytes; returns how many were taken. */
static uint64_t take(uint32_t bytes)
{
	uint32_t length = (uint32_t)sizeof(struct event_log) + bytes;
	struct event_log *event = record_put(f.lane, EVENT_LOG, length);
	*event = (struct event_log){.object_bytes = bytes, .timestamp_ms = 1, .text_bytes = bytes};
	memset(event->object, 'x', bytes);
	event->object[0] = event->object[bytes - 1] = '"';
	struct record_batch batch = {.at = f.lane, .end = f.lane + record_bytes(length)};
	uint64_t n = lines_take(&f.lines, 0, 0, &batch, 1000);
	assert_ptr_equal(batch.at, n == 0 ? f.lane : batch.end);
	return n;
}

static uint64_t blocks_for_lines(void)
{
	struct journal_counts counts;
	journal_count(f.journal, &counts);
	return counts.free_blocks - counts.kept_blocks;
}

/* Leaves lines one block. */
static void fill_up(void)
{
	static const char line[JOURNAL_BLOCK_BYTES - 1];
	char key = 'a';
	while (blocks_for_lines() > 1) {
		journal_object object =
		        journal_add(f.journal, (uint64_t)key, &key, 1, JOURNAL_BODY_TOKEN, 0, 0, 0, 0);
		assert_int_not_equal(object, JOURNAL_NONE);
		for (unsigned i = 0; i < 4 && blocks_for_lines() > 1; i++)
			assert_true(journal_append(f.journal, object, line, sizeof line, 0));
		key++;
	}
	journal_commit(f.journal, NULL);
}

static void an_object_that_has_no_room_for_its_first_line_is_not_touched(void **state)
{
	(void)state;
	fill_up();
	assert_int_equal(take(JOURNAL_BLOCK_BYTES), 0); /* two blocks */
	assert_true(f.lines.full);
	assert_int_equal(f.lines.n_touched, 0);
	assert_true(journal_uncommitted(f.journal)); /* it was made */
	journal_commit(f.journal, NULL);
	assert_int_equal(journal_find(f.journal, 0, "k/log", 5), JOURNAL_NONE);

	assert_int_equal(take(100), 1);
	assert_int_equal(f.lines.counts.events, 1);
	assert_false(f.lines.full);
	assert_int_equal(f.lines.n_touched, 1);
	journal_commit(f.journal, NULL);
	assert_int_equal(journal_find(f.journal, 0, "k/log", 5), f.lines.touched[0]);
}

/* Takes one log of this object, whose length is said to be so much more. */
static void take_log(const char *object, int64_t client, uint32_t more)
{
	uint32_t bytes = (uint32_t)strlen(object), length = (uint32_t)sizeof(struct event_log) + bytes;
	struct event_log *event = record_put(f.lane, EVENT_LOG, length);
	*event = (struct event_log){.object_bytes = bytes + more, .timestamp_ms = 1, .client_id = client};
	memcpy(event->object, object, bytes);
	struct record_batch batch = {.at = f.lane, .end = f.lane + record_bytes(length), .position = 64};
	assert_int_equal(lines_take(&f.lines, 0, 0, &batch, 1000), 1);
}

static void assert_lines(const char *key, const char *expected)
{
	size_t bytes;
	journal_commit(f.journal, NULL);
	journal_object object = journal_find(f.journal, 1, key, strlen(key));
	assert_int_not_equal(object, JOURNAL_NONE);
	char *all = journal_body_gather(f.journal, object, JOURNAL_BODY_RAW, 7, &bytes);
	assert_int_equal(bytes, strlen(expected));
	assert_memory_equal(all, expected, bytes);
	free(all);
}

static void the_short_way_of_a_log_ends_where_the_long_one_does(void **state)
{
	(void)state;
	assert_true(template_hash_fixed(f.lines.template, EVENT_LOG));
	take_log("{\"text\":\"the first, with its key\"}", 7, 0); /* the long way */
	take_log("{\"text\":\"and one from the lane\"}", 7, 0);
	take_log("{\"text\":\"of another one's\"}", 8, 0);
	take_log("{\"text\":\"and one from the lane\"}", 8, 0);
	take_log("{\"a\":1}", 8, 0); /* short: the long way */
	assert_lines("k/1970-01-01/7",
	             "{\"text\":\"the first, with its key\"}\n{\"text\":\"and one from the lane\"}\n");
	assert_lines("k/1970-01-01/8",
	             "{\"text\":\"of another one's\"}\n{\"text\":\"and one from the lane\"}\n{\"a\":1}\n");
	assert_int_equal(f.lines.counts.events, 5);
	assert_int_equal(f.lines.n_touched, 1);
}

static void what_is_remembered_of_a_finished_object_takes_no_line(void **state)
{
	(void)state;
	journal_object first = JOURNAL_NONE;
	for (unsigned i = 0; i < 3; i++) { /* made, found, remembered */
		take_log("{\"text\":\"of the first object\"}", 7, 0);
		first = f.lines.touched[0];
		journal_commit(f.journal, NULL);
	}
	journal_finish(f.journal, first);
	take_log("{\"text\":\"after its end\"}", 7, 0);
	take_log("{\"text\":\"after its end\"}", 7, 0);
	assert_int_not_equal(f.lines.touched[0], first);
	assert_lines("k/1970-01-01/7", "{\"text\":\"after its end\"}\n{\"text\":\"after its end\"}\n");

	/* its place is another key's now */
	journal_object second = f.lines.touched[0];
	journal_remove(f.journal, second);
	take_log("{\"text\":\"of another one's\"}", 8, 0);
	assert_int_equal(f.lines.touched[0], second);
	take_log("{\"text\":\"the third object\"}", 7, 0);
	assert_int_not_equal(f.lines.touched[0], second);
	assert_lines("k/1970-01-01/8", "{\"text\":\"of another one's\"}\n");
	assert_lines("k/1970-01-01/7", "{\"text\":\"the third object\"}\n");
}

static void a_log_that_is_not_as_it_should_be_spoils_no_line(void **state)
{
	(void)state;
	const char *good = "{\"text\":\"good, and long enough\"}";
	take_log(good, 7, 0);
	take_log(good, 7, 1);
	take_log(good, 7, UINT32_MAX); /* one less */
	take_log(good, 7, UINT32_MAX / 2);
	assert_int_equal(f.lines.counts.bad, 3);
	take_log("{\"text\":\"two\nlines of thirty bytes\"}", 7, 0);
	assert_int_equal(f.lines.counts.events, 2);
	assert_lines(
	        "k/1970-01-01/7",
	        "{\"text\":\"good, and long enough\"}\n"
	        "{\"id\":\"0000000000000007-log-0-64\",\"ts\":0,\"ip\":null,\"client_id\":7,\"content_id\":0,\"timestamp\":1,\"text\":\"\"}\n");
}

/* ---- many in a row ---- */

#define RUN      9000u /* more than one batch may have */
#define RUN_KEYS 6u    /* three clients, two hours */
#define RUN_ROOM (RUN * 400u)
#define HOUR_MS  3600000

static const char hours[] =
        "sinks: [{name: logs, kind: objects, topics: [log], key: \"k/{hour}/{client_id}\"}]\n";
static const struct journal_bounds run_bounds = {.open_most = 1u << 18, .packed_most = 1u << 18};

static struct {
	struct record_batch batch;
	char *lines[RUN_KEYS];
	size_t bytes[RUN_KEYS];
} run;

static void open_run(size_t tails)
{
	static const char *const topics[] = {"log", NULL};
	struct shm_error error = {""};
	f.config = load(hours, "");
	assert_non_null(f.config);
	f.lane = aligned_alloc(64, RUN_ROOM);
	assert_non_null(f.lane);
	assert_int_equal(journal_open_memory(&f.journal, tails, &run_bounds, &error), 0);
	assert_int_equal(lines_open(&f.lines, f.config, "sinks[0]", topics, &error), 0);
	assert_int_equal(lines_begin(&f.lines, f.journal, 7), 0);
	for (unsigned key = 0; key < RUN_KEYS; key++) {
		run.lines[key] = malloc(RUN_ROOM);
		run.bytes[key] = 0;
		assert_non_null(run.lines[key]);
	}
	run.batch = (struct record_batch){.at = f.lane, .end = f.lane, .position = 4096};
}

static void close_run(void)
{
	for (unsigned key = 0; key < RUN_KEYS; key++)
		free(run.lines[key]);
}

/* Record i and the line that is expected of it: of all lengths, and some that go the long way (a
 * tab, two lines, too short, of another type). The hour ends in the middle, and comes back. */
static void add_to_run(unsigned i)
{
	unsigned client = i * 7 % 13 % 3, hour = i > RUN / 2 && i % 11 != 0;
	char object[400], expected[600];
	int pad = (int)(i * 31 % 230), n;
	uint64_t position = run.batch.position + (uint64_t)(run.batch.end - f.lane);
	if (i % 97 == 5)
		n = sprintf(object, "{\"a\":%u}", i % 10);
	else
		n = sprintf(object, "{\"n\":%06u,\"text\":%c\"%0*d\"}", i, i % 89 == 3 ? '\t' : ' ', pad, 0);
	memcpy(expected, object, (size_t)n + 1);
	if (i % 101 == 7) {
		object[n - 2] = '\n';
		sprintf(expected,
		        "{\"id\":\"0000000000000007-log-0-%llu\",\"ts\":0,\"ip\":null,\"client_id\":%u,\"content_id\":0,\"timestamp\":%u,\"text\":\"\"}",
		        (unsigned long long)position, client, hour * HOUR_MS);
	}
	uint32_t length = (uint32_t)sizeof(struct event_log) + (uint32_t)n;
	bool other = i % 103 == 9;
	char *at = f.lane + (run.batch.end - f.lane);
	struct event_log *event = record_put(at, other ? EVENT_NONE : EVENT_LOG, length);
	*event = (struct event_log){
	        .object_bytes = (uint32_t)n, .timestamp_ms = hour * HOUR_MS, .client_id = client};
	memcpy(event->object, object, (size_t)n);
	run.batch.end += record_bytes(length);
	unsigned key = hour * 3 + client;
	if (!other)
		run.bytes[key] += (size_t)sprintf(run.lines[key] + run.bytes[key], "%s\n", expected);
}

/* What objects of the key have, in the order in which they were made. */
static void add_taken(unsigned key, char *to, size_t *bytes)
{
	char name[20];
	size_t n;
	sprintf(name, "k/%02u/%u", key / 3, key % 3);
	journal_object object = journal_find(f.journal, 1000 + key, name, strlen(name));
	if (object == JOURNAL_NONE)
		return;
	char *all = journal_body_gather(f.journal, object, JOURNAL_BODY_RAW, 7, &n);
	memcpy(to + *bytes, all, n);
	*bytes += n;
	free(all);
	journal_finish(f.journal, object);
	journal_remove(f.journal, object);
}

static void assert_run(char *taken[RUN_KEYS], const size_t bytes[RUN_KEYS])
{
	for (unsigned key = 0; key < RUN_KEYS; key++) {
		assert_int_equal(bytes[key], run.bytes[key]);
		assert_memory_equal(taken[key], run.lines[key], bytes[key]);
		free(taken[key]);
	}
	close_run();
}

static void take_run(uint64_t *calls, uint64_t *taken)
{
	char *lines[RUN_KEYS];
	size_t bytes[RUN_KEYS] = {0};
	const char *begin = run.batch.at;
	for (unsigned key = 0; key < RUN_KEYS; key++) {
		lines[key] = malloc(RUN_ROOM);
		assert_non_null(lines[key]);
	}
	for (*calls = *taken = 0; run.batch.at < run.batch.end; ++*calls) {
		uint64_t n = lines_take(&f.lines, 0, 0, &run.batch, 1000);
		assert_true(n <= LINES_BATCH_MAX);
		assert_int_equal(run.batch.position, 4096 + (uint64_t)(run.batch.at - begin));
		assert_true(n > 0 || f.lines.full);
		*taken += n;
		journal_commit(f.journal, NULL);
		if (f.lines.full || run.batch.at == run.batch.end)
			for (unsigned key = 0; key < RUN_KEYS; key++)
				add_taken(key, lines[key], &bytes[key]);
	}
	assert_run(lines, bytes);
}

static void a_long_run_over_blocks_and_hours_loses_no_line_and_has_none_twice(void **state)
{
	(void)state;
	uint64_t calls, taken;
	open_run(8u << 20);
	for (unsigned i = 0; i < RUN; i++)
		add_to_run(i);
	take_run(&calls, &taken);
	assert_int_equal(calls, 2);
	assert_int_equal(taken, RUN);
	assert_int_equal(f.lines.counts.events + f.lines.counts.bad, RUN);
}

static void a_run_that_finds_the_journal_full_goes_on_where_it_stopped(void **state)
{
	(void)state;
	uint64_t calls, taken;
	open_run(journal_tails_least(&run_bounds));
	for (unsigned i = 0; i < RUN; i++)
		add_to_run(i);
	take_run(&calls, &taken);
	assert_true(calls > 2);
	assert_int_equal(taken, RUN);
	assert_int_equal(f.lines.counts.events + f.lines.counts.bad, RUN);
}

static void damage_ends_a_run_and_nothing_before_it_is_lost(void **state)
{
	(void)state;
	open_run(8u << 20);
	for (unsigned i = 100; i < 103; i++)
		add_to_run(i);
	char *at = f.lane + (run.batch.end - f.lane);
	(void)record_put(at, EVENT_LOG, 4096); /* longer than what is left */
	run.batch.end += 64;
	assert_int_equal(lines_take(&f.lines, 0, 0, &run.batch, 1000), 3);
	assert_ptr_equal(run.batch.at, at);
	assert_true(run.batch.corrupt);
	assert_false(f.lines.full);
	assert_int_equal(f.lines.counts.events, 3);
	close_run();
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_object_that_has_no_room_for_its_first_line_is_not_touched,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(the_short_way_of_a_log_ends_where_the_long_one_does,
	                                        set_up_numbers, tear_down),
	        cmocka_unit_test_setup_teardown(what_is_remembered_of_a_finished_object_takes_no_line,
	                                        set_up_numbers, tear_down),
	        cmocka_unit_test_setup_teardown(a_log_that_is_not_as_it_should_be_spoils_no_line,
	                                        set_up_numbers, tear_down),
	        cmocka_unit_test_teardown(a_long_run_over_blocks_and_hours_loses_no_line_and_has_none_twice,
	                                  tear_down),
	        cmocka_unit_test_teardown(a_run_that_finds_the_journal_full_goes_on_where_it_stopped,
	                                  tear_down),
	        cmocka_unit_test_teardown(damage_ends_a_run_and_nothing_before_it_is_lost, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
