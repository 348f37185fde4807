/* One pass over the text checks all of it and notes where the six values lie; then the event is built from those. So what a repeated
 * key overrides costs nothing, and params are read a second time only when they count. */
#include "ingest/json/json_event.h"

#include "ingest/json/scan.h"

enum field { USERNAME, METRIC, COUNT, TYPE, TS, PARAMS, FIELDS, UNKNOWN = FIELDS };

#define LONGEST_NAME   8u /* username */
#define LONGEST_ESCAPE 6u /* \u0074 for one character */

/* The last value of a field. */
struct value {
	const char *text; /* as the scanner gives it; an object from brace to brace */
	size_t bytes;
	int64_t number; /* when is_int64 */
	uint8_t token;  /* enum scan_token; SCAN_ERROR: absent, and nothing else is set */
	bool escaped;
	bool is_int64;
};

/* A query string in the making. */
struct query {
	char *begin, *at, *end;
	bool full; /* something did not fit */
};

static bool is(const char *text, const char *name, size_t bytes)
{
	return memcmp(text, name, bytes) == 0;
}

static enum field field_named(const char *text, size_t bytes)
{
	switch (bytes) {
	case 2:
		return is(text, "ts", 2) ? TS : UNKNOWN;
	case 4:
		return is(text, "type", 4) ? TYPE : UNKNOWN;
	case 5:
		return is(text, "count", 5) ? COUNT : UNKNOWN;
	case 6:
		return is(text, "metric", 6) ? METRIC : is(text, "params", 6) ? PARAMS : UNKNOWN;
	case 8:
		return is(text, "username", 8) ? USERNAME : UNKNOWN;
	default:
		return UNKNOWN;
	}
}

static enum field field_of_key(const struct scan *scan)
{
	if (!scan->escaped)
		return field_named(scan->text, scan->bytes);
	char name[LONGEST_NAME * LONGEST_ESCAPE];
	if (scan->bytes > sizeof name)
		return UNKNOWN;
	return field_named(name, scan_unescape(name, scan->text, scan->bytes));
}

static enum ledger_reason reason_of(enum scan_error error)
{
	switch (error) {
	case SCAN_TRUNCATED:
		return LEDGER_TRUNCATED;
	case SCAN_TOO_DEEP:
		return LEDGER_TOO_LARGE;
	default:
		return LEDGER_MALFORMED;
	}
}

/* Takes the value behind a key; the scan ends up behind it. */
static enum scan_token take_value(struct scan *scan, struct value *value)
{
	enum scan_token token = scan_next(scan);
	value->token = (uint8_t)token;
	value->text = scan->text;
	value->bytes = scan->bytes;
	value->escaped = scan->escaped;
	value->is_int64 = token == SCAN_NUMBER && scan_int64(scan, &value->number) == 0;
	if (token == SCAN_OBJECT || token == SCAN_ARRAY) {
		token = scan_skip(scan, token);
		value->bytes = (size_t)(scan->at - value->text);
	}
	return token;
}

/* Checks the whole text and notes the values of the fields. */
static enum ledger_reason collect(const char *data, size_t bytes, struct value value[FIELDS + 1])
{
	struct scan scan;
	scan_init(&scan, data, bytes);
	enum scan_token token = scan_next(&scan);
	bool object = token == SCAN_OBJECT;
	if (object) {
		while ((token = scan_next(&scan)) == SCAN_KEY) {
			enum field field = field_of_key(&scan);
			if (take_value(&scan, &value[field]) == SCAN_ERROR)
				return reason_of(scan.error);
		}
	}
	while (token != SCAN_END && token != SCAN_ERROR)
		token = scan_next(&scan);
	if (token == SCAN_ERROR)
		return reason_of(scan.error);
	return object ? LEDGER_VALID : LEDGER_UNKNOWN_EVENT;
}

static bool is_missing(const struct value *value)
{
	return value->token == SCAN_ERROR || (value->token == SCAN_STRING && value->bytes == 0);
}

static size_t copy_text(char *out, const struct value *value)
{
	if (value->escaped)
		return scan_unescape(out, value->text, value->bytes);
	memcpy(out, value->text, value->bytes);
	return value->bytes;
}

static enum ledger_reason build_metric(const struct value value[FIELDS], struct event_metric *event,
                                       uint32_t *length)
{
	if (is_missing(&value[USERNAME]) || is_missing(&value[METRIC]) || is_missing(&value[COUNT]))
		return LEDGER_MISSING_FIELD;
	if (value[USERNAME].token != SCAN_STRING || value[METRIC].token != SCAN_STRING ||
	    !value[COUNT].is_int64)
		return LEDGER_WRONG_TYPE;
	memset(event, 0, sizeof *event);
	size_t username = copy_text(event->text, &value[USERNAME]);
	size_t metric = copy_text(event->text + username, &value[METRIC]);
	if (username > UINT16_MAX || metric > UINT16_MAX)
		return LEDGER_TOO_LARGE;
	event->username_bytes = (uint16_t)username;
	event->metric_bytes = (uint16_t)metric;
	event->count = value[COUNT].number;
	*length = (uint32_t)(sizeof *event + username + metric);
	return LEDGER_VALID;
}

static void put_character(struct query *query, char c)
{
	if (query->at == query->end)
		query->full = true;
	else
		*query->at++ = c;
}

/* RFC 3986, section 2.3: what stands for itself. */
static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

static void put_encoded(struct query *query, char c)
{
	static const char digits[] = "0123456789ABCDEF";
	if (is_unreserved(c)) {
		put_character(query, c);
		return;
	}
	put_character(query, '%');
	put_character(query, digits[(unsigned char)c >> 4]);
	put_character(query, digits[(unsigned char)c & 15]);
}

static void put_text(struct query *query, const char *text, size_t bytes)
{
	for (const char *end = text + bytes; text < end && !query->full;) {
		if (*text != '\\') {
			put_encoded(query, *text++);
			continue;
		}
		char utf8[4];
		size_t n = scan_escape(utf8, &text);
		for (size_t i = 0; i < n; i++)
			put_encoded(query, utf8[i]);
	}
}

/* key=value for the scalar that the scan has just given. */
static bool put_parameter(struct query *query, const char *key, size_t key_bytes, const struct scan *scan,
                          enum scan_token token)
{
	static const char *const words[] = {
	        [SCAN_TRUE] = "true", [SCAN_FALSE] = "false", [SCAN_NULL] = "null"};
	if (token < SCAN_STRING)
		return false;
	if (query->at > query->begin)
		put_character(query, '&');
	put_text(query, key, key_bytes);
	put_character(query, '=');
	if (token == SCAN_STRING || token == SCAN_NUMBER)
		put_text(query, scan->text, scan->bytes);
	else
		put_text(query, words[token], strlen(words[token]));
	return true;
}

/* params, which collect has checked, as a query string. */
static enum ledger_reason put_params(struct query *query, const struct value *params)
{
	struct scan scan;
	scan_init(&scan, params->text, params->bytes);
	scan_next(&scan); /* the brace */
	while (scan_next(&scan) == SCAN_KEY) {
		const char *key = scan.text;
		size_t key_bytes = scan.bytes;
		enum scan_token token = scan_next(&scan);
		bool array = token == SCAN_ARRAY;
		if (array)
			token = scan_next(&scan);
		while (token != SCAN_ARRAY_END) {
			if (!put_parameter(query, key, key_bytes, &scan, token))
				return LEDGER_WRONG_TYPE;
			token = array ? scan_next(&scan) : SCAN_ARRAY_END;
		}
	}
	return query->full ? LEDGER_TOO_LARGE : LEDGER_VALID;
}

static enum ledger_reason build_track(const struct value value[FIELDS], struct event_track_raw *event,
                                      size_t room, uint32_t *length)
{
	const struct value *ts = &value[TS], *params = &value[PARAMS];
	if (is_missing(&value[TYPE]))
		return LEDGER_MISSING_FIELD;
	if (value[TYPE].token != SCAN_STRING ||
	    (ts->token != SCAN_ERROR && (!ts->is_int64 || ts->number < 0)) ||
	    (params->token != SCAN_ERROR && params->token != SCAN_OBJECT))
		return LEDGER_WRONG_TYPE;
	memset(event, 0, sizeof *event);
	size_t type = copy_text(event->text, &value[TYPE]);
	struct query query = {
	        .begin = event->text + type, .at = event->text + type, .end = (char *)event + room};
	if (params->token == SCAN_OBJECT) {
		enum ledger_reason reason = put_params(&query, params);
		if (reason != LEDGER_VALID)
			return reason;
	}
	if (type > UINT16_MAX)
		return LEDGER_TOO_LARGE;
	event->type_bytes = (uint16_t)type;
	event->query_bytes = (uint32_t)(query.at - query.begin);
	event->client_ts_ms = ts->token == SCAN_ERROR ? 0 : (uint64_t)ts->number;
	*length = (uint32_t)(query.at - (char *)event);
	return LEDGER_VALID;
}

enum ledger_reason json_event_parse(const char *data, size_t bytes, void *payload, uint16_t *type,
                                    uint32_t *length)
{
	if (bytes > JSON_EVENT_BYTES_MAX)
		return LEDGER_TOO_LARGE;
	struct value value[FIELDS + 1]; /* the unknown share the place behind the last */
	for (unsigned i = 0; i < FIELDS; i++)
		value[i].token = SCAN_ERROR;
	enum ledger_reason reason = collect(data, bytes, value);
	if (reason != LEDGER_VALID)
		return reason;
	if (value[TYPE].token != SCAN_ERROR) {
		*type = EVENT_TRACK_RAW;
		return build_track(value, payload, json_event_room(bytes), length);
	}
	if (value[USERNAME].token == SCAN_ERROR && value[METRIC].token == SCAN_ERROR &&
	    value[COUNT].token == SCAN_ERROR)
		return LEDGER_UNKNOWN_EVENT;
	*type = EVENT_METRIC;
	return build_metric(value, payload, length);
}
