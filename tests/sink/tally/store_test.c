/* The database of counts: what comes back, what is refused, what a failed commit leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/tally_store.h"

static void open_again(struct tally_store *f)
{
	assert_int_equal(tally_store_open(f), 0);
}

static int64_t ask(struct tally_store *f, const char *text)
{
	char path[TALLY_PATH_BYTES];
	sqlite3 *db;
	sqlite3_stmt *statement;
	assert_int_equal(
	        sqlite3_open_v2(tally_store_path(f, STORE_FILE, path), &db, SQLITE_OPEN_READWRITE, NULL),
	        SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
	int result = sqlite3_step(statement);
	assert_true(result == SQLITE_ROW || result == SQLITE_DONE);
	int64_t number = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return number;
}

static int commit_with(struct tally_store *f, const struct settle_cursor *cursor, unsigned n, uint64_t *rows)
{
	struct book *book = &f->ip->book;
	return store_commit(f->store, &book, 1, cursor, n, rows, &f->error);
}

static void what_was_committed_comes_back(void **state)
{
	struct tally_store *f = *state;
	uint64_t rows;
	open_again(f);
	for (uint32_t i = 0; i < 1000; i++)
		tally_store_add(f, i % 10, i);
	f->counts->beyond = 12;
	f->counts->beyond_dirty = true;
	assert_int_equal(tally_store_commit(f, &rows), 0);
	assert_int_equal(rows, 10 + f->counts->networks.n + 1);
	tally_store_add(f, 3, 77); /* not committed */
	tally_store_close(f);
	open_again(f);
	assert_int_equal(f->counts->n_applications, 10);
	assert_int_equal(f->counts->addresses, 1000);
	assert_int_equal(f->counts->beyond, 12);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(tally_store_count(f, i), 100);
	assert_int_equal(counts_dirty_rows(f->counts), 0);
}

static void a_commit_writes_only_what_changed(void **state)
{
	struct tally_store *f = *state;
	uint64_t rows;
	open_again(f);
	for (uint32_t i = 0; i < 5000; i++)
		tally_store_add(f, i % 100, i);
	assert_int_equal(tally_store_commit(f, &rows), 0);
	tally_store_add(f, 7, 7); /* known address: the count alone */
	assert_int_equal(tally_store_commit(f, &rows), 0);
	assert_int_equal(rows, 1);
	tally_store_add(f, 7, 1 << 20);
	tally_store_add(f, 8, 8);
	assert_int_equal(tally_store_commit(f, &rows), 0);
	assert_int_equal(rows, 3);
	assert_int_equal(tally_store_commit(f, &rows), 0);
	assert_int_equal(rows, 0);
}

static struct book_forgotten forget(struct tally_store *f, uint64_t errand)
{
	static const struct book_kind *const kinds[] = {&book_ip_kind, NULL};
	struct store_forget forget = {.kinds = kinds, .errand = errand}, last;
	struct book *book = &f->ip->book;
	assert_int_equal(store_commit_forget(f->store, &book, 1, NULL, 0, NULL, &forget, &f->error), 0);
	assert_int_equal(store_last_forget(f->store, &last, &f->error), 0);
	assert_int_equal(last.errand, errand);
	assert_int_equal(last.forgotten.events, forget.forgotten.events);
	assert_int_equal(last.forgotten.applications, forget.forgotten.applications);
	return forget.forgotten;
}

static void what_is_forgotten_is_gone_from_memory_and_file_and_counted_anew(void **state)
{
	struct tally_store *f = *state;
	struct store_forget last;
	open_again(f);
	assert_int_equal(store_last_forget(f->store, &last, &f->error), 0);
	assert_int_equal(last.errand, 0);
	for (unsigned round = 1; round <= 3; round++) {
		uint32_t n = 0;
		while (n < 3000 || f->counts->networks.old == NULL) /* on until the table grows */
			tally_store_add(f, n % 10, n * 16), n++;
		assert_int_equal(tally_store_commit(f, NULL), 0);
		for (unsigned i = 0; i < 100; i++)
			tally_store_add(f, i % 20, 5);
		f->counts->beyond = 12;
		f->counts->beyond_dirty = true;
		struct book_forgotten forgotten = forget(f, round);
		assert_int_equal(forgotten.applications, 20);
		assert_int_equal(forgotten.events, n + 100 + 12);
		assert_int_equal(f->counts->n_applications + f->counts->networks.n + f->counts->addresses, 0);
		assert_int_equal(counts_dirty_rows(f->counts), 0);
		assert_int_equal(ask(f, "SELECT count(*) FROM application"), 0);
		assert_int_equal(ask(f, "SELECT count(*) FROM count"), 0);
		assert_int_equal(ask(f, "SELECT count(*) FROM network"), 0);
		assert_int_equal(ask(f, "SELECT count(*) FROM total WHERE name = 'beyond'"), 0);
		assert_int_equal(forget(f, round).events, forgotten.events); /* a commit that is repeated */
	}
	for (uint32_t i = 0; i < 1000; i++)
		tally_store_add(f, i % 10, i);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	tally_store_close(f);
	open_again(f);
	assert_int_equal(f->counts->n_applications, 10);
	assert_int_equal(f->counts->addresses, 1000);
	assert_int_equal(f->counts->beyond, 0);
	assert_int_equal(tally_store_count(f, 7), 100);
}

static void cursors_are_kept_by_topic_and_lane(void **state)
{
	struct tally_store *f = *state;
	struct settle_cursor cursor[2] = {{"ip", 0, 0xfedcba9876543210ull, 4096, 7},
	                                  {"ip", 31, 2, UINT64_MAX / 2, 9}};
	open_again(f);
	struct settle_cursor read = {.topic = "ip", .lane = 0};
	assert_int_equal(store_read_cursor(f->store, &read, &f->error), -ENOENT);
	assert_int_equal(commit_with(f, cursor, 2, NULL), 0);
	cursor[0].position = 8192;
	assert_int_equal(commit_with(f, cursor, 1, NULL), 0);
	tally_store_close(f);
	open_again(f);
	assert_int_equal(store_read_cursor(f->store, &read, &f->error), 0);
	assert_true(read.generation == 0xfedcba9876543210ull);
	assert_int_equal(read.position, 8192);
	assert_int_equal(read.records, 7);
	read.lane = 31;
	assert_int_equal(store_read_cursor(f->store, &read, &f->error), 0);
	assert_true(read.position == UINT64_MAX / 2);
	read.topic = "raw";
	assert_int_equal(store_read_cursor(f->store, &read, &f->error), -ENOENT);
}

static void many_lives_count_as_one(void **state)
{
	struct tally_store *f = *state;
	unsigned long random = draw_seed(5);
	uint64_t sent[50] = {0};
	for (int life = 0; life < 20; life++) {
		open_again(f);
		for (int i = 0; i < 500; i++) {
			unsigned long number = draw_next(&random);
			tally_store_add(f, number % 50, (uint32_t)(number >> 40));
			sent[number % 50]++;
		}
		assert_int_equal(tally_store_commit(f, NULL), 0);
		tally_store_close(f);
	}
	open_again(f);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(tally_store_count(f, i), sent[i]);
}

static void a_commit_that_fails_changes_nothing_and_can_be_repeated(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	sqlite3 *other;
	struct settle_cursor cursor = {"ip", 0, 1, 64, 1};
	uint64_t rows;
	open_again(f);
	tally_store_add(f, 1, 1);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	assert_int_equal(sqlite3_open(tally_store_path(f, STORE_FILE, path), &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	tally_store_add(f, 1, 2);
	tally_store_add(f, 2, 1);
	assert_int_equal(commit_with(f, &cursor, 1, &rows), -EBUSY);
	assert_non_null(strstr(f->error.text, "locked"));
	assert_int_equal(counts_dirty_rows(f->counts), 4);
	assert_int_equal(store_read_cursor(f->store, &cursor, &f->error), -ENOENT);
	assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	tally_store_add(f, 2, 1); /* counted on meanwhile */
	assert_int_equal(commit_with(f, &cursor, 1, &rows), 0);
	assert_int_equal(rows, 5);
	tally_store_close(f);
	open_again(f);
	assert_int_equal(tally_store_count(f, 1), 2);
	assert_int_equal(tally_store_count(f, 2), 2);
}

/* A full disk, played by the limit on the size of files; in a child, since the limit is the
 * process's. */
static void a_full_disk_is_an_error_and_not_the_end(void **state)
{
	struct tally_store *f = *state;
	pid_t child = fork();
	if (child == 0) {
		struct rlimit small = {200000, RLIM_INFINITY}, wide = {RLIM_INFINITY, RLIM_INFINITY};
		signal(SIGXFSZ, SIG_IGN);
		if (tally_store_open(f) != 0)
			_exit(1);
		for (uint32_t i = 0; i < 30000; i++)
			tally_store_add(f, i, i);
		setrlimit(RLIMIT_FSIZE, &small);
		int first = tally_store_commit(f, NULL);
		if ((first != -ENOSPC && first != -EIO) || counts_dirty_rows(f->counts) != 60000)
			_exit(2);
		if (tally_store_commit(f, NULL) != first)
			_exit(3);
		setrlimit(RLIMIT_FSIZE, &wide);
		_exit(tally_store_commit(f, NULL) == 0 ? 0 : 4);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	open_again(f);
	assert_int_equal(f->counts->n_applications, 30000);
	assert_int_equal(f->counts->addresses, 30000);
	assert_int_equal(ask(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
	                 0);
}

static void two_writers_are_one_too_many(void **state)
{
	struct tally_store *f = *state;
	open_again(f);
	pid_t child = fork();
	if (child == 0) {
		struct store *second;
		struct shm_error error = {0};
		int result = store_open(&second, f->folder.data_dir, tally_store_kinds, &error);
		_exit(result == -EBUSY && strstr(error.text, "end it or set another data_dir") != NULL ? 0
		                                                                                       : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void files_that_are_not_ours_are_refused_and_left_alone(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	sqlite3 *db;
	int file = open(tally_store_path(f, STORE_FILE, path), O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(file, "this is a letter, and a long one as letters go, not a database", 62),
	                 62);
	close(file);
	assert_int_equal(store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "not an SQLite database"));
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE recipe (x)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "not of millrace"));
	assert_int_equal(sqlite3_exec(db, "SELECT x FROM recipe", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void another_version_is_refused_with_both_numbers(void **state)
{
	struct tally_store *f = *state;
	open_again(f);
	tally_store_close(f);
	(void)ask(f, "PRAGMA user_version=3");
	assert_int_equal(store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "version 3"));
	assert_non_null(strstr(f->error.text, "version 2"));
}

static void rows_changed_by_hand_are_refused(void **state)
{
	static const char *const change[] = {
	        "DELETE FROM application WHERE id = 2", "UPDATE network SET hosts = 0",
	        "UPDATE network SET hosts = 70000",     "UPDATE application SET sha = x'00' WHERE id = 1",
	        "DELETE FROM count WHERE id = 3",       "UPDATE network SET id = id + 99999999999"};
	struct tally_store *f = *state;
	for (unsigned i = 0; i < sizeof change / sizeof change[0]; i++) {
		char path[TALLY_PATH_BYTES];
		open_again(f);
		for (uint32_t k = 0; k < 3; k++)
			tally_store_add(f, k, k);
		assert_int_equal(tally_store_commit(f, NULL), 0);
		tally_store_close(f);
		(void)ask(f, change[i]);
		assert_int_equal(store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error), 0);
		assert_int_equal(tally_store_open_book(f), -EPROTO);
		assert_non_null(strstr(f->error.text, "row "));
		tally_store_close(f);
		unlink(tally_store_path(f, STORE_FILE, path));
	}
}

/* ---- tried beforehand ---- */

#define LISTING_BYTES 2048

/* Name, number, mode, size and time of all that lies in the folder. */
static void list(const struct tally_store *f, char text[LISTING_BYTES])
{
	struct dirent **entry;
	int n = scandir(f->folder.data_dir, &entry, NULL, alphasort);
	size_t used = 0;
	for (int i = 0; i < n; i++) {
		char path[400];
		struct stat status;
		snprintf(path, sizeof path, "%s/%s", f->folder.data_dir, entry[i]->d_name);
		assert_int_equal(lstat(path, &status), 0);
		if (strcmp(entry[i]->d_name, "..") != 0)
			used += (size_t)snprintf(text + used, LISTING_BYTES - used, "%s %lu %o %ld %ld.%ld\n",
			                         entry[i]->d_name, (unsigned long)status.st_ino,
			                         status.st_mode, (long)status.st_size,
			                         (long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
		assert_true(used < LISTING_BYTES);
		free(entry[i]);
	}
	free(entry);
}

static int look(void *expected, const struct store_tried *tried, struct shm_error *error)
{
	return book_ip_check(&tally_store_limits, tried->db, tried->rows, expected, error);
}

/* Whatever it says, nothing has changed. */
static int try_it(struct tally_store *f, int own_pid, struct counts_expected *expected)
{
	char before[LISTING_BYTES], after[LISTING_BYTES];
	list(f, before);
	f->error.text[0] = '\0';
	int result = store_try(f->folder.data_dir, own_pid, look, expected, &f->error);
	list(f, after);
	assert_string_equal(after, before);
	return result;
}

/* Three applications, in three states: all in the log, all in the database, no log. */
static void trying_makes_and_changes_nothing(void **state)
{
	struct tally_store *f = *state;
	struct counts_expected expected;
	char path[TALLY_PATH_BYTES], log[TALLY_PATH_BYTES + 4], index[TALLY_PATH_BYTES + 4], away[96];
	assert_int_equal(try_it(f, 0, &expected), 0);
	snprintf(away, sizeof away, "%s/not/there", f->folder.data_dir);
	assert_int_equal(store_try(away, 0, look, &expected, &f->error), 0);
	pid_t child = fork();
	if (child == 0) { /* dies with the log full, as a killed process does */
		open_again(f);
		for (uint32_t k = 0; k < 3; k++)
			tally_store_add(f, k, k);
		_exit(tally_store_commit(f, NULL) == 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(try_it(f, 0, &expected), 0);
	assert_int_equal(expected.applications, 3);
	assert_int_equal(expected.networks, 3);
	open_again(f);
	assert_int_equal(store_empty_log(f->store, &f->error), 0);
	tally_store_close(f);
	assert_int_equal(try_it(f, 0, &expected), 0);
	assert_int_equal(expected.applications, 3);
	tally_store_path(f, STORE_FILE, path);
	snprintf(log, sizeof log, "%s-wal", path);
	snprintf(index, sizeof index, "%s-shm", path);
	assert_int_equal(unlink(index), 0);
	assert_int_equal(try_it(f, 0, &expected), 0);
	assert_int_equal(expected.applications, 3);
	assert_int_equal(unlink(log), 0);
	assert_int_equal(try_it(f, 0, &expected), 0);
	assert_int_equal(expected.applications, 3);
}

static void a_database_is_tried_while_its_stage_writes_and_another_is_told_who_does(void **state)
{
	struct tally_store *f = *state;
	struct counts_expected expected;
	int up[2], down[2], status;
	char byte = 0;
	assert_int_equal(pipe(up) + pipe(down), 0);
	pid_t child = fork();
	if (child == 0) {
		open_again(f);
		for (uint32_t k = 0; k < 3; k++)
			tally_store_add(f, k, k);
		byte = (char)(tally_store_commit(f, NULL) != 0);
		if (write(up[1], &byte, 1) != 1 || read(down[0], &byte, 1) != 1)
			_exit(1);
		tally_store_add(f, 4, 4);
		_exit(tally_store_commit(f, NULL) == 0 ? 0 : 2);
	}
	assert_int_equal(read(up[0], &byte, 1), 1);
	assert_int_equal(byte, 0);
	assert_int_equal(try_it(f, (int)child, &expected), 0);
	assert_int_equal(expected.applications, 3);
	assert_int_equal(try_it(f, 0, &expected), -EBUSY);
	char said[80];
	snprintf(said, sizeof said, "process %d counts there; end it", (int)child);
	assert_non_null(strstr(f->error.text, said));
	assert_int_equal(write(down[1], &byte, 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0); /* its locks were its own all the while */
}

/* Makes the database bad in one way; path is that of the database. False: this way is none for
 * this user. */
static bool spoil(struct tally_store *f, unsigned way, const char *path)
{
	char other[160];
	snprintf(other, sizeof other, "%s-wal", path);
	switch (way) {
	case 0:
		assert_int_equal(truncate(path, 0), 0);
		unlink(other);
		int file = open(path, O_WRONLY);
		assert_int_equal(
		        write(file, "this is a letter, and a long one as letters go, not a database", 62),
		        62);
		close(file);
		return true;
	case 1:
		return ask(f, "PRAGMA user_version=3") >= -1;
	case 2:
		return ask(f, "PRAGMA application_id=7") >= -1;
	case 3:
		unlink(path);
		return mkdir(path, 0700) == 0;
	case 4:
		unlink(path);
		return mkfifo(path, 0600) == 0;
	case 5:
		unlink(other);
		return mkdir(other, 0700) == 0;
	case 6:
		return ask(f, "DROP TABLE cursor") >= -1;
	case 7:
		return ask(f, "DELETE FROM application WHERE id = 2") >= -1;
	case 8:
		return ask(f, "UPDATE network SET hosts = 70000") >= -1;
	case 9:
		return chmod(path, 0400) == 0 && access(path, W_OK) != 0;
	case 10:
		unlink(path);
		return chmod(f->folder.data_dir, 0500) == 0 && access(f->folder.data_dir, W_OK) != 0;
	default:
		return false;
	}
}

static void what_could_not_be_taken_up_is_said_beforehand_in_the_same_words(void **state)
{
	struct tally_store *f = *state;
	for (unsigned way = 0; way <= 10; way++) {
		char path[TALLY_PATH_BYTES];
		struct counts_expected expected;
		open_again(f);
		for (uint32_t k = 0; k < 3; k++)
			tally_store_add(f, k, k);
		assert_int_equal(tally_store_commit(f, NULL), 0);
		tally_store_close(f);
		if (spoil(f, way, tally_store_path(f, STORE_FILE, path))) {
			struct shm_error tried;
			int result = try_it(f, 0, &expected);
			assert_int_not_equal(result, 0);
			tried = f->error;
			int opened = store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error);
			if (opened == 0) {
				opened = tally_store_open_book(f);
				tally_store_close(f);
			}
			assert_int_equal(opened, result);
			assert_string_equal(f->error.text, tried.text);
		}
		f->store = NULL;
		assert_int_equal(chmod(f->folder.data_dir, 0700), 0);
		tree_remove(f->folder.data_dir);
		assert_int_equal(mkdir(f->folder.data_dir, 0700), 0);
	}
}

/* Folders with long names and links to folders are folders. */
static void the_folder_may_be_deep_or_a_link(void **state)
{
	struct tally_store *f = *state;
	struct shm_error error;
	char deep[400], link[128], name[101];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	snprintf(deep, sizeof deep, "%s/%s", f->folder.data_dir, name);
	assert_int_equal(mkdir(deep, 0700), 0);
	snprintf(deep, sizeof deep, "%s/%s/%s", f->folder.data_dir, name, name);
	snprintf(link, sizeof link, "%s/link", f->folder.data_dir);
	assert_int_equal(symlink(deep, link), 0);
	assert_int_equal(store_open(&f->store, deep, tally_store_kinds, &error), 0);
	store_close(f->store);
	assert_int_equal(store_open(&f->store, link, tally_store_kinds, &error), 0);
	store_close(f->store);
	f->store = NULL;
}

static void a_reader_in_the_middle_of_reading_holds_nobody_up(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	sqlite3 *reader;
	sqlite3_stmt *statement;
	open_again(f);
	for (uint32_t i = 0; i < 1000; i++)
		tally_store_add(f, i, i);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	assert_int_equal(
	        sqlite3_open_v2(tally_store_path(f, STORE_FILE, path), &reader, SQLITE_OPEN_READONLY, NULL),
	        SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(reader, "SELECT sum(count) OVER (), count FROM count", -1,
	                                    &statement, NULL),
	                 SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < 1000; i++)
			tally_store_add(f, i, i + 16000u * (unsigned)round);
		assert_int_equal(tally_store_commit(f, NULL), 0);
	}
	assert_int_equal(sqlite3_column_int64(statement, 0), 1000); /* its snapshot */
	sqlite3_finalize(statement);
	sqlite3_close(reader);
	assert_int_equal(ask(f, "SELECT sum(count) FROM count"), 21000);
}

static void the_views_show_text_to_other_tools(void **state)
{
	struct tally_store *f = *state;
	char text[256], hex[65];
	open_again(f);
	tally_store_add(f, 5, 0x0a0b0cff);
	tally_store_add(f, 5, 0x0a0b0cf1);
	tally_store_add(f, 6, 0xffffffff);
	assert_int_equal(tally_store_commit(f, NULL), 0);
	snprintf(text, sizeof text, "SELECT count FROM report WHERE sha = '%s'", tally_sha_hex(hex, 5));
	assert_int_equal(ask(f, text), 2);
	snprintf(text, sizeof text,
	         "SELECT count(*) FROM address WHERE sha = '%s' AND ip IN ('10.11.12.255', '10.11.12.241')",
	         hex);
	assert_int_equal(ask(f, text), 2);
	snprintf(text, sizeof text, "SELECT ip = '255.255.255.255' FROM address WHERE sha = '%s'",
	         tally_sha_hex(hex, 6));
	assert_int_equal(ask(f, text), 1);
	assert_int_equal(ask(f, "SELECT count(*) FROM address"), 3);
}

static void the_log_does_not_grow_without_bound(void **state)
{
	struct tally_store *f = *state;
	char path[TALLY_PATH_BYTES];
	open_again(f);
	uint64_t largest = 0;
	for (int round = 0; round < 150; round++) {
		for (uint32_t i = 0; i < 2000; i++)
			tally_store_add(f, i, (uint32_t)round * 16);
		assert_int_equal(tally_store_commit(f, NULL), 0);
		usleep(1000);
		FILE *log = fopen(tally_store_path(f, STORE_FILE "-wal", path), "r");
		assert_non_null(log);
		fseek(log, 0, SEEK_END);
		largest = (uint64_t)ftell(log) > largest ? (uint64_t)ftell(log) : largest;
		fclose(log);
	}
	/* All together wrote several times this. */
	assert_in_range(largest, 1, 160u << 20);
	tally_store_close(f);
	open_again(f);
	assert_int_equal(f->counts->networks.n, 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(what_was_committed_comes_back, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_commit_writes_only_what_changed, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(
	                what_is_forgotten_is_gone_from_memory_and_file_and_counted_anew, tally_store_set_up,
	                tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(cursors_are_kept_by_topic_and_lane, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(many_lives_count_as_one, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_commit_that_fails_changes_nothing_and_can_be_repeated,
	                                        tally_store_set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_not_the_end, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(two_writers_are_one_too_many, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(files_that_are_not_ours_are_refused_and_left_alone,
	                                        tally_store_set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(another_version_is_refused_with_both_numbers,
	                                        tally_store_set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(rows_changed_by_hand_are_refused, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(trying_makes_and_changes_nothing, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(
	                a_database_is_tried_while_its_stage_writes_and_another_is_told_who_does,
	                tally_store_set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(
	                what_could_not_be_taken_up_is_said_beforehand_in_the_same_words, tally_store_set_up,
	                tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(the_folder_may_be_deep_or_a_link, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(a_reader_in_the_middle_of_reading_holds_nobody_up,
	                                        tally_store_set_up, tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(the_views_show_text_to_other_tools, tally_store_set_up,
	                                        tally_store_tear_down),
	        cmocka_unit_test_setup_teardown(the_log_does_not_grow_without_bound, tally_store_set_up,
	                                        tally_store_tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
