/* The last hour in the database.
 *
 *     hour    id = minute << 32 | account's row (0: all accounts together), cells: hour_blob.h,
 *             beyond: of account 0, the minute's events that are in no account's cells
 *
 * One row for a minute and account with all its metrics: an account that sends a hundred metrics
 * costs one row a commit, not a hundred. A minute's rows lie together, so what a commit writes and
 * what an ending minute deletes are pages in a row.
 */
#ifndef SINK_TALLY_HOUR_STORE_H
#define SINK_TALLY_HOUR_STORE_H

#include "shm/segment.h"
#include "sink/tally/hour.h"

struct sqlite3;
struct sqlite3_stmt;

#define HOUR_STORE_TABLES                                                                   \
	"CREATE TABLE IF NOT EXISTS hour (id INTEGER PRIMARY KEY, beyond INTEGER NOT NULL," \
	" cells BLOB NOT NULL);"

#define HOUR_STORE_ROWS   16u /* made at once */
#define HOUR_MINUTE_SHIFT 32  /* of a row's id */

struct hour_store {
	struct sqlite3 *db;
	struct sqlite3_stmt *put, *delete;
	struct hour_store_row {
		uint32_t account;
		uint32_t cell_plus; /* the next; 0: the row is whole */
		uint8_t *blob;
		size_t used, room; /* room for the largest yet */
	} row[HOUR_STORE_ROWS];
};

/* Prepares the statements; the table must be there. Returns 0, or -errno with the reason in error
 * and nothing to be closed. */
int hour_store_open(struct hour_store *store, struct sqlite3 *db, struct shm_error *error);

/* Also for one that is all zero. */
void hour_store_close(struct hour_store *store);

/* More cells than the table holds, for hour_init. Returns 0 or -errno. */
int hour_store_expected(struct hour_store *store, uint64_t *cells, struct shm_error *error);

/* Loads all. accounts, metrics: the greatest numbers that there are. Returns 0; -EPROTO for rows
 * that hour_store_write has not written; other -errno, each with the reason in error. */
int hour_store_load(struct hour_store *store, struct hour *hour, uint64_t accounts, uint64_t metrics,
                    struct shm_error *error);

/* Deletes the rows of minutes that are gone and writes those that have changed, between BEGIN and
 * COMMIT. Returns an SQLite result code; hour_clean is for after the commit. */
int hour_store_write(struct hour_store *store, struct hour *hour);

#endif
