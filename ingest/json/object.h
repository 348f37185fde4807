/* What all parsers of bodies build from: the members of one object by name, and cutting apart text
 * that has been checked. For the .c files of this folder alone.
 *
 *     {"count": 1, "x": [], "count": 2}  --json_collect-->  seen: COUNT    value[COUNT]: 2 (the last one counts)
 *
 * One pass checks the whole text and notes where the values lie; the payload is built from those.
 * So a value that a repeated key overrides costs nothing. All bodies share one list of names: a
 * name that a body does not use is noted and never looked at.
 */
#ifndef INGEST_JSON_OBJECT_H
#define INGEST_JSON_OBJECT_H

#include <string.h>

#include "ingest/json/event.h"
#include "ingest/json/scan.h"

enum json_name {
	NAME_USERNAME,
	NAME_METRIC,
	NAME_COUNT,
	NAME_TYPE,
	NAME_TS,
	NAME_PARAMS,
	NAME_CLIENT_ID,
	NAME_CONTENT_ID,
	NAME_TIMESTAMP,
	NAME_TEXT,
	NAME_ENDPOINT,
	NAME_METHOD,
	NAME_URL,
	NAME_DATA,
	NAME_UNKNOWN, /* all others share this place */
};

struct json_value {
	const char *text; /* as the scanner gives it; a container from brace to brace */
	size_t bytes;
	int64_t number; /* when is_int64 */
	uint8_t token;  /* enum scan_token */
	bool escaped;
	bool is_int64;
};

struct json_object {
	uint32_t seen; /* a bit for each name; values of others are not set */
	struct json_value value[NAME_UNKNOWN + 1];
};

#define JSON_ELEMENTS "data[]" /* json_fault.where of a fault in one of them */

/* ---- what is wrong ---- */

/* Sets *fault. Returns false, for `return json_fail(...)`. */
bool json_fail(struct json_fault *fault, enum ledger_reason reason, const char *where, const char *what);

/* The same for a field that is absent, or there and empty. */
bool json_fail_missing(struct json_fault *fault, bool there, const char *where);

/* The same for a scan that came to SCAN_ERROR. */
bool json_fail_scan(struct json_fault *fault, const struct scan *scan);

/* ---- members ---- */

/* Checks the text and notes the values. False with *fault when it is not JSON (LEDGER_TRUNCATED,
 * MALFORMED, TOO_LARGE) or not an object (LEDGER_UNKNOWN_EVENT). */
bool json_collect(const char *data, size_t bytes, struct json_object *object, struct json_fault *fault);

static inline bool json_has(const struct json_object *object, enum json_name name)
{
	return object->seen >> name & 1;
}

/* Each returns true, or false with *fault naming `where`. */

/* It is there and not an empty string; otherwise LEDGER_MISSING_FIELD. */
static inline bool json_need(const struct json_object *object, enum json_name name, const char *where,
                             struct json_fault *fault)
{
	const struct json_value *value = &object->value[name];
	bool there = json_has(object, name);
	return (there && (value->token != SCAN_STRING || value->bytes > 0)) ||
	       json_fail_missing(fault, there, where);
}

/* It is a string; otherwise LEDGER_WRONG_TYPE. */
static inline bool json_need_string(const struct json_object *object, enum json_name name, const char *where,
                                    struct json_fault *fault)
{
	return object->value[name].token == SCAN_STRING ||
	       json_fail(fault, LEDGER_WRONG_TYPE, where, "must be a string");
}

/* It is an int64; otherwise LEDGER_WRONG_TYPE. */
static inline bool json_need_int64(const struct json_object *object, enum json_name name, const char *where,
                                   struct json_fault *fault)
{
	return object->value[name].is_int64 ||
	       json_fail(fault, LEDGER_WRONG_TYPE, where, "must be an integer of 64 bits");
}

/* Writes the string with its escapes resolved: at most value->bytes bytes. Returns how many. */
size_t json_copy(char *out, const struct json_value *value);

/* ---- cutting apart: the text has been checked to its end, nothing is checked again ---- */

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The first byte after the byte-order mark, if the text begins with one. */
static inline const char *json_skip_mark(const char *at, const char *end)
{
	bool mark = end - at >= SCAN_MARK_BYTES && memcmp(at, SCAN_MARK, SCAN_MARK_BYTES) == 0;
	return mark ? at + SCAN_MARK_BYTES : at;
}

/* The first byte that is not white space, or end. */
static inline const char *json_skip_space(const char *at, const char *end)
{
	while (at < end && json_is_space(*at))
		at++;
	return at;
}

/* Characters that stand for themselves in a URL (RFC 3986, section 2.3): a bit each, in four words;
 * none is above 0x7f. */
static inline bool json_is_unreserved(char c)
{
	static const uint64_t map[4] = {
	        0x03ff600000000000, /* - . 0-9 */
	        0x47fffffe87fffffe, /* A-Z _ a-z ~ */
	};
	return map[(unsigned char)c / 64] >> (unsigned char)c % 64 & 1;
}

/* `at` is the opening quote of a string. Returns the byte after the closing one. */
const char *json_string_end(const char *at, const char *end);

/* `at` is the first byte of a value. Returns the byte after it. */
const char *json_value_end(const char *at, const char *end);

/* Copies the text without the white space outside its strings to out, which has room for `bytes`
 * bytes. Returns the length written. When a string begins at `mark`, *offset says where it begins
 * in out. */
size_t json_compact(char *out, const char *text, size_t bytes, const char *mark, size_t *offset);

#endif
