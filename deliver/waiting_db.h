/* The inside of a struct waiting, for the sources that it is made of: waiting_file.c (the file:
 * schema, checks, open), waiting_commit.c (transactions, the log), waiting.c (rows), dead.c (dead
 * letters), known.c (one postback, whatever its state).
 */
#ifndef DELIVER_WAITING_DB_H
#define DELIVER_WAITING_DB_H

#include <sqlite3.h>

#include "deliver/waiting.h"
#include "stage/database.h"

/* States as they stand in texts of statements: an index over part of the rows is found only so. */
#define STATE_LATER   "1"
#define STATE_PARKED  "2"
#define STATE_CLAIMED "3"
#define STATE_DEAD    "4"

enum waiting_state { WAITING_LATER = 1, WAITING_PARKED, WAITING_CLAIMED, WAITING_DEAD };

/* What waiting_read_row takes, in its order. */
#define ROW_COLUMNS \
	"seq, id, method, arrival_ns, source, source_port, url, data, endpoint, origin, attempts, first_ms, due_ms, history"
#define ROW_COLUMNS_COUNT 14

/* STATEMENT(name, text): those of a connection, prepared when it opens. */
#define WAITING_STATEMENTS                                                                                      \
	STATEMENT(BEGIN, "BEGIN IMMEDIATE")                                                                     \
	STATEMENT(COMMIT, "COMMIT")                                                                             \
	STATEMENT(ROLLBACK, "ROLLBACK")                                                                         \
	STATEMENT(                                                                                              \
	        PUT,                                                                                            \
	        "INSERT INTO postback (id, state, owner, due_ms, endpoint, origin, method, arrival_ns, source," \
	        " source_port, attempts, first_ms, dead_ms, reason, url, data, history)"                        \
	        " VALUES (?1, ?2, '', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"           \
	        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, owner = '', due_ms = excluded.due_ms," \
	        " endpoint = excluded.endpoint, origin = excluded.origin, attempts = excluded.attempts,"        \
	        " first_ms = excluded.first_ms, dead_ms = excluded.dead_ms, reason = excluded.reason,"          \
	        " history = excluded.history")                                                                  \
	STATEMENT(DELETE, "DELETE FROM postback WHERE id = ?1")                                                 \
	STATEMENT(HAS, "SELECT 1 FROM postback WHERE id = ?1")                                                  \
	STATEMENT(PUT_GONE, "INSERT OR REPLACE INTO gone VALUES (?1, ?2)")                                      \
	STATEMENT(DELETE_GONE, "DELETE FROM gone WHERE endpoint = ?1")                                          \
	STATEMENT(IS_GONE, "SELECT 1 FROM gone WHERE endpoint = ?1 AND until_ms > ?2")                          \
	STATEMENT(EACH_GONE, "SELECT endpoint, until_ms FROM gone WHERE until_ms > ?1")                         \
	STATEMENT(EXPIRE_GONE,                                                                                  \
	          "DELETE FROM gone WHERE endpoint IN"                                                          \
	          " (SELECT endpoint FROM gone WHERE until_ms <= ?1 ORDER BY until_ms LIMIT ?2)")               \
	STATEMENT(PROMOTE, "UPDATE postback SET state = " STATE_PARKED " WHERE seq IN"                          \
	                   " (SELECT seq FROM postback INDEXED BY postback_later"                               \
	                   " WHERE state = " STATE_LATER " AND due_ms <= ?1 ORDER BY due_ms LIMIT ?2)")         \
	STATEMENT(NEXT_DUE, "SELECT due_ms FROM postback INDEXED BY postback_later"                             \
	                    " WHERE state = " STATE_LATER " ORDER BY due_ms LIMIT 1")                           \
	STATEMENT(FIRST_ENDPOINT, "SELECT endpoint, origin FROM postback INDEXED BY postback_parked"            \
	                          " WHERE state = " STATE_PARKED " ORDER BY endpoint LIMIT 1")                  \
	STATEMENT(NEXT_ENDPOINT,                                                                                \
	          "SELECT endpoint, origin FROM postback INDEXED BY postback_parked"                            \
	          " WHERE state = " STATE_PARKED " AND endpoint > ?1 ORDER BY endpoint LIMIT 1")                \
	STATEMENT(FIRST_PARKED, "SELECT " ROW_COLUMNS " FROM postback INDEXED BY postback_parked"               \
	                        " WHERE state = " STATE_PARKED " AND endpoint = ?1 ORDER BY due_ms LIMIT 1")    \
	STATEMENT(CLAIM, "UPDATE postback SET state = " STATE_CLAIMED ", owner = ?2 WHERE seq = ?1")            \
	STATEMENT(DAMAGED,                                                                                      \
	          "UPDATE postback SET state = " STATE_DEAD ", owner = '', dead_ms = ?2, reason = ?3"           \
	          " WHERE seq = ?1")                                                                            \
	STATEMENT(NEXT_OWNER, "SELECT owner FROM postback INDEXED BY postback_claimed"                          \
	                      " WHERE state = " STATE_CLAIMED " AND owner > ?1 ORDER BY owner LIMIT 1")         \
	STATEMENT(TAKE_BACK, "UPDATE postback SET state = " STATE_PARKED ", owner = '' WHERE seq IN"            \
	                     " (SELECT seq FROM postback INDEXED BY postback_claimed"                           \
	                     " WHERE state = " STATE_CLAIMED " AND owner = ?1)")                                \
	STATEMENT(EXPIRE_OLD,                                                                                   \
	          "DELETE FROM postback WHERE seq IN (SELECT seq FROM postback INDEXED BY postback_dead"        \
	          " WHERE state = " STATE_DEAD " AND dead_ms < ?1 ORDER BY dead_ms LIMIT ?2)")                  \
	STATEMENT(EXPIRE_MANY,                                                                                  \
	          "DELETE FROM postback WHERE seq IN (SELECT seq FROM postback INDEXED BY postback_dead"        \
	          " WHERE state = " STATE_DEAD " ORDER BY dead_ms LIMIT ?1)")                                   \
	STATEMENT(COUNTS, "SELECT state, rows FROM total")                                                      \
	STATEMENT(DATA_VERSION, "PRAGMA data_version")

enum waiting_statement {
#define STATEMENT(name, text) SQL_##name,
	WAITING_STATEMENTS
#undef STATEMENT
	        WAITING_STATEMENT_COUNT
};

/* The text of a statement. */
const char *waiting_statement_text(enum waiting_statement which);

#define WAITING_BUSY_MS      1000 /* another process commits */
#define WAITING_BUSY_LONG_MS 50   /* it has held the lock for longer than that already */

#define WAITING_FILES     3u /* the database, its log, the log's index */
#define WAITING_PATH_ROOM (4096 + sizeof "/" WAITING_FILE "-wal")

struct waiting {
	sqlite3 *db;
	sqlite3_stmt *statement[WAITING_STATEMENT_COUNT];
	char path[WAITING_FILES][WAITING_PATH_ROOM];
	struct {
		uint64_t device, inode;
	} file[WAITING_FILES];
	bool busy;             /* another held the lock at the last try, for all the time */
	bool durable;          /* PRAGMA synchronous is FULL */
	uint64_t page_bytes;   /* of a page */
	uint64_t log_bytes;    /* of the log after our last commit */
	uint64_t copied_bytes; /* log_bytes when we last copied it into the database */
	uint64_t log_most;     /* waiting_limit_log */
	int64_t data_version;  /* at the last waiting_changed */
	/* the last one that waiting_claim asked about; NULL: begin anew */
	char *endpoint;
	struct event_postback *postback; /* of the row given last, then its texts */
	uint64_t postback_room;
	struct shm_error reason; /* of the last call that failed */
	int lock;                /* on <role>.lock; -1: none */
	char role[SHM_NAME_MAX];
};

/* The statement, reset and ready for values. */
sqlite3_stmt *waiting_statement(struct waiting *waiting, enum waiting_statement which);

/* Executes text. Returns 0 or -errno, with waiting->reason. */
int waiting_execute(struct waiting *waiting, const char *text);

/* Steps a statement that gives no rows, and resets it. Returns 0 or -errno, with
 * waiting->reason. */
int waiting_run(struct waiting *waiting, sqlite3_stmt *statement);

/* -errno for an SQLite result code; the reason goes into waiting->reason. */
int waiting_failed(struct waiting *waiting, int sqlite_result);

/* Steps a statement that gives rows. 1: there is one; 0: no more, or -errno: reset. */
int waiting_step(struct waiting *waiting, sqlite3_stmt *statement);

/* Reads ROW_COLUMNS of the statement's row; row->postback lies in waiting, the other texts in the
 * statement. Returns 0; -EPROTO: it makes no sense; -ENOMEM. */
int waiting_read_row(struct waiting *waiting, sqlite3_stmt *statement, struct waiting_row *row);

#endif
