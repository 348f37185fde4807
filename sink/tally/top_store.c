#include "sink/tally/top_store.h"

#include <errno.h>
#include <string.h>

#include <sqlite3.h>

#include "stage/database.h"

// clang-format off

/* A commit that was reported as failed may yet have reached the disk: every row is put in such a
 * way that a second time does no harm, and a list is known by its name alone. */
static const char *const statement_text[TOP_STATEMENTS] = {
        [TOP_READ_LIST] = "SELECT id, total, smallest, (SELECT count(*) FROM top_counter WHERE list = id)"
                          " FROM top WHERE name = ?1",
        [TOP_READ_COUNTERS] = "SELECT slot, key, count, error FROM top_counter WHERE list = ?1 ORDER BY slot",
        [TOP_PUT_LIST] = "INSERT INTO top (name, total, smallest) VALUES (?1, ?2, ?3) ON CONFLICT (name)"
                         " DO UPDATE SET total = excluded.total, smallest = excluded.smallest"
                         " RETURNING id",
        [TOP_PUT_COUNTER] = "INSERT OR REPLACE INTO top_counter VALUES (?1, ?2, ?3, ?4, ?5)",
        [TOP_DELETE_COUNTERS] = "DELETE FROM top_counter WHERE list = (SELECT id FROM top WHERE name = ?1)",
        [TOP_DELETE_LIST] = "DELETE FROM top WHERE name = ?1",
        [TOP_NEXT_NAME] = "SELECT name FROM top WHERE name > ?1 AND name >= ?2 ORDER BY name LIMIT 1",
};

// clang-format on

static int explain(struct top_store *store, int sqlite_result, struct shm_error *error)
{
	return database_failed(store->db, "lists of keys", sqlite_result, error);
}

int top_store_open(struct top_store *store, struct sqlite3 *db, struct shm_error *error)
{
	*store = (struct top_store){.db = db};
	for (int i = 0; i < TOP_STATEMENTS; i++) {
		int result = sqlite3_prepare_v3(db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
		                                &store->statement[i], NULL);
		if (result != SQLITE_OK) {
			int reported = explain(store, result, error);
			top_store_close(store);
			return reported;
		}
	}
	return 0;
}

void top_store_close(struct top_store *store)
{
	for (int i = 0; i < TOP_STATEMENTS; i++)
		sqlite3_finalize(store->statement[i]);
	*store = (struct top_store){0};
}

/* ---- loading ---- */

/* What the row of a list says. */
struct stored {
	int64_t id, total, smallest, counters;
};

/* Returns 1; 0 when there is no such list; -errno. */
static int read_list(struct top_store *store, const char *name, struct stored *stored,
                     struct shm_error *error)
{
	sqlite3_stmt *statement = store->statement[TOP_READ_LIST];
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	int result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		*stored = (struct stored){
		        .id = sqlite3_column_int64(statement, 0),
		        .total = sqlite3_column_int64(statement, 1),
		        .smallest = sqlite3_column_int64(statement, 2),
		        .counters = sqlite3_column_int64(statement, 3),
		};
	int found = result == SQLITE_ROW ? 1 : result == SQLITE_DONE ? 0 : explain(store, result, error);
	sqlite3_reset(statement);
	return found;
}

/* The counter in the statement's row. */
static int restore(struct top *top, sqlite3_stmt *row)
{
	int64_t count = sqlite3_column_int64(row, 2), error = sqlite3_column_int64(row, 3);
	int type = sqlite3_column_type(row, 1);
	if (sqlite3_column_int64(row, 0) != top_used(top) || count < 0 || error < 0 ||
	    (type != SQLITE_TEXT && type != SQLITE_BLOB))
		return -EINVAL;
	const char *key = sqlite3_column_blob(row, 1); /* NULL for the empty one */
	return top_restore(top, key == NULL ? "" : key, (size_t)sqlite3_column_bytes(row, 1), (uint64_t)count,
	                   (uint64_t)error);
}

static int read_counters(struct top_store *store, const struct stored *stored, struct top *top,
                         struct shm_error *error)
{
	sqlite3_stmt *statement = store->statement[TOP_READ_COUNTERS];
	int result = SQLITE_OK, restored = 0;
	sqlite3_bind_int64(statement, 1, stored->id);
	while (restored == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
		restored = restore(top, statement);
	if (restored == 0 && result != SQLITE_DONE)
		restored = explain(store, result, error);
	else if (restored == 0 && (stored->total < 0 || stored->smallest < 0))
		restored = -EINVAL;
	else if (restored == 0)
		restored = top_restore_end(top, (uint64_t)stored->total, (uint64_t)stored->smallest);
	sqlite3_reset(statement);
	return restored;
}

int top_store_load(struct top_store *store, const char *name, uint32_t capacity, struct top **top,
                   struct shm_error *error)
{
	struct stored stored = {0};
	int result = read_list(store, name, &stored, error);
	if (result < 0)
		return result;
	bool mad = stored.counters > (int64_t)TOP_CAPACITY_MAX;
	if (!mad && stored.counters > (int64_t)capacity)
		capacity = (uint32_t)stored.counters;
	struct top *made = mad ? NULL : top_new(capacity, 0);
	if (made == NULL && !mad) {
		shm_explain(error, "no memory for list %s of %u keys%s%s", name, capacity,
		            store->option == NULL ? "" : "; lower ",
		            store->option == NULL ? "" : store->option);
		return -ENOMEM;
	}
	if (result == 1)
		result = mad ? -EINVAL : read_counters(store, &stored, made, error);
	if (result == 0) {
		*top = made;
		return 0;
	}
	top_free(made);
	if (result == -EINVAL || result == -ENOSPC) {
		shm_explain(
		        error,
		        "list %s: not what was stored there; restore a copy of the database or move it away",
		        name);
		result = -EPROTO;
	}
	return result;
}

int top_store_next(struct top_store *store, const char *prefix, const char *after, char name[TOP_NAME_MAX],
                   struct shm_error *error)
{
	sqlite3_stmt *statement = store->statement[TOP_NEXT_NAME];
	size_t bytes = strlen(prefix);
	sqlite3_bind_text(statement, 1, after, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 2, prefix, (int)bytes, SQLITE_STATIC);
	int result = sqlite3_step(statement);
	const char *text = result == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
	bool fits = text != NULL && strlen(text) < TOP_NAME_MAX && strncmp(text, prefix, bytes) == 0;
	if (fits)
		memcpy(name, text, strlen(text) + 1);
	int found = result == SQLITE_ROW || result == SQLITE_DONE ? fits : explain(store, result, error);
	sqlite3_reset(statement);
	return found;
}

/* ---- writing ---- */

/* As database_run, of a statement that gives a row (RETURNING): *number becomes what that says. */
static int run_returning(sqlite3_stmt *statement, int64_t *number)
{
	int result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		*number = sqlite3_column_int64(statement, 0);
		result = sqlite3_step(statement);
	}
	int last = sqlite3_reset(statement);
	return result == SQLITE_DONE ? SQLITE_OK : last != SQLITE_OK ? last : result;
}

int top_store_write(struct top_store *store, const char *name, const struct top *top)
{
	sqlite3_stmt *list = store->statement[TOP_PUT_LIST], *put = store->statement[TOP_PUT_COUNTER];
	int64_t id = 0;
	if (top_dirty(top) == 0)
		return SQLITE_OK;
	sqlite3_bind_text(list, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(list, 2, (int64_t)top_total(top));
	sqlite3_bind_int64(list, 3, (int64_t)top_smallest(top));
	int result = run_returning(list, &id);
	for (int64_t i = -1; result == SQLITE_OK && (i = top_next_dirty(top, (uint32_t)(i + 1))) >= 0;) {
		struct top_counter counter = top_at(top, (uint32_t)i);
		sqlite3_bind_int64(put, 1, id);
		sqlite3_bind_int64(put, 2, i);
		database_bind_bytes(put, 3, counter.key, counter.key_bytes);
		sqlite3_bind_int64(put, 4, (int64_t)counter.count);
		sqlite3_bind_int64(put, 5, (int64_t)counter.error);
		result = database_run(put);
	}
	return result;
}

uint64_t top_store_rows(const struct top *top)
{
	uint32_t dirty = top_dirty(top);
	return dirty == 0 ? 0 : (uint64_t)dirty + 1;
}

int top_store_delete(struct top_store *store, const char *name)
{
	sqlite3_stmt *counters = store->statement[TOP_DELETE_COUNTERS];
	sqlite3_stmt *list = store->statement[TOP_DELETE_LIST];
	sqlite3_bind_text(counters, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(list, 1, name, -1, SQLITE_STATIC);
	int result = database_run(counters);
	return result == SQLITE_OK ? database_run(list) : result;
}
