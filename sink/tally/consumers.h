/* What the consumers of tracking events show (book_track.h), from the database alone.
 *
 *     consumer     its keys
 *     type         event types, "type[action]" where parameter `action` came along
 *     pods         hosts that enriched
 *     addresses    clients' addresses
 *     countries    clients' countries
 *     search       search terms
 *     timing       no keys: averages in milliseconds, of klag and of the time from arrival to counting
 *
 * Of one consumer:
 *
 *     {"name": "pods", "total": 70, "keys": 2, "forgotten": 0,
 *      "list": [{"key": "10.0.0.7", "count": 60, "error": 0}, {"key": "10.0.0.8", "count": 10, "error": 0}]}
 *
 *     {"name": "timing", "total": 70, "klag_ms": 0.25, "counting_ms": 1.5}
 *
 * The true number of a key is between count - error and count. keys: how many have a count;
 * forgotten: what any other can have occurred at most. The averages are null while total is 0.
 * With page.sums there are "klag_sum_ns" and "counting_sum_ns" beside them: 128 bits, as text
 * (base/wide.h).
 */
#ifndef SINK_TALLY_CONSUMERS_H
#define SINK_TALLY_CONSUMERS_H

#include "shm/segment.h"
#include "sink/tally/top_read.h"

/* All consumers: [{"name": "type", "total": 70, "keys": 5, "forgotten": 0}, ..., {"name": "timing", "total": 70}].
 * Returns 0 with *json, one line without a newline, malloced; otherwise -errno with a line for a
 * person in error: -ENODATA there is no database yet; -EPROTO the file is not ours or of another
 * version; -EACCES, -EBUSY, -EIO, -ENOMEM. */
int consumers_json(const char *data_dir, char **json, struct shm_error *error);

/* One consumer, of its keys those of the page. Returns as consumers_json; -ENOENT when there is no
 * consumer of this name. */
int consumer_json(const char *data_dir, const char *name, struct top_page page, char **json,
                  struct shm_error *error);

/* sum / n in milliseconds; null for n = 0. NULL without memory. */
json_t *consumers_average_ms(unsigned __int128 sum_ns, uint64_t n);

#endif
