/* tally_tool CONFIG: tally's books of metric and track with the test's clock. Commands on standard
 * input are done one after the other, each a line with a JSON array:
 *
 *     ["metric", ARRIVAL_MS, USERNAME, METRIC, COUNT]                                       an event of topic metric
 *     ["track", ARRIVAL_MS, TYPE, QUERY, ADDRESS, COUNTRY, POD, KLAG_MS]                    one of topic track; ADDRESS as of IPv6
 *     ["turn", NOW_MS]                                                                      the time is now
 *     ["commit"]
 *     ["hour", NOW_MS]  ["user_hour", NOW_MS]  ["day", DATE, NOW_MS]  ["month", MONTH]      questions, answered from the database alone,
 *     ["account", USERNAME]  ["consumer", NAME]                                             with the sums that averages come from
 *
 *     a line is printed     {"metric": n, "track": n}       at the start: events that the database has, counted
 *                           {"answer": ..., "beyond": n}    for a question; beyond: as user_hour has it, otherwise 0
 *                           {"error": errno, "reason": text}
 *
 * Events of a topic wait, as in a lane, until another command comes; then the book takes all of
 * them. A book that is full commits first, as the stage does. How many were taken is written as the
 * lane's cursor by the commit, so the next life tells where it ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "event/event.h"
#include "sink/tally/accounts.h"
#include "sink/tally/consumers.h"
#include "sink/tally/distinct.h"
#include "sink/tally/hourly.h"
#include "sink/tally/tally.h"
#include "tests/fixture/track_make.h"

#define LANES     2u
#define TRIES_MAX 10u /* commits for one batch that take none of it */

static const char *const topics[LANES] = {"metric", "track"};

static struct config *config;
static struct store *store;
static struct books books; /* in the order of topics */

/* What waits, records one after the other, and how many its book has taken. */
static struct feed {
	char *at;
	size_t bytes, room;
	uint64_t taken;
} feed[LANES];

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

/* ---- counting ---- */

static void commit(void)
{
	struct settle_cursor cursor[LANES];
	struct shm_error error;
	for (unsigned i = 0; i < LANES; i++)
		cursor[i] = (struct settle_cursor){.topic = topics[i], .records = feed[i].taken};
	if (store_commit(store, books.book, books.n, cursor, LANES, NULL, &error) != 0)
		fail("commit", error.text);
}

static void count(unsigned i)
{
	struct book *book = books.book[i];
	struct record_batch batch = {.at = feed[i].at, .end = feed[i].at + feed[i].bytes};
	unsigned tries = 0;
	while (batch.at != batch.end) {
		struct book_taken taken = book->kind->take(book, &batch, TALLY_POLL_RECORDS);
		if (taken.bad != 0 || batch.corrupt)
			fail(topics[i], "no event");
		feed[i].taken += taken.records;
		tries = taken.records == 0 ? tries + 1 : 0;
		if (tries > TRIES_MAX)
			fail(topics[i], "the book takes no more");
		if (book->kind->full(book))
			commit();
	}
	feed[i].bytes = 0;
}

/* Begins a record after those that wait; returns where its payload goes. */
static void *put(unsigned i, uint16_t type, size_t length)
{
	size_t bytes = record_bytes(length);
	if (feed[i].bytes + bytes > feed[i].room) {
		feed[i].room = 2 * (feed[i].room + bytes);
		feed[i].at = realloc(feed[i].at, feed[i].room);
		if (feed[i].at == NULL)
			abort();
	}
	char *at = memset(feed[i].at + feed[i].bytes, 0, bytes);
	feed[i].bytes += bytes;
	return record_put(at, type, (uint32_t)length);
}

static bool put_metric(json_t *command)
{
	json_int_t ms, count;
	const char *what, *user, *metric;
	size_t user_bytes, metric_bytes;
	if (json_unpack(command, "[s,I,s%,s%,I!]", &what, &ms, &user, &user_bytes, &metric, &metric_bytes,
	                &count) != 0)
		return false;
	struct event_metric *event = put(0, EVENT_METRIC, sizeof *event + user_bytes + metric_bytes);
	event->arrival_ns = (uint64_t)ms * NS_PER_MS;
	event->username_bytes = (uint16_t)user_bytes;
	event->metric_bytes = (uint16_t)metric_bytes;
	event->count = count;
	memcpy(event->text, user, user_bytes);
	memcpy(event->text + user_bytes, metric, metric_bytes);
	return true;
}

static bool put_track(json_t *command)
{
	struct track_make make = track_example;
	const char *what, *address;
	uint8_t bytes[16];
	json_int_t ms, klag_ms;
	if (json_unpack(command, "[s,I,s,s,s,s,s,I!]", &what, &ms, &make.type, &make.query, &address,
	                &make.country, &make.pod, &klag_ms) != 0 ||
	    inet_pton(AF_INET6, address, bytes) != 1)
		return false;
	make.address = bytes;
	make.arrival_ms = (uint64_t)ms;
	make.klag_ms = (uint64_t)klag_ms;
	struct record *record = track_make(&make);
	memcpy(put(1, EVENT_TRACK, record->length), record->payload, record->length);
	free(record);
	return true;
}

/* ---- asking ---- */

/* -EDOM: it is no question. */
static int ask(json_t *command, char **json, uint64_t *beyond, struct shm_error *error)
{
	const char *data_dir = config_string(config, "data_dir");
	const char *what = json_string_value(json_array_get(command, 0)),
	           *which = json_string_value(json_array_get(command, 1));
	int64_t now_ms = json_integer_value(json_array_get(command, json_array_size(command) - 1));
	struct top_page page = {.limit = TOP_LIMIT_MAX, .sums = true};
	if (strcmp(what, "hour") == 0)
		return hourly_total_json(data_dir, now_ms, page, json, error);
	if (strcmp(what, "user_hour") == 0)
		return hourly_per_user_json(data_dir, now_ms, page, json, beyond, error);
	if (which == NULL)
		return -EDOM;
	if (strcmp(what, "day") == 0)
		return distinct_daily_json(data_dir, which, now_ms, page, json, error);
	if (strcmp(what, "month") == 0)
		return distinct_monthly_json(data_dir, which, page, json, error);
	if (strcmp(what, "account") == 0)
		return accounts_json(data_dir, which, json, error);
	if (strcmp(what, "consumer") == 0)
		return consumer_json(data_dir, which, page, json, error);
	return -EDOM;
}

static bool answer(json_t *command)
{
	struct shm_error error;
	char *json = NULL;
	uint64_t beyond = 0;
	int result = ask(command, &json, &beyond, &error);
	if (result == -EDOM)
		return false;
	if (result == 0) {
		printf("{\"answer\": %s, \"beyond\": %" PRIu64 "}\n", json, beyond);
	} else {
		json_t *line = json_pack("{s:i, s:s}", "error", -result, "reason", error.text);
		json_dumpf(line, stdout, 0);
		printf("\n");
		json_decref(line);
	}
	fflush(stdout);
	free(json);
	return true;
}

/* ---- commands ---- */

static bool obey(json_t *command)
{
	const char *what = json_string_value(json_array_get(command, 0));
	if (what == NULL)
		return false;
	if (strcmp(what, "metric") == 0)
		return put_metric(command);
	if (strcmp(what, "track") == 0)
		return put_track(command);
	for (unsigned i = 0; i < LANES; i++)
		count(i);
	if (strcmp(what, "turn") == 0)
		books_turn(&books, json_integer_value(json_array_get(command, 1)));
	else if (strcmp(what, "commit") == 0)
		commit();
	else
		return answer(command);
	return true;
}

static void open_tally(void)
{
	struct shm_error error;
	if (tally_open(config, topics, LANES, &books, &store, &error) != 0)
		fail("open", error.text);
	for (unsigned i = 0; i < LANES; i++) {
		struct settle_cursor cursor = {.topic = topics[i]};
		int result = store_read_cursor(store, &cursor, &error);
		if (result != 0 && result != -ENOENT)
			fail("cursor", error.text);
		feed[i].taken = cursor.records;
	}
	printf("{\"metric\": %" PRIu64 ", \"track\": %" PRIu64 "}\n", feed[0].taken, feed[1].taken);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char *errors = NULL, *line = NULL;
	size_t room = 0;
	ssize_t bytes;
	config = argc == 2 ? config_load(argv[1], NULL, 0, &errors) : NULL;
	if (config == NULL)
		fail("usage: tally_tool CONFIG", errors != NULL ? errors : "");
	open_tally();
	while ((bytes = getline(&line, &room, stdin)) > 0) {
		json_t *command = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, NULL);
		if (!obey(command))
			fail("no command", line);
		json_decref(command);
	}
	free(line);
	for (unsigned i = 0; i < LANES; i++)
		free(feed[i].at);
	books_close(&books);
	store_close(store);
	config_free(config);
	return 0;
}
