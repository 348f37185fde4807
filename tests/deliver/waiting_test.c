/* deliver.db: what is put comes back, in which order it is claimed, how statements find it, and
 * what becomes of a file that is gone, foreign or full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "deliver/waiting_db.h"
#include "tests/fixture/waiting_sample.h"

static struct shm_error error;

static struct waiting *open_as(const char *folder, const char *role)
{
	struct waiting *waiting = NULL;
	int result = waiting_open(&waiting, folder, role, &error);
	if (result != 0)
		fail_msg("%d %s", result, error.text);
	return waiting;
}

static void begin(struct waiting *waiting)
{
	if (waiting_begin(waiting, true, &error) != 0)
		fail_msg("%s", error.text);
}

static void commit(struct waiting *waiting)
{
	if (waiting_commit(waiting, &error) != 0)
		fail_msg("%s", error.text);
}

enum kind { LATER, PARKED, DEAD };

static void put(struct waiting *waiting, uint64_t number, unsigned endpoint, enum kind kind)
{
	struct waiting_sample sample;
	waiting_sample(&sample, number, endpoint);
	int result = kind == LATER    ? waiting_put_later(waiting, &sample.row)
	             : kind == PARKED ? waiting_put_parked(waiting, &sample.row)
	                              : waiting_put_dead(waiting, &sample.row, "answered 400", 5000);
	if (result != 0)
		fail_msg("%s", waiting_reason(waiting));
}

static void delete (struct waiting *waiting, uint64_t number)
{
	struct waiting_sample sample;
	waiting_sample(&sample, number, 0);
	assert_int_equal(waiting_delete(waiting, sample.row.postback), 0);
}

static void assert_counts(struct waiting *waiting, uint64_t later, uint64_t parked, uint64_t claimed,
                          uint64_t dead)
{
	struct waiting_counts counts;
	assert_int_equal(waiting_count(waiting, &counts), 0);
	assert_int_equal(counts.later, later);
	assert_int_equal(counts.parked, parked);
	assert_int_equal(counts.claimed, claimed);
	assert_int_equal(counts.dead, dead);
}

/* ---- claiming ---- */

struct claimed {
	unsigned room; /* for each endpoint */
	unsigned asked, n;
	uint64_t number[64];
	char endpoint[64][64];
	char history[64];
	unsigned attempts;
	int64_t first_ms, due_ms;
};

static unsigned has_room(void *argument, const char *origin, const char *endpoint)
{
	struct claimed *claimed = argument;
	claimed->asked++;
	assert_int_equal(strncmp(origin, endpoint, 23), 0);
	return claimed->room;
}

static void take(void *argument, const struct waiting_row *row)
{
	struct claimed *claimed = argument;
	unsigned i = claimed->n++ % 64;
	claimed->number[i] = waiting_sample_number(row->postback);
	assert_true(waiting_sample_same(row, claimed->number[i]));
	snprintf(claimed->endpoint[i], 64, "%s", row->endpoint);
	snprintf(claimed->history, sizeof claimed->history, "%s", row->history);
	claimed->attempts = row->attempts;
	claimed->first_ms = row->first_ms;
	claimed->due_ms = row->due_ms;
}

static int claim(struct waiting *waiting, unsigned looks, unsigned most, unsigned room,
                 struct claimed *claimed)
{
	*claimed = (struct claimed){.room = room};
	begin(waiting);
	int result = waiting_claim(waiting, looks, most, has_room, take, claimed);
	commit(waiting);
	return result;
}

static void the_role_of_another_instance_is_refused_while_it_lives(void **state)
{
	struct waiting *waiting = NULL;
	int ready[2];
	char byte, text[32];
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)open_as(*state, "deliver.0");
		(void)!write(ready[1], "", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(waiting_open(&waiting, *state, "deliver.0", &error), -EBUSY);
	snprintf(text, sizeof text, "process %d delivers", (int)pid);
	assert_non_null(strstr(error.text, text));
	waiting_close(open_as(*state, "deliver.1"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	waiting_close(open_as(*state, "deliver.0"));
	close(ready[0]);
	close(ready[1]);
}

static void what_is_put_comes_back_to_the_last_byte(void **state)
{
	struct claimed claimed;
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	for (uint64_t n = 0; n < 50; n++)
		put(waiting, n, 1, PARKED);
	commit(waiting);
	assert_counts(waiting, 0, 50, 0, 0);
	waiting_close(waiting);
	waiting = open_as(*state, "deliver.0");
	assert_int_equal(claim(waiting, 10, 64, 64, &claimed), 50);
	for (uint64_t n = 0; n < 50; n++)
		assert_int_equal(claimed.number[n], n); /* the oldest first */
	assert_counts(waiting, 0, 0, 50, 0);
	waiting_close(waiting);
}

static void what_a_row_knows_of_its_attempts_comes_back(void **state)
{
	struct claimed claimed;
	struct waiting_sample sample;
	struct waiting *waiting = open_as(*state, "deliver.0");
	waiting_sample(&sample, 9, 1);
	sample.row.attempts = 3;
	sample.row.first_ms = 1234567890123;
	sample.row.due_ms = 1234567890999;
	sample.row.history = "[{\"at\":1,\"status\":503,\"ms\":2}]";
	begin(waiting);
	put(waiting, 9, 2, LATER); /* another state, another endpoint: the last one counts */
	assert_int_equal(waiting_put_parked(waiting, &sample.row), 0);
	commit(waiting);
	assert_int_equal(claim(waiting, 10, 10, 10, &claimed), 1);
	assert_int_equal(claimed.attempts, 3);
	assert_true(claimed.first_ms == 1234567890123 && claimed.due_ms == 1234567890999);
	assert_string_equal(claimed.history, sample.row.history);
	assert_string_equal(claimed.endpoint[0], sample.endpoint);
	waiting_close(waiting);
}

static void the_last_word_on_a_postback_counts(void **state)
{
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	put(waiting, 1, 1, DEAD);
	put(waiting, 1, 1, LATER);
	put(waiting, 2, 1, LATER);
	put(waiting, 2, 1, DEAD);
	put(waiting, 3, 1, DEAD);
	delete (waiting, 3);
	delete (waiting, 3);
	commit(waiting);
	assert_counts(waiting, 1, 0, 0, 1);
	struct waiting_sample sample;
	for (uint64_t n = 1; n <= 3; n++) {
		waiting_sample(&sample, n, 1);
		assert_int_equal(waiting_has(waiting, sample.row.postback), n != 3);
	}
	waiting_close(waiting);
}

static void nothing_of_a_transaction_that_was_cancelled_has_happened(void **state)
{
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	put(waiting, 1, 1, LATER);
	waiting_cancel(waiting);
	assert_counts(waiting, 0, 0, 0, 0);
	begin(waiting);
	put(waiting, 2, 1, LATER);
	commit(waiting);
	assert_counts(waiting, 1, 0, 0, 0);
	waiting_close(waiting);
}

static void what_is_later_is_parked_when_its_time_has_come(void **state)
{
	struct waiting *waiting = open_as(*state, "deliver.0");
	assert_true(waiting_next_due_ms(waiting) == INT64_MAX);
	begin(waiting);
	for (uint64_t n = 20; n > 0; n--)
		put(waiting, n, 1, LATER);
	commit(waiting);
	assert_int_equal(waiting_next_due_ms(waiting), 1000001);
	begin(waiting);
	assert_int_equal(waiting_promote(waiting, 1000000, 100), 0);
	assert_int_equal(waiting_promote(waiting, 1000010, 4), 4);
	assert_int_equal(waiting_promote(waiting, 1000010, 100), 6);
	commit(waiting);
	assert_int_equal(waiting_next_due_ms(waiting), 1000011);
	assert_counts(waiting, 10, 10, 0, 0);
	waiting_close(waiting);
}

static void endpoints_take_turns_from_the_last_one_on(void **state)
{
	struct claimed claimed;
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	for (uint64_t n = 0; n < 60; n++)
		put(waiting, n, (unsigned)(n % 6), PARKED);
	commit(waiting);
	assert_int_equal(claim(waiting, 4, 100, 2, &claimed), 8);
	assert_int_equal(claimed.asked, 4);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(claimed.number[i], i / 2 + (i % 2) * 6);
	assert_int_equal(claim(waiting, 4, 100, 2, &claimed), 8); /* 4, 5, then 0, 1 */
	assert_int_equal(claimed.number[0], 4);
	assert_int_equal(claimed.number[2], 5);
	assert_int_equal(claimed.number[4], 12);
	assert_int_equal(claimed.number[6], 13);
	waiting_close(waiting);
}

static void a_round_asks_about_each_endpoint_once(void **state)
{
	struct claimed claimed;
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	for (uint64_t n = 0; n < 60; n++)
		put(waiting, n, (unsigned)(n % 6), PARKED);
	commit(waiting);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(claim(waiting, 100, 100, 0, &claimed), 0);
		assert_int_equal(claimed.asked, 6);
	}
	assert_int_equal(claim(waiting, 1, 100, 1, &claimed), 1);
	assert_int_equal(claim(waiting, 100, 25, 10, &claimed), 25); /* `most` in all */
	assert_int_equal(claim(waiting, 100, 100, 100, &claimed), 34);
	assert_int_equal(claim(waiting, 100, 100, 100, &claimed), 0);
	waiting_close(waiting);
}

static bool is_gone(void *argument, const char *role)
{
	return strcmp(role, argument) == 0;
}

static void what_a_life_had_claimed_goes_to_the_next_one_or_is_adopted(void **state)
{
	struct claimed claimed;
	struct waiting *first = open_as(*state, "deliver.0"), *second = open_as(*state, "deliver.1");
	begin(first);
	for (uint64_t n = 0; n < 10; n++)
		put(first, n, 1, PARKED);
	commit(first);
	assert_int_equal(claim(first, 9, 3, 9, &claimed), 3);
	assert_int_equal(claim(second, 9, 4, 9, &claimed), 4);
	assert_counts(first, 0, 3, 7, 0);
	waiting_close(first);
	first = open_as(*state, "deliver.0");
	assert_counts(first, 0, 6, 4, 0);
	waiting_close(second);
	begin(first);
	assert_int_equal(waiting_adopt(first, is_gone, "deliver.7"), 0);
	assert_int_equal(waiting_adopt(first, is_gone, "deliver.1"), 4);
	commit(first);
	assert_counts(first, 0, 10, 0, 0);
	waiting_close(first);
}

static void a_change_by_another_process_is_seen(void **state)
{
	struct waiting *one = open_as(*state, "deliver.0"), *other = open_as(*state, "deliver.1");
	(void)waiting_changed(one);
	assert_false(waiting_changed(one));
	begin(one);
	put(one, 1, 1, PARKED);
	commit(one);
	assert_false(waiting_changed(one));
	begin(other);
	put(other, 2, 1, PARKED);
	commit(other);
	assert_true(waiting_changed(one));
	assert_false(waiting_changed(one));
	waiting_close(one);
	waiting_close(other);
}

static void a_row_that_makes_no_sense_becomes_a_dead_letter_and_stands_in_nobodys_way(void **state)
{
	struct claimed claimed;
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	for (uint64_t n = 0; n < 10; n++)
		put(waiting, n, 1, PARKED);
	commit(waiting);
	assert_int_equal(waiting_execute(waiting,
	                                 "UPDATE postback SET method = 'BREW' WHERE seq = 1;\n"
	                                 "UPDATE postback SET source = x'00' WHERE seq = 2;\n"
	                                 "UPDATE postback SET id = 'abc' WHERE seq = 3;\n"
	                                 "UPDATE postback SET id = replace(id, '1', 'x') WHERE seq = 4"),
	                 0);
	assert_int_equal(claim(waiting, 9, 9, 9, &claimed), 6);
	assert_counts(waiting, 0, 0, 6, 4);
	waiting_close(waiting);
}

/* ---- what is gone, what is dead ---- */

struct gone {
	unsigned n;
	int64_t until_ms;
};

static void each_gone(void *argument, const char *endpoint, int64_t until_ms)
{
	struct gone *gone = argument;
	assert_string_equal(endpoint, "https://a/");
	gone->n++;
	gone->until_ms = until_ms;
}

static void an_endpoint_is_gone_until_its_time_or_until_it_is_not(void **state)
{
	struct gone gone = {0};
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	assert_int_equal(waiting_put_gone(waiting, "https://a/", 5000), 0);
	assert_int_equal(waiting_put_gone(waiting, "https://a/", 9000), 0);
	assert_int_equal(waiting_put_gone(waiting, "https://b/", 9000), 0);
	assert_int_equal(waiting_put_gone(waiting, "https://b/", 0), 0);
	commit(waiting);
	assert_int_equal(waiting_each_gone(waiting, 8999, each_gone, &gone), 0);
	assert_true(gone.n == 1 && gone.until_ms == 9000);
	assert_int_equal(waiting_each_gone(waiting, 9000, each_gone, &gone), 0);
	assert_int_equal(gone.n, 1);
	begin(waiting);
	assert_int_equal(waiting_expire_dead(waiting, 9000, 0, 0), 0);
	commit(waiting);
	assert_int_equal(waiting_each_gone(waiting, 0, each_gone, &gone), 0);
	assert_int_equal(gone.n, 1);
	waiting_close(waiting);
}

static void dead_letters_expire_by_age_and_by_number(void **state)
{
	struct waiting_sample sample;
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	put(waiting, 10000, 1, PARKED);
	for (uint64_t n = 0; n < 3000; n++) {
		waiting_sample(&sample, n, 1);
		assert_int_equal(waiting_put_dead(waiting, &sample.row, "x", (int64_t)n), 0);
	}
	assert_int_equal(waiting_expire_dead(waiting, 3000, 0, 0), 0);
	assert_int_equal(waiting_expire_dead(waiting, 3000, 2900, 0), 100);
	assert_int_equal(waiting_expire_dead(waiting, 3000, 2900, 0), 0);
	assert_int_equal(waiting_expire_dead(waiting, 3000, 2900, 2890), 10);
	assert_int_equal(waiting_expire_dead(waiting, 9000, 1, 0), 1000); /* a bounded number a call */
	assert_counts(waiting, 0, 1, 0, 1890);
	waiting_sample(&sample, 1110, 1);
	assert_int_equal(waiting_has(waiting, sample.row.postback), 1); /* the oldest went first */
	waiting_sample(&sample, 1109, 1);
	assert_int_equal(waiting_has(waiting, sample.row.postback), 0);
	commit(waiting);
	waiting_close(waiting);
}

/* ---- how it is found ---- */

static void no_statement_searches_what_it_does_not_need(void **state)
{
	struct waiting *waiting = open_as(*state, "deliver.0");
	char text[4096];
	for (int i = 0; i < WAITING_STATEMENT_COUNT; i++) {
		sqlite3_stmt *plan;
		snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", waiting_statement_text(i));
		if (i == SQL_COUNTS || i == SQL_BEGIN || i == SQL_COMMIT || i == SQL_ROLLBACK ||
		    i == SQL_DATA_VERSION) /* a table of four rows; no tables */
			continue;
		assert_int_equal(sqlite3_prepare_v2(waiting->db, text, -1, &plan, NULL), SQLITE_OK);
		while (sqlite3_step(plan) == SQLITE_ROW) {
			const char *detail = (const char *)sqlite3_column_text(plan, 3);
			/* The first of an index over these rows alone, in its order, is no search;
			 * a sort would be one. */
			bool first = strstr(detail, "SCAN postback USING") != NULL &&
			             strstr(text, "LIMIT") != NULL;
			if ((strncmp(detail, "SCAN", 4) == 0 && !first) ||
			    strstr(detail, "TEMP B-TREE") != NULL)
				fail_msg("%s\n%s", text, detail);
		}
		sqlite3_finalize(plan);
	}
	waiting_close(waiting);
}

/* ---- the file ---- */

static void path_of(char out[128], void **state, const char *name)
{
	snprintf(out, 128, "%s/%s", (const char *)*state, name);
}

static void only_its_owner_may_read_it(void **state)
{
	static const char *const name[] = {"deliver.db", "deliver.db-wal", "deliver.db-shm"};
	mode_t before = umask(0);
	struct waiting *waiting = open_as(*state, "deliver.0");
	umask(before);
	for (int i = 0; i < 3; i++) {
		char path[128];
		struct stat status;
		path_of(path, state, name[i]);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 0777, 0600);
	}
	waiting_close(waiting);
}

static void a_file_that_is_gone_or_another_is_told_and_a_new_one_is_made(void **state)
{
	struct claimed claimed;
	char path[128], away[128];
	path_of(path, state, "deliver.db");
	path_of(away, state, "away.db");
	struct waiting *waiting = open_as(*state, "deliver.0");
	begin(waiting);
	put(waiting, 1, 1, PARKED);
	commit(waiting);
	begin(waiting);
	put(waiting, 2, 1, PARKED);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(waiting_commit(waiting, &error), -ESTALE);
	assert_non_null(strstr(error.text, "deliver.db: deleted or moved away while in use"));
	assert_int_equal(waiting_begin(waiting, true, &error), -ESTALE);
	/* Another role has made a new one by now: the old one's end does it no harm. */
	struct waiting *other = open_as(*state, "deliver.1");
	assert_int_equal(waiting_begin(waiting, true, &error), -ESTALE);
	assert_non_null(strstr(error.text, "deliver.db: replaced by another file"));
	begin(other);
	put(other, 3, 1, PARKED);
	commit(other);
	waiting_close(waiting);
	begin(other);
	put(other, 4, 1, PARKED);
	commit(other);
	waiting = open_as(*state, "deliver.0");
	assert_int_equal(claim(waiting, 9, 9, 9, &claimed), 2);
	assert_int_equal(claimed.number[0], 3);
	assert_int_equal(claimed.number[1], 4);
	waiting_close(other);
	waiting_close(waiting);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
}

static void assert_refused(void **state, int expected, const char *text)
{
	struct waiting *waiting;
	struct shm_error tried = {""};
	int result = waiting_try(*state, &tried);
	assert_int_equal(waiting_open(&waiting, *state, "deliver.0", &error), expected);
	assert_non_null(strstr(error.text, text));
	assert_int_equal(result, expected);
	assert_string_equal(tried.text, error.text);
}

static void files_that_are_not_ours_are_refused_and_left_alone(void **state)
{
	char path[128], line[300] = "somebody's notes, longer than a header of a database has to be. ";
	sqlite3 *db;
	path_of(path, state, "deliver.db");
	memset(line + 64, 'x', sizeof line - 64);
	write_file(path, line, sizeof line);
	assert_refused(state, -EPROTO, "not an SQLite database");
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, sizeof line);
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_refused(state, -EPROTO, "but not of millrace");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(state, -EISDIR, "deliver.db: Is a directory");
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused(state, -EPROTO, "not a regular file");
	unlink(path);
	write_file(path, "", 0); /* an empty one is taken */
	assert_int_equal(waiting_try(*state, &error), 0);
	waiting_close(open_as(*state, "deliver.0"));
}

static void another_version_is_refused_with_both_numbers(void **state)
{
	char path[128];
	sqlite3 *db;
	waiting_close(open_as(*state, "deliver.0"));
	path_of(path, state, "deliver.db");
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=7; PRAGMA wal_checkpoint", NULL, NULL, NULL),
	                 SQLITE_OK);
	sqlite3_close(db);
	assert_refused(state, -EPROTO, "has version 7, this program reads and writes version 1");
}

static void trying_makes_nothing(void **state)
{
	char path[128];
	assert_int_equal(waiting_try("/nowhere/at/all", &error), 0);
	assert_int_equal(waiting_try(*state, &error), 0);
	path_of(path, state, "deliver.db");
	assert_int_equal(access(path, F_OK), -1);
	struct waiting *waiting;
	assert_int_equal(waiting_open(&waiting, *state, "", &error), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
	waiting_close(open_as(*state, "deliver.0"));
	assert_int_equal(waiting_try(*state, &error), 0);
	assert_int_equal(waiting_open(&waiting, *state, "", &error), 0);
	waiting_close(waiting);
}

static void a_lock_that_another_holds_is_waited_for_and_then_told(void **state)
{
	struct waiting *one = open_as(*state, "deliver.0"), *other = open_as(*state, "deliver.1");
	begin(one);
	put(one, 1, 1, PARKED);
	assert_int_equal(waiting_begin(other, true, &error), -EBUSY);
	commit(one);
	begin(other);
	commit(other);
	waiting_close(one);
	waiting_close(other);
}

/* In a child, since the limit stays: files of at most 1 MiB stand for a disk that is full. */
static int fill_up(const char *folder)
{
	struct waiting *waiting;
	struct waiting_sample sample;
	struct rlimit limit = {1 << 20, 1 << 20};
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || waiting_open(&waiting, folder, "deliver.0", &error) != 0)
		return 1;
	int result = 0;
	uint64_t put_rows = 0;
	for (uint64_t n = 0; result == 0 && n < 100000; n += 100) {
		result = waiting_begin(waiting, true, &error);
		for (uint64_t i = n; result == 0 && i < n + 100; i++) {
			waiting_sample(&sample, i, 1);
			result = waiting_put_later(waiting, &sample.row);
		}
		if (result == 0)
			result = waiting_commit(waiting, &error);
		else
			waiting_cancel(waiting);
		put_rows += result == 0 ? 100 : 0;
	}
	struct waiting_counts counts;
	if (result == 0 || put_rows == 0 || waiting_count(waiting, &counts) != 0)
		return 2;
	waiting_close(waiting);
	return counts.later == put_rows ? 0 : 3;
}

static void a_full_disk_is_an_error_and_what_was_committed_stays(void **state)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(fill_up(*state));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	struct waiting_counts counts;
	struct waiting *waiting = open_as(*state, "deliver.0");
	assert_int_equal(waiting_count(waiting, &counts), 0);
	assert_true(counts.later >= 100);
	begin(waiting);
	put(waiting, 1000000, 1, LATER);
	commit(waiting);
	waiting_close(waiting);
}

static void the_log_does_not_grow_without_bound(void **state)
{
	char path[128];
	struct stat status;
	sqlite3 *reader;
	struct waiting *waiting = open_as(*state, "deliver.0");
	path_of(path, state, "deliver.db");
	for (uint64_t n = 0; n < 60000; n += 1000) {
		assert_int_equal(waiting_begin(waiting, false, &error), 0);
		for (uint64_t i = n; i < n + 1000; i++)
			put(waiting, i, 1, PARKED);
		commit(waiting);
	}
	assert_true(waiting->log_bytes < (48u << 20));
	/* Somebody reads on and on: to the limit and no further, and then it goes on. */
	assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM postback", NULL, NULL, NULL),
	                 SQLITE_OK);
	waiting_limit_log(waiting, 4u << 20);
	int result = 0;
	uint64_t n = 0;
	for (; result == 0 && n < 60000; n += 1000) {
		result = waiting_begin(waiting, false, &error);
		for (uint64_t i = n; result == 0 && i < n + 1000; i++)
			delete (waiting, i);
		if (result == 0)
			commit(waiting);
	}
	assert_int_equal(result, -EBUSY);
	assert_non_null(strstr(error.text, "which is the limit (deliver.log_limit)"));
	sqlite3_close(reader);
	assert_int_equal(waiting_begin(waiting, false, &error), 0);
	waiting_cancel(waiting);
	path_of(path, state, "deliver.db-wal");
	assert_int_equal(stat(path, &status), 0);
	assert_true(status.st_size < (96 << 20));
	waiting_close(waiting);
}

static void the_views_show_names_to_other_tools(void **state)
{
	struct waiting *waiting = open_as(*state, "deliver.0");
	sqlite3_stmt *statement;
	begin(waiting);
	put(waiting, 1, 1, LATER);
	put(waiting, 2, 1, PARKED);
	put(waiting, 3, 1, DEAD);
	commit(waiting);
	assert_int_equal(
	        sqlite3_prepare_v2(
	                waiting->db,
	                "SELECT group_concat(state || substr(id, 32)) || (SELECT group_concat(reason\n"
	                " || substr(id, 32)) FROM dead) FROM (SELECT * FROM waiting ORDER BY id)",
	                -1, &statement, NULL),
	        SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), "later1,parked2answered 4003");
	sqlite3_finalize(statement);
	waiting_close(waiting);
}

/* ---- histories ---- */

static void a_history_keeps_the_oldest_attempts_and_the_last(void **state)
{
	(void)state;
	char *history = NULL;
	for (unsigned i = 0; i < 40; i++) {
		history = waiting_history(history, 1000 + i, 500 + i, i % 2 != 0 ? "timed \xff\n\"out\"" : "",
		                          1999);
		assert_non_null(history);
	}
	json_t *all = json_loads(history, 0, NULL);
	assert_int_equal(json_array_size(all), WAITING_HISTORY + 1);
	for (unsigned i = 0; i <= WAITING_HISTORY; i++) {
		json_t *one = json_array_get(all, i);
		unsigned attempt = i == WAITING_HISTORY ? 39 : i;
		const char *text = json_string_value(json_object_get(one, "error"));
		assert_int_equal(json_integer_value(json_object_get(one, "at")), 1000 + attempt);
		assert_int_equal(json_integer_value(json_object_get(one, "status")), 500 + attempt);
		assert_int_equal(json_integer_value(json_object_get(one, "ms")), 1);
		if (attempt % 2 == 0)
			assert_null(text);
		else
			assert_string_equal(text, "timed \\xff\\x0a\"out\"");
	}
	json_decref(all);
	free(history);
	history = waiting_history(strdup("no JSON"), 1, 2, "", 3000);
	assert_string_equal(history, "[{\"at\":1,\"status\":2,\"ms\":3}]");
	free(history);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, waiting_folder_make, waiting_folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        IN_A_FOLDER(the_role_of_another_instance_is_refused_while_it_lives),
	        IN_A_FOLDER(what_is_put_comes_back_to_the_last_byte),
	        IN_A_FOLDER(what_a_row_knows_of_its_attempts_comes_back),
	        IN_A_FOLDER(the_last_word_on_a_postback_counts),
	        IN_A_FOLDER(nothing_of_a_transaction_that_was_cancelled_has_happened),
	        IN_A_FOLDER(what_is_later_is_parked_when_its_time_has_come),
	        IN_A_FOLDER(endpoints_take_turns_from_the_last_one_on),
	        IN_A_FOLDER(a_round_asks_about_each_endpoint_once),
	        IN_A_FOLDER(what_a_life_had_claimed_goes_to_the_next_one_or_is_adopted),
	        IN_A_FOLDER(a_change_by_another_process_is_seen),
	        IN_A_FOLDER(a_row_that_makes_no_sense_becomes_a_dead_letter_and_stands_in_nobodys_way),
	        IN_A_FOLDER(an_endpoint_is_gone_until_its_time_or_until_it_is_not),
	        IN_A_FOLDER(dead_letters_expire_by_age_and_by_number),
	        IN_A_FOLDER(no_statement_searches_what_it_does_not_need),
	        IN_A_FOLDER(only_its_owner_may_read_it),
	        IN_A_FOLDER(a_file_that_is_gone_or_another_is_told_and_a_new_one_is_made),
	        IN_A_FOLDER(files_that_are_not_ours_are_refused_and_left_alone),
	        IN_A_FOLDER(another_version_is_refused_with_both_numbers),
	        IN_A_FOLDER(trying_makes_nothing),
	        IN_A_FOLDER(a_lock_that_another_holds_is_waited_for_and_then_told),
	        IN_A_FOLDER(a_full_disk_is_an_error_and_what_was_committed_stays),
	        IN_A_FOLDER(the_log_does_not_grow_without_bound),
	        IN_A_FOLDER(the_views_show_names_to_other_tools),
	        cmocka_unit_test(a_history_keeps_the_oldest_attempts_and_the_last),
	};
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
