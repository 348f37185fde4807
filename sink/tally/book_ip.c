#include "sink/tally/book_ip.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "sink/tally/metrics.h"
#include "sink/tally/store.h"
#include "stage/database.h"

// clang-format off

/* The view `address` takes a network's id and bits apart again: id >> 28 is the application's index
 * (its row less one), the rest and a bit's number make the address. */
static const char tables[] =
        "CREATE TABLE IF NOT EXISTS application (id INTEGER PRIMARY KEY, sha BLOB NOT NULL UNIQUE);"
        "CREATE TABLE IF NOT EXISTS count (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, truncated INTEGER NOT NULL);"
        "CREATE TABLE IF NOT EXISTS network (id INTEGER PRIMARY KEY, hosts INTEGER NOT NULL);"
        "CREATE VIEW IF NOT EXISTS report AS SELECT lower(hex(sha)) AS sha, count, truncated"
        "  FROM application JOIN count USING (id);"
        "CREATE VIEW IF NOT EXISTS address AS"
        "  WITH host(bit) AS (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15)),"
        "       seen(application, ip) AS (SELECT id >> 28, (id & 268435455) << 4 | bit FROM network, host"
        "                                 WHERE hosts >> bit & 1)"
        "  SELECT lower(hex(a.sha)) AS sha,"
        "         printf('%d.%d.%d.%d', ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255) AS ip"
        "  FROM seen JOIN application a ON a.id = seen.application + 1;";

// clang-format on

/* A commit that was reported as failed may yet have reached the disk; so what is new is put in such
 * a way that a second time does no harm. */
static const char *const statement_text[BOOK_IP_STATEMENTS] = {
        [BOOK_IP_APPLICATION] = "INSERT INTO application VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
        [BOOK_IP_COUNT] = "INSERT OR REPLACE INTO count VALUES (?1, ?2, ?3)",
        [BOOK_IP_NETWORK] = "INSERT OR REPLACE INTO network VALUES (?1, ?2)",
        [BOOK_IP_TOTAL] = "INSERT OR REPLACE INTO total VALUES (?1, ?2)",
};

/* ---- loading ---- */

/* What is loaded, or, where counts is NULL, only looked at. */
struct loading {
	struct sqlite3 *db;
	struct counts *counts;
	uint64_t applications;
};

/* Rows there are. */
static int expect(struct sqlite3 *db, struct counts_expected *expected, struct shm_error *error)
{
	int64_t applications = 0, networks = 0;
	int result = database_number(db, "SELECT count(*) FROM application", &applications);
	if (result == SQLITE_OK)
		result = database_number(db, "SELECT count(*) FROM network", &networks);
	if (result != SQLITE_OK)
		return database_failed(db, NULL, result, error);
	*expected = (struct counts_expected){.applications = (uint64_t)applications,
	                                     .networks = (uint64_t)networks};
	return 0;
}

/* Ends a loading statement. result is what step or the row's check gave. */
static int end_rows(struct sqlite3 *db, sqlite3_stmt *statement, int result, int row_result,
                    const char *table, struct shm_error *error)
{
	int64_t row = row_result != 0 ? sqlite3_column_int64(statement, 0) : 0;
	sqlite3_finalize(statement);
	if (row_result != 0) {
		shm_explain(
		        error,
		        "table %s, row %lld: not what was stored there (%s); restore a copy or move the file away",
		        table, (long long)row, strerror(-row_result));
		return row_result == -ENOMEM ? row_result : -EPROTO;
	}
	return result == SQLITE_DONE ? 0 : database_failed(db, NULL, result, error);
}

static int load_application(struct loading *loading, sqlite3_stmt *row)
{
	const void *sha = sqlite3_column_blob(row, 1);
	/* Networks name their application by its row, so a missing row would give them to
	 * another. */
	if (sqlite3_column_int64(row, 0) != (int64_t)loading->applications + 1 || sha == NULL ||
	    sqlite3_column_bytes(row, 1) != COUNTS_SHA_BYTES || sqlite3_column_type(row, 2) != SQLITE_INTEGER)
		return -EINVAL;
	loading->applications++;
	if (loading->counts == NULL)
		return 0;
	return counts_restore_application(loading->counts, sha, (uint64_t)sqlite3_column_int64(row, 2),
	                                  sqlite3_column_int(row, 3) != 0);
}

static int load_applications(struct loading *loading, struct shm_error *error)
{
	static const char text[] =
	        "SELECT id, sha, count, truncated FROM application LEFT JOIN count USING (id) ORDER BY id";
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(loading->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return database_failed(loading->db, NULL, result, error);
	int row_result = 0;
	while (row_result == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
		row_result = load_application(loading, statement);
	return end_rows(loading->db, statement, result, row_result, "application", error);
}

static int load_networks(struct loading *loading, struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(loading->db, "SELECT id, hosts FROM network", -1, &statement, NULL);
	if (result != SQLITE_OK)
		return database_failed(loading->db, NULL, result, error);
	int row_result = 0;
	while (row_result == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW) {
		uint64_t key = (uint64_t)sqlite3_column_int64(statement, 0);
		int64_t hosts = sqlite3_column_int64(statement, 1);
		if (hosts <= 0 || hosts > UINT16_MAX || key >> NETWORKS_KEY_SHIFT >= loading->applications)
			row_result = -EINVAL;
		else if (loading->counts != NULL)
			row_result = counts_restore_network(loading->counts, key, (unsigned)hosts);
	}
	return end_rows(loading->db, statement, result, row_result, "network", error);
}

/* Counts are fresh, with room for what is there. */
static int load(struct loading *loading, struct shm_error *error)
{
	int64_t beyond = 0;
	int result = load_applications(loading, error);
	if (result == 0)
		result = load_networks(loading, error);
	if (result != 0)
		return result;
	result = store_total(loading->db, "beyond", &beyond);
	if (result != SQLITE_OK)
		return database_failed(loading->db, NULL, result, error);
	if (loading->counts != NULL)
		loading->counts->beyond = (uint64_t)beyond;
	return 0;
}

/* ---- opening ---- */

static int prepare(struct book_ip *ip, struct sqlite3 *db, struct shm_error *error)
{
	for (unsigned i = 0; i < BOOK_IP_STATEMENTS; i++) {
		int result = sqlite3_prepare_v3(db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
		                                &ip->statement[i], NULL);
		if (result != SQLITE_OK)
			return database_failed(db, NULL, result, error);
	}
	return 0;
}

static int init_counts(struct counts *counts, const struct counts_limits *limits,
                       const struct counts_expected *expected, struct shm_error *error)
{
	int result = counts_init(counts, limits, expected, 0);
	if (result != 0)
		shm_explain(
		        error,
		        "no address space for %llu bytes of counts: %s; lower tally.applications or tally.addresses",
		        (unsigned long long)counts_bytes_max(limits), strerror(-result));
	return result;
}

static void close_book(struct book *book)
{
	struct book_ip *ip = (struct book_ip *)book;
	if (ip == NULL)
		return;
	for (unsigned i = 0; i < BOOK_IP_STATEMENTS; i++)
		sqlite3_finalize(ip->statement[i]);
	counts_fini(&ip->counts);
	free(ip);
}

int book_ip_open(struct book_ip **book, const struct counts_limits *limits, struct sqlite3 *db,
                 struct shm_error *error)
{
	struct counts_expected expected;
	struct book_ip *ip = calloc(1, sizeof *ip);
	if (ip == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	ip->book.kind = &book_ip_kind;
	struct loading loading = {.db = db, .counts = &ip->counts};
	int result = prepare(ip, db, error);
	if (result == 0)
		result = expect(db, &expected, error);
	if (result == 0)
		result = init_counts(&ip->counts, limits, &expected, error);
	if (result == 0)
		result = load(&loading, error);
	if (result != 0) {
		close_book(&ip->book);
		return result;
	}
	ip->stored_applications = loading.applications;
	*book = ip;
	return 0;
}

int book_ip_check(const struct counts_limits *limits, struct sqlite3 *db, bool rows,
                  struct counts_expected *expected, struct shm_error *error)
{
	struct book_ip ip = {.book.kind = &book_ip_kind};
	struct loading loading = {.db = db};
	int result = prepare(&ip, db, error);
	for (unsigned i = 0; i < BOOK_IP_STATEMENTS; i++)
		sqlite3_finalize(ip.statement[i]);
	if (result == 0)
		result = expect(db, expected, error);
	if (result == 0 && rows)
		result = load(&loading, error);
	if (result == 0)
		result = init_counts(&ip.counts, limits, expected, error);
	if (result == 0)
		counts_fini(&ip.counts);
	return result;
}

struct counts_limits book_ip_limits(const struct config *config)
{
	return (struct counts_limits){
	        .applications = config_u64(config, "tally.applications"),
	        .addresses_per_application = config_u64(config, "tally.addresses_per_application"),
	        .addresses = config_u64(config, "tally.addresses"),
	};
}

static int open_book(struct book **book, const struct config *config, struct sqlite3 *db,
                     struct shm_error *error)
{
	struct counts_limits limits = book_ip_limits(config);
	struct book_ip *ip;
	int result = book_ip_open(&ip, &limits, db, error);
	if (result == 0)
		*book = &ip->book;
	return result;
}

static int check(const struct config *config, struct sqlite3 *db, bool rows, struct shm_error *error)
{
	struct counts_limits limits = book_ip_limits(config);
	struct counts_expected expected;
	return book_ip_check(&limits, db, rows, &expected, error);
}

static uint64_t memory_max(const struct config *config)
{
	struct counts_limits limits = book_ip_limits(config);
	return counts_bytes_max(&limits);
}

/* ---- counting ---- */

/* The record that the batch gave last. */
static bool is_ip_event(const struct record_batch *batch)
{
	return batch->type == EVENT_IP && batch->length == sizeof(struct event_ip);
}

static struct book_taken take(struct book *book, struct record_batch *batch, uint64_t max)
{
	struct counts *counts = &((struct book_ip *)book)->counts;
	struct book_taken taken = {0};
	const struct record *record = NULL;
	do {
		struct event_ip copy[COUNTS_RUN]; /* others may write to what lies in the lane */
		const struct event_ip *run[COUNTS_RUN];
		unsigned n = 0;
		while (n < COUNTS_RUN && taken.records < max && (record = record_next(batch)) != NULL) {
			taken.records++;
			if (__builtin_expect(!is_ip_event(batch), 0)) {
				taken.bad++;
				continue;
			}
			memcpy(&copy[n], record->payload, sizeof copy[n]);
			run[n] = &copy[n];
			n++;
		}
		counts_add(counts, run, n);
	} while (record != NULL && taken.records < max && !counts_full(counts));
	return taken;
}

static bool full(const struct book *book)
{
	return counts_full(&((const struct book_ip *)book)->counts);
}

static uint64_t rows(const struct book *book)
{
	return counts_dirty_rows(&((const struct book_ip *)book)->counts);
}

/* ---- committing ---- */

static int write_application(struct book_ip *ip, const struct counts_application *application, int64_t id)
{
	sqlite3_stmt *count = ip->statement[BOOK_IP_COUNT];
	sqlite3_bind_int64(count, 1, id);
	sqlite3_bind_int64(count, 2, (int64_t)application->count);
	sqlite3_bind_int(count, 3, application->truncated);
	int result = database_run(count);
	if (result != SQLITE_OK || (uint64_t)id <= ip->stored_applications)
		return result;
	sqlite3_stmt *sha = ip->statement[BOOK_IP_APPLICATION];
	sqlite3_bind_int64(sha, 1, id);
	sqlite3_bind_blob(sha, 2, application->sha, COUNTS_SHA_BYTES, SQLITE_STATIC);
	return database_run(sha);
}

static int write_applications(struct book_ip *ip)
{
	const struct counts *counts = &ip->counts;
	int result = SQLITE_OK;
	for (int64_t i = -1; result == SQLITE_OK && (i = counts_next_dirty(counts, (uint64_t)(i + 1))) >= 0;)
		result = write_application(ip, &counts->application[i], i + 1);
	return result;
}

static int write_networks(struct book_ip *ip)
{
	sqlite3_stmt *statement = ip->statement[BOOK_IP_NETWORK];
	int result = SQLITE_OK;
	counts_sort_dirty(&ip->counts);
	for (uint64_t i = 0; result == SQLITE_OK && i < ip->counts.n_dirty_networks; i++) {
		uint64_t key;
		unsigned hosts = counts_dirty_hosts(&ip->counts, i, &key);
		sqlite3_bind_int64(statement, 1, (int64_t)key);
		sqlite3_bind_int(statement, 2, (int)hosts);
		result = database_run(statement);
	}
	return result;
}

static int write_totals(struct book_ip *ip)
{
	sqlite3_stmt *statement = ip->statement[BOOK_IP_TOTAL];
	if (!ip->counts.beyond_dirty)
		return SQLITE_OK;
	sqlite3_bind_text(statement, 1, "beyond", -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 2, (int64_t)ip->counts.beyond);
	return database_run(statement);
}

static int write_book(struct book *book)
{
	struct book_ip *ip = (struct book_ip *)book;
	int result = write_applications(ip);
	if (result == SQLITE_OK)
		result = write_networks(ip);
	return result == SQLITE_OK ? write_totals(ip) : result;
}

static void clean(struct book *book)
{
	struct book_ip *ip = (struct book_ip *)book;
	counts_clean(&ip->counts);
	ip->stored_applications = ip->counts.n_applications;
}

/* ---- forgetting ---- */

static int delete_all(struct sqlite3 *db, struct book_forgotten *forgotten)
{
	int64_t applications = 0, events = 0, beyond = 0;
	int result = database_number(db, "SELECT count(*) FROM application", &applications);
	if (result == SQLITE_OK)
		result = database_number(db, "SELECT coalesce(sum(count), 0) FROM count", &events);
	if (result == SQLITE_OK)
		result = store_total(db, "beyond", &beyond);
	if (result == SQLITE_OK)
		result = sqlite3_exec(
		        db,
		        "DELETE FROM network; DELETE FROM count; DELETE FROM application; DELETE FROM total WHERE name = 'beyond'",
		        NULL, NULL, NULL);
	forgotten->applications = (uint64_t)applications;
	forgotten->events = (uint64_t)(events + beyond);
	return result;
}

static void forget(struct book *book)
{
	struct book_ip *ip = (struct book_ip *)book;
	counts_forget(&ip->counts);
	ip->stored_applications = 0;
}

static void tell(const struct book *book, struct control *control)
{
	const struct counts *counts = &((const struct book_ip *)book)->counts;
	metric_set(control, TALLY_applications, counts->n_applications);
	metric_set(control, TALLY_truncated_applications, counts->n_truncated);
	metric_set(control, TALLY_addresses, counts->addresses);
	metric_set(control, TALLY_networks, counts->networks.n);
	metric_set(control, TALLY_beyond_events, counts->beyond);
}

const struct book_kind book_ip_kind = {
        .name = "addresses",
        .topic = "ip",
        .tables = tables,
        .open = open_book,
        .close = close_book,
        .take = take,
        .full = full,
        .rows = rows,
        .write = write_book,
        .clean = clean,
        .delete_all = delete_all,
        .forget = forget,
        .tell = tell,
        .memory_max = memory_max,
        .check = check,
};
