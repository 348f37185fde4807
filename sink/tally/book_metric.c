#include "sink/tally/book_metric.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/clock.h"
#include "event/event.h"
#include "sink/tally/days.h"
#include "sink/tally/hour_store.h"
#include "sink/tally/known.h"
#include "sink/tally/metrics.h"
#include "sink/tally/space.h"
#include "sink/tally/store.h"
#include "stage/database.h"

#define RUN             32u /* events counted at once */
#define TOUCHED_MAX     1024u
#define MINUTES_PER_DAY 1440u

/* An event, copied out of the lane, and what becomes known of it. */
struct look {
	struct names_key account, metric; /* of a metric too long to be a name, its first bytes */
	bool account_fits, metric_fits;
	int64_t count, ms;
	uint32_t minute;
	uint32_t account_id, metric_id, tag; /* as in hour.h */
	struct hour_minute *in;              /* NULL: none of the last hour */
	struct top *day;
};

struct metrics {
	struct book book;
	struct known accounts, names;
	struct hour hour;
	struct hour_store hour_store;
	struct days days;
	sqlite3_stmt *put_beyond;
	uint64_t accounts_beyond; /* events */
	bool beyond_dirty;
	struct look run[RUN];
	struct top *day;               /* that is given, with settle_day: */
	uint32_t *pending;             /* events by metric_id */
	uint32_t touched[TOUCHED_MAX]; /* those that have some */
	unsigned n_touched;
};
_Static_assert(sizeof(((struct names_key *)0)->text) > TOP_KEY_MAX, "so that a list cuts it itself");

static const char tables[] =
        KNOWN_TABLE("account") KNOWN_TABLE("metric_name") HOUR_STORE_TABLES TOP_STORE_TABLES;

/* ---- opening ---- */

static int open_total(struct metrics *metrics, sqlite3 *db, struct shm_error *error)
{
	int64_t beyond = 0;
	int result = store_total(db, "accounts_beyond", &beyond);
	if (result == SQLITE_OK)
		result = sqlite3_prepare_v3(db, "INSERT OR REPLACE INTO total VALUES ('accounts_beyond', ?1)",
		                            -1, SQLITE_PREPARE_PERSISTENT, &metrics->put_beyond, NULL);
	metrics->accounts_beyond = (uint64_t)beyond;
	return result == SQLITE_OK ? 0 : database_failed(db, NULL, result, error);
}

static int open_hour(struct metrics *metrics, uint64_t cells, sqlite3 *db, struct shm_error *error)
{
	struct hour_limits limits = {.cells = cells,
	                             .accounts = (uint32_t)metrics->accounts.names.capacity,
	                             .metrics = (uint32_t)metrics->names.names.capacity};
	uint64_t stored;
	int result = hour_store_open(&metrics->hour_store, db, error);
	if (result == 0)
		result = hour_store_expected(&metrics->hour_store, &stored, error);
	if (result != 0)
		return result;
	result = hour_init(&metrics->hour, &limits, stored, 0);
	if (result != 0) {
		shm_explain(
		        error,
		        "no address space for %llu bytes of the last hour; lower tally.hour_cells, tally.metric_names or tally.accounts",
		        (unsigned long long)hour_bytes_max(&limits));
		return result;
	}
	return hour_store_load(&metrics->hour_store, &metrics->hour, metrics->accounts.names.n,
	                       metrics->names.names.n, error);
}

static size_t pending_bytes(uint64_t metric_names)
{
	return (metric_names + 1) * sizeof(uint32_t);
}

static int open_pending(struct metrics *metrics, struct shm_error *error)
{
	metrics->pending = space_reserve(pending_bytes(metrics->names.names.capacity));
	if (metrics->pending != NULL)
		return 0;
	shm_explain(error, "no address space for %llu names of metrics; lower tally.metric_names",
	            (unsigned long long)metrics->names.names.capacity);
	return -ENOMEM;
}

static void close_book(struct book *book)
{
	struct metrics *metrics = (struct metrics *)book;
	if (metrics == NULL)
		return;
	sqlite3_finalize(metrics->put_beyond);
	days_close(&metrics->days);
	hour_fini(&metrics->hour);
	hour_store_close(&metrics->hour_store);
	space_release(metrics->pending, pending_bytes(metrics->names.names.capacity));
	known_close(&metrics->names);
	known_close(&metrics->accounts);
	free(metrics);
}

int book_metric_open(struct book **book, const struct book_metric_limits *limits, sqlite3 *db,
                     struct shm_error *error)
{
	struct metrics *metrics = aligned_alloc(64, (sizeof *metrics + 63) / 64 * 64);
	if (metrics == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	memset(metrics, 0, sizeof *metrics);
	metrics->book.kind = &book_metric_kind;
	int result =
	        known_open(&metrics->accounts, db, "account", "tally.accounts", limits->accounts, 0, error);
	if (result == 0)
		result = known_open(&metrics->names, db, "metric_name", "tally.metric_names",
		                    limits->metric_names, 0, error);
	if (result == 0)
		result = open_pending(metrics, error);
	if (result == 0)
		result = open_hour(metrics, limits->hour_cells, db, error);
	if (result == 0)
		result = days_open(&metrics->days, db, (uint32_t)limits->names, error);
	if (result == 0)
		result = open_total(metrics, db, error);
	if (result != 0) {
		close_book(&metrics->book);
		return result;
	}
	*book = &metrics->book;
	return 0;
}

static struct book_metric_limits limits_of(const struct config *config)
{
	return (struct book_metric_limits){
	        .names = config_u64(config, "tally.names"),
	        .accounts = config_u64(config, "tally.accounts"),
	        .metric_names = config_u64(config, "tally.metric_names"),
	        .hour_cells = config_u64(config, "tally.hour_cells"),
	};
}

static int open_book(struct book **book, const struct config *config, sqlite3 *db, struct shm_error *error)
{
	struct book_metric_limits limits = limits_of(config);
	return book_metric_open(book, &limits, db, error);
}

static uint64_t memory_max(const struct config *config)
{
	struct book_metric_limits limits = limits_of(config);
	struct hour_limits hour = {.cells = limits.hour_cells,
	                           .accounts = (uint32_t)limits.accounts,
	                           .metrics = (uint32_t)limits.metric_names};
	return known_bytes_max(limits.accounts) + known_bytes_max(limits.metric_names) +
	       pending_bytes(limits.metric_names) + hour_bytes_max(&hour) +
	       days_bytes_max((uint32_t)limits.names);
}

/* ---- taking ---- */

/* False: too long to be a name; its first bytes are there. */
static bool copy_name(struct names_key *key, const char *text, uint32_t bytes)
{
	if (names_key_set(key, text, bytes))
		return true;
	key->bytes = bytes < sizeof key->text ? bytes : sizeof key->text;
	memcpy(key->text, text, key->bytes);
	return false;
}

/* Copies an event out of the lane, which others may write meanwhile: each field is read once.
 * False: it is none. */
static bool copy_event(struct look *look, const struct record *record, const struct record_batch *batch)
{
	const struct event_metric *event = (const struct event_metric *)(const void *)record->payload;
	if (batch->type != EVENT_METRIC || batch->length < sizeof *event)
		return false;
	uint32_t username = __atomic_load_n(&event->username_bytes, __ATOMIC_RELAXED);
	uint32_t metric = __atomic_load_n(&event->metric_bytes, __ATOMIC_RELAXED);
	if (batch->length != sizeof *event + username + metric)
		return false;
	uint64_t arrival_ns = __atomic_load_n(&event->arrival_ns, __ATOMIC_RELAXED);
	look->ms = (int64_t)(arrival_ns / NS_PER_MS);
	look->minute = (uint32_t)(arrival_ns / NS_PER_MINUTE);
	look->count = __atomic_load_n(&event->count, __ATOMIC_RELAXED);
	look->account_fits = copy_name(&look->account, event->text, username);
	look->metric_fits = copy_name(&look->metric, event->text + username, metric);
	return true;
}

/* Gives the day's list what was counted for it since the last time. */
static void settle_day(struct metrics *metrics)
{
	for (unsigned i = 0; i < metrics->n_touched; i++) {
		uint32_t *pending = &metrics->pending[metrics->touched[i]];
		const struct names_text *name = names_at(&metrics->names.names, metrics->touched[i] - 1);
		top_add(metrics->day, name->text, name->bytes, *pending);
		*pending = 0;
	}
	metrics->n_touched = 0;
}

/* Copies the events of a run and finds their days. A run ends before an event whose list would have
 * to be loaded, for that may take the place of one that the run counts in. *more: another run may
 * follow. */
static unsigned collect(struct metrics *metrics, struct record_batch *batch, uint64_t max,
                        struct book_taken *taken, bool *more)
{
	unsigned n = 0;
	*more = true;
	while (n < RUN && taken->records < max) {
		struct record_batch before = *batch;
		struct look *look = &metrics->run[n];
		const struct record *record = record_next(batch);
		if (record == NULL) {
			*more = false;
			break;
		}
		if (!copy_event(look, record, batch)) {
			taken->records++;
			taken->bad++;
			continue;
		}
		int64_t day = look->minute / MINUTES_PER_DAY;
		look->day = days_here(&metrics->days, day);
		if (look->day == NULL && n == 0) {
			settle_day(metrics);
			look->day = days_at(&metrics->days, day);
		}
		if (look->day == NULL) {
			*batch = before;
			*more = !days_full(&metrics->days);
			break;
		}
		taken->records++;
		n++;
	}
	return n;
}

static void fetch_names(struct metrics *metrics, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct look *look = &metrics->run[i];
		if (look->account_fits) {
			names_hash(&metrics->accounts.names, &look->account);
			names_fetch_slot(&metrics->accounts.names, &look->account);
		}
		if (look->metric_fits)
			names_hash(&metrics->names.names, &look->metric);
	}
	for (unsigned i = 0; i < n; i++)
		if (metrics->run[i].account_fits)
			names_fetch_text(&metrics->accounts.names, &metrics->run[i].account);
}

static void find_names(struct metrics *metrics, struct look *look)
{
	uint32_t account = look->account_fits ? known_take(&metrics->accounts, &look->account, look->ms) : 0;
	look->metric_id =
	        look->metric_fits ? known_take(&metrics->names, &look->metric, look->ms) : HOUR_OTHER;
	look->account_id = account == 0 ? HOUR_NOBODY : account;
	look->tag = hour_tag(&metrics->hour, look->account_id, look->metric_id);
	if (account == 0) {
		metrics->accounts_beyond++;
		metrics->beyond_dirty = true;
	}
}

/* Most events have few metrics: a list is given the same one's events together. */
static void count_day(struct metrics *metrics, const struct look *look)
{
	if (look->metric_id == HOUR_OTHER) {
		top_add(look->day, look->metric.text, look->metric.bytes, 1);
		return;
	}
	if (look->day != metrics->day || metrics->n_touched == TOUCHED_MAX)
		settle_day(metrics);
	metrics->day = look->day;
	if (metrics->pending[look->metric_id]++ == 0)
		metrics->touched[metrics->n_touched++] = look->metric_id;
}

static void count_run(struct metrics *metrics, unsigned n)
{
	struct hour *hour = &metrics->hour;
	fetch_names(metrics, n);
	for (unsigned i = 0; i < n; i++) {
		struct look *look = &metrics->run[i];
		find_names(metrics, look);
		look->in = hour_minute(hour, look->minute);
		if (look->in != NULL)
			hour_fetch_slot(look->in, look->tag);
	}
	for (unsigned i = 0; i < n; i++)
		if (metrics->run[i].in != NULL)
			hour_fetch_cell(hour, metrics->run[i].in, metrics->run[i].tag);
	for (unsigned i = 0; i < n; i++) {
		const struct look *look = &metrics->run[i];
		count_day(metrics, look);
		if (look->in != NULL)
			hour_add(hour, look->in, look->account_id, look->metric_id, look->tag, look->count);
	}
}

static bool full(const struct book *book)
{
	const struct metrics *metrics = (const struct metrics *)book;
	return hour_full(&metrics->hour) || days_full(&metrics->days);
}

static struct book_taken take(struct book *book, struct record_batch *batch, uint64_t max)
{
	struct metrics *metrics = (struct metrics *)book;
	struct book_taken taken = {0};
	bool more = true;
	while (more && taken.records < max && !full(book))
		count_run(metrics, collect(metrics, batch, max, &taken, &more));
	settle_day(metrics);
	return taken;
}

/* ---- committing ---- */

static uint64_t rows(const struct book *book)
{
	const struct metrics *metrics = (const struct metrics *)book;
	return known_rows(&metrics->accounts) + known_rows(&metrics->names) + hour_rows(&metrics->hour) +
	       days_rows(&metrics->days) + metrics->beyond_dirty;
}

static int write_book(struct book *book)
{
	struct metrics *metrics = (struct metrics *)book;
	int result = known_write(&metrics->accounts);
	if (result == SQLITE_OK)
		result = known_write(&metrics->names);
	if (result == SQLITE_OK)
		result = hour_store_write(&metrics->hour_store, &metrics->hour);
	if (result == SQLITE_OK)
		result = days_write(&metrics->days);
	if (result != SQLITE_OK || !metrics->beyond_dirty)
		return result;
	sqlite3_bind_int64(metrics->put_beyond, 1, (int64_t)metrics->accounts_beyond);
	return database_run(metrics->put_beyond);
}

static void clean(struct book *book)
{
	struct metrics *metrics = (struct metrics *)book;
	known_clean(&metrics->accounts);
	known_clean(&metrics->names);
	hour_clean(&metrics->hour);
	days_clean(&metrics->days);
	metrics->beyond_dirty = false;
}

static void turn(struct book *book, int64_t now_ms)
{
	struct metrics *metrics = (struct metrics *)book;
	hour_turn(&metrics->hour, now_ms > 0 ? (uint32_t)(now_ms / MS_PER_MINUTE) : 0);
	days_turn(&metrics->days, now_ms);
}

static void tell(const struct book *book, struct control *control)
{
	const struct metrics *metrics = (const struct metrics *)book;
	metric_set(control, TALLY_accounts, metrics->accounts.names.n);
	metric_set(control, TALLY_accounts_beyond_events, metrics->accounts_beyond);
	metric_set(control, TALLY_metric_names, metrics->names.names.n);
	metric_set(control, TALLY_hour_cells, metrics->hour.cells);
	metric_set(control, TALLY_hour_beyond_events, hour_beyond(&metrics->hour));
	metric_set(control, TALLY_hour_outside_events, metrics->hour.outside);
}

const struct book_kind book_metric_kind = {
        .name = "metrics",
        .topic = "metric",
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
