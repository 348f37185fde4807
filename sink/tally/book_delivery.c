#include "sink/tally/book_delivery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/tally/metrics.h"
#include "sink/tally/minutes.h"
#include "stage/database.h"

// clang-format off

#define VIEW \
        "CREATE VIEW IF NOT EXISTS delivery AS" \
        " SELECT strftime('%Y-%m-%dT%H:%M:%SZ', minute * 60, 'unixepoch') AS at, endpoint," \
        " CASE outcome WHEN 0 THEN 'delivered' WHEN 1 THEN 'again' WHEN 2 THEN 'dead' ELSE 'gone' END AS outcome," \
        " count, sum_us FROM delivery_minute;"

static const char tables[] =
        "CREATE TABLE IF NOT EXISTS delivery_minute (minute INTEGER NOT NULL, endpoint TEXT NOT NULL,"
        " outcome INTEGER NOT NULL, count INTEGER NOT NULL CHECK (count > 0),"
        " sum_us INTEGER NOT NULL CHECK (sum_us >= 0), first INTEGER NOT NULL CHECK (first >= 0),"
        " latency BLOB NOT NULL CHECK (length(latency) % 8 = 0),"
        " PRIMARY KEY (minute, endpoint, outcome)) WITHOUT ROWID;"
        VIEW;

// clang-format on

enum statement { READ, COUNT_ENDPOINTS, PUT, OLDEST, EXPIRE, STATEMENT_COUNT };

static const char *const statement_text[STATEMENT_COUNT] = {
        [READ] =
                "SELECT outcome, count, sum_us, first, latency FROM delivery_minute WHERE minute = ?1 AND endpoint = ?2",
        [COUNT_ENDPOINTS] =
                "SELECT count(DISTINCT endpoint) FROM delivery_minute WHERE minute = ?1 AND endpoint > ''",
        [PUT] = "INSERT OR REPLACE INTO delivery_minute VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        [OLDEST] = "SELECT min(minute) FROM delivery_minute",
        [EXPIRE] = "DELETE FROM delivery_minute WHERE minute = ?1",
};

struct deliveries {
	struct book book;
	struct minutes minutes;
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENT_COUNT];
	int64_t keep_ms;
	int64_t cutoff;   /* minutes before it are to be deleted */
	bool expire;      /* there may be such */
	bool expire_more; /* and more than the last write has deleted */
	bool damaged;     /* said so */
};

/* ---- opening ---- */

static uint32_t limit_of(const struct config *config)
{
	return (uint32_t)config_u64(config, "tally.endpoints");
}

static void close_book(struct book *book)
{
	struct deliveries *deliveries = (struct deliveries *)book;
	if (deliveries == NULL)
		return;
	for (int i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(deliveries->statement[i]);
	minutes_fini(&deliveries->minutes);
	free(deliveries);
}

/* The view of an earlier build has other columns. It is no table, and millrace itself does not read
 * it: it is made anew and the version of the file stays, so that build may have the file again. */
static int renew_view(struct sqlite3 *db)
{
	int64_t there = 1;
	int result = database_number(
	        db, "SELECT count(*) FROM pragma_table_info('delivery') WHERE name = 'sum_us'", &there);
	if (result != SQLITE_OK || there != 0 || sqlite3_db_readonly(db, "main") != 0)
		return result;
	return sqlite3_exec(db, "DROP VIEW IF EXISTS delivery; " VIEW, NULL, NULL, NULL);
}

static int prepare(struct deliveries *deliveries, struct shm_error *error)
{
	int renewed = renew_view(deliveries->db);
	if (renewed != SQLITE_OK)
		return database_failed(deliveries->db, "deliveries", renewed, error);
	for (int i = 0; i < STATEMENT_COUNT; i++) {
		int result = sqlite3_prepare_v3(deliveries->db, statement_text[i], -1,
		                                SQLITE_PREPARE_PERSISTENT, &deliveries->statement[i], NULL);
		if (result != SQLITE_OK)
			return database_failed(deliveries->db, "deliveries", result, error);
	}
	return 0;
}

static int open_book(struct book **book, const struct config *config, struct sqlite3 *db,
                     struct shm_error *error)
{
	struct deliveries *deliveries = calloc(1, sizeof *deliveries);
	int result = deliveries == NULL ? -ENOMEM : minutes_init(&deliveries->minutes, limit_of(config), 0);
	if (result != 0) {
		shm_explain(error, "deliveries: no address space for %llu bytes: %s; lower tally.endpoints",
		            (unsigned long long)minutes_bytes_max(limit_of(config)), strerror(-result));
		free(deliveries);
		return result;
	}
	deliveries->book.kind = &book_delivery_kind;
	deliveries->db = db;
	deliveries->keep_ms = (int64_t)(config_ns(config, "tally.delivery_keep") / NS_PER_MS);
	deliveries->cutoff = INT64_MIN;
	result = prepare(deliveries, error);
	if (result != 0)
		close_book(&deliveries->book);
	else
		*book = &deliveries->book;
	return result;
}

/* ---- counting ---- */

/* Endpoints are printable ASCII (deliver/target.h). Whatever else somebody wrote there must not
 * break a text in the database. */
static void clean_text(char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			text[i] = '?';
}

/* Copies what is wanted of the record that the batch gave last, then checks the copy. */
static bool count(struct minutes *minutes, const struct record *record, const struct record_batch *batch)
{
	struct event_delivery event;
	char endpoint[MINUTES_ENDPOINT_MAX];
	if (batch->type != EVENT_DELIVERY || batch->length < sizeof event)
		return false;
	memcpy(&event, record->payload, sizeof event);
	if (!event_delivery_check(&event, batch->length))
		return false;
	size_t bytes = event.endpoint_bytes < sizeof endpoint ? event.endpoint_bytes : sizeof endpoint;
	memcpy(endpoint, record->payload + sizeof event, bytes);
	clean_text(endpoint, bytes);
	minutes_add(minutes, (int64_t)(event.arrival_ns / NS_PER_MINUTE), endpoint, bytes,
	            (enum delivery_outcome)event.outcome, event.total_us);
	return true;
}

static struct book_taken take(struct book *book, struct record_batch *batch, uint64_t max)
{
	struct minutes *minutes = &((struct deliveries *)book)->minutes;
	struct book_taken taken = {0};
	const struct record *record;
	while (taken.records < max && !minutes_full(minutes) && (record = record_next(batch)) != NULL) {
		taken.records++;
		if (!count(minutes, record, batch))
			taken.bad++;
	}
	return taken;
}

static bool full(const struct book *book)
{
	return minutes_full(&((const struct deliveries *)book)->minutes);
}

static uint64_t rows(const struct book *book)
{
	const struct deliveries *deliveries = (const struct deliveries *)book;
	return deliveries->minutes.dirty + deliveries->expire;
}

/* ---- what the table has already ---- */

/* Resets the statement and returns what stepping it ended with, SQLITE_OK when that is done. */
static int end(sqlite3_stmt *statement, int result)
{
	int last = sqlite3_reset(statement);
	return result == SQLITE_DONE || result == SQLITE_ROW ? SQLITE_OK : last != SQLITE_OK ? last : result;
}

static int say_damaged(struct deliveries *deliveries, int64_t minute, const struct minutes_endpoint *endpoint)
{
	if (!deliveries->damaged)
		log_error(
		        "a row of the database is not what was stored there; delete it or restore a copy of the file",
		        "table=delivery_minute minute=%lld endpoint=%.*s", (long long)minute,
		        (int)endpoint->bytes, endpoint->text);
	deliveries->damaged = true;
	return SQLITE_CORRUPT;
}

static void bind_endpoint(sqlite3_stmt *statement, int64_t minute, const struct minutes_endpoint *endpoint)
{
	sqlite3_bind_int64(statement, 1, minute);
	sqlite3_bind_text(statement, 2, endpoint->text, endpoint->bytes, SQLITE_STATIC);
}

static int read_endpoint(struct deliveries *deliveries, struct minute *minute,
                         struct minutes_endpoint *endpoint)
{
	sqlite3_stmt *statement = deliveries->statement[READ];
	struct minutes_endpoint stored = {0}; /* so that nothing is added twice when a later row fails */
	int result;
	bind_endpoint(statement, minute->minute, endpoint);
	while ((result = sqlite3_step(statement)) == SQLITE_ROW)
		if (!minutes_put_stored(
		            &stored, sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
		            sqlite3_column_int64(statement, 2), sqlite3_column_int64(statement, 3),
		            sqlite3_column_blob(statement, 4), (size_t)sqlite3_column_bytes(statement, 4))) {
			sqlite3_reset(statement);
			return say_damaged(deliveries, minute->minute, endpoint);
		}
	result = end(statement, result);
	if (result == SQLITE_OK)
		minutes_make_whole(endpoint, &stored);
	return result;
}

static int count_endpoints(struct deliveries *deliveries, struct minute *minute)
{
	sqlite3_stmt *statement = deliveries->statement[COUNT_ENDPOINTS];
	sqlite3_bind_int64(statement, 1, minute->minute);
	int result = sqlite3_step(statement);
	uint64_t n = result == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
	result = end(statement, result);
	if (result == SQLITE_OK)
		minutes_know(minute, n);
	return result;
}

/* From here on the cells of the minute are what its rows are to be. */
static int make_whole(struct deliveries *deliveries, struct minute *minute)
{
	int result = SQLITE_OK;
	struct minutes_endpoint *endpoint = NULL;
	while (result == SQLITE_OK &&
	       (endpoint = minutes_next(&deliveries->minutes, minute, endpoint)) != NULL)
		if (!endpoint->whole)
			result = read_endpoint(deliveries, minute, endpoint);
	if (result == SQLITE_OK && !minute->known)
		result = count_endpoints(deliveries, minute);
	if (result == SQLITE_OK)
		minutes_enter(&deliveries->minutes, minute);
	return result;
}

/* ---- writing ---- */

static int put_cell(struct deliveries *deliveries, int64_t minute, const struct minutes_endpoint *endpoint,
                    unsigned outcome)
{
	const struct minutes_cell *cell = &endpoint->outcome[outcome];
	sqlite3_stmt *statement = deliveries->statement[PUT];
	unsigned char packed[LATENCY_BYTES_MAX];
	unsigned first;
	size_t bytes = latency_pack(cell->bucket, packed, &first);
	bind_endpoint(statement, minute, endpoint);
	sqlite3_bind_int64(statement, 3, outcome);
	sqlite3_bind_int64(statement, 4, (int64_t)cell->count);
	sqlite3_bind_int64(statement, 5, (int64_t)cell->sum_us);
	sqlite3_bind_int64(statement, 6, first);
	sqlite3_bind_blob(statement, 7, packed, (int)bytes, SQLITE_STATIC);
	int result = database_run(statement);
	sqlite3_bind_null(statement, 7); /* packed goes with this function */
	return result;
}

static int put_minute(struct deliveries *deliveries, struct minute *minute)
{
	int result = make_whole(deliveries, minute);
	struct minutes_endpoint *endpoint = NULL;
	while (result == SQLITE_OK &&
	       (endpoint = minutes_next(&deliveries->minutes, minute, endpoint)) != NULL)
		for (unsigned outcome = 0; result == SQLITE_OK && outcome < OUTCOME_COUNT; outcome++)
			if (endpoint->outcome[outcome].dirty)
				result = put_cell(deliveries, minute->minute, endpoint, outcome);
	return result;
}

/* The oldest minute there is; SQLITE_DONE: none. */
static int oldest(struct deliveries *deliveries, int64_t *minute)
{
	sqlite3_stmt *statement = deliveries->statement[OLDEST];
	int result = sqlite3_step(statement);
	bool none = result == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_NULL;
	*minute = sqlite3_column_int64(statement, 0);
	result = end(statement, result);
	return result == SQLITE_OK && none ? SQLITE_DONE : result;
}

static int expire(struct deliveries *deliveries)
{
	sqlite3_stmt *statement = deliveries->statement[EXPIRE];
	int deleted = 0;
	deliveries->expire_more = false;
	for (;;) {
		int64_t minute;
		int result = oldest(deliveries, &minute);
		if (result != SQLITE_OK || minute >= deliveries->cutoff)
			return result == SQLITE_DONE ? SQLITE_OK : result;
		if (deleted >= BOOK_DELIVERY_EXPIRE_MOST) {
			deliveries->expire_more = true;
			return SQLITE_OK;
		}
		sqlite3_bind_int64(statement, 1, minute);
		result = database_run(statement);
		if (result != SQLITE_OK)
			return result;
		deleted += sqlite3_changes(deliveries->db);
	}
}

static int write_book(struct book *book)
{
	struct deliveries *deliveries = (struct deliveries *)book;
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < MINUTES_HELD; i++) {
		struct minute *minute = &deliveries->minutes.minute[i];
		if (minute->used && minute->dirty != 0)
			result = put_minute(deliveries, minute);
	}
	return result == SQLITE_OK && deliveries->expire ? expire(deliveries) : result;
}

static void clean(struct book *book)
{
	struct deliveries *deliveries = (struct deliveries *)book;
	minutes_clean(&deliveries->minutes);
	if (deliveries->expire)
		minutes_forget(&deliveries->minutes, deliveries->cutoff);
	deliveries->expire = deliveries->expire && deliveries->expire_more;
	deliveries->damaged = false;
}

static void turn(struct book *book, int64_t now_ms)
{
	struct deliveries *deliveries = (struct deliveries *)book;
	int64_t cutoff = (now_ms - deliveries->keep_ms) / MS_PER_MINUTE;
	if (cutoff == deliveries->cutoff)
		return; /* a clock that was set back is believed, too */
	deliveries->cutoff = cutoff;
	deliveries->expire = true;
}

static void tell(const struct book *book, struct control *control)
{
	const struct minutes *minutes = &((const struct deliveries *)book)->minutes;
	metric_set(control, TALLY_delivery_spans, minutes->n_minutes);
	metric_set(control, TALLY_delivery_other, minutes->beyond);
}

static uint64_t memory_max(const struct config *config)
{
	return minutes_bytes_max(limit_of(config));
}

const struct book_kind book_delivery_kind = {
        .name = "deliveries",
        .topic = "delivery",
        .tables = tables,
        .open = open_book,
        .close = close_book,
        .take = take,
        .full = full,
        .rows = rows,
        .write = write_book,
        .clean = clean,
        .turn = turn,
        .tell = tell,
        .memory_max = memory_max,
};
