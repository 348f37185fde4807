/* How often each metric occurred: a list (top.h) for each UTC day, and one for each month.
 *
 *     event of day d -- ended less than DAYS_KEPT days ago --> "metric/day/2026-11-27"
 *                    -- earlier -----------------------------> "metric/month/2026-10"
 *                                                                 ^
 *     a day that has become that old: its list is added to its month's, in one commit, the next in which
 *     neither is in memory
 *
 * Lists lie in the database (top_store.h). At most two are in memory, today's and one more: one
 * that an event needs is loaded, and the one that was used longest ago makes room once it has been
 * written. While it cannot, days_at gives none and days_full says that a commit must come first.
 *
 * Total of a month and of its days together is the number of all events of that month, before a
 * merge and after. One thread.
 */
#ifndef SINK_TALLY_DAYS_H
#define SINK_TALLY_DAYS_H

#include "sink/tally/top_store.h"

#define DAYS_KEPT    30
#define DAYS_LISTS   2u
#define DAYS_PREFIX  "metric/day/"
#define MONTH_PREFIX "metric/month/"

struct days_list {
	struct top *top;     /* NULL: none */
	int64_t first, last; /* days since 1970 that it is for */
	bool month;
	char name[TOP_NAME_MAX];
};

struct days {
	struct top_store store;
	uint32_t capacity;
	struct days_list list[DAYS_LISTS];
	unsigned recent;      /* the one that was used last */
	int64_t merge_before; /* days before this one are in their months */
	bool look;            /* there may be days to merge */
	bool waiting;         /* for a commit, to load another list */
	bool stuck;           /* a list could not be loaded: the next turn tries again */
	bool merge;           /* the next commit merges: */
	int64_t merge_day;
	int failed; /* -errno of the last loading; 0 when it went well */
	struct shm_error reason;
};

/* capacity: keys of a list. Returns 0 or -errno with the reason in error. */
int days_open(struct days *days, struct sqlite3 *db, uint32_t capacity, struct shm_error *error);

/* Also for one that is all zero. */
void days_close(struct days *days);

/* Bytes that days of this capacity can come to hold. */
uint64_t days_bytes_max(uint32_t capacity);

/* The list for an event of this day, for top_add. NULL: a commit must come first, or it cannot be
 * loaded now, which the log says; either way days_full. Valid until the next call for a day that it
 * is not for. */
struct top *days_at(struct days *days, int64_t day);

/* The same where the list is in memory already; NULL: it is not. */
struct top *days_here(struct days *days, int64_t day);

/* Time of now: days that have become old are merged by commits to come, one each. */
void days_turn(struct days *days, int64_t now_ms);

static inline bool days_full(const struct days *days)
{
	return days->waiting || days->stuck;
}

/* Rows that a commit would write. */
uint64_t days_rows(const struct days *days);

/* Writes what has changed, and merges a day; between BEGIN and COMMIT. Returns an SQLite result
 * code. */
int days_write(struct days *days);

/* What was written has been committed. */
void days_clean(struct days *days);

/* ---- names of lists ---- */

/* "2026-11-27" of a day since 1970; of its month "2026-11". text has DAYS_TEXT bytes. */
#define DAYS_TEXT 32u
const char *days_date(char text[DAYS_TEXT], int64_t day);
const char *days_month(char text[DAYS_TEXT], int64_t day);

/* The day of "2026-11-27", the first one of "2026-11"; false for anything else. */
bool days_parse_date(const char *text, int64_t *day);
bool days_parse_month(const char *text, int64_t *day);

#endif
