#include "sink/tally/distinct.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "sink/tally/answer.h"
#include "sink/tally/days.h"
#include "sink/tally/reader.h"
#include "stage/database.h"

static int no_memory(struct shm_error *error)
{
	shm_explain(error, "no memory for the report");
	return -ENOMEM;
}

/* Takes over read->list. */
static int print(const char *date, struct top_read *read, char **json, struct shm_error *error)
{
	json_t *answer = json_pack("{s:s, s:I, s:I, s:I, s:o}", "date", date, "total",
	                           (json_int_t)read->total, "keys", (json_int_t)read->keys, "forgotten",
	                           (json_int_t)read->smallest, "metrics", read->list);
	char *text = answer == NULL ? NULL : answer_print(answer);
	json_decref(answer);
	if (text == NULL)
		return no_memory(error);
	*json = text;
	return 0;
}

/* ---- a day ---- */

int distinct_daily_json(const char *data_dir, const char *date, int64_t now_ms, struct top_page page,
                        char **json, struct shm_error *error)
{
	struct reader reader;
	struct top_read read;
	char name[TOP_NAME_MAX], month[DAYS_TEXT];
	int64_t day;
	if (!days_parse_date(date, &day)) {
		shm_explain(error, "\"%.40s\" is no day: one like 2026-11-27 is wanted", date);
		return -EINVAL;
	}
	int result = reader_open(&reader, data_dir, 2, error);
	if (result != 0)
		return result;
	snprintf(name, sizeof name, DAYS_PREFIX "%s", date);
	result = top_read(reader.db, name, "_id", page, &read);
	bool old = day < now_ms / MS_PER_DAY - DAYS_KEPT;
	if (result == -ENOENT && old) {
		json_decref(read.list);
		shm_explain(error,
		            "%s: days that ended more than %d days ago are kept with their month alone: %s",
		            date, DAYS_KEPT, days_month(month, day));
	} else if (result == 0 || result == -ENOENT) {
		result = print(date, &read, json, error);
	} else if (result == -ENOMEM) {
		(void)no_memory(error);
	} else {
		shm_explain(error, "%s: %s", reader.path, sqlite3_errmsg(reader.db));
	}
	reader_close(&reader);
	return result;
}

/* ---- a month ---- */

struct month {
	struct reader reader;
	struct top_store store;
	struct top *top;
	const char *month; /* "2026-11" */
};

/* Counters of all lists of the month: room for so many loses nothing. */
static int count_counters(struct month *month, uint32_t *capacity, struct shm_error *error)
{
	// clang-format off
	static const char text[] =
	        "SELECT count(*) FROM top JOIN top_counter ON list = id WHERE name = '" MONTH_PREFIX "' || ?1"
	        " OR (name > '" DAYS_PREFIX "' || ?1 || '-' AND name < '" DAYS_PREFIX "' || ?1 || '.')";
	// clang-format on
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(month->reader.db, text, -1, &statement, NULL);
	if (result == SQLITE_OK) {
		sqlite3_bind_text(statement, 1, month->month, -1, SQLITE_STATIC);
		result = sqlite3_step(statement);
		int64_t counters = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
		/* One more, or a list that holds all looks as if it had forgotten some. */
		*capacity = counters < TOP_CAPACITY_MAX ? (uint32_t)counters + 1 : TOP_CAPACITY_MAX;
	}
	int reported = result == SQLITE_ROW ? 0 : reader_explain(&month->reader, result, error);
	sqlite3_finalize(statement);
	return reported;
}

/* Adds the lists of the days to the month's own. */
static int add_days(struct month *month, uint32_t capacity, struct shm_error *error)
{
	char prefix[TOP_NAME_MAX], name[TOP_NAME_MAX] = "", after[TOP_NAME_MAX];
	snprintf(prefix, sizeof prefix, DAYS_PREFIX "%s-", month->month);
	for (;;) {
		struct top *day;
		memcpy(after, name, sizeof after);
		int result = top_store_next(&month->store, prefix, after, name, error);
		if (result == 1)
			result = top_store_load(&month->store, name, capacity, &day, error);
		else
			return result;
		if (result != 0)
			return result;
		top_merge(month->top, day);
		top_free(day);
	}
}

static int descending(const void *a, const void *b)
{
	const struct top_counter *x = a, *y = b;
	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	uint32_t bytes = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
	int order = memcmp(x->key, y->key, bytes);
	return order != 0 ? order : (x->key_bytes > y->key_bytes) - (x->key_bytes < y->key_bytes);
}

static bool append(json_t *list, const struct top_counter *counter)
{
	json_t *name = answer_string(counter->key, counter->key_bytes);
	json_t *item = name == NULL
	                       ? NULL
	                       : json_pack("{s:o, s:I, s:I}", "_id", name, "count",
	                                   (json_int_t)counter->count, "error", (json_int_t)counter->error);
	return item != NULL && json_array_append_new(list, item) == 0;
}

static int print_month(struct month *month, struct top_page page, char **json, struct shm_error *error)
{
	uint32_t n = top_used(month->top);
	struct top_counter *counter = calloc((size_t)n + 1, sizeof *counter);
	struct top_read read = {.total = top_total(month->top),
	                        .keys = n,
	                        .smallest = top_smallest(month->top),
	                        .list = json_array()};
	bool good = counter != NULL && read.list != NULL;
	for (uint32_t i = 0; good && i < n; i++)
		counter[i] = top_at(month->top, i);
	if (good)
		qsort(counter, n, sizeof *counter, descending);
	uint64_t limit = page.limit < TOP_LIMIT_MAX ? page.limit : TOP_LIMIT_MAX;
	for (uint64_t i = page.offset; good && i < n && i - page.offset < limit; i++)
		good = append(read.list, &counter[i]);
	free(counter);
	if (good)
		return print(month->month, &read, json, error);
	json_decref(read.list);
	return no_memory(error);
}

int distinct_monthly_json(const char *data_dir, const char *text, struct top_page page, char **json,
                          struct shm_error *error)
{
	struct month month = {.month = text};
	char name[TOP_NAME_MAX];
	uint32_t capacity = 1;
	int64_t day;
	if (!days_parse_month(text, &day)) {
		shm_explain(error, "\"%.40s\" is no month: one like 2026-11 is wanted", text);
		return -EINVAL;
	}
	int result = reader_open(&month.reader, data_dir, 2, error);
	if (result == 0)
		result = count_counters(&month, &capacity, error);
	if (result == 0)
		result = top_store_open(&month.store, month.reader.db, error);
	snprintf(name, sizeof name, MONTH_PREFIX "%s", text);
	if (result == 0)
		result = top_store_load(&month.store, name, capacity, &month.top, error);
	if (result == 0)
		result = add_days(&month, capacity, error);
	if (result == 0)
		result = print_month(&month, page, json, error);
	top_free(month.top);
	top_store_close(&month.store);
	reader_close(&month.reader);
	return result;
}
