#include "sink/tally/book_track.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "event/query.h"
#include "event/track.h"
#include "sink/tally/metrics.h"
#include "sink/tally/store.h"
#include "sink/tally/top_store.h"
#include "stage/database.h"

/* Longer than any key that is kept by a character, so that top_add sees where the last one ends. */
#define KEY_ROOM     (TOP_KEY_MAX + 4u)
#define ADDRESS_ROOM 64u
#define NAME_ROOM    40u

#define LOW_MASK (((unsigned __int128)1 << BOOK_TRACK_LOW_BITS) - 1)

#define SEARCH_TYPE   "offr"
#define SEARCH_ACTION "preview"

enum list { TYPE, POD, ADDRESS, COUNTRY, SEARCH, LISTS };

static const char *const list_name[LISTS] = {
        [TYPE] = BOOK_TRACK_TYPE,       [POD] = BOOK_TRACK_POD,       [ADDRESS] = BOOK_TRACK_ADDRESS,
        [COUNTRY] = BOOK_TRACK_COUNTRY, [SEARCH] = BOOK_TRACK_SEARCH,
};

// clang-format off

static const char tables[] = TOP_STORE_TABLES
        "CREATE VIEW IF NOT EXISTS track AS SELECT substr(name, 7) AS list, key, count, error"
        "  FROM top JOIN top_counter ON list = id WHERE name LIKE 'track/%';";

// clang-format on

struct book_track {
	struct book book;
	struct top_store store;
	sqlite3_stmt *put_total;
	struct top *list[LISTS];
	uint64_t events;
	unsigned __int128 klag_ns, counting_ns;
	bool dirty; /* the three above */
};

static struct book_track *track_of(struct book *book)
{
	return (struct book_track *)book;
}

static const struct book_track *track_in(const struct book *book)
{
	return (const struct book_track *)book;
}

/* ---- loading ---- */

static int read_total(struct sqlite3 *db, const char *name, uint64_t *value, struct shm_error *error)
{
	char what[6 + NAME_ROOM];
	int64_t number = 0;
	snprintf(what, sizeof what, "total %s", name);
	int result = store_total(db, name, &number);
	if (result != SQLITE_OK)
		return database_failed(db, what, result, error);
	if (number < 0) {
		shm_explain(error, "%s: not what was stored there; restore a copy or move the file away",
		            what);
		return -EPROTO;
	}
	*value = (uint64_t)number;
	return 0;
}

static int read_sum(struct sqlite3 *db, const char *name, unsigned __int128 *sum, struct shm_error *error)
{
	char high_name[NAME_ROOM];
	uint64_t low = 0, high = 0;
	snprintf(high_name, sizeof high_name, "%s" BOOK_TRACK_HIGH, name);
	int result = read_total(db, name, &low, error);
	if (result == 0)
		result = read_total(db, high_name, &high, error);
	*sum = (unsigned __int128)high << BOOK_TRACK_LOW_BITS | low;
	return result;
}

static int load(struct book_track *track, uint32_t capacity, struct sqlite3 *db, struct shm_error *error)
{
	int result = read_total(db, BOOK_TRACK_EVENTS, &track->events, error);
	if (result == 0)
		result = read_sum(db, BOOK_TRACK_KLAG, &track->klag_ns, error);
	if (result == 0)
		result = read_sum(db, BOOK_TRACK_COUNTING, &track->counting_ns, error);
	for (unsigned i = 0; result == 0 && i < LISTS; i++)
		result = top_store_load(&track->store, list_name[i], capacity, &track->list[i], error);
	return result;
}

static int prepare(struct book_track *track, struct sqlite3 *db, struct shm_error *error)
{
	int result = top_store_open(&track->store, db, error);
	if (result != 0)
		return result;
	track->store.option = "tally.tops";
	result = sqlite3_prepare_v3(db, "INSERT OR REPLACE INTO total VALUES (?1, ?2)", -1,
	                            SQLITE_PREPARE_PERSISTENT, &track->put_total, NULL);
	return result == SQLITE_OK ? 0 : database_failed(db, NULL, result, error);
}

static void close_book(struct book *book)
{
	struct book_track *track = track_of(book);
	if (track == NULL)
		return;
	for (unsigned i = 0; i < LISTS; i++)
		top_free(track->list[i]);
	sqlite3_finalize(track->put_total);
	top_store_close(&track->store);
	free(track);
}

static uint32_t capacity_of(const struct config *config)
{
	return (uint32_t)config_u64(config, "tally.tops");
}

static int open_book(struct book **book, const struct config *config, struct sqlite3 *db,
                     struct shm_error *error)
{
	struct book_track *track = calloc(1, sizeof *track);
	if (track == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	track->book.kind = &book_track_kind;
	int result = prepare(track, db, error);
	if (result == 0)
		result = load(track, capacity_of(config), db, error);
	if (result != 0) {
		close_book(&track->book);
		return result;
	}
	*book = &track->book;
	return 0;
}

/* ---- counting ---- */

/* A key that is put together, in memory of our own: a list hashes it once. What goes beyond
 * KEY_ROOM is left out, and top_add cuts there. */
struct key {
	char text[KEY_ROOM];
	size_t bytes;
};

static void put(struct key *key, const char *text, size_t bytes)
{
	size_t room = sizeof key->text - key->bytes;
	if (bytes > room)
		bytes = room;
	memcpy(key->text + key->bytes, text, bytes);
	key->bytes += bytes;
}

static void put_decoded(struct key *key, const char *text, size_t bytes)
{
	const char *end = text + bytes;
	while (text < end && key->bytes < sizeof key->text)
		key->text[key->bytes++] = (char)query_byte(&text, end);
}

/* The first parameters of these names; name NULL: there is none. */
struct wanted {
	struct query_pair action, text;
};

static bool is_named(const struct query_pair *pair, const char *name, size_t bytes)
{
	return query_is(pair->name, pair->name_bytes, name, bytes);
}

static struct wanted find_wanted(const char *query, size_t bytes)
{
	struct query at = {query, query + bytes};
	struct wanted wanted = {0};
	struct query_pair pair;
	while ((wanted.action.name == NULL || wanted.text.name == NULL) && query_next(&at, &pair)) {
		if (wanted.action.name == NULL && is_named(&pair, "action", 6))
			wanted.action = pair;
		else if (wanted.text.name == NULL && is_named(&pair, "text", 4))
			wanted.text = pair;
	}
	return wanted;
}

static void add(struct book_track *track, enum list list, const struct key *key)
{
	top_add(track->list[list], key->text, key->bytes, 1);
}

static void count_type(struct book_track *track, struct event_track_slice type,
                       const struct query_pair *action)
{
	struct key key = {.bytes = 0};
	if (type.bytes == 0)
		put(&key, "/", 1);
	put(&key, type.text, type.bytes);
	if (action->name != NULL) {
		put(&key, "[", 1);
		put_decoded(&key, action->value, action->value_bytes);
		put(&key, "]", 1);
	}
	add(track, TYPE, &key);
}

static void count_search(struct book_track *track, struct event_track_slice type, const struct wanted *wanted)
{
	const struct query_pair *action = &wanted->action;
	struct key key = {.bytes = 0};
	if (action->name == NULL || wanted->text.name == NULL || type.bytes != sizeof SEARCH_TYPE - 1 ||
	    memcmp(type.text, SEARCH_TYPE, type.bytes) != 0 ||
	    !query_is(action->value, action->value_bytes, SEARCH_ACTION, sizeof SEARCH_ACTION - 1))
		return;
	put_decoded(&key, wanted->text.value, wanted->text.value_bytes);
	add(track, SEARCH, &key);
}

static void count_pod(struct book_track *track, struct event_track_slice pod)
{
	struct key key = {.bytes = 0};
	put(&key, pod.text, pod.bytes);
	add(track, POD, &key);
}

static void count_address(struct book_track *track, const uint8_t source[16])
{
	char address[ADDRESS_ROOM];
	struct text text = {.at = address, .end = address + sizeof address};
	text_address(&text, source);
	top_add(track->list[ADDRESS], address, (size_t)(text.at - address), 1);
}

/* event: its fields, in memory of our own. text: what follows them, in memory that others write.
 * Whatever they write there meanwhile, the parts stay within the record. */
static void count(struct book_track *track, const struct event_track *event, const char *text,
                  uint64_t now_ns)
{
	uint32_t bytes[TRACK_PARTS];
	struct event_track_slice part[TRACK_PARTS], country = event_track_country(event);
	event_track_lengths(event, bytes);
	for (unsigned i = 0; i < TRACK_PARTS; i++) {
		part[i] = (struct event_track_slice){text, bytes[i]};
		text += bytes[i];
	}
	struct wanted wanted = find_wanted(part[TRACK_QUERY].text, part[TRACK_QUERY].bytes);
	count_type(track, part[TRACK_TYPE], &wanted.action);
	count_search(track, part[TRACK_TYPE], &wanted);
	count_pod(track, part[TRACK_POD]);
	top_add(track->list[COUNTRY], country.text, country.bytes, 1);
	count_address(track, event->source);
	track->events++;
	track->klag_ns += event->klag_ns;
	track->counting_ns += clock_since_ns(event->arrival_ns, now_ns);
	track->dirty = true;
}

static struct book_taken take(struct book *book, struct record_batch *batch, uint64_t max)
{
	struct book_taken taken = {0};
	const struct record *record;
	uint64_t now_ns = clock_real_ns();
	while (taken.records < max && (record = record_next(batch)) != NULL) {
		struct event_track event;
		taken.records++;
		if (batch->type == EVENT_TRACK && batch->length >= sizeof event) {
			memcpy(&event, record->payload, sizeof event);
			if (event_track_bytes(&event) == batch->length) {
				count(track_of(book), &event, (const char *)record->payload + sizeof event,
				      now_ns);
				continue;
			}
		}
		taken.bad++;
	}
	return taken;
}

/* A commit is never larger than the lists. */
static bool full(const struct book *book)
{
	(void)book;
	return false;
}

/* ---- committing ---- */

#define TOTALS 5u

static uint64_t rows(const struct book *book)
{
	const struct book_track *track = track_in(book);
	uint64_t n = track->dirty ? TOTALS : 0;
	for (unsigned i = 0; i < LISTS; i++)
		n += top_store_rows(track->list[i]);
	return n;
}

static int put_total(struct book_track *track, const char *name, uint64_t value)
{
	sqlite3_bind_text(track->put_total, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(track->put_total, 2, (int64_t)value);
	return database_run(track->put_total);
}

static int put_sum(struct book_track *track, const char *name, unsigned __int128 sum)
{
	char high_name[NAME_ROOM];
	snprintf(high_name, sizeof high_name, "%s" BOOK_TRACK_HIGH, name);
	int result = put_total(track, name, (uint64_t)(sum & LOW_MASK));
	return result == SQLITE_OK ? put_total(track, high_name, (uint64_t)(sum >> BOOK_TRACK_LOW_BITS))
	                           : result;
}

static int write_book(struct book *book)
{
	struct book_track *track = track_of(book);
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < LISTS; i++)
		result = top_store_write(&track->store, list_name[i], track->list[i]);
	if (result == SQLITE_OK && track->dirty)
		result = put_total(track, BOOK_TRACK_EVENTS, track->events);
	if (result == SQLITE_OK && track->dirty)
		result = put_sum(track, BOOK_TRACK_KLAG, track->klag_ns);
	if (result == SQLITE_OK && track->dirty)
		result = put_sum(track, BOOK_TRACK_COUNTING, track->counting_ns);
	return result;
}

static void clean(struct book *book)
{
	struct book_track *track = track_of(book);
	for (unsigned i = 0; i < LISTS; i++)
		top_clean(track->list[i]);
	track->dirty = false;
}

/* ---- telling ---- */

static void tell(const struct book *book, struct control *control)
{
	const struct book_track *track = track_in(book);
	uint64_t keys = 0, inexact = 0;
	for (unsigned i = 0; i < LISTS; i++) {
		keys += top_used(track->list[i]);
		inexact += top_smallest(track->list[i]) != 0;
	}
	metric_set(control, TALLY_track_events, track->events);
	metric_set(control, TALLY_track_keys, keys);
	metric_set(control, TALLY_track_full_lists, inexact);
}

static uint64_t memory_max(const struct config *config)
{
	return LISTS * top_bytes_max(capacity_of(config));
}

const struct book_kind book_track_kind = {
        .name = "tracks",
        .topic = "track",
        .tables = tables,
        .open = open_book,
        .close = close_book,
        .take = take,
        .full = full,
        .rows = rows,
        .write = write_book,
        .clean = clean,
        .tell = tell,
        .memory_max = memory_max,
};
