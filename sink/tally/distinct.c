#include "sink/tally/distinct.h"

#include <errno.h>
#include <stdio.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "sink/tally/answer.h"
#include "sink/tally/days.h"
#include "sink/tally/reader.h"

/* Takes over read->list. */
static int print(const char *date, const struct top_read *read, char **json, struct shm_error *error)
{
	json_t *answer = json_pack("{s:s, s:I, s:I, s:I, s:o}", "date", date, "total",
	                           (json_int_t)read->total, "keys", (json_int_t)read->keys, "forgotten",
	                           (json_int_t)read->smallest, "metrics", read->list);
	return answer_give(answer, 0, json, error);
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
	int result = reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0)
		return result;
	snprintf(name, sizeof name, DAYS_PREFIX "%s", date);
	result = top_read(&reader, name, "_id", page, &read, error);
	bool old = day < now_ms / MS_PER_DAY - DAYS_KEPT;
	if (result == -ENOENT && old) {
		json_decref(read.list);
		shm_explain(error,
		            "%s: days that ended more than %d days ago are kept with their month alone: %s",
		            date, DAYS_KEPT, days_month(month, day));
	} else if (result == 0 || result == -ENOENT) {
		result = print(date, &read, json, error);
	}
	reader_close(&reader);
	return result;
}

/* ---- a month ---- */

// clang-format off

/* The month's own list and those of its days: as top_merge would put them together, without a
 * bound. A key that a list does not have may have occurred there as often as that has forgotten. */
#define LISTS \
	" FROM top WHERE name = '" MONTH_PREFIX "' || ?1" \
	" OR (name > '" DAYS_PREFIX "' || ?1 || '-' AND name < '" DAYS_PREFIX "' || ?1 || '.')"

static const char head_text[] = "SELECT coalesce(sum(total), 0), coalesce(sum(smallest), 0)" LISTS;
static const char keys_text[] =
        "SELECT CAST(key AS BLOB) AS bytes, sum(count - smallest) + ?2 AS most, sum(error - smallest) + ?2"
        " FROM (SELECT id, smallest" LISTS ") JOIN top_counter ON list = id"
        " GROUP BY bytes ORDER BY most DESC, bytes";

// clang-format on

static int prepare(const struct reader *reader, const char *text, const char *month, sqlite3_stmt **statement,
                   struct shm_error *error)
{
	int result = sqlite3_prepare_v2(reader->db, text, -1, statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	sqlite3_bind_text(*statement, 1, month, -1, SQLITE_STATIC);
	return 0;
}

static int read_head(const struct reader *reader, const char *month, struct top_read *read,
                     struct shm_error *error)
{
	sqlite3_stmt *statement;
	int reported = prepare(reader, head_text, month, &statement, error);
	if (reported != 0)
		return reported;
	int result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		read->total = (uint64_t)sqlite3_column_int64(statement, 0);
		read->smallest = (uint64_t)sqlite3_column_int64(statement, 1);
	} else {
		reported = reader_explain(reader, result, error);
	}
	sqlite3_finalize(statement);
	return reported;
}

/* All are stepped through: how many there are is part of the answer. */
static int read_keys(const struct reader *reader, const char *month, struct top_page page,
                     struct top_read *read, struct shm_error *error)
{
	sqlite3_stmt *statement;
	uint64_t limit = page.limit < TOP_LIMIT_MAX ? page.limit : TOP_LIMIT_MAX;
	int reported = prepare(reader, keys_text, month, &statement, error);
	if (reported != 0)
		return reported;
	sqlite3_bind_int64(statement, 2, (int64_t)read->smallest);
	int result;
	bool good = true;
	while (good && (result = sqlite3_step(statement)) == SQLITE_ROW) {
		uint64_t i = read->keys++;
		if (i >= page.offset && i - page.offset < limit)
			good = top_read_append(read->list, "_id", statement);
	}
	reported = !good                   ? answer_no_memory(error)
	           : result == SQLITE_DONE ? 0
	                                   : reader_explain(reader, result, error);
	sqlite3_finalize(statement);
	return reported;
}

int distinct_monthly_json(const char *data_dir, const char *month, struct top_page page, char **json,
                          struct shm_error *error)
{
	struct reader reader;
	struct top_read read = {.list = NULL};
	int64_t day;
	if (!days_parse_month(month, &day)) {
		shm_explain(error, "\"%.40s\" is no month: one like 2026-11 is wanted", month);
		return -EINVAL;
	}
	int result = reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0)
		return result;
	read.list = json_array();
	result = read.list == NULL ? answer_no_memory(error) : read_head(&reader, month, &read, error);
	if (result == 0)
		result = read_keys(&reader, month, page, &read, error);
	if (result == 0)
		result = print(month, &read, json, error);
	else
		json_decref(read.list);
	reader_close(&reader);
	return result;
}
