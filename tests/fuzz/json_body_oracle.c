#include "tests/fuzz/json_body_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/json_verdict.h"

static struct verdict judge_metric(json_t *root)
{
	static const char *const names[] = {"username", "count", "metric", NULL};
	json_t *username = json_object_get(root, "username"), *metric = json_object_get(root, "metric");
	struct verdict verdict;
	if (verdict_lacks(root, "", names, &verdict))
		return verdict;
	if (!json_is_string(username))
		return verdict_wrong("username");
	if (!json_is_integer(json_object_get(root, "count")))
		return verdict_wrong("count");
	if (!json_is_string(metric))
		return verdict_wrong("metric");
	if (json_string_length(username) > UINT16_MAX)
		return (struct verdict){LEDGER_TOO_LARGE, "username"};
	return json_string_length(metric) > UINT16_MAX ? (struct verdict){LEDGER_TOO_LARGE, "metric"}
	                                               : verdict_valid;
}

static struct verdict judge_log(json_t *root)
{
	static const char *const names[] = {"client_id", "content_id", "timestamp", "text", NULL};
	struct verdict verdict;
	if (verdict_lacks(root, "", names, &verdict))
		return verdict;
	for (unsigned i = 0; i < 3; i++)
		if (!json_is_integer(json_object_get(root, names[i])))
			return verdict_wrong(names[i]);
	if (!json_is_string(json_object_get(root, "text")))
		return verdict_wrong("text");
	json_int_t timestamp = json_integer_value(json_object_get(root, "timestamp"));
	if (json_integer_value(json_object_get(root, "client_id")) == 0)
		return verdict_wrong("client_id");
	if (json_integer_value(json_object_get(root, "content_id")) == 0)
		return verdict_wrong("content_id");
	return timestamp > 0 && timestamp <= 9999999999999 ? verdict_valid : verdict_wrong("timestamp");
}

static struct verdict judge_track(json_t *root)
{
	static const char *const names[] = {"type", NULL};
	json_t *ts = json_object_get(root, "ts"), *params = json_object_get(root, "params");
	struct verdict verdict;
	if (verdict_lacks(root, "", names, &verdict))
		return verdict;
	if (!json_is_string(json_object_get(root, "type")))
		return verdict_wrong("type");
	if (ts && (!json_is_integer(ts) || json_integer_value(ts) < 0))
		return verdict_wrong("ts");
	if (params && (!json_is_object(params) || !query_fits(params)))
		return verdict_wrong("params");
	return json_string_length(json_object_get(root, "type")) > UINT16_MAX
	               ? (struct verdict){LEDGER_TOO_LARGE, "type"}
	               : verdict_valid;
}

static bool is_log(const struct parsed *parsed, json_t *root, const char *data, size_t bytes)
{
	const struct event_log *event = parsed->payload;
	char *squeezed = malloc(bytes);
	size_t mark = opinion_mark(data, bytes);
	size_t n = verdict_squeeze(squeezed, data + mark, bytes - mark);
	struct event_log wanted = {
	        .client_id = json_integer_value(json_object_get(root, "client_id")),
	        .content_id = json_integer_value(json_object_get(root, "content_id")),
	        .timestamp_ms = json_integer_value(json_object_get(root, "timestamp")),
	        .object_bytes = (uint32_t)n,
	        .text_offset = event->text_offset,
	        .text_bytes = event->text_bytes,
	};
	bool same = parsed->length == sizeof wanted + n && memcmp(event, &wanted, sizeof wanted) == 0 &&
	            memcmp(event->object, squeezed, n) == 0 && event->text_bytes <= n &&
	            event->text_offset <= n - event->text_bytes;
	if (same) {
		json_t *text = json_loadb(event->object + event->text_offset, event->text_bytes,
		                          JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		same = text && json_equal(text, json_object_get(root, "text")) &&
		       event->object[event->text_offset] == '"';
		json_decref(text);
	}
	free(squeezed);
	return same;
}

static const char *compare_metric(const struct parsed *parsed, const struct opinion *opinion,
                                  const char *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	const char *difference = verdict_differs(parsed, judge_metric(opinion->root));
	if (!difference && parsed->valid && !query_is_metric(parsed->payload, parsed->length, opinion->root))
		return "metric event";
	return difference;
}

enum json_agreement json_oracle_metric(const char *data, size_t bytes)
{
	return verdict_agree(data, bytes, json_metric, json_room_plain(bytes), compare_metric);
}

static const char *compare_log(const struct parsed *parsed, const struct opinion *opinion, const char *data,
                               size_t bytes)
{
	const char *difference = verdict_differs(parsed, judge_log(opinion->root));
	if (!difference && parsed->valid && !is_log(parsed, opinion->root, data, bytes))
		return "log event";
	return difference;
}

enum json_agreement json_oracle_log(const char *data, size_t bytes)
{
	return verdict_agree(data, bytes, json_log, json_room_plain(bytes), compare_log);
}

/* Repeated keys inside params all count, but jansson keeps the last: then the others may be what is
 * wrong, or too much. */
static const char *compare_track(const struct parsed *parsed, const struct opinion *opinion, const char *data,
                                 size_t bytes)
{
	(void)data;
	json_t *params = json_object_get(opinion->root, "params");
	size_t least, most, room = json_room(bytes) - sizeof(struct event_track_raw);
	size_t type = json_string_length(json_object_get(opinion->root, "type"));
	query_bounds(params, bytes, &least, &most);
	bool about_params = !parsed->valid && strcmp(parsed->fault.where, "params") == 0;
	if (about_params && params && opinion->duplicates)
		return NULL;
	if (about_params && parsed->fault.reason == LEDGER_TOO_LARGE)
		return type + most > room ? NULL : "too large";
	const char *difference = verdict_differs(parsed, judge_track(opinion->root));
	if (difference || !parsed->valid)
		return difference;
	return query_is_track(parsed->payload, parsed->length, opinion->root, !opinion->duplicates)
	               ? NULL
	               : "tracking event";
}

enum json_agreement json_oracle_track(const char *data, size_t bytes)
{
	return verdict_agree(data, bytes, json_track, json_room(bytes), compare_track);
}

/* In as much room as a query needs that repeats no key. */
static bool parse_params(const char *data, size_t bytes, void *out, uint32_t *length,
                         struct json_fault *fault)
{
	return json_params(data, bytes, out, 3 * bytes, length, fault);
}

static const char *compare_params(const struct parsed *parsed, const struct opinion *opinion,
                                  const char *data, size_t bytes)
{
	(void)data;
	size_t least, most;
	query_bounds(opinion->root, bytes, &least, &most);
	if (!parsed->valid && opinion->duplicates)
		return NULL;
	if (!parsed->valid && parsed->fault.reason == LEDGER_TOO_LARGE)
		return most > 3 * bytes ? NULL : "too large";
	const char *difference =
	        verdict_differs(parsed, query_fits(opinion->root) ? verdict_valid : verdict_wrong("body"));
	if (difference || !parsed->valid || opinion->duplicates)
		return difference;
	return query_is(parsed->payload, parsed->length, opinion->root) ? NULL : "query";
}

enum json_agreement json_oracle_params(const char *data, size_t bytes)
{
	return verdict_agree(data, bytes, parse_params, 3 * bytes, compare_params);
}
