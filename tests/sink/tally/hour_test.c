/* Statistics of the last hour: minutes come and go, sums do not overflow, what was committed is
 * what a new life has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sink/tally/hour_blob.h"
#include "sink/tally/hour_store.h"
#include "stage/database.h"
#include "tests/fixture/draw.h"

#define NOON 29000000u /* a minute */

static const struct hour_limits wide = {.cells = 100000, .accounts = 1000, .metrics = 100};

static void start(struct hour *hour, const struct hour_limits *limits)
{
	assert_int_equal(hour_init(hour, limits, 0, 1), 0);
	hour_turn(hour, NOON);
}

static bool add(struct hour *hour, uint32_t minute, uint32_t account, uint32_t metric, int64_t value)
{
	struct hour_minute *in = hour_minute(hour, minute);
	if (in != NULL)
		hour_add(hour, in, account, metric, hour_tag(hour, account, metric), value);
	return in != NULL;
}

static void assert_value(const struct hour *hour, uint32_t minute, uint32_t account, uint32_t metric,
                         uint64_t count, int64_t least, int64_t greatest, __int128 sum)
{
	const struct hour_value *value = hour_find(hour, minute, account, metric);
	assert_non_null(value);
	assert_int_equal(value->count, count);
	assert_int_equal(value->least, least);
	assert_int_equal(value->greatest, greatest);
	assert_true(value->sum == sum);
}

static void a_pair_has_its_own_values_and_the_metric_has_those_of_all(void **state)
{
	(void)state;
	struct hour hour;
	start(&hour, &wide);
	add(&hour, NOON, 1, 2, 5);
	add(&hour, NOON, 1, 2, -7);
	add(&hour, NOON, 3, 2, 100);
	add(&hour, NOON, 3, 1, 1);
	add(&hour, NOON - 1, 1, 2, 9);
	assert_value(&hour, NOON, 1, 2, 2, -7, 5, -2);
	assert_value(&hour, NOON, 3, 2, 1, 100, 100, 100);
	assert_value(&hour, NOON, HOUR_ALL, 2, 3, -7, 100, 98);
	assert_value(&hour, NOON, HOUR_ALL, 1, 1, 1, 1, 1);
	assert_value(&hour, NOON - 1, 1, 2, 1, 9, 9, 9);
	assert_null(hour_find(&hour, NOON, 1, 1));
	assert_int_equal(hour.cells, 4);
	hour_fini(&hour);
}

static void sums_of_the_largest_numbers_do_not_overflow(void **state)
{
	(void)state;
	struct hour hour;
	start(&hour, &wide);
	for (unsigned i = 0; i < 1000; i++) {
		add(&hour, NOON, 1, 1, INT64_MAX);
		add(&hour, NOON, 2, 1, INT64_MIN);
	}
	assert_value(&hour, NOON, 1, 1, 1000, INT64_MAX, INT64_MAX, (__int128)INT64_MAX * 1000);
	assert_value(&hour, NOON, 2, 1, 1000, INT64_MIN, INT64_MIN, (__int128)INT64_MIN * 1000);
	assert_value(&hour, NOON, HOUR_ALL, 1, 2000, INT64_MIN, INT64_MAX, -1000);
	hour_fini(&hour);
}

static void only_minutes_of_the_window_and_a_little_later_are_kept(void **state)
{
	(void)state;
	struct hour hour;
	start(&hour, &wide);
	assert_true(add(&hour, NOON - 59, 1, 1, 1));
	assert_false(add(&hour, NOON - 60, 1, 1, 1));
	assert_true(add(&hour, NOON + HOUR_AHEAD, 1, 1, 1));
	assert_false(add(&hour, NOON + HOUR_AHEAD + 1, 1, 1, 1));
	assert_false(add(&hour, 0, 1, 1, 1));
	assert_int_equal(hour.outside, 3);
	hour_turn(&hour, NOON + 1); /* another second, another minute: the first of them has left */
	assert_null(hour_find(&hour, NOON - 59, 1, 1));
	assert_non_null(hour_find(&hour, NOON + HOUR_AHEAD, 1, 1));
	assert_int_equal(hour.cells, 1);
	hour_turn(&hour, NOON + 500);
	assert_int_equal(hour.cells, 0);
	hour_fini(&hour);
}

static void over_the_limit_of_cells_events_are_in_the_totals_until_a_minute_has_gone(void **state)
{
	(void)state;
	struct hour hour;
	const struct hour_limits limits = {.cells = 3, .accounts = 10, .metrics = 10};
	start(&hour, &limits);
	for (uint32_t account = 1; account <= 5; account++)
		add(&hour, NOON - 59, account, 1, account);
	add(&hour, NOON, 3, 1, 30);
	add(&hour, NOON - 59, 3, 1, 3); /* known ones go on */
	add(&hour, NOON, HOUR_NOBODY, 1, 7);
	assert_int_equal(hour.cells, 3);
	assert_null(hour_find(&hour, NOON - 59, 4, 1));
	assert_value(&hour, NOON - 59, 3, 1, 2, 3, 3, 6);
	assert_value(&hour, NOON - 59, HOUR_ALL, 1, 6, 1, 5, 18);
	assert_value(&hour, NOON, HOUR_ALL, 1, 2, 7, 30, 37);
	assert_int_equal(hour_beyond(&hour), 4);
	hour_turn(&hour, NOON + 1);
	assert_int_equal(hour_beyond(&hour), 2);
	add(&hour, NOON, 3, 1, 31);
	assert_value(&hour, NOON, 3, 1, 1, 31, 31, 31);
	hour_fini(&hour);
}

static void a_minute_with_many_cells_finds_them_all_and_gives_them_back(void **state)
{
	(void)state;
	struct hour hour;
	start(&hour, &wide);
	for (unsigned round = 0; round < 3; round++) {
		uint32_t minute = NOON + 100 * round;
		hour_turn(&hour, minute);
		for (uint32_t account = 1; account <= 1000; account++)
			for (uint32_t metric = 1; metric <= 100; metric++)
				add(&hour, minute, account, metric, account * metric);
		for (uint32_t account = 1; account <= 1000; account++)
			for (uint32_t metric = 1; metric <= 100; metric++)
				assert_value(&hour, minute, account, metric, 1, account * metric,
				             account * metric, account * metric);
		assert_int_equal(hour.cells, 100000);
		assert_int_equal(hour_beyond(&hour), 0);
		assert_int_equal(hour_rows(&hour), 1001);
		hour_clean(&hour);
	}
	assert_true(hour.chunks_used <= 100100 / HOUR_CHUNK + 2);
	hour_fini(&hour);
}

/* As hour_rows must be: all minutes looked at. */
static uint64_t rows_of(const struct hour *hour)
{
	uint64_t rows = hour->n_gone;
	for (unsigned i = 0; i < HOUR_SLOTS; i++)
		for (int64_t k = -1; (k = hour_next_dirty(hour, &hour->minute[i], (uint32_t)(k + 1))) >= 0;)
			rows++;
	return rows;
}

static void rows_to_be_written_are_known_whatever_happens(void **state)
{
	(void)state;
	struct hour hour;
	uint32_t now = NOON;
	uint64_t most = 0;
	start(&hour, &wide);
	for (unsigned i = 0; i < 20000; i++) {
		switch (draw_below(400)) {
		case 0:
			hour_clean(&hour);
			break;
		case 1:
			now += draw_below(4);
			hour_turn(&hour, now);
			break;
		case 2:
			now -= draw_below(3);
			hour_turn(&hour, now);
			break;
		default:
			if (!hour_full(&hour))
				(void)add(&hour, now - draw_below(66) + 4, draw_below(200) + 1,
				          draw_below(10) + 1, 1);
		}
		assert_int_equal(hour_rows(&hour), rows_of(&hour));
		most = hour_rows(&hour) > most ? hour_rows(&hour) : most;
	}
	assert_true(most > 100);
	hour_fini(&hour);
}

static void a_clock_that_is_set_back_keeps_what_is_ahead_until_its_place_is_needed(void **state)
{
	(void)state;
	struct hour hour;
	start(&hour, &wide);
	add(&hour, NOON, 1, 1, 1);
	hour_turn(&hour, NOON - 30);
	assert_non_null(hour_find(&hour, NOON, 1, 1));
	assert_false(add(&hour, NOON, 1, 1, 1));
	assert_true(add(&hour, NOON - 30, 1, 1, 2));
	assert_true(add(&hour, NOON - HOUR_SLOTS, 1, 1, 3)); /* the place of NOON */
	assert_null(hour_find(&hour, NOON, 1, 1));
	assert_value(&hour, NOON - HOUR_SLOTS, 1, 1, 1, 3, 3, 3);
	hour_turn(&hour, NOON);
	assert_non_null(hour_find(&hour, NOON - 30, 1, 1));
	hour_fini(&hour);
}

/* ---- as bytes ---- */

static struct hour_value draw_value(void)
{
	static const int64_t edge[] = {INT64_MIN, INT64_MIN + 1, -129, -128,     -1, 0, 1, 63,
	                               64,        127,           128,  INT64_MAX};
	struct hour_value value = {.least = INT64_MAX, .greatest = INT64_MIN};
	for (unsigned n = 1 + draw_below(5); n > 0; n--) {
		int64_t number = draw_one_in(2) ? edge[draw_below(sizeof edge / sizeof *edge)]
		                                : (int64_t)draw() >> draw_below(64);
		uint64_t times = draw() >> 1 >> draw_below(62);
		if (times == 0 || value.count + times > INT64_MAX)
			times = 1;
		value.count += times;
		value.sum += (__int128)number * (__int128)times;
		value.least = number < value.least ? number : value.least;
		value.greatest = number > value.greatest ? number : value.greatest;
	}
	return value;
}

static void cells_of_any_numbers_come_back_from_their_bytes(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		uint8_t bytes[3 * HOUR_BLOB_CELL_MAX], *end = bytes;
		struct hour_value given[3], got = {0};
		uint32_t number[3], metric;
		for (unsigned i = 0; i < 3; i++) {
			given[i] = draw_value();
			number[i] = (uint32_t)draw() >> draw_below(32);
			uint8_t *next = hour_blob_put(end, number[i], &given[i]);
			assert_in_range(next - end, HOUR_BLOB_CELL_MIN, HOUR_BLOB_CELL_MAX);
			end = next;
		}
		struct hour_blob blob = {.at = bytes, .end = end};
		for (unsigned i = 0; i < 3; i++) {
			assert_true(hour_blob_next(&blob, &metric, &got));
			assert_int_equal(metric, number[i]);
			assert_true(got.count == given[i].count && got.least == given[i].least &&
			            got.greatest == given[i].greatest && got.sum == given[i].sum);
		}
		assert_false(hour_blob_next(&blob, &metric, &got));
		assert_false(blob.bad);
	}
}

static void bytes_that_are_no_cells_are_seen(void **state)
{
	(void)state;
	unsigned bad = 0;
	for (unsigned round = 0; round < 20000; round++) {
		uint8_t bytes[HOUR_BLOB_CELL_MAX];
		struct hour_value value = draw_value();
		uint32_t metric;
		long n = hour_blob_put(bytes, 7, &value) - bytes;
		struct hour_blob cut = {.at = bytes, .end = bytes + draw_below((unsigned)n)};
		bool empty = cut.at == cut.end;
		assert_false(hour_blob_next(&cut, &metric, &value));
		assert_int_equal(cut.bad, !empty);
		for (unsigned i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)draw();
		struct hour_blob noise = {.at = bytes, .end = bytes + sizeof bytes};
		while (hour_blob_next(&noise, &metric, &value))
			assert_true(value.count > 0 && value.greatest >= value.least &&
			            value.sum >= (__int128)value.least * (__int128)value.count &&
			            value.sum <= (__int128)value.greatest * (__int128)value.count);
		bad += noise.bad;
	}
	assert_true(bad > 15000);
}

/* ---- in the database ---- */

struct fixture {
	sqlite3 *db;
	struct hour hour;
	struct hour_store store;
	struct shm_error error;
};

static int set_up(void **state)
{
	static struct fixture f;
	*state = &f;
	f = (struct fixture){0};
	return sqlite3_open(":memory:", &f.db) != SQLITE_OK ||
	       sqlite3_exec(f.db, HOUR_STORE_TABLES, NULL, NULL, NULL) != SQLITE_OK;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	hour_store_close(&f->store);
	hour_fini(&f->hour);
	sqlite3_close(f->db);
	return 0;
}

static int take_up(struct fixture *f, const struct hour_limits *limits)
{
	uint64_t stored;
	hour_store_close(&f->store);
	hour_fini(&f->hour);
	assert_int_equal(hour_store_open(&f->store, f->db, &f->error), 0);
	assert_int_equal(hour_store_expected(&f->store, &stored, &f->error), 0);
	assert_int_equal(hour_init(&f->hour, limits, stored, 1), 0);
	return hour_store_load(&f->store, &f->hour, wide.accounts, wide.metrics, &f->error);
}

static void commit(struct fixture *f)
{
	assert_int_equal(hour_store_write(&f->store, &f->hour), SQLITE_OK);
	hour_clean(&f->hour);
}

static int64_t number(struct fixture *f, const char *query)
{
	int64_t number = -1;
	assert_int_equal(database_number(f->db, query, &number), SQLITE_OK);
	return number;
}

static void another_life_has_what_was_committed_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(take_up(f, &wide), 0);
	hour_turn(&f->hour, NOON);
	add(&f->hour, NOON - 59, 1, 1, -5);
	add(&f->hour, NOON, 1, 1, INT64_MIN);
	add(&f->hour, NOON, 1, 2, INT64_MAX);
	add(&f->hour, NOON, 1, 2, INT64_MAX);
	add(&f->hour, NOON, HOUR_NOBODY, HOUR_OTHER, 1);
	commit(f);
	add(&f->hour, NOON, 1, 2, 1);
	add(&f->hour, NOON, 9, 9, 1);
	assert_int_equal(hour_store_write(&f->store, &f->hour), SQLITE_OK); /* twice is as once */
	assert_int_equal(hour_store_write(&f->store, &f->hour), SQLITE_OK);
	assert_int_equal(take_up(f, &wide), 0);
	assert_value(&f->hour, NOON, 9, 9, 1, 1, 1, 1);
	assert_value(&f->hour, NOON, 1, 2, 3, 1, INT64_MAX, (__int128)2 * INT64_MAX + 1);
	add(&f->hour, NOON, 9, 9, 1);
	assert_int_equal(take_up(f, &wide), 0);
	assert_value(&f->hour, NOON, 9, 9, 1, 1, 1, 1);
	assert_value(&f->hour, NOON - 59, 1, 1, 1, -5, -5, -5);
	assert_value(&f->hour, NOON, HOUR_ALL, HOUR_OTHER, 1, 1, 1, 1);
	assert_value(&f->hour, NOON, HOUR_ALL, 1, 1, INT64_MIN, INT64_MIN, INT64_MIN);
	assert_int_equal(hour_beyond(&f->hour), 1);
	assert_int_equal(f->hour.cells, 4);
	assert_int_equal(hour_rows(&f->hour), 0);
}

static void a_minute_that_has_left_the_window_leaves_the_table_with_the_next_commit(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(take_up(f, &wide), 0);
	hour_turn(&f->hour, NOON);
	add(&f->hour, NOON - 59, 1, 1, 1);
	add(&f->hour, NOON, 1, 1, 1);
	commit(f);
	assert_int_equal(number(f, "SELECT count(*) FROM hour"), 4);
	hour_turn(&f->hour, NOON + 1);
	add(&f->hour, NOON - 58, 2, 2, 2);
	assert_int_equal(number(f, "SELECT count(*) FROM hour"), 4);
	assert_int_equal(hour_rows(&f->hour), 3);
	commit(f);
	assert_int_equal(number(f, "SELECT count(*) FROM hour"), 4);
	assert_int_equal(number(f, "SELECT min(id) >> 32 FROM hour"), NOON - 58);
	assert_int_equal(take_up(f, &wide), 0);
	assert_null(hour_find(&f->hour, NOON - 59, 1, 1));
	hour_turn(&f->hour, NOON + 1000); /* it was down for long */
	assert_int_equal(f->hour.cells, 0);
	commit(f);
	assert_int_equal(number(f, "SELECT count(*) FROM hour"), 0);
}

static void a_database_with_more_cells_than_the_limit_keeps_them(void **state)
{
	struct fixture *f = *state;
	const struct hour_limits narrow = {.cells = 2, .accounts = 1000, .metrics = 100};
	assert_int_equal(take_up(f, &wide), 0);
	hour_turn(&f->hour, NOON);
	for (uint32_t account = 1; account <= 500; account++)
		add(&f->hour, NOON, account, 1, 1);
	commit(f);
	assert_int_equal(take_up(f, &narrow), 0);
	assert_int_equal(f->hour.cells, 500);
	assert_value(&f->hour, NOON, HOUR_ALL, 1, 500, 1, 1, 500);
}

static void rows_that_nobody_has_written_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
	        "(0, 0, x'0101020000')",
	        "(-1, 0, x'0101020000')",
	        "((29000000 << 32) + 1001, 0, x'0101020000')",
	        "((29000000 << 32) + 1, 1, x'0101020000')",
	        "(29000000 << 32, -1, x'0101020000')",
	        "(29000000 << 32, 0, x'')",
	        "(29000000 << 32, 0, x'01010200')",
	        "(29000000 << 32, 0, x'6501020000')",
	        "(29000000 << 32, 0, x'0100020000')",
	        "(29000000 << 32, 0, x'01010200000101020000')",
	};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[256];
		snprintf(text, sizeof text, "DELETE FROM hour; INSERT INTO hour VALUES %s", bad[i]);
		assert_int_equal(sqlite3_exec(f->db, text, NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(take_up(f, &wide), -EPROTO);
		assert_non_null(strstr(f->error.text, "table hour, row"));
	}
	assert_int_equal(
	        sqlite3_exec(f->db,
	                     "DELETE FROM hour; INSERT INTO hour VALUES (29000000 << 32, 0, x'0101020000')",
	                     NULL, NULL, NULL),
	        SQLITE_OK);
	assert_int_equal(take_up(f, &wide), 0);
	assert_value(&f->hour, NOON, HOUR_ALL, 1, 1, 1, 1, 1);
}

int main(void)
{
	alarm(120);
	draw_init(1);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_pair_has_its_own_values_and_the_metric_has_those_of_all),
	        cmocka_unit_test(sums_of_the_largest_numbers_do_not_overflow),
	        cmocka_unit_test(only_minutes_of_the_window_and_a_little_later_are_kept),
	        cmocka_unit_test(over_the_limit_of_cells_events_are_in_the_totals_until_a_minute_has_gone),
	        cmocka_unit_test(a_minute_with_many_cells_finds_them_all_and_gives_them_back),
	        cmocka_unit_test(rows_to_be_written_are_known_whatever_happens),
	        cmocka_unit_test(a_clock_that_is_set_back_keeps_what_is_ahead_until_its_place_is_needed),
	        cmocka_unit_test(cells_of_any_numbers_come_back_from_their_bytes),
	        cmocka_unit_test(bytes_that_are_no_cells_are_seen),
	        cmocka_unit_test_setup_teardown(another_life_has_what_was_committed_and_nothing_else, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(
	                a_minute_that_has_left_the_window_leaves_the_table_with_the_next_commit, set_up,
	                tear_down),
	        cmocka_unit_test_setup_teardown(a_database_with_more_cells_than_the_limit_keeps_them, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(rows_that_nobody_has_written_are_refused, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
