#include "ingest/json/json_cut.h"
#include "ingest/json/json_event.h"
#include "ingest/json/object.h"

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
	static const char digits[] = "0123456789ABCDEF";
	for (const char *end = text + bytes; text < end && !query->full; text++) {
		const char *run = text;
		while (text < end && json_is_unreserved(*text))
			text++;
		put(query, run, (size_t)(text - run));
		if (text == end)
			break;
		char code[3] = {'%', digits[(unsigned char)*text >> 4], digits[(unsigned char)*text & 15]};
		put(query, code, sizeof code);
	}
}

/* A KEY or STRING, or something without escapes. */
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

/* key=value for the scalar that the scan has just given; false when it is none. */
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
 * parameter; otherwise the scan is behind the object, or at an error. */
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
