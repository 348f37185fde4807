#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/instance.h"
#include "sink/tally/store_inside.h"
#include "stage/database.h"

#define LOCK_WAIT_MS    1000 /* a killed process's lock goes with it, a moment after it is reaped */
#define CACHE_KIB       "32768"
#define PAGE_BYTES_TEXT "4096"
#define LOG_LIMIT_BYTES "33554432" /* the log file shrinks to this when it starts over */

static const char settings[] =
        "PRAGMA synchronous=NORMAL;PRAGMA wal_autocheckpoint=0;PRAGMA journal_size_limit=" LOG_LIMIT_BYTES
        ";PRAGMA cache_size=-" CACHE_KIB ";";

// clang-format off

/* Of the store itself; the rest is the books'. Whoever changes a table, here or there, raises
 * STORE_VERSION. */
static const char own_tables[] =
        "CREATE TABLE cursor (topic TEXT NOT NULL, lane INTEGER NOT NULL, generation INTEGER NOT NULL,"
        "                     position INTEGER NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (topic, lane)) WITHOUT ROWID;"
        "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";

// clang-format on

static const char *const statement_text[STORE_STATEMENT_COUNT] = {
        [STORE_BEGIN] = "BEGIN IMMEDIATE",
        [STORE_COMMIT] = "COMMIT",
        [STORE_ROLLBACK] = "ROLLBACK",
        [STORE_PUT_CURSOR] = "INSERT OR REPLACE INTO cursor VALUES (?1, ?2, ?3, ?4, ?5)",
        [STORE_READ_CURSOR] =
                "SELECT generation, position, records FROM cursor WHERE topic = ?1 AND lane = ?2",
};

/* For files that are to be made: the first pages, the log's index (32 KiB) and its first frames. */
#define ROOM_BYTES 131072u

/* ---- the place ---- */

static int name_files(struct store *store, const char *data_dir, struct shm_error *error)
{
	if (strlen(data_dir) > 4096) {
		shm_explain(error, "data_dir %.100s...: the name is too long", data_dir);
		return -ENAMETOOLONG;
	}
	snprintf(store->path, STORE_PATH_MAX, "%s/%s", data_dir, STORE_FILE);
	snprintf(store->log_path, STORE_PATH_MAX, "%s/%s-wal", data_dir, STORE_FILE);
	snprintf(store->index_path, STORE_PATH_MAX, "%s/%s-shm", data_dir, STORE_FILE);
	snprintf(store->lock_path, STORE_PATH_MAX, "%s/%s", data_dir, STORE_LOCK_FILE);
	return 0;
}

struct store *store_new(const char *data_dir, int *result, struct shm_error *error)
{
	struct store *store = calloc(1, sizeof *store);
	if (store == NULL) {
		shm_explain(error, "no memory");
		*result = -ENOMEM;
		return NULL;
	}
	store->lock = -1;
	*result = name_files(store, data_dir, error);
	if (*result == 0)
		return store;
	store_close(store);
	return NULL;
}

int store_explain_busy(const struct store *store, int owner, struct shm_error *error)
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

int store_check_place(const struct store *store, const char *data_dir, struct shm_error *error)
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
	store->lock = open(store->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
	                   database_mode(store->lock_path, 0600));
	if (store->lock < 0)
		return database_explain(store->lock_path, errno, error);
	int result = instance_lock_fd(store->lock, LOCK_WAIT_MS, &owner);
	if (result == -EWOULDBLOCK)
		return store_explain_busy(store, owner, error);
	return result == 0 ? 0 : database_explain(store->lock_path, -result, error);
}

/* ---- the tables ---- */

/* own: those of the store too. Killed in between, the file is as it was. */
static int make_tables(struct store *store, bool own, const struct book_kind *const *kinds,
                       struct shm_error *error)
{
	char stamp[96];
	snprintf(stamp, sizeof stamp, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
	         DATABASE_APPLICATION_ID, STORE_VERSION);
	int result = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	if (result == SQLITE_OK && own)
		result = sqlite3_exec(store->db, own_tables, NULL, NULL, NULL);
	for (; result == SQLITE_OK && *kinds != NULL; kinds++)
		result = sqlite3_exec(store->db, (*kinds)->tables, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_exec(store->db, stamp, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : store_explain(store, result, error);
}

/* ---- the connection ---- */

static int after_commit(void *argument, sqlite3 *db, const char *name, int pages)
{
	(void)db;
	(void)name;
	struct store *store = argument;
	store->log_bytes = (uint64_t)pages * store->page_bytes;
	return SQLITE_OK;
}

int store_prepare(struct store *store, struct shm_error *error)
{
	for (int i = 0; i < STORE_STATEMENT_COUNT; i++) {
		int result = sqlite3_prepare_v3(store->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
		                                &store->statement[i], NULL);
		if (result != SQLITE_OK)
			return store_explain(store, result, error);
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
	return result == SQLITE_OK ? 0 : store_explain(store, result, error);
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

static int open_database(struct store *store, const struct book_kind *const *kinds, struct shm_error *error)
{
	int64_t version = 0;
	int result = sqlite3_open_v2(store->path, &store->db,
	                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (result != SQLITE_OK)
		return store_explain(store, result, error);
	sqlite3_busy_timeout(store->db, STORE_OPEN_MS);
	int state =
	        database_check_versions(store->db, store->path, STORE_OLDEST, STORE_VERSION, &version, error);
	if (state < 0)
		return state;
	/* The size of pages is part of the file's first page, so it is set before the log is
	 * begun. */
	result = sqlite3_exec(store->db, "PRAGMA page_size=" PAGE_BYTES_TEXT, NULL, NULL, NULL);
	if (result != SQLITE_OK)
		return store_explain(store, result, error);
	result = set_up_connection(store, error);
	if (result == 0 && state == 1)
		result = make_tables(store, true, kinds, error);
	if (result == 0)
		result = store_prepare(store, error);
	if (result == 0 && state == 0 && version < STORE_VERSION)
		result = make_tables(store, false, kinds, error);
	if (result == 0)
		result = note_files(store, error);
	sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
	return result == 0 ? checkpoint_start(&store->checkpoint, store->path, store->db, error) : result;
}

int store_open(struct store **store, const char *data_dir, const struct book_kind *const *kinds,
               struct shm_error *error)
{
	/* Statistics of memory cost a lock at each allocation, a tenth of a commit. Refused, to no
	 * harm, once SQLite is in use. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	int result;
	struct store *made = store_new(data_dir, &result, error);
	if (made == NULL)
		return result;
	if (mkdir(data_dir, 0755) != 0 && errno != EEXIST) {
		result = -errno;
		shm_explain(error, "data_dir %s: cannot make it: %s", data_dir, strerror(-result));
	}
	if (result == 0)
		result = store_check_place(made, data_dir, error);
	if (result == 0)
		result = take_lock(made, error);
	if (result == 0)
		result = database_make(made->path, 0644, error);
	if (result == 0)
		result = open_database(made, kinds, error);
	if (result != 0) {
		store_close(made);
		return result;
	}
	*store = made;
	return 0;
}
