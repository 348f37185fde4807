/* The book of metrics against a slow reference over random events, with a clock of the test's own:
 * minutes, days and months come and go, limits are hit, commits fail, and a new life begins with
 * what was committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/event.h"
#include "sink/tally/book_metric.h"
#include "sink/tally/days.h"
#include "sink/tally/hour_blob.h"
#include "sink/tally/names.h"
#include "stage/database.h"
#include "tests/fixture/draw.h"

#define ACCOUNTS  24u
#define METRICS   12u
#define CELLS_MAX 8192u
#define DAYS_MAX  400u
#define FIRST_DAY 20400 /* 2025-11-08 */
#define BATCH     40u
#define MINUTE_MS 60000
#define NOT_NAMED 99u /* an account or metric without a number */
#define EVERYBODY 98u

/* ---- the reference: plain lists, searched from the beginning ---- */

struct cell {
	int64_t minute;
	unsigned account, metric; /* EVERYBODY: the total; NOT_NAMED: other */
	struct hour_value value;
};

struct reference {
	unsigned known[ACCOUNTS], n_known; /* accounts in their order */
	int64_t first_ms[ACCOUNTS];
	unsigned metric[METRICS], n_metrics;
	struct cell cell[CELLS_MAX];
	unsigned n_cells, n_account_cells;
	struct {
		int64_t minute;
		uint64_t beyond;
	} beyond[256];
	unsigned n_beyond;
	uint64_t accounts_beyond;
	uint64_t day[DAYS_MAX][METRICS]; /* events by day of arrival */
	int64_t now_ms;                  /* the last turn's */
};

static struct world {
	sqlite3 *db;
	struct book *book;
	struct book_metric_limits limits;
	struct reference now, committed;
	char account[ACCOUNTS][256], metric[METRICS][256];
	unsigned account_bytes[ACCOUNTS], metric_bytes[METRICS];
	int64_t clock_ms;
	uint64_t events, lives, commits, merged;
} w;

static void make_names(void)
{
	for (unsigned i = 0; i < ACCOUNTS; i++)
		w.account_bytes[i] = (unsigned)sprintf(w.account[i], "user%u \"\\\xc3\xa9\n", i);
	memset(w.account[3], 'l', NAMES_BYTES_MAX + 1); /* too long to be told apart */
	w.account_bytes[3] = NAMES_BYTES_MAX + 1;
	memset(w.account[4], 'l', NAMES_BYTES_MAX); /* not */
	w.account_bytes[4] = NAMES_BYTES_MAX;
	w.account_bytes[5] = (unsigned)sprintf(w.account[5], "\xff\xfe no text");
	w.account[6][1] = '\0';
	for (unsigned i = 0; i < METRICS; i++)
		w.metric_bytes[i] = (unsigned)sprintf(w.metric[i], "metric_%u", i);
	memset(w.metric[2], 'm', 230);
	w.metric_bytes[2] = 230;
}

static unsigned place_of(unsigned *known, unsigned *n, uint64_t limit, unsigned which, bool fits)
{
	for (unsigned i = 0; i < *n; i++)
		if (known[i] == which)
			return i;
	if (!fits || *n >= limit)
		return NOT_NAMED;
	known[*n] = which;
	return (*n)++;
}

static struct cell *find_cell(struct reference *reference, int64_t minute, unsigned account, unsigned metric)
{
	for (unsigned i = 0; i < reference->n_cells; i++) {
		struct cell *cell = &reference->cell[i];
		if (cell->minute == minute && cell->account == account && cell->metric == metric)
			return cell;
	}
	return NULL;
}

static struct cell *new_cell(struct reference *reference, int64_t minute, unsigned account, unsigned metric)
{
	assert_true(reference->n_cells < CELLS_MAX);
	struct cell *cell = &reference->cell[reference->n_cells++];
	*cell = (struct cell){minute, account, metric, {0, INT64_MAX, INT64_MIN, 0}};
	return cell;
}

static void count_in(struct cell *cell, int64_t count)
{
	struct hour_value *value = &cell->value;
	value->count++;
	value->sum += count;
	value->least = count < value->least ? count : value->least;
	value->greatest = count > value->greatest ? count : value->greatest;
}

static void count_beyond(struct reference *reference, int64_t minute)
{
	unsigned i = 0;
	while (i < reference->n_beyond && reference->beyond[i].minute != minute)
		i++;
	assert_true(i < sizeof reference->beyond / sizeof *reference->beyond);
	if (i == reference->n_beyond) {
		reference->beyond[i].minute = minute;
		reference->beyond[i].beyond = 0;
		reference->n_beyond++;
	}
	reference->beyond[i].beyond++;
}

static void expect_hour(struct reference *r, unsigned account, unsigned metric, int64_t minute, int64_t count)
{
	int64_t now = r->now_ms / MINUTE_MS;
	if (minute < now - 59 || minute > now + HOUR_AHEAD)
		return;
	struct cell *total = find_cell(r, minute, EVERYBODY, metric);
	count_in(total != NULL ? total : new_cell(r, minute, EVERYBODY, metric), count);
	struct cell *cell = account == NOT_NAMED ? NULL : find_cell(r, minute, account, metric);
	if (cell == NULL && account != NOT_NAMED && r->n_account_cells < w.limits.hour_cells) {
		cell = new_cell(r, minute, account, metric);
		r->n_account_cells++;
	}
	if (cell != NULL)
		count_in(cell, count);
	else
		count_beyond(r, minute);
}

static void expect(unsigned account, unsigned metric, int64_t ms, int64_t count)
{
	struct reference *r = &w.now;
	unsigned who = place_of(r->known, &r->n_known, w.limits.accounts, account,
	                        w.account_bytes[account] <= NAMES_BYTES_MAX);
	unsigned what = place_of(r->metric, &r->n_metrics, w.limits.metric_names, metric,
	                         w.metric_bytes[metric] <= NAMES_BYTES_MAX);
	if (who == NOT_NAMED)
		r->accounts_beyond++;
	else if (r->first_ms[who] == 0 || ms < r->first_ms[who])
		r->first_ms[who] = ms;
	r->day[ms / MS_PER_DAY - FIRST_DAY][metric]++;
	expect_hour(r, who, what, ms / MINUTE_MS, count);
}

static void expect_turn(struct reference *r, int64_t now_ms)
{
	int64_t oldest = now_ms / MINUTE_MS - 59;
	unsigned kept = 0;
	r->now_ms = now_ms;
	for (unsigned i = 0; i < r->n_cells; i++) {
		if (r->cell[i].minute >= oldest)
			r->cell[kept++] = r->cell[i];
		else if (r->cell[i].account != EVERYBODY)
			r->n_account_cells--;
	}
	r->n_cells = kept;
	kept = 0;
	for (unsigned i = 0; i < r->n_beyond; i++)
		if (r->beyond[i].minute >= oldest)
			r->beyond[kept++] = r->beyond[i];
	r->n_beyond = kept;
}

/* ---- the book ---- */

static void open_book(void)
{
	struct shm_error error = {""};
	if (book_metric_open(&w.book, &w.limits, w.db, &error) != 0)
		fail_msg("%s", error.text);
	w.lives++;
}

static void turn(void)
{
	w.book->kind->turn(w.book, w.clock_ms);
	expect_turn(&w.now, w.clock_ms);
}

static void sql(const char *text)
{
	if (sqlite3_exec(w.db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(w.db));
}

static void commit(void)
{
	sql("BEGIN");
	assert_int_equal(w.book->kind->write(w.book), SQLITE_OK);
	if (draw_one_in(8)) { /* it fails, and is tried again */
		sql("ROLLBACK; BEGIN");
		assert_int_equal(w.book->kind->write(w.book), SQLITE_OK);
	}
	if (draw_one_in(8)) /* what was written once more does no harm */
		assert_int_equal(w.book->kind->write(w.book), SQLITE_OK);
	sql("COMMIT");
	w.book->kind->clean(w.book);
	w.committed = w.now;
	w.commits++;
}

/* kill -9, and another life. */
static void die(void)
{
	w.book->kind->close(w.book);
	open_book();
	w.now = w.committed;
	turn();
}

static size_t put_event(char *at, unsigned account, unsigned metric, int64_t ms, int64_t count)
{
	unsigned username = w.account_bytes[account], name = w.metric_bytes[metric];
	struct event_metric *event = record_put(at, EVENT_METRIC, (uint32_t)sizeof *event + username + name);
	*event = (struct event_metric){.arrival_ns = (uint64_t)ms * 1000000 + draw_below(1000000),
	                               .username_bytes = (uint16_t)username,
	                               .metric_bytes = (uint16_t)name,
	                               .count = count};
	memcpy(event->text, w.account[account], username);
	memcpy(event->text + username, w.metric[metric], name);
	return record_bytes(sizeof *event + username + name);
}

static size_t put_bad(char *at)
{
	struct event_metric *event = record_put(at, EVENT_METRIC, sizeof *event);
	*event = (struct event_metric){.arrival_ns = 1};
	switch (draw_below(3)) {
	case 0:
		event->username_bytes = (uint16_t)draw() | 1;
		break;
	case 1:
		((struct record *)(void *)at)->type = EVENT_LOG;
		break;
	default:
		((struct record *)(void *)at)->length = 8;
		return record_bytes(8);
	}
	return record_bytes(sizeof *event);
}

/* Mostly now, sometimes of an hour or a day that has waited in its lane, rarely of one to come. */
static int64_t draw_time(void)
{
	static const int64_t back[] = {1000,
	                               1000,
	                               1000,
	                               90000,
	                               4000000,
	                               MS_PER_DAY,
	                               3 * (int64_t)MS_PER_DAY,
	                               70 * (int64_t)MS_PER_DAY};
	int64_t ms = w.clock_ms - (int64_t)(draw() % (uint64_t)back[draw_below(draw_one_in(50) ? 8 : 5)]);
	if (draw_one_in(40))
		ms += draw_below(400000);
	return ms < (int64_t)FIRST_DAY * MS_PER_DAY ? (int64_t)FIRST_DAY * MS_PER_DAY : ms;
}

static int64_t draw_count(void)
{
	static const int64_t edge[] = {INT64_MIN, INT64_MAX, 0, -1, 1};
	return draw_one_in(4) ? edge[draw_below(5)] : (int64_t)draw_below(2000) - 1000;
}

static void send(void)
{
	static _Alignas(8) char records[BATCH * 600];
	struct {
		unsigned account, metric;
		int64_t ms, count;
		bool bad;
	} sent[BATCH];
	unsigned n = 1 + draw_below(BATCH), at = 0, bad = 0;
	size_t bytes = 0;
	for (unsigned i = 0; i < n; i++) {
		sent[i].bad = draw_one_in(30);
		sent[i].account = draw_below(1 + draw_below(ACCOUNTS));
		sent[i].metric = draw_below(1 + draw_below(METRICS));
		sent[i].ms = draw_time();
		sent[i].count = draw_count();
		bytes += sent[i].bad ? put_bad(records + bytes)
		                     : put_event(records + bytes, sent[i].account, sent[i].metric, sent[i].ms,
		                                 sent[i].count);
		bad += sent[i].bad;
	}
	struct record_batch batch = {.at = records, .end = records + bytes};
	while (at < n) {
		struct book_taken taken = w.book->kind->take(w.book, &batch, 1 + draw_below(BATCH));
		for (unsigned end = at + (unsigned)taken.records; at < end; at++) {
			bad -= sent[at].bad;
			taken.bad -= sent[at].bad;
			if (!sent[at].bad)
				expect(sent[at].account, sent[at].metric, sent[at].ms, sent[at].count);
		}
		assert_int_equal(taken.bad, 0);
		assert_true(taken.records > 0 || w.book->kind->full(w.book));
		if (w.book->kind->full(w.book))
			commit();
	}
	assert_int_equal(bad, 0);
	assert_ptr_equal(batch.at, batch.end);
	w.events += n;
}

static void pass_time(void)
{
	w.clock_ms += draw_below(3000);
	if (draw_one_in(10))
		w.clock_ms += draw_below(600000);
	if (draw_one_in(150))
		w.clock_ms += draw_below(3 * MS_PER_DAY);
	turn();
}

/* ---- what the database holds ---- */

static int64_t number(const char *query)
{
	int64_t number = -1;
	assert_int_equal(database_number(w.db, query, &number), SQLITE_OK);
	return number;
}

static void check_row(sqlite3_stmt *row, unsigned *cells)
{
	int64_t minute = sqlite3_column_int64(row, 0) >> 32;
	unsigned account = (unsigned)(sqlite3_column_int64(row, 0) & UINT32_MAX);
	const uint8_t *bytes = sqlite3_column_blob(row, 2);
	struct hour_blob blob = {.at = bytes, .end = bytes + sqlite3_column_bytes(row, 2)};
	struct hour_value value;
	uint32_t metric;
	while (hour_blob_next(&blob, &metric, &value)) {
		const struct cell *cell =
		        find_cell(&w.committed, minute, account == 0 ? EVERYBODY : account - 1,
		                  metric == HOUR_OTHER ? NOT_NAMED : metric - 1);
		assert_non_null(cell);
		assert_true(cell->value.count == value.count && cell->value.sum == value.sum &&
		            cell->value.least == value.least && cell->value.greatest == value.greatest);
		++*cells;
	}
	assert_false(blob.bad);
	uint64_t beyond = 0;
	for (unsigned i = 0; i < w.committed.n_beyond; i++)
		if (account == 0 && w.committed.beyond[i].minute == minute)
			beyond = w.committed.beyond[i].beyond;
	assert_int_equal(sqlite3_column_int64(row, 1), beyond);
}

static void check_hour(void)
{
	sqlite3_stmt *row;
	unsigned cells = 0;
	assert_int_equal(sqlite3_prepare_v2(w.db, "SELECT * FROM hour", -1, &row, NULL), SQLITE_OK);
	while (sqlite3_step(row) == SQLITE_ROW)
		check_row(row, &cells);
	sqlite3_finalize(row);
	assert_int_equal(cells, w.committed.n_cells);
}

static void check_names(const char *table, const unsigned *known, unsigned n, char (*text)[256],
                        const unsigned *bytes, const int64_t *first_ms)
{
	char query[96];
	sqlite3_stmt *row;
	unsigned i = 0;
	snprintf(query, sizeof query, "SELECT id, name, first_ms FROM %s ORDER BY id", table);
	assert_int_equal(sqlite3_prepare_v2(w.db, query, -1, &row, NULL), SQLITE_OK);
	for (; sqlite3_step(row) == SQLITE_ROW; i++) {
		assert_true(i < n);
		assert_int_equal(sqlite3_column_int64(row, 0), i + 1);
		assert_int_equal(sqlite3_column_bytes(row, 1), bytes[known[i]]);
		assert_memory_equal(sqlite3_column_blob(row, 1), text[known[i]], bytes[known[i]]);
		if (first_ms != NULL)
			assert_int_equal(sqlite3_column_int64(row, 2), first_ms[i]);
	}
	sqlite3_finalize(row);
	assert_int_equal(i, n);
}

/* What a list says of a metric. */
static struct top_counter listed(const struct top *top, unsigned metric)
{
	struct top_counter counter = {.count = top_smallest(top), .error = top_smallest(top)};
	(void)top_find(top, w.metric[metric], w.metric_bytes[metric], &counter);
	return counter;
}

static void check_list(const struct top *top, const uint64_t true_count[METRICS])
{
	uint64_t total = 0;
	for (unsigned metric = 0; metric < METRICS; metric++) {
		struct top_counter counter = listed(top, metric);
		assert_in_range(true_count[metric], counter.count - counter.error, counter.count);
		if (w.limits.names >= METRICS)
			assert_int_equal(true_count[metric], counter.count);
		total += true_count[metric];
	}
	assert_int_equal(top_total(top), total);
}

static struct top *load(struct top_store *store, const char *name)
{
	struct shm_error error = {""};
	struct top *top = NULL;
	if (top_store_load(store, name, (uint32_t)w.limits.names, &top, &error) != 0)
		fail_msg("%s: %s", name, error.text);
	return top;
}

/* A month and its days hold all events of the month, whatever of it has been merged. */
static void check_month(struct top_store *store, int64_t day, int64_t days)
{
	uint64_t expected[METRICS] = {0};
	char text[DAYS_TEXT], name[TOP_NAME_MAX];
	snprintf(name, sizeof name, MONTH_PREFIX "%s", days_month(text, day));
	struct top *all = load(store, name);
	for (int64_t i = day; i < day + days; i++) {
		snprintf(name, sizeof name, DAYS_PREFIX "%s", days_date(text, i));
		struct top *one = load(store, name);
		if (i >= w.committed.now_ms / MS_PER_DAY - DAYS_KEPT)
			check_list(one, w.committed.day[i - FIRST_DAY]);
		top_merge(all, one);
		top_free(one);
		for (unsigned metric = 0; metric < METRICS; metric++)
			expected[metric] += w.committed.day[i - FIRST_DAY][metric];
	}
	check_list(all, expected);
	top_free(all);
}

static void check_days(void)
{
	struct top_store store;
	struct shm_error error;
	char text[DAYS_TEXT], month[DAYS_TEXT];
	assert_int_equal(top_store_open(&store, w.db, &error), 0);
	for (int64_t day = FIRST_DAY, end; day < FIRST_DAY + DAYS_MAX; day = end) {
		days_month(month, day);
		for (end = day; end < FIRST_DAY + DAYS_MAX && strcmp(days_month(text, end), month) == 0;)
			end++;
		check_month(&store, day, end - day);
	}
	top_store_close(&store);
}

static void check(void)
{
	const struct reference *r = &w.committed;
	check_hour();
	check_names("account", r->known, r->n_known, w.account, w.account_bytes, r->first_ms);
	check_names("metric_name", r->metric, r->n_metrics, w.metric, w.metric_bytes, NULL);
	assert_int_equal(number("SELECT coalesce(sum(value), 0) FROM total WHERE name = 'accounts_beyond'"),
	                 r->accounts_beyond);
	check_days();
}

/* Whatever has become old is merged by a few commits. */
static void check_merged(void)
{
	char query[128], text[DAYS_TEXT];
	for (unsigned i = 0; i < 200; i++) {
		turn();
		commit();
	}
	snprintf(query, sizeof query,
	         "SELECT count(*) FROM top WHERE name >= '" DAYS_PREFIX "' AND name < '" DAYS_PREFIX "%s'",
	         days_date(text, w.clock_ms / MS_PER_DAY - DAYS_KEPT));
	assert_int_equal(number(query), 0);
	check();
	w.merged += (uint64_t)number("SELECT count(*) FROM top WHERE name LIKE '" MONTH_PREFIX "%'");
}

static void begin_world(struct book_metric_limits limits)
{
	memset(&w, 0, sizeof w);
	make_names();
	w.limits = limits;
	w.clock_ms = (FIRST_DAY + 71) * (int64_t)MS_PER_DAY - 120000; /* two minutes to midnight */
	assert_int_equal(sqlite3_open(":memory:", &w.db), SQLITE_OK);
	sql("CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
	sql(book_metric_kind.tables);
	sql(book_metric_kind.tables); /* harmless */
	open_book();
	turn();
	commit();
}

static void end_world(void)
{
	w.book->kind->close(w.book);
	assert_int_equal(sqlite3_close(w.db), SQLITE_OK);
}

static void live(struct book_metric_limits limits, unsigned rounds)
{
	begin_world(limits);
	for (unsigned round = 0; round < rounds; round++) {
		send();
		pass_time();
		if (draw_one_in(5))
			commit();
		if (draw_one_in(40))
			die();
		if (draw_one_in(200)) {
			commit();
			check();
		}
	}
	commit();
	check();
	check_merged();
	printf("  %llu events, %llu commits, %llu lives, %u cells, %llu events over the limit of accounts, %llu months\n",
	       (unsigned long long)w.events, (unsigned long long)w.commits, (unsigned long long)w.lives,
	       w.now.n_cells, (unsigned long long)w.now.accounts_beyond, (unsigned long long)w.merged);
	assert_true(w.lives > 5 && w.merged >= 2);
	end_world();
}

static void random_events_are_counted_as_a_slow_reference_counts_them(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		live(
		        (struct book_metric_limits){
		                .names = 1000, .accounts = 1000, .metric_names = 1000, .hour_cells = 100000},
		        1200);
}

static void limits_leave_out_what_is_over_them_and_the_sums_stay_exact(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		live(
		        (struct book_metric_limits){
		                .names = 4 + i, .accounts = 9, .metric_names = 5, .hour_cells = 30},
		        1200);
		assert_true(w.now.accounts_beyond > 100);
	}
}

static void an_empty_book_writes_nothing(void **state)
{
	(void)state;
	begin_world((struct book_metric_limits){10, 10, 10, 10});
	assert_int_equal(w.book->kind->rows(w.book), 0);
	assert_false(w.book->kind->full(w.book));
	struct record_batch none = {0};
	struct book_taken taken = w.book->kind->take(w.book, &none, 100);
	assert_int_equal(taken.records, 0);
	end_world();
}

static void rows_of_names_that_nobody_has_written_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "INSERT INTO account VALUES (2, 'a', 1)", /* the first is 1 */
	        "INSERT INTO account VALUES (1, 5, 1); UPDATE account SET name = CAST(zeroblob(201) AS TEXT)",
	        "INSERT INTO metric_name VALUES (7, 'a', 1)",
	        "INSERT INTO hour VALUES ((29000000 << 32) + 1, 0, x'0101020000')", /* of no account */
	};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct shm_error error = {""};
		begin_world((struct book_metric_limits){10, 10, 10, 10});
		w.book->kind->close(w.book);
		sql(bad[i]);
		assert_int_equal(book_metric_open(&w.book, &w.limits, w.db, &error), -EPROTO);
		assert_non_null(strstr(error.text, "not what was stored there"));
		assert_int_equal(sqlite3_close(w.db), SQLITE_OK); /* no statement is left */
	}
}

int main(void)
{
	alarm(240);
	draw_init(1);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(random_events_are_counted_as_a_slow_reference_counts_them),
	        cmocka_unit_test(limits_leave_out_what_is_over_them_and_the_sums_stay_exact),
	        cmocka_unit_test(an_empty_book_writes_nothing),
	        cmocka_unit_test(rows_of_names_that_nobody_has_written_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
