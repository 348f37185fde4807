/* What the books keep, on disk: the SQLite database <data_dir>/tally.db.
 *
 *     cursor       topic, lane -> generation, position, records: how far the books reach in each lane
 *     total        name -> value: numbers of any book ("beyond" is addresses'); "forget_errand", "forget_applications",
 *                  "forget_events": the last time that addresses were forgotten
 *     all others   each book's own (book.h)
 *
 * One transaction holds what changed in all books and how far each lane was read. Rows hold
 * absolute values, so writing one again does no harm. Write-ahead log, synchronous=NORMAL: a commit
 * writes the log and does not wait for the disk. A killed process loses nothing by that, since the
 * page cache is the kernel's; after a power cut the last commits may be missing, as the streams
 * are. OFF would save the checkpoints' two syncs, which a thread does anyway (checkpoint.h), and a
 * power cut could then leave a database that nobody can read. Readers never block the writer nor
 * wait for it.
 *
 * A file that is gone or another while it is open takes every write and keeps none: files.h sees
 * that.
 *
 * The file names its maker: application_id "mill", user_version STORE_VERSION. tally.lock is held
 * by the one process that may write.
 *
 *     version   has besides the store's own
 *     1         application, count, network
 *     2         the tables of all books
 *
 * An older file is taken up: the tables that it lacks are made and its version is raised in one
 * transaction.
 *
 * store.c commits, store_open.c opens, store_try.c looks at a file without changing it.
 */
#ifndef SINK_TALLY_STORE_H
#define SINK_TALLY_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"
#include "sink/tally/book.h"
#include "stage/settle.h"

#define STORE_FILE      "tally.db"
#define STORE_LOCK_FILE "tally.lock"
#define STORE_VERSION   2
#define STORE_OLDEST    1 /* version that is taken up */
#define STORE_ALL_BOOKS 2 /* version that first has the tables of all books */

struct store; /* opaque; one thread */
struct sqlite3;

/* Opens data_dir/tally.db, made with its directory when it is not there, and takes its lock. kinds,
 * NULL-ended, are those whose tables the file is to have. Returns 0 with *store, to be closed with
 * store_close; otherwise -errno with a line in error: -EBUSY another process writes there; -EPROTO
 * the file is something else or of a version that is not ours; -EOPNOTSUPP the file system takes no
 * write-ahead log; -EACCES, -EIO, ... */
int store_open(struct store **store, const char *data_dir, const struct book_kind *const *kinds,
               struct shm_error *error);

/* The connection on which books work, and the file's path. */
struct sqlite3 *store_database(struct store *store);
const char *store_path(const struct store *store);

/* A database that is tried: opened for reading alone. */
struct store_tried {
	struct sqlite3 *db;
	int64_t version; /* of the file; it lacks the tables that came later */
	bool rows;       /* no process counts there now */
};

/* Looks at it. Returns 0, or -errno with the reason in error. */
typedef int store_look(void *argument, const struct store_tried *tried, struct shm_error *error);

/* Could store_open take up data_dir as it is now? Makes and changes nothing. own_pid: the process
 * of this instance that counts there, 0 for none; its rows are its own. Calls look where there is
 * a database with tables. Returns 0, also when nothing is there yet; what store_open would return,
 * with the same line in error; or what look returned. Not seen: a file system that takes no
 * write-ahead log. A log whose index (tally.db-shm) is gone is not looked into. Not for a process
 * that has a store open (its locks would go). */
int store_try(const char *data_dir, int own_pid, store_look *look, void *argument, struct shm_error *error);

/* No commit is begun while the write-ahead log holds so many bytes and cannot start over.
 * Without this call CHECKPOINT_LIMIT_BYTES. */
void store_limit_log(struct store *store, uint64_t bytes);

/* Copies the log whole into the database and empties it, for the end. Returns 0, also when a reader
 * is in the way (it leaves the log longer, no more); otherwise -errno with the reason in error:
 * nothing is lost, the log stays and the next store_open takes it up. */
int store_empty_log(struct store *store, struct shm_error *error);

/* Closes. NULL does nothing. */
void store_close(struct store *store);

/* Whether the database, its log's two files and the lock are still the ones under their names.
 * Returns 0; -ESTALE with the reason and the remedy in error when one was deleted, replaced or
 * moved. Costs four stat(2). */
int store_check_files(struct store *store, struct shm_error *error);

/* The write-ahead log as of now. */
struct store_log {
	uint64_t bytes; /* after the last commit */
	/* of this life: the times it was copied into the database, the times that this failed */
	uint64_t checkpoints, failed;
	char reason[160]; /* why the last time failed; "" when it did not */
};
void store_look_at_log(struct store *store, struct store_log *log);

/* The stored cursor of cursor->topic and ->lane; fills the rest. Returns 0; -ENOENT when there is
 * none; other -errno. */
int store_read_cursor(struct store *store, struct settle_cursor *cursor, struct shm_error *error);

/* Writes all that is changed in the books, and the cursors, in one transaction; then the books are
 * clean. *rows (may be NULL) is set to the rows written. On failure nothing has changed, neither on
 * disk nor in the books, and the same call may be repeated: -ENOSPC, -EBUSY (another program holds
 * the write lock, or reads and keeps a log at its limit from starting over), -EIO, ... with the
 * reason in error. -ESTALE as store_check_files, which is asked before the transaction and after
 * it: the transaction may then be in a file that is no longer the database, so nothing may be
 * settled on it. */
int store_commit(struct store *store, struct book *const *book, unsigned n_books,
                 const struct settle_cursor *cursor, unsigned n_cursors, uint64_t *rows,
                 struct shm_error *error);

/* A number of table total, 0 when it is not there. Returns an SQLite result code. */
int store_total(struct sqlite3 *db, const char *name, int64_t *value);

/* An errand (stage/errand.h) to forget what kinds say is to be forgotten. */
struct store_forget {
	const struct book_kind *const *kinds; /* NULL-ended, open or not */
	uint64_t errand;
	struct book_forgotten forgotten; /* set when it is committed */
};

/* store_commit, and all that there is then is forgotten, in the same transaction; so is that the
 * errand was done. */
int store_commit_forget(struct store *store, struct book *const *book, unsigned n_books,
                        const struct settle_cursor *cursor, unsigned n_cursors, uint64_t *rows,
                        struct store_forget *forget, struct shm_error *error);

/* The errand that was done last, and what it forgot. Returns 0, also for none (errand 0), or -errno
 * with the reason in error. */
int store_last_forget(struct store *store, struct store_forget *last, struct shm_error *error);

#endif
