/* Event records: the payload of a record, by topic, and of a message, by queue.
 *
 * Each begins with the same head: when it arrived and from where. Fixed fields come first, then
 * bytes whose lengths the fields give. Payloads start at multiples of 8. A reader first checks that
 * record->length is what the fields say (event_check).
 *
 *     topic       type              payload
 *     ip          EVENT_IP          struct event_ip
 *     raw         EVENT_RAW         struct event_raw, then the datagram
 *     metric      EVENT_METRIC      struct event_metric, then username, metric
 *     track.raw   EVENT_TRACK_RAW   struct event_track_raw, then type, query, agent, host
 *     log         EVENT_LOG         struct event_log, then the object as the client sent it
 *     track       EVENT_TRACK       struct event_track, then type, host, pod, device, browser, engine, version, os, city, query
 *     delivery    EVENT_DELIVERY    struct event_delivery, then endpoint, url, error, body
 *
 *     queue
 *     postback    EVENT_POSTBACK    struct event_postback, then url, data
 *
 * As JSON (event_json) one object a line. Of ip and raw: id, ts (milliseconds), source (the
 * sender's address), source_port; of the others: id, ts, ip (the client's address; filters may call
 * it source). Then the event's own fields under the names that they have on the wire:
 *
 *     ip          app_sha256, ip                          ip is the address in the IpEvent, "10.0.0.1"
 *     raw         listener, length, data or data_hex      hexadecimal when the bytes are not UTF-8 text
 *     metric      username, count, metric
 *     track.raw   type, query, user_agent, host, client_ts (only when the client gave one), dnt (true, only when set)
 *     log         client_id, content_id, timestamp, text
 *     track       type, params (the query, decoded: {"a": "1", "b": ["2", "3"]}), host, pod, klag (ms), country, city, device, browser,
 *                 engine, version, os, client_ts, dnt     as in track.raw
 *     delivery    postback (its id), endpoint, method, url, attempt, outcome, status, error (only when there is one), dns_us,
 *                 connect_us, tls_us, first_byte_us, total_us, next_ts (only when there is one), postback_ts, body or body_hex.
 *                 ts is when the attempt began, ip the server's address
 *     postback    method, url, data (an object)
 *     outside     record_type, length, data or data_hex   (no ts and no source: the payload is the program's own)
 *
 * id is <generation>-<topic>-<lane>-<position>: no other record ever has it, and it is the same
 * each time the record is read; of a postback its own id, 32 hexadecimal digits. docs/EVENTS.md has
 * an example of each.
 */
#ifndef EVENT_EVENT_H
#define EVENT_EVENT_H

#include "shm/record.h"

enum event_type {
	EVENT_NONE = 0,
	EVENT_IP = 1,
	EVENT_RAW = 2,
	EVENT_METRIC = 3,
	EVENT_TRACK_RAW = 4,
	EVENT_LOG = 5,
	EVENT_POSTBACK = 6,
	EVENT_TRACK = 7,
	EVENT_DELIVERY = 8,
	EVENT_OUTSIDE = 256, /* this and above belong to outside programs; shown as bytes */
};

struct event_head {
	uint64_t arrival_ns; /* CLOCK_REALTIME */
	uint8_t source[16];  /* sender: IPv6, or IPv4-mapped (::ffff:a.b.c.d); zero when unknown */
	uint16_t source_port;
	uint16_t reserved;
};

/* Bounds of histograms of the time from an event's arrival until it was in a lane, and until a
 * stage took it out, microseconds. */
#define EVENT_TO_RING_US 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 1000000
#define EVENT_TAKEN_AFTER_US \
	100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000, 10000000, 60000000, 3600000000

/* When the first record of a batch arrived, CLOCK_REALTIME; 0 when that is no event of ours, or
 * there is none. The batch stays as it is. */
static inline uint64_t event_batch_arrival(const struct record_batch *batch)
{
	struct record_batch look = *batch;
	const struct record *record = record_next(&look);
	if (record == NULL || look.type == EVENT_NONE || look.type >= EVENT_OUTSIDE ||
	    look.length < sizeof(struct event_head))
		return 0;
	const struct event_head *head = (const void *)record->payload;
	return __atomic_load_n(&head->arrival_ns, __ATOMIC_RELAXED);
}

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

#define EVENT_TRACK_DNT 1u /* the client asked not to be tracked */

struct event_track_raw {
	uint64_t arrival_ns;
	uint8_t source[16]; /* the client, after trusted proxies' headers where those count */
	uint16_t source_port;
	uint16_t type_bytes;
	uint32_t query_bytes;
	uint16_t agent_bytes;
	uint16_t host_bytes;
	uint32_t flags;        /* EVENT_TRACK_...; readers ignore bits they do not know */
	uint64_t client_ts_ms; /* the batch interface's "ts", 0 when not given */
	/* type, query (as a query string, verbatim or percent-encoded from params), agent, host */
	char text[];
};

/* A tracking event after enrichment. As a line of text: line.h. */
struct event_track {
	uint64_t arrival_ns;
	uint8_t source[16]; /* the client; zero, or the network alone, where privacy options say so */
	uint16_t source_port;
	uint16_t type_bytes;
	uint32_t query_bytes;
	uint64_t klag_ns; /* from arrival to enrichment */
	uint64_t client_ts_ms;
	uint32_t flags; /* EVENT_TRACK_... */
	uint16_t host_bytes;
	char country[2]; /* ISO 3166-1, "XX" when unknown */
	uint8_t pod_bytes;
	uint8_t device_bytes; /* Desktop, Mobile, Tablet, TV, Bot, Other */
	uint8_t browser_bytes;
	uint8_t engine_bytes;
	uint8_t version_bytes;
	uint8_t os_bytes;
	uint8_t city_bytes; /* 0 when unknown */
	uint8_t reserved;
	/* type, host, pod, device, browser, engine, version, os, city, query (as a query string, as
	 * in track.raw) */
	char text[];
};
_Static_assert(sizeof(struct event_track) == 64, "one line");

struct event_log {
	uint64_t arrival_ns;
	uint8_t source[16];
	uint16_t source_port;
	uint16_t reserved;
	uint32_t object_bytes;
	int64_t client_id;
	int64_t content_id;
	int64_t timestamp_ms; /* the client's, 1 .. 9999999999999 */
	uint32_t text_offset; /* in object: the JSON string of its member "text", quotes included */
	uint32_t text_bytes;
	char object[]; /* one JSON object, as sent, white space outside strings left out */
};
_Static_assert(sizeof(struct event_log) == 64, "one line");

/* What event_check asks of a log; length: of the payload, struct included. */
static inline bool event_log_check(const struct event_log *event, uint64_t length)
{
	return length == sizeof *event + (uint64_t)event->object_bytes &&
	       event->object_bytes >= (uint64_t)event->text_offset + event->text_bytes;
}

/* METHOD(symbol): methods of postbacks, with the name that HTTP has for each. */
#define POSTBACK_METHODS(METHOD) \
	METHOD(GET)              \
	METHOD(POST)             \
	METHOD(PUT)              \
	METHOD(PATCH)            \
	METHOD(DELETE)

enum postback_method {
#define METHOD(symbol) POSTBACK_##symbol,
	POSTBACK_METHODS(METHOD)
#undef METHOD
	        POSTBACK_METHOD_COUNT,
};

struct event_postback {
	uint64_t arrival_ns;
	uint8_t source[16];
	uint16_t source_port;
	uint16_t method; /* enum postback_method */
	uint32_t url_bytes;
	uint64_t id[2]; /* no other postback ever has it; the same for each attempt */
	uint32_t data_bytes;
	uint32_t reserved;
	/* url (a template, UTF-8, JSON escapes resolved), then data (a JSON object, as sent, white
	 * space outside strings left out) */
	char text[];
};
_Static_assert(sizeof(struct event_postback) == 56, "a multiple of 8");

#define EVENT_POSTBACK_ID_BYTES 32u

/* OUTCOME(symbol, name): what came of an attempt to deliver a postback. */
#define DELIVERY_OUTCOMES(OUTCOME)      \
	OUTCOME(DELIVERED, "delivered") \
	OUTCOME(AGAIN, "again")         \
	OUTCOME(DEAD, "dead")           \
	OUTCOME(GONE, "gone")

enum delivery_outcome {
#define OUTCOME(symbol, name) OUTCOME_##symbol,
	DELIVERY_OUTCOMES(OUTCOME)
#undef OUTCOME
	        OUTCOME_COUNT,
};

/* An attempt to deliver a postback, once it has ended. */
struct event_delivery {
	uint64_t arrival_ns; /* when it began */
	uint8_t source[16];  /* the server; zero when no connection was tried */
	uint16_t source_port;
	uint16_t status;      /* of the answer; 0 none */
	uint32_t attempt;     /* from 1 */
	uint64_t id[2];       /* of the postback */
	uint64_t postback_ns; /* when the postback arrived */
	int64_t next_ms;      /* when it is tried again, CLOCK_REALTIME; 0 never */
	/* name look-up; then from the start of the request: connected, TLS done, first byte of the
	 * answer, end. 0: it did not come to it */
	uint32_t dns_us, connect_us, tls_us, first_byte_us, total_us;
	uint16_t endpoint_bytes;
	uint16_t error_bytes;
	uint32_t url_bytes;
	uint32_t body_bytes;
	uint8_t method;  /* enum postback_method */
	uint8_t outcome; /* enum delivery_outcome */
	uint16_t reserved[3];
	/* endpoint, url (as sent, secrets redacted), error, body (the answer's first bytes, as they
	 * came) */
	char text[];
};
_Static_assert(sizeof(struct event_delivery) == 104, "a multiple of 8");

/* What event_check asks of a delivery; length: of the payload, struct included. */
static inline bool event_delivery_check(const struct event_delivery *event, uint64_t length)
{
	return length == sizeof *event + (uint64_t)event->endpoint_bytes + event->url_bytes +
	                         event->error_bytes + event->body_bytes &&
	       event->method < POSTBACK_METHOD_COUNT && event->outcome < OUTCOME_COUNT;
}

#define EVENT_PARAMS_MAX 4096u

/* True when the payload is exactly as long as its fields say and its type is known (or
 * EVENT_OUTSIDE and above). Does not check text in it (UTF-8, JSON). */
bool event_check(const struct record *record);

/* Writes the event as one JSON object without a newline or final 0; allocates nothing. origin is
 * "<generation>-<topic>-<lane>"; position the record's stream position (both unused for
 * EVENT_POSTBACK, which has its own id). Returns the bytes written, or -ENOSPC (out is then of no
 * use), or -EINVAL when event_check fails. In text, bytes that are not UTF-8 come out as \u00XX,
 * one for each. JSON in a payload (log's text, postback's data) is written as it is when it is
 * well-formed; otherwise as text. Decoding params needs room in out for the longest value once
 * more. A query of more than EVENT_PARAMS_MAX parameters comes as text. */
int event_json(char *out, size_t size, const struct record *record, const char *origin, uint64_t position);

/* The value of one field as bare text, for filters: keys as in the JSON form ("sha" stands for
 * "app_sha256", "source" for the "ip" of events without a source, "data" gives the bytes as they
 * are, "text" of a log its escapes resolved, "params" or "query" of track the query as it is). No
 * final 0. Returns the length, or -ENOENT when this event has no such field, -ENOSPC, -EINVAL when
 * event_check fails. */
int event_field(char *out, size_t size, const struct record *record, const char *key);

/* Name of field i of events of this type, in the order of the JSON form; NULL after the last. */
const char *event_field_name(uint16_t type, unsigned i);

/* True when event_field takes this key for events of this type: a name, or a word that stands for
 * one. */
bool event_field_known(uint16_t type, const char *key);

/* The same three for a message of the queue `postback`, which has no record's header: payload
 * (aligned to 8) and length as queue_take or a look at a slot gives them. The id in the JSON form
 * is the message's own. */
bool event_postback_check(const void *payload, uint32_t length);
int event_postback_json(char *out, size_t size, const void *payload, uint32_t length);
int event_postback_field(char *out, size_t size, const void *payload, uint32_t length, const char *key);

/* The id as text: 32 hexadecimal digits, no final 0. */
void event_postback_id(char out[EVENT_POSTBACK_ID_BYTES], const struct event_postback *postback);

/* And back, from either case; false for any other text. */
bool event_postback_parse_id(uint64_t id[2], const char *text, size_t bytes);

/* "GET" for POSTBACK_GET; NULL outside the enum. */
const char *postback_method_name(unsigned method);

/* "delivered" for OUTCOME_DELIVERED; NULL outside the enum. */
const char *delivery_outcome_name(unsigned outcome);

#endif
