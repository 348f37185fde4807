/* database.h: whose a database is, while another process makes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage/database.h"

#define VERSION  7
#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

struct files {
	char folder[64], path[96];
	sqlite3 *looks, *makes;
	int until; /* steps of the look before the other connection makes everything */
};

static int set_up(void **state)
{
	struct files *f = calloc(1, sizeof *f);
	snprintf(f->folder, sizeof f->folder, "/tmp/database-test-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof f->path, "%s/a.db", f->folder);
	assert_int_equal(sqlite3_open(f->path, &f->makes), SQLITE_OK);
	assert_int_equal(sqlite3_exec(f->makes, "PRAGMA journal_mode=WAL", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_open(f->path, &f->looks), SQLITE_OK);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct files *f = *state;
	char name[128];
	static const char *const end[] = {"", "-wal", "-shm"};
	sqlite3_close(f->looks);
	sqlite3_close(f->makes);
	for (size_t i = 0; i < sizeof end / sizeof *end; i++) {
		snprintf(name, sizeof name, "%s%s", f->path, end[i]);
		unlink(name);
	}
	rmdir(f->folder);
	free(f);
	return 0;
}

static void make(struct files *f, const char *application)
{
	char text[256];
	snprintf(
	        text, sizeof text,
	        "BEGIN IMMEDIATE; CREATE TABLE t (a); PRAGMA application_id=%s; PRAGMA user_version=%d; COMMIT",
	        application, VERSION);
	assert_int_equal(sqlite3_exec(f->makes, text, NULL, NULL, NULL), SQLITE_OK);
}

static const char unmake[] = "BEGIN IMMEDIATE; DROP TABLE t; PRAGMA application_id=0;\n"
                             "PRAGMA user_version=0; COMMIT";

/* Called by SQLite every few instructions of the connection that looks. */
static int meanwhile(void *argument)
{
	struct files *f = argument;
	if (f->until-- == 0)
		make(f, VALUE(DATABASE_APPLICATION_ID));
	return 0;
}

/* Nothing, or ours, is the answer: never a foreign one, at whatever moment it was made. */
static void test_one_that_is_made_meanwhile_is_nobody_else_s(void **state)
{
	struct files *f = *state;
	struct shm_error error;
	for (int until = 0;; until++) {
		f->until = until;
		sqlite3_progress_handler(f->looks, 1, meanwhile, f);
		int answer = database_check(f->looks, f->path, VERSION, &error);
		sqlite3_progress_handler(f->looks, 0, NULL, NULL);
		if (answer < 0)
			fail_msg("made after %d steps: %s", until, error.text);
		if (f->until >= 0) { /* the look was over before */
			assert_true(until > 8);
			return;
		}
		assert_int_equal(database_check(f->looks, f->path, VERSION, &error), 0);
		assert_int_equal(sqlite3_exec(f->makes, unmake, NULL, NULL, NULL), SQLITE_OK);
	}
}

static void test_whose_it_is(void **state)
{
	struct files *f = *state;
	struct shm_error error;
	assert_int_equal(database_check(f->looks, f->path, VERSION, &error), 1);
	make(f, "12345");
	assert_int_equal(database_check(f->looks, f->path, VERSION, &error), -EPROTO);
	assert_int_equal(sqlite3_exec(f->makes, "PRAGMA application_id=" VALUE(DATABASE_APPLICATION_ID), NULL,
	                              NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(database_check(f->looks, f->path, VERSION, &error), 0);
	assert_int_equal(database_check(f->looks, f->path, VERSION + 1, &error), -EPROTO);
}

static void assert_mode(const char *path, mode_t mode)
{
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, mode);
}

static void test_it_is_its_user_s_alone_unless_its_folder_hands_its_group_down(void **state)
{
	struct files *f = *state;
	struct shm_error error;
	char path[128];
	mode_t before = umask(0007);
	snprintf(path, sizeof path, "%s/alone.db", f->folder);
	assert_int_equal(database_make(path, 0600, &error), 0);
	assert_mode(path, 0600);
	assert_int_equal(chmod(f->folder, 02770), 0);
	assert_int_equal(database_make(path, 0600, &error), 0); /* it is there */
	assert_mode(path, 0600);
	(void)unlink(path);
	assert_int_equal(database_make(path, 0600, &error), 0);
	assert_mode(path, 0660);
	(void)unlink(path);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(database_make(path, 0600, &error), 0); /* SQLite is to say what it is */
	(void)unlink(path);
	umask(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_one_that_is_made_meanwhile_is_nobody_else_s, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(test_whose_it_is, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(
	                test_it_is_its_user_s_alone_unless_its_folder_hands_its_group_down, set_up,
	                tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
