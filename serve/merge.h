/* The same question answered by several boxes, as one answer. JSON in, JSON out: nothing here asks
 * anybody (fleet.h does).
 *
 *     {"count": 3, ...} of this box ---.
 *     {"count": 1, ...} of a peer -----+--merge_report--> {"count": 4, ...}
 *     {"what": "else"} of a peer ------'                  part->wrong
 *
 *     counts                      summed
 *     networks                    addresses united, then judged: a /28 of two or more is good
 *     averages, percentiles       from the sums and histograms (parameter sums=1), rounded once
 *     the most frequent keys      counts and errors as sink/tally/top.h merges lists: a box that does not have a
 *                                 key can have counted it as often as its smallest, which is added to both
 *     the first event             the earliest
 *     stages, topics, sinks       put together, each with the "peer" it is of, null: this box
 *
 * The lists of all parts are whole, or say how long they are: a list of keys that was cut is one
 * that has forgotten the rest, any other list that was cut cannot be merged exactly (part->cut).
 *
 * Merging is the same whichever box asks whichever others, and in which order, but for the "peer"
 * and for the order in which what was put together comes.
 */
#ifndef SERVE_MERGE_H
#define SERVE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define MERGE_PARTS_MAX 65u              /* a box and its peers */
#define MERGE_COUNT_MAX (INT64_MAX >> 7) /* what a part can have of anything: sums do not overflow */
#define MERGE_LIMIT     10000u           /* entries of a list that a box is asked for */

struct merge_part {
	const char *peer;   /* its URL; NULL: this box */
	const json_t *json; /* NULL: it has counted nothing of this */
	/* set by merge_*: */
	bool wrong; /* it has not the form of such an answer: it is left out */
	bool cut;   /* its list was not whole: what is merged is not exact */
};

/* Returns what the caller frees; NULL without memory, or when no part is left. */
typedef json_t *merge_function(struct merge_part *part, size_t n);

merge_function merge_report, merge_account, merge_hourly, merge_distinct, merge_consumers, merge_consumer,
        merge_attempts, merge_stat, merge_sinks;

/* The number of this name, 0 to MERGE_COUNT_MAX; false: there is none. */
bool merge_number(const json_t *object, const char *name, int64_t *number);

/* A string of a part's JSON, whose it stays. */
struct merge_text {
	const char *at; /* NULL: it is none */
	size_t bytes;
};

static inline struct merge_text merge_text(const json_t *value)
{
	return (struct merge_text){json_string_value(value), json_string_length(value)};
}

/* Less than, equal to or greater than 0: their order by bytes, what is shorter before what begins
 * with it. Neither is NULL. */
int merge_compare(const struct merge_text *x, const struct merge_text *y);

/* Makes a list of n entries, of `size` bytes each, one with room for `more` further ones. Returns
 * it in place of the old one, *room entries long; NULL without memory, and the old one stays. */
void *merge_room(void *list, size_t *room, size_t n, size_t more, size_t size);

#endif
