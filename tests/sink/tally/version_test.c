/* A database that an earlier version made: taken up with all that is in it, in one step; read and
 * tried as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sink/tally/books.h"
#include "sink/tally/reader.h"
#include "sink/tally/report.h"
#include "tests/fixture/tally_store.h"

// clang-format off

/* As version 1 made it, to the letter. */
static const char version_1[] =
        "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; BEGIN IMMEDIATE;"
        "CREATE TABLE application (id INTEGER PRIMARY KEY, sha BLOB NOT NULL UNIQUE);"
        "CREATE TABLE count (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, truncated INTEGER NOT NULL);"
        "CREATE TABLE network (id INTEGER PRIMARY KEY, hosts INTEGER NOT NULL);"
        "CREATE TABLE cursor (topic TEXT NOT NULL, lane INTEGER NOT NULL, generation INTEGER NOT NULL,"
        "                     position INTEGER NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (topic, lane)) WITHOUT ROWID;"
        "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE VIEW report AS SELECT lower(hex(sha)) AS sha, count, truncated"
        "  FROM application JOIN count USING (id);"
        "CREATE VIEW address AS"
        "  WITH host(bit) AS (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15)),"
        "       seen(application, ip) AS (SELECT id >> 28, (id & 268435455) << 4 | bit FROM network, host"
        "                                 WHERE hosts >> bit & 1)"
        "  SELECT lower(hex(a.sha)) AS sha,"
        "         printf('%d.%d.%d.%d', ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255) AS ip"
        "  FROM seen JOIN application a ON a.id = seen.application + 1;"
        "PRAGMA application_id=1835625580; PRAGMA user_version=1; COMMIT;";

/* Test application 5 with 7 messages from 10.0.0.1 and .2, application 6 with one, 9 beyond. */
static const char rows[] = "INSERT INTO count VALUES (1, 7, 0), (2, 1, 1);"
                           "INSERT INTO network VALUES (0x0a000000 >> 4, 6), ((1 << 28) + 12, 1);"
                           "INSERT INTO cursor VALUES ('ip', 3, 77, 4096, 17);"
                           "INSERT INTO total VALUES ('beyond', 9);";

// clang-format on

/* ---- kinds with tables that version 1 does not have; they are made, not opened ---- */

static const struct book_kind fresh = {
        .name = "fresh", .topic = "fresh", .tables = "CREATE TABLE IF NOT EXISTS fresh (x)"};
static const struct book_kind wrong = {
        .name = "wrong", .topic = "wrong", .tables = "CREATE TABLE IF NOT EXISTS late (x); CREATE TABEL"};
static const struct book_kind deadly = {
        .name = "deadly", .topic = "deadly", .tables = "CREATE TABLE IF NOT EXISTS late (x); SELECT die()"};

static const struct book_kind *const with_fresh[] = {&book_ip_kind, &fresh, NULL};
static const struct book_kind *const with_wrong[] = {&book_ip_kind, &fresh, &wrong, NULL};
static const struct book_kind *const with_deadly[] = {&book_ip_kind, &fresh, &deadly, NULL};

/* ---- the file ---- */

static sqlite3 *open_file(const struct tally_store *f)
{
	char path[TALLY_PATH_BYTES];
	sqlite3 *db;
	assert_int_equal(sqlite3_open(tally_store_path(f, STORE_FILE, path), &db), SQLITE_OK);
	return db;
}

static int64_t ask(const struct tally_store *f, const char *text)
{
	sqlite3 *db = open_file(f);
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int64_t number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return number;
}

static int64_t version_of(const struct tally_store *f)
{
	return ask(f, "PRAGMA user_version");
}

static int64_t has_table(const struct tally_store *f, const char *name)
{
	char text[100];
	snprintf(text, sizeof text, "SELECT count(*) FROM sqlite_schema WHERE name = '%s'", name);
	return ask(f, text);
}

static int set_up(void **state)
{
	if (tally_store_set_up(state) != 0)
		return -1;
	struct tally_store *f = *state;
	sqlite3 *db = open_file(f);
	assert_int_equal(sqlite3_exec(db, version_1, NULL, NULL, NULL), SQLITE_OK);
	for (uint64_t i = 5; i <= 6; i++) {
		char text[160], hex[65];
		snprintf(text, sizeof text, "INSERT INTO application VALUES (%d, x'%s')", (int)i - 4,
		         tally_sha_hex(hex, i));
		assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	}
	assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	return version_of(f) == 1 ? 0 : -1;
}

static void check_counts(struct tally_store *f, uint64_t of_5)
{
	assert_int_equal(f->counts->n_applications, 2);
	assert_int_equal(f->counts->addresses, 3);
	assert_int_equal(f->counts->beyond, 9);
	assert_int_equal(f->counts->n_truncated, 1);
	assert_int_equal(tally_store_count(f, 5), of_5);
	assert_int_equal(tally_store_count(f, 6), 1);
}

static void open_with(struct tally_store *f, const struct book_kind *const *kinds)
{
	assert_int_equal(store_open(&f->store, f->folder.data_dir, kinds, &f->error), 0);
	assert_int_equal(tally_store_open_book(f), 0);
}

static void a_file_of_version_1_is_taken_up_with_all_that_is_in_it(void **state)
{
	struct tally_store *f = *state;
	struct settle_cursor cursor = {.topic = "ip", .lane = 3};
	open_with(f, with_fresh);
	check_counts(f, 7);
	assert_int_equal(store_read_cursor(f->store, &cursor, &f->error), 0);
	assert_int_equal(cursor.generation, 77);
	assert_int_equal(cursor.position, 4096);
	assert_int_equal(cursor.records, 17);
	tally_store_add(f, 5, 0x0a000001);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	tally_store_close(f);
	assert_int_equal(version_of(f), STORE_VERSION);
	assert_int_equal(has_table(f, "fresh"), 1);
	open_with(f, with_fresh);
	check_counts(f, 8);
	assert_int_equal(store_read_cursor(f->store, &cursor, &f->error), 0);
	assert_int_equal(cursor.records, 17);
}

static void a_taking_up_that_fails_leaves_the_file_as_it_was(void **state)
{
	struct tally_store *f = *state;
	assert_int_equal(store_open(&f->store, f->folder.data_dir, with_wrong, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "TABEL"));
	assert_int_equal(version_of(f), 1);
	assert_int_equal(has_table(f, "fresh") + has_table(f, "late"), 0);
	open_with(f, with_fresh);
	check_counts(f, 7);
}

static void die(sqlite3_context *context, int n, sqlite3_value **value)
{
	(void)context;
	(void)n;
	(void)value;
	raise(SIGKILL);
}

static int add_die(sqlite3 *db, char **message, const struct sqlite3_api_routines *routines)
{
	(void)message;
	(void)routines;
	return sqlite3_create_function(db, "die", 0, SQLITE_UTF8, NULL, die, NULL, NULL);
}

static void a_taking_up_that_is_killed_half_way_leaves_the_file_as_it_was(void **state)
{
	struct tally_store *f = *state;
	int status;
	pid_t child = fork();
	if (child == 0) {
		sqlite3_auto_extension((void (*)(void))add_die);
		(void)store_open(&f->store, f->folder.data_dir, with_deadly, &f->error);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(version_of(f), 1);
	assert_int_equal(has_table(f, "fresh") + has_table(f, "late"), 0);
	open_with(f, with_fresh);
	check_counts(f, 7);
}

static void readers_take_a_file_of_version_1_and_leave_it_so(void **state)
{
	struct tally_store *f = *state;
	struct reader reader;
	char hex[65], *json;
	assert_int_equal(report_json(f->folder.data_dir, tally_sha_hex(hex, 5), &json, NULL, &f->error), 0);
	assert_string_equal(json,
	                    "{\"count\": 7, \"good_ips\": [\"10.0.0.1\", \"10.0.0.2\"], \"bad_ips\": []}");
	free(json);
	/* What came with version 2 was never counted there. */
	assert_int_equal(reader_open(&reader, f->folder.data_dir, 2, &f->error), -ENODATA);
	assert_non_null(strstr(f->error.text, "nothing was counted there yet"));
	assert_int_equal(version_of(f), 1);
}

static int look(void *config, const struct store_tried *tried, struct shm_error *error)
{
	assert_int_equal(tried->version, 1);
	assert_true(tried->rows);
	return books_check(config, tried->db, tried->version == STORE_VERSION, tried->rows, error);
}

static void a_file_of_version_1_is_tried_and_found_good_or_bad(void **state)
{
	struct tally_store *f = *state;
	char *errors;
	struct config *config = config_load(NULL, NULL, 0, &errors);
	assert_non_null(config);
	assert_int_equal(store_try(f->folder.data_dir, 0, look, config, &f->error), 0);
	assert_int_equal(version_of(f), 1);
	sqlite3 *db = open_file(f);
	assert_int_equal(sqlite3_exec(db, "DELETE FROM application WHERE id = 1", NULL, NULL, NULL),
	                 SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(store_try(f->folder.data_dir, 0, look, config, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "table application, row 2"));
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_file_of_version_1_is_taken_up_with_all_that_is_in_it,
	                                        set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_taking_up_that_fails_leaves_the_file_as_it_was, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_taking_up_that_is_killed_half_way_leaves_the_file_as_it_was,
	                                        set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(readers_take_a_file_of_version_1_and_leave_it_so, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_file_of_version_1_is_tried_and_found_good_or_bad, set_up,
	                                        tally_store_tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
