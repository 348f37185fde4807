/* Vectors: SSE2 finds the end of a string 16 bytes at a time; other machines go byte by byte. */
#include "ingest/json/object.h"

#include <stdio.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- what is wrong ---- */

bool json_fail(struct json_fault *fault, enum ledger_reason reason, const char *where, const char *what)
{
	*fault = (struct json_fault){.reason = reason, .where = where, .what = what};
	return false;
}

bool json_fail_missing(struct json_fault *fault, bool there, const char *where)
{
	return json_fail(fault, LEDGER_MISSING_FIELD, where, there ? "must not be empty" : "is missing");
}

bool json_fail_scan(struct json_fault *fault, const struct scan *scan)
{
	enum ledger_reason reason = scan->error == SCAN_TRUNCATED  ? LEDGER_TRUNCATED
	                            : scan->error == SCAN_TOO_DEEP ? LEDGER_TOO_LARGE
	                                                           : LEDGER_MALFORMED;
	json_fail(fault, reason, "body", scan_error_text(scan->error));
	fault->at = (size_t)(scan->at - scan->begin);
	fault->structure = true;
	return false;
}

const struct json_words *json_fault_words(struct json_words *words, const struct json_fault *fault)
{
	words->what = fault->what;
	words->where = fault->where;
	if (fault->structure) {
		snprintf(words->what_text, sizeof words->what_text, "%s at offset %zu", fault->what,
		         fault->at);
		words->what = words->what_text;
	}
	if (strcmp(fault->where, JSON_ELEMENTS) == 0) {
		snprintf(words->where_text, sizeof words->where_text, "data[%u]", fault->element);
		words->where = words->where_text;
	}
	return words;
}

/* ---- members ---- */

#define LONGEST_NAME   10u /* content_id */
#define LONGEST_ESCAPE 6u  /* \u0074 for one character */

static inline bool is(const char *text, const char *name, size_t bytes)
{
	return memcmp(text, name, bytes) == 0;
}

static inline enum json_name name_of(const char *text, size_t bytes)
{
	switch (bytes) {
	case 2:
		return is(text, "ts", 2) ? NAME_TS : NAME_UNKNOWN;
	case 3:
		return is(text, "url", 3) ? NAME_URL : NAME_UNKNOWN;
	case 4:
		return is(text, "type", 4)   ? NAME_TYPE
		       : is(text, "text", 4) ? NAME_TEXT
		       : is(text, "data", 4) ? NAME_DATA
		                             : NAME_UNKNOWN;
	case 5:
		return is(text, "count", 5) ? NAME_COUNT : NAME_UNKNOWN;
	case 6:
		return is(text, "metric", 6)   ? NAME_METRIC
		       : is(text, "params", 6) ? NAME_PARAMS
		       : is(text, "method", 6) ? NAME_METHOD
		                               : NAME_UNKNOWN;
	case 8:
		return is(text, "username", 8)   ? NAME_USERNAME
		       : is(text, "endpoint", 8) ? NAME_ENDPOINT
		                                 : NAME_UNKNOWN;
	case 9:
		return is(text, "client_id", 9)   ? NAME_CLIENT_ID
		       : is(text, "timestamp", 9) ? NAME_TIMESTAMP
		                                  : NAME_UNKNOWN;
	case 10:
		return is(text, "content_id", 10) ? NAME_CONTENT_ID : NAME_UNKNOWN;
	default:
		return NAME_UNKNOWN;
	}
}

static enum json_name name_of_key(const struct scan *scan)
{
	char resolved[LONGEST_NAME * LONGEST_ESCAPE];
	const char *text = scan->text;
	size_t bytes = scan->bytes;
	if (__builtin_expect(scan->escaped, 0)) {
		if (bytes > sizeof resolved)
			return NAME_UNKNOWN;
		bytes = scan_unescape(resolved, text, bytes);
		text = resolved;
	}
	return name_of(text, bytes);
}

/* Takes the value of a key. The scan is after it then. */
static enum scan_token take_value(struct scan *scan, struct json_value *value)
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

bool json_collect(const char *data, size_t bytes, struct json_object *object, struct json_fault *fault)
{
	struct scan scan;
	uint32_t seen = 0;
	if (bytes > JSON_EVENT_BYTES_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, "body", "is too long");
	scan_init(&scan, data, bytes);
	enum scan_token token = scan_next(&scan);
	bool is_object = token == SCAN_OBJECT;
	if (is_object) {
		while ((token = scan_next(&scan)) == SCAN_KEY) {
			enum json_name name = name_of_key(&scan);
			seen |= 1u << name;
			if (take_value(&scan, &object->value[name]) == SCAN_ERROR)
				return json_fail_scan(fault, &scan);
		}
	}
	while (token > SCAN_END)
		token = scan_next(&scan);
	object->seen = seen;
	if (token == SCAN_ERROR)
		return json_fail_scan(fault, &scan);
	return is_object || json_fail(fault, LEDGER_UNKNOWN_EVENT, "body", "must be a JSON object");
}

size_t json_copy(char *out, const struct json_value *value)
{
	if (value->escaped)
		return scan_unescape(out, value->text, value->bytes);
	memcpy(out, value->text, value->bytes);
	return value->bytes;
}

/* ---- cutting apart ---- */

const char *json_string_end(const char *at, const char *end)
{
	at++;
	for (;;) {
#ifdef __SSE2__
		while (end - at >= 16) {
			__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
			__m128i quote = _mm_cmpeq_epi8(c, _mm_set1_epi8('"'));
			__m128i escape = _mm_cmpeq_epi8(c, _mm_set1_epi8('\\'));
			unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(quote, escape));
			if (found != 0) {
				at += __builtin_ctz(found);
				break;
			}
			at += 16;
		}
#else
		(void)end;
#endif
		while (*at != '"' && *at != '\\')
			at++;
		if (*at == '"')
			return at + 1;
		at += 2; /* of \u0041 the first two are enough: the rest is plain */
	}
}

static const char *container_end(const char *at, const char *end)
{
	unsigned depth = 0;
	do {
		if (*at == '"') {
			at = json_string_end(at, end);
			continue;
		}
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	} while (depth > 0);
	return at;
}

const char *json_value_end(const char *at, const char *end)
{
	if (*at == '"')
		return json_string_end(at, end);
	if (*at == '{' || *at == '[')
		return container_end(at, end);
	while (at < end && *at != ',' && *at != ']' && *at != '}' && !json_is_space(*at))
		at++;
	return at;
}

size_t json_compact(char *out, const char *text, size_t bytes, const char *mark, size_t *offset)
{
	const char *end = text + bytes, *run = text; /* the next bytes to copy begin at run */
	char *to = out;
	for (const char *at = text; at < end;) {
		if (*at == '"') {
			if (at == mark)
				*offset = (size_t)(to - out) + (size_t)(at - run);
			at = json_string_end(at, end);
		} else if (json_is_space(*at)) {
			memcpy(to, run, (size_t)(at - run));
			to += at - run;
			run = at = json_skip_space(at, end);
		} else {
			at++;
		}
	}
	memcpy(to, run, (size_t)(end - run));
	return (size_t)(to - out) + (size_t)(end - run);
}
