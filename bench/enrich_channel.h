/* An instance made by hand for bench-enrich: one lane of calls, and what reads it.
 *
 *     channel_fill --> track.raw --"enrich"--> enrich_poll --> track --> thrown away by channel_empty
 *                          '-------"copy"----> channel_copy --> copied --> thrown away by channel_empty
 *
 * channel_copy is the stage's loop without the enriching: the same reader, the same lane, the same
 * commit, each record copied as it is.
 */
#ifndef BENCH_ENRICH_CHANNEL_H
#define BENCH_ENRICH_CHANNEL_H

#include "enrich/enrich.h"

#define CHANNEL_CALLS \
	2048u /* in the lane at a time: as much as a stage that keeps up finds in a cache, not in memory */

struct channel {
	struct instance instance;
	struct topic_writer calls;
	struct control *control;
	struct enrich *enrich; /* its lookup is open */
	struct {
		struct topic_reader reader;
		struct topic_writer writer;
		struct lane lane;
		struct segment private_segment;
		struct redo redo;
	} copy;
	struct topic_reader events, copies;
};

/* Makes the instance in turns_directory() and joins it from all sides; exits with a message when it
 * cannot. */
void channel_open(struct channel *channel, struct enrich *enrich);
void channel_close(struct channel *channel);

/* Puts n records (at most CHANNEL_CALLS), each at record[i], into the lane. */
void channel_fill(struct channel *channel, const struct record *const *record, unsigned n);

/* One batch, as enrich_poll; false when there is none. */
bool channel_copy(struct channel *channel);

/* Both outputs are read and counted. Returns the events, or UINT64_MAX when not as many were
 * copied. */
uint64_t channel_empty(struct channel *channel);

#endif
