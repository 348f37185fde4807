#include "shm/lane.h"

#include <string.h>

void lane_stream(struct lane *lane, struct topic_writer *writer)
{
	*lane = (struct lane){.writer = writer, .most = (writer->stream.mask + 1) / 2};
}

void lane_memory(struct lane *lane, void *memory, size_t bytes)
{
	*lane = (struct lane){.base = memory, .room = bytes, .most = bytes};
}

bool lane_extend(struct lane *lane, size_t bytes)
{
	size_t needed = lane->used + bytes;
	if (needed <= lane->room)
		return true;
	if (lane->writer == NULL || needed > lane->most)
		return false;
	char *base = stream_reserve(&lane->writer->stream, needed);
	if (base == NULL)
		return false;
	lane->base = base;
	lane->room = needed;
	return true;
}

size_t lane_capacity(const struct lane *lane)
{
	return lane->writer != NULL ? lane->writer->stream.mask + 1 : lane->most;
}

bool lane_permits(struct lane *lane, size_t bytes)
{
	size_t whole = lane->used + bytes;
	return lane->writer != NULL && lane->most > 0 && whole <= lane_capacity(lane) &&
	       stream_permit(&lane->writer->stream, whole);
}

void lane_reset(struct lane *lane)
{
	lane->used = 0;
	lane->records = lane->received = lane->dropped = lane->refused = 0;
	memset(lane->rejected, 0, sizeof lane->rejected);
	if (lane->writer != NULL)
		lane->room = 0;
}

/* ---- commit ---- */

static void note_counter(struct redo *redo, unsigned region, const _Atomic uint64_t *counter, uint64_t n)
{
	if (n != 0)
		redo_add(redo, region, counter, atomic_load_explicit(counter, memory_order_relaxed) + n);
}

static void note_lane(const struct lane *lane, struct redo *redo, unsigned region)
{
	const struct stream_writer *stream = &lane->writer->stream;
	const struct ledger *ledger = &stream->shared->ledger;
	note_counter(redo, region, &ledger->received, lane->received);
	note_counter(redo, region, &ledger->dropped, lane->dropped);
	note_counter(redo, region, &ledger->refused, lane->refused);
	for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++)
		note_counter(redo, region, &ledger->rejected[reason], lane->rejected[reason]);
	if (lane->records == 0)
		return;
	redo_add(redo, region, &stream->shared->records, stream->records + lane->records);
	redo_add(redo, region, &stream->shared->tail, stream->tail + lane->used);
}

void lanes_commit(struct lane *lane, unsigned n, struct redo *redo)
{
	for (unsigned i = 0; i < n; i++)
		note_lane(&lane[i], redo, 1 + i);
	redo_publish(redo);
	redo_apply(redo);
	for (unsigned i = 0; i < n; i++) {
		if (lane[i].records != 0) {
			/* The note has stored these two words; this moves the writer's own copies
			 * and leaves waypoints. */
			stream_commit(&lane[i].writer->stream, lane[i].used, lane[i].records);
			topic_ring(lane[i].writer);
		}
		lane_reset(&lane[i]);
	}
}
