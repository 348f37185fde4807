/* Any values in the fields of an event: template_expand must write what the oracle does, and the
 * key stays in its place. The first bytes choose the template, the type of the event and how the
 * rest is divided among its texts. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/template_oracle.h"

static const char *const track[] = {"{type}", "track/{date}/{type}/{host}/x",
                                    "a/{params.a}/b{params.b}c/{topic}", "{query}/{user_agent}",
                                    "{type}{host}"};
static const char *const log_text[] = {"{text}", "a/{text}/{client_id}", "{text}{text}/{host}"};
static const char *const outside[] = {"{data}", "{data}/{record_type}/{date}{hour}", "x{data}y/{length}"};

#define PICK(list, byte) list[(byte) % (sizeof list / sizeof list[0])]

static const char *fill(struct record *record, const uint8_t *data, size_t bytes)
{
	size_t rest = bytes - 4;
	if (data[0] % 3 == 0) {
		struct event_track_raw event = {.arrival_ns = UINT64_C(1760000000) * data[1] * 1000000000};
		event.type_bytes = (uint16_t)(rest * data[2] / 256);
		event.host_bytes = (uint16_t)((rest - event.type_bytes) * data[3] / 256);
		event.agent_bytes = (uint16_t)((rest - event.type_bytes - event.host_bytes) / 2);
		event.query_bytes =
		        (uint32_t)(rest - event.type_bytes - event.host_bytes - event.agent_bytes);
		memcpy(record_put(record, EVENT_TRACK_RAW, (uint32_t)(sizeof event + rest)), &event,
		       sizeof event);
		memcpy(record->payload + sizeof event, data + 4, rest);
		return PICK(track, data[1]);
	}
	if (data[0] % 3 == 1) {
		struct event_log event = {.object_bytes = (uint32_t)rest, .text_bytes = (uint32_t)rest};
		event.client_id = (int8_t)data[2];
		event.timestamp_ms = (int64_t)((uint64_t)data[3] << 37);
		memcpy(record_put(record, EVENT_LOG, (uint32_t)(sizeof event + rest)), &event, sizeof event);
		memcpy(record->payload + sizeof event, data + 4, rest);
		return PICK(log_text, data[1]);
	}
	memcpy(record_put(record, (uint16_t)(EVENT_OUTSIDE + data[2]), (uint32_t)rest), data + 4, rest);
	return PICK(outside, data[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 4 || bytes > 30000)
		return 0;
	struct template_place place = {
	        .topic = "t/../o", .host = "..", .instance = "", .n = data[0], .now_ns = 1};
	struct record *record = malloc(sizeof *record + sizeof(struct event_log) + bytes);
	must(record != NULL);
	must(template_agrees(fill(record, data, bytes), record, &place));
	free(record);
	return 0;
}
