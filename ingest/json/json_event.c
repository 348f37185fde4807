#include "ingest/json/json_event.h"

#include "ingest/json/object.h"

#define METRIC_NAMES (1u << NAME_USERNAME | 1u << NAME_COUNT | 1u << NAME_METRIC)

enum ledger_reason json_event_parse(const char *data, size_t bytes, void *payload, uint16_t *type,
                                    uint32_t *length)
{
	struct json_object object;
	struct json_fault fault;
	if (!json_collect(data, bytes, &object, &fault))
		return fault.reason;
	bool valid;
	if (json_has(&object, NAME_TYPE)) {
		*type = EVENT_TRACK_RAW;
		valid = json_build_track(&object, payload, json_event_room(bytes), length, &fault);
	} else if (object.seen & METRIC_NAMES) {
		*type = EVENT_METRIC;
		valid = json_build_metric(&object, payload, length, &fault);
	} else {
		return LEDGER_UNKNOWN_EVENT;
	}
	return valid ? LEDGER_VALID : fault.reason;
}
