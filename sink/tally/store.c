#include "sink/tally/store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <sqlite3.h>

#include "shm/instance.h"
#include "sink/tally/checkpoint.h"
#include "sink/tally/files.h"
#include "sink/tally/schema.h"
#include "stage/database.h"

#define LOCK_WAIT_MS    1000 /* a killed process's lock goes with it, a moment after it is reaped */
#define BUSY_MS         100  /* another program that writes: the stage tries again in its next tick */
#define CACHE_KIB       "32768"
#define PAGE_BYTES_TEXT "4096"
#define LOG_LIMIT_BYTES "33554432" /* the log file shrinks to this when it starts over */

static const char settings[] =
        "PRAGMA synchronous=NORMAL;PRAGMA wal_autocheckpoint=0;PRAGMA journal_size_limit=" LOG_LIMIT_BYTES
        ";PRAGMA cache_size=-" CACHE_KIB ";";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	PUT_APPLICATION,
	PUT_COUNT,
	PUT_NETWORK,
	PUT_CURSOR,
	PUT_TOTAL,
	READ_CURSOR,
	STATEMENT_COUNT
};

/* A commit that was reported as failed may yet have reached the disk; so what is new is put in such
 * a way that a second time does no harm. */
static const char *const statement_text[STATEMENT_COUNT] = {
        [BEGIN] = "BEGIN IMMEDIATE",
        [COMMIT] = "COMMIT",
        [ROLLBACK] = "ROLLBACK",
        [PUT_APPLICATION] = "INSERT INTO application VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
        [PUT_COUNT] = "INSERT OR REPLACE INTO count VALUES (?1, ?2, ?3)",
        [PUT_NETWORK] = "INSERT OR REPLACE INTO network VALUES (?1, ?2)",
        [PUT_CURSOR] = "INSERT OR REPLACE INTO cursor VALUES (?1, ?2, ?3, ?4, ?5)",
        [PUT_TOTAL] = "INSERT OR REPLACE INTO total VALUES (?1, ?2)",
        [READ_CURSOR] = "SELECT generation, position, records FROM cursor WHERE topic = ?1 AND lane = ?2",
};

/* For files that are to be made: the first pages, the log's index (32 KiB) and its first frames. */
#define ROOM_BYTES 131072u

#define PATH_ROOM (4096 + sizeof "/" STORE_FILE "-wal")

struct store {
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENT_COUNT];
	struct checkpoint checkpoint;
	struct files files;           /* the database first */
	bool astray;                  /* one of them was not what it was at the last look */
	uint64_t stored_applications; /* rows 1 .. this exist */
	uint64_t page_bytes;
	uint64_t log_bytes; /* of the write-ahead log after the last commit */
	int lock;
	char path[PATH_ROOM], log_path[PATH_ROOM], index_path[PATH_ROOM], lock_path[PATH_ROOM];
};

static int explain(struct store *store, int sqlite_result, struct shm_error *error)
{
	shm_explain(error, "%s: %s", store->path, sqlite3_errmsg(store->db));
	return database_errno(sqlite_result);
}

/* ---- opening ---- */

static int explain_busy(const struct store *store, int owner, struct shm_error *error)
{
	shm_explain(error, "%s: process %d counts there; end it or set another data_dir", store->path, owner);
	return -EBUSY;
}

static int check_room(const struct store *store, const char *data_dir, struct shm_error *error)
{
	struct statvfs room;
	if (access(data_dir, W_OK | X_OK) != 0)
		return database_explain(data_dir, errno, error);
	if (statvfs(data_dir, &room) != 0)
		return database_explain(data_dir, errno, error);
	uint64_t bytes = (uint64_t)(geteuid() == 0 ? room.f_bfree : room.f_bavail) * room.f_frsize;
	if (bytes >= ROOM_BYTES)
		return 0;
	shm_explain(error, "%s: no room for it: %llu bytes are free in its file system, %u are needed",
	            store->path, (unsigned long long)bytes, ROOM_BYTES);
	return -ENOSPC;
}

/* Each file must be one that can be read and written, or one that can be made. */
static int check_place(const struct store *store, const char *data_dir, struct shm_error *error)
{
	const char *const path[FILES_MAX] = {store->path, store->log_path, store->index_path,
	                                     store->lock_path};
	bool all = true;
	for (unsigned i = 0; i < FILES_MAX; i++) {
		int there = database_look_at(path[i], error);
		if (there < 0)
			return there;
		all = all && there == 1;
	}
	return all ? 0 : check_room(store, data_dir, error);
}

static int take_lock(struct store *store, struct shm_error *error)
{
	int owner = 0;
	store->lock = open(store->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock < 0)
		return database_explain(store->lock_path, errno, error);
	int result = instance_lock_fd(store->lock, LOCK_WAIT_MS, &owner);
	if (result == -EWOULDBLOCK)
		return explain_busy(store, owner, error);
	return result == 0 ? 0 : database_explain(store->lock_path, -result, error);
}

static int make_schema(struct store *store, struct shm_error *error)
{
	char stamp[96];
	snprintf(stamp, sizeof stamp, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
	         DATABASE_APPLICATION_ID, STORE_VERSION);
	int result = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(store->db, store_schema, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(store->db, stamp, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : explain(store, result, error);
}

static int after_commit(void *argument, sqlite3 *db, const char *name, int pages)
{
	(void)db;
	(void)name;
	struct store *store = argument;
	store->log_bytes = (uint64_t)pages * store->page_bytes;
	return SQLITE_OK;
}

static int prepare(struct store *store, struct shm_error *error)
{
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		int result = sqlite3_prepare_v3(store->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
		                                &store->statement[i], NULL);
		if (result != SQLITE_OK)
			return explain(store, result, error);
	}
	return 0;
}

static int set_up_connection(struct store *store, struct shm_error *error)
{
	int keep_log = 1;
	int64_t page_bytes = 0;
	int reported = database_begin_log(store->db, store->path, error);
	if (reported != 0)
		return reported;
	int result = sqlite3_exec(store->db, settings, NULL, NULL, NULL);
	/* The log's files stay when this process ends: a user who may read the directory but not
	 * write it could not open the database without them. */
	if (result == SQLITE_OK)
		result = sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep_log);
	if (result == SQLITE_OK)
		result = database_number(store->db, "PRAGMA page_size", &page_bytes);
	store->page_bytes = (uint64_t)page_bytes;
	sqlite3_wal_hook(store->db, after_commit, store);
	return result == SQLITE_OK ? 0 : explain(store, result, error);
}

/* All four are open by now. SQLite is asked about the database: it compares with the file that it
 * opened. */
static int note_files(struct store *store, struct shm_error *error)
{
	const char *const path[FILES_MAX] = {store->path, store->log_path, store->index_path,
	                                     store->lock_path};
	int result = 0, moved = 0;
	for (unsigned i = 0; result == 0 && i < FILES_MAX; i++)
		result = files_note(&store->files, path[i], error);
	if (result != 0)
		return result;
	(void)sqlite3_file_control(store->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	if (!moved)
		return 0;
	shm_explain(error, "%s: replaced while it was opened", store->path);
	return -ESTALE;
}

static int open_database(struct store *store, struct shm_error *error)
{
	int result = sqlite3_open_v2(store->path, &store->db,
	                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	sqlite3_busy_timeout(store->db, BUSY_MS);
	int state = database_check(store->db, store->path, STORE_VERSION, error);
	if (state < 0)
		return state;
	/* The size of pages is part of the file's first page, so it is set before the log is
	 * begun. */
	result = sqlite3_exec(store->db, "PRAGMA page_size=" PAGE_BYTES_TEXT, NULL, NULL, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	result = set_up_connection(store, error);
	if (result == 0 && state == 1)
		result = make_schema(store, error);
	if (result == 0)
		result = prepare(store, error);
	if (result == 0)
		result = note_files(store, error);
	return result == 0 ? checkpoint_start(&store->checkpoint, store->path, store->db, error) : result;
}

static int name_files(struct store *store, const char *data_dir, struct shm_error *error)
{
	if (strlen(data_dir) > 4096) {
		shm_explain(error, "data_dir %.100s...: the name is too long", data_dir);
		return -ENAMETOOLONG;
	}
	snprintf(store->path, PATH_ROOM, "%s/%s", data_dir, STORE_FILE);
	snprintf(store->log_path, PATH_ROOM, "%s/%s-wal", data_dir, STORE_FILE);
	snprintf(store->index_path, PATH_ROOM, "%s/%s-shm", data_dir, STORE_FILE);
	snprintf(store->lock_path, PATH_ROOM, "%s/%s", data_dir, STORE_LOCK_FILE);
	return 0;
}

int store_open(struct store **store, const char *data_dir, struct shm_error *error)
{
	/* Statistics of memory cost a lock at each allocation, a tenth of a commit. Refused, to no
	 * harm, once SQLite is in use. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	struct store *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->lock = -1;
	int result = name_files(made, data_dir, error);
	if (result == 0 && mkdir(data_dir, 0755) != 0 && errno != EEXIST) {
		result = -errno;
		shm_explain(error, "data_dir %s: cannot make it: %s", data_dir, strerror(-result));
	}
	if (result == 0)
		result = check_place(made, data_dir, error);
	if (result == 0)
		result = take_lock(made, error);
	if (result == 0)
		result = open_database(made, error);
	if (result != 0) {
		store_close(made);
		return result;
	}
	*store = made;
	return 0;
}

void store_limit_log(struct store *store, uint64_t bytes)
{
	store->checkpoint.limit_bytes = bytes;
}

int store_empty_log(struct store *store, struct shm_error *error)
{
	int reported = store_check_files(store, error);
	if (reported != 0 || store->log_bytes == 0)
		return reported;
	int result = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	return (result & 0xff) == SQLITE_BUSY || result == SQLITE_OK ? 0 : explain(store, result, error);
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	checkpoint_stop(&store->checkpoint);
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(store->statement[i]);
	sqlite3_close(store->db);
	if (store->lock >= 0)
		close(store->lock);
	free(store);
}

/* ---- loading ---- */

int store_expected(struct store *store, struct counts_expected *expected, struct shm_error *error)
{
	int64_t applications = 0, networks = 0;
	int result = database_number(store->db, "SELECT count(*) FROM application", &applications);
	if (result == SQLITE_OK)
		result = database_number(store->db, "SELECT count(*) FROM network", &networks);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	*expected = (struct counts_expected){.applications = (uint64_t)applications,
	                                     .networks = (uint64_t)networks};
	return 0;
}

/* Ends a loading statement. result is what step or the row's check gave. */
static int end_rows(struct store *store, sqlite3_stmt *statement, int result, int row_result,
                    const char *table, struct shm_error *error)
{
	int64_t row = row_result != 0 ? sqlite3_column_int64(statement, 0) : 0;
	sqlite3_finalize(statement);
	if (row_result != 0) {
		shm_explain(
		        error,
		        "%s: table %s, row %lld: not what was stored there (%s); restore a copy or move the file away",
		        store->path, table, (long long)row, strerror(-row_result));
		return row_result == -ENOMEM ? row_result : -EPROTO;
	}
	return result == SQLITE_DONE ? 0 : explain(store, result, error);
}

/* counts NULL: the row is only looked at. */
static int load_application(struct store *store, struct counts *counts, sqlite3_stmt *row)
{
	const void *sha = sqlite3_column_blob(row, 1);
	/* Networks name their application by its row, so a missing row would give them to
	 * another. */
	if (sqlite3_column_int64(row, 0) != (int64_t)store->stored_applications + 1 || sha == NULL ||
	    sqlite3_column_bytes(row, 1) != COUNTS_SHA_BYTES || sqlite3_column_type(row, 2) != SQLITE_INTEGER)
		return -EINVAL;
	store->stored_applications++;
	if (counts == NULL)
		return 0;
	return counts_restore_application(counts, sha, (uint64_t)sqlite3_column_int64(row, 2),
	                                  sqlite3_column_int(row, 3) != 0);
}

static int load_applications(struct store *store, struct counts *counts, struct shm_error *error)
{
	static const char text[] =
	        "SELECT id, sha, count, truncated FROM application LEFT JOIN count USING (id) ORDER BY id";
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	int row_result = 0;
	store->stored_applications = 0;
	while (row_result == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
		row_result = load_application(store, counts, statement);
	return end_rows(store, statement, result, row_result, "application", error);
}

static int load_networks(struct store *store, struct counts *counts, struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(store->db, "SELECT id, hosts FROM network", -1, &statement, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	int row_result = 0;
	while (row_result == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW) {
		uint64_t key = (uint64_t)sqlite3_column_int64(statement, 0);
		int64_t hosts = sqlite3_column_int64(statement, 1);
		if (hosts <= 0 || hosts > UINT16_MAX ||
		    key >> NETWORKS_KEY_SHIFT >= store->stored_applications)
			row_result = -EINVAL;
		else if (counts != NULL)
			row_result = counts_restore_network(counts, key, (unsigned)hosts);
	}
	return end_rows(store, statement, result, row_result, "network", error);
}

int store_load(struct store *store, struct counts *counts, struct shm_error *error)
{
	int64_t beyond = 0;
	int result = load_applications(store, counts, error);
	if (result == 0)
		result = load_networks(store, counts, error);
	if (result != 0)
		return result;
	result = database_number(store->db, "SELECT coalesce(sum(value), 0) FROM total WHERE name = 'beyond'",
	                         &beyond);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	if (counts != NULL)
		counts->beyond = (uint64_t)beyond;
	return 0;
}

/* ---- trying ---- */

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A name for SQLite under which the database is opened without making a file. Where log and
 * index are both there they are read as they lie there (readonly_shm); else the database is read
 * alone, as a file that nobody changes, because SQLite would make what is missing. */
static void name_for_reading(const struct store *store, char uri[3 * PATH_ROOM + 64])
{
	bool log = exists(store->log_path) && exists(store->index_path);
	char *at = uri + sprintf(uri, store->path[0] == '/' ? "file://" : "file:");
	for (const char *from = store->path; *from != '\0'; from++) {
		bool plain = isalnum((unsigned char)*from) || strchr("/._-", *from) != NULL;
		at += sprintf(at, plain ? "%c" : "%%%02X", (unsigned char)*from);
	}
	sprintf(at, log ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1");
}

/* Whether a process counts there now: 0 none, or own_pid (*own); -EBUSY another;
 * other -errno: it cannot be told. */
static int try_lock(const struct store *store, int own_pid, bool *own, struct shm_error *error)
{
	int owner = -1, fd = open(store->lock_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int locked = fd < 0 ? 0 : instance_locked_fd(fd, &owner);
	if (fd >= 0)
		close(fd);
	if (locked < 0) {
		shm_explain(error, "%s: cannot tell who holds it: %s", store->lock_path, strerror(-locked));
		return locked;
	}
	*own = locked > 0 && owner == own_pid;
	return locked > 0 && !*own ? explain_busy(store, owner, error) : 0;
}

static int try_database(struct store *store, bool own, struct counts_expected *expected,
                        struct shm_error *error)
{
	char uri[3 * PATH_ROOM + 64];
	name_for_reading(store, uri);
	int result = sqlite3_open_v2(uri, &store->db,
	                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	sqlite3_busy_timeout(store->db, BUSY_MS);
	int state = database_check(store->db, store->path, STORE_VERSION, error);
	if (state != 0)
		return state == 1 ? 0 : state;
	int reported = prepare(store, error);
	if (reported == 0)
		reported = store_expected(store, expected, error);
	return reported == 0 && !own ? store_load(store, NULL, error) : reported;
}

int store_try(const char *data_dir, int own_pid, struct counts_expected *expected, struct shm_error *error)
{
	struct store *tried = calloc(1, sizeof *tried);
	bool own = false;
	*expected = (struct counts_expected){0};
	if (tried == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	tried->lock = -1;
	int result = name_files(tried, data_dir, error);
	if (result == 0 && exists(data_dir)) {
		result = check_place(tried, data_dir, error);
		if (result == 0)
			result = try_lock(tried, own_pid, &own, error);
		if (result == 0 && exists(tried->path))
			result = try_database(tried, own, expected, error);
	}
	store_close(tried);
	return result == -EBUSY && own ? 0 : result; /* it commits just now */
}

int store_read_cursor(struct store *store, struct settle_cursor *cursor, struct shm_error *error)
{
	sqlite3_stmt *statement = store->statement[READ_CURSOR];
	sqlite3_bind_text(statement, 1, cursor->topic, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, cursor->lane);
	int result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		cursor->generation = (uint64_t)sqlite3_column_int64(statement, 0);
		cursor->position = (uint64_t)sqlite3_column_int64(statement, 1);
		cursor->records = (uint64_t)sqlite3_column_int64(statement, 2);
	}
	int reported = result == SQLITE_ROW    ? 0
	               : result == SQLITE_DONE ? -ENOENT
	                                       : explain(store, result, error);
	sqlite3_reset(statement);
	return reported;
}

/* ---- committing ---- */

/* Steps a statement that gives no rows. Returns an SQLite result code, SQLITE_OK when done. */
static int run(struct store *store, enum statement which)
{
	sqlite3_stmt *statement = store->statement[which];
	int result = sqlite3_step(statement);
	int last = sqlite3_reset(statement);
	return result == SQLITE_DONE ? SQLITE_OK : last != SQLITE_OK ? last : result;
}

static int write_application(struct store *store, const struct counts_application *application, int64_t id)
{
	sqlite3_stmt *count = store->statement[PUT_COUNT];
	sqlite3_bind_int64(count, 1, id);
	sqlite3_bind_int64(count, 2, (int64_t)application->count);
	sqlite3_bind_int(count, 3, application->truncated);
	int result = run(store, PUT_COUNT);
	if (result != SQLITE_OK || (uint64_t)id <= store->stored_applications)
		return result;
	sqlite3_bind_int64(store->statement[PUT_APPLICATION], 1, id);
	sqlite3_bind_blob(store->statement[PUT_APPLICATION], 2, application->sha, COUNTS_SHA_BYTES,
	                  SQLITE_STATIC);
	return run(store, PUT_APPLICATION);
}

static int write_applications(struct store *store, const struct counts *counts)
{
	int result = SQLITE_OK;
	for (int64_t i = -1; result == SQLITE_OK && (i = counts_next_dirty(counts, (uint64_t)(i + 1))) >= 0;)
		result = write_application(store, &counts->application[i], i + 1);
	return result;
}

static int write_networks(struct store *store, struct counts *counts)
{
	sqlite3_stmt *statement = store->statement[PUT_NETWORK];
	int result = SQLITE_OK;
	counts_sort_dirty(counts);
	for (uint64_t i = 0; result == SQLITE_OK && i < counts->n_dirty_networks; i++) {
		uint64_t key;
		unsigned hosts = counts_dirty_hosts(counts, i, &key);
		sqlite3_bind_int64(statement, 1, (int64_t)key);
		sqlite3_bind_int(statement, 2, (int)hosts);
		result = run(store, PUT_NETWORK);
	}
	return result;
}

static int write_cursors(struct store *store, const struct settle_cursor *cursor, unsigned n)
{
	sqlite3_stmt *statement = store->statement[PUT_CURSOR];
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < n; i++) {
		sqlite3_bind_text(statement, 1, cursor[i].topic, -1, SQLITE_STATIC);
		sqlite3_bind_int64(statement, 2, cursor[i].lane);
		sqlite3_bind_int64(statement, 3, (int64_t)cursor[i].generation);
		sqlite3_bind_int64(statement, 4, (int64_t)cursor[i].position);
		sqlite3_bind_int64(statement, 5, (int64_t)cursor[i].records);
		result = run(store, PUT_CURSOR);
	}
	return result;
}

static int write_totals(struct store *store, const struct counts *counts)
{
	if (!counts->beyond_dirty)
		return SQLITE_OK;
	sqlite3_stmt *statement = store->statement[PUT_TOTAL];
	sqlite3_bind_text(statement, 1, "beyond", -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, (int64_t)counts->beyond);
	return run(store, PUT_TOTAL);
}

int store_check_files(struct store *store, struct shm_error *error)
{
	struct shm_error ignored;
	int result = files_check(&store->files, error);
	/* What the log holds is not lost with the log's name: while the database is in its place
	 * the rest is copied into it. */
	if (result != 0 && !store->astray && files_check_one(&store->files, 0, &ignored) == 0)
		checkpoint_want(&store->checkpoint);
	store->astray = result != 0;
	return result;
}

void store_look_at_log(struct store *store, struct store_log *log)
{
	struct checkpoint_state state;
	checkpoint_look(&store->checkpoint, &state);
	*log = (struct store_log){
	        .bytes = store->log_bytes, .checkpoints = state.done, .failed = state.failed};
	memcpy(log->reason, state.reason, sizeof log->reason);
}

static int write_all(struct store *store, struct counts *counts, const struct settle_cursor *cursor,
                     unsigned n_cursors)
{
	int result = run(store, BEGIN);
	if (result == SQLITE_OK)
		result = write_applications(store, counts);
	if (result == SQLITE_OK)
		result = write_networks(store, counts);
	if (result == SQLITE_OK)
		result = write_totals(store, counts);
	if (result == SQLITE_OK)
		result = write_cursors(store, cursor, n_cursors);
	return result == SQLITE_OK ? run(store, COMMIT) : result;
}

/* The log is at its limit and cannot start over. */
static int explain_limit(struct store *store, int result, struct shm_error *error)
{
	if ((result & 0xff) != SQLITE_BUSY) {
		shm_explain(error,
		            "%s: %llu bytes, which is the limit, and cannot be copied into the database: %s",
		            store->log_path, (unsigned long long)store->log_bytes, sqlite3_errmsg(store->db));
		return database_errno(result);
	}
	shm_explain(
	        error,
	        "%s: %llu bytes, which is the limit (tally.log_limit): a program that reads the database keeps it from starting over; end that (fuser %s names it)",
	        store->log_path, (unsigned long long)store->log_bytes, store->index_path);
	return -EBUSY;
}

int store_commit(struct store *store, struct counts *counts, const struct settle_cursor *cursor,
                 unsigned n_cursors, uint64_t *rows, struct shm_error *error)
{
	int reported = store_check_files(store, error);
	if (reported != 0)
		return reported;
	int result = checkpoint_before(&store->checkpoint, store->log_bytes);
	if (result != SQLITE_OK)
		return explain_limit(store, result, error);
	result = write_all(store, counts, cursor, n_cursors);
	if (result != SQLITE_OK) {
		reported = explain(store, result, error);
		if (!sqlite3_get_autocommit(store->db)) /* some errors have rolled back already */
			(void)run(store, ROLLBACK);
		return reported == 0 ? -EIO : reported;
	}
	/* Only a database that is still there holds what was committed. */
	reported = store_check_files(store, error);
	if (reported != 0)
		return reported;
	if (rows != NULL)
		*rows = counts_dirty_rows(counts) + n_cursors;
	counts_clean(counts);
	store->stored_applications = counts->n_applications;
	checkpoint_after(&store->checkpoint, store->log_bytes);
	return 0;
}
