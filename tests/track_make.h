/* Tracking records for tests, put together as the enrich stage does. */
#ifndef TESTS_TRACK_MAKE_H
#define TESTS_TRACK_MAKE_H

#include <stdlib.h>
#include <string.h>

#include "enrich/track/track.h"

/* What goes into a record. Texts that are NULL are empty; type, query and host may hold any byte when their lengths are given. */
struct track_make {
	const char *type, *query, *host;
	size_t type_bytes, query_bytes, host_bytes; /* 0: up to the final 0 */
	const char *pod, *device, *browser, *engine, *version, *os, *country, *city;
	const uint8_t *address;
	uint64_t arrival_ms, klag_ms, client_ts_ms;
	uint32_t flags;
};

/* The example of the tracking line. */
static const uint8_t track_example_address[16] = {[10] = 0xff, [11] = 0xff, [12] = 172, [13] = 17, [15] = 1};
static const struct track_make track_example = {
        .type = "app_open",
        .query = "deviceid=abcdf&ts=123456&referrer=website",
        .host = "192.168.64.2",
        .pod = "10.0.0.7",
        .device = "Desktop",
        .browser = "Firefox",
        .engine = "Gecko",
        .version = "56.0",
        .os = "Mac",
        .country = "XX",
        .city = "XX",
        .address = track_example_address,
        .arrival_ms = 1510826008003,
        .klag_ms = 266,
};

static inline size_t track_length(const char *text, size_t bytes)
{
	return bytes > 0 || text == NULL ? bytes : strlen(text);
}

static inline struct track_text track_text_of(const char *text)
{
	return (struct track_text){text, track_length(text, 0)};
}

/* The raw record's payload; to be freed. */
static inline struct event_track_raw *track_make_raw(const struct track_make *make)
{
	static const char agent[] = "An Agent/1.0";
	size_t type = track_length(make->type, make->type_bytes),
	       query = track_length(make->query, make->query_bytes);
	size_t host = track_length(make->host, make->host_bytes);
	struct event_track_raw *raw = calloc(1, sizeof *raw + type + query + sizeof agent + host);
	if (raw == NULL)
		abort();
	raw->arrival_ns = make->arrival_ms * 1000000 + 999999;
	if (make->address != NULL)
		memcpy(raw->source, make->address, 16);
	raw->source_port = 40001;
	raw->type_bytes = (uint16_t)type;
	raw->query_bytes = (uint32_t)query;
	raw->agent_bytes = sizeof agent - 1;
	raw->host_bytes = (uint16_t)host;
	raw->flags = make->flags;
	raw->client_ts_ms = make->client_ts_ms;
	memcpy(raw->text, make->type == NULL ? "" : make->type, type);
	memcpy(raw->text + type, make->query == NULL ? "" : make->query, query);
	memcpy(raw->text + type + query, agent, sizeof agent - 1);
	memcpy(raw->text + type + query + sizeof agent - 1, make->host == NULL ? "" : make->host, host);
	return raw;
}

/* The whole record; to be freed. */
static inline struct record *track_make(const struct track_make *make)
{
	struct event_track_raw *raw = track_make_raw(make);
	struct track track = {
	        .raw = raw,
	        .pod = track_text_of(make->pod),
	        .device = track_text_of(make->device),
	        .browser = track_text_of(make->browser),
	        .engine = track_text_of(make->engine),
	        .version = track_text_of(make->version),
	        .os = track_text_of(make->os),
	        .now_ns = raw->arrival_ns + make->klag_ms * 1000000,
	};
	const char *city = make->city == NULL ? "" : make->city;
	track.place.city = city;
	track.place.city_bytes = (uint8_t)strlen(city);
	if (make->country != NULL)
		memcpy(track.place.country, make->country, 2);
	struct record *record = calloc(1, sizeof *record + track_room(raw));
	if (record == NULL)
		abort();
	uint32_t length = track_put(record->payload, &track);
	if (length > track_room(raw))
		abort();
	(void)record_put(record, EVENT_TRACK, length);
	free(raw);
	return record;
}

#endif
