#include "sink/tally/consumers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/wide.h"
#include "sink/tally/answer.h"
#include "sink/tally/book_track.h"
#include "sink/tally/reader.h"

static const struct consumer {
	const char *name;
	const char *list; /* NULL: timing */
} consumers[] = {
        {"type", BOOK_TRACK_TYPE},         {"pods", BOOK_TRACK_POD},      {"addresses", BOOK_TRACK_ADDRESS},
        {"countries", BOOK_TRACK_COUNTRY}, {"search", BOOK_TRACK_SEARCH}, {"timing", NULL},
};

#define CONSUMERS (sizeof consumers / sizeof consumers[0])

/* ---- timing ---- */

struct timing {
	uint64_t events;
	unsigned __int128 klag_ns, counting_ns;
};

static int read_total(const struct reader *reader, const char *name, uint64_t *value)
{
	int64_t number = 0;
	int result = store_total(reader->db, name, &number);
	*value = (uint64_t)number;
	return result;
}

static int read_timing(const struct reader *reader, struct timing *timing)
{
	static const char *const name[] = {
	        BOOK_TRACK_EVENTS,
	        BOOK_TRACK_KLAG,
	        BOOK_TRACK_COUNTING,
	        BOOK_TRACK_KLAG BOOK_TRACK_HIGH,
	        BOOK_TRACK_COUNTING BOOK_TRACK_HIGH,
	};
	uint64_t value[sizeof name / sizeof name[0]];
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < sizeof name / sizeof name[0]; i++)
		result = read_total(reader, name[i], &value[i]);
	if (result == SQLITE_OK)
		*timing = (struct timing){
		        .events = value[0],
		        .klag_ns = (unsigned __int128)value[3] << BOOK_TRACK_LOW_BITS | value[1],
		        .counting_ns = (unsigned __int128)value[4] << BOOK_TRACK_LOW_BITS | value[2],
		};
	return result;
}

json_t *consumers_average_ms(unsigned __int128 sum_ns, uint64_t n)
{
	unsigned __int128 divisor = (unsigned __int128)n * NS_PER_MS;
	if (n == 0)
		return json_null();
	unsigned __int128 whole = sum_ns / divisor;
	return json_real((double)whole + (double)(sum_ns % divisor) / (double)divisor);
}

/* ---- answers ---- */

static int show_list(const struct reader *reader, const struct consumer *consumer, struct top_page page,
                     json_t **answer, struct shm_error *error)
{
	struct top_read read;
	int result = top_read(reader, consumer->list, "key", page, &read, error);
	if (result != 0 && result != -ENOENT)
		return result;
	/* A list that nobody has written is empty. */
	*answer = json_pack("{s:s, s:I, s:I, s:I, s:o}", "name", consumer->name, "total",
	                    (json_int_t)read.total, "keys", (json_int_t)read.keys, "forgotten",
	                    (json_int_t)read.smallest, "list", read.list);
	return 0;
}

/* Beside the averages, for who merges them with others. */
static int put_sum(json_t *answer, const char *name, unsigned __int128 sum_ns)
{
	char text[WIDE_TEXT_BYTES];
	return json_object_set_new(answer, name, json_string(wide_print(text, (__int128)sum_ns)));
}

static int show_timing(const struct reader *reader, bool sums, json_t **answer, struct shm_error *error)
{
	struct timing timing;
	int result = read_timing(reader, &timing);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	*answer = json_pack("{s:s, s:I, s:o, s:o}", "name", "timing", "total", (json_int_t)timing.events,
	                    "klag_ms", consumers_average_ms(timing.klag_ns, timing.events), "counting_ms",
	                    consumers_average_ms(timing.counting_ns, timing.events));
	if (sums && *answer != NULL &&
	    (put_sum(*answer, "klag_sum_ns", timing.klag_ns) != 0 ||
	     put_sum(*answer, "counting_sum_ns", timing.counting_ns) != 0))
		return answer_no_memory(error);
	return 0;
}

static int show(const struct reader *reader, const struct consumer *consumer, struct top_page page,
                json_t **answer, struct shm_error *error)
{
	return consumer->list == NULL ? show_timing(reader, page.sums, answer, error)
	                              : show_list(reader, consumer, page, answer, error);
}

/* A consumer without what it counted. */
static int append_summary(const struct reader *reader, const struct consumer *consumer, json_t *all,
                          struct shm_error *error)
{
	json_t *one = NULL;
	int result = show(reader, consumer, (struct top_page){.limit = 0}, &one, error);
	if (result != 0)
		return result;
	(void)json_object_del(one, "list");
	(void)json_object_del(one, "klag_ms");
	(void)json_object_del(one, "counting_ms");
	return json_array_append_new(all, one) == 0 ? 0 : answer_no_memory(error);
}

int consumers_json(const char *data_dir, char **json, struct shm_error *error)
{
	struct reader reader;
	json_t *all = json_array();
	int result = all == NULL ? answer_no_memory(error)
	                         : reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0) {
		json_decref(all);
		return result;
	}
	for (unsigned i = 0; result == 0 && i < CONSUMERS; i++)
		result = append_summary(&reader, &consumers[i], all, error);
	if (result == 0)
		result = answer_give(json_incref(all), 0, json, error);
	json_decref(all);
	reader_close(&reader);
	return result;
}

static const struct consumer *find(const char *name)
{
	for (unsigned i = 0; i < CONSUMERS; i++)
		if (strcmp(name, consumers[i].name) == 0)
			return &consumers[i];
	return NULL;
}

static int say_unknown(const char *name, struct shm_error *error)
{
	char names[128] = "";
	for (unsigned i = 0; i < CONSUMERS; i++)
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i == 0 ? "" : ", ",
		         consumers[i].name);
	shm_explain(error, "there is no consumer \"%.40s\"; there are %s", name, names);
	return -ENOENT;
}

int consumer_json(const char *data_dir, const char *name, struct top_page page, char **json,
                  struct shm_error *error)
{
	const struct consumer *consumer = find(name);
	struct reader reader;
	json_t *answer = NULL;
	if (consumer == NULL)
		return say_unknown(name, error);
	int result = reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0)
		return result;
	result = show(&reader, consumer, page, &answer, error);
	if (result == 0)
		result = answer_give(answer, 0, json, error);
	else
		json_decref(answer);
	reader_close(&reader);
	return result;
}
