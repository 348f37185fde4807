#include "sink/tally/known.h"

#include <errno.h>
#include <stdio.h>

#include <sqlite3.h>

#include "sink/tally/space.h"
#include "stage/database.h"

static size_t dirty_bytes(uint64_t capacity)
{
	return (capacity / 64 + 1) * sizeof(uint64_t);
}

uint64_t known_bytes_max(uint64_t limit)
{
	return names_bytes_max(limit) + dirty_bytes(limit);
}

static int explain(struct known *known, int sqlite_result, struct shm_error *error)
{
	char what[64];
	snprintf(what, sizeof what, "table %s", known->table);
	return database_failed(known->db, what, sqlite_result, error);
}

/* ---- loading ---- */

static int load_row(struct known *known, sqlite3_stmt *row)
{
	struct names_key key;
	int type = sqlite3_column_type(row, 1);
	const char *name = sqlite3_column_blob(row, 1); /* NULL for the empty one */
	uint64_t n = known->names.n;
	if (sqlite3_column_int64(row, 0) != (int64_t)n + 1 || (type != SQLITE_TEXT && type != SQLITE_BLOB) ||
	    !names_key_set(&key, name == NULL ? "" : name, (size_t)sqlite3_column_bytes(row, 1)))
		return -EINVAL;
	names_hash(&known->names, &key);
	struct names_text *text = names_take(&known->names, &key);
	if (text == NULL || text->number != n)
		return text == NULL ? -ENOSPC : -EEXIST;
	text->first_ms = sqlite3_column_int64(row, 2);
	return 0;
}

static int load(struct known *known, struct shm_error *error)
{
	char text[96];
	sqlite3_stmt *statement;
	snprintf(text, sizeof text, "SELECT id, name, first_ms FROM %s ORDER BY id", known->table);
	int result = sqlite3_prepare_v2(known->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return explain(known, result, error);
	int loaded = 0;
	while (loaded == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
		loaded = load_row(known, statement);
	if (loaded != 0) {
		shm_explain(
		        error,
		        "table %s, row %lld: not what was stored there (%s); restore a copy or move the file away",
		        known->table, (long long)sqlite3_column_int64(statement, 0), strerror(-loaded));
		loaded = -EPROTO;
	} else if (result != SQLITE_DONE) {
		loaded = explain(known, result, error);
	}
	sqlite3_finalize(statement);
	return loaded;
}

static int prepare(struct known *known, uint64_t *stored, struct shm_error *error)
{
	char text[160];
	int64_t rows = 0;
	snprintf(text, sizeof text, "SELECT count(*) FROM %s", known->table);
	int result = database_number(known->db, text, &rows);
	snprintf(
	        text, sizeof text,
	        "INSERT INTO %s VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET first_ms = excluded.first_ms",
	        known->table);
	if (result == SQLITE_OK)
		result =
		        sqlite3_prepare_v3(known->db, text, -1, SQLITE_PREPARE_PERSISTENT, &known->put, NULL);
	*stored = (uint64_t)rows;
	return result == SQLITE_OK ? 0 : explain(known, result, error);
}

static int reserve(struct known *known, uint64_t limit, uint64_t stored, uint64_t seed,
                   struct shm_error *error)
{
	int result = names_init(&known->names, limit, stored, seed);
	if (result == 0) {
		known->dirty = space_reserve(dirty_bytes(known->names.capacity));
		if (known->dirty == NULL)
			result = -ENOMEM;
	}
	if (result != 0)
		shm_explain(error, "table %s: no address space for %llu names: %s; lower %s", known->table,
		            (unsigned long long)(limit > stored ? limit : stored), strerror(-result),
		            known->option);
	return result;
}

int known_open(struct known *known, sqlite3 *db, const char *table, const char *option, uint64_t limit,
               uint64_t seed, struct shm_error *error)
{
	uint64_t stored;
	*known = (struct known){.db = db, .table = table, .option = option};
	int result = prepare(known, &stored, error);
	if (result == 0)
		result = reserve(known, limit, stored, seed, error);
	if (result == 0)
		result = load(known, error);
	if (result != 0)
		known_close(known);
	return result;
}

void known_close(struct known *known)
{
	space_release(known->dirty, dirty_bytes(known->names.capacity));
	names_fini(&known->names);
	sqlite3_finalize(known->put);
	*known = (struct known){0};
}

/* ---- taking ---- */

static void mark(struct known *known, uint32_t number)
{
	uint64_t *word = &known->dirty[number / 64], bit = 1ull << number % 64;
	known->n_dirty += (*word & bit) == 0;
	*word |= bit;
}

uint32_t known_take(struct known *known, const struct names_key *key, int64_t ms)
{
	uint64_t n = known->names.n;
	struct names_text *text = names_take(&known->names, key);
	if (text == NULL)
		return 0;
	if (text->number == n || ms < text->first_ms) {
		text->first_ms = ms;
		mark(known, text->number);
	}
	return text->number + 1;
}

/* ---- committing ---- */

static int write_row(struct known *known, uint64_t number)
{
	const struct names_text *name = names_at(&known->names, number);
	sqlite3_bind_int64(known->put, 1, (int64_t)number + 1);
	database_bind_bytes(known->put, 2, name->text, name->bytes);
	sqlite3_bind_int64(known->put, 3, name->first_ms);
	return database_run(known->put);
}

int known_write(struct known *known)
{
	int result = SQLITE_OK;
	for (uint64_t word = 0; result == SQLITE_OK && word * 64 < known->names.n; word++)
		for (uint64_t bits = known->dirty[word]; result == SQLITE_OK && bits != 0; bits &= bits - 1)
			result = write_row(known, word * 64 + (uint64_t)__builtin_ctzll(bits));
	return result;
}

void known_clean(struct known *known)
{
	if (known->n_dirty != 0)
		memset(known->dirty, 0, dirty_bytes(known->names.n));
	known->n_dirty = 0;
}
