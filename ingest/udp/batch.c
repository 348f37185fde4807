#include "ingest/udp/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/json/event.h"
#include "ingest/udp/ipevent.h"

#define IP_RECORD_BYTES (sizeof(struct record) + sizeof(struct event_ip))

/* ---- formats ---- */

#define FORMAT(name, parse, room, ...)                                              \
	static const char *const topics_of_##name[] = {__VA_ARGS__};                \
	_Static_assert(sizeof topics_of_##name / sizeof(char *) <= BATCH_LANES_MAX, \
	               #name ": a batch holds its lanes");
#include "ingest/udp/formats.def"
#undef FORMAT

static const struct format formats[] = {
#define FORMAT(name, parse, room, ...) \
	{#name, parse, room, topics_of_##name, sizeof topics_of_##name / sizeof(char *)},
#include "ingest/udp/formats.def"
#undef FORMAT
};

const struct format *format_find(const char *name)
{
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}

/* ---- life ---- */

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

void batch_lane_stream(struct batch *batch, unsigned i, struct topic_writer *writer)
{
	lane_stream(&batch->lane[i], writer);
}

void batch_lane_memory(struct batch *batch, unsigned i, void *memory, size_t bytes)
{
	lane_memory(&batch->lane[i], memory, bytes);
}

/* A valid datagram for which there is no room: now, or ever. */
static void drop(struct lane *lane, size_t bytes)
{
	if (bytes > lane->most)
		lane->rejected[LEDGER_TOO_LARGE]++;
	else
		lane->dropped++;
}

/* ---- parsers ---- */

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
		enum ledger_reason reason = ipevent_parse(data, bytes, event);
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

static void take_raw(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	struct lane *lane = &batch->lane[0];
	uint32_t length = (uint32_t)sizeof(struct event_raw) + bytes;
	lane->received++;
	char *at = lane_room(lane, record_bytes(length));
	if (at == NULL) {
		drop(lane, record_bytes(length));
		return;
	}
	struct event_raw *event = record_put(at, EVENT_RAW, length);
	event->arrival_ns = batch->arrival_ns;
	memcpy(event->source, burst->source, sizeof event->source);
	event->source_port = burst->source_port;
	event->listener = batch->listener;
	event->length = bytes;
	memcpy(event->data, data, bytes);
	lane_keep(lane, record_bytes(length));
}

/* Parsed apart and copied: which lane it goes to is known only at its end, and the lane then gives
 * exactly what it needs. */
static void take_json(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	uint16_t type;
	uint32_t length;
	enum ledger_reason reason =
	        json_event_parse((const char *)data, bytes, batch->scratch, &type, &length);
	if (reason != LEDGER_VALID) {
		batch->lane[0].received++;
		batch->lane[0].rejected[reason]++;
		return;
	}
	struct lane *lane = &batch->lane[type == EVENT_TRACK_RAW ? 1 : 0];
	lane->received++;
	char *at = lane_room(lane, record_bytes(length));
	if (at == NULL) {
		drop(lane, record_bytes(length));
		return;
	}
	struct event_head head = {.arrival_ns = batch->arrival_ns, .source_port = burst->source_port};
	memcpy(head.source, burst->source, sizeof head.source);
	char *payload = record_put(at, type, length);
	memcpy(payload, batch->scratch, length);
	memcpy(payload, &head, offsetof(struct event_head, reserved));
	lane_keep(lane, record_bytes(length));
}
_Static_assert(offsetof(struct event_metric, username_bytes) == offsetof(struct event_head, reserved), "");
_Static_assert(offsetof(struct event_track_raw, type_bytes) == offsetof(struct event_head, reserved), "");

/* Calls take for each datagram that the kernel did not cut. */
static inline void parse_each(struct batch *batch, const struct burst *burst,
                              void (*take)(struct batch *, const struct burst *, const uint8_t *, uint32_t))
{
	const uint8_t *data = burst->data;
	uint32_t left = burst->bytes;
	for (uint32_t n = burst->n_datagrams; n > 0; n--) {
		uint32_t bytes = left < burst->segment_bytes ? left : burst->segment_bytes;
		if (n == 1 && burst->truncated) {
			batch->lane[0].received++;
			batch->lane[0].rejected[LEDGER_TRUNCATED]++;
		} else {
			take(batch, burst, data, bytes);
		}
		data += bytes;
		left -= bytes;
	}
}

size_t format_raw_room(size_t n, size_t bytes)
{
	return (n * (sizeof(struct record) + sizeof(struct event_raw) + RECORD_ALIGN - 1) + bytes) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

void format_raw_parse(struct batch *batch, const struct burst *burst)
{
	parse_each(batch, burst, take_raw);
}

/* In each lane: the parser finds out which one. Text grows at most as json_room says. */
size_t format_json_room(size_t n, size_t bytes)
{
	return (n * (json_room(0) + sizeof(struct record) + RECORD_ALIGN) + json_room(bytes)) &
	       ~(size_t)(RECORD_ALIGN - 1);
}

void format_json_parse(struct batch *batch, const struct burst *burst)
{
	parse_each(batch, burst, take_json);
}

void batch_parse(struct batch *batch, const struct burst *burst)
{
	batch->truncated += burst->truncated;
	batch->format->parse(batch, burst);
}

/* ---- buffers ---- */

/* Makes room for all that a burst may become. */
static bool has_room(struct batch *batch, const struct burst *burst)
{
	size_t most = batch->format->room(burst->n_datagrams, burst->bytes);
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
	if (!has_room(batch, &burst)) {
		if (batch->n_buffers > 0)
			return false;
		/* What fits one commit goes on datagram by datagram, in case readers are in the way: what fits is kept, the rest is dropped. */
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
	if (batch->n_buffers == 0)
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
