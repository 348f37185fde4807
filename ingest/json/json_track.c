#include "ingest/json/json_event.h"
#include "ingest/json/object.h"

static bool check(const struct json_object *object, struct json_fault *fault)
{
	if (!json_need(object, NAME_TYPE, "type", fault) ||
	    !json_need_string(object, NAME_TYPE, "type", fault))
		return false;
	if (json_has(object, NAME_TS)) {
		if (!json_need_int64(object, NAME_TS, "ts", fault))
			return false;
		if (object->value[NAME_TS].number < 0)
			return json_fail(fault, LEDGER_WRONG_TYPE, "ts", "must be milliseconds, 0 or more");
	}
	if (json_has(object, NAME_PARAMS) && object->value[NAME_PARAMS].token != SCAN_OBJECT)
		return json_fail(fault, LEDGER_WRONG_TYPE, "params", "must be an object");
	return true;
}

bool json_build_track(const struct json_object *object, void *payload, size_t room, uint32_t *length,
                      struct json_fault *fault)
{
	if (!check(object, fault))
		return false;
	struct event_track_raw *event = payload;
	memset(event, 0, sizeof *event);
	size_t type = json_copy(event->text, &object->value[NAME_TYPE]);
	uint32_t query = 0;
	if (json_has(object, NAME_PARAMS)) {
		const struct json_value *params = &object->value[NAME_PARAMS];
		if (!json_params(params->text, params->bytes, event->text + type, room - sizeof *event - type,
		                 &query, fault)) {
			fault->where = "params";
			return false;
		}
	}
	if (type > UINT16_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, "type", "is longer than 65535 bytes");
	event->type_bytes = (uint16_t)type;
	event->query_bytes = query;
	event->client_ts_ms = json_has(object, NAME_TS) ? (uint64_t)object->value[NAME_TS].number : 0;
	*length = (uint32_t)(sizeof *event + type + query);
	return true;
}

bool json_track(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault)
{
	struct json_object object;
	return json_collect(data, bytes, &object, fault) &&
	       json_build_track(&object, payload, json_event_room(bytes), length, fault);
}
