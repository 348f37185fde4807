/* Names with the time of their first event, in memory and in a table of the database.
 *
 *     account      id = number + 1, name, first_ms: of the first event ever, milliseconds since 1970
 *     metric_name  the same of metrics
 *
 * Lanes are read side by side, so the first event that comes need not be the first one that
 * arrived: first_ms is the smallest of all that came. Names and limits: names.h. One thread.
 */
#ifndef SINK_TALLY_KNOWN_H
#define SINK_TALLY_KNOWN_H

#include "shm/segment.h"
#include "sink/tally/names.h"

struct sqlite3;
struct sqlite3_stmt;

/* For table and index alike; a name is a blob where its bytes are no text. */
#define KNOWN_TABLE(table)                                                                         \
	"CREATE TABLE IF NOT EXISTS " table " (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE," \
	" first_ms INTEGER NOT NULL);"

struct known {
	struct names names;
	uint64_t *dirty; /* bitmap of numbers */
	uint64_t n_dirty;
	const char *table, *option; /* option: its limit's name */
	struct sqlite3 *db;
	struct sqlite3_stmt *put;
};

/* Opens and loads a table. option: what the limit is called, for messages. seed: 0 but in tests.
 * Returns 0, or -errno with the reason in error and nothing to be closed: -EPROTO for rows that
 * known_write has not written. */
int known_open(struct known *known, struct sqlite3 *db, const char *table, const char *option, uint64_t limit,
               uint64_t seed, struct shm_error *error);

/* Also for one that is all zero. */
void known_close(struct known *known);

/* Bytes that names with this limit can come to hold. */
uint64_t known_bytes_max(uint64_t limit);

/* The row (number + 1) of a hashed name, of which an event came at this time; 0: it is over the
 * limit. */
uint32_t known_take(struct known *known, const struct names_key *key, int64_t ms);

/* Rows that a commit would write. */
static inline uint64_t known_rows(const struct known *known)
{
	return known->n_dirty;
}

/* Writes what has changed, between BEGIN and COMMIT. Returns an SQLite result code. */
int known_write(struct known *known);

/* What was written has been committed. */
void known_clean(struct known *known);

#endif
