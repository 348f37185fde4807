#include "tests/fuzz/json_oracle.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ingest/json/event.h"
#include "ingest/json/scan.h"
#include "tests/fuzz/json_opinion.h"

#define LOAD_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

enum json_agreement opinion_differs(const char *what, const char *data, size_t bytes)
{
	fprintf(stderr, "differs from jansson: %s: ", what);
	for (size_t i = 0; i < bytes && i < 1000; i++)
		fprintf(stderr, isprint((unsigned char)data[i]) ? "%c" : "\\x%02x", (unsigned char)data[i]);
	fprintf(stderr, "\n");
	return JSON_DISAGREED;
}

static bool beyond_jansson(const json_error_t *error)
{
	enum json_error_code code = json_error_code(error);
	return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
	       code == json_error_stack_overflow;
}

struct opinion opinion_of(const char *data, size_t bytes)
{
	json_error_t error;
	size_t mark = opinion_mark(data, bytes);
	data += mark;
	bytes -= mark;
	if (memchr(data, 0, bytes)) /* JSON has none, but jansson overlooks it after a number or word */
		return (struct opinion){0};
	struct opinion opinion = {.root = json_loadb(data, bytes, LOAD_FLAGS, &error)};
	opinion.accepted = opinion.root != NULL;
	if (opinion.root) {
		json_t *strict = json_loadb(data, bytes, LOAD_FLAGS | JSON_REJECT_DUPLICATES, NULL);
		opinion.duplicates = strict == NULL;
		json_decref(strict);
	} else if (beyond_jansson(&error)) {
		json_t *as_reals = json_loadb(data, bytes, LOAD_FLAGS | JSON_DECODE_INT_AS_REAL, &error);
		opinion.accepted = as_reals != NULL;
		opinion.undecided = !as_reals && beyond_jansson(&error);
		json_decref(as_reals);
	}
	return opinion;
}

size_t opinion_mark(const char *data, size_t bytes)
{
	return bytes >= 3 && strncmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

static json_t *number_of(const struct scan *scan)
{
	int64_t integer;
	if (scan_int64(scan, &integer) == 0)
		return json_integer(integer);
	char *text = strndup(scan->text, scan->bytes);
	json_t *real = json_real(strtod(text, NULL));
	free(text);
	return real;
}

static json_t *string_of(const struct scan *scan)
{
	char *text = malloc(scan->bytes + 1);
	size_t bytes = scan_unescape(text, scan->text, scan->bytes);
	json_t *string = json_stringn(text, bytes); /* NULL unless it is UTF-8 */
	free(text);
	return string;
}

/* The value that begins with token, as a tree; NULL on an error of the scan. */
static json_t *tree_of(struct scan *scan, enum scan_token token)
{
	json_t *tree = NULL;
	switch (token) {
	case SCAN_OBJECT:
		tree = json_object();
		while (scan_next(scan) == SCAN_KEY) {
			json_t *key = string_of(scan);
			json_t *value = tree_of(scan, scan_next(scan));
			if (value && json_object_setn_new(tree, json_string_value(key),
			                                  json_string_length(key), value) != 0)
				abort();
			json_decref(key);
		}
		break;
	case SCAN_ARRAY:
		tree = json_array();
		while ((token = scan_next(scan)) > SCAN_END && token != SCAN_ARRAY_END)
			json_array_append_new(tree, tree_of(scan, token));
		break;
	case SCAN_STRING:
		return string_of(scan);
	case SCAN_NUMBER:
		return number_of(scan);
	case SCAN_TRUE:
		return json_true();
	case SCAN_FALSE:
		return json_false();
	case SCAN_NULL:
		return json_null();
	default:
		return NULL;
	}
	return tree;
}

static enum scan_error scan_whole(const char *data, size_t bytes)
{
	struct scan scan;
	scan_init(&scan, data, bytes);
	enum scan_token token;
	do
		token = scan_next(&scan);
	while (token > SCAN_END);
	return token == SCAN_END ? SCAN_OK : scan.error;
}

enum json_agreement json_oracle_scan(const char *data, size_t bytes)
{
	enum scan_error error = scan_whole(data, bytes);
	if (error == SCAN_TOO_DEEP)
		return JSON_UNDECIDED;
	struct opinion opinion = opinion_of(data, bytes);
	if (opinion.undecided)
		return JSON_UNDECIDED;
	if ((error == SCAN_OK) != opinion.accepted) {
		json_decref(opinion.root);
		return opinion_differs(error == SCAN_OK ? "only the scanner accepts" : scan_error_text(error),
		                       data, bytes);
	}
	if (!opinion.root)
		return opinion.accepted ? JSON_UNDECIDED : JSON_REFUSED;

	struct scan scan;
	scan_init(&scan, data, bytes);
	json_t *tree = tree_of(&scan, scan_next(&scan));
	bool equal = json_equal(tree, opinion.root);
	json_decref(tree);
	json_decref(opinion.root);
	return equal ? JSON_ACCEPTED : opinion_differs("values", data, bytes);
}

bool opinion_is_empty(const json_t *value)
{
	return !value || (json_is_string(value) && json_string_length(value) == 0);
}

bool opinion_too_deep(const char *data, size_t bytes)
{
	return scan_whole(data, bytes) == SCAN_TOO_DEEP;
}

static enum ledger_reason metric_reason(json_t *root)
{
	json_t *username = json_object_get(root, "username"), *metric = json_object_get(root, "metric");
	json_t *count = json_object_get(root, "count");
	if (!username && !metric && !count)
		return LEDGER_UNKNOWN_EVENT;
	if (opinion_is_empty(username) || opinion_is_empty(metric) || opinion_is_empty(count))
		return LEDGER_MISSING_FIELD;
	if (!json_is_string(username) || !json_is_string(metric) || !json_is_integer(count))
		return LEDGER_WRONG_TYPE;
	if (json_string_length(username) > UINT16_MAX || json_string_length(metric) > UINT16_MAX)
		return LEDGER_TOO_LARGE;
	return LEDGER_VALID;
}

static enum ledger_reason track_reason(json_t *root)
{
	json_t *type = json_object_get(root, "type"), *ts = json_object_get(root, "ts");
	json_t *params = json_object_get(root, "params");
	if (opinion_is_empty(type))
		return LEDGER_MISSING_FIELD;
	if (!json_is_string(type) || (ts && (!json_is_integer(ts) || json_integer_value(ts) < 0)))
		return LEDGER_WRONG_TYPE;
	if (params && (!json_is_object(params) || !query_fits(params)))
		return LEDGER_WRONG_TYPE;
	return json_string_length(type) > UINT16_MAX ? LEDGER_TOO_LARGE : LEDGER_VALID;
}

struct parsed {
	enum ledger_reason reason;
	uint16_t type;
	uint32_t length;
	void *payload;
};

static const char *compare_track(const struct parsed *parsed, json_t *root, size_t bytes, bool duplicates)
{
	enum ledger_reason wanted = track_reason(root);
	size_t least, most, room = json_room(bytes) - sizeof(struct event_track_raw);
	json_t *params = json_object_get(root, "params");
	query_bounds(params, bytes, &least, &most);
	size_t type = json_string_length(json_object_get(root, "type"));
	if (duplicates && params &&
	    (parsed->reason == LEDGER_WRONG_TYPE || parsed->reason == LEDGER_TOO_LARGE))
		return NULL;
	if (wanted == LEDGER_VALID && parsed->reason == LEDGER_TOO_LARGE)
		return type + most > room ? NULL : "too large";
	if (parsed->reason != wanted)
		return "reason";
	if (wanted == LEDGER_VALID && least + type > room && !duplicates)
		return "not too large";
	if (wanted == LEDGER_VALID && parsed->type != EVENT_TRACK_RAW)
		return "type";
	if (wanted == LEDGER_VALID && !query_is_track(parsed->payload, parsed->length, root, !duplicates))
		return "tracking event";
	return NULL;
}

static const char *compare_event(const struct parsed *parsed, json_t *root, size_t bytes, bool duplicates)
{
	if (!json_is_object(root))
		return parsed->reason == LEDGER_UNKNOWN_EVENT ? NULL : "event that is no object";
	if (json_object_get(root, "type"))
		return compare_track(parsed, root, bytes, duplicates);
	enum ledger_reason wanted = metric_reason(root);
	if (parsed->reason != wanted)
		return "reason";
	if (wanted != LEDGER_VALID)
		return NULL;
	if (parsed->type != EVENT_METRIC || !query_is_metric(parsed->payload, parsed->length, root))
		return "metric event";
	return NULL;
}

enum json_agreement json_oracle_event(const char *data, size_t bytes)
{
	if (opinion_too_deep(data, bytes))
		return JSON_UNDECIDED;
	struct opinion opinion = opinion_of(data, bytes);
	if (opinion.undecided || (opinion.accepted && !opinion.root))
		return JSON_UNDECIDED;
	struct parsed parsed = {.payload = malloc(json_room(bytes))};
	parsed.reason = json_event_parse(data, bytes, parsed.payload, &parsed.type, &parsed.length);
	const char *difference = NULL;
	if (opinion.root)
		difference = compare_event(&parsed, opinion.root, bytes, opinion.duplicates);
	else if (parsed.reason != LEDGER_MALFORMED && parsed.reason != LEDGER_TRUNCATED)
		difference = "event from what is no JSON";
	json_decref(opinion.root);
	free(parsed.payload);
	if (difference)
		return opinion_differs(difference, data, bytes);
	return parsed.reason == LEDGER_VALID ? JSON_ACCEPTED : JSON_REFUSED;
}
