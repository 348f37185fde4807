/* The report of deliveries: spans, steps, pages, and what it says where there is nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "event/event.h"
#include "sink/tally/attempts.h"
#include "sink/tally/book_delivery.h"
#include "sink/tally/latency.h"
#include "sink/tally/store.h"
#include "stage/database.h"
#include "tests/fixture/tally.h"

#define MINUTE 60000

struct fixture {
	struct tally_folder folder;
	sqlite3 *db;
	struct shm_error error;
	struct attempts_question question;
};

static void execute(struct fixture *f, const char *text)
{
	char *why = NULL;
	if (sqlite3_exec(f->db, text, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s", why);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char text[160];
	*state = f;
	if (f == NULL || tally_folder_make(&f->folder) != 0)
		return -1;
	f->question = (struct attempts_question){
	        .from_ms = 100 * MINUTE, .to_ms = 200 * MINUTE, .limit = ATTEMPTS_LIMIT};
	snprintf(text, sizeof text, "%s/" STORE_FILE, f->folder.data_dir);
	if (sqlite3_open(text, &f->db) != SQLITE_OK)
		return -1;
	snprintf(text, sizeof text, "PRAGMA application_id=%d; PRAGMA user_version=%d",
	         DATABASE_APPLICATION_ID, STORE_VERSION);
	execute(f, text);
	execute(f, book_delivery_kind.tables);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	sqlite3_close(f->db);
	tally_folder_remove(&f->folder);
	free(f);
	return 0;
}

/* A row with n attempts of the same latency; 0: without one. */
static void put(struct fixture *f, int minute, const char *endpoint, enum delivery_outcome outcome, int n,
                uint32_t us)
{
	uint64_t bucket[LATENCY_BUCKETS] = {0};
	unsigned char packed[LATENCY_BYTES_MAX];
	unsigned first;
	if (us != 0)
		bucket[latency_bucket(us)] = (uint64_t)n;
	size_t bytes = latency_pack(bucket, packed, &first);
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(f->db,
	                                    "INSERT INTO delivery_minute VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	                                    -1, &statement, NULL),
	                 SQLITE_OK);
	sqlite3_bind_int(statement, 1, minute);
	sqlite3_bind_text(statement, 2, endpoint, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 3, (int)outcome);
	sqlite3_bind_int(statement, 4, n);
	sqlite3_bind_int64(statement, 5, (int64_t)us * n);
	sqlite3_bind_int64(statement, 6, first);
	sqlite3_bind_blob(statement, 7, packed, (int)bytes, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
	sqlite3_finalize(statement);
}

static json_t *ask(struct fixture *f)
{
	char *text = NULL;
	if (attempts_json(f->folder.data_dir, &f->question, &text, &f->error) != 0)
		fail_msg("%s", f->error.text);
	json_t *json = json_loads(text, 0, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

static void refused(struct fixture *f, int expected, const char *why)
{
	char *text = NULL;
	assert_int_equal(attempts_json(f->folder.data_dir, &f->question, &text, &f->error), expected);
	assert_null(text);
	if (strstr(f->error.text, why) == NULL)
		fail_msg("%s", f->error.text);
}

static json_t *item(json_t *json, size_t i)
{
	return json_array_get(json_object_get(json, "items"), i);
}

static json_int_t number(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void assert_text(const json_t *object, const char *expected)
{
	char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6));
	assert_string_equal(text, expected);
	free(text);
}

static void outcomes_of_an_endpoint_are_added_up_over_the_span(void **state)
{
	struct fixture *f = *state;
	put(f, 99, "http://a/x", OUTCOME_DELIVERED, 1000, 100);
	put(f, 100, "http://a/x", OUTCOME_DELIVERED, 6, 100);
	put(f, 199, "http://a/x", OUTCOME_DELIVERED, 2, 1000);
	put(f, 199, "http://a/x", OUTCOME_AGAIN, 1, 5000000);
	put(f, 150, "http://a/x", OUTCOME_DEAD, 1, 0);
	put(f, 200, "http://a/x", OUTCOME_DELIVERED, 1000, 100);
	json_t *json = ask(f);
	/* 600 + 2000 + 5000000 of nine that have a latency. */
	assert_text(
	        json,
	        "{\"from_ts\":6000000,\"to_ts\":12000000,\"step_s\":0,\"all\":{\"attempts\":10,\"success\":0.8,\"average_us\":555844,\"p50_us\":112,"
	        "\"p90_us\":5242880,\"p99_us\":5242880,\"outcomes\":{\"delivered\":{\"count\":8,\"average_us\":325,\"p50_us\":112,\"p90_us\":1024,\"p99_us\":1024},"
	        "\"again\":{\"count\":1,\"average_us\":5000000,\"p50_us\":5242880,\"p90_us\":5242880,\"p99_us\":5242880},\"dead\":{\"count\":1}}},"
	        "\"items\":[{\"endpoint\":\"http://a/x\",\"attempts\":10,\"success\":0.8,\"average_us\":555844,\"p50_us\":112,\"p90_us\":5242880,\"p99_us\":5242880,\"outcomes\":{"
	        "\"delivered\":{\"count\":8,\"average_us\":325,\"p50_us\":112,\"p90_us\":1024,\"p99_us\":1024},"
	        "\"again\":{\"count\":1,\"average_us\":5000000,\"p50_us\":5242880,\"p90_us\":5242880,\"p99_us\":5242880},\"dead\":{\"count\":1}}}],\"total\":1}");
	json_decref(json);
}

static void the_span_takes_whole_minutes(void **state)
{
	struct fixture *f = *state;
	put(f, 100, "http://a/", OUTCOME_DELIVERED, 1, 100);
	put(f, 101, "http://a/", OUTCOME_DELIVERED, 1, 100);
	put(f, 102, "http://a/", OUTCOME_DELIVERED, 1, 100);
	f->question.from_ms = 101 * MINUTE - 1;
	f->question.to_ms = 101 * MINUTE + 1;
	json_t *json = ask(f);
	assert_int_equal(number(json, "from_ts"), 100 * MINUTE);
	assert_int_equal(number(json, "to_ts"), 102 * MINUTE);
	assert_int_equal(number(json_object_get(json, "all"), "attempts"), 2);
	json_decref(json);
}

static void steps_begin_where_the_span_does(void **state)
{
	static const int64_t step[] = {1, 7, 40};
	struct fixture *f = *state;
	for (int minute = 100; minute < 200; minute += 3) {
		put(f, minute, "http://a/", OUTCOME_DELIVERED, minute, 100);
		put(f, minute, "http://b/", OUTCOME_AGAIN, 1, 100);
	}
	for (unsigned s = 0; s < 3; s++) {
		f->question.step_ms = step[s] * MINUTE;
		json_t *json = ask(f), *one;
		size_t i, a = 0, n = json_array_size(json_object_get(json, "items"));
		int64_t before = 0;
		json_array_foreach(json_object_get(json, "items"), i, one)
		{
			int64_t begin = number(one, "ts") / MINUTE, wanted = 0, rows = 0;
			assert_true(number(one, "ts") % MINUTE == 0 && (begin - 100) % step[s] == 0);
			assert_true(begin >= before);
			before = begin;
			for (int minute = 100; minute < 200; minute += 3)
				if (minute >= begin && minute < begin + step[s]) {
					wanted += minute;
					rows++;
				}
			bool is_a =
			        strcmp(json_string_value(json_object_get(one, "endpoint")), "http://a/") == 0;
			assert_int_equal(number(one, "attempts"), is_a ? wanted : rows);
			a += is_a;
		}
		assert_int_equal(a * 2, n);
		assert_int_equal(n, number(json, "total"));
		assert_int_equal(
		        number(json_object_get(json_object_get(json_object_get(json, "all"), "outcomes"),
		                               "again"),
		               "count"),
		        34);
		json_decref(json);
	}
}

static void pages_fit_together_and_all_is_of_all_of_them(void **state)
{
	struct fixture *f = *state;
	char name[32];
	for (int i = 0; i < 25; i++) {
		snprintf(name, sizeof name, "http://h%02d/", i);
		put(f, 100 + i, name, OUTCOME_DELIVERED, 1 + i, 100);
	}
	unsigned seen = 0;
	f->question.limit = 7;
	for (f->question.offset = 0; f->question.offset < 30; f->question.offset += 7) {
		json_t *json = ask(f);
		assert_int_equal(number(json, "total"), 25);
		assert_int_equal(number(json_object_get(json, "all"), "attempts"), 25 * 26 / 2);
		for (size_t i = 0; i < json_array_size(json_object_get(json, "items")); i++)
			assert_int_equal(number(item(json, i), "attempts"), ++seen);
		json_decref(json);
	}
	assert_int_equal(seen, 25);
	f->question = (struct attempts_question){.from_ms = 0, .to_ms = 200 * MINUTE, .limit = 0};
	json_t *json = ask(f);
	assert_int_equal(json_array_size(json_object_get(json, "items")), 0);
	assert_int_equal(number(json, "total"), 25);
	json_decref(json);
}

static void an_endpoint_is_chosen_by_how_it_begins(void **state)
{
	struct fixture *f = *state;
	put(f, 100, "http://a/x", OUTCOME_DELIVERED, 1, 100);
	put(f, 100, "http://a/y", OUTCOME_DELIVERED, 1, 100);
	put(f, 100, "http://ab/", OUTCOME_DELIVERED, 1, 100);
	put(f, 100, "", OUTCOME_DEAD, 1, 0);
	static const struct {
		const char *endpoint;
		int total;
	} cases[] = {{NULL, 4},         {"", 4},         {"http://a/", 2}, {"http://a", 3},
	             {"http://a/x", 1}, {"http://A", 0}, {"' OR 1", 0},    {"%", 0}};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		f->question.endpoint = cases[i].endpoint;
		json_t *json = ask(f);
		assert_int_equal(number(json, "total"), cases[i].total);
		json_decref(json);
	}
	f->question.endpoint = NULL;
	json_t *json = ask(f);
	assert_text(
	        item(json, 0),
	        "{\"endpoint\":null,\"other\":true,\"attempts\":1,\"success\":0.0,\"outcomes\":{\"dead\":{\"count\":1}}}");
	json_decref(json);
}

static void nothing_in_the_span_is_an_answer_too(void **state)
{
	struct fixture *f = *state;
	json_t *json = ask(f);
	assert_text(
	        json,
	        "{\"from_ts\":6000000,\"to_ts\":12000000,\"step_s\":0,\"all\":{\"attempts\":0,\"outcomes\":{}},\"items\":[],\"total\":0}");
	json_decref(json);
}

static void large_sums_stay_exact(void **state)
{
	struct fixture *f = *state;
	execute(f,
	        "WITH n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 149) INSERT INTO delivery_minute SELECT i, 'http://a/', 0, 72057594037927936, 9223372036854775807, 104,"
	        " x'0000000000000001' FROM n");
	f->question.to_ms = 101 * MINUTE;
	json_t *json = ask(f);
	/* 2^63 - 1 divided by the 2^56 that the histogram has */
	assert_int_equal(number(item(json, 0), "average_us"), 127);
	assert_int_equal(number(item(json, 0), "p50_us"), 4294967296);
	json_decref(json);
	f->question.to_ms = 110 * MINUTE;
	json = ask(f);
	assert_int_equal(number(item(json, 0), "average_us"), 127);
	json_decref(json);
}

static void questions_that_make_no_sense_are_refused(void **state)
{
	struct fixture *f = *state;
	struct attempts_question good = f->question;
	f->question.to_ms = f->question.from_ms;
	refused(f, -EINVAL, "span");
	f->question = good;
	f->question.from_ms = -1;
	refused(f, -EINVAL, "span");
	f->question = good;
	f->question.to_ms = INT64_MAX;
	refused(f, -EINVAL, "span");
	f->question = good;
	f->question.step_ms = 30000;
	refused(f, -EINVAL, "step");
	f->question = good;
	f->question.limit = ATTEMPTS_LIMIT_MAX + 1;
	refused(f, -EINVAL, "limit");
}

static void what_is_no_database_of_ours_is_told(void **state)
{
	struct fixture *f = *state;
	execute(f, "DROP VIEW delivery; DROP TABLE delivery_minute; PRAGMA user_version=1");
	execute(f, "CREATE TABLE other (i)");
	refused(f, -ENODATA, "nothing was counted");
	execute(f, "PRAGMA application_id=7");
	refused(f, -EPROTO, STORE_FILE);
	char path[160];
	snprintf(path, sizeof path, "%s/" STORE_FILE, f->folder.data_dir);
	assert_int_equal(unlink(path), 0);
	refused(f, -ENODATA, "nothing was counted there yet");
}

static void a_row_that_makes_no_sense_is_told(void **state)
{
	struct fixture *f = *state;
	execute(f,
	        "INSERT INTO delivery_minute VALUES (100, 'http://a/', 0, 1, 5, 105, x'0100000000000000')");
	refused(f, -EPROTO, "delivery_minute");
	execute(f, "UPDATE delivery_minute SET first = 1, outcome = 4");
	refused(f, -EPROTO, "delivery_minute");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(outcomes_of_an_endpoint_are_added_up_over_the_span),
	        TEST(the_span_takes_whole_minutes),
	        TEST(steps_begin_where_the_span_does),
	        TEST(pages_fit_together_and_all_is_of_all_of_them),
	        TEST(an_endpoint_is_chosen_by_how_it_begins),
	        TEST(nothing_in_the_span_is_an_answer_too),
	        TEST(large_sums_stay_exact),
	        TEST(questions_that_make_no_sense_are_refused),
	        TEST(what_is_no_database_of_ours_is_told),
	        TEST(a_row_that_makes_no_sense_is_told),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
