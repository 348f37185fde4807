/* One statsd counter a datagram, "user.metric:12|c", which becomes a metric event. */
#include "event/event.h"
#include "ingest/udp/batch.h"

/* Reads COUNT|c. Returns false when the text is something else. */
static bool read_count(const char *at, const char *end, int64_t *count)
{
	const char *begin = at;
	for (*count = 0; at < end && *at >= '0' && *at <= '9' && at - begin < 18; at++)
		*count = *count * 10 + (*at - '0');
	return at > begin && end - at == 2 && at[0] == '|' && at[1] == 'c';
}

static void take(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	const char *text = (const char *)data, *end = text + bytes;
	const char *colon = memchr(text, ':', bytes);
	const char *point = colon != NULL ? memchr(text, '.', (size_t)(colon - text)) : NULL;
	int64_t count;
	if (point == NULL || colon - text > UINT16_MAX || !read_count(colon + 1, end, &count)) {
		batch_reject(batch, LEDGER_MALFORMED);
		return;
	}
	uint16_t username_bytes = (uint16_t)(point - text), metric_bytes = (uint16_t)(colon - point - 1);
	struct event_metric *event =
	        batch_put(&batch->lane[0], EVENT_METRIC,
	                  (uint32_t)sizeof(struct event_metric) + username_bytes + metric_bytes);
	if (event == NULL)
		return;
	*event = (struct event_metric){
	        .arrival_ns = batch->arrival_ns,
	        .source_port = burst->source_port,
	        .username_bytes = username_bytes,
	        .metric_bytes = metric_bytes,
	        .count = count,
	};
	memcpy(event->source, burst->source, sizeof event->source);
	memcpy(event->text, text, username_bytes);
	memcpy(event->text + username_bytes, point + 1, metric_bytes);
}

size_t format_statsd_room(size_t n, size_t bytes)
{
	return (n * (sizeof(struct record) + sizeof(struct event_metric) + RECORD_ALIGN - 1) + bytes) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

void format_statsd_parse(struct batch *batch, const struct burst *burst)
{
	batch_each(batch, burst, take);
}
