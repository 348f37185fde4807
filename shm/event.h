/* Event records: what lies in the payload of a record, by topic.
 *
 * Each begins with the same head: when it arrived and from where. Fixed fields first, then bytes whose lengths the
 * fields tell. Payloads start at multiples of 8. A reader checks that record->length covers what the fields say
 * (event_check does) before it goes on.
 *
 *     topic       type              payload
 *     ip          EVENT_IP          struct event_ip
 *     raw         EVENT_RAW         struct event_raw, then the datagram
 *     metric      EVENT_METRIC      struct event_metric, then username, metric
 *     track.raw   EVENT_TRACK_RAW   struct event_track_raw, then type, query, agent, host
 *
 * As JSON (event_json) one object a line. Of every event: id, ts (milliseconds), source (the sender's address), source_port; then
 * the event's own fields under the names that they have on the wire:
 *
 *     ip          app_sha256, ip                          ip is the address in the IpEvent, "10.0.0.1"
 *     raw         listener, length, data or data_hex      hexadecimal when the bytes are not UTF-8 text
 *     metric      username, count, metric
 *     track.raw   type, query, user_agent, host, client_ts (only when the client gave one)
 *     outside     record_type, length, data or data_hex   (no ts and no source: the payload is the program's own)
 *
 * id is <generation>-<topic>-<lane>-<position>, unique for good and the same each time the record is read. docs/EVENTS.md
 * has an example of each.
 */
#ifndef SHM_EVENT_H
#define SHM_EVENT_H

#include "shm/record.h"

enum event_type {
	EVENT_NONE = 0,
	EVENT_IP = 1,
	EVENT_RAW = 2,
	EVENT_METRIC = 3,
	EVENT_TRACK_RAW = 4,
	EVENT_OUTSIDE = 256, /* this and above belong to outside programs; shown as bytes */
};

struct event_head {
	uint64_t arrival_ns; /* CLOCK_REALTIME */
	uint8_t source[16];  /* sender: IPv6, or IPv4-mapped (::ffff:a.b.c.d); zero when unknown */
	uint16_t source_port;
	uint16_t reserved;
};

struct event_ip {
	uint64_t arrival_ns; /* these four as in event_head */
	uint8_t source[16];
	uint16_t source_port;
	uint16_t reserved;
	uint32_t ip;     /* IPv4 address as a number: 10.0.0.1 is 0x0a000001 */
	uint8_t sha[32]; /* app_sha256, binary */
};
_Static_assert(sizeof(struct event_ip) == 64, "one line");

struct event_raw {
	uint64_t arrival_ns;
	uint8_t source[16];
	uint16_t source_port;
	uint16_t listener; /* index into ingest.udp */
	uint32_t length;   /* bytes of the datagram, which follow */
	unsigned char data[];
};

struct event_metric {
	uint64_t arrival_ns;
	uint8_t source[16];
	uint16_t source_port;
	uint16_t username_bytes;
	uint16_t metric_bytes;
	uint16_t reserved;
	int64_t count;
	char text[]; /* username, then metric: UTF-8, JSON escapes resolved, no final 0 */
};

struct event_track_raw {
	uint64_t arrival_ns;
	uint8_t source[16]; /* the client, after trusted proxies' headers where those count */
	uint16_t source_port;
	uint16_t type_bytes;
	uint32_t query_bytes;
	uint16_t agent_bytes;
	uint16_t host_bytes;
	uint32_t reserved;
	uint64_t client_ts_ms; /* the batch interface's "ts", 0 when not given */
	char text[];           /* type, query (as a query string, verbatim or percent-encoded from params), agent, host */
};

/* True when the payload is as long as its fields say and its type is known (or EVENT_OUTSIDE and above). */
bool event_check(const struct record *record);

/* Writes the event as one JSON object without a newline or final 0; allocates nothing. origin is
 * "<generation>-<topic>-<lane>"; position the record's stream position. Returns the bytes written, or -ENOSPC (out is then
 * of no use), or -EINVAL when event_check fails. In text, bytes that are not UTF-8 come out as \u00XX, one for each. */
int event_json(char *out, size_t size, const struct record *record, const char *origin, uint64_t position);

/* The value of one field as bare text, for filters: keys as in the JSON form ("sha" stands for "app_sha256", "data" gives
 * the bytes as they are). No final 0. Returns the length, or -ENOENT when this event has no such field, -ENOSPC, -EINVAL
 * when event_check fails. */
int event_field(char *out, size_t size, const struct record *record, const char *key);

/* Name of field i of events of this type, in the order of the JSON form; NULL after the last. */
const char *event_field_name(uint16_t type, unsigned i);

#endif
