/* Events from JSON text: the object of a datagram, the bodies of HTTP requests. Nothing is
 * allocated.
 *
 *     datagram       one of the first two kinds of object below                                      json_event_parse
 *     POST /event    {"username": "kodingbot", "count": 12412414, "metric": "kite_call"}            json_metric --> EVENT_METRIC
 *     POST /batch    [{"type": "open", "ts": 1, "params": {}}, ...] or one object a line            json_batch, json_track --> EVENT_TRACK_RAW
 *     POST /log      {"text": "hello", "content_id": 1, "client_id": 1, "timestamp": 1586846680064} json_log --> EVENT_LOG
 *     POST /t/TYPE   {"klag": 3, "tag": ["a", "b"]}                                                 json_params --> klag=3&tag=a&tag=b
 *     POST /ingest   {"endpoint": {"method": "GET", "url": "..."}, "data": [{...}, ...]}            postback.h
 *
 * Common to all: a text (a body, a line, a datagram) may begin with one byte-order mark. Keys come
 * in any order, the last of a repeated key counts, unknown keys are skipped after their values were
 * checked. The functions fill the payload except arrival_ns, source and source_port (left 0), which
 * the caller sets.
 *
 * When several things are wrong, the first in this order is reported: structure (truncated,
 * malformed, nested too deep), no object (LEDGER_UNKNOWN_EVENT), missing field (absent, or an empty
 * string), wrong type or value, too large. A postback is checked level by level: body, endpoint,
 * its values, elements of data.
 */
#ifndef INGEST_JSON_EVENT_H
#define INGEST_JSON_EVENT_H

#include "event/event.h"
#include "shm/ledger.h"

/* What repeated keys of arrays may add to a query string. Without a bound, a text could ask for its
 * square. */
#define JSON_EVENT_REPEAT_BYTES 4096u

/* Longest text: what it becomes must fit 32 bits. */
#define JSON_EVENT_BYTES_MAX (1u << 30)

/* Bytes of payload that any of these functions may need for a text of `bytes` bytes. */
static inline size_t json_room(size_t bytes)
{
	/* percent-encoding triples at worst */
	return sizeof(struct event_track_raw) + 3 * bytes + JSON_EVENT_REPEAT_BYTES;
}

/* The same for json_metric and json_log alone, which write no query string. */
static inline size_t json_room_plain(size_t bytes)
{
	return sizeof(struct event_log) + bytes;
}
_Static_assert(sizeof(struct event_metric) <= sizeof(struct event_log), "the larger of the two");
_Static_assert(sizeof(struct event_log) < JSON_EVENT_REPEAT_BYTES, "json_room covers all");

/* ---- what is wrong ---- */

/* For the ledger and, as json_fault_words writes it, for the answer {"error": what, "where":
 * where}. Texts are constants. */
struct json_fault {
	enum ledger_reason reason;
	/* "count", "params", "data[]", "endpoint.url"; "body" when the text is not JSON or not an
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

/* ---- one event ---- */

/* Parses a datagram. An object with "type" is a tracking event, as json_track reads it; any other
 * with one of "username", "count", "metric" is a metric event, as json_metric reads it. Valid:
 * returns LEDGER_VALID, sets *type (EVENT_METRIC or EVENT_TRACK_RAW) and *length, and fills the
 * payload (aligned to 8, json_room(bytes) bytes). Otherwise payload, *type and *length are
 * undefined and the reason is returned. */
enum ledger_reason json_event_parse(const char *data, size_t bytes, void *payload, uint16_t *type,
                                    uint32_t *length);

/* All below return true when the text is valid, with the payload (aligned to 8, json_room(bytes)
 * bytes) filled and *length set; false with *fault set, the payload undefined. */

/* username, metric: non-empty strings of at most 65,535 bytes; count: an int64. All required. */
bool json_metric(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* client_id, content_id: int64, not 0; timestamp: 1 .. 9999999999999 (ms); text: a non-empty
 * string. The payload keeps the object as sent, all members and their spelling, without white space
 * outside strings. */
bool json_log(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* type: a non-empty string of at most 65,535 bytes; ts (optional): ms, 0 or more; params
 * (optional): an object as for json_params. */
bool json_track(const char *data, size_t bytes, void *payload, uint32_t *length, struct json_fault *fault);

/* Whether the text begins as an object does, after a byte-order mark and white space. */
bool json_begins_object(const char *data, size_t bytes);

/* An object as a query string at out (room bytes; nothing after it is touched): k=v&k=v in the
 * order of the members, percent-encoded (RFC 3986: all but letters, digits and - . _ ~). An array
 * repeats its key, and so does an object that repeats a key. true, false, null and numbers come as
 * written; objects as values and arrays in arrays are LEDGER_WRONG_TYPE. Sets *length;
 * LEDGER_TOO_LARGE when it does not fit: 3 * bytes are enough unless a key has an array or is
 * repeated for one. */
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

/* Finds out whether it is an array (its first character that is not white space is a bracket). An
 * array is checked whole here, so that its elements can be cut apart. False with *fault when it is
 * not JSON, or too long. */
bool json_batch_open(struct json_batch *batch, const char *data, size_t bytes, struct json_fault *fault);

/* The text of the next element (any JSON value: json_track judges it) or line. False after the
 * last. */
bool json_batch_next(struct json_batch *batch, const char **data, size_t *bytes);

#endif
