/* Waypoints: places of a lane of which it is known how many records lie before them. Inside of the
 * stream, for its own files; stream.h tells what they are for.
 *
 *     writer                              reader
 *     position = 0                        position, not 0 (acquire)
 *     fence (release)                     records
 *     records                             fence (acquire)
 *     position (release)                  the same position: the two belong together
 *
 * The place 0 has no waypoint: no record lies before it.
 */
#ifndef SHM_WAYPOINT_H
#define SHM_WAYPOINT_H

#include "shm/stream.h"

#define STREAM_FENCE_BYTES 4096

/* A record boundary and how many records lie before it. */
struct stream_place {
	uint64_t position;
	uint64_t records;
};

/* Oldest position that the writer cannot have begun to overwrite. size: of the lane's data, in
 * bytes. */
static inline uint64_t stream_oldest_position(const struct stream_shared *shared, uint64_t size)
{
	uint64_t intent = atomic_load_explicit(&shared->intent, memory_order_relaxed);
	return intent <= size ? 0 : intent - size;
}

/* The waypoint nearest to `from` at or after it and not after `to`; the very start counts as one.
 * False: there is none. */
bool waypoint_after(const struct stream_shared *shared, uint64_t from, uint64_t to,
                    struct stream_place *best);

/* The last waypoint in from .. to with at most `records` records before it. False: there is
 * none. */
bool waypoint_before(const struct stream_shared *shared, uint64_t from, uint64_t to, uint64_t records,
                     struct stream_place *best);

/* Counts whole records from one position to another; false when a length does not fit. data: the
 * lane's, mapped twice; mask: size - 1. */
bool waypoint_count(const char *data, uint64_t mask, uint64_t from, uint64_t to, uint64_t *records);

/* Tail and the number of records before it, as one pair. The writer stores the two one after the
 * other, and may be anywhere between them for long; so the records are counted, from the last
 * waypoint on. */
struct stream_place waypoint_tail(const struct stream_shared *shared, const char *data, uint64_t size);

/* Under AddressSanitizer nothing after a batch may be touched, until the reader looks again. */
static inline void stream_unfence(struct stream_reader *reader)
{
#if MEMORY_POISON
	if (reader->fence_bytes > 0)
		memory_unpoison(reader->fence, reader->fence_bytes);
	reader->fence_bytes = 0;
#else
	(void)reader;
#endif
}

static inline void stream_fence(struct stream_reader *reader, const char *from, const char *to)
{
#if MEMORY_POISON
	reader->fence = from;
	reader->fence_bytes = to - from < STREAM_FENCE_BYTES ? (size_t)(to - from) : STREAM_FENCE_BYTES;
	memory_poison(from, reader->fence_bytes);
#else
	(void)reader, (void)from, (void)to;
#endif
}

/* The reader goes on at the place. Its cursor stays. */
static inline void stream_move_to(struct stream_reader *reader, struct stream_place place)
{
	reader->position = place.position;
	reader->records = place.records;
}

#endif
