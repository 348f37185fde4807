/* One IpEvent message (ipevent.h) a datagram, parsed straight into its record. */
#include "ingest/udp/batch.h"
#include "ingest/udp/ipevent.h"

#define IP_RECORD_BYTES (sizeof(struct record) + sizeof(struct event_ip))

size_t format_ipevent_room(size_t n, size_t bytes)
{
	(void)bytes;
	return n * IP_RECORD_BYTES;
}

void format_ipevent_parse(struct batch *batch, const struct burst *burst)
{
	struct lane *lane = &batch->lane[0];
	struct event_ip head = {.arrival_ns = batch->arrival_ns, .source_port = burst->source_port};
	memcpy(head.source, burst->source, sizeof head.source);
	/* Where a datagram is parsed that has no room: it may be invalid all the same. */
	struct event_ip homeless = head;
	const uint8_t *data = burst->data;
	uint32_t left = burst->bytes;
	for (uint32_t n = burst->n_datagrams; n > 0; n--) {
		uint32_t bytes = left < burst->segment_bytes ? left : burst->segment_bytes;
		char *at = lane_room(lane, IP_RECORD_BYTES);
		struct event_ip *event = at == NULL ? &homeless : record_put(at, EVENT_IP, sizeof *event);
		memcpy(event, &head, offsetof(struct event_ip, sha));
		burst_fence(burst, data + bytes);
		enum ledger_reason reason = ipevent_parse(data, bytes, event);
		burst_unfence(burst, data + bytes);
		if (__builtin_expect(n == 1 && burst->truncated, 0))
			reason = LEDGER_TRUNCATED;
		if (reason != LEDGER_VALID)
			lane->rejected[reason]++;
		else if (at == NULL)
			lane->dropped++;
		else
			lane_keep(lane, IP_RECORD_BYTES);
		data += bytes;
		left -= bytes;
	}
	lane->received += burst->n_datagrams;
}
