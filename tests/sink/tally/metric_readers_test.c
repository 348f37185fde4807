/* What the readers say of topic metric: BEHAVIOUR B to the letter, against a slow reference, with a
 * clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <float.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "event/event.h"
#include "sink/tally/accounts.h"
#include "sink/tally/book_metric.h"
#include "sink/tally/days.h"
#include "sink/tally/distinct.h"
#include "sink/tally/hourly.h"
#include "sink/tally/store.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/tally.h"

/* Of 113 bits, which is long double where the compiler has no __float128. */
#ifdef __SIZEOF_FLOAT128__
typedef __float128 quad;
#else
typedef long double quad;
_Static_assert(LDBL_MANT_DIG >= 113, "long double is wide enough");
#endif

#define MINUTE_MS 60000
#define MIDNIGHT  ((int64_t)20789 * 86400000) /* 2026-12-02 */

static const struct top_page whole = {.limit = TOP_LIMIT_MAX};
static const struct book_metric_limits wide = {1000, 1000, 1000, 100000};
static const struct book_kind *const kinds[] = {&book_metric_kind, NULL};

struct fixture {
	struct tally_folder folder;
	struct store *store;
	struct book *book;
	struct shm_error error;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f == NULL ? -1 : tally_folder_make(&f->folder);
}

static void start(struct fixture *f, struct book_metric_limits limits, int64_t now_ms)
{
	assert_int_equal(store_open(&f->store, f->folder.data_dir, kinds, &f->error), 0);
	assert_int_equal(book_metric_open(&f->book, &limits, store_database(f->store), &f->error), 0);
	f->book->kind->turn(f->book, now_ms);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	if (f->book != NULL)
		f->book->kind->close(f->book);
	store_close(f->store);
	tally_folder_remove(&f->folder);
	free(f);
	return 0;
}

static void add_bytes(struct fixture *f, const char *username, unsigned bytes, const char *metric, int64_t ms,
                      int64_t count)
{
	_Alignas(8) char record[1024];
	unsigned name = (unsigned)strlen(metric);
	struct event_metric *event = record_put(record, EVENT_METRIC, (uint32_t)sizeof *event + bytes + name);
	*event = (struct event_metric){.arrival_ns = (uint64_t)ms * 1000000,
	                               .username_bytes = (uint16_t)bytes,
	                               .metric_bytes = (uint16_t)name,
	                               .count = count};
	memcpy(event->text, username, bytes);
	memcpy(event->text + bytes, metric, name);
	struct record_batch batch = {.at = record,
	                             .end = record + record_bytes(sizeof *event + bytes + name)};
	assert_int_equal(f->book->kind->take(f->book, &batch, 1).records, 1);
}

static void add(struct fixture *f, const char *username, const char *metric, int64_t ms, int64_t count)
{
	add_bytes(f, username, (unsigned)strlen(username), metric, ms, count);
}

static void commit(struct fixture *f)
{
	assert_int_equal(store_commit(f->store, &f->book, 1, NULL, 0, NULL, &f->error), 0);
}

static void turn(struct fixture *f, int64_t now_ms)
{
	f->book->kind->turn(f->book, now_ms);
	commit(f);
}

static void assert_total(struct fixture *f, int64_t now_ms, const char *expected)
{
	char *json = NULL;
	if (hourly_total_json(f->folder.data_dir, now_ms, whole, &json, &f->error) != 0)
		fail_msg("%s", f->error.text);
	assert_string_equal(json, expected);
	free(json);
}

static void assert_per_user(struct fixture *f, int64_t now_ms, struct top_page page, const char *expected)
{
	char *json = NULL;
	if (hourly_per_user_json(f->folder.data_dir, now_ms, page, &json, NULL, &f->error) != 0)
		fail_msg("%s", f->error.text);
	assert_string_equal(json, expected);
	free(json);
}

/* ---- the last hour ---- */

static void statistics_are_of_each_metric_and_of_each_account_and_metric(void **state)
{
	struct fixture *f = *state;
	start(f, wide, MIDNIGHT);
	add(f, "kodingbot", "kite_call", MIDNIGHT, 12412414);
	add(f, "anna", "kite_call", MIDNIGHT, 1);
	add(f, "anna", "login", MIDNIGHT - MINUTE_MS, -3);
	add(f, "anna", "kite_call", MIDNIGHT - MINUTE_MS, 2);
	commit(f);
	assert_total(
	        f, MIDNIGHT,
	        "[{\"_id\": \"kite_call\", \"minimum\": 1, \"maximum\": 12412414, \"average\": 4137472.3333333335, \"count\": 3}, {\"_id\": \"login\", \"minimum\": -3, \"maximum\": -3, \"average\": -3.0, \"count\": 1}]");
	assert_per_user(
	        f, MIDNIGHT, whole,
	        "[{\"_id\": {\"username\": \"kodingbot\", \"metric\": \"kite_call\"}, \"minimum\": 12412414, \"maximum\": 12412414, \"average\": 12412414.0, \"count\": 1}, {\"_id\": {\"username\": \"anna\", \"metric\": \"kite_call\"}, \"minimum\": 1, \"maximum\": 2, \"average\": 1.5, \"count\": 2}, {\"_id\": {\"username\": \"anna\", \"metric\": \"login\"}, \"minimum\": -3, \"maximum\": -3, \"average\": -3.0, \"count\": 1}]");
}

static void the_window_slides_over_midnight_a_minute_at_a_time(void **state)
{
	struct fixture *f = *state;
	static const char both[] =
	        "[{\"_id\": \"m\", \"minimum\": 1, \"maximum\": 2, \"average\": 1.5, \"count\": 2}]";
	static const char second[] =
	        "[{\"_id\": \"m\", \"minimum\": 2, \"maximum\": 2, \"average\": 2.0, \"count\": 1}]";
	start(f, wide, MIDNIGHT);
	add(f, "u", "m", MIDNIGHT - 1, 1);
	add(f, "u", "m", MIDNIGHT, 2);
	commit(f);
	assert_total(f, MIDNIGHT - 1,
	             "[{\"_id\": \"m\", \"minimum\": 1, \"maximum\": 1, \"average\": 1.0, \"count\": 1}]");
	assert_total(f, MIDNIGHT, both);
	assert_total(f, MIDNIGHT + 59 * MINUTE_MS - 1, both);
	assert_total(f, MIDNIGHT + 59 * MINUTE_MS, second);
	assert_total(f, MIDNIGHT + 60 * MINUTE_MS - 1, second);
	assert_total(f, MIDNIGHT + 60 * MINUTE_MS, "[]");
	turn(f, MIDNIGHT + 59 * MINUTE_MS - 1);
	assert_total(f, MIDNIGHT + 59 * MINUTE_MS - 1, both);
	turn(f, MIDNIGHT + 59 * MINUTE_MS);
	assert_total(f, MIDNIGHT + 59 * MINUTE_MS, second);
	turn(f, MIDNIGHT + 60 * MINUTE_MS);
	assert_total(f, MIDNIGHT + 60 * MINUTE_MS, "[]");
}

static void averages_are_rounded_once(void **state)
{
	(void)state;
	assert_true(hourly_average(0, 7) == 0);
	assert_true(hourly_average(1, 3) == 1.0 / 3);
	assert_true(hourly_average(-1, 3) == -1.0 / 3);
	assert_true(hourly_average((__int128)INT64_MAX + INT64_MIN, 2) == -0.5);
	assert_true(hourly_average((__int128)INT64_MIN * INT64_MAX, INT64_MAX) == -0x1p63);
	assert_true(hourly_average((__int128)INT64_MAX * 1000, 1000) == 0x1p63);
	assert_true(hourly_average(1, INT64_MAX) == 1.0 / 0x1p63);
	/* Half-way between two doubles, and a little more, seen in the last bit of 127 alone. */
	assert_true(hourly_average(((__int128)1 << 53) + 1, 1) == 0x1p53);
	assert_true(hourly_average(((__int128)1 << 53) + 3, 1) == 0x1p53 + 4);
	__int128 tie = (((__int128)1 << 53) + 1) << 62;
	assert_true(hourly_average(tie, 1ull << 62) == 0x1p53);
	assert_true(hourly_average(tie + 1, 1ull << 62) == 0x1p53 + 2);
	assert_true(hourly_average(-tie - 1, 1ull << 62) == -0x1p53 - 2);
	for (unsigned i = 0; i < 100000; i++) {
		/* Exact in 113 bits where the quotient is; else rounded there, which shows in one
		 * of 2^60. */
		__int128 sum =
		        ((__int128)(int64_t)draw() * 0x100000000 + draw_below(UINT32_MAX)) >> draw_below(90);
		uint64_t count = (draw() >> 1 >> draw_below(63)) + 1;
		if (sum / (__int128)count > INT64_MAX || sum / (__int128)count < INT64_MIN)
			continue;
		assert_true(hourly_average(sum, count) == (double)((quad)sum / (quad)count));
	}
}

static void pages_put_together_are_the_whole(void **state)
{
	struct fixture *f = *state;
	char *json, name[32];
	start(f, wide, MIDNIGHT);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "user%u", draw_below(40));
		add(f, name, &"abcdefghij"[draw_below(10)], MIDNIGHT - (int64_t)draw_below(30) * MINUTE_MS,
		    i);
	}
	commit(f);
	assert_int_equal(hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, NULL, &f->error),
	                 0);
	json_t *all = json_loads(json, 0, NULL), *together = json_array();
	free(json);
	assert_true(json_array_size(all) > 150);
	for (struct top_page page = {.limit = 7};; page.offset += page.limit) {
		assert_int_equal(
		        hourly_per_user_json(f->folder.data_dir, MIDNIGHT, page, &json, NULL, &f->error), 0);
		json_t *part = json_loads(json, 0, NULL);
		size_t n = json_array_size(part);
		assert_true(n <= 7);
		json_array_extend(together, part);
		json_decref(part);
		free(json);
		if (n == 0)
			break;
	}
	assert_true(json_equal(all, together));
	json_decref(all);
	json_decref(together);
	struct top_page one = {.limit = 1, .offset = 1};
	assert_int_equal(hourly_total_json(f->folder.data_dir, MIDNIGHT, one, &json, &f->error), 0);
	all = json_loads(json, 0, NULL);
	assert_int_equal(json_array_size(all), 1);
	json_decref(all);
	free(json);
}

static void what_is_over_a_limit_is_told(void **state)
{
	struct fixture *f = *state;
	uint64_t beyond = 0;
	char *json;
	start(f, (struct book_metric_limits){.names = 100, .accounts = 2, .metric_names = 1, .hour_cells = 3},
	      MIDNIGHT);
	add(f, "a", "m1", MIDNIGHT, 1);
	add(f, "a", "m2", MIDNIGHT, 2);
	add(f, "a", "m3", MIDNIGHT, 3);
	add(f, "b", "m1", MIDNIGHT, 4);
	add(f, "b", "m2", MIDNIGHT, 5); /* over hour_cells */
	add(f, "c", "m1", MIDNIGHT, 6); /* over accounts */
	commit(f);
	assert_total(
	        f, MIDNIGHT,
	        "[{\"_id\": \"m1\", \"minimum\": 1, \"maximum\": 6, \"average\": 3.6666666666666665, \"count\": 3}, {\"_id\": {\"other\": true}, \"minimum\": 2, \"maximum\": 5, \"average\": 3.3333333333333335, \"count\": 3}]");
	assert_per_user(
	        f, MIDNIGHT, whole,
	        "[{\"_id\": {\"username\": \"a\", \"metric\": \"m1\"}, \"minimum\": 1, \"maximum\": 1, \"average\": 1.0, \"count\": 1}, {\"_id\": {\"username\": \"a\", \"other\": true}, \"minimum\": 2, \"maximum\": 3, \"average\": 2.5, \"count\": 2}, {\"_id\": {\"username\": \"b\", \"metric\": \"m1\"}, \"minimum\": 4, \"maximum\": 4, \"average\": 4.0, \"count\": 1}]");
	assert_int_equal(hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, &beyond, &f->error),
	                 0);
	assert_int_equal(beyond, 2);
	free(json);
	assert_int_equal(accounts_json(f->folder.data_dir, "c", &json, &f->error), -ENOENT);
	assert_non_null(strstr(f->error.text, "1 events came of others"));
}

static void names_cannot_break_the_json(void **state)
{
	struct fixture *f = *state;
	static const char *const name[] = {"\"}, {\"_id\": \"x",
	                                   "\\",
	                                   "\x01\n\x7f",
	                                   "\xff\xc0",
	                                   "\xe2\x80\xae",
	                                   "\xf0\x9f\x98\x80",
	                                   "",
	                                   "'; DROP TABLE account; --"};
	enum { N = sizeof name / sizeof *name };
	char *json;
	start(f, wide, MIDNIGHT);
	for (unsigned i = 0; i < N; i++)
		add(f, name[i], name[i], MIDNIGHT, i);
	add_bytes(f, "a\0b", 3, "zero", MIDNIGHT, 100);
	commit(f);
	assert_int_equal(hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, NULL, &f->error),
	                 0);
	json_t *all = json_loads(json, JSON_ALLOW_NUL, NULL), *one;
	free(json);
	assert_int_equal(json_array_size(all), N + 1);
	size_t i;
	json_array_foreach(all, i, one)
	{
		json_t *id = json_object_get(one, "_id");
		const char *user = json_string_value(json_object_get(id, "username"));
		assert_int_equal(json_integer_value(json_object_get(one, "minimum")), i == N ? 100 : i);
		if (i < N && i != 3) {
			assert_string_equal(user, name[i]);
			assert_string_equal(json_string_value(json_object_get(id, "metric")), name[i]);
		}
		if (i == 3)
			assert_string_equal(user, "\xc3\xbf\xc3\x80");
	}
	assert_int_equal(json_string_length(
	                         json_object_get(json_object_get(json_array_get(all, N), "_id"), "username")),
	                 3);
	json_decref(all);
	for (i = 0; i < N; i++) {
		assert_int_equal(accounts_json(f->folder.data_dir, name[i], &json, &f->error), 0);
		free(json);
	}
}

/* ---- days, months, accounts ---- */

static void assert_daily(struct fixture *f, const char *date, int64_t now_ms, const char *expected)
{
	char *json = NULL;
	if (distinct_daily_json(f->folder.data_dir, date, now_ms, whole, &json, &f->error) != 0)
		fail_msg("%s", f->error.text);
	assert_string_equal(json, expected);
	free(json);
}

static void assert_monthly(struct fixture *f, const char *month, struct top_page page, const char *expected)
{
	char *json = NULL;
	if (distinct_monthly_json(f->folder.data_dir, month, page, &json, &f->error) != 0)
		fail_msg("%s", f->error.text);
	assert_string_equal(json, expected);
	free(json);
}

static void days_older_than_thirty_are_merged_into_their_month(void **state)
{
	struct fixture *f = *state;
	const int64_t day = 86400000;
	char *json;
	static const char november[] =
	        "{\"date\": \"2026-11\", \"total\": 6, \"keys\": 3, \"forgotten\": 0, \"metrics\": [{\"_id\": \"b\", \"count\": 3, \"error\": 0}, {\"_id\": \"a\", \"count\": 2, \"error\": 0}, {\"_id\": \"c\", \"count\": 1, \"error\": 0}]}";
	start(f, wide, MIDNIGHT);
	add(f, "u", "a", MIDNIGHT - 2 * day, 1); /* 30 November */
	add(f, "u", "b", MIDNIGHT - 2 * day, 1);
	add(f, "u", "b", MIDNIGHT - day - 1, 1);
	commit(f);
	add(f, "u", "b", MIDNIGHT - 3 * day, 1);
	add(f, "u", "c", MIDNIGHT - 3 * day, 1);
	commit(f);
	add(f, "u", "a", MIDNIGHT - 32 * day, 1); /* 31 October: its day ended 31 days ago */
	add(f, "u", "a", MIDNIGHT - 31 * day, 1); /* 1 November: 30 days ago to the second */
	commit(f);
	assert_daily(
	        f, "2026-11-30", MIDNIGHT,
	        "{\"date\": \"2026-11-30\", \"total\": 3, \"keys\": 2, \"forgotten\": 0, \"metrics\": [{\"_id\": \"b\", \"count\": 2, \"error\": 0}, {\"_id\": \"a\", \"count\": 1, \"error\": 0}]}");
	assert_daily(
	        f, "2026-12-01", MIDNIGHT,
	        "{\"date\": \"2026-12-01\", \"total\": 0, \"keys\": 0, \"forgotten\": 0, \"metrics\": []}");
	assert_int_equal(
	        distinct_daily_json(f->folder.data_dir, "2026-11-01", MIDNIGHT, whole, &json, &f->error),
	        -ENOENT);
	assert_non_null(strstr(f->error.text, "2026-11"));
	assert_monthly(
	        f, "2026-10", whole,
	        "{\"date\": \"2026-10\", \"total\": 1, \"keys\": 1, \"forgotten\": 0, \"metrics\": [{\"_id\": \"a\", \"count\": 1, \"error\": 0}]}");
	assert_monthly(f, "2026-11", whole, november);
	turn(f, MIDNIGHT + 29 * day - 1); /* 30 November ended 30 days ago, less a millisecond */
	turn(f, MIDNIGHT + 29 * day - 1);
	assert_daily(
	        f, "2026-11-30", MIDNIGHT + 29 * day - 1,
	        "{\"date\": \"2026-11-30\", \"total\": 3, \"keys\": 2, \"forgotten\": 0, \"metrics\": [{\"_id\": \"b\", \"count\": 2, \"error\": 0}, {\"_id\": \"a\", \"count\": 1, \"error\": 0}]}");
	assert_monthly(f, "2026-11", whole, november);
	turn(f, MIDNIGHT + 29 * day);
	turn(f, MIDNIGHT + 29 * day);
	assert_int_equal(distinct_daily_json(f->folder.data_dir, "2026-11-30", MIDNIGHT + 29 * day, whole,
	                                     &json, &f->error),
	                 -ENOENT);
	assert_monthly(f, "2026-11", whole, november);
	add(f, "u", "c", MIDNIGHT - 2 * day, 1); /* it comes late */
	add(f, "u", "c", MIDNIGHT - 2 * day, 1);
	commit(f);
	assert_monthly(
	        f, "2026-11", (struct top_page){.limit = 1, .offset = 1},
	        "{\"date\": \"2026-11\", \"total\": 8, \"keys\": 3, \"forgotten\": 0, \"metrics\": [{\"_id\": \"c\", \"count\": 3, \"error\": 0}]}");
}

/* A list of the month of few counters, with keys of any bytes: it has forgotten some. */
static void write_list(struct top_store *store, const char *name, struct top *all)
{
	struct top *top = top_new(8, 0);
	for (unsigned i = 0; i < 200; i++) {
		const char key[3] = {(char)('a' + draw_below(6)), (char)(draw_below(4) * 85),
		                     (char)draw_below(3)};
		top_add(top, key, draw_below(3) + 1, 1 + draw_below(3));
	}
	assert_int_equal(top_store_write(store, name, top), SQLITE_OK);
	top_merge(all, top);
	top_free(top);
}

static void assert_key(json_t *item, const struct top *all)
{
	const char *text = json_string_value(json_object_get(item, "_id"));
	char key[8];
	size_t bytes = 0;
	struct top_counter counter;
	/* Bytes that are no UTF-8 are shown as U+0080 .. U+00FF. */
	for (size_t i = 0, n = json_string_length(json_object_get(item, "_id")); i < n; i++) {
		unsigned char lead = (unsigned char)text[i];
		bool two = lead == 0xc2 || lead == 0xc3;
		key[bytes++] = two ? (char)((lead << 6 & 0xc0) | (text[i + 1] & 0x3f)) : text[i];
		i += two;
	}
	assert_true(top_find(all, key, bytes, &counter));
	assert_int_equal(json_integer_value(json_object_get(item, "count")), counter.count);
	assert_int_equal(json_integer_value(json_object_get(item, "error")), counter.error);
}

static void a_month_is_its_lists_merged_without_a_bound(void **state)
{
	struct fixture *f = *state;
	static const char *const list[] = {MONTH_PREFIX "2026-09", DAYS_PREFIX "2026-09-01",
	                                   DAYS_PREFIX "2026-09-17", DAYS_PREFIX "2026-09-30"};
	static const char *const other[] = {MONTH_PREFIX "2026-08", DAYS_PREFIX "2026-08-31",
	                                    DAYS_PREFIX "2026-10-01"};
	struct top_store store;
	struct top *all = top_new(1000, 0), *none = top_new(1000, 0);
	char *json = NULL;
	start(f, wide, MIDNIGHT);
	assert_int_equal(top_store_open(&store, store_database(f->store), &f->error), 0);
	for (unsigned i = 0; i < sizeof list / sizeof *list; i++)
		write_list(&store, list[i], all);
	for (unsigned i = 0; i < sizeof other / sizeof *other; i++)
		write_list(&store, other[i], none);
	assert_int_equal(distinct_monthly_json(f->folder.data_dir, "2026-09", whole, &json, &f->error), 0);
	json_t *month = json_loads(json, JSON_ALLOW_NUL, NULL), *item, *metrics;
	metrics = json_object_get(month, "metrics");
	assert_int_equal(json_integer_value(json_object_get(month, "total")), top_total(all));
	assert_int_equal(json_integer_value(json_object_get(month, "keys")), top_used(all));
	assert_int_equal(json_integer_value(json_object_get(month, "forgotten")), top_smallest(all));
	assert_int_equal(json_array_size(metrics), top_used(all));
	assert_true(top_smallest(all) > 0 && top_used(all) > 8);
	json_int_t before = INT64_MAX;
	for (size_t i = 0; i < json_array_size(metrics); i++) {
		item = json_array_get(metrics, i);
		assert_key(item, all);
		assert_true(json_integer_value(json_object_get(item, "count")) <= before);
		before = json_integer_value(json_object_get(item, "count"));
	}
	json_decref(month);
	free(json);
	top_store_close(&store);
	top_free(all);
	top_free(none);
}

static void dates_that_are_none_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const date[] = {
	        "",           "2026-02-29", "2026-13-01",  "2026-11-31",  "2026-11-00",
	        "2026-1-1",   "2026-11-1x", " 2026-11-1",  "2026-11-01 ", "20261101",
	        "1969-12-31", "-026-11-01", "2026-11-27\n"};
	static const char *const month[] = {"",         "2026",       "2026-13", "2026-00",
	                                    "2026-11-", "2026-11-01", "1969-12"};
	char *json;
	start(f, wide, MIDNIGHT);
	for (unsigned i = 0; i < sizeof date / sizeof *date; i++)
		assert_int_equal(
		        distinct_daily_json(f->folder.data_dir, date[i], MIDNIGHT, whole, &json, &f->error),
		        -EINVAL);
	for (unsigned i = 0; i < sizeof month / sizeof *month; i++)
		assert_int_equal(distinct_monthly_json(f->folder.data_dir, month[i], whole, &json, &f->error),
		                 -EINVAL);
	assert_monthly(
	        f, "2024-02", whole,
	        "{\"date\": \"2024-02\", \"total\": 0, \"keys\": 0, \"forgotten\": 0, \"metrics\": []}");
}

static void an_account_was_first_seen_when_its_earliest_event_arrived(void **state)
{
	struct fixture *f = *state;
	char *json;
	start(f, wide, MIDNIGHT);
	add(f, "kodingbot", "m", MIDNIGHT + 5, 1);
	add(f, "kodingbot", "m", MIDNIGHT - 877, 1); /* of another lane */
	add(f, "kodingbot", "m", MIDNIGHT + 90000, 1);
	commit(f);
	assert_int_equal(accounts_json(f->folder.data_dir, "kodingbot", &json, &f->error), 0);
	assert_string_equal(
	        json,
	        "{\"username\": \"kodingbot\", \"first_seen\": \"2026-12-01T23:59:59.123Z\", \"first_seen_ms\": 1796169599123}");
	free(json);
	assert_int_equal(accounts_json(f->folder.data_dir, "Kodingbot", &json, &f->error), -ENOENT);
	assert_string_equal(f->error.text, "no event of this account was counted");
}

/* ---- files ---- */

static void assert_all(struct fixture *f, int expected, const char *text)
{
	char *json;
	int result[5] = {
	        hourly_total_json(f->folder.data_dir, MIDNIGHT, whole, &json, &f->error),
	        hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, NULL, &f->error),
	        distinct_daily_json(f->folder.data_dir, "2026-12-01", MIDNIGHT, whole, &json, &f->error),
	        distinct_monthly_json(f->folder.data_dir, "2026-12", whole, &json, &f->error),
	        accounts_json(f->folder.data_dir, "u", &json, &f->error),
	};
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(result[i], expected);
	assert_non_null(strstr(f->error.text, text));
}

static void sql(struct fixture *f, const char *text)
{
	sqlite3 *db;
	char path[128];
	snprintf(path, sizeof path, "%s/tally.db", f->folder.data_dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_file_that_is_absent_or_foreign_is_told_by_all_readers(void **state)
{
	struct fixture *f = *state;
	assert_all(f, -ENODATA, "nothing was counted there yet");
	sql(f, "CREATE TABLE a (b)");
	assert_all(f, -EPROTO, "tally.db");
	sql(f, "PRAGMA application_id = 1835625580; PRAGMA user_version = 77");
	assert_all(f, -EPROTO, "77");
}

static void rows_that_tally_has_not_written_are_told(void **state)
{
	struct fixture *f = *state;
	char *json;
	start(f, wide, MIDNIGHT);
	add(f, "u", "m", MIDNIGHT, 1);
	commit(f);
	sql(f, "UPDATE hour SET cells = x'0101'");
	assert_int_equal(hourly_total_json(f->folder.data_dir, MIDNIGHT, whole, &json, &f->error), -EPROTO);
	assert_int_equal(hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, NULL, &f->error),
	                 -EPROTO);
	assert_non_null(strstr(f->error.text, "not what was stored there"));
	sql(f, "UPDATE hour SET cells = x'0101020000'; DELETE FROM account");
	assert_int_equal(hourly_per_user_json(f->folder.data_dir, MIDNIGHT, whole, &json, NULL, &f->error),
	                 -EPROTO);
	assert_non_null(strstr(f->error.text, "not what was stored there"));
	sql(f, "UPDATE hour SET cells = x'7f01020000'"); /* a metric that has no name */
	assert_int_equal(hourly_total_json(f->folder.data_dir, MIDNIGHT, whole, &json, &f->error), -EPROTO);
}

int main(void)
{
	alarm(120);
	draw_init(1);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(statistics_are_of_each_metric_and_of_each_account_and_metric),
	        TEST(the_window_slides_over_midnight_a_minute_at_a_time),
	        cmocka_unit_test(averages_are_rounded_once),
	        TEST(pages_put_together_are_the_whole),
	        TEST(what_is_over_a_limit_is_told),
	        TEST(names_cannot_break_the_json),
	        TEST(days_older_than_thirty_are_merged_into_their_month),
	        TEST(a_month_is_its_lists_merged_without_a_bound),
	        TEST(dates_that_are_none_are_refused),
	        TEST(an_account_was_first_seen_when_its_earliest_event_arrived),
	        TEST(a_file_that_is_absent_or_foreign_is_told_by_all_readers),
	        TEST(rows_that_tally_has_not_written_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
