#include "sink/tally/hour_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "sink/tally/hour_blob.h"
#include "stage/database.h"

static int explain(struct hour_store *store, int sqlite_result, struct shm_error *error)
{
	return database_failed(store->db, "the last hour", sqlite_result, error);
}

int hour_store_open(struct hour_store *store, sqlite3 *db, struct shm_error *error)
{
	*store = (struct hour_store){.db = db};
	int result = sqlite3_prepare_v3(db, "INSERT OR REPLACE INTO hour VALUES (?1, ?2, ?3)", -1,
	                                SQLITE_PREPARE_PERSISTENT, &store->put, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_prepare_v3(db, "DELETE FROM hour WHERE id >= ?1 AND id < ?2", -1,
		                            SQLITE_PREPARE_PERSISTENT, &store->delete, NULL);
	if (result == SQLITE_OK)
		return 0;
	int reported = explain(store, result, error);
	hour_store_close(store);
	return reported;
}

void hour_store_close(struct hour_store *store)
{
	sqlite3_finalize(store->put);
	sqlite3_finalize(store->delete);
	for (unsigned i = 0; i < HOUR_STORE_ROWS; i++)
		free(store->row[i].blob);
	*store = (struct hour_store){0};
}

/* ---- loading ---- */

int hour_store_expected(struct hour_store *store, uint64_t *cells, struct shm_error *error)
{
	int64_t bytes = 0;
	int result = database_number(store->db, "SELECT coalesce(sum(length(cells)), 0) FROM hour", &bytes);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	*cells = (uint64_t)bytes / HOUR_BLOB_CELL_MIN;
	return 0;
}

static int load_row(struct hour *hour, uint64_t accounts, uint64_t metrics, sqlite3_stmt *row)
{
	int64_t id = sqlite3_column_int64(row, 0), beyond = sqlite3_column_int64(row, 1);
	const uint8_t *bytes = sqlite3_column_blob(row, 2);
	struct hour_blob blob = {.at = bytes, .end = bytes};
	struct hour_value value;
	uint32_t minute = (uint32_t)(id >> HOUR_MINUTE_SHIFT), account = (uint32_t)id, metric;
	if (id < 0 || beyond < 0 || bytes == NULL || account > accounts ||
	    (account != HOUR_ALL && beyond != 0))
		return -EINVAL;
	blob.end += sqlite3_column_bytes(row, 2);
	int result = account == HOUR_ALL ? hour_restore_beyond(hour, minute, (uint64_t)beyond) : 0;
	while (result == 0 && hour_blob_next(&blob, &metric, &value))
		result = metric > metrics ? -EINVAL : hour_restore(hour, minute, account, metric, &value);
	return result == 0 && blob.bad ? -EINVAL : result;
}

int hour_store_load(struct hour_store *store, struct hour *hour, uint64_t accounts, uint64_t metrics,
                    struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result =
	        sqlite3_prepare_v2(store->db, "SELECT id, beyond, cells FROM hour", -1, &statement, NULL);
	if (result != SQLITE_OK)
		return explain(store, result, error);
	int loaded = 0;
	int64_t id = 0;
	while (loaded == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW) {
		id = sqlite3_column_int64(statement, 0);
		loaded = load_row(hour, accounts, metrics, statement);
	}
	if (loaded != 0) {
		shm_explain(
		        error,
		        "table hour, row %lld: not what was stored there (%s); restore a copy or move the file away",
		        (long long)id, strerror(-loaded));
		loaded = -EPROTO;
	} else if (result != SQLITE_DONE) {
		loaded = explain(store, result, error);
	}
	sqlite3_finalize(statement);
	return loaded;
}

/* ---- writing ---- */

static int delete_minutes(struct hour_store *store, const struct hour *hour)
{
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < hour->n_gone; i++) {
		sqlite3_bind_int64(store->delete, 1, (int64_t)hour->gone[i] << HOUR_MINUTE_SHIFT);
		sqlite3_bind_int64(store->delete, 2, ((int64_t)hour->gone[i] + 1) << HOUR_MINUTE_SHIFT);
		result = database_run(store->delete);
	}
	return result;
}

/* Room for another cell. */
static bool room_for_cell(struct hour_store_row *row)
{
	if (row->used + HOUR_BLOB_CELL_MAX <= row->room)
		return true;
	size_t room = row->room == 0 ? 4096 : 2 * row->room;
	uint8_t *blob = realloc(row->blob, room);
	if (blob == NULL)
		return false;
	row->blob = blob;
	row->room = room;
	return true;
}

/* The cells of an account lie anywhere, and each names the next. So several rows are made at once,
 * a cell of each in turn: while one is packed, those of the others are fetched. */
static int pack(struct hour_store *store, const struct hour *hour, unsigned n)
{
	bool more = true;
	while (more) {
		more = false;
		for (unsigned i = 0; i < n; i++) {
			struct hour_store_row *row = &store->row[i];
			if (row->cell_plus == 0)
				continue;
			const struct hour_cell *cell = &hour->cell[row->cell_plus - 1];
			if (!room_for_cell(row))
				return SQLITE_NOMEM;
			uint8_t *end = hour_blob_put(row->blob + row->used, cell->metric, &cell->value);
			row->used = (size_t)(end - row->blob);
			row->cell_plus = cell->next_plus;
			if (row->cell_plus == 0)
				continue;
			__builtin_prefetch(&hour->cell[row->cell_plus - 1]);
			more = true;
		}
	}
	return SQLITE_OK;
}

static int write_rows(struct hour_store *store, const struct hour *hour, const struct hour_minute *minute,
                      unsigned n)
{
	int result = pack(store, hour, n);
	for (unsigned i = 0; result == SQLITE_OK && i < n; i++) {
		const struct hour_store_row *row = &store->row[i];
		uint64_t beyond = row->account == HOUR_ALL ? minute->beyond : 0;
		sqlite3_bind_int64(store->put, 1,
		                   (int64_t)minute->minute << HOUR_MINUTE_SHIFT | row->account);
		sqlite3_bind_int64(store->put, 2, (int64_t)beyond);
		sqlite3_bind_blob64(store->put, 3, row->blob, row->used, SQLITE_STATIC);
		result = database_run(store->put);
	}
	return result;
}

static int write_minute(struct hour_store *store, const struct hour *hour, struct hour_minute *minute)
{
	int result = SQLITE_OK;
	int64_t account = hour_next_dirty(hour, minute, 0);
	/* A commit that fails may yet have reached the disk. */
	minute->stored = true;
	while (result == SQLITE_OK && account >= 0) {
		unsigned n = 0;
		for (; n < HOUR_STORE_ROWS && account >= 0; n++) {
			struct hour_store_row *row = &store->row[n];
			row->account = (uint32_t)account;
			row->cell_plus = minute->head[account];
			row->used = 0;
			account = hour_next_dirty(hour, minute, (uint32_t)account + 1);
		}
		result = write_rows(store, hour, minute, n);
	}
	return result;
}

int hour_store_write(struct hour_store *store, struct hour *hour)
{
	int result = delete_minutes(store, hour);
	for (unsigned i = 0; result == SQLITE_OK && i < HOUR_SLOTS; i++)
		if (hour->minute[i].n_dirty != 0)
			result = write_minute(store, hour, &hour->minute[i]);
	return result;
}
