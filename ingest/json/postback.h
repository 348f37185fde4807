/* Postbacks from the body of POST /ingest: one EVENT_POSTBACK for each element of data.
 *
 *     {"endpoint": {"method": "GET", "url": "..."}, "data": [{...}, ...]}
 *
 *     json_postback_open --> [ json_postback_room, json_postback_next ] x n
 *
 * What is common to all bodies is in event.h.
 */
#ifndef INGEST_JSON_POSTBACK_H
#define INGEST_JSON_POSTBACK_H

#include "ingest/json/event.h"

/* What json_postback_open found: slices of the body, which must stay. A copy goes its own way. */
struct json_postback {
	const char *url; /* between the quotes, not unescaped */
	size_t url_bytes;
	const char *at, *at_end; /* the next element; at the end of data both are the same */
	const char *end;         /* of the data array */
	enum postback_method method;
	bool url_escaped;
	uint32_t n;      /* elements of data, at least 1 */
	uint32_t number; /* of the last one given or passed, from 1 */
};

/* Checks the whole body. endpoint.method is one of GET POST PUT PATCH DELETE; endpoint.url a string
 * that url.h takes, so one that could never be delivered is refused here ({key} may stand in
 * its path and query); data a non-empty array of objects, of any values. How deep they nest is
 * bounded by scan.h. False with *fault when something is wrong. */
bool json_postback_open(struct json_postback *postback, const char *data, size_t bytes,
                        struct json_fault *fault);

/* Bytes of payload that the next element may need at most; 0 after the last. */
size_t json_postback_room(const struct json_postback *postback);

/* Skips the next element. */
void json_postback_pass(struct json_postback *postback);

/* Writes the next element as a payload of EVENT_POSTBACK (the caller sets id, arrival and source):
 * data as sent, without white space outside strings. Returns false after the last. */
bool json_postback_next(struct json_postback *postback, void *payload, uint32_t *length);

#endif
