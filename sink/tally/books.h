/* The books that a stage has open: one for each topic that it reads. */
#ifndef SINK_TALLY_BOOKS_H
#define SINK_TALLY_BOOKS_H

#include "sink/tally/book.h"

#define BOOKS_MAX 8u

struct books {
	struct book *book[BOOKS_MAX];
	unsigned n;
};

/* The kind that keeps a topic, or NULL. */
const struct book_kind *books_kind(const char *topic);

/* Opens, in this order, the books of the n topics; each has a kind. Returns 0; otherwise -errno
 * with the reason in error, without the file's name, and none is left open. */
int books_open(struct books *books, const char *const *topic, unsigned n, const struct config *config,
               struct sqlite3 *db, struct shm_error *error);

/* Closes all. */
void books_close(struct books *books);

/* Could books_open do it, for all kinds, with a database opened for reading alone? whole: it has
 * the tables of all kinds, and one that is missing is an error; otherwise kinds whose tables are
 * still to be made are passed over. rows: as book_kind.check. Returns 0, or -errno with the reason
 * as books_open. */
int books_check(const struct config *config, struct sqlite3 *db, bool whole, bool rows,
                struct shm_error *error);

/* Tells all the time (book_kind.turn): at the start, before any record is taken, and about once a
 * second. */
void books_turn(struct books *books, int64_t now_ms);

/* Rows that a commit would write. */
uint64_t books_rows(const struct books *books);

/* Bytes that books of all kinds can come to hold. */
uint64_t books_memory_max(const struct config *config);

#endif
