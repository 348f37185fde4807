/* How often each metric occurred, by UTC day and by month (days.h), from the database alone.
 *
 *     {"date": "2026-11-27", "total": 7, "keys": 2, "forgotten": 0,
 *      "metrics": [{"_id": "kite_call", "count": 4, "error": 0}, {"_id": "login", "count": 3, "error": 0}]}
 *
 * The most frequent come first, equal ones in the order of their bytes. The true number of a metric
 * is between count - error and count. total: all events. keys: metrics that have a count;
 * forgotten: what any other can have occurred at most. While fewer metrics than tally.names
 * occurred, every count is exact and nothing is forgotten.
 *
 * A month is all that came in it: what was merged into it and its days that still have lists of
 * their own.
 */
#ifndef SINK_TALLY_DISTINCT_H
#define SINK_TALLY_DISTINCT_H

#include "shm/segment.h"
#include "sink/tally/top_read.h"

/* date: "2026-11-27"; now_ms: CLOCK_REALTIME. Returns 0 with *json, one line without a newline,
 * malloced; a day of which no event came has total 0. Otherwise -errno with a line for a person in
 * error: -EINVAL date is no day; -ENOENT the day is so old that its month alone is kept; -ENODATA
 * there is no database yet; -EPROTO the file is not ours, or of another version, or holds what
 * tally has not written; -EACCES, -EBUSY, -EIO, -ENOMEM. */
int distinct_daily_json(const char *data_dir, const char *date, int64_t now_ms, struct top_page page,
                        char **json, struct shm_error *error);

/* month: "2026-11". Returns as distinct_daily_json, but for -ENOENT. */
int distinct_monthly_json(const char *data_dir, const char *month, struct top_page page, char **json,
                          struct shm_error *error);

#endif
