/* One JSON object a datagram (ingest/json/event.h): a metric event or a tracking call. */
#include "ingest/json/event.h"
#include "ingest/udp/batch.h"

/* Parsed apart and copied: only at its end is it known which lane the event goes to and how much
 * room it needs. */
static void take(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	uint16_t type;
	uint32_t length;
	enum ledger_reason reason =
	        json_event_parse((const char *)data, bytes, batch->scratch, &type, &length);
	if (reason != LEDGER_VALID) {
		batch_reject(batch, reason);
		return;
	}
	char *payload = batch_put(&batch->lane[type == EVENT_TRACK_RAW ? 1 : 0], type, length);
	if (payload == NULL)
		return;
	struct event_head head = {.arrival_ns = batch->arrival_ns, .source_port = burst->source_port};
	memcpy(head.source, burst->source, sizeof head.source);
	memcpy(payload, batch->scratch, length);
	memcpy(payload, &head, offsetof(struct event_head, reserved));
}
_Static_assert(offsetof(struct event_metric, username_bytes) == offsetof(struct event_head, reserved), "");
_Static_assert(offsetof(struct event_track_raw, type_bytes) == offsetof(struct event_head, reserved), "");

/* In each lane: the parser finds out which one. Text grows at most as json_room says. */
size_t format_json_room(size_t n, size_t bytes)
{
	return (n * (json_room(0) + sizeof(struct record) + RECORD_ALIGN) + json_room(bytes)) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

void format_json_parse(struct batch *batch, const struct burst *burst)
{
	batch_each(batch, burst, take);
}
