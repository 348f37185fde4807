/* The book of topic delivery: attempts to deliver postbacks by minute, endpoint and outcome.
 *
 *     delivery_minute   minute     since 1970, of the attempt's begin
 *                       endpoint   as in the event (scheme, host, port, path), '' for those over tally.endpoints a minute and for
 *                                  attempts whose postback has none
 *                       outcome    enum delivery_outcome: 0 delivered, 1 again, 2 dead, 3 gone
 *                       count      attempts
 *                       sum_us     of total_us
 *                       first, latency   histogram of total_us (latency.h), without attempts that came to no request (0)
 *     delivery          a view of the same for other tools: at (ISO 8601), endpoint, outcome by name, count, sum_us
 *
 * Rows are kept for tally.delivery_keep. Deleting goes with the writes, a bounded number of rows
 * each. What lies in memory is in minutes.h.
 */
#ifndef SINK_TALLY_BOOK_DELIVERY_H
#define SINK_TALLY_BOOK_DELIVERY_H

#include "sink/tally/book.h"

extern const struct book_kind book_delivery_kind;

/* About so many rows are deleted by one write. */
#define BOOK_DELIVERY_EXPIRE_MOST 10000

#endif
