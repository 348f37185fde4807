/* What the store does when its files are deleted, replaced or moved while it is open, when its log
 * cannot be copied and when it cannot start over. Writes of SQLite are turned aside where the
 * moment matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture/tally_store.h"

#define SMALL_LIMIT (16ull << 20)

static const char *const names[] = {"tally.db", "tally.db-wal", "tally.db-shm", "tally.lock"};

static uint32_t much_commits; /* calls of commit_much by this test */

static int set_up(void **state)
{
	much_commits = 0;
	return tally_store_set_up(state);
}

/* Some 3 MiB of log a time. */
static int commit_much(struct tally_store *f)
{
	for (uint32_t i = 0; i < 2000; i++)
		tally_store_add(f, i, much_commits * 16);
	much_commits++;
	return tally_store_commit(f, NULL);
}

static off_t size_of(struct tally_store *f, const char *name)
{
	char path[TALLY_PATH_BYTES];
	struct stat status;
	return stat(tally_store_path(f, name, path), &status) == 0 ? status.st_size : -1;
}

/* ---- writes turned aside ---- */

static char unlink_at_write[TALLY_PATH_BYTES]; /* deleted just before the next write */
static _Atomic ino_t broken_inode;             /* writes to this file fail */

static ssize_t aside_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	struct stat status;
	if (unlink_at_write[0] != '\0')
		(void)unlink(unlink_at_write);
	unlink_at_write[0] = '\0';
	if (fstat(fd, &status) == 0 && status.st_ino == broken_inode) {
		errno = EIO;
		return -1;
	}
	return pwrite(fd, data, bytes, offset);
}

static void turn_writes_aside(bool aside)
{
	static const char *const calls[] = {"pwrite", "pwrite64"};
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
	for (unsigned i = 0; i < 2; i++)
		(void)vfs->xSetSystemCall(vfs, calls[i], aside ? (sqlite3_syscall_ptr)aside_pwrite : NULL);
	broken_inode = 0;
}

/* ---- files that go ---- */

static void a_file_that_is_moved_away_fails_commits_until_it_is_back(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES], aside[TALLY_PATH_BYTES];
	assert_int_equal(tally_store_open(f), 0);
	tally_store_add(f, 1, 1);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		tally_store_path(f, names[i], path);
		tally_store_path(f, "aside", aside);
		assert_int_equal(rename(path, aside), 0);
		tally_store_add(f, 1, 1);
		assert_int_equal(tally_store_commit(f, NULL), -ESTALE);
		assert_non_null(strstr(f->error.text, names[i]));
		assert_non_null(strstr(f->error.text, "deleted or moved away"));
		assert_int_equal(counts_dirty_rows(f->counts), 1);
		assert_int_equal(store_check_files(f->store, &f->error), -ESTALE);
		assert_int_equal(rename(aside, path), 0);
		assert_int_equal(store_check_files(f->store, &f->error), 0);
		assert_int_equal(tally_store_commit(f, NULL), 0);
	}
	tally_store_close(f);
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(tally_store_count(f, 1), 5);
}

static void a_file_that_is_replaced_fails_commits(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES], other[TALLY_PATH_BYTES];
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(tally_store_open(f), 0);
		tally_store_add(f, 1, 1);
		assert_int_equal(tally_store_commit(f, NULL), 0);
		int file = open(tally_store_path(f, "other", other), O_CREAT | O_WRONLY, 0600);
		assert_true(file >= 0);
		close(file);
		assert_int_equal(rename(other, tally_store_path(f, names[i], path)), 0);
		tally_store_add(f, 1, 1);
		assert_int_equal(tally_store_commit(f, NULL), -ESTALE);
		assert_non_null(strstr(f->error.text, names[i]));
		assert_non_null(strstr(f->error.text, "replaced"));
		tally_store_close(f);
		for (unsigned k = 0; k < 4; k++)
			(void)unlink(tally_store_path(f, names[k], path));
	}
}

static void a_folder_that_is_moved_fails_commits_until_it_is_back(void **state)
{
	struct tally_store *f = *state;
	char aside[TALLY_PATH_BYTES];
	assert_int_equal(tally_store_open(f), 0);
	tally_store_add(f, 1, 1);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	snprintf(aside, sizeof aside, "%s.aside", f->folder.data_dir);
	assert_int_equal(rename(f->folder.data_dir, aside), 0);
	tally_store_add(f, 1, 1);
	assert_int_equal(tally_store_commit(f, NULL), -ESTALE);
	/* Another folder with a database of its own: still not the one. */
	assert_int_equal(mkdir(f->folder.data_dir, 0700), 0);
	assert_int_equal(tally_store_commit(f, NULL), -ESTALE);
	assert_int_equal(rmdir(f->folder.data_dir), 0);
	assert_int_equal(rename(aside, f->folder.data_dir), 0);
	assert_int_equal(tally_store_commit(f, NULL), 0);
}

static void a_database_deleted_during_a_commit_fails_that_commit(void **state)
{
	struct tally_store *f = *state;
	assert_int_equal(tally_store_open(f), 0);
	tally_store_add(f, 1, 1);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	turn_writes_aside(true);
	tally_store_path(f, STORE_FILE, unlink_at_write);
	tally_store_add(f, 1, 1);
	int result = tally_store_commit(f, NULL);
	turn_writes_aside(false);
	assert_int_equal(unlink_at_write[0], 0); /* SQLite had come to writing */
	assert_int_equal(result, -ESTALE);
	assert_int_equal(counts_dirty_rows(f->counts), 1);
}

/* The tables themselves are in the log alone when that is deleted. */
static void what_a_deleted_log_holds_is_copied_into_the_database(void **state)
{
	struct tally_store *f = *state;
	pid_t child = fork();
	if (child == 0) {
		char path[TALLY_PATH_BYTES];
		struct store_log log = {0};
		if (tally_store_open(f) != 0)
			_exit(1);
		tally_store_add(f, 1, 1);
		if (tally_store_commit(f, NULL) != 0)
			_exit(2);
		unlink(tally_store_path(f, names[1], path));
		unlink(tally_store_path(f, names[2], path));
		tally_store_add(f, 1, 1);
		if (tally_store_commit(f, NULL) != -ESTALE)
			_exit(3);
		for (unsigned i = 0; i < 10000 && log.checkpoints == 0; i++) {
			usleep(1000);
			store_look_at_log(f->store, &log);
		}
		raise(SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(tally_store_count(f, 1), 1);
}

/* ---- the log ---- */

static void a_file_system_without_a_log_is_refused(void **state)
{
	struct tally_store *f = *state;
	/* It has no shared memory, so SQLite stays with its rollback journal and says so where it
	 * is not asked whether it failed. */
	sqlite3_vfs_register(sqlite3_vfs_find("unix-none"), 1);
	int result = store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error);
	sqlite3_vfs_register(sqlite3_vfs_find("unix"), 1);
	assert_int_equal(result, -EOPNOTSUPP);
	assert_non_null(strstr(f->error.text, "write-ahead log"));
	assert_non_null(strstr(f->error.text, "data_dir"));
	f->store = NULL;
}

static void a_log_that_cannot_be_copied_is_told_and_ends_at_its_limit(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	struct stat status;
	struct store_log log = {0};
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(stat(tally_store_path(f, STORE_FILE, path), &status), 0);
	turn_writes_aside(true);
	broken_inode = status.st_ino;
	store_limit_log(f->store, SMALL_LIMIT);
	int result = 0;
	for (unsigned i = 0; i < 100 && result == 0; i++)
		result = commit_much(f);
	for (unsigned i = 0; i < 5000 && log.failed == 0; i++) {
		usleep(1000);
		store_look_at_log(f->store, &log);
	}
	off_t size = size_of(f, names[1]);
	int again = tally_store_commit(f, NULL);
	turn_writes_aside(false);
	assert_int_equal(result, -EIO);
	assert_int_equal(again, -EIO);
	assert_non_null(strstr(f->error.text, "the limit"));
	assert_non_null(strstr(f->error.text, "I/O error"));
	assert_true(log.failed > 0);
	assert_non_null(strstr(log.reason, "I/O error"));
	assert_in_range(size, SMALL_LIMIT, 2 * SMALL_LIMIT);
	assert_int_equal(size_of(f, names[1]), size);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	store_look_at_log(f->store, &log);
	assert_true(log.bytes < SMALL_LIMIT && log.checkpoints > 0 && log.reason[0] == '\0');
	tally_store_close(f);
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(tally_store_count(f, 7), much_commits);
}

static void a_reader_that_never_ends_stops_commits_at_the_limit(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	sqlite3 *reader;
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(commit_much(f), 0);
	assert_int_equal(
	        sqlite3_open_v2(tally_store_path(f, STORE_FILE, path), &reader, SQLITE_OPEN_READONLY, NULL),
	        SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM count", NULL, NULL, NULL),
	                 SQLITE_OK);
	store_limit_log(f->store, SMALL_LIMIT);
	int result = 0;
	for (unsigned i = 0; i < 100 && result == 0; i++)
		result = commit_much(f);
	assert_int_equal(result, -EBUSY);
	assert_non_null(strstr(f->error.text, "a program that reads"));
	assert_in_range(size_of(f, names[1]), SMALL_LIMIT, 2 * SMALL_LIMIT);
	assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	struct store_log log;
	store_look_at_log(f->store, &log);
	assert_true(log.bytes < SMALL_LIMIT);
	sqlite3_close(reader);
	tally_store_close(f);
	assert_int_equal(tally_store_open(f), 0);
	assert_int_equal(tally_store_count(f, 7), much_commits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_file_that_is_moved_away_fails_commits_until_it_is_back,
	                                        set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_file_that_is_replaced_fails_commits, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_folder_that_is_moved_fails_commits_until_it_is_back, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_database_deleted_during_a_commit_fails_that_commit, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(what_a_deleted_log_holds_is_copied_into_the_database, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_file_system_without_a_log_is_refused, set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_log_that_cannot_be_copied_is_told_and_ends_at_its_limit,
	                                        set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_reader_that_never_ends_stops_commits_at_the_limit, set_up,
	                                        tally_store_tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
