/* The book of tracking events against counts made by hand and by a slow reference, and what its
 * consumers print of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/track.h"
#include "sink/tally/book_track.h"
#include "sink/tally/consumers.h"
#include "sink/tally/store.h"
#include "sink/tally/top.h"
#include "stage/database.h"
#include "tests/fixture/config.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"
#include "tests/fixture/tally.h"
#include "tests/fixture/track_make.h"

static const struct book_kind *const kinds[] = {&book_track_kind, NULL};

struct fixture {
	struct tally_folder folder;
	struct config *config;
	struct store *store;
	struct book *book; /* NULL: closed, as the store */
	struct shm_error error;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f == NULL ? -1 : tally_folder_make(&f->folder);
}

static void close_book(struct fixture *f)
{
	book_track_kind.close(f->book);
	store_close(f->store);
	f->book = NULL;
	f->store = NULL;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	close_book(f);
	config_free(f->config);
	tally_folder_remove(&f->folder);
	free(f);
	return 0;
}

static int try_open(struct fixture *f)
{
	int result = store_open(&f->store, f->folder.data_dir, kinds, &f->error);
	return result == 0 ? book_track_kind.open(&f->book, f->config, store_database(f->store), &f->error)
	                   : result;
}

static void open_book(struct fixture *f, const char *set)
{
	if (f->config == NULL)
		f->config = load(NULL, set);
	if (try_open(f) != 0)
		fail_msg("%s", f->error.text);
}

static void commit(struct fixture *f)
{
	assert_int_equal(store_commit(f->store, &f->book, 1, NULL, 0, NULL, &f->error), 0);
	assert_int_equal(book_track_kind.rows(f->book), 0);
}

/* Counts one record; true: it was an event. */
static bool take(struct fixture *f, const struct record *record)
{
	struct record_batch batch = {.at = (const char *)record,
	                             .end = (const char *)record + record_bytes(record->length)};
	struct book_taken taken = book_track_kind.take(f->book, &batch, 100);
	assert_int_equal(taken.records, 1);
	assert_ptr_equal(batch.at, batch.end);
	return taken.bad == 0;
}

static void add(struct fixture *f, const struct track_make *make)
{
	struct record *record = track_make(make);
	/* Room for the padding, which calloc may lack. */
	struct record *padded = realloc(record, record_bytes(record->length));
	assert_non_null(padded);
	assert_true(take(f, padded));
	free(padded);
}

static void call(struct fixture *f, const char *type, const char *query)
{
	struct track_make make = track_example;
	make.type = type;
	make.query = query;
	add(f, &make);
}

/* ---- reading ---- */

static json_t *ask(struct fixture *f, const char *name)
{
	char *text = NULL;
	if (consumer_json(f->folder.data_dir, name, (struct top_page){.limit = TOP_LIMIT_MAX}, &text,
	                  &f->error) != 0)
		fail_msg("%s", f->error.text);
	json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "name")), name);
	free(text);
	return json;
}

static uint64_t field(const json_t *json, const char *name)
{
	assert_true(json_is_integer(json_object_get(json, name)));
	return (uint64_t)json_integer_value(json_object_get(json, name));
}

/* How often the consumer says that the key occurred, exactly; 0 when it does not have it. */
static uint64_t counted(const json_t *json, const char *key)
{
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(json, "list"), i, item)
	{
		if (strcmp(json_string_value(json_object_get(item, "key")), key) != 0)
			continue;
		assert_int_equal(field(item, "error"), 0);
		return field(item, "count");
	}
	return 0;
}

struct expected {
	const char *key;
	uint64_t count;
};

/* The consumer has these keys and no others; ends with a NULL. */
static void check_consumer(struct fixture *f, const char *name, const struct expected *expected)
{
	json_t *json = ask(f, name);
	uint64_t sum = 0;
	size_t n = 0;
	for (; expected[n].key != NULL; n++) {
		if (counted(json, expected[n].key) != expected[n].count)
			fail_msg("%s: \"%s\" %lu times, not %lu", name, expected[n].key,
			         (unsigned long)counted(json, expected[n].key),
			         (unsigned long)expected[n].count);
		sum += expected[n].count;
	}
	assert_int_equal(json_array_size(json_object_get(json, "list")), n);
	assert_int_equal(field(json, "keys"), n);
	assert_int_equal(field(json, "total"), sum);
	assert_int_equal(field(json, "forgotten"), 0);
	json_decref(json);
}

/* ---- keys ---- */

static void an_event_counts_under_its_type_or_under_its_type_and_action(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	call(f, "app_open", "deviceid=7");
	call(f, "app_open", "");
	call(f, "app_open", "action=a%20b");
	call(f, "app_open", "x=1&%61ction=a+b");
	call(f, "app_open", "action=first&action=second");
	call(f, "app_open", "action=");
	call(f, "app_open", "action");
	call(f, "app_open", "ACTION=x&actions=y&xaction=z&&=action");
	call(f, "app_open", "a=action%3Dno");
	call(f, "", "action=%c3%a4");
	call(f, "/", "");
	call(f, "", "e");
	commit(f);
	check_consumer(f, "type",
	               (const struct expected[]){{"app_open", 4},
	                                         {"app_open[a b]", 2},
	                                         {"app_open[first]", 1},
	                                         {"app_open[]", 2},
	                                         {"/[\xc3\xa4]", 1},
	                                         {"/", 2},
	                                         {NULL, 0}});
	check_consumer(f, "search", (const struct expected[]){{NULL, 0}});
}

static void a_search_is_an_offer_previewed_with_a_text(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	call(f, "offr", "action=preview&text=red+shoes");
	call(f, "offr", "text=red%20shoes&x=1&action=preview");
	call(f, "offr", "%74ext=red%20sho%65s&action=p%72eview");
	call(f, "offr", "action=preview&text=one&text=two");
	call(f, "offr", "action=preview&text=");
	call(f, "offr", "action=preview&text");
	call(f, "offr", "action=preview");
	call(f, "offr", "action=Preview&text=no");
	call(f, "offr", "action=view&action=preview&text=no");
	call(f, "offr", "text=no");
	call(f, "offer", "action=preview&text=no");
	call(f, "off", "action=preview&text=no");
	call(f, "", "action=preview&text=no");
	commit(f);
	check_consumer(f, "search",
	               (const struct expected[]){{"red shoes", 3}, {"one", 1}, {"", 2}, {NULL, 0}});
	json_t *json = ask(f, "type");
	assert_int_equal(counted(json, "offr[preview]"), 7);
	assert_int_equal(field(json, "total"), 13);
	json_decref(json);
}

static void pods_addresses_and_countries_are_counted_as_events_show_them(void **state)
{
	struct fixture *f = *state;
	static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 7}, none[16] = {0};
	struct track_make make = track_example;
	open_book(f, "");
	add(f, &make);
	make.pod = "pod \"b\"";
	make.address = v6;
	make.country = "DE";
	add(f, &make);
	make.pod = "";
	make.address = none;
	make.country = "\0"; /* none was looked up */
	add(f, &make);
	commit(f);
	check_consumer(f, "pods",
	               (const struct expected[]){{"10.0.0.7", 1}, {"pod \"b\"", 1}, {"", 1}, {NULL, 0}});
	check_consumer(
	        f, "addresses",
	        (const struct expected[]){{"172.17.0.1", 1}, {"2001:db8::7", 1}, {"::", 1}, {NULL, 0}});
	check_consumer(f, "countries", (const struct expected[]){{"XX", 2}, {"DE", 1}, {NULL, 0}});
}

static void keys_of_any_length_are_cut_and_none_is_lost(void **state)
{
	struct fixture *f = *state;
	char text[1000], query[1200];
	open_book(f, "");
	memset(text, 'x', sizeof text);
	for (size_t bytes = 1; bytes < sizeof text; bytes += 1 + bytes / 40) {
		struct track_make make = track_example;
		make.type = text;
		make.type_bytes = bytes;
		snprintf(query, sizeof query, "action=%.*s&text=%.*s", (int)bytes, text, (int)bytes, text);
		make.query = query;
		add(f, &make);
		make.type = "offr";
		make.type_bytes = 0;
		add(f, &make);
		make.query = "action=preview&text=\xff\xff\xff";
		add(f, &make);
	}
	commit(f);
	json_t *json = ask(f, "type"), *item;
	size_t i;
	uint64_t sum = 0;
	json_array_foreach(json_object_get(json, "list"), i, item)
	{
		assert_true(json_string_length(json_object_get(item, "key")) <= TOP_KEY_MAX);
		sum += field(item, "count");
	}
	assert_int_equal(sum, field(json, "total"));
	json_decref(json);
	json = ask(f, "search");
	assert_true(counted(json, "\xc3\xbf\xc3\xbf\xc3\xbf") > 10);
	json_decref(json);
}

/* ---- timing ---- */

static int64_t total(struct fixture *f, const char *name)
{
	char query[128];
	int64_t value = -1;
	snprintf(query, sizeof query, "SELECT value FROM total WHERE name = '%s'", name);
	assert_int_equal(database_number(store_database(f->store), query, &value), SQLITE_OK);
	return value;
}

static void sums_of_time_are_exact_beyond_64_bits(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	struct record *record = track_make(&track_example);
	struct event_track *event = (void *)record->payload;
	unsigned __int128 sum = 0;
	for (unsigned i = 0; i < 1000; i++) {
		event->klag_ns = UINT64_MAX - i;
		event->arrival_ns = UINT64_MAX; /* still to come */
		sum += event->klag_ns;
		assert_true(take(f, record));
		if (i % 100 == 0) {
			commit(f);
			close_book(f);
			open_book(f, "");
		} else if (i % 100 == 50)
			commit(f);
	}
	commit(f);
	free(record);
	int64_t low = total(f, "track_klag_ns"), high = total(f, "track_klag_ns_high");
	assert_int_equal(total(f, "track_counting_ns"), 0);
	assert_true(((unsigned __int128)high << 63) + (unsigned __int128)low == sum);
	json_t *json = ask(f, "timing");
	assert_int_equal(field(json, "total"), 1000);
	double average = json_real_value(json_object_get(json, "klag_ms"));
	assert_true(average > 18446744073709.5 && average < 18446744073709.6);
	assert_true(json_real_value(json_object_get(json, "counting_ms")) == 0);
	json_decref(json);
}

static void counting_time_runs_from_the_arrival(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	struct record *record = track_make(&track_example);
	struct event_track *event = (void *)record->payload;
	uint64_t began = clock_real_ns();
	for (unsigned i = 1; i <= 4; i++) {
		event->arrival_ns = began - i * 1000 * NS_PER_MS;
		event->klag_ns = i * 250001;
		assert_true(take(f, record));
	}
	uint64_t most_ms = (clock_real_ns() - began) / NS_PER_MS + 1;
	commit(f);
	free(record);
	json_t *json = ask(f, "timing");
	double average = json_real_value(json_object_get(json, "counting_ms"));
	assert_true(average >= 2500 && average <= 2500 + (double)most_ms);
	assert_true(json_real_value(json_object_get(json, "klag_ms")) == 0.6250025);
	json_decref(json);
}

/* ---- records that are none ---- */

static void a_record_that_is_no_event_is_told_and_counts_nowhere(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	uint32_t room = 4096;
	struct record *whole = track_make(&track_example), *record = calloc(1, room);
	uint32_t length = whole->length;
	for (uint32_t wrong = 0; wrong < length + 8; wrong++) {
		memcpy(record, whole, sizeof *whole + length);
		record->length = wrong;
		assert_true(take(f, record) == (wrong == length));
	}
	record->length = length;
	record->type = EVENT_METRIC;
	assert_false(take(f, record));
	record->type = EVENT_TRACK;
	struct event_track *event = (void *)record->payload;
	event->query_bytes = UINT32_MAX; /* with the others' lengths over 32 bits */
	assert_false(take(f, record));
	event->query_bytes = 0;
	event->type_bytes = UINT16_MAX;
	assert_false(take(f, record));
	commit(f);
	free(record);
	free(whole);
	json_t *json = ask(f, "timing");
	assert_int_equal(field(json, "total"), 1);
	json_decref(json);
}

/* Behind the record lies a page that nothing may touch. */
static void nothing_after_a_record_is_read(void **state)
{
	struct fixture *f = *state;
	static const char *const queries[] = {
	        "",          "%",      "%4",       "a=%",     "action=%",
	        "action=%4", "action", "text",     "action=", "action=preview&text=%c",
	        "&&&&",      "=",      "action=&", "x"};
	char *end = page_end_make(4096);
	open_book(f, "");
	assert_non_null(end);
	for (unsigned i = 0; i < sizeof queries / sizeof queries[0]; i++) {
		struct track_make make = track_example;
		make.type = "offr";
		make.query = queries[i];
		/* No padding: the host's name fills the record up to a multiple of 8. */
		for (unsigned host = 0; host < 8; host++) {
			make.host = &"12345678"[host];
			struct record *record = track_make(&make);
			size_t bytes = sizeof *record + record->length;
			if (bytes % 8 == 0) {
				memcpy(end - bytes, record, bytes);
				assert_true(take(f, (const void *)(end - bytes)));
			}
			free(record);
		}
	}
	commit(f);
	json_t *json = ask(f, "timing");
	assert_int_equal(field(json, "total"), sizeof queries / sizeof queries[0]);
	json_decref(json);
}

static void a_batch_is_taken_in_pieces(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	struct record *record = track_make(&track_example);
	size_t bytes = record_bytes(record->length);
	char *all = calloc(10, bytes);
	for (unsigned i = 0; i < 10; i++)
		memcpy(all + i * bytes, record, sizeof *record + record->length);
	struct record_batch batch = {.at = all, .end = all + 10 * bytes};
	for (unsigned i = 0; i < 4; i++) {
		struct book_taken taken = book_track_kind.take(f->book, &batch, 3);
		assert_int_equal(taken.records, i < 3 ? 3 : 1);
		assert_int_equal(taken.bad, 0);
	}
	assert_ptr_equal(batch.at, batch.end);
	commit(f);
	free(all);
	free(record);
	json_t *json = ask(f, "timing");
	assert_int_equal(field(json, "total"), 10);
	json_decref(json);
}

/* ---- lives ---- */

#define TYPES   30u
#define ACTIONS 3u

struct reference {
	uint64_t type[TYPES][ACTIONS];
	uint64_t country[26];
	uint64_t events;
};

static void add_random(struct fixture *f, struct reference *reference)
{
	char type[16], query[64], country[3] = "A@";
	unsigned t = draw_below(TYPES), a = draw_below(ACTIONS), c = draw_below(26);
	snprintf(type, sizeof type, "type%u", t);
	snprintf(query, sizeof query, a == 0 ? "n=%u" : "n=1&action=%u", a);
	country[1] = (char)('A' + c);
	struct track_make make = track_example;
	make.type = type;
	make.query = query;
	make.country = country;
	add(f, &make);
	reference->type[t][a]++;
	reference->country[c]++;
	reference->events++;
}

static void check_reference(struct fixture *f, const struct reference *reference)
{
	json_t *types = ask(f, "type"), *countries = ask(f, "countries");
	for (unsigned t = 0; t < TYPES; t++)
		for (unsigned a = 0; a < ACTIONS; a++) {
			char key[32];
			snprintf(key, sizeof key, a == 0 ? "type%u" : "type%u[%u]", t, a);
			assert_int_equal(counted(types, key), reference->type[t][a]);
		}
	for (unsigned c = 0; c < 26; c++)
		assert_int_equal(counted(countries, (char[]){'A', (char)('A' + c), '\0'}),
		                 reference->country[c]);
	assert_int_equal(field(types, "total"), reference->events);
	assert_int_equal(field(countries, "total"), reference->events);
	json_decref(types);
	json_decref(countries);
}

static void what_was_committed_is_what_the_next_life_has(void **state)
{
	struct fixture *f = *state;
	static struct reference now, committed;
	now = committed = (struct reference){0};
	open_book(f, "");
	for (unsigned i = 0; i < 60; i++) {
		for (unsigned n = draw_below(300); n > 0; n--)
			add_random(f, &now);
		if (draw_one_in(3)) {
			close_book(f); /* killed */
			open_book(f, "");
			now = committed;
		} else {
			commit(f);
			committed = now;
		}
		if (committed.events > 0)
			check_reference(f, &committed);
	}
}

static void a_commit_that_fails_is_repeated_with_what_came_meanwhile(void **state)
{
	struct fixture *f = *state;
	static struct reference reference;
	reference = (struct reference){0};
	open_book(f, "");
	sqlite3 *db = store_database(f->store);
	for (unsigned i = 0; i < 20; i++) {
		add_random(f, &reference);
		assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(book_track_kind.write(f->book), SQLITE_OK);
		assert_int_equal(sqlite3_exec(db, i % 2 == 0 ? "ROLLBACK" : "COMMIT", NULL, NULL, NULL),
		                 SQLITE_OK);
		assert_true(book_track_kind.rows(f->book) > 0);
	}
	commit(f);
	check_reference(f, &reference);
}

static void over_tops_the_most_frequent_stay_with_their_error(void **state)
{
	struct fixture *f = *state;
	open_book(f, "tally.tops=10");
	for (unsigned i = 0; i < 3000; i++) {
		char type[16];
		snprintf(type, sizeof type, "rare%u", i);
		call(f, i % 3 == 0 ? type : i % 3 == 1 ? "often" : "too", "");
		assert_false(book_track_kind.full(f->book));
		if (i % 500 == 0) {
			commit(f);
			close_book(f);
			open_book(f, "");
		}
	}
	commit(f);
	json_t *json = ask(f, "type"), *item;
	size_t i;
	unsigned found = 0;
	assert_int_equal(field(json, "total"), 3000);
	assert_int_equal(field(json, "keys"), 10);
	assert_true(field(json, "forgotten") >= 100 && field(json, "forgotten") <= 300);
	json_array_foreach(json_object_get(json, "list"), i, item)
	{
		const char *key = json_string_value(json_object_get(item, "key"));
		uint64_t n = strncmp(key, "rare", 4) == 0 ? 1 : 1000;
		assert_true(field(item, "count") - field(item, "error") <= n);
		assert_true(n <= field(item, "count"));
		found += n == 1000;
		assert_true(i >= 2 || n == 1000);
	}
	assert_int_equal(found, 2);
	json_decref(json);
}

static void totals_that_nobody_has_written_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"track_events", "track_klag_ns", "track_counting_ns_high"};
	open_book(f, "");
	call(f, "a", "");
	commit(f);
	for (unsigned i = 0; i < 3; i++) {
		char text[128];
		snprintf(text, sizeof text, "UPDATE total SET value = -1 - value WHERE name = '%s'",
		         names[i]);
		assert_int_equal(sqlite3_exec(store_database(f->store), text, NULL, NULL, NULL), SQLITE_OK);
		close_book(f);
		assert_int_equal(try_open(f), -EPROTO);
		assert_non_null(strstr(f->error.text, names[i]));
		assert_null(f->book);
		assert_int_equal(sqlite3_exec(store_database(f->store), text, NULL, NULL, NULL), SQLITE_OK);
	}
}

/* ---- consumers ---- */

static char *list_consumers(struct fixture *f)
{
	char *text = NULL;
	assert_int_equal(consumers_json(f->folder.data_dir, &text, &f->error), 0);
	return text;
}

static void consumers_are_listed_with_their_totals(void **state)
{
	struct fixture *f = *state;
	open_book(f, "");
	call(f, "offr", "action=preview&text=a");
	call(f, "x", "");
	commit(f);
	char *text = list_consumers(f);
	json_t *all = json_loads(text, 0, NULL);
	static const struct {
		const char *name;
		uint64_t total, keys;
	} expected[] = {{"type", 2, 2},      {"pods", 2, 1},   {"addresses", 2, 1},
	                {"countries", 2, 1}, {"search", 1, 1}, {"timing", 2, 0}};
	assert_int_equal(json_array_size(all), 6);
	for (unsigned i = 0; i < 6; i++) {
		const json_t *one = json_array_get(all, i);
		assert_string_equal(json_string_value(json_object_get(one, "name")), expected[i].name);
		assert_int_equal(field(one, "total"), expected[i].total);
		assert_true(expected[i].keys == 0 || field(one, "keys") == expected[i].keys);
		assert_null(json_object_get(one, "list"));
	}
	json_decref(all);
	free(text);
}

static void before_the_first_event_everything_is_empty(void **state)
{
	struct fixture *f = *state;
	char *text = NULL;
	struct top_page page = {.limit = 10};
	assert_int_equal(consumers_json(f->folder.data_dir, &text, &f->error), -ENODATA);
	assert_int_equal(consumer_json(f->folder.data_dir, "type", page, &text, &f->error), -ENODATA);
	open_book(f, "");
	assert_int_equal(consumer_json(f->folder.data_dir, "type", page, &text, &f->error), 0);
	assert_string_equal(
	        text, "{\"name\": \"type\", \"total\": 0, \"keys\": 0, \"forgotten\": 0, \"list\": []}");
	free(text);
	assert_int_equal(consumer_json(f->folder.data_dir, "timing", page, &text, &f->error), 0);
	assert_string_equal(text,
	                    "{\"name\": \"timing\", \"total\": 0, \"klag_ms\": null, \"counting_ms\": null}");
	free(text);
	free(list_consumers(f));
}

static void a_database_of_the_version_before_has_no_consumers_yet(void **state)
{
	struct fixture *f = *state;
	char *text = NULL;
	open_book(f, "");
	assert_int_equal(sqlite3_exec(store_database(f->store), "PRAGMA user_version = 1", NULL, NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(consumers_json(f->folder.data_dir, &text, &f->error), -ENODATA);
	assert_int_equal(
	        consumer_json(f->folder.data_dir, "pods", (struct top_page){.limit = 1}, &text, &f->error),
	        -ENODATA);
	assert_null(text);
}

static void an_unknown_consumer_is_told_with_those_there_are(void **state)
{
	struct fixture *f = *state;
	char *text = NULL;
	open_book(f, "");
	assert_int_equal(
	        consumer_json(f->folder.data_dir, "types", (struct top_page){.limit = 10}, &text, &f->error),
	        -ENOENT);
	assert_null(text);
	assert_non_null(strstr(f->error.text,
	                       "\"types\"; there are type, pods, addresses, countries, search, timing"));
}

static void memory_is_what_the_lists_can_come_to_hold(void **state)
{
	struct fixture *f = *state;
	f->config = load(NULL, "tally.tops=20000");
	assert_int_equal(book_track_kind.memory_max(f->config), 5 * top_bytes_max(20000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(an_event_counts_under_its_type_or_under_its_type_and_action),
	        TEST(a_search_is_an_offer_previewed_with_a_text),
	        TEST(pods_addresses_and_countries_are_counted_as_events_show_them),
	        TEST(keys_of_any_length_are_cut_and_none_is_lost),
	        TEST(sums_of_time_are_exact_beyond_64_bits),
	        TEST(counting_time_runs_from_the_arrival),
	        TEST(a_record_that_is_no_event_is_told_and_counts_nowhere),
	        TEST(nothing_after_a_record_is_read),
	        TEST(a_batch_is_taken_in_pieces),
	        TEST(what_was_committed_is_what_the_next_life_has),
	        TEST(a_commit_that_fails_is_repeated_with_what_came_meanwhile),
	        TEST(over_tops_the_most_frequent_stay_with_their_error),
	        TEST(totals_that_nobody_has_written_are_refused),
	        TEST(consumers_are_listed_with_their_totals),
	        TEST(before_the_first_event_everything_is_empty),
	        TEST(a_database_of_the_version_before_has_no_consumers_yet),
	        TEST(an_unknown_consumer_is_told_with_those_there_are),
	        TEST(memory_is_what_the_lists_can_come_to_hold),
	};
	alarm(120);
	draw_init(20261127);
	return cmocka_run_group_tests_name("sink/tally/book_track", tests, NULL, NULL);
}
