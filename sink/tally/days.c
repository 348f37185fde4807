#include "sink/tally/days.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/log.h"

#define SECONDS_PER_DAY 86400

/* ---- names of lists ---- */

static struct tm civil(int64_t day)
{
	time_t time = (time_t)day * SECONDS_PER_DAY;
	struct tm tm = {0};
	(void)gmtime_r(&time, &tm);
	return tm;
}

static int64_t day_of(struct tm *tm)
{
	return (int64_t)timegm(tm) / SECONDS_PER_DAY;
}

const char *days_date(char text[DAYS_TEXT], int64_t day)
{
	struct tm tm = civil(day);
	snprintf(text, DAYS_TEXT, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	return text;
}

const char *days_month(char text[DAYS_TEXT], int64_t day)
{
	struct tm tm = civil(day);
	snprintf(text, DAYS_TEXT, "%04d-%02d", tm.tm_year + 1900, tm.tm_mon + 1);
	return text;
}

/* Only what days_date and days_month write: no other spelling of the same day. */
static bool digits_as(const char *text, const char *form)
{
	for (; *form != '\0'; text++, form++)
		if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
			return false;
	return *text == '\0';
}

static bool parse(const char *date, int64_t *day)
{
	char text[DAYS_TEXT];
	struct tm tm = {
	        .tm_year = atoi(date) - 1900, .tm_mon = atoi(date + 5) - 1, .tm_mday = atoi(date + 8)};
	if (tm.tm_year < 70)
		return false;
	*day = day_of(&tm);
	return strcmp(days_date(text, *day), date) == 0;
}

bool days_parse_date(const char *text, int64_t *day)
{
	return digits_as(text, "0000-00-00") && parse(text, day);
}

bool days_parse_month(const char *text, int64_t *day)
{
	char date[DAYS_TEXT];
	if (!digits_as(text, "0000-00"))
		return false;
	snprintf(date, sizeof date, "%s-01", text);
	return parse(date, day);
}

/* The days of a day's month. */
static void month_of(int64_t day, int64_t *first, int64_t *last)
{
	struct tm tm = civil(day);
	tm.tm_mday = 1;
	*first = day_of(&tm);
	tm = civil(*first);
	tm.tm_mon++;
	*last = day_of(&tm) - 1;
}

static void name_list(struct days_list *list, int64_t day, bool month)
{
	char text[DAYS_TEXT];
	*list = (struct days_list){.month = month, .first = day, .last = day};
	if (month)
		month_of(day, &list->first, &list->last);
	snprintf(list->name, sizeof list->name, "%s%s", month ? MONTH_PREFIX : DAYS_PREFIX,
	         month ? days_month(text, day) : days_date(text, day));
}

/* ---- lists in memory ---- */

int days_open(struct days *days, sqlite3 *db, uint32_t capacity, struct shm_error *error)
{
	*days = (struct days){.capacity = capacity, .merge_before = INT64_MIN};
	int result = top_store_open(&days->store, db, error);
	days->store.option = "tally.names";
	return result;
}

void days_close(struct days *days)
{
	for (unsigned i = 0; i < DAYS_LISTS; i++)
		top_free(days->list[i].top);
	top_store_close(&days->store);
	*days = (struct days){0};
}

uint64_t days_bytes_max(uint32_t capacity)
{
	/* A merge has two of its own. */
	return (DAYS_LISTS + 2) * top_bytes_max(capacity);
}

/* -1: not in memory. */
static int find(const struct days *days, int64_t day)
{
	bool month = day < days->merge_before;
	for (unsigned i = 0; i < DAYS_LISTS; i++) {
		const struct days_list *list = &days->list[i];
		if (list->top != NULL && list->month == month && day >= list->first && day <= list->last)
			return (int)i;
	}
	return -1;
}

struct top *days_here(struct days *days, int64_t day)
{
	int i = find(days, day);
	if (i < 0)
		return NULL;
	days->recent = (unsigned)i;
	return days->list[i].top;
}

static void drop(struct days_list *list)
{
	top_free(list->top);
	*list = (struct days_list){0};
}

/* Says it once, until it goes well again. */
static void note_failure(struct days *days, const char *name, int result)
{
	if (result != 0 && days->failed == 0)
		log_error("cannot load a list of metrics, its events wait", "list=%s reason=\"%s\"", name,
		          days->reason.text);
	if (result == 0 && days->failed != 0)
		log_info("lists of metrics can be loaded again", "list=%s", name);
	days->failed = result;
}

static int load(struct days *days, unsigned i, int64_t day)
{
	struct days_list list;
	name_list(&list, day, day < days->merge_before);
	int result = top_store_load(&days->store, list.name, days->capacity, &list.top, &days->reason);
	note_failure(days, list.name, result);
	days->stuck = result != 0;
	if (result != 0)
		return result;
	drop(&days->list[i]);
	days->list[i] = list;
	return 0;
}

static bool covers(const struct days_list *list, int64_t day)
{
	return list->top != NULL && day >= list->first && day <= list->last;
}

/* A list of the day that is to be merged, or of its month, is in memory. */
static bool is_in_the_way(const struct days *days)
{
	for (unsigned i = 0; i < DAYS_LISTS; i++)
		if (covers(&days->list[i], days->merge_day))
			return true;
	return false;
}

/* The list for an event of this day is one that the merge changes. */
static bool is_merged(const struct days *days, int64_t day)
{
	struct days_list list;
	name_list(&list, day, day < days->merge_before);
	return days->merge && days->merge_day >= list.first && days->merge_day <= list.last;
}

struct top *days_at(struct days *days, int64_t day)
{
	struct top *here = days_here(days, day);
	if (here != NULL)
		return here;
	unsigned i = 1 - days->recent;
	const struct days_list *victim = &days->list[i];
	if (is_merged(days, day) || (victim->top != NULL && top_dirty(victim->top) != 0)) {
		days->waiting = true;
		return NULL;
	}
	if (load(days, i, day) != 0)
		return NULL;
	days->recent = i;
	return days->list[i].top;
}

/* ---- days that have become old ---- */

/* The oldest day that has a list of its own, when it is to be merged. */
static bool find_old(struct days *days, int64_t *day)
{
	char name[TOP_NAME_MAX] = "", after[TOP_NAME_MAX] = "";
	struct shm_error error;
	int found;
	do {
		memcpy(after, name, sizeof after);
		found = top_store_next(&days->store, DAYS_PREFIX, after, name, &error);
	} while (found == 1 && !days_parse_date(name + sizeof DAYS_PREFIX - 1, day));
	if (found < 0)
		return false; /* days->look stays: the next turn looks again */
	bool old = found == 1 && *day < days->merge_before;
	days->look = old;
	return old;
}

void days_turn(struct days *days, int64_t now_ms)
{
	int64_t before = now_ms / MS_PER_DAY - DAYS_KEPT;
	if (before != days->merge_before)
		days->look = true;
	days->merge_before = before;
	days->stuck = false;
	if (days->look && !days->merge && find_old(days, &days->merge_day))
		days->merge = true;
}

/* ---- committing ---- */

uint64_t days_rows(const struct days *days)
{
	uint64_t rows = days->merge ? 1 : 0;
	for (unsigned i = 0; i < DAYS_LISTS; i++)
		if (days->list[i].top != NULL)
			rows += top_store_rows(days->list[i].top);
	return rows;
}

/* What top_store_load said, as SQLite would. */
static int as_sqlite(int result)
{
	return result == 0         ? SQLITE_OK
	       : result == -ENOMEM ? SQLITE_NOMEM
	       : result == -EBUSY  ? SQLITE_BUSY
	                           : SQLITE_IOERR;
}

/* Both lists are in the database, and neither is in memory: what a commit writes a second time
 * would be what they were before. One that cannot be read stays as it is, and its day unmerged. */
static int merge(struct days *days)
{
	struct days_list day, month;
	name_list(&day, days->merge_day, false);
	name_list(&month, days->merge_day, true);
	int result = top_store_load(&days->store, day.name, days->capacity, &day.top, &days->reason);
	note_failure(days, day.name, result);
	if (result == 0) {
		result = top_store_load(&days->store, month.name, days->capacity, &month.top, &days->reason);
		note_failure(days, month.name, result);
	}
	bool damaged = result == -EPROTO;
	days->look &= !damaged; /* until the next day has become old */
	result = damaged ? SQLITE_OK : as_sqlite(result);
	if (result == SQLITE_OK && !damaged) {
		top_merge(month.top, day.top);
		result = top_store_write(&days->store, month.name, month.top);
	}
	if (result == SQLITE_OK && !damaged)
		result = top_store_delete(&days->store, day.name);
	top_free(day.top);
	top_free(month.top);
	return result;
}

int days_write(struct days *days)
{
	int result = SQLITE_OK;
	for (unsigned i = 0; result == SQLITE_OK && i < DAYS_LISTS; i++)
		if (days->list[i].top != NULL)
			result = top_store_write(&days->store, days->list[i].name, days->list[i].top);
	return result == SQLITE_OK && days->merge && !is_in_the_way(days) ? merge(days) : result;
}

void days_clean(struct days *days)
{
	bool merged = !is_in_the_way(days);
	for (unsigned i = 0; i < DAYS_LISTS; i++) {
		struct days_list *list = &days->list[i];
		if (list->top == NULL)
			continue;
		top_clean(list->top);
		/* It was in the way; the next commit merges. */
		if (days->merge && covers(list, days->merge_day))
			drop(list);
		/* An event came for it after the look that found no more old days. */
		else if (!list->month && list->last < days->merge_before)
			days->look = true;
	}
	days->merge &= !merged;
	days->waiting = false;
}
