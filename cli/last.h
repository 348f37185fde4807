/* Where the last N records of a topic begin, over all its lanes.
 *
 *     lane 0   . . . . . |x x x          N = 5: the five newest by their time of arrival,
 *     lane 1   . . . . . . . |x x        wherever they lie; what is in between is skipped
 *                        ^     ^
 *                     start  start
 */
#ifndef CLI_LAST_H
#define CLI_LAST_H

#include "shm/topic.h"

/* Moves a reader that has not read yet back by up to n records in each lane, and sets start[] to
 * the position in each lane before which records are to be skipped. Returns 0, -ENOMEM, or as
 * segment_attach. */
int last_records(struct topic_reader *reader, uint64_t n, uint64_t start[STREAM_LANES_MAX],
                 struct shm_error *error);

#endif
