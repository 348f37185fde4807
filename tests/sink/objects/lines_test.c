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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
