#include "ingest/json/json_cut.h"
#include "ingest/json/object.h"

#define TIMESTAMP_MAX_MS 9999999999999

static bool check(const struct json_object *object, struct json_fault *fault)
{
	if (!json_need(object, NAME_CLIENT_ID, "client_id", fault) ||
	    !json_need(object, NAME_CONTENT_ID, "content_id", fault) ||
	    !json_need(object, NAME_TIMESTAMP, "timestamp", fault) ||
	    !json_need(object, NAME_TEXT, "text", fault) ||
	    !json_need_int64(object, NAME_CLIENT_ID, "client_id", fault) ||
	    !json_need_int64(object, NAME_CONTENT_ID, "content_id", fault) ||
	    !json_need_int64(object, NAME_TIMESTAMP, "timestamp", fault) ||
	    !json_need_string(object, NAME_TEXT, "text", fault))
		return false;
	int64_t timestamp = object->value[NAME_TIMESTAMP].number;
	if (object->value[NAME_CLIENT_ID].number == 0)
		return json_fail(fault, LEDGER_WRONG_TYPE, "client_id", "must not be 0");
	if (object->value[NAME_CONTENT_ID].number == 0)
		return json_fail(fault, LEDGER_WRONG_TYPE, "content_id", "must not be 0");
	if (timestamp < 1 || timestamp > TIMESTAMP_MAX_MS)
		return json_fail(fault, LEDGER_WRONG_TYPE, "timestamp",
		                 "must be milliseconds, 1 to 9999999999999");
	return true;
}

bool json_log(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault)
{
	struct json_object object;
	if (!json_collect(data, bytes, &object, fault) || !check(&object, fault))
		return false;
	const struct json_value *text = &object.value[NAME_TEXT];
	struct event_log *event = payload;
	memset(event, 0, sizeof *event);
	const char *end = data + bytes, *begin = json_skip_mark(data, end);
	size_t offset;
	size_t n = json_compact(event->object, begin, (size_t)(end - begin), text->text - 1, &offset);
	event->object_bytes = (uint32_t)n;
	event->client_id = object.value[NAME_CLIENT_ID].number;
	event->content_id = object.value[NAME_CONTENT_ID].number;
	event->timestamp_ms = object.value[NAME_TIMESTAMP].number;
	event->text_offset = (uint32_t)offset;
	event->text_bytes = (uint32_t)text->bytes + 2;
	*length = (uint32_t)(sizeof *event + n);
	return true;
}
