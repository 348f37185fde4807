/* Statistics of the last hour (hour.h), from the database alone.
 *
 *     of each metric     [{"_id": "kite_call", "minimum": 1, "maximum": 7, "average": 3.5, "count": 4}, ...]
 *     of each account    [{"_id": {"username": "kodingbot", "metric": "kite_call"}, "minimum": ...}, ...]
 *
 * The minutes are floor(now/60s) - 59 .. floor(now/60s). Metrics and accounts come in the order in
 * which their first events came. Metrics over tally.metric_names are together: {"other": true}
 * instead of the name, "other": true beside "username"; last. With page.sums there is "sum" beside
 * "average": 128 bits, as text (base/wide.h).
 */
#ifndef SINK_TALLY_HOURLY_H
#define SINK_TALLY_HOURLY_H

#include "shm/segment.h"
#include "sink/tally/top_read.h"

/* Returns 0 with *json, one line without a newline, malloced; per user also with *beyond (may be
 * NULL): events of this hour that are in no account's statistics because of tally.accounts,
 * tally.hour_cells or a name that is too long. Otherwise -errno with a line for a person in error,
 * nothing set: -ENODATA there is no database yet; -EPROTO the file is not ours, or of another
 * version, or holds what tally has not written; -EACCES, -EBUSY, -EIO, -ENOMEM. page: of all
 * metrics, or of all pairs. */
int hourly_total_json(const char *data_dir, int64_t now_ms, struct top_page page, char **json,
                      struct shm_error *error);
int hourly_per_user_json(const char *data_dir, int64_t now_ms, struct top_page page, char **json,
                         uint64_t *beyond, struct shm_error *error);

/* sum / count, rounded once (to the nearest, ties to even); count is not 0. */
double hourly_average(__int128 sum, uint64_t count);

#endif
