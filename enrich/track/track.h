/* From a tracking call to a tracking event: all that is known about it in one record
 * (EVENT_TRACK, event/event.h).
 *
 *     event_track_raw      --.
 *     geo_place (geo.h)    --+--> track_put --> event_track --privacy_apply--> the record
 *     device, pod, time    --'
 */
#ifndef ENRICH_TRACK_TRACK_H
#define ENRICH_TRACK_TRACK_H

#include "enrich/geo/geo.h"
#include "event/event.h"

#define TRACK_TEXT_MAX 255u /* bytes of a text that was looked up; a longer one is cut between characters */

/* UTF-8 text in memory of another owner. */
struct track_text {
	const char *text;
	size_t bytes;
};

/* All of it is copied. Type, query, host, address, arrival, the client's time and the flags are
 * those of raw, which must have passed event_check. */
struct track {
	const struct event_track_raw *raw;
	struct geo_place place;
	struct track_text pod;    /* the receiving host */
	struct track_text device; /* Desktop, Mobile, Tablet, TV, Bot, Other */
	struct track_text browser, engine, version, os;
	/* when the event is made, CLOCK_REALTIME; klag is 0 if the clock went back since the
	 * arrival */
	uint64_t now_ns;
};

/* Bytes that the payload may have at most, from the lengths in the raw record. */
size_t track_room(const struct event_track_raw *raw);

/* Fills payload, which is aligned to 8 and has track_room(track->raw) bytes. Returns its length. */
uint32_t track_put(void *payload, const struct track *track);

#endif
