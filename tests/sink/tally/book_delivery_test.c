/* The book of deliveries against a slow reference: whatever comes in whatever order, the table has
 * what was committed. And the report over it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/event.h"
#include "sink/tally/book_delivery.h"
#include "sink/tally/latency.h"
#include "sink/tally/minutes.h"
#include "tests/fixture/config.h"
#include "tests/fixture/draw.h"

#define START       29000000 /* a minute of 2025 */
#define MOST        40000u
#define BATCH_BYTES 65536u

/* ---- what came ---- */

struct attempt {
	int64_t minute;
	unsigned endpoint, outcome;
	uint32_t us;
	bool committed;
};

struct world {
	sqlite3 *db;
	struct config *config;
	struct book *book;
	unsigned endpoints; /* there are so many; the limit is the configuration's */
	struct attempt attempt[MOST];
	unsigned n;
	unsigned full, refused; /* commits because the book was full; that were not kept */
	_Alignas(8) char bytes[BATCH_BYTES];
};

/* Endpoint 0 has no name. */
static size_t name_of(unsigned endpoint, char name[64])
{
	return endpoint == 0 ? 0 : (size_t)snprintf(name, 64, "http://host%u.example/hook", endpoint);
}

static size_t put_attempt(char *at, const struct attempt *attempt)
{
	char name[64];
	size_t bytes = name_of(attempt->endpoint, name);
	struct event_delivery event = {
	        .arrival_ns = (uint64_t)attempt->minute * NS_PER_MINUTE + draw() % NS_PER_MINUTE,
	        .outcome = (uint8_t)attempt->outcome,
	        .total_us = attempt->us,
	        .endpoint_bytes = (uint16_t)bytes,
	        .url_bytes = 5,
	};
	uint32_t length = (uint32_t)(sizeof event + bytes + 5);
	char *payload = record_put(at, EVENT_DELIVERY, length);
	memcpy(payload, &event, sizeof event);
	memcpy(payload + sizeof event, name, bytes);
	memcpy(payload + sizeof event + bytes, "url..", 5);
	return record_bytes(length);
}

static void execute(struct world *world, const char *text)
{
	assert_int_equal(sqlite3_exec(world->db, text, NULL, NULL, NULL), SQLITE_OK);
}

static void open_book(struct world *world)
{
	struct shm_error error = {""};
	execute(world, book_delivery_kind.tables);
	if (book_delivery_kind.open(&world->book, world->config, world->db, &error) != 0)
		fail_msg("%s", error.text);
	assert_ptr_equal(world->book->kind, &book_delivery_kind);
}

static struct world *begin(const char *text, unsigned endpoints)
{
	struct world *world = calloc(1, sizeof *world);
	assert_non_null(world);
	world->config = load(text, "");
	world->endpoints = endpoints;
	assert_int_equal(sqlite3_open(":memory:", &world->db), SQLITE_OK);
	open_book(world);
	return world;
}

static void end(struct world *world)
{
	book_delivery_kind.close(world->book);
	assert_int_equal(sqlite3_close(world->db), SQLITE_OK);
	config_free(world->config);
	free(world);
}

static void forget_uncommitted(struct world *world)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < world->n; i++)
		if (world->attempt[i].committed)
			world->attempt[kept++] = world->attempt[i];
	world->n = kept;
}

/* ---- committing, with what can go wrong ---- */

static void write_within(struct world *world, const char *last)
{
	execute(world, "BEGIN IMMEDIATE");
	assert_int_equal(book_delivery_kind.write(world->book), SQLITE_OK);
	execute(world, last);
}

static void commit(struct world *world)
{
	write_within(world, "COMMIT");
	book_delivery_kind.clean(world->book);
	for (unsigned i = 0; i < world->n; i++)
		world->attempt[i].committed = true;
}

/* One that fails, or is told to have failed and is on the disk; the same again follows. */
static void commit_badly(struct world *world)
{
	write_within(world, draw_one_in(2) ? "ROLLBACK" : "COMMIT");
	world->refused++;
	if (draw_one_in(2))
		commit(world);
}

/* The process died: what was committed is all there is. A commit told as failed is made good
 * first, since the reference does not know which it was. */
static void reopen(struct world *world, bool after_commit)
{
	if (after_commit)
		commit(world);
	else
		forget_uncommitted(world);
	book_delivery_kind.close(world->book);
	open_book(world);
}

/* Gives the book a batch of these, as many times as it takes. */
static void give(struct world *world, const struct attempt *attempt, unsigned n)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += put_attempt(world->bytes + bytes, &attempt[i]);
	assert_true(bytes <= BATCH_BYTES && world->n + n <= MOST);
	struct record_batch batch = {.at = world->bytes, .end = world->bytes + bytes};
	while (batch.at < batch.end) {
		struct book_taken taken = book_delivery_kind.take(world->book, &batch, 1 + draw_below(100));
		assert_int_equal(taken.bad, 0);
		memcpy(world->attempt + world->n, attempt, taken.records * sizeof *attempt);
		world->n += (unsigned)taken.records;
		attempt += taken.records;
		if (book_delivery_kind.full(world->book)) {
			world->full++;
			commit(world);
		} else {
			assert_true(taken.records > 0);
		}
	}
}

/* ---- the reference ---- */

struct cell {
	uint64_t count, sum, bucket[LATENCY_BUCKETS];
};

static void add(struct cell *cell, uint32_t us)
{
	unsigned i = 0;
	cell->count++;
	cell->sum += us;
	while (us > latency_bound(i))
		i++;
	if (us != 0)
		cell->bucket[i]++;
}

/* endpoint < 0: all together */
static struct cell expected(const struct world *world, int64_t minute, int endpoint, unsigned outcome)
{
	struct cell cell = {0};
	for (unsigned i = 0; i < world->n; i++) {
		const struct attempt *attempt = &world->attempt[i];
		if (attempt->minute == minute && attempt->outcome == outcome &&
		    (endpoint < 0 || attempt->endpoint == (unsigned)endpoint))
			add(&cell, attempt->us);
	}
	return cell;
}

static struct cell read_cell(sqlite3_stmt *row)
{
	struct cell cell = {.count = (uint64_t)sqlite3_column_int64(row, 3),
	                    .sum = (uint64_t)sqlite3_column_int64(row, 4)};
	assert_true(latency_add(cell.bucket, sqlite3_column_int64(row, 5), sqlite3_column_blob(row, 6),
	                        (size_t)sqlite3_column_bytes(row, 6)));
	return cell;
}

static sqlite3_stmt *rows(struct world *world)
{
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(world->db, "SELECT * FROM delivery_minute", -1, &statement, NULL),
	                 SQLITE_OK);
	return statement;
}

static unsigned endpoint_of(const char *name)
{
	unsigned endpoint = 0;
	if (name[0] != '\0')
		assert_int_equal(sscanf(name, "http://host%u.example/hook", &endpoint), 1);
	return endpoint;
}

static void assert_same(const struct cell *a, const struct cell *b)
{
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->sum, b->sum);
	assert_memory_equal(a->bucket, b->bucket, sizeof a->bucket);
}

/* Each row is what the reference has, and their counts add up to all attempts: none is missing. */
static void assert_exact(struct world *world)
{
	uint64_t total = 0;
	sqlite3_stmt *row = rows(world);
	while (sqlite3_step(row) == SQLITE_ROW) {
		struct cell cell = read_cell(row);
		struct cell wanted = expected(world, sqlite3_column_int64(row, 0),
		                              (int)endpoint_of((const char *)sqlite3_column_text(row, 1)),
		                              (unsigned)sqlite3_column_int(row, 2));
		assert_same(&cell, &wanted);
		total += cell.count;
	}
	sqlite3_finalize(row);
	assert_int_equal(total, world->n);
}

/* Some endpoints are told apart, no more than the limit; no count is too large; with those that are
 * together all is there. */
static void assert_within_limit(struct world *world, unsigned limit)
{
	struct cell sum[OUTCOME_COUNT] = {0};
	uint64_t total = 0;
	int64_t minute = -1;
	unsigned endpoints = 0, last = 0;
	sqlite3_stmt *row = rows(world);
	for (bool more = true; more;) {
		more = sqlite3_step(row) == SQLITE_ROW;
		if (minute >= 0 && (!more || sqlite3_column_int64(row, 0) != minute)) {
			for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
				struct cell wanted = expected(world, minute, -1, i);
				assert_same(&sum[i], &wanted);
			}
			assert_true(endpoints <= limit);
			memset(sum, 0, sizeof sum);
			endpoints = last = 0;
		}
		if (!more)
			break;
		minute = sqlite3_column_int64(row, 0);
		struct cell cell = read_cell(row);
		unsigned outcome = (unsigned)sqlite3_column_int(row, 2);
		unsigned endpoint = endpoint_of((const char *)sqlite3_column_text(row, 1));
		struct cell most = expected(world, minute, (int)endpoint, outcome);
		assert_true(endpoint == 0 || cell.count <= most.count);
		endpoints += endpoint != 0 && endpoint != last;
		last = endpoint;
		sum[outcome].count += cell.count;
		sum[outcome].sum += cell.sum;
		for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
			sum[outcome].bucket[i] += cell.bucket[i];
		total += cell.count;
	}
	sqlite3_finalize(row);
	assert_int_equal(total, world->n);
}

/* ---- random attempts ---- */

static uint32_t some_us(void)
{
	switch (draw_below(8)) {
	case 0:
		return 0;
	case 1:
		return draw_one_in(2) ? UINT32_MAX : UINT32_MAX - draw_below(1000);
	case 2:
		return 1 + draw_below(70);
	default:
		return (uint32_t)draw() >> draw_below(31);
	}
}

static struct attempt some_attempt(const struct world *world, int64_t now, unsigned spread)
{
	/* Most are of this minute or the one before. */
	int64_t back = draw_one_in(4) ? draw_below(spread) : draw_below(2);
	return (struct attempt){
	        .minute = now - back,
	        .endpoint =
	                draw_one_in(3) ? draw_below(world->endpoints) : draw_below(1 + world->endpoints / 4),
	        .outcome = draw_below(OUTCOME_COUNT),
	        .us = some_us(),
	};
}

static int64_t live(struct world *world, int64_t now, unsigned turns, unsigned spread)
{
	struct attempt attempt[200];
	for (unsigned turn = 0; turn < turns; turn++) {
		unsigned n = 1 + draw_below(200);
		for (unsigned i = 0; i < n; i++)
			attempt[i] = some_attempt(world, now, spread);
		give(world, attempt, n);
		if (draw_one_in(3))
			commit(world);
		if (draw_one_in(10))
			commit_badly(world);
		if (draw_one_in(15)) {
			/* What a commit told as failed has left behind is the lanes' business. */
			reopen(world, world->refused > 0);
			world->refused = 0;
		}
		now += draw_below(3);
	}
	return now;
}

static void the_table_has_what_was_committed_however_it_came(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		struct world *world = begin("tally: {endpoints: 30}\n", 31);
		live(world, START, 120, 3 + 5 * round);
		commit(world);
		assert_true(world->n > 1000);
		assert_exact(world);
		end(world);
	}
}

static void over_the_limit_they_are_counted_together_and_none_is_lost(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		char text[64];
		unsigned limit = 1 + 3 * round;
		snprintf(text, sizeof text, "tally: {endpoints: %u}\n", limit);
		struct world *world = begin(text, 40);
		live(world, START, 100, 3 + 50 * round);
		commit(world);
		assert_within_limit(world, limit);
		end(world);
	}
}

static void more_minutes_than_memory_holds_want_commits_in_between(void **state)
{
	(void)state;
	struct world *world = begin("tally: {endpoints: 20}\n", 15);
	live(world, START, 150, 10 * MINUTES_HELD);
	commit(world);
	assert_true(world->full > 5);
	assert_exact(world);
	end(world);
}

static void a_limit_that_was_lowered_keeps_what_is_there(void **state)
{
	(void)state;
	struct world *world = begin("tally: {endpoints: 20}\n", 15);
	struct attempt attempt[15];
	for (unsigned i = 0; i < 15; i++)
		attempt[i] = (struct attempt){.minute = START, .endpoint = i, .us = 100 + i};
	give(world, attempt, 15);
	reopen(world, true);
	assert_exact(world);
	config_free(world->config);
	world->config = load("tally: {endpoints: 2}\n", "");
	reopen(world, true);
	give(world, attempt + 5, 2); /* the table has them */
	commit(world);
	assert_exact(world);
	attempt[0].endpoint = 50;
	give(world, attempt, 1); /* the minute has more than the limit already */
	commit(world);
	struct cell together = expected(world, START, 50, 0), none = expected(world, START, 0, 0);
	sqlite3_stmt *row = rows(world);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(row, 1), "");
	assert_int_equal(sqlite3_column_int64(row, 3), together.count + none.count);
	sqlite3_finalize(row);
	end(world);
}

/* ---- time ---- */

static int64_t number(struct world *world, const char *text)
{
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(world->db, text, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int64_t n = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return n;
}

static void minutes_expire_when_their_end_lies_so_far_back(void **state)
{
	(void)state;
	struct world *world = begin("tally: {delivery_keep: 3h}\n", 10);
	live(world, START, 100, 10);
	commit(world);
	int64_t first = number(world, "SELECT min(minute) FROM delivery_minute");
	book_delivery_kind.turn(world->book, (first + 1 + 180) * MS_PER_MINUTE - 1);
	commit(world);
	assert_exact(world);
	/* Ten minutes after it are over now; one of them comes again, late. */
	book_delivery_kind.turn(world->book, (first + 11 + 180) * MS_PER_MINUTE);
	struct attempt late = {.minute = first + 3, .endpoint = 1};
	give(world, &late, 1);
	assert_true(book_delivery_kind.rows(world->book) > 0);
	commit(world);
	assert_int_equal(number(world, "SELECT min(minute) FROM delivery_minute"), first + 11);
	assert_int_equal(book_delivery_kind.rows(world->book), 0);
	unsigned kept = 0;
	for (unsigned i = 0; i < world->n; i++)
		if (world->attempt[i].minute >= first + 11)
			world->attempt[kept++] = world->attempt[i];
	world->n = kept;
	assert_exact(world);
	/* Memory has forgotten it as well. */
	late.minute = first + 4;
	give(world, &late, 1);
	commit(world);
	book_delivery_kind.turn(world->book, (first + 12 + 180) * MS_PER_MINUTE);
	commit(world);
	assert_int_equal(number(world, "SELECT min(minute) FROM delivery_minute"), first + 12);
	end(world);
}

static void many_rows_expire_in_several_commits(void **state)
{
	(void)state;
	struct world *world = begin("tally: {delivery_keep: 1h}\n", 10);
	execute(world,
	        "WITH n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 24999) INSERT INTO delivery_minute SELECT i / 4, 'http://h/', i % 4, 1, 0, 0, x'' FROM n");
	book_delivery_kind.turn(world->book, (int64_t)START * MS_PER_MINUTE);
	unsigned commits = 0;
	for (; book_delivery_kind.rows(world->book) > 0; commits++)
		commit(world);
	assert_int_equal(commits, 3);
	assert_int_equal(number(world, "SELECT count(*) FROM delivery_minute"), 0);
	end(world);
}

/* ---- what is no attempt ---- */

static void other_records_are_counted_as_bad_and_skipped(void **state)
{
	(void)state;
	struct world *world = begin("", 10);
	struct attempt attempt = {.minute = START, .endpoint = 1, .us = 5};
	size_t one = put_attempt(world->bytes, &attempt);
	for (unsigned i = 1; i < 7; i++)
		memcpy(world->bytes + i * one, world->bytes, one);
	struct event_delivery *event[7];
	for (unsigned i = 0; i < 7; i++)
		event[i] = (struct event_delivery *)(void *)(world->bytes + i * one + sizeof(struct record));
	((struct record *)(void *)(world->bytes + one))->type = EVENT_LOG;
	event[2]->url_bytes = UINT32_MAX;
	event[3]->endpoint_bytes++;
	event[4]->outcome = OUTCOME_COUNT;
	event[5]->method = POSTBACK_METHOD_COUNT;
	struct record_batch batch = {.at = world->bytes, .end = world->bytes + 7 * one};
	struct book_taken taken = book_delivery_kind.take(world->book, &batch, 100);
	assert_int_equal(taken.records, 7);
	assert_int_equal(taken.bad, 5);
	struct record *cut = (struct record *)(void *)world->bytes;
	cut->length = sizeof(struct event_delivery) - 8;
	batch = (struct record_batch){.at = world->bytes, .end = world->bytes + record_bytes(cut->length)};
	taken = book_delivery_kind.take(world->book, &batch, 100);
	assert_true(taken.records == 1 && taken.bad == 1);
	write_within(world, "COMMIT");
	assert_int_equal(number(world, "SELECT sum(count) FROM delivery_minute"), 2);
	end(world);
}

static void names_are_cut_and_made_printable(void **state)
{
	(void)state;
	struct world *world = begin("", 10);
	struct event_delivery event = {.arrival_ns = START * NS_PER_MINUTE, .endpoint_bytes = 3000};
	uint32_t length = (uint32_t)sizeof event + event.endpoint_bytes;
	char *payload = record_put(world->bytes, EVENT_DELIVERY, length);
	memcpy(payload, &event, sizeof event);
	memset(payload + sizeof event, 'x', event.endpoint_bytes);
	memcpy(payload + sizeof event, "a\0\xff\"\n\x7f", 6);
	struct record_batch batch = {.at = world->bytes, .end = world->bytes + record_bytes(length)};
	struct book_taken taken = book_delivery_kind.take(world->book, &batch, 100);
	assert_true(taken.records == 1 && taken.bad == 0);
	write_within(world, "COMMIT");
	sqlite3_stmt *row = rows(world);
	assert_int_equal(sqlite3_step(row), SQLITE_ROW);
	assert_int_equal(sqlite3_column_bytes(row, 1), MINUTES_ENDPOINT_MAX);
	assert_memory_equal(sqlite3_column_text(row, 1), "a??\"??xxx", 9);
	sqlite3_finalize(row);
	end(world);
}

/* ---- the database ---- */

static void a_row_that_makes_no_sense_is_refused_and_nothing_is_counted_twice(void **state)
{
	(void)state;
	struct world *world = begin("", 10);
	struct attempt attempt = {.minute = START, .endpoint = 1, .us = 500};
	give(world, &attempt, 1);
	reopen(world, true);
	execute(world,
	        "INSERT INTO delivery_minute SELECT minute, endpoint, 3, 1, 0, 105, x'0100000000000000' FROM delivery_minute");
	give(world, &attempt, 1);
	for (unsigned i = 0; i < 3; i++) {
		execute(world, "BEGIN IMMEDIATE");
		assert_int_equal(book_delivery_kind.write(world->book), SQLITE_CORRUPT);
		execute(world, "ROLLBACK");
	}
	execute(world, "DELETE FROM delivery_minute WHERE first = 105");
	commit(world);
	assert_exact(world);
	assert_int_not_equal(
	        sqlite3_exec(world->db, "UPDATE delivery_minute SET count = 0", NULL, NULL, NULL), SQLITE_OK);
	end(world);
}

static void assert_view(struct world *world)
{
	assert_int_equal(
	        number(world,
	               "SELECT count(*) FROM delivery WHERE outcome = 'gone' AND sum_us = 500 AND at = '2026-07-30T00:00:00Z' AND endpoint LIKE 'http://host2%'"),
	        1);
}

static void the_view_has_names_and_times(void **state)
{
	(void)state;
	struct world *world = begin("", 10);
	struct attempt attempt = {.minute = 29756160, .endpoint = 2, .outcome = OUTCOME_GONE, .us = 500};
	give(world, &attempt, 1);
	commit(world);
	assert_view(world);
	end(world);
}

static void the_view_of_an_earlier_build_is_made_anew(void **state)
{
	(void)state;
	struct world *world = begin("", 10);
	struct attempt attempt = {.minute = 29756160, .endpoint = 2, .outcome = OUTCOME_GONE, .us = 500};
	give(world, &attempt, 1);
	commit(world);
	execute(world,
	        "DROP VIEW delivery; CREATE VIEW delivery AS SELECT count, sum_us / count AS average_us FROM delivery_minute");
	reopen(world, true);
	assert_view(world);
	end(world);
}

static void memory_is_bounded_by_the_limit(void **state)
{
	(void)state;
	struct config *one = load("tally: {endpoints: 1}\n", ""),
	              *many = load("tally: {endpoints: 1000}\n", "");
	assert_true(book_delivery_kind.memory_max(one) < 1 << 20);
	assert_true(book_delivery_kind.memory_max(many) < 20 << 20);
	config_free(one);
	config_free(many);
}

/* ---- histograms ---- */

static void buckets_follow_one_another_and_no_bound_is_more_than_a_quarter_too_large(void **state)
{
	(void)state;
	for (unsigned i = 1; i < LATENCY_BUCKETS; i++) {
		uint64_t below = latency_bound(i - 1);
		assert_true(latency_bound(i) > below && latency_bound(i) * 4 <= (below + 1) * 5);
		assert_int_equal(latency_bucket((uint32_t)below), i - 1);
		assert_int_equal(latency_bucket((uint32_t)(below + 1)), i);
	}
	assert_int_equal(latency_bound(LATENCY_BUCKETS - 1), 1ull << 32);
	assert_int_equal(latency_bucket(UINT32_MAX), LATENCY_BUCKETS - 1);
	assert_int_equal(latency_bucket(0), 0);
}

static int rising(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static void percentiles_are_the_bounds_of_those_of_the_sorted_list(void **state)
{
	(void)state;
	static const unsigned percent[] = {1, 50, 90, 99, 100};
	for (unsigned round = 0; round < 200; round++) {
		uint32_t us[300];
		uint64_t bucket[LATENCY_BUCKETS] = {0};
		unsigned n = 1 + draw_below(300);
		for (unsigned i = 0; i < n; i++) {
			us[i] = some_us();
			bucket[latency_bucket(us[i])]++;
		}
		qsort(us, n, sizeof us[0], rising);
		for (unsigned i = 0; i < sizeof percent / sizeof *percent; i++) {
			unsigned rank = (n * percent[i] + 99) / 100;
			assert_int_equal(latency_percentile(bucket, percent[i]),
			                 latency_bound(latency_bucket(us[rank - 1])));
		}
	}
	uint64_t none[LATENCY_BUCKETS] = {0};
	assert_int_equal(latency_percentile(none, 50), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_table_has_what_was_committed_however_it_came),
	        cmocka_unit_test(over_the_limit_they_are_counted_together_and_none_is_lost),
	        cmocka_unit_test(more_minutes_than_memory_holds_want_commits_in_between),
	        cmocka_unit_test(a_limit_that_was_lowered_keeps_what_is_there),
	        cmocka_unit_test(minutes_expire_when_their_end_lies_so_far_back),
	        cmocka_unit_test(many_rows_expire_in_several_commits),
	        cmocka_unit_test(other_records_are_counted_as_bad_and_skipped),
	        cmocka_unit_test(names_are_cut_and_made_printable),
	        cmocka_unit_test(a_row_that_makes_no_sense_is_refused_and_nothing_is_counted_twice),
	        cmocka_unit_test(the_view_has_names_and_times),
	        cmocka_unit_test(the_view_of_an_earlier_build_is_made_anew),
	        cmocka_unit_test(memory_is_bounded_by_the_limit),
	        cmocka_unit_test(buckets_follow_one_another_and_no_bound_is_more_than_a_quarter_too_large),
	        cmocka_unit_test(percentiles_are_the_bounds_of_those_of_the_sorted_list),
	};
	alarm(120);
	draw_init(12);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
