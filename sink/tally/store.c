#include "sink/tally/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink/tally/store_inside.h"
#include "stage/database.h"

int store_explain(struct store *store, int sqlite_result, struct shm_error *error)
{
	return database_failed(store->db, store->path, sqlite_result, error);
}

struct sqlite3 *store_database(struct store *store)
{
	return store->db;
}

const char *store_path(const struct store *store)
{
	return store->path;
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
	return (result & 0xff) == SQLITE_BUSY || result == SQLITE_OK ? 0
	                                                             : store_explain(store, result, error);
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	checkpoint_stop(&store->checkpoint);
	for (int i = 0; i < STORE_STATEMENT_COUNT; i++)
		sqlite3_finalize(store->statement[i]);
	sqlite3_close(store->db);
	if (store->lock >= 0)
		close(store->lock);
	free(store);
}

int store_read_cursor(struct store *store, struct settle_cursor *cursor, struct shm_error *error)
{
	sqlite3_stmt *statement = store->statement[STORE_READ_CURSOR];
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
	                                       : store_explain(store, result, error);
	sqlite3_reset(statement);
	return reported;
}

/* ---- the files ---- */

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

/* ---- committing ---- */

static int run(struct store *store, enum store_statement which)
{
	return database_run(store->statement[which]);
}

static int write_cursors(struct store *store, const struct settle_cursor *cursor, unsigned n)
{
	sqlite3_stmt *statement = store->statement[STORE_PUT_CURSOR];
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < n; i++) {
		sqlite3_bind_text(statement, 1, cursor[i].topic, -1, SQLITE_STATIC);
		sqlite3_bind_int64(statement, 2, cursor[i].lane);
		sqlite3_bind_int64(statement, 3, (int64_t)cursor[i].generation);
		sqlite3_bind_int64(statement, 4, (int64_t)cursor[i].position);
		sqlite3_bind_int64(statement, 5, (int64_t)cursor[i].records);
		result = run(store, STORE_PUT_CURSOR);
	}
	return result;
}

int store_total(sqlite3 *db, const char *name, int64_t *value)
{
	char query[128];
	snprintf(query, sizeof query, "SELECT coalesce(sum(value), 0) FROM total WHERE name = '%s'", name);
	return database_number(db, query, value);
}

/* ---- forgetting ---- */

#define LAST_ERRAND       "forget_errand"
#define LAST_APPLICATIONS "forget_applications"
#define LAST_EVENTS       "forget_events"

static int read_last(sqlite3 *db, struct store_forget *last)
{
	int64_t errand = 0, applications = 0, events = 0;
	int result = store_total(db, LAST_ERRAND, &errand);
	if (result == SQLITE_OK)
		result = store_total(db, LAST_APPLICATIONS, &applications);
	if (result == SQLITE_OK)
		result = store_total(db, LAST_EVENTS, &events);
	last->errand = (uint64_t)errand;
	last->forgotten =
	        (struct book_forgotten){.applications = (uint64_t)applications, .events = (uint64_t)events};
	return result;
}

int store_last_forget(struct store *store, struct store_forget *last, struct shm_error *error)
{
	int result = read_last(store->db, last);
	return result == SQLITE_OK ? 0 : store_explain(store, result, error);
}

static int put_last(sqlite3 *db, const struct store_forget *forget)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(db,
	                                "INSERT OR REPLACE INTO total VALUES ('" LAST_ERRAND
	                                "', ?1), ('" LAST_APPLICATIONS "', ?2), ('" LAST_EVENTS "', ?3)",
	                                -1, &statement, NULL);
	if (result != SQLITE_OK)
		return result;
	sqlite3_bind_int64(statement, 1, (int64_t)forget->errand);
	sqlite3_bind_int64(statement, 2, (int64_t)forget->forgotten.applications);
	sqlite3_bind_int64(statement, 3, (int64_t)forget->forgotten.events);
	result = database_run(statement);
	sqlite3_finalize(statement);
	return result;
}

/* A commit that was reported as failed may yet have reached the disk, and is repeated: then the
 * rows were gone before, and what there was is known. */
static int delete_all(struct store *store, struct store_forget *forget)
{
	struct store_forget last;
	int result = read_last(store->db, &last);
	bool again = result == SQLITE_OK && last.errand == forget->errand;
	forget->forgotten = (struct book_forgotten){0};
	for (unsigned i = 0; result == SQLITE_OK && forget->kinds[i] != NULL; i++) {
		struct book_forgotten one = {0};
		if (forget->kinds[i]->delete_all != NULL)
			result = forget->kinds[i]->delete_all(store->db, &one);
		forget->forgotten.applications += one.applications;
		forget->forgotten.events += one.events;
	}
	if (again)
		forget->forgotten = last.forgotten;
	return result == SQLITE_OK ? put_last(store->db, forget) : result;
}

/* ---- a commit ---- */

static int write_all(struct store *store, struct book *const *book, unsigned n_books,
                     const struct settle_cursor *cursor, unsigned n_cursors, struct store_forget *forget)
{
	int result = run(store, STORE_BEGIN);
	for (unsigned i = 0; result == SQLITE_OK && i < n_books; i++)
		result = book[i]->kind->write(book[i]);
	if (result == SQLITE_OK)
		result = write_cursors(store, cursor, n_cursors);
	if (result == SQLITE_OK && forget != NULL)
		result = delete_all(store, forget);
	return result == SQLITE_OK ? run(store, STORE_COMMIT) : result;
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

/* What was written has been committed. Returns the rows of the books. */
static uint64_t clean(struct book *const *book, unsigned n_books, bool forget)
{
	uint64_t rows = 0;
	for (unsigned i = 0; i < n_books; i++) {
		const struct book_kind *kind = book[i]->kind;
		rows += kind->rows(book[i]);
		kind->clean(book[i]);
		if (forget && kind->forget != NULL)
			kind->forget(book[i]);
	}
	return rows;
}

int store_commit(struct store *store, struct book *const *book, unsigned n_books,
                 const struct settle_cursor *cursor, unsigned n_cursors, uint64_t *rows,
                 struct shm_error *error)
{
	return store_commit_forget(store, book, n_books, cursor, n_cursors, rows, NULL, error);
}

int store_commit_forget(struct store *store, struct book *const *book, unsigned n_books,
                        const struct settle_cursor *cursor, unsigned n_cursors, uint64_t *rows,
                        struct store_forget *forget, struct shm_error *error)
{
	int reported = store_check_files(store, error);
	if (reported != 0)
		return reported;
	int result = checkpoint_before(&store->checkpoint, store->log_bytes);
	if (result != SQLITE_OK)
		return explain_limit(store, result, error);
	result = write_all(store, book, n_books, cursor, n_cursors, forget);
	if (result != SQLITE_OK) {
		reported = store_explain(store, result, error);
		if (!sqlite3_get_autocommit(store->db)) /* some errors have rolled back already */
			(void)run(store, STORE_ROLLBACK);
		return reported;
	}
	/* Only a database that is still there holds what was committed. */
	reported = store_check_files(store, error);
	if (reported != 0)
		return reported;
	uint64_t written = n_cursors + clean(book, n_books, forget != NULL);
	if (rows != NULL)
		*rows = written;
	checkpoint_after(&store->checkpoint, store->log_bytes);
	return 0;
}
