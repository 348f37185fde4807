/* The book of topic metric: how often each metric occurred by day and month (days.h), statistics of
 * the last hour (hour.h), accounts with the time of their first event (known.h).
 *
 *     event --> account, metric --hash--> numbers --.-- first_ms of the account
 *               (copied out of the lane)            |-- cells of (minute, account, metric) and (minute, metric)
 *                                                   '-- list of the day
 *
 * Events are taken a run at a time, as in counts.h: a run waits for memory about once a table, not
 * once an event.
 *
 * What has no number is counted all the same. An account over tally.accounts, or with a longer name
 * than NAMES_BYTES_MAX: in days, in the totals of its metric, and in total('accounts_beyond'). A
 * metric over tally.metric_names, or longer: in days, and in the hour as HOUR_OTHER.
 */
#ifndef SINK_TALLY_BOOK_METRIC_H
#define SINK_TALLY_BOOK_METRIC_H

#include "sink/tally/book.h"

extern const struct book_kind book_metric_kind;

struct book_metric_limits {
	uint64_t names, accounts, metric_names, hour_cells; /* as the options tally.* */
};

/* As book_kind.open, with these limits. */
int book_metric_open(struct book **book, const struct book_metric_limits *limits, struct sqlite3 *db,
                     struct shm_error *error);

#endif
