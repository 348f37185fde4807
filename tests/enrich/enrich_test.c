/* The enrich stage in an instance: one event for each call in order, what is rejected, full lanes,
 * shares, and a death at any word of a commit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fixture/enrich.h"

#define RAW_BYTES   (1u << 20)
#define TRACK_BYTES (64u * 1024)

static struct enrich_fixture fixture;
static struct enrich enrich[ENRICH_LANES];

static int remove_files(void **state)
{
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		lookup_close(&enrich[i].lookup);
	return enrich_files_remove(state);
}

static int set_up(void **state)
{
	(void)state;
	return enrich_fixture_make(&fixture, RAW_BYTES, TRACK_BYTES);
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		enrich_close(&enrich[i]);
	enrich_fixture_remove(&fixture);
	return 0;
}

static void open_one(unsigned index, unsigned n)
{
	if (enrich_fixture_open(&fixture, &enrich[index], index, n) != 0)
		fail_msg("%s", fixture.error.text);
}

/* As a death leaves it: nothing but the memory. */
static void drop(unsigned index)
{
	enrich_close(&enrich[index]);
}

static uint64_t metric(unsigned index, enum enrich_metric which)
{
	return enrich_fixture_metric(&fixture, index, which);
}

static void run_all(unsigned index)
{
	while (enrich_poll(&enrich[index]))
		;
}

/* A record of a type and length with nothing in it. */
static void write_other(unsigned lane, uint16_t type, uint32_t length)
{
	struct topic_writer *writer = &fixture.writer[lane];
	char *at = stream_reserve(&writer->stream, record_bytes(length));
	assert_non_null(at);
	memset(record_put(at, type, length), 0xff, length);
	stream_commit(&writer->stream, record_bytes(length), 1);
}

/* ---- one to one ---- */

static void each_call_becomes_one_event_in_the_same_order(void **state)
{
	(void)state;
	open_one(0, 1);
	assert_false(enrich_poll(&enrich[0]));
	for (uint64_t round = 0; round < 50; round++) {
		assert_int_equal(enrich_fixture_write(&fixture, 0, round), round);
		assert_int_equal(enrich_poll(&enrich[0]), round > 0);
		assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), round);
	}
	assert_false(enrich_poll(&enrich[0]));
	assert_int_equal(fixture.read[0], fixture.written[0]);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->ledger.received, fixture.written[0]);
	assert_true(enrich_fixture_balanced(&fixture, 0));
	assert_int_equal(metric(0, ENRICH_events), fixture.written[0]);
	assert_int_equal(metric(0, ENRICH_commits), 49);
}

static void events_are_seen_and_positions_move_a_batch_at_a_time(void **state)
{
	(void)state;
	open_one(0, 1);
	enrich_fixture_write(&fixture, 0, ENRICH_BATCH + 10);
	/* A batch of so many does not fit this lane at once: it commits what does. */
	assert_true(enrich_poll(&enrich[0]));
	uint64_t first = enrich_fixture_lane(&fixture, 0)->records;
	assert_true(first > 0 && first < ENRICH_BATCH);
	const struct stream_cursor *cursor = &enrich[0].reader->group->cursor[0];
	assert_int_equal(cursor->records, first);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), first);
	while (fixture.read[0] < fixture.written[0]) {
		assert_true(enrich_poll(&enrich[0]));
		assert_int_not_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 0);
		assert_int_equal(cursor->records, fixture.read[0]);
	}
	assert_int_equal(cursor->position, fixture.writer[0].stream.tail);
}

static void what_is_no_call_is_rejected_and_counted(void **state)
{
	(void)state;
	open_one(0, 1);
	enrich_fixture_write(&fixture, 0, 3);
	/* its lengths are not its own */
	write_other(0, EVENT_TRACK_RAW, sizeof(struct event_track_raw));
	write_other(0, EVENT_TRACK_RAW, sizeof(struct event_track_raw) - 1); /* cut off */
	write_other(0, EVENT_TRACK_RAW, 0);
	enrich_fixture_write(&fixture, 0, 1);
	write_other(0, EVENT_METRIC, 64);
	write_other(0, EVENT_OUTSIDE, 5);
	enrich_fixture_write(&fixture, 0, 2);
	run_all(0);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 6);
	const struct ledger *ledger = &enrich_fixture_lane(&fixture, 0)->ledger;
	assert_int_equal(ledger->received, 11);
	assert_int_equal(ledger->rejected[LEDGER_MALFORMED], 5);
	assert_true(enrich_fixture_balanced(&fixture, 0));
	assert_int_equal(metric(0, ENRICH_malformed), 5);
	/* A batch that holds nothing else is passed too. */
	write_other(0, EVENT_METRIC, 64);
	assert_true(enrich_poll(&enrich[0]));
	assert_false(enrich_poll(&enrich[0]));
	assert_int_equal(ledger->received, 12);
	assert_true(enrich_fixture_balanced(&fixture, 0));
}

static void an_event_that_never_fits_is_rejected_as_too_large(void **state)
{
	(void)state;
	open_one(0, 1);
	enrich_fixture_write(&fixture, 0, 1);
	char *query = malloc(TRACK_BYTES);
	char *at = stream_reserve(&fixture.writer[0].stream, 2 * TRACK_BYTES);
	assert_true(query != NULL && at != NULL);
	memset(query, 'q', TRACK_BYTES);
	query[TRACK_BYTES / 2] = '\0';
	size_t bytes = call_write(at, (struct call_text){"big", query, "", ""}, (const uint8_t[16]){0}, 0);
	stream_commit(&fixture.writer[0].stream, bytes, 1);
	free(query);
	enrich_fixture_write(&fixture, 0, 1);
	run_all(0);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 2);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->ledger.rejected[LEDGER_TOO_LARGE], 1);
	assert_true(enrich_fixture_balanced(&fixture, 0));
}

/* A length that runs past the tail: nothing after it can be told apart until the next waypoint. */
static void damage_in_the_input_costs_what_lies_up_to_the_next_waypoint_and_no_more(void **state)
{
	(void)state;
	open_one(0, 1);
	enrich_fixture_write(&fixture, 0, 5);
	struct stream_writer *writer = &fixture.writer[0].stream;
	char *at = stream_reserve(writer, 64);
	assert_non_null(at);
	(void)record_put(at, EVENT_TRACK_RAW, UINT32_MAX - 64);
	stream_commit(writer, 64, 1);
	enrich_fixture_write(&fixture, 0,
	                     100); /* several waypoints, of which the first before their end counts */
	run_all(0);
	assert_int_equal(enrich_fixture_read(&fixture, 0, 5), 5);
	const struct stream_cursor *cursor = &enrich[0].reader->group->cursor[0];
	assert_int_equal(cursor->damaged, 1);
	assert_int_equal(cursor->records, 106);
	assert_in_range(cursor->missed_records, 1, 60);
	fixture.read[0] += cursor->missed_records - 1; /* the broken one counts as well */
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 101 - cursor->missed_records);
	assert_int_equal(fixture.read[0], fixture.written[0]);
	assert_true(enrich_fixture_balanced(&fixture, 0));
}

/* ---- full ---- */

static void a_full_topic_stops_the_reading_and_nothing_is_lost(void **state)
{
	(void)state;
	open_one(0, 1);
	uint64_t n = enrich_fixture_write(&fixture, 0, 1000);
	run_all(0);
	uint64_t held = enrich_fixture_lane(&fixture, 0)->records;
	assert_in_range(held, 1, n - 1);
	const struct stream_cursor *cursor = &enrich[0].reader->group->cursor[0];
	for (unsigned i = 0; i < 5; i++) {
		assert_false(enrich_poll(&enrich[0]));
		assert_true(enrich[0].full);
		assert_int_equal(cursor->records, held);
	}
	/* It goes on by as much as the reader makes room for. */
	while (fixture.read[0] < n) {
		uint64_t before = cursor->records, read = enrich_fixture_read(&fixture, 0, 37);
		assert_in_range(read, 1, 37);
		run_all(0);
		assert_true(cursor->records > before || cursor->records == n);
	}
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->ledger.dropped, 0);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->records, n);
	assert_true(enrich_fixture_balanced(&fixture, 0));
	assert_false(enrich_poll(&enrich[0]));
	assert_false(enrich[0].full);
}

static void while_track_is_full_track_raw_fills_and_its_writers_are_held(void **state)
{
	(void)state;
	open_one(0, 1);
	uint64_t written = 0;
	for (uint64_t n; (n = enrich_fixture_write(&fixture, 0, 100)) > 0; written += n)
		run_all(0);
	assert_true(written > (RAW_BYTES + TRACK_BYTES) / 400);
	run_all(0);
	assert_int_equal(enrich_fixture_write(&fixture, 0, 1), 0);
	while (fixture.read[0] < written) {
		run_all(0);
		assert_in_range(enrich_fixture_read(&fixture, 0, UINT64_MAX), 1, written);
	}
	assert_int_equal(enrich_fixture_write(&fixture, 0, 1), 1);
}

static void idle_waits_for_calls_and_when_full_for_room(void **state)
{
	(void)state;
	open_one(0, 1);
	assert_false(enrich_poll(&enrich[0]));
	enrich_fixture_write(&fixture, 0, 1000);
	enrich_idle(&enrich[0], 60 * NS_PER_SEC); /* has been rung */
	assert_int_equal(metric(0, ENRICH_waits), 1);
	run_all(0);
	enrich_idle(&enrich[0], 60 * NS_PER_SEC); /* nothing wakes it when there is room again */
	assert_int_equal(metric(0, ENRICH_full_waits), 1);
}

static void set_draining(uint32_t draining)
{
	struct instance_page *page = fixture.instance.page_segment.body;
	atomic_store(&page->draining, draining);
}

static void draining_gives_readers_of_a_full_topic_time_as_long_as_they_make_room(void **state)
{
	(void)state;
	uint64_t now_ns = 1000 * NS_PER_SEC;
	open_one(0, 1);
	assert_false(enrich_poll(&enrich[0]));
	set_draining(1);
	assert_true(enrich_drained(&enrich[0], now_ns)); /* all is done */
	enrich_fixture_write(&fixture, 0, 1000);
	run_all(0);
	set_draining(0); /* a restart: what waits is for the next life */
	assert_true(enrich_drained(&enrich[0], now_ns));
	set_draining(1);
	for (unsigned i = 0; i < 5; i++) {
		assert_false(enrich_drained(&enrich[0], now_ns));
		now_ns += ENRICH_PATIENCE_NS - 1;
		assert_false(enrich_drained(&enrich[0], now_ns));
		assert_int_equal(enrich_fixture_read(&fixture, 0, 20), 20);
		assert_true(enrich_poll(&enrich[0]));
		run_all(0);
	}
	assert_false(enrich_drained(&enrich[0], now_ns));
	assert_true(enrich_drained(&enrich[0], now_ns + ENRICH_PATIENCE_NS)); /* no reader comes any more */
}

/* ---- shares ---- */

static void two_processes_read_their_own_lanes_each_and_write_their_own(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		open_one(i, 2);
	assert_int_equal(enrich_fixture_write(&fixture, 0, 30), 30);
	assert_int_equal(enrich_fixture_write(&fixture, 1, 20), 20);
	run_all(1);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->records, 0);
	assert_int_equal(enrich_fixture_read(&fixture, 1, UINT64_MAX), 20);
	run_all(0);
	assert_int_equal(enrich_fixture_lane(&fixture, 1)->records, 20);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 30);
}

static void one_process_reads_all_lanes_in_turn(void **state)
{
	(void)state;
	open_one(0, 1);
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		assert_int_equal(enrich_fixture_write(&fixture, i, 20), 20);
	assert_true(enrich_poll(&enrich[0]) && enrich_poll(&enrich[0]));
	assert_false(enrich_poll(&enrich[0]));
	assert_int_equal(enrich_fixture_read(&fixture, 0, 20), 20);
	/* The other lane's stand after them, in the same lane of track. */
	struct record_batch batch;
	assert_true(stream_peek(&fixture.sink.lane[0], &batch));
	for (uint64_t n = 0; n < 20; n++)
		assert_int_equal(call_number(record_next(&batch), 1), n);
	assert_null(record_next(&batch));
}

static void a_second_process_of_a_share_is_refused_and_holds_nothing(void **state)
{
	(void)state;
	open_one(0, 2);
	struct enrich second = {.lookup = enrich[0].lookup};
	assert_int_equal(enrich_open(&second, &fixture.instance, enrich_roles[0], (struct topic_share){0, 2},
	                             fixture.control[0], &fixture.error),
	                 -EBUSY);
	assert_null(second.ports.private_segment.header);
	assert_null(second.ports.writer[0].stream.shared);
	assert_null(second.ports.reader[0].instance);
	enrich_fixture_write(&fixture, 0, 5);
	run_all(0);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 5);
}

/* ---- deaths ---- */

static void the_next_life_goes_on_where_the_last_was(void **state)
{
	(void)state;
	for (unsigned life = 0; life < 20; life++) {
		open_one(0, 1);
		enrich_fixture_write(&fixture, 0, 1 + life);
		run_all(0);
		enrich_fixture_write(&fixture, 0, 3); /* read by the next */
		assert_in_range(enrich_fixture_read(&fixture, 0, UINT64_MAX), 1, 30);
		drop(0);
	}
	open_one(0, 1);
	run_all(0);
	(void)enrich_fixture_read(&fixture, 0, UINT64_MAX);
	assert_int_equal(fixture.read[0], fixture.written[0]);
	assert_int_equal(metric(0, ENRICH_recovered_notes), 0);
}

/* What a commit changes in shared memory, the data aside. */
struct words {
	struct stream_shared lane;
	struct stream_group group;
};

static void save(struct words *words)
{
	memcpy(&words->lane, enrich[0].redo.base[1], sizeof words->lane);
	memcpy(&words->group, enrich[0].redo.base[2], sizeof words->group);
}

static void restore(const struct words *words)
{
	memcpy(enrich[0].redo.base[1], &words->lane, sizeof words->lane);
	memcpy(enrich[0].redo.base[2], &words->group, sizeof words->group);
}

/* The words of the last commit lie in the note still; its end is a word that an empty note does not
 * have. */
static uint32_t words_of_note(void)
{
	const struct redo_note *note = enrich[0].redo.note;
	uint32_t n = 0;
	while (n < REDO_WORDS_MAX && note->word[n].region != 0)
		n++;
	return n;
}

/* One life that is killed after `stored` words of its commit's note (UINT32_MAX: before it is
 * published), and the next. Returns how many words the note has. */
static uint32_t die_in_commit(uint32_t stored)
{
	struct words words;
	open_one(0, 1);
	memset(enrich[0].redo.note->word, 0, sizeof enrich[0].redo.note->word);
	enrich_fixture_write(&fixture, 0, 10);
	write_other(0, EVENT_METRIC, 64);
	save(&words);
	assert_true(enrich_poll(&enrich[0]));
	uint32_t n = words_of_note();
	restore(&words);
	struct redo_note *note = enrich[0].redo.note;
	note->n = n;
	for (uint32_t i = 0; stored != UINT32_MAX && i < stored; i++)
		*(uint64_t *)(void *)(enrich[0].redo.base[note->word[i].region] + note->word[i].offset) =
		        note->word[i].value;
	note->published = stored != UINT32_MAX;
	drop(0);
	open_one(0, 1);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->records, stored != UINT32_MAX ? 10 : 0);
	run_all(0);
	return n;
}

static void killed_after_any_word_of_a_commit_the_next_life_finishes_it(void **state)
{
	uint32_t n = 1;
	for (uint32_t stored = 0; stored <= n; stored++) {
		n = die_in_commit(stored);
		assert_int_equal(n, 4 + 4); /* the cursor's; received, rejected, records, tail */
		assert_int_equal(metric(0, ENRICH_recovered_notes), 1);
		assert_int_equal(enrich_fixture_lane(&fixture, 0)->records, 10);
		assert_int_equal(enrich_fixture_lane(&fixture, 0)->ledger.received, 11);
		assert_true(enrich_fixture_balanced(&fixture, 0));
		assert_int_equal(enrich_fixture_write(&fixture, 0, 7), 7);
		run_all(0);
		assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 17);
		tear_down(state);
		assert_int_equal(set_up(state), 0);
	}
}

static void killed_before_its_note_is_published_the_next_life_does_the_batch_again(void **state)
{
	(void)state;
	(void)die_in_commit(UINT32_MAX);
	assert_int_equal(metric(0, ENRICH_recovered_notes), 0);
	assert_int_equal(enrich_fixture_read(&fixture, 0, UINT64_MAX), 10);
	assert_int_equal(enrich_fixture_lane(&fixture, 0)->ledger.received, 11);
	assert_true(enrich_fixture_balanced(&fixture, 0));
}

/* ---- what it shows ---- */

static void the_note_tells_the_database_and_metrics_the_rest(void **state)
{
	(void)state;
	char note[CONTROL_NOTE_BYTES], expected[CONTROL_NOTE_BYTES];
	open_one(0, 1);
	enrich_fixture_write(&fixture, 0, 30);
	run_all(0);
	enrich_tick(&enrich[0], 1);
	control_read_note(fixture.control[0], note);
	uint64_t age_s = clock_real_ns() / NS_PER_SEC - ENRICH_DATABASE_BUILT;
	snprintf(expected, sizeof expected,
	         "countries: Test-City of 2023-11-14, %" PRIu64 " days old; 4 agent rules", age_s / 86400);
	assert_string_equal(note, expected);
	assert_in_range(metric(0, ENRICH_country_database_age_seconds), age_s - 100, age_s);
	assert_int_equal(metric(0, ENRICH_country_database_loaded), 1);
	assert_int_equal(metric(0, ENRICH_country_database_loads), 1);
	assert_int_equal(metric(0, ENRICH_agent_rules), 4);
	assert_int_equal(metric(0, ENRICH_agent_cache_entries), CALL_AGENTS);
	assert_int_equal(metric(0, ENRICH_agent_cache_hits) + metric(0, ENRICH_agent_cache_misses), 30);
	assert_int_equal(metric(0, ENRICH_countries_unknown), 10);
	enrich_tick(&enrich[0], 2); /* counts are added once */
	assert_int_equal(metric(0, ENRICH_countries_unknown), 10);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(the_note_tells_the_database_and_metrics_the_rest),
	        T(each_call_becomes_one_event_in_the_same_order),
	        T(events_are_seen_and_positions_move_a_batch_at_a_time),
	        T(what_is_no_call_is_rejected_and_counted),
	        T(an_event_that_never_fits_is_rejected_as_too_large),
	        T(damage_in_the_input_costs_what_lies_up_to_the_next_waypoint_and_no_more),
	        T(a_full_topic_stops_the_reading_and_nothing_is_lost),
	        T(while_track_is_full_track_raw_fills_and_its_writers_are_held),
	        T(idle_waits_for_calls_and_when_full_for_room),
	        T(draining_gives_readers_of_a_full_topic_time_as_long_as_they_make_room),
	        T(two_processes_read_their_own_lanes_each_and_write_their_own),
	        T(one_process_reads_all_lanes_in_turn),
	        T(a_second_process_of_a_share_is_refused_and_holds_nothing),
	        T(the_next_life_goes_on_where_the_last_was),
	        T(killed_after_any_word_of_a_commit_the_next_life_finishes_it),
	        T(killed_before_its_note_is_published_the_next_life_does_the_batch_again),
	};
	alarm(60);
	log_init("enrich_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests_name("enrich", tests, enrich_files_make, remove_files);
}
