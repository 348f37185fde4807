#include "enrich/track/track.h"

#include <string.h>

#define CUT_TEXTS 7u /* pod, device, browser, engine, version, os, city */

size_t track_room(const struct event_track_raw *raw)
{
	return sizeof(struct event_track) + raw->type_bytes + raw->host_bytes + raw->query_bytes +
	       CUT_TEXTS * TRACK_TEXT_MAX;
}

/* Copies at most TRACK_TEXT_MAX bytes, never part of a character. Returns where it ends. */
static char *put_cut(char *at, uint8_t *length, const char *text, size_t bytes)
{
	if (bytes > TRACK_TEXT_MAX) {
		bytes = TRACK_TEXT_MAX;
		while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
			bytes--;
	}
	*length = (uint8_t)bytes;
	memcpy(at, text, bytes);
	return at + bytes;
}

static char *put_text(char *at, uint8_t *length, struct track_text text)
{
	return put_cut(at, length, text.bytes > 0 ? text.text : "", text.bytes);
}

static char *put_whole(char *at, const char *text, size_t bytes)
{
	memcpy(at, text, bytes);
	return at + bytes;
}

uint32_t track_put(void *payload, const struct track *track)
{
	const struct event_track_raw *raw = track->raw;
	struct event_track *event = payload;
	const char *type = raw->text, *query = type + raw->type_bytes;
	const char *host = query + raw->query_bytes + raw->agent_bytes;
	*event = (struct event_track){
	        .arrival_ns = raw->arrival_ns,
	        .source_port = raw->source_port,
	        .type_bytes = raw->type_bytes,
	        .query_bytes = raw->query_bytes,
	        .klag_ns = track->now_ns > raw->arrival_ns ? track->now_ns - raw->arrival_ns : 0,
	        .client_ts_ms = raw->client_ts_ms,
	        .flags = raw->flags,
	        .host_bytes = raw->host_bytes,
	};
	memcpy(event->source, raw->source, sizeof event->source);
	memcpy(event->country, track->place.country, sizeof event->country);
	char *at = put_whole(event->text, type, raw->type_bytes);
	at = put_whole(at, host, raw->host_bytes);
	at = put_text(at, &event->pod_bytes, track->pod);
	at = put_text(at, &event->device_bytes, track->device);
	at = put_text(at, &event->browser_bytes, track->browser);
	at = put_text(at, &event->engine_bytes, track->engine);
	at = put_text(at, &event->version_bytes, track->version);
	at = put_text(at, &event->os_bytes, track->os);
	at = put_cut(at, &event->city_bytes, track->place.city, track->place.city_bytes);
	at = put_whole(at, query, raw->query_bytes);
	return (uint32_t)(at - (char *)payload);
}
