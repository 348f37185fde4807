/* A record: what streams carry.
 *
 *     |<- 8 bytes ------------------>|<- length ->|<- 0..7 ->|
 *     +-----------+--------+---------+------------+----------+
 *     | length 32 | type 16| flags 16| payload    | padding  |
 *     +-----------+--------+---------+------------+----------+
 *
 * Records start at multiples of 8. length counts the payload alone. All integers are in the host's
 * order: a segment never leaves its machine.
 */
#ifndef SHM_RECORD_H
#define SHM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/prefetch.h"

#define RECORD_ALIGN 8u
/* How far before they are needed the lines of a stream are asked for: they lie in the cache of the
 * processor that had them last, the reader's or the writer's. */
#define RECORD_AHEAD_BYTES 512
#define RECORD_LINE_BYTES  64

struct record {
	uint32_t length; /* of the payload, bytes */
	uint16_t type;   /* enum event_type, or the writer's own */
	uint16_t flags;  /* 0 today; readers ignore bits they do not know */
	unsigned char payload[];
};
_Static_assert(sizeof(struct record) == 8, "record header is 8 bytes");

/* Bytes that a record with this payload takes in a stream. */
static inline size_t record_bytes(size_t length)
{
	return (sizeof(struct record) + length + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

/* Starts a record at `at` (from stream_reserve or the end of the record before) and returns where
 * its payload goes. The next record starts at at + record_bytes(length). */
static inline void *record_put(void *at, uint16_t type, uint32_t length)
{
	/* Field by field: a header put together elsewhere and read back whole would wait for all
	 * stores before it, those into cold memory of the lane too. */
	struct record *record = at;
	prefetch_to_write(at, RECORD_AHEAD_BYTES);
	prefetch_to_write(at, RECORD_AHEAD_BYTES + RECORD_LINE_BYTES);
	record->length = length;
	record->type = type;
	record->flags = 0;
	return record->payload;
}

/* Records in a row, as stream_peek gives them. */
struct record_batch {
	const char *at; /* the next record */
	const char *end;
	/* stream position of `at`, bytes: with lane and generation a name that no other record ever
	 * has */
	uint64_t position;
	uint32_t length; /* of the record that record_next gave last, as it was checked */
	uint16_t type;   /* of the same record */
	/* a length or a header ran past the end: the batch ended early, stream_advance counts and
	 * skips the damage */
	bool corrupt;
};

/* The next record of the batch, or NULL at its end or at damage (corrupt is set then). Length and
 * type are read once, and left in the batch. The length has been checked against the end of the
 * batch: record->payload .. + batch->length may be read. A batch of a required group lies in memory
 * that other processes write: its readers take both from the batch, never from the record again.
 * Copy the payload before you trust lengths in it (record_copy.h). This one is for those who have
 * asked for the lines themselves, earlier than record_next does. */
static inline const struct record *record_next_here(struct record_batch *batch)
{
	ptrdiff_t left = batch->end - batch->at;
	if (left < (ptrdiff_t)sizeof(struct record)) {
		if (left > 0)
			batch->corrupt = true;
		return NULL;
	}
	const struct record *record = (const struct record *)(const void *)batch->at;
	uint32_t length = __atomic_load_n(&record->length, __ATOMIC_RELAXED);
	size_t bytes = record_bytes(length);
	if (__builtin_expect(bytes > (size_t)left, 0)) {
		batch->corrupt = true;
		return NULL;
	}
	batch->length = length;
	batch->type = __atomic_load_n(&record->type, __ATOMIC_RELAXED);
	batch->at += bytes;
	batch->position += bytes;
	return record;
}

/* The same, and asks for the lines of the records after it. */
static inline const struct record *record_next(struct record_batch *batch)
{
	/* Where a record begins is known only when the length before it is there. Nothing after the
	 * batch: the writer is at work in it. */
	if (batch->end - batch->at > RECORD_AHEAD_BYTES + 2 * RECORD_LINE_BYTES) {
		__builtin_prefetch(batch->at + RECORD_AHEAD_BYTES);
		__builtin_prefetch(batch->at + RECORD_AHEAD_BYTES + RECORD_LINE_BYTES);
	}
	return record_next_here(batch);
}

#endif
