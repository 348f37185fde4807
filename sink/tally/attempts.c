#include "sink/tally/attempts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "event/event.h"
#include "sink/tally/answer.h"
#include "sink/tally/attempts_sum.h"
#include "sink/tally/reader.h"

struct item {
	int64_t step;
	char *endpoint; /* NULL: none is begun */
	struct attempts_sum outcome[OUTCOME_COUNT];
};

struct work {
	const struct attempts_question *question;
	int64_t first, end, step; /* minutes */
	struct item item;         /* the one that rows are added to */
	struct attempts_sum all[OUTCOME_COUNT];
	uint64_t n_items;
	json_t *items;
};

static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

/* ---- items ---- */

static int put_head(const struct work *work, json_t *object)
{
	const struct item *item = &work->item;
	int result = 0;
	if (work->question->step_ms != 0)
		result = put(object, "ts",
		             json_integer((work->first + item->step * work->step) * ATTEMPTS_STEP_MS));
	if (item->endpoint[0] == '\0') {
		if (result == 0)
			result = put(object, "endpoint", json_null());
		return result == 0 ? put(object, "other", json_true()) : result;
	}
	return result == 0 ? put(object, "endpoint", answer_string(item->endpoint, strlen(item->endpoint)))
	                   : result;
}

/* The item is complete: it goes to the list, if it is of the page. */
static int end_item(struct work *work)
{
	struct item *item = &work->item;
	const struct attempts_question *question = work->question;
	int result = 0;
	if (item->endpoint == NULL)
		return 0;
	uint64_t place = work->n_items++;
	for (unsigned i = 0; i < OUTCOME_COUNT; i++)
		attempts_sum_add(&work->all[i], &item->outcome[i]);
	if (place >= question->offset && place - question->offset < question->limit) {
		json_t *object = json_object();
		result = object == NULL ? -ENOMEM : put_head(work, object);
		if (result == 0)
			result = attempts_sums_put(object, item->outcome, question->sums);
		if (result == 0 && json_array_append(work->items, object) != 0)
			result = -ENOMEM;
		json_decref(object);
	}
	free(item->endpoint);
	item->endpoint = NULL;
	return result;
}

static int begin_item(struct work *work, int64_t step, const char *endpoint)
{
	struct item *item = &work->item;
	if (item->endpoint != NULL && item->step == step && strcmp(item->endpoint, endpoint) == 0)
		return 0;
	int result = end_item(work);
	if (result != 0)
		return result;
	memset(item->outcome, 0, sizeof item->outcome);
	item->step = step;
	item->endpoint = strdup(endpoint);
	return item->endpoint == NULL ? -ENOMEM : 0;
}

/* step, endpoint, outcome, count, sum_us, first, latency */
static int add_row(struct work *work, sqlite3_stmt *row)
{
	const char *endpoint = (const char *)sqlite3_column_text(row, 1);
	int64_t outcome = sqlite3_column_int64(row, 2);
	int64_t count = sqlite3_column_int64(row, 3), us = sqlite3_column_int64(row, 4);
	if (endpoint == NULL || outcome < 0 || outcome >= OUTCOME_COUNT || count < 0 || us < 0)
		return -EPROTO;
	int result = begin_item(work, sqlite3_column_int64(row, 0), endpoint);
	struct attempts_sum *sum = &work->item.outcome[outcome];
	if (result != 0)
		return result;
	sum->count += (uint64_t)count;
	sum->us += (uint64_t)us;
	return latency_add(sum->bucket, sqlite3_column_int64(row, 5), sqlite3_column_blob(row, 6),
	                   (size_t)sqlite3_column_bytes(row, 6))
	               ? 0
	               : -EPROTO;
}

/* ---- the question ---- */

#define COLUMNS "endpoint, outcome, count, sum_us, first, latency FROM delivery_minute"
#define WHERE                                 \
	" WHERE minute >= ?1 AND minute < ?2" \
	" AND (?4 IS NULL OR substr(endpoint, 1, length(?4)) = ?4)"

/* Steps of one minute come in the table's own order: nothing is sorted. */
static const char by_minute[] =
        "SELECT minute - ?1, " COLUMNS WHERE " AND ?3 = 1 ORDER BY minute, endpoint, outcome";
static const char by_step[] =
        "SELECT (minute - ?1) / ?3 AS step, " COLUMNS WHERE " ORDER BY step, endpoint, outcome";

static int read_rows(struct work *work, struct reader *reader, struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result, added = 0;
	result = sqlite3_prepare_v2(reader->db, work->step == 1 ? by_minute : by_step, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	sqlite3_bind_int64(statement, 1, work->first);
	sqlite3_bind_int64(statement, 2, work->end);
	sqlite3_bind_int64(statement, 3, work->step);
	if (work->question->endpoint != NULL)
		sqlite3_bind_text(statement, 4, work->question->endpoint, -1, SQLITE_STATIC);
	while (added == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
		added = add_row(work, statement);
	if (added == -EPROTO)
		shm_explain(error, "%s: table delivery_minute: a row is not what was stored there",
		            reader->path);
	else if (added == 0 && result != SQLITE_DONE)
		added = reader_explain(reader, result, error);
	sqlite3_finalize(statement);
	return added != 0 ? added : end_item(work);
}

static json_t *pack(const struct work *work)
{
	json_t *all = json_object();
	json_t *object = json_pack("{s:I, s:I, s:I, s:O, s:O, s:I}", "from_ts",
	                           (json_int_t)work->first * ATTEMPTS_STEP_MS, "to_ts",
	                           (json_int_t)work->end * ATTEMPTS_STEP_MS, "step_s",
	                           (json_int_t)work->question->step_ms / 1000, "all", all, "items",
	                           work->items, "total", (json_int_t)work->n_items);
	bool whole = object != NULL && attempts_sums_put(all, work->all, work->question->sums) == 0;
	json_decref(all);
	if (whole)
		return object;
	json_decref(object);
	return NULL;
}

static int check(const struct attempts_question *question, struct shm_error *error)
{
	const char *wrong = NULL;
	if (question->from_ms < 0 || question->to_ms <= question->from_ms || question->to_ms > INT64_MAX / 2)
		wrong = "the span is empty, or begins before 1970";
	else if (question->step_ms < 0 || question->step_ms % ATTEMPTS_STEP_MS != 0)
		wrong = "a step is of whole minutes";
	else if (question->limit > ATTEMPTS_LIMIT_MAX)
		wrong = "the limit is at most 10000";
	if (wrong != NULL)
		shm_explain(error, "%s", wrong);
	return wrong != NULL ? -EINVAL : 0;
}

static int64_t minutes_up(int64_t ms)
{
	return (ms + ATTEMPTS_STEP_MS - 1) / ATTEMPTS_STEP_MS;
}

int attempts_json(const char *data_dir, const struct attempts_question *question, char **json,
                  struct shm_error *error)
{
	struct reader reader = {.db = NULL};
	int result = check(question, error);
	if (result != 0)
		return result;
	struct work work = {
	        .question = question,
	        .first = question->from_ms / ATTEMPTS_STEP_MS,
	        .end = minutes_up(question->to_ms),
	        .items = json_array(),
	};
	work.step = question->step_ms != 0 ? question->step_ms / ATTEMPTS_STEP_MS : work.end - work.first;
	result = work.items == NULL ? -ENOMEM : reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result == 0)
		result = read_rows(&work, &reader, error);
	reader_close(&reader);
	if (result == 0)
		result = answer_give(pack(&work), JSON_COMPACT | JSON_REAL_PRECISION(6), json, error);
	else if (result == -ENOMEM)
		(void)answer_no_memory(error);
	free(work.item.endpoint);
	json_decref(work.items);
	return result;
}
