#include "ingest/udp/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int batch_init(struct batch *batch, const struct format *format, uint16_t listener)
{
	memset(batch, 0, sizeof *batch);
	batch->format = format;
	batch->listener = listener;
	batch->n_lanes = format->n_topics;
	batch->scratch = malloc(format->room(1, BUFFER_DATA_BYTES));
	return batch->scratch == NULL ? -ENOMEM : 0;
}

void batch_fini(struct batch *batch)
{
	free(batch->scratch);
	memset(batch, 0, sizeof *batch);
}

void batch_lane_memory(struct batch *batch, unsigned i, void *memory, size_t bytes)
{
	lane_memory(&batch->lane[i], memory, bytes);
}

void batch_parse(struct batch *batch, const struct burst *burst)
{
	batch->truncated += burst->truncated;
	batch->format->parse(batch, burst);
}

/* ---- buffers ---- */

bool batch_reserve(struct batch *batch, size_t n, size_t bytes)
{
	size_t most = batch->format->room(n, bytes);
	for (unsigned i = 0; i < batch->n_lanes; i++)
		if (!lane_extend(&batch->lane[i], most))
			return false;
	return true;
}

static size_t least_commit(const struct batch *batch)
{
	size_t least = batch->lane[0].most;
	for (unsigned i = 1; i < batch->n_lanes; i++)
		if (batch->lane[i].most < least)
			least = batch->lane[i].most;
	return least;
}

/* Cuts a burst down to the datagrams that fit one commit whatever becomes of them, or to one. */
static void cut_burst(const struct batch *batch, struct burst *burst)
{
	size_t room = least_commit(batch);
	if (batch->format->room(burst->n_datagrams, burst->bytes) <= room)
		return;
	uint32_t n = 1;
	while (n + 1 < burst->n_datagrams &&
	       batch->format->room(n + 1, (size_t)(n + 1) * burst->segment_bytes) <= room)
		n++;
	if (n == burst->n_datagrams)
		return;
	burst->n_datagrams = n;
	burst->bytes = n * burst->segment_bytes;
	burst->truncated = false; /* only the last can be */
}

bool batch_add(struct batch *batch, uint16_t index)
{
	struct burst burst;
	if (batch->n_buffers == BATCH_BUFFERS || batch->last_mark != 0)
		return false;
	const struct buffer *buffer = &batch->buffers->buffer[index];
	buffer_describe(buffer, &burst);
	uint32_t n = burst.n_datagrams;
	if (!batch_reserve(batch, burst.n_datagrams, burst.bytes)) {
		if (batch->n_buffers > 0)
			return false;
		/* One commit's worth is parsed, datagram by datagram in case readers are in the
		 * way: what fits is kept, the rest is dropped. */
		cut_burst(batch, &burst);
	}
	if (burst.done + n > 1)
		batch->gro_datagrams += burst.n_datagrams;
	if (burst.n_datagrams < n)
		batch->last_mark = buffer_mark_done(buffer, burst.done + burst.n_datagrams);
	batch->buffer[batch->n_buffers++] = index;
	batch_parse(batch, &burst);
	return batch->last_mark == 0;
}

/* ---- commit ---- */

void batch_reset(struct batch *batch)
{
	for (unsigned i = 0; i < batch->n_lanes; i++)
		lane_reset(&batch->lane[i]);
	batch->n_buffers = 0;
	batch->last_mark = 0;
	batch->gro_datagrams = batch->truncated = 0;
}

void batch_commit(struct batch *batch)
{
	if (batch->n_buffers == 0 && batch->redo.note->n == 0)
		return;
	for (unsigned i = 0; i < batch->n_buffers; i++)
		redo_add(&batch->redo, 0, &batch->buffers->buffer[batch->buffer[i]].mark,
		         i + 1 < batch->n_buffers ? 0 : batch->last_mark);
	lanes_commit(batch->lane, batch->n_lanes, &batch->redo);
	batch_reset(batch);
}

uint64_t batch_received(const struct batch *batch)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < batch->n_lanes; i++)
		n += batch->lane[i].received;
	return n;
}
