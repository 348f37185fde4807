/* High-water marks: the most that waited for each group between two looks of somebody who looks
 * seldom, as Prometheus does.
 *
 *     waiting bytes     .-.                            .-- peaks_sample, ten times a second
 *                      /   \                           v
 *     ________________/     \_________________ . . . . . . . . .
 *     ^ scrape                              ^ scrape           | this minute: most     |--> peaks_of: the larger
 *                                                              | the minute before: most
 *
 * Who could keep the mark? The group's reader knows best what waits, but it is the one that is
 * behind or dead when it matters; a mark that a scrape sets back would have two writers, and two
 * who scrape would take it from each other. So the process that serves the scrapes looks for
 * itself, ten times a second in a tick that it has anyway, and keeps the mark of the present minute
 * and of the one before: whoever asks at least once a minute misses none that a look has seen, and
 * any number may ask. A burst that comes and goes within a tenth of a second is not seen; what it
 * leaves in the lane longer is.
 *
 * A look reads the words of cursors and lanes that the snapshot's source has mapped: no system
 * call.
 */
#ifndef LOOK_PEAKS_H
#define LOOK_PEAKS_H

#include "look/snapshot.h"

#define PEAKS_SAMPLE_NS (100 * 1000000ull)   /* what the documents say of it */
#define PEAKS_WINDOW_NS (60 * 1000000000ull) /* that one mark is for */

/* Some 136 KiB, all 0 at first; allocate it. The fields are private. */
struct peaks {
	uint64_t generation; /* of the instance that they are of */
	uint64_t window;     /* number of the present one */
	struct peaks_group {
		char name[SHM_NAME_MAX];            /* whose the marks are; "": nobody's */
		uint64_t most[2][STREAM_LANES_MAX]; /* [window % 2] the present one's, bytes */
	} group[INSTANCE_TOPICS_MAX][STREAM_GROUPS_MAX];
};

/* Looks once, at what the source had mapped by its last snapshot. now_ns: CLOCK_MONOTONIC. */
void peaks_sample(struct peaks *peaks, const struct snapshot_source *source, uint64_t now_ns);

/* The most that waited for the group in the lane, bytes; at least what waits now, which the
 * snapshot says. topic is the index of its topic in the snapshot. */
uint64_t peaks_of(const struct peaks *peaks, const struct snapshot *snapshot, unsigned topic, unsigned lane,
                  const struct snapshot_group *group);

#endif
