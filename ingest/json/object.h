/* The members of one object by name: what all parsers of bodies build from. For the .c files of
 * this folder alone.
 *
 *     {"count": 1, "x": [], "count": 2}  --json_collect-->  seen: COUNT    value[COUNT]: 2 (the last one counts)
 *
 * One pass checks the whole text and notes where the values lie; then the payload is built from
 * those. So what a repeated key overrides costs nothing. All bodies share one list of names: a name
 * that a body has no use for is noted and never looked at.
 */
#ifndef INGEST_JSON_JSON_OBJECT_H
#define INGEST_JSON_JSON_OBJECT_H

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

#define JSON_ELEMENTS "data[]" /* json_fault.where of what is wrong in one of them */

/* Sets *fault. Returns false, for `return json_fail(...)`. */
bool json_fail(struct json_fault *fault, enum ledger_reason reason, const char *where, const char *what);

/* The same for a field that is absent, or there and empty. */
bool json_fail_missing(struct json_fault *fault, bool there, const char *where);

/* The same for a scan that came to SCAN_ERROR. */
bool json_fail_scan(struct json_fault *fault, const struct scan *scan);

/* Checks the text and notes the values. False with *fault when it is no JSON (LEDGER_TRUNCATED,
 * MALFORMED, TOO_LARGE) or no object (LEDGER_UNKNOWN_EVENT). */
bool json_collect(const char *data, size_t bytes, struct json_object *object, struct json_fault *fault);

static inline bool json_has(const struct json_object *object, enum json_name name)
{
	return object->seen >> name & 1;
}

/* Each is true, or false with *fault saying `where`. */

/* It is there and no empty string; otherwise LEDGER_MISSING_FIELD. */
static inline bool json_need(const struct json_object *object, enum json_name name, const char *where,
                             struct json_fault *fault)
{
	const struct json_value *value = &object->value[name];
	bool there = json_has(object, name);
	return (there && (value->token != SCAN_STRING || value->bytes > 0)) ||
	       json_fail_missing(fault, there, where);
}

/* What is there is a string; otherwise LEDGER_WRONG_TYPE. */
static inline bool json_need_string(const struct json_object *object, enum json_name name, const char *where,
                                    struct json_fault *fault)
{
	return object->value[name].token == SCAN_STRING ||
	       json_fail(fault, LEDGER_WRONG_TYPE, where, "must be a string");
}

/* What is there is an int64; otherwise LEDGER_WRONG_TYPE. */
static inline bool json_need_int64(const struct json_object *object, enum json_name name, const char *where,
                                   struct json_fault *fault)
{
	return object->value[name].is_int64 ||
	       json_fail(fault, LEDGER_WRONG_TYPE, where, "must be an integer of 64 bits");
}

/* Writes the string with its escapes resolved: at most value->bytes bytes. Returns how many. */
size_t json_copy(char *out, const struct json_value *value);

/* Builds the payload from the members, as json_metric and json_track (event.h) say. room: bytes
 * at payload. */
bool json_build_metric(const struct json_object *object, void *payload, uint32_t *length,
                       struct json_fault *fault);
bool json_build_track(const struct json_object *object, void *payload, size_t room, uint32_t *length,
                      struct json_fault *fault);

#endif
