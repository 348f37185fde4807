/* A batch: from filled buffers to records in the lanes, committed as one.
 *
 *     buffer 7 --split--> datagram, datagram, ... --parse--> record, record, ...  after the lane's tail, unseen
 *     buffer 8 --split--> ...                                            |
 *                                                         batch_commit: one redo note
 *     { marks of the buffers = 0; ledger words; records; tail } --published--> applied --> readers see all of it
 *
 * SIGKILL at any instruction: before the note is published nothing has happened (marks are set, the
 * tail has not moved, the next life does the same buffers again); after it everything has (the next
 * life applies the note, marks are 0).
 *
 * An aggregate (UDP_GRO) may need more than one commit can hold, half a lane. It is then committed
 * in pieces, and the note of each piece but the last says in the buffer's mark how many of its
 * datagrams are in the lanes (buffers.h): then the above is true of each piece.
 *
 * A valid datagram for which the lane has no room is dropped and counted, whatever when_full says:
 * no client waits for an answer, and the kernel's queue is no better place to lose it.
 */
#ifndef INGEST_UDP_BATCH_H
#define INGEST_UDP_BATCH_H

#include "base/poison.h"
#include "event/event.h"
#include "shm/lane.h"
#include "ingest/udp/buffers.h"
#include "ingest/udp/format.h"

#define BATCH_BUFFERS   64u /* at most, in one note */
#define BATCH_LANES_MAX 2u

/* Words of a full batch: marks, and what the lanes add. */
_Static_assert(BATCH_BUFFERS + BATCH_LANES_MAX * LANE_NOTE_WORDS <= REDO_WORDS_MAX,
               "a batch fits one redo note");

struct batch {
	const struct format *format;
	uint16_t listener; /* index into ingest.udp, kept with raw datagrams */
	unsigned n_lanes;
	struct lane lane[BATCH_LANES_MAX];
	uint64_t arrival_ns; /* CLOCK_REALTIME of this batch; set by the caller */
	struct redo redo;    /* region 0: the private segment's body; 1 + i: lane i's stream_shared */
	struct buffers *buffers;
	uint16_t buffer[BATCH_BUFFERS]; /* in this batch */
	unsigned n_buffers;
	/* mark of the last buffer after the commit: 0, or how much of it is done */
	uint64_t last_mark;
	unsigned char *scratch; /* room for the largest record: the parser's, one datagram at a time */
	uint64_t gro_datagrams; /* of this batch: came in aggregates */
	uint64_t truncated;     /* of this batch: cut by the kernel */
};

/* Prepares a batch of a format; lanes and redo are the caller's to set. Returns 0 or -ENOMEM. */
int batch_init(struct batch *batch, const struct format *format, uint16_t listener);
void batch_fini(struct batch *batch);

/* Makes lane i write into memory of `bytes` bytes, aligned to 8. */
void batch_lane_memory(struct batch *batch, unsigned i, void *memory, size_t bytes);

/* Parses what one burst holds into the lanes. */
void batch_parse(struct batch *batch, const struct burst *burst);

/* Makes room for whatever n datagrams of `bytes` bytes in all may become, after what the batch
 * holds: then none of them can be dropped. False when readers are in the way, or it is more than
 * one commit can have. */
bool batch_reserve(struct batch *batch, size_t n, size_t bytes);

/* Takes a filled buffer into the batch and parses it. Returns false when the batch must be
 * committed and the same buffer be added again: the batch is full, or the lanes have no room for
 * this buffer after what the batch holds (nothing was done), or all of it is too much for one
 * commit (an empty batch took a piece of it). An empty batch takes at least one datagram. */
bool batch_add(struct batch *batch, uint16_t index);

/* Commits, with words that the caller has added to the note; the batch is empty then and its
 * buffers can be lent again. Without buffers and words there is nothing to do. */
void batch_commit(struct batch *batch);

/* Empties a batch that writes to memory. */
void batch_reset(struct batch *batch);

/* Buffers in the batch that its commit is done with. */
static inline unsigned batch_buffers_done(const struct batch *batch)
{
	return batch->n_buffers - (batch->last_mark != 0);
}

/* Datagrams in the batch, over all lanes. */
uint64_t batch_received(const struct batch *batch);

/* ---- for the parsers of formats ---- */

/* A datagram that is not valid. It counts in the first lane. */
static inline void batch_reject(struct batch *batch, enum ledger_reason reason)
{
	batch->lane[0].received++;
	batch->lane[0].rejected[reason]++;
}

/* A valid datagram that becomes a record: counts it in the lane and returns the payload to fill, or
 * NULL when the lane has no room: now (dropped) or ever (too large). */
static inline void *batch_put(struct lane *lane, uint16_t type, uint32_t length)
{
	size_t bytes = record_bytes(length);
	char *at = lane_room(lane, bytes);
	lane->received++;
	if (at == NULL) {
		if (bytes > lane->most)
			lane->rejected[LEDGER_TOO_LARGE]++;
		else
			lane->dropped++;
		return NULL;
	}
	lane_keep(lane, bytes);
	return record_put(at, type, length);
}

/* Under AddressSanitizer what lies after a datagram may not be touched while it is parsed: the next
 * one, or the rest of its buffer. */
#define BURST_FENCE_BYTES 64

static inline size_t burst_fence_bytes(const struct burst *burst, const uint8_t *after)
{
	size_t whole = burst->room > burst->bytes ? burst->room : burst->bytes;
	size_t left = (size_t)(burst->data + whole - after);
	return left < BURST_FENCE_BYTES ? left : BURST_FENCE_BYTES;
}

static inline void burst_fence(const struct burst *burst, const uint8_t *after)
{
	memory_poison(after, burst_fence_bytes(burst, after));
}

static inline void burst_unfence(const struct burst *burst, const uint8_t *after)
{
	memory_unpoison(after, burst_fence_bytes(burst, after));
}

/* Calls take for each datagram of a burst. One that the kernel had to cut is rejected as
 * truncated. */
static inline void batch_each(struct batch *batch, const struct burst *burst,
                              void (*take)(struct batch *, const struct burst *, const uint8_t *data,
                                           uint32_t bytes))
{
	const uint8_t *data = burst->data;
	uint32_t left = burst->bytes;
	for (uint32_t n = burst->n_datagrams; n > 0; n--) {
		uint32_t bytes = left < burst->segment_bytes ? left : burst->segment_bytes;
		burst_fence(burst, data + bytes);
		if (n == 1 && burst->truncated)
			batch_reject(batch, LEDGER_TRUNCATED);
		else
			take(batch, burst, data, bytes);
		burst_unfence(burst, data + bytes);
		data += bytes;
		left -= bytes;
	}
}

#endif
