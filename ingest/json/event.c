#include "ingest/json/event.h"

#include <string.h>

#include "base/hex.h"
#include "ingest/json/object.h"

/* ---- metric ---- */

static bool build_metric(const struct json_object *object, void *payload, uint32_t *length,
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
	return json_collect(data, bytes, &object, fault) && build_metric(&object, payload, length, fault);
}

/* ---- log ---- */

#define TIMESTAMP_MAX_MS 9999999999999

static bool check_log(const struct json_object *object, struct json_fault *fault)
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
	if (!json_collect(data, bytes, &object, fault) || !check_log(&object, fault))
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

/* ---- parameters ---- */

/* A query string in the making. */
struct query {
	char *begin, *at, *end;
	bool full; /* something did not fit */
};

static void put(struct query *query, const char *text, size_t bytes)
{
	if ((size_t)(query->end - query->at) < bytes) {
		query->full = true;
		return;
	}
	memcpy(query->at, text, bytes);
	query->at += bytes;
}

static void put_encoded(struct query *query, const char *text, size_t bytes)
{
	for (const char *end = text + bytes; text < end && !query->full; text++) {
		const char *run = text;
		while (text < end && json_is_unreserved(*text))
			text++;
		put(query, run, (size_t)(text - run));
		if (text == end)
			break;
		char code[3] = {'%', hex_upper((unsigned char)*text >> 4), hex_upper((unsigned char)*text)};
		put(query, code, sizeof code);
	}
}

/* Text of a KEY or STRING, or any text without escapes. */
static void put_text(struct query *query, const char *text, size_t bytes)
{
	for (const char *end = text + bytes; text < end && !query->full;) {
		const char *escape = memchr(text, '\\', (size_t)(end - text));
		const char *plain = escape ? escape : end;
		put_encoded(query, text, (size_t)(plain - text));
		text = plain;
		if (escape) {
			char utf8[4];
			size_t n = scan_escape(utf8, &text);
			put_encoded(query, utf8, n);
		}
	}
}

/* key=value for the scalar that the scan has just given; false when it is not one. */
static bool put_parameter(struct query *query, const char *key, size_t key_bytes, const struct scan *scan,
                          enum scan_token token)
{
	static const char *const words[] = {
	        [SCAN_TRUE] = "true", [SCAN_FALSE] = "false", [SCAN_NULL] = "null"};
	if (token < SCAN_STRING)
		return false;
	if (query->at > query->begin)
		put(query, "&", 1);
	put_text(query, key, key_bytes);
	put(query, "=", 1);
	if (token == SCAN_STRING || token == SCAN_NUMBER)
		put_text(query, scan->text, scan->bytes);
	else
		put(query, words[token], strlen(words[token]));
	return true;
}

/* The members of the object that the scan has just opened. False as soon as one cannot be a
 * parameter; otherwise the scan is after the object, or at an error. */
static bool put_members(struct query *query, struct scan *scan)
{
	while (scan_next(scan) == SCAN_KEY) {
		const char *key = scan->text;
		size_t key_bytes = scan->bytes;
		enum scan_token token = scan_next(scan);
		bool array = token == SCAN_ARRAY;
		if (array)
			token = scan_next(scan);
		while (token != SCAN_ARRAY_END) {
			if (!put_parameter(query, key, key_bytes, scan, token))
				return false;
			token = array ? scan_next(scan) : SCAN_ARRAY_END;
		}
	}
	return true;
}

bool json_begins_object(const char *data, size_t bytes)
{
	const char *end = data + bytes, *first = json_skip_space(json_skip_mark(data, end), end);
	return first < end && *first == '{';
}

bool json_params(const char *data, size_t bytes, char *out, size_t room, uint32_t *length,
                 struct json_fault *fault)
{
	struct query query = {.begin = out, .at = out, .end = out + room};
	struct scan scan;
	if (bytes > JSON_EVENT_BYTES_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, "body", "is too long");
	scan_init(&scan, data, bytes);
	enum scan_token token = scan_next(&scan);
	bool object = token == SCAN_OBJECT, flat = object && put_members(&query, &scan);
	while (token > SCAN_END)
		token = scan_next(&scan);
	if (token == SCAN_ERROR)
		return json_fail_scan(fault, &scan);
	if (!object)
		return json_fail(fault, LEDGER_UNKNOWN_EVENT, "body", "must be a JSON object");
	if (!flat)
		return json_fail(fault, LEDGER_WRONG_TYPE, "body",
		                 "values must be strings, numbers, true, false, null or arrays of these");
	if (query.full)
		return json_fail(fault, LEDGER_TOO_LARGE, "body", "is too long as a query string");
	*length = (uint32_t)(query.at - query.begin);
	return true;
}

/* ---- track ---- */

static bool check_track(const struct json_object *object, struct json_fault *fault)
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

static bool build_track(const struct json_object *object, void *payload, size_t room, uint32_t *length,
                        struct json_fault *fault)
{
	if (!check_track(object, fault))
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
	       build_track(&object, payload, json_room(bytes), length, fault);
}

/* ---- a datagram: metric or track ---- */

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
		valid = build_track(&object, payload, json_room(bytes), length, &fault);
	} else if (object.seen & METRIC_NAMES) {
		*type = EVENT_METRIC;
		valid = build_metric(&object, payload, length, &fault);
	} else {
		return LEDGER_UNKNOWN_EVENT;
	}
	return valid ? LEDGER_VALID : fault.reason;
}

/* ---- batch ---- */

bool json_batch_open(struct json_batch *batch, const char *data, size_t bytes, struct json_fault *fault)
{
	const char *end = data + bytes, *first = json_skip_space(json_skip_mark(data, end), end);
	if (bytes > JSON_EVENT_BYTES_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, "body", "is too long");
	*batch = (struct json_batch){.at = data, .end = end};
	if (first == end || *first != '[')
		return true;
	struct scan scan;
	enum scan_token token;
	scan_init(&scan, data, bytes);
	do
		token = scan_next(&scan);
	while (token > SCAN_END);
	if (token == SCAN_ERROR)
		return json_fail_scan(fault, &scan);
	batch->array = true;
	batch->at = first + 1;
	return true;
}

/* `at` is after the opening bracket or after an element. */
static bool next_element(struct json_batch *batch, const char **data, size_t *bytes)
{
	const char *at = json_skip_space(batch->at, batch->end);
	if (at < batch->end && *at == ',')
		at = json_skip_space(at + 1, batch->end);
	if (at == batch->end || *at == ']') {
		batch->at = batch->end;
		return false;
	}
	batch->at = json_value_end(at, batch->end);
	*data = at;
	*bytes = (size_t)(batch->at - at);
	batch->number++;
	return true;
}

static bool next_line(struct json_batch *batch, const char **data, size_t *bytes)
{
	while (batch->at < batch->end) {
		const char *line = batch->at;
		const char *newline = memchr(line, '\n', (size_t)(batch->end - line));
		const char *line_end = newline ? newline : batch->end;
		batch->at = newline ? newline + 1 : batch->end;
		batch->number++;
		if (line_end > line && line_end[-1] == '\r')
			line_end--;
		if (json_skip_space(json_skip_mark(line, line_end), line_end) < line_end) {
			*data = line;
			*bytes = (size_t)(line_end - line);
			return true;
		}
	}
	return false;
}

bool json_batch_next(struct json_batch *batch, const char **data, size_t *bytes)
{
	return batch->array ? next_element(batch, data, bytes) : next_line(batch, data, bytes);
}
