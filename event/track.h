/* The parts of an event_track: where each lies in its text. */
#ifndef EVENT_TRACK_H
#define EVENT_TRACK_H

#include "event/event.h"

#define EVENT_TRACK_UNKNOWN "XX" /* country, city */

enum event_track_part {
	TRACK_TYPE,
	TRACK_HOST,
	TRACK_POD,
	TRACK_DEVICE,
	TRACK_BROWSER,
	TRACK_ENGINE,
	TRACK_VERSION,
	TRACK_OS,
	TRACK_CITY,
	TRACK_QUERY, /* the last, so that privacy options can shorten it in place */
	TRACK_PARTS,
};

struct event_track_slice {
	const char *text;
	uint32_t bytes;
};

static inline void event_track_lengths(const struct event_track *event, uint32_t bytes[TRACK_PARTS])
{
	bytes[TRACK_TYPE] = event->type_bytes;
	bytes[TRACK_HOST] = event->host_bytes;
	bytes[TRACK_POD] = event->pod_bytes;
	bytes[TRACK_DEVICE] = event->device_bytes;
	bytes[TRACK_BROWSER] = event->browser_bytes;
	bytes[TRACK_ENGINE] = event->engine_bytes;
	bytes[TRACK_VERSION] = event->version_bytes;
	bytes[TRACK_OS] = event->os_bytes;
	bytes[TRACK_CITY] = event->city_bytes;
	bytes[TRACK_QUERY] = event->query_bytes;
}

static inline struct event_track_slice event_track_country(const struct event_track *event)
{
	return (struct event_track_slice){event->country[0] != '\0' ? event->country : EVENT_TRACK_UNKNOWN,
	                                  2};
}

/* Length of the payload as the fields give it. */
static inline uint64_t event_track_bytes(const struct event_track *event)
{
	uint32_t part[TRACK_PARTS];
	uint64_t bytes = sizeof *event;
	event_track_lengths(event, part);
	for (unsigned i = 0; i < TRACK_PARTS; i++)
		bytes += part[i];
	return bytes;
}

/* All parts at once. The event must have passed event_check. */
static inline void event_track_split(const struct event_track *event,
                                     struct event_track_slice slice[TRACK_PARTS])
{
	uint32_t bytes[TRACK_PARTS];
	const char *at = event->text;
	event_track_lengths(event, bytes);
	for (unsigned i = 0; i < TRACK_PARTS; i++) {
		slice[i] = (struct event_track_slice){at, bytes[i]};
		at += bytes[i];
	}
}

/* One part. */
static inline struct event_track_slice event_track_part(const struct event_track *event,
                                                        enum event_track_part part)
{
	struct event_track_slice slice[TRACK_PARTS];
	event_track_split(event, slice);
	return slice[part];
}

#endif
