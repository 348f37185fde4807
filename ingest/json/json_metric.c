#include "ingest/json/object.h"

bool json_build_metric(const struct json_object *object, void *payload, uint32_t *length,
                       struct json_fault *fault)
{
	if (!json_need(object, NAME_USERNAME, "username", fault) ||
	    !json_need(object, NAME_COUNT, "count", fault) ||
	    !json_need(object, NAME_METRIC, "metric", fault) ||
	    !json_need_string(object, NAME_USERNAME, "username", fault) ||
	    !json_need_int64(object, NAME_COUNT, "count", fault) ||
	    !json_need_string(object, NAME_METRIC, "metric", fault))
		return false;
	struct event_metric *event = payload;
	memset(event, 0, sizeof *event);
	size_t username = json_copy(event->text, &object->value[NAME_USERNAME]);
	size_t metric = json_copy(event->text + username, &object->value[NAME_METRIC]);
	if (username > UINT16_MAX || metric > UINT16_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, username > UINT16_MAX ? "username" : "metric",
		                 "is longer than 65535 bytes");
	event->username_bytes = (uint16_t)username;
	event->metric_bytes = (uint16_t)metric;
	event->count = object->value[NAME_COUNT].number;
	*length = (uint32_t)(sizeof *event + username + metric);
	return true;
}

bool json_metric(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault)
{
	struct json_object object;
	return json_collect(data, bytes, &object, fault) &&
	       json_build_metric(&object, payload, length, fault);
}
