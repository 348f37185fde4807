/* What the writing and the reading side of a stream share: the lane file and its waypoints. For
 * shm/stream*.c only; everybody else includes shm/stream.h.
 *
 *     | segment header | struct stream_shared | data | data again |
 *     ^ base           ^ base + 4 KiB         ^ base + STREAM_DATA_OFFSET
 */
#ifndef SHM_STREAM_LANE_H
#define SHM_STREAM_LANE_H

#include "shm/stream.h"

/* Where the data begins in the file: a whole page, so that it can be mapped again behind itself. */
#define STREAM_DATA_OFFSET      \
	(SEGMENT_HEADER_BYTES + \
	 ((sizeof(struct stream_shared) + SEGMENT_HEADER_BYTES - 1) & ~(size_t)(SEGMENT_HEADER_BYTES - 1)))

/* A record boundary and how many records lie before it. */
struct stream_place {
	uint64_t position;
	uint64_t records;
};

/* Opens, checks and maps a lane. Returns its base, or NULL with *result (-errno) and error set. */
char *stream_map_lane(const char *directory, const char *name, int protection, size_t *mapped_bytes,
                      int *result, struct shm_error *error);

static inline struct stream_shared *stream_shared_of(char *base)
{
	return (struct stream_shared *)(void *)(base + SEGMENT_HEADER_BYTES);
}

/* The waypoint nearest to `from` at or after it and not after `to`; the very start counts as one.
 * False: there is none. */
bool stream_waypoint_after(const struct stream_shared *shared, uint64_t from, uint64_t to,
                           struct stream_place *best);

/* The last waypoint in from .. to with at most `records` records before it. False: there is
 * none. */
bool stream_waypoint_before(const struct stream_shared *shared, uint64_t from, uint64_t to, uint64_t records,
                            struct stream_place *best);

/* Oldest position that the writer cannot have begun to overwrite. */
uint64_t stream_oldest_position(const struct stream_shared *shared, uint64_t size);

/* Oldest position that the writer has no leave to overwrite: where a required group may begin at
 * the earliest. It holds when the group's cursor and state were stored before a fence before the
 * call. */
uint64_t stream_oldest_kept(const struct stream_shared *shared, uint64_t size);

/* Tail and the number of records before it, as one pair. The writer stores the two one after the
 * other, and may be anywhere between them for long; so the records are counted, from the last
 * waypoint on. `data` is the lane's, mapped twice. */
struct stream_place stream_read_tail(const struct stream_shared *shared, const char *data, uint64_t size);

/* Counts whole records from one position to another; false when a length does not fit. */
bool stream_count_records(const char *data, uint64_t mask, uint64_t from, uint64_t to, uint64_t *records);

#endif
