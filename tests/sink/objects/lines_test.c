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

static int set_up(void **state)
{
	(void)state;
	static const char *const topics[] = {"log", NULL};
	struct shm_error error = {""};
	f.config = load(text, "");
	f.lane = aligned_alloc(8, 2 * LONGEST);
	if (f.config == NULL || f.lane == NULL ||
	    journal_open_memory(&f.journal, journal_tails_least(&bounds), &bounds, &error) != 0 ||
	    lines_open(&f.lines, f.config, "sinks[0]", topics, &error) != 0) {
		print_message("%s\n", error.text);
		return -1;
	}
	return lines_begin(&f.lines, f.journal, 7);
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

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_object_that_has_no_room_for_its_first_line_is_not_touched,
	                                        set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
