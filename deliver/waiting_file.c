/* The file of waiting.h: how it is made, checked and opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "deliver/waiting_db.h"
#include "shm/instance.h"

#define OPEN_NS       (5 * NS_PER_SEC) /* others make the file, or recover its log */
#define OPEN_PAUSE_NS (20 * NS_PER_MS)

#define CACHE_KIB      "16384"
#define LOCK_WAIT_MS   1000
#define LOG_SHRINKS_TO "67108864" /* the log file, when it starts over */

#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

static const char schema[] =
        "CREATE TABLE postback (\n"
        " seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, owner TEXT NOT NULL,\n"
        " due_ms INTEGER NOT NULL, endpoint TEXT NOT NULL, origin TEXT NOT NULL, method TEXT NOT NULL,\n"
        " arrival_ns INTEGER NOT NULL, source BLOB NOT NULL, source_port INTEGER NOT NULL,\n"
        " attempts INTEGER NOT NULL, first_ms INTEGER NOT NULL, dead_ms INTEGER NOT NULL, reason TEXT NOT NULL,\n"
        " url TEXT NOT NULL, data TEXT NOT NULL, history TEXT NOT NULL) STRICT;\n"
        "CREATE INDEX postback_later ON postback (due_ms) WHERE state = " STATE_LATER ";\n"
        "CREATE INDEX postback_parked ON postback (endpoint, due_ms) WHERE state = " STATE_PARKED ";\n"
        "CREATE INDEX postback_claimed ON postback (owner) WHERE state = " STATE_CLAIMED ";\n"
        "CREATE INDEX postback_dead ON postback (dead_ms) WHERE state = " STATE_DEAD ";\n"
        "CREATE TABLE gone (endpoint TEXT PRIMARY KEY, until_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;\n"
        "CREATE INDEX gone_until ON gone (until_ms);\n"
        "CREATE TABLE total (state INTEGER PRIMARY KEY, rows INTEGER NOT NULL) STRICT;\n"
        "INSERT INTO total VALUES (" STATE_LATER ", 0), (" STATE_PARKED ", 0), (" STATE_CLAIMED ", 0),\n"
        " (" STATE_DEAD ", 0);\n"
        "CREATE TRIGGER total_insert AFTER INSERT ON postback BEGIN\n"
        " UPDATE total SET rows = rows + 1 WHERE state = NEW.state; END;\n"
        "CREATE TRIGGER total_delete AFTER DELETE ON postback BEGIN\n"
        " UPDATE total SET rows = rows - 1 WHERE state = OLD.state; END;\n"
        "CREATE TRIGGER total_update AFTER UPDATE OF state ON postback WHEN OLD.state <> NEW.state BEGIN\n"
        " UPDATE total SET rows = rows - 1 WHERE state = OLD.state;\n"
        " UPDATE total SET rows = rows + 1 WHERE state = NEW.state; END;\n"
        "CREATE VIEW waiting AS SELECT id, CASE state WHEN " STATE_LATER " THEN 'later' WHEN " STATE_PARKED
        " THEN 'parked' ELSE 'claimed' END AS state, owner, due_ms, endpoint, origin, method, arrival_ns, source,"
        " source_port, attempts, first_ms, url, data, history FROM postback WHERE state <> " STATE_DEAD ";"
        "CREATE VIEW dead AS SELECT id, dead_ms, reason, endpoint, origin, method, arrival_ns, source, source_port,\n"
        " attempts, first_ms, url, data, history FROM postback WHERE state = " STATE_DEAD ";\n"
        "PRAGMA application_id=" VALUE(DATABASE_APPLICATION_ID) "; PRAGMA user_version=" VALUE(
                WAITING_VERSION) ";";

static const char settings[] =
        "PRAGMA synchronous=NORMAL;PRAGMA wal_autocheckpoint=0;PRAGMA trusted_schema=OFF;\n"
        "PRAGMA journal_size_limit=" LOG_SHRINKS_TO ";PRAGMA cache_size=-" CACHE_KIB ";";

static const char *const text_of[WAITING_STATEMENT_COUNT] = {
#define STATEMENT(name, text) [SQL_##name] = text,
        WAITING_STATEMENTS
#undef STATEMENT
};

const char *waiting_statement_text(enum waiting_statement which)
{
	return text_of[which];
}

/* ---- results ---- */

int waiting_failed(struct waiting *waiting, int sqlite_result)
{
	return database_failed(waiting->db, waiting->path[0], sqlite_result, &waiting->reason);
}

const char *waiting_reason(const struct waiting *waiting)
{
	return waiting->reason.text;
}

sqlite3_stmt *waiting_statement(struct waiting *waiting, enum waiting_statement which)
{
	return waiting->statement[which];
}

int waiting_step(struct waiting *waiting, sqlite3_stmt *statement)
{
	int result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		return 1;
	int reported = result == SQLITE_DONE ? 0 : waiting_failed(waiting, result);
	sqlite3_reset(statement);
	return reported;
}

int waiting_run(struct waiting *waiting, sqlite3_stmt *statement)
{
	int result = waiting_step(waiting, statement);
	if (result > 0)
		sqlite3_reset(statement);
	return result < 0 ? result : 0;
}

int waiting_execute(struct waiting *waiting, const char *text)
{
	int result = sqlite3_exec(waiting->db, text, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : waiting_failed(waiting, result);
}

/* ---- where it is ---- */

static int name_files(struct waiting *waiting, const char *data_dir, struct shm_error *error)
{
	static const char *const end[WAITING_FILES] = {"", "-wal", "-shm"};
	if (strlen(data_dir) > 4096) {
		shm_explain(error, "data_dir %.100s...: the name is too long", data_dir);
		return -ENAMETOOLONG;
	}
	for (unsigned i = 0; i < WAITING_FILES; i++)
		snprintf(waiting->path[i], WAITING_PATH_ROOM, "%s/" WAITING_FILE "%s", data_dir, end[i]);
	return 0;
}

/* Each file must be one that can be read and written, or one that can be made. 1: the database is
 * there. */
static int check_place(const struct waiting *waiting, const char *data_dir, struct shm_error *error)
{
	int there = 0;
	for (unsigned i = WAITING_FILES; i > 0 && there >= 0; i--)
		there = database_look_at(waiting->path[i - 1], error);
	if (there < 0)
		return there;
	if (access(data_dir, W_OK | X_OK) != 0)
		return database_explain(data_dir, errno, error);
	return there;
}

/* ---- opening ---- */

/* Of two instances with one data_dir each would take back what the other has claimed. A killed
 * process's lock goes with it, a moment after it is reaped. */
static int take_lock(struct waiting *waiting, const char *data_dir, struct shm_error *error)
{
	char path[WAITING_PATH_ROOM + SHM_NAME_MAX];
	int owner = 0;
	if (waiting->role[0] == '\0')
		return 0;
	snprintf(path, sizeof path, "%s/%s.lock", data_dir, waiting->role);
	waiting->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, database_mode(path, 0600));
	if (waiting->lock < 0)
		return database_explain(path, errno, error);
	int result = instance_lock_fd(waiting->lock, LOCK_WAIT_MS, &owner);
	if (result == 0)
		return 0;
	if (result != -EWOULDBLOCK)
		return database_explain(path, -result, error);
	shm_explain(error, "%s: process %d delivers from there; end it or set another data_dir", path, owner);
	return -EBUSY;
}

/* Before the log is begun, so that the file's own first page says whose it is (waiting_try).
 * Another process may have been faster. */
static int make_schema(struct waiting *waiting)
{
	int64_t version = 0;
	int result = waiting_execute(waiting, "BEGIN IMMEDIATE");
	if (result != 0)
		return result;
	int sqlite_result = database_number(waiting->db, "PRAGMA user_version", &version);
	if (sqlite_result != SQLITE_OK)
		result = waiting_failed(waiting, sqlite_result);
	else if (version == 0)
		result = waiting_execute(waiting, schema);
	if (result == 0)
		return waiting_execute(waiting, "COMMIT");
	(void)sqlite3_exec(waiting->db, "ROLLBACK", NULL, NULL, NULL);
	return result;
}

static int after_commit(void *argument, sqlite3 *db, const char *name, int pages)
{
	(void)db;
	(void)name;
	struct waiting *waiting = argument;
	waiting->log_bytes = (uint64_t)pages * waiting->page_bytes;
	return SQLITE_OK;
}

static int set_up_connection(struct waiting *waiting)
{
	int keep_log = 1;
	int64_t page_bytes = 0;
	int result = database_begin_log(waiting->db, waiting->path[0], &waiting->reason);
	if (result == 0)
		result = waiting_execute(waiting, settings);
	if (result != 0)
		return result;
	/* The log's files stay when the last process closes: SQLite would delete them by name, and
	 * after a move the names may be those of another database in use. */
	int sqlite_result = sqlite3_file_control(waiting->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep_log);
	if (sqlite_result == SQLITE_OK)
		sqlite_result = database_number(waiting->db, "PRAGMA page_size", &page_bytes);
	waiting->page_bytes = (uint64_t)page_bytes;
	sqlite3_wal_hook(waiting->db, after_commit, waiting);
	for (int i = 0; sqlite_result == SQLITE_OK && i < WAITING_STATEMENT_COUNT; i++)
		sqlite_result = sqlite3_prepare_v3(waiting->db, text_of[i], -1, SQLITE_PREPARE_PERSISTENT,
		                                   &waiting->statement[i], NULL);
	return sqlite_result == SQLITE_OK ? 0 : waiting_failed(waiting, sqlite_result);
}

/* Somebody without a role has claimed nothing, and waits for nobody's lock here. */
static int take_back(struct waiting *waiting)
{
	if (waiting->role[0] == '\0')
		return 0;
	int result = waiting_run(waiting, waiting_statement(waiting, SQL_BEGIN));
	if (result != 0)
		return result;
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_TAKE_BACK);
	sqlite3_bind_text(statement, 1, waiting->role, -1, SQLITE_STATIC);
	result = waiting_run(waiting, statement);
	if (result == 0)
		result = waiting_run(waiting, waiting_statement(waiting, SQL_COMMIT));
	if (result != 0)
		waiting_cancel(waiting);
	return result;
}

/* All are open by now. SQLite is asked about the database: it compares with the file that it
 * opened. */
static int note_files(struct waiting *waiting, struct shm_error *error)
{
	int moved = 0;
	for (unsigned i = 0; i < WAITING_FILES; i++) {
		struct stat status;
		if (stat(waiting->path[i], &status) != 0)
			return database_explain(waiting->path[i], errno, error);
		waiting->file[i].device = status.st_dev;
		waiting->file[i].inode = status.st_ino;
	}
	(void)sqlite3_file_control(waiting->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	if (!moved)
		return 0;
	shm_explain(error, "%s: replaced while it was opened", waiting->path[0]);
	return -ESTALE;
}

static int open_database(struct waiting *waiting, struct shm_error *error)
{
	int result = sqlite3_open_v2(waiting->path[0], &waiting->db,
	                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (result != SQLITE_OK) {
		shm_explain(error, "%s: %s", waiting->path[0], sqlite3_errmsg(waiting->db));
		return database_errno(result);
	}
	sqlite3_extended_result_codes(waiting->db, 1);
	sqlite3_busy_timeout(waiting->db, WAITING_BUSY_MS);
	result = database_check(waiting->db, waiting->path[0], WAITING_VERSION, error);
	if (result < 0)
		return result;
	result = result == 1 ? make_schema(waiting) : 0;
	if (result == 0)
		result = set_up_connection(waiting);
	if (result == 0)
		result = take_back(waiting);
	if (result != 0) {
		*error = waiting->reason;
		return result;
	}
	return note_files(waiting, error);
}

static void close_database(struct waiting *waiting)
{
	for (int i = 0; i < WAITING_STATEMENT_COUNT; i++) {
		sqlite3_finalize(waiting->statement[i]);
		waiting->statement[i] = NULL;
	}
	sqlite3_close(waiting->db);
	waiting->db = NULL;
}

/* Processes that start together: one makes the file, and while it does, or recovers a log, the
 * others may be refused. */
static int open_in_time(struct waiting *waiting, struct shm_error *error)
{
	uint64_t until = clock_monotonic_ns() + OPEN_NS;
	for (;;) {
		int result = open_database(waiting, error);
		if (result == 0)
			return 0;
		close_database(waiting);
		if (result != -EBUSY || clock_monotonic_ns() >= until)
			return result;
		nanosleep(&(struct timespec){.tv_nsec = OPEN_PAUSE_NS}, NULL);
	}
}

int waiting_open(struct waiting **waiting, const char *data_dir, const char *role, struct shm_error *error)
{
	/* Statistics of memory cost a lock at each allocation. Refused, to no harm, once SQLite is
	 * in use. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	struct waiting *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->log_most = WAITING_LOG_BYTES;
	made->lock = -1;
	snprintf(made->role, sizeof made->role, "%s", role);
	int result = name_files(made, data_dir, error);
	if (result == 0 && role[0] != '\0' && mkdir(data_dir, 0755) != 0 && errno != EEXIST) {
		result = -errno;
		shm_explain(error, "data_dir %s: cannot make it: %s", data_dir, strerror(-result));
	}
	if (result == 0)
		result = check_place(made, data_dir, error);
	if (result == 0 && role[0] == '\0')
		result = database_explain(made->path[0], ENOENT, error);
	if (result >= 0)
		result = take_lock(made, data_dir, error);
	if (result >= 0)
		result = database_make(made->path[0], 0600, error); /* SQLite's is for everybody to read */
	if (result >= 0)
		result = open_in_time(made, error);
	if (result != 0) {
		waiting_close(made);
		return result;
	}
	*waiting = made;
	return 0;
}

static int open_to_read(struct waiting *waiting, unsigned busy_ms, struct shm_error *error)
{
	if (access(waiting->path[0], F_OK) != 0)
		return database_explain(waiting->path[0], errno, error);
	int result = sqlite3_open_v2(waiting->path[0], &waiting->db,
	                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (result == SQLITE_OK) {
		(void)sqlite3_busy_timeout(waiting->db, (int)busy_ms);
		int state = database_check(waiting->db, waiting->path[0], WAITING_VERSION, error);
		if (state != 0)
			return state == 1 ? database_explain(waiting->path[0], ENOENT, error) : state;
		result = sqlite3_prepare_v2(waiting->db, text_of[SQL_COUNTS], -1,
		                            &waiting->statement[SQL_COUNTS], NULL);
	}
	if (result == SQLITE_OK)
		return 0;
	int failed = waiting_failed(waiting, result);
	*error = waiting->reason;
	return failed;
}

int waiting_open_to_read(struct waiting **waiting, const char *data_dir, unsigned busy_ms,
                         struct shm_error *error)
{
	struct waiting *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->lock = -1;
	int result = name_files(made, data_dir, error);
	if (result == 0)
		result = open_to_read(made, busy_ms, error);
	if (result != 0) {
		waiting_close(made);
		return result;
	}
	*waiting = made;
	return 0;
}

void waiting_close(struct waiting *waiting)
{
	if (waiting == NULL)
		return;
	close_database(waiting);
	if (waiting->lock >= 0)
		close(waiting->lock);
	free(waiting->endpoint);
	free(waiting->postback);
	free(waiting);
}

/* ---- trying ---- */

static int64_t number_at(const unsigned char *at)
{
	return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

/* The database's first 100 bytes (SQLite's file format, 1.3): version at 60, application at 68. */
static int try_header(const char *path, struct shm_error *error)
{
	static const char magic[16] = "SQLite format 3";
	unsigned char header[100];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : pread(fd, header, sizeof header, 0);
	int failed = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return database_explain(path, failed, error);
	if (n == 0)
		return 0;
	if (n < (ssize_t)sizeof header || memcmp(header, magic, sizeof magic) != 0)
		return database_foreign(path, error);
	return database_judge(path, number_at(header + 68), number_at(header + 60), 1, WAITING_VERSION,
	                      error);
}

int waiting_try(const char *data_dir, struct shm_error *error)
{
	struct waiting *tried = calloc(1, sizeof *tried);
	if (tried == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = name_files(tried, data_dir, error);
	if (result == 0 && access(data_dir, F_OK) == 0)
		result = check_place(tried, data_dir, error);
	if (result == 1)
		result = try_header(tried->path[0], error);
	free(tried);
	return result;
}
