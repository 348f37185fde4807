#include "sink/tally/hourly.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/wide.h"
#include "sink/tally/answer.h"
#include "sink/tally/hour_blob.h"
#include "sink/tally/hour_store.h"
#include "sink/tally/names.h"
#include "sink/tally/reader.h"
#include "stage/database.h"

/* The rows of one minute, in the order of their accounts. */
struct rows {
	sqlite3_stmt *statement; /* NULL: there are no more */
	uint32_t account;        /* of the row it stands at */
};

struct hourly {
	struct reader reader;
	struct rows rows[HOUR_MINUTES];
	struct top_page page;
	json_t *list;
	uint64_t passed; /* entries, those before the page too */
	/* Of the metrics of one account, by metric: what was found, and which. */
	struct hour_value *value;
	uint32_t *found;
	uint32_t n_found, n_values;
	sqlite3_stmt *metric_name, *account_name;
};

/* ---- numbers ---- */

double hourly_average(__int128 sum, uint64_t count)
{
	unsigned __int128 whole = sum < 0 ? -(unsigned __int128)sum : (unsigned __int128)sum;
	unsigned __int128 quotient = whole / count, rest = whole % count;
	int shift = 0;
	if (whole == 0)
		return 0;
	/* 55 bits at least, of which the last says whether anything follows: the conversion rounds
	 * as if it saw all. */
	for (; quotient < (unsigned __int128)1 << 54; shift++) {
		rest <<= 1;
		quotient = quotient << 1 | (rest >= count);
		rest -= rest >= count ? count : 0;
	}
	double average = ldexp((double)((uint64_t)quotient | (rest != 0)), -shift);
	return sum < 0 ? -average : average;
}

static void add_value(struct hour_value *to, const struct hour_value *value)
{
	if (to->count == 0) {
		*to = *value;
		return;
	}
	to->count += value->count;
	to->sum += value->sum;
	to->least = value->least < to->least ? value->least : to->least;
	to->greatest = value->greatest > to->greatest ? value->greatest : to->greatest;
}

/* ---- opening ---- */

static int damaged(struct hourly *hourly, struct shm_error *error)
{
	shm_explain(error, "%s: table hour: not what was stored there; restore a copy or move the file away",
	            hourly->reader.path);
	return -EPROTO;
}

static int open_hourly(struct hourly *hourly, const char *data_dir, struct top_page page,
                       struct shm_error *error)
{
	int64_t metrics = 0;
	*hourly = (struct hourly){.page = page};
	if (hourly->page.limit > TOP_LIMIT_MAX)
		hourly->page.limit = TOP_LIMIT_MAX;
	int result = reader_open(&hourly->reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0)
		return result;
	result = database_number(hourly->reader.db, "SELECT coalesce(max(id), 0) FROM metric_name", &metrics);
	if (result == SQLITE_OK)
		result = sqlite3_prepare_v2(hourly->reader.db, "SELECT name FROM metric_name WHERE id = ?1",
		                            -1, &hourly->metric_name, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_prepare_v2(hourly->reader.db, "SELECT name FROM account WHERE id = ?1", -1,
		                            &hourly->account_name, NULL);
	if (result != SQLITE_OK)
		return reader_explain(&hourly->reader, result, error);
	if (metrics < 0 || metrics > NAMES_LIMIT_MAX)
		return damaged(hourly, error);
	hourly->n_values = (uint32_t)metrics + 1;
	hourly->value = calloc(hourly->n_values, sizeof *hourly->value);
	hourly->found = calloc(hourly->n_values, sizeof *hourly->found);
	hourly->list = json_array();
	return hourly->value == NULL || hourly->found == NULL || hourly->list == NULL
	               ? answer_no_memory(error)
	               : 0;
}

static void close_hourly(struct hourly *hourly)
{
	for (unsigned i = 0; i < HOUR_MINUTES; i++)
		sqlite3_finalize(hourly->rows[i].statement);
	sqlite3_finalize(hourly->metric_name);
	sqlite3_finalize(hourly->account_name);
	json_decref(hourly->list);
	free(hourly->value);
	free(hourly->found);
	reader_close(&hourly->reader);
}

/* ---- entries ---- */

/* Every number that a row of the hour has is a row of its table too. */
static int name_of(struct hourly *hourly, sqlite3_stmt *statement, uint32_t id, json_t **name,
                   struct shm_error *error)
{
	sqlite3_bind_int64(statement, 1, id);
	int reported = 0, result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		const char *bytes = sqlite3_column_blob(statement, 0); /* NULL for the empty one */
		*name = answer_string(bytes == NULL ? "" : bytes, (size_t)sqlite3_column_bytes(statement, 0));
		if (*name == NULL)
			reported = answer_no_memory(error);
	} else {
		reported = result == SQLITE_DONE ? damaged(hourly, error)
		                                 : reader_explain(&hourly->reader, result, error);
	}
	sqlite3_reset(statement);
	return reported;
}

/* What an entry is about; the metric alone when account is HOUR_ALL. */
static int id_of(struct hourly *hourly, uint32_t account, uint32_t metric, json_t **id,
                 struct shm_error *error)
{
	bool other = metric == HOUR_OTHER;
	json_t *name = other ? json_true() : NULL, *user = NULL;
	int result = other ? 0 : name_of(hourly, hourly->metric_name, metric, &name, error);
	if (result == 0 && account != HOUR_ALL)
		result = name_of(hourly, hourly->account_name, account, &user, error);
	if (result != 0) {
		json_decref(name);
		return result;
	}
	if (account != HOUR_ALL)
		*id = json_pack("{s:o, s:o}", "username", user, other ? "other" : "metric", name);
	else
		*id = other ? json_pack("{s:o}", "other", name) : name;
	return *id == NULL ? answer_no_memory(error) : 0;
}

/* Beside the average, for who merges it with others. */
static bool put_sum(const struct hourly *hourly, json_t *item, __int128 sum)
{
	char text[WIDE_TEXT_BYTES];
	return !hourly->page.sums ||
	       json_object_set_new(item, "sum", json_string(wide_print(text, sum))) == 0;
}

static int append(struct hourly *hourly, uint32_t account, uint32_t metric, struct shm_error *error)
{
	const struct hour_value *value = &hourly->value[metric];
	json_t *id = NULL;
	int result = id_of(hourly, account, metric, &id, error);
	if (result != 0)
		return result;
	json_t *item = json_pack("{s:o, s:I, s:I, s:f, s:I}", "_id", id, "minimum", (json_int_t)value->least,
	                         "maximum", (json_int_t)value->greatest, "average",
	                         hourly_average(value->sum, value->count), "count", (json_int_t)value->count);
	bool good = item != NULL && put_sum(hourly, item, value->sum) &&
	            json_array_append(hourly->list, item) == 0;
	json_decref(item);
	return good ? 0 : answer_no_memory(error);
}

static int ascending(const void *a, const void *b)
{
	/* HOUR_OTHER, which is 0, comes last. */
	uint32_t x = *(const uint32_t *)a - 1, y = *(const uint32_t *)b - 1;
	return (x > y) - (x < y);
}

static bool page_is_full(const struct hourly *hourly)
{
	return json_array_size(hourly->list) >= hourly->page.limit;
}

/* Appends the metrics of an account that belong to the page, and forgets them. */
static int flush(struct hourly *hourly, uint32_t account, struct shm_error *error)
{
	int result = 0;
	uint64_t before = hourly->page.offset > hourly->passed ? hourly->page.offset - hourly->passed : 0;
	if (before < hourly->n_found)
		qsort(hourly->found, hourly->n_found, sizeof *hourly->found, ascending);
	for (uint64_t i = before; result == 0 && i < hourly->n_found && !page_is_full(hourly); i++)
		result = append(hourly, account, hourly->found[i], error);
	for (uint32_t i = 0; i < hourly->n_found; i++)
		hourly->value[hourly->found[i]].count = 0;
	hourly->passed += hourly->n_found;
	hourly->n_found = 0;
	return result;
}

/* Adds the cells of a row. */
static bool add_row(struct hourly *hourly, sqlite3_stmt *row)
{
	const uint8_t *bytes = sqlite3_column_blob(row, 1);
	struct hour_blob blob = {.at = bytes, .end = bytes};
	struct hour_value value;
	uint32_t metric;
	if (bytes == NULL)
		return false;
	blob.end += sqlite3_column_bytes(row, 1);
	while (hour_blob_next(&blob, &metric, &value)) {
		if (metric >= hourly->n_values)
			return false;
		if (hourly->value[metric].count == 0)
			hourly->found[hourly->n_found++] = metric;
		add_value(&hourly->value[metric], &value);
	}
	return !blob.bad;
}

/* ---- all accounts together ---- */

/* The rows of account 0 in the window; beyond is summed up. */
static int read_totals(struct hourly *hourly, int64_t now, bool values, uint64_t *beyond,
                       struct shm_error *error)
{
	sqlite3_stmt *row;
	int result = sqlite3_prepare_v2(hourly->reader.db, "SELECT beyond, cells FROM hour WHERE id = ?1", -1,
	                                &row, NULL);
	if (result != SQLITE_OK)
		return reader_explain(&hourly->reader, result, error);
	bool good = true;
	uint64_t sum = 0;
	for (int64_t minute = now - HOUR_MINUTES + 1; good && minute <= now; minute++) {
		sqlite3_bind_int64(row, 1, minute * ((int64_t)1 << HOUR_MINUTE_SHIFT) | HOUR_ALL);
		if ((result = sqlite3_step(row)) == SQLITE_ROW) {
			sum += (uint64_t)sqlite3_column_int64(row, 0);
			good = !values || add_row(hourly, row);
		} else if (result != SQLITE_DONE) {
			break;
		}
		sqlite3_reset(row);
		result = SQLITE_OK;
	}
	int reported = !good                 ? damaged(hourly, error)
	               : result == SQLITE_OK ? 0
	                                     : reader_explain(&hourly->reader, result, error);
	sqlite3_finalize(row);
	*beyond = sum;
	return reported;
}

int hourly_total_json(const char *data_dir, int64_t now_ms, struct top_page page, char **json,
                      struct shm_error *error)
{
	struct hourly hourly;
	uint64_t beyond;
	int result = open_hourly(&hourly, data_dir, page, error);
	if (result == 0)
		result = read_totals(&hourly, now_ms / MS_PER_MINUTE, true, &beyond, error);
	if (result == 0)
		result = flush(&hourly, HOUR_ALL, error);
	if (result == 0)
		result = answer_give(json_incref(hourly.list), 0, json, error);
	close_hourly(&hourly);
	return result;
}

/* ---- each account ---- */

/* Goes to the next row of a minute; at its end the statement is gone. */
static int next_row(struct hourly *hourly, struct rows *rows, struct shm_error *error)
{
	int result = sqlite3_step(rows->statement);
	if (result == SQLITE_ROW) {
		rows->account = (uint32_t)sqlite3_column_int64(rows->statement, 0);
		return 0;
	}
	int reported = result == SQLITE_DONE ? 0 : reader_explain(&hourly->reader, result, error);
	sqlite3_finalize(rows->statement);
	rows->statement = NULL;
	return reported;
}

static int open_minute(struct hourly *hourly, struct rows *rows, int64_t minute, struct shm_error *error)
{
	int64_t first = minute * ((int64_t)1 << HOUR_MINUTE_SHIFT);
	int result = sqlite3_prepare_v2(hourly->reader.db,
	                                "SELECT id, cells FROM hour WHERE id > ?1 AND id < ?2 ORDER BY id",
	                                -1, &rows->statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(&hourly->reader, result, error);
	sqlite3_bind_int64(rows->statement, 1, first);
	sqlite3_bind_int64(rows->statement, 2, first + ((int64_t)1 << HOUR_MINUTE_SHIFT));
	return next_row(hourly, rows, error);
}

/* The smallest account that a minute stands at; false: all are at their ends. */
static bool next_account(const struct hourly *hourly, uint32_t *account)
{
	bool found = false;
	for (unsigned i = 0; i < HOUR_MINUTES; i++)
		if (hourly->rows[i].statement != NULL && (!found || hourly->rows[i].account < *account)) {
			*account = hourly->rows[i].account;
			found = true;
		}
	return found;
}

/* Adds the rows that all minutes have of an account. */
static int read_account(struct hourly *hourly, uint32_t account, struct shm_error *error)
{
	int result = 0;
	for (unsigned i = 0; result == 0 && i < HOUR_MINUTES; i++) {
		struct rows *rows = &hourly->rows[i];
		if (rows->statement == NULL || rows->account != account)
			continue;
		result = add_row(hourly, rows->statement) ? next_row(hourly, rows, error)
		                                          : damaged(hourly, error);
	}
	return result;
}

int hourly_per_user_json(const char *data_dir, int64_t now_ms, struct top_page page, char **json,
                         uint64_t *beyond, struct shm_error *error)
{
	struct hourly hourly;
	uint32_t account = HOUR_ALL;
	uint64_t events = 0;
	int64_t now = now_ms / MS_PER_MINUTE;
	int result = open_hourly(&hourly, data_dir, page, error);
	if (result == 0 && beyond != NULL)
		result = read_totals(&hourly, now, false, &events, error);
	for (unsigned i = 0; result == 0 && i < HOUR_MINUTES; i++)
		result = open_minute(&hourly, &hourly.rows[i], now - i, error);
	while (result == 0 && !page_is_full(&hourly) && next_account(&hourly, &account)) {
		result = read_account(&hourly, account, error);
		if (result == 0)
			result = flush(&hourly, account, error);
	}
	if (result == 0)
		result = answer_give(json_incref(hourly.list), 0, json, error);
	if (result == 0 && beyond != NULL)
		*beyond = events;
	close_hourly(&hourly);
	return result;
}
