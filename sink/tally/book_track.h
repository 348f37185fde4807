/* The book of topic track: what its consumers show.
 *
 *     list             key of an event
 *     track/type       its type, "type[action]" when its parameters have `action`
 *     track/pod        the host that enriched it
 *     track/address    the client's address; "::" where privacy options leave it out
 *     track/country    the client's country, "XX" when it is unknown
 *     track/search     parameter `text`, of events of type "offr" with action=preview that have it
 *
 * Each is a list of the most frequent keys (top.h, top_store.h) of tally.tops. Parameters are
 * decoded; of one that comes several times the first counts, and one without a value is empty.
 *
 * Timing, exact, in table total: an event's klag (from arrival to enrichment) and how long after
 * its arrival it was counted, in nanoseconds, as sums of 128 bits:
 *
 *     track_events                                events counted
 *     track_klag_ns, track_klag_ns_high           sum = high * 2^63 + low
 *     track_counting_ns, track_counting_ns_high   the same
 */
#ifndef SINK_TALLY_BOOK_TRACK_H
#define SINK_TALLY_BOOK_TRACK_H

#include "sink/tally/book.h"

extern const struct book_kind book_track_kind;

#define BOOK_TRACK_TYPE    "track/type"
#define BOOK_TRACK_POD     "track/pod"
#define BOOK_TRACK_ADDRESS "track/address"
#define BOOK_TRACK_COUNTRY "track/country"
#define BOOK_TRACK_SEARCH  "track/search"

#define BOOK_TRACK_EVENTS   "track_events"
#define BOOK_TRACK_KLAG     "track_klag_ns"
#define BOOK_TRACK_COUNTING "track_counting_ns"
#define BOOK_TRACK_HIGH     "_high"
#define BOOK_TRACK_LOW_BITS 63u

#endif
