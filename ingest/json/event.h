/* Events out of HTTP bodies: one function per kind of body, each from JSON text to the payload of a
 * record, allocation-free.
 *
 *     POST /event    {"username": "kodingbot", "count": 12412414, "metric": "kite_call"}            json_metric --> EVENT_METRIC
 *     POST /log      {"text": "hello", "content_id": 1, "client_id": 1, "timestamp": 1586846680064} json_log --> EVENT_LOG
 *     POST /t/TYPE   {"klag": 3, "tag": ["a", "b"]}                                                 json_params --> klag=3&tag=a&tag=b
 *     POST /batch    [{"type": "open", "ts": 1, "params": {}}, ...] or one object a line            json_batch, json_track --> EVENT_TRACK_RAW
 *     POST /ingest   {"endpoint": {"method": "GET", "url": "..."}, "data": [{...}, ...]}            json_postback --> EVENT_POSTBACK
 *
 * Common to all: one byte-order mark in front of a text (a body, a line, a datagram) is passed
 * over; keys in any order, of a repeated key the last counts, unknown keys are skipped after their
 * values were checked. The functions fill the payload but for arrival_ns, source and source_port
 * (left 0), which are the caller's.
 *
 * When several things are wrong, the first in this order is told: structure (truncated, malformed,
 * nested too deep), no object (LEDGER_UNKNOWN_EVENT), missing field (absent, or an empty string),
 * wrong type or value, too large; of a postback level by level (body, endpoint, its values,
 * elements of data).
 */
#ifndef INGEST_JSON_JSON_BODY_H
#define INGEST_JSON_JSON_BODY_H

#include "ingest/json/json_event.h"

/* What is wrong, for the ledger and, as json_fault_words puts it, for the answer {"error": what,
 * "where": where}. Texts are constants. */
struct json_fault {
	enum ledger_reason reason;
	/* "count", "params", "data[]", "endpoint.url"; "body" when the text is no JSON or no
	 * object */
	const char *where;
	const char *what; /* "must be an integer of 64 bits" */
	/* byte of the text, from 0, where it was noticed (structure errors, elements of data);
	 * otherwise 0 */
	size_t at;
	uint32_t element; /* of data[], from 0 */
	bool structure;   /* the text itself is wrong, at `at` */
};

/* A fault in words, with its place: "not JSON at offset 14", "body"; "must be an object",
 * "data[1]". */
struct json_words {
	const char *what, *where; /* the fault's own, or one of these: */
	char what_text[96], where_text[24];
};
const struct json_words *json_fault_words(struct json_words *words, const struct json_fault *fault);

/* Bytes of payload that any of these may need for a text of `bytes` bytes. */
static inline size_t json_body_room(size_t bytes)
{
	return json_event_room(bytes);
}

/* The same for json_metric and json_log alone, which write no query string. */
static inline size_t json_body_room_plain(size_t bytes)
{
	return sizeof(struct event_log) + bytes;
}
_Static_assert(sizeof(struct event_metric) <= sizeof(struct event_log), "the larger of the two");
_Static_assert(sizeof(struct event_log) < JSON_EVENT_REPEAT_BYTES, "json_event_room covers all");

/* All return true when the text is valid, with the payload (aligned to 8, json_body_room(bytes)
 * bytes) filled and *length set; false with *fault set, the payload undefined. Texts are at most
 * JSON_EVENT_BYTES_MAX (json_event.h). */

/* username, metric: non-empty strings; count: an int64. All required. */
bool json_metric(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* client_id, content_id: int64, not 0; timestamp: 1 .. 9999999999999 (ms); text: a non-empty
 * string. The payload keeps the object as sent, all members and their spelling, white space outside
 * strings left out. */
bool json_log(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* type: a non-empty string; ts (optional): ms, 0 or more; params (optional): an object as for
 * json_params. */
bool json_track(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* Whether the text begins as an object does, behind a byte-order mark and white space. */
bool json_begins_object(const char *data, size_t bytes);

/* An object as a query string, as json_event.h tells, written to out (room bytes; nothing behind it
 * is touched). Sets *length; LEDGER_TOO_LARGE when it does not fit: 3 * bytes are enough unless a
 * key comes with an array or is repeated for one. */
bool json_params(const char *data, size_t bytes, char *out, size_t room, uint32_t *length,
                 struct json_fault *fault);

/* ---- batches: a JSON array of objects, or one object a line (NDJSON; empty lines are skipped, CR
 * LF ends a line too) ---- */

struct json_batch {
	const char *at, *end;
	/* of the last element or line given, from 1; of NDJSON the line's number, empty lines
	 * counted */
	uint32_t number;
	bool array;
};

/* Looks whether it is an array (its first character that is no white space is a bracket); an array
 * is checked whole here, so that its elements can be cut apart. False with *fault when that is no
 * JSON, or too long. */
bool json_batch_open(struct json_batch *batch, const char *data, size_t bytes, struct json_fault *fault);

/* The text of the next element (any JSON value: json_track judges it) or line. False after the
 * last. */
bool json_batch_next(struct json_batch *batch, const char **data, size_t *bytes);

/* ---- postbacks ---- */

/* What json_postback_open found; slices of the body, which must stay. A copy of it goes its own
 * way. */
struct json_postback {
	const char *url; /* between the quotes, not unescaped */
	size_t url_bytes;
	const char *at, *at_end; /* the next element; at the end of data both the same */
	const char *end;         /* of the data array */
	enum postback_method method;
	bool url_escaped;
	uint32_t n;      /* elements of data, at least 1 */
	uint32_t number; /* of the last one given or passed, from 1 */
};

/* Checks the whole body: endpoint.method one of GET POST PUT PATCH DELETE, endpoint.url a string
 * that url.h takes, for one that could never be delivered is refused here ({key} may stand
 * anywhere behind the slashes); data a non-empty array of objects whose values are strings,
 * numbers, true, false or null. */
bool json_postback_open(struct json_postback *postback, const char *data, size_t bytes,
                        struct json_fault *fault);

/* Bytes of payload that the next element may need at most; 0 after the last. */
size_t json_postback_room(const struct json_postback *postback);

/* Goes past the next element. */
void json_postback_pass(struct json_postback *postback);

/* The next element as a payload of EVENT_POSTBACK (id, arrival and source are the caller's to set);
 * data as sent, white space outside strings left out. Returns false after the last. */
bool json_postback_next(struct json_postback *postback, void *payload, uint32_t *length);

#endif
