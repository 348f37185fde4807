/* Datagrams as they came, valid whatever they hold. */
#include "ingest/udp/batch.h"

static void take(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	struct event_raw *event =
	        batch_put(&batch->lane[0], EVENT_RAW, (uint32_t)sizeof(struct event_raw) + bytes);
	if (event == NULL)
		return;
	event->arrival_ns = batch->arrival_ns;
	memcpy(event->source, burst->source, sizeof event->source);
	event->source_port = burst->source_port;
	event->listener = batch->listener;
	event->length = bytes;
	memcpy(event->data, data, bytes);
}

size_t format_raw_room(size_t n, size_t bytes)
{
	return (n * (sizeof(struct record) + sizeof(struct event_raw) + RECORD_ALIGN - 1) + bytes) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

void format_raw_parse(struct batch *batch, const struct burst *burst)
{
	batch_each(batch, burst, take);
}
