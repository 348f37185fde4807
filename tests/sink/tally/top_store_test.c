/* Lists of the most frequent keys in a database: what was committed is what comes back, whatever
 * the keys are and however often it is written; rows that nobody has written are refused. */
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

#include "sink/tally/answer.h"
#include "sink/tally/top_read.h"
#include "sink/tally/top_store.h"
#include "tests/fixture/draw.h"

struct fixture {
	sqlite3 *db;
	struct top_store store;
	struct shm_error error;
};

static void sql(struct fixture *f, const char *text)
{
	char *why = NULL;
	if (sqlite3_exec(f->db, text, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", text, why);
}

static int64_t number(struct fixture *f, const char *text)
{
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(f->db, text, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int64_t found = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return found;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	if (f == NULL || sqlite3_open(":memory:", &f->db) != SQLITE_OK)
		return -1;
	sql(f, TOP_STORE_TABLES);
	sql(f, TOP_STORE_TABLES); /* harmless where they are */
	return top_store_open(&f->store, f->db, &f->error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	top_store_close(&f->store);
	int result = sqlite3_close(f->db);
	free(f);
	return result; /* SQLITE_BUSY: a statement was left open */
}

static struct top *load(struct fixture *f, const char *list, uint32_t capacity)
{
	struct top *top = NULL;
	if (top_store_load(&f->store, list, capacity, &top, &f->error) != 0)
		fail_msg("%s", f->error.text);
	return top;
}

static void commit(struct fixture *f, const char *list, struct top *top)
{
	sql(f, "BEGIN");
	assert_int_equal(top_store_write(&f->store, list, top), SQLITE_OK);
	sql(f, "COMMIT");
	top_clean(top);
}

static void check_same(const struct top *a, const struct top *b)
{
	assert_int_equal(top_used(a), top_used(b));
	assert_int_equal(top_total(a), top_total(b));
	assert_int_equal(top_smallest(a), top_smallest(b));
	for (uint32_t i = 0; i < top_used(a); i++) {
		struct top_counter x = top_at(a, i), y = top_at(b, i);
		assert_int_equal(x.key_bytes, y.key_bytes);
		assert_memory_equal(x.key, y.key, x.key_bytes);
		assert_int_equal(x.count, y.count);
		assert_int_equal(x.error, y.error);
	}
}

static void check_stored(struct fixture *f, const char *list, const struct top *top, uint32_t capacity)
{
	struct top *stored = load(f, list, capacity);
	check_same(stored, top);
	assert_int_equal(top_dirty(stored), 0);
	top_free(stored);
}

static void add_random(struct top *top, unsigned n, unsigned keys)
{
	for (unsigned i = 0; i < n; i++) {
		char key[32];
		top_add(top, key, (size_t)snprintf(key, sizeof key, "k%u", draw_below(keys)), 1);
	}
}

/* ---- coming back ---- */

static void a_list_that_nobody_has_stored_is_empty(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "track/type", 10);
	assert_int_equal(top_used(top), 0);
	assert_int_equal(top_total(top), 0);
	assert_int_equal(top_store_rows(top), 0);
	commit(f, "track/type", top);
	assert_int_equal(number(f, "SELECT count(*) FROM top"), 0);
	top_free(top);
}

static void what_was_committed_comes_back_life_after_life(void **state)
{
	struct fixture *f = *state;
	for (unsigned life = 0; life < 30; life++) {
		struct top *top = load(f, "a", 100), *other = load(f, "b", 7);
		for (unsigned i = 0; i < 5; i++) {
			add_random(top, draw_below(200), 150);
			add_random(other, draw_below(200), 150);
			commit(f, "a", top);
			commit(f, "b", other);
		}
		check_stored(f, "a", top, 100);
		check_stored(f, "b", other, 7);
		add_random(top, 50, 150); /* never committed */
		top_free(top);
		top_free(other);
	}
	assert_int_equal(number(f, "SELECT count(*) FROM top"), 2);
	assert_int_equal(number(f, "SELECT count(*) FROM top_counter"), 107);
	assert_int_equal(
	        number(f,
	               "SELECT count(*) FROM top WHERE total <> (SELECT sum(count) FROM top_counter WHERE list = id)"),
	        0);
}

static void keys_of_any_bytes_come_back_as_they_were(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 1000);
	top_add(top, "", 0, 3);
	top_add(top, "", 1, 1);
	top_add(top, "a\0b", 3, 1);
	top_add(top, "a", 1, 1);
	top_add(top, "'; DROP TABLE top; --", 21, 1);
	top_add(top, "b\xc3\xa4r", 4, 1);
	for (unsigned i = 0; i < 500; i++) {
		char key[2 * TOP_KEY_MAX];
		size_t bytes = 1 + draw_below(sizeof key - 1);
		for (size_t at = 0; at < bytes; at++)
			key[at] = (char)draw();
		top_add(top, key, bytes, 1);
	}
	commit(f, "a", top);
	check_stored(f, "a", top, 1000);
	assert_int_equal(number(f, "SELECT count FROM top_counter WHERE key = ''"), 3);
	assert_int_equal(number(f, "SELECT typeof(key) = 'text' FROM top_counter WHERE slot = 5"), 1);
	assert_int_equal(number(f, "SELECT typeof(key) = 'blob' FROM top_counter WHERE slot = 2"), 1);
	top_free(top);
}

/* ---- writing ---- */

static void only_what_changed_is_written(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 100);
	add_random(top, 1000, 90);
	uint64_t rows = top_store_rows(top);
	assert_int_equal(rows, top_used(top) + 1);
	commit(f, "a", top);
	top_add(top, "k1", 2, 1);
	top_add(top, "k2", 2, 1);
	top_add(top, "k1", 2, 1);
	assert_int_equal(top_store_rows(top), 3);
	int before = sqlite3_total_changes(f->db);
	commit(f, "a", top);
	assert_int_equal(sqlite3_total_changes(f->db) - before, 3);
	before = sqlite3_total_changes(f->db);
	commit(f, "a", top);
	assert_int_equal(sqlite3_total_changes(f->db) - before, 0);
	top_free(top);
}

static void a_commit_that_failed_is_repeated_whether_it_reached_the_disk_or_not(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 50);
	for (unsigned i = 0; i < 40; i++) {
		add_random(top, 100, 80);
		for (unsigned n = draw_below(3); n > 0; n--) {
			sql(f, "BEGIN");
			assert_int_equal(top_store_write(&f->store, "a", top), SQLITE_OK);
			sql(f, draw_one_in(2) ? "ROLLBACK" : "COMMIT");
			add_random(top, 10, 80);
		}
		commit(f, "a", top);
		check_stored(f, "a", top, 50);
	}
	top_free(top);
}

static void a_write_that_the_database_refuses_is_told_and_leaves_the_list_as_it_was(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 50);
	add_random(top, 100, 20);
	uint64_t rows = top_store_rows(top);
	sql(f,
	    "CREATE TRIGGER no BEFORE INSERT ON top_counter WHEN new.slot = 7 BEGIN SELECT raise(ABORT, 'no'); END; BEGIN");
	assert_int_equal(top_store_write(&f->store, "a", top) & 0xff, SQLITE_CONSTRAINT);
	sql(f, "ROLLBACK; DROP TRIGGER no");
	assert_int_equal(top_store_rows(top), rows);
	commit(f, "a", top);
	check_stored(f, "a", top, 50);
	top_free(top);
}

/* ---- capacity ---- */

static void a_list_keeps_what_it_has_when_the_capacity_is_lowered(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 100);
	add_random(top, 5000, 300);
	commit(f, "a", top);
	struct top *again = load(f, "a", 10);
	check_same(again, top);
	add_random(again, 100, 300);
	assert_int_equal(top_used(again), 100);
	top_free(top);
	top_free(again);
}

static void what_a_full_list_forgot_is_remembered_when_the_capacity_is_raised(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 10);
	add_random(top, 5000, 300);
	uint64_t smallest = top_smallest(top);
	assert_true(smallest > 100);
	commit(f, "a", top);
	top_free(top);
	for (unsigned life = 1; life <= 3; life++) {
		top = load(f, "a", 100);
		assert_int_equal(top_smallest(top), smallest);
		char key[16];
		struct top_counter counter;
		size_t bytes = (size_t)snprintf(key, sizeof key, "new %u", life);
		top_add(top, key, bytes, 1);
		assert_true(top_find(top, key, bytes, &counter));
		assert_int_equal(counter.count, smallest + 1);
		assert_int_equal(counter.error, smallest);
		assert_int_equal(top_used(top), 10 + life);
		commit(f, "a", top);
		top_free(top);
	}
}

/* ---- rows that nobody has written ---- */

static void rows_that_no_list_can_have_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const damage[] = {
	        "UPDATE top_counter SET count = 0, error = 0 WHERE slot = 1",
	        "UPDATE top_counter SET count = -5 WHERE slot = 1",
	        "UPDATE top_counter SET error = -1 WHERE slot = 1",
	        "UPDATE top_counter SET error = count WHERE slot = 1",
	        "UPDATE top_counter SET slot = 77 WHERE slot = 1",
	        "UPDATE top_counter SET slot = -1 WHERE slot = 1",
	        "DELETE FROM top_counter WHERE slot = 0",
	        "UPDATE top_counter SET key = (SELECT key FROM top_counter WHERE slot = 2) WHERE slot = 1",
	        "UPDATE top_counter SET key = hex(zeroblob(101)) WHERE slot = 1",
	        "UPDATE top_counter SET key = x'ff' WHERE slot IN (1, 2)",
	        "UPDATE top SET smallest = 1000",
	        "UPDATE top SET smallest = -1",
	        "UPDATE top SET total = -1",
	};
	struct top *top = load(f, "a", 5), *refused = NULL;
	add_random(top, 100, 20);
	commit(f, "a", top);
	for (unsigned i = 0; i < sizeof damage / sizeof damage[0]; i++) {
		sql(f, "BEGIN");
		sql(f, damage[i]);
		int result = top_store_load(&f->store, "a", 5, &refused, &f->error);
		if (result != -EPROTO || refused != NULL)
			fail_msg("%s: %d", damage[i], result);
		assert_non_null(strstr(f->error.text, "list a: not what was stored there"));
		sql(f, "ROLLBACK");
		check_stored(f, "a", top, 5);
	}
	top_free(top);
}

static void without_its_tables_it_does_not_open(void **state)
{
	struct fixture *f = *state;
	struct top_store other;
	sqlite3 *empty;
	assert_int_equal(sqlite3_open(":memory:", &empty), SQLITE_OK);
	assert_int_not_equal(top_store_open(&other, empty, &f->error), 0);
	assert_non_null(strstr(f->error.text, "no such table"));
	assert_int_equal(sqlite3_close(empty), SQLITE_OK);
}

/* ---- names ---- */

static void a_deleted_list_is_gone_and_no_other_is(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 50), *other = load(f, "b", 50);
	add_random(top, 100, 20);
	add_random(other, 100, 20);
	commit(f, "a", top);
	commit(f, "b", other);
	sql(f, "BEGIN");
	assert_int_equal(top_store_delete(&f->store, "a"), SQLITE_OK);
	assert_int_equal(top_store_delete(&f->store, "nobody"), SQLITE_OK);
	sql(f, "COMMIT");
	assert_int_equal(number(f, "SELECT count(*) FROM top"), 1);
	assert_int_equal(number(f, "SELECT count(*) FROM top_counter"), top_used(other));
	check_stored(f, "b", other, 50);
	top_free(top);
	top = load(f, "a", 50);
	assert_int_equal(top_used(top), 0);
	top_free(top);
	top_free(other);
}

static void names_are_listed_by_how_they_begin(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"metric/day/2026-11-27", "track/type", "metric/day/2026-10-01",
	                                    "metric/month/2026-09",  "metric",     "metric/day0"};
	char name[TOP_NAME_MAX] = "unchanged";
	assert_int_equal(top_store_next(&f->store, "", "", name, &f->error), 0);
	assert_string_equal(name, "unchanged");
	for (unsigned i = 0; i < 6; i++) {
		struct top *top = load(f, names[i], 5);
		top_add(top, "a", 1, 1);
		commit(f, names[i], top);
		top_free(top);
	}
	assert_int_equal(top_store_next(&f->store, "metric/day/", "", name, &f->error), 1);
	assert_string_equal(name, "metric/day/2026-10-01");
	assert_int_equal(top_store_next(&f->store, "metric/day/", name, name, &f->error), 1);
	assert_string_equal(name, "metric/day/2026-11-27");
	assert_int_equal(top_store_next(&f->store, "metric/day/", name, name, &f->error), 0);
	unsigned n = 0;
	for (name[0] = '\0'; top_store_next(&f->store, "", name, name, &f->error) == 1;)
		n++;
	assert_int_equal(n, 6);
	assert_int_equal(top_store_next(&f->store, "u", "", name, &f->error), 0);
}

/* ---- reading ---- */

/* A page of list "a" as JSON; the caller frees it. */
static char *page(struct fixture *f, uint64_t limit, uint64_t offset)
{
	struct top_read read;
	struct reader reader = {.db = f->db};
	assert_int_equal(top_read(&reader, "a", "key", (struct top_page){.limit = limit, .offset = offset},
	                          &read, &f->error),
	                 0);
	char *text = answer_print(read.list, 0);
	json_decref(read.list);
	assert_non_null(text);
	return text;
}

static void check_page(struct fixture *f, uint64_t limit, uint64_t offset, const char *expected)
{
	char *text = page(f, limit, offset);
	assert_string_equal(text, expected);
	free(text);
}

static void a_reader_gets_the_largest_counts_first_page_by_page(void **state)
{
	struct fixture *f = *state;
	struct top *top = load(f, "a", 4);
	struct top_read read;
	struct reader reader = {.db = f->db};
	assert_int_equal(top_read(&reader, "a", "key", (struct top_page){.limit = 10}, &read, &f->error),
	                 -ENOENT);
	assert_int_equal(json_array_size(read.list), 0);
	json_decref(read.list);
	top_add(top, "few", 3, 3);
	top_add(top, "b", 1, 5);
	top_add(top, "a", 1, 5);
	top_add(top, "many", 4, 70);
	top_add(top, "new", 3, 1);
	commit(f, "a", top);
	top_free(top);
	assert_int_equal(top_read(&reader, "a", "key", (struct top_page){.limit = 10}, &read, &f->error), 0);
	assert_int_equal(read.total, 84);
	assert_int_equal(read.keys, 4);
	assert_int_equal(read.smallest, 4);
	json_decref(read.list);
	check_page(
	        f, 2, 0,
	        "[{\"key\": \"many\", \"count\": 70, \"error\": 0}, {\"key\": \"a\", \"count\": 5, \"error\": 0}]");
	check_page(
	        f, 2, 2,
	        "[{\"key\": \"b\", \"count\": 5, \"error\": 0}, {\"key\": \"new\", \"count\": 4, \"error\": 3}]");
	check_page(f, 2, 4, "[]");
	check_page(f, 0, 0, "[]");
	check_page(f, 2, UINT64_MAX, "[]");
	check_page(f, UINT64_MAX, 3, "[{\"key\": \"new\", \"count\": 4, \"error\": 3}]");
}

static void no_key_breaks_the_answer_or_the_terminal(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *key;
		size_t bytes;
		const char *shown;
	} keys[] = {
	        {"", 0, "\"\""},
	        {"\"},{\"", 5, "\"\\\"},{\\\"\""},
	        {"a\0\x1b[2J", 6, "\"a\\u0000\\u001B[2J\""},
	        {"\xc3\xa4\xff", 3, "\"\xc3\xa4\xc3\xbf\""},
	        {"\x7f\xc2\x9b\xe2\x80\xae", 6, "\"\\u007f\\u009b\\u202e\""},
	        {"\xe2\x82", 2, "\"\xc3\xa2\\u0082\""},
	};
	for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		char expected[128];
		struct top *top = load(f, "a", 1);
		top_add(top, keys[i].key, keys[i].bytes, 1);
		commit(f, "a", top);
		snprintf(expected, sizeof expected, "[{\"key\": %s, \"count\": %u, \"error\": %u}]",
		         keys[i].shown, i + 1, i);
		check_page(f, 10, 0, expected);
		top_free(top);
	}
	struct top *top = load(f, "a", 1000);
	for (unsigned i = 0; i < 2000; i++) {
		char key[TOP_KEY_MAX];
		size_t bytes = draw_below(sizeof key);
		for (size_t at = 0; at < bytes; at++)
			key[at] = (char)draw();
		top_add(top, key, bytes, 1);
	}
	commit(f, "a", top);
	top_free(top);
	char *text = page(f, 10000, 0);
	json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
	assert_int_equal(json_array_size(json), 1000);
	json_decref(json);
	free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(a_list_that_nobody_has_stored_is_empty),
	        TEST(what_was_committed_comes_back_life_after_life),
	        TEST(keys_of_any_bytes_come_back_as_they_were),
	        TEST(only_what_changed_is_written),
	        TEST(a_commit_that_failed_is_repeated_whether_it_reached_the_disk_or_not),
	        TEST(a_write_that_the_database_refuses_is_told_and_leaves_the_list_as_it_was),
	        TEST(a_list_keeps_what_it_has_when_the_capacity_is_lowered),
	        TEST(what_a_full_list_forgot_is_remembered_when_the_capacity_is_raised),
	        TEST(rows_that_no_list_can_have_are_refused),
	        TEST(without_its_tables_it_does_not_open),
	        TEST(a_deleted_list_is_gone_and_no_other_is),
	        TEST(names_are_listed_by_how_they_begin),
	        TEST(a_reader_gets_the_largest_counts_first_page_by_page),
	        TEST(no_key_breaks_the_answer_or_the_terminal),
	};
	alarm(60);
	draw_init(20261127);
	return cmocka_run_group_tests_name("sink/tally/top_store", tests, NULL, NULL);
}
