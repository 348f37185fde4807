/* Lists of the most frequent keys (top.h) in the database, each under a name.
 *
 *     top          id, name, total, smallest: what a key without a counter can have occurred at most
 *     top_counter  list = top's id, slot: the counter's number in the list, key, count, error
 *
 *     load --> struct top --add, merge--> write (changed counters) --commit--> top_clean
 *
 * A key is text; a blob where its bytes are no UTF-8 or have a 0 among them. Rows hold absolute
 * values, and writing them again does no harm. One thread; the database is the caller's, and so are
 * its transactions.
 */
#ifndef SINK_TALLY_TOP_STORE_H
#define SINK_TALLY_TOP_STORE_H

#include "shm/segment.h"
#include "sink/tally/top.h"

struct sqlite3;
struct sqlite3_stmt;

/* SQL that makes the tables; for the `tables` of a book (book.h). */
#define TOP_STORE_TABLES                                                                        \
	"CREATE TABLE IF NOT EXISTS top (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"    \
	" total INTEGER NOT NULL, smallest INTEGER NOT NULL);"                                  \
	"CREATE TABLE IF NOT EXISTS top_counter (list INTEGER NOT NULL, slot INTEGER NOT NULL," \
	" key TEXT NOT NULL, count INTEGER NOT NULL, error INTEGER NOT NULL,"                   \
	" PRIMARY KEY (list, slot)) WITHOUT ROWID;"

#define TOP_NAME_MAX 64u /* bytes of a list's name, the final 0 included */

enum top_store_statement {
	TOP_READ_LIST,
	TOP_READ_COUNTERS,
	TOP_PUT_LIST,
	TOP_PUT_COUNTER,
	TOP_DELETE_COUNTERS,
	TOP_DELETE_LIST,
	TOP_NEXT_NAME,
	TOP_STATEMENTS
};

struct top_store {
	struct sqlite3 *db;
	struct sqlite3_stmt *statement[TOP_STATEMENTS];
	const char *option; /* what the capacity of its lists is called, for messages; NULL: nothing */
};

/* Prepares the statements; the tables must be there. Returns 0, or -errno with the reason in error
 * and nothing to be closed. */
int top_store_open(struct top_store *store, struct sqlite3 *db, struct shm_error *error);

/* Also for one that is all zero. */
void top_store_close(struct top_store *store);

/* The list of this name as it was stored, or an empty one when there is none. Its capacity is the
 * one given, or what is stored where that is more. Returns 0 with *top, to be freed with top_free;
 * -EPROTO for rows that top_store_write has not written; -ENOMEM; other -errno, each with the
 * reason in error. */
int top_store_load(struct top_store *store, const char *name, uint32_t capacity, struct top **top,
                   struct shm_error *error);

/* Writes what has changed in the list: its counters, and then its total; nothing when nothing has.
 * Between BEGIN and COMMIT. Returns an SQLite result code, SQLITE_OK when all is written; top is as
 * it was, top_clean is for after the commit. name: shorter than TOP_NAME_MAX, always the same for a
 * list that was loaded. */
int top_store_write(struct top_store *store, const char *name, const struct top *top);

/* Rows that top_store_write would write. */
uint64_t top_store_rows(const struct top *top);

/* Deletes the list of this name; none is fine. Between BEGIN and COMMIT. Returns as
 * top_store_write. */
int top_store_delete(struct top_store *store, const char *name);

/* The first name, in the order of their bytes, that begins with prefix and comes after `after` (""
 * for the first). Returns 1 with name; 0 when there is none; -errno with the reason in error. */
int top_store_next(struct top_store *store, const char *prefix, const char *after, char name[TOP_NAME_MAX],
                   struct shm_error *error);

#endif
