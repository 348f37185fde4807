/* Events as JSON objects: what the `json` listener takes, one object a datagram.
 *
 *     {"username": "kodingbot", "count": 12412414, "metric": "kite_call"}      --> EVENT_METRIC
 *     {"type": "app_open", "ts": 1510826008003, "params": {"klag": 3}}          --> EVENT_TRACK_RAW (ts, params optional)
 *
 * An object with "type" is a tracking event; else one with any of "username", "count", "metric" is
 * a metric event.
 *
 * Keys may come in any order; of a repeated key the last counts; unknown keys are skipped after
 * their values were checked (RFC 8259). params become a query string, percent-encoded (RFC 3986:
 * all but letters, digits and - . _ ~), in their order: k=v&k=v. Arrays repeat the key, and so does
 * a key that the object repeats; true, false, null and numbers come as written; objects in params
 * and arrays in arrays are LEDGER_WRONG_TYPE. Allocation-free.
 *
 * When several reasons apply, the first in this order counts: structure (truncated, malformed,
 * nested too deep), unknown event, missing field, wrong type, too large.
 */
#ifndef INGEST_JSON_JSON_EVENT_H
#define INGEST_JSON_JSON_EVENT_H

#include "event/event.h"
#include "shm/ledger.h"

/* What repeated keys of arrays may add to a query string: without a bound, a datagram could ask for
 * its square. */
#define JSON_EVENT_REPEAT_BYTES 4096u

/* Longest input: what comes of it must fit 32 bits. */
#define JSON_EVENT_BYTES_MAX (1u << 30)

/* Bytes of payload that json_event_parse may need for an input of `bytes` bytes. */
static inline size_t json_event_room(size_t bytes)
{
	/* percent-encoding triples at worst */
	return sizeof(struct event_track_raw) + 3 * bytes + JSON_EVENT_REPEAT_BYTES;
}

/* Parses one object into payload (at least json_event_room(bytes) bytes, aligned to 8). Valid:
 * returns LEDGER_VALID, sets *type (EVENT_METRIC or EVENT_TRACK_RAW) and *length, and fills the
 * payload except arrival_ns, source and source_port (left 0). Otherwise payload, *type and *length
 * are undefined and the reason is returned: LEDGER_MALFORMED (not JSON, not UTF-8),
 * LEDGER_TRUNCATED (ends early), LEDGER_UNKNOWN_EVENT (neither of the two, also JSON that is no
 * object), LEDGER_MISSING_FIELD (absent or empty string), LEDGER_WRONG_TYPE (also a count that is
 * no int64, a ts that is negative or no int64, null), LEDGER_TOO_LARGE (a string over its field's
 * 16 bits, a query over the room, nested deeper than SCAN_DEPTH_MAX, input over
 * JSON_EVENT_BYTES_MAX). */
enum ledger_reason json_event_parse(const char *data, size_t bytes, void *payload, uint16_t *type,
                                    uint32_t *length);

#endif
