#include "shm/event.h"

#include <errno.h>
#include <limits.h>

#include "shm/event_text.h"

#define NS_PER_MS 1000000u

/* One table of fields per type serves both forms, so JSON and filters cannot disagree on a name. */

enum value_kind {
	VALUE_ABSENT, /* left out of the JSON */
	VALUE_UNSIGNED,
	VALUE_SIGNED,
	VALUE_TEXT,
	VALUE_BYTES, /* text when it is text, hexadecimal under "<key>_hex" when not */
	VALUE_HEX,
	VALUE_ADDRESS, /* 16 bytes; null when all zero */
	VALUE_IPV4,
};

struct value {
	enum value_kind kind;
	uint64_t number;
	const void *bytes;
	size_t length;
};

struct field {
	const char *key;
	size_t key_bytes;
	struct value (*get)(const struct record *record);
};

#define FIELD(key, get)                   \
	{                                 \
		key, sizeof(key) - 1, get \
	}

/* Many JSON readers refuse an integer above 2^63 - 1; no honest event has one. */
static struct value unsigned_value(uint64_t number)
{
	return (struct value){.kind = VALUE_UNSIGNED, .number = number > INT64_MAX ? INT64_MAX : number};
}

static struct value text_value(const char *bytes, size_t length)
{
	return (struct value){.kind = VALUE_TEXT, .bytes = bytes, .length = length};
}

static const struct event_head *head_of(const struct record *record)
{
	return (const void *)record->payload;
}

static const struct event_ip *ip_of(const struct record *record)
{
	return (const void *)record->payload;
}

static const struct event_raw *raw_of(const struct record *record)
{
	return (const void *)record->payload;
}

static const struct event_metric *metric_of(const struct record *record)
{
	return (const void *)record->payload;
}

static const struct event_track_raw *track_of(const struct record *record)
{
	return (const void *)record->payload;
}

/* ---- fields of every event that millrace takes in ---- */

static struct value get_ts(const struct record *record)
{
	return unsigned_value(head_of(record)->arrival_ns / NS_PER_MS);
}

static struct value get_source(const struct record *record)
{
	return (struct value){.kind = VALUE_ADDRESS, .bytes = head_of(record)->source, .length = 16};
}

static struct value get_source_port(const struct record *record)
{
	return unsigned_value(head_of(record)->source_port);
}

#define HEAD_FIELDS FIELD("ts", get_ts), FIELD("source", get_source), FIELD("source_port", get_source_port)

/* ---- ip ---- */

static struct value get_sha(const struct record *record)
{
	return (struct value){
	        .kind = VALUE_HEX, .bytes = ip_of(record)->sha, .length = sizeof ip_of(record)->sha};
}

static struct value get_ip(const struct record *record)
{
	return (struct value){.kind = VALUE_IPV4, .number = ip_of(record)->ip};
}

static const struct field ip_fields[] = {
        HEAD_FIELDS,
        FIELD("app_sha256", get_sha),
        FIELD("ip", get_ip),
};

/* ---- raw ---- */

static struct value get_listener(const struct record *record)
{
	return unsigned_value(raw_of(record)->listener);
}

static struct value get_raw_length(const struct record *record)
{
	return unsigned_value(raw_of(record)->length);
}

static struct value get_raw_data(const struct record *record)
{
	return (struct value){
	        .kind = VALUE_BYTES, .bytes = raw_of(record)->data, .length = raw_of(record)->length};
}

static const struct field raw_fields[] = {
        HEAD_FIELDS,
        FIELD("listener", get_listener),
        FIELD("length", get_raw_length),
        FIELD("data", get_raw_data),
};

/* ---- metric ---- */

static struct value get_username(const struct record *record)
{
	return text_value(metric_of(record)->text, metric_of(record)->username_bytes);
}

static struct value get_count(const struct record *record)
{
	return (struct value){.kind = VALUE_SIGNED, .number = (uint64_t)metric_of(record)->count};
}

static struct value get_metric(const struct record *record)
{
	const struct event_metric *event = metric_of(record);
	return text_value(event->text + event->username_bytes, event->metric_bytes);
}

static const struct field metric_fields[] = {
        HEAD_FIELDS,
        FIELD("username", get_username),
        FIELD("count", get_count),
        FIELD("metric", get_metric),
};

/* ---- track.raw ---- */

static struct value get_type(const struct record *record)
{
	return text_value(track_of(record)->text, track_of(record)->type_bytes);
}

static struct value get_query(const struct record *record)
{
	const struct event_track_raw *event = track_of(record);
	return text_value(event->text + event->type_bytes, event->query_bytes);
}

static struct value get_agent(const struct record *record)
{
	const struct event_track_raw *event = track_of(record);
	return text_value(event->text + event->type_bytes + event->query_bytes, event->agent_bytes);
}

static struct value get_host(const struct record *record)
{
	const struct event_track_raw *event = track_of(record);
	return text_value(event->text + event->type_bytes + event->query_bytes + event->agent_bytes,
	                  event->host_bytes);
}

static struct value get_client_ts(const struct record *record)
{
	struct value value = unsigned_value(track_of(record)->client_ts_ms);
	if (value.number == 0)
		value.kind = VALUE_ABSENT;
	return value;
}

static const struct field track_fields[] = {
        HEAD_FIELDS,
        FIELD("type", get_type),
        FIELD("query", get_query),
        FIELD("user_agent", get_agent),
        FIELD("host", get_host),
        FIELD("client_ts", get_client_ts),
};

/* ---- records of outside programs: millrace knows nothing of what is in them ---- */

static struct value get_record_type(const struct record *record)
{
	return unsigned_value(record->type);
}

static struct value get_record_length(const struct record *record)
{
	return unsigned_value(record->length);
}

static struct value get_record_data(const struct record *record)
{
	return (struct value){.kind = VALUE_BYTES, .bytes = record->payload, .length = record->length};
}

static const struct field outside_fields[] = {
        FIELD("record_type", get_record_type),
        FIELD("length", get_record_length),
        FIELD("data", get_record_data),
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static const struct field *fields_of(uint16_t type, size_t *n)
{
	switch (type) {
	case EVENT_IP:
		*n = COUNT_OF(ip_fields);
		return ip_fields;
	case EVENT_RAW:
		*n = COUNT_OF(raw_fields);
		return raw_fields;
	case EVENT_METRIC:
		*n = COUNT_OF(metric_fields);
		return metric_fields;
	case EVENT_TRACK_RAW:
		*n = COUNT_OF(track_fields);
		return track_fields;
	default:
		*n = type >= EVENT_OUTSIDE ? COUNT_OF(outside_fields) : 0;
		return outside_fields;
	}
}

/* Variable parts are added up in 64 bits: no field can make the sum wrap. */
bool event_check(const struct record *record)
{
	uint64_t length = record->length;
	switch (record->type) {
	case EVENT_IP:
		return length >= sizeof(struct event_ip);
	case EVENT_RAW:
		return length >= sizeof(struct event_raw) &&
		       length >= sizeof(struct event_raw) + (uint64_t)raw_of(record)->length;
	case EVENT_METRIC:
		return length >= sizeof(struct event_metric) &&
		       length >= sizeof(struct event_metric) + (uint64_t)metric_of(record)->username_bytes +
		                         metric_of(record)->metric_bytes;
	case EVENT_TRACK_RAW:
		return length >= sizeof(struct event_track_raw) &&
		       length >= sizeof(struct event_track_raw) + (uint64_t)track_of(record)->type_bytes +
		                         track_of(record)->query_bytes + track_of(record)->agent_bytes +
		                         track_of(record)->host_bytes;
	default:
		return record->type >= EVENT_OUTSIDE;
	}
}

/* ---- writing ---- */

static bool address_known(const uint8_t *address)
{
	static const uint8_t zero[16];
	return memcmp(address, zero, sizeof zero) != 0;
}

static void put_key(struct event_text *text, const struct field *field, const char *suffix)
{
	event_text_literal(text, ",\"");
	event_text_put(text, field->key, field->key_bytes);
	event_text_put(text, suffix, strlen(suffix));
	event_text_literal(text, "\":");
}

/* The value without quotes, as filters compare it. */
static void put_bare(struct event_text *text, const struct value *value)
{
	switch (value->kind) {
	case VALUE_ABSENT:
		break;
	case VALUE_UNSIGNED:
		event_text_unsigned(text, value->number);
		break;
	case VALUE_SIGNED:
		event_text_signed(text, value->number);
		break;
	case VALUE_TEXT:
	case VALUE_BYTES:
		event_text_put(text, value->bytes, value->length);
		break;
	case VALUE_HEX:
		event_text_hex(text, value->bytes, value->length);
		break;
	case VALUE_ADDRESS:
		if (address_known(value->bytes))
			event_text_address(text, value->bytes);
		break;
	case VALUE_IPV4:
		event_text_ipv4(text, (uint32_t)value->number);
		break;
	}
}

static void put_quoted(struct event_text *text, const struct value *value)
{
	event_text_literal(text, "\"");
	put_bare(text, value);
	event_text_literal(text, "\"");
}

static void put_member(struct event_text *text, const struct field *field, const struct value *value)
{
	if (value->kind == VALUE_ABSENT)
		return;
	bool as_hex = value->kind == VALUE_BYTES && !event_text_valid(value->bytes, value->length);
	put_key(text, field, as_hex ? "_hex" : "");
	switch (value->kind) {
	case VALUE_TEXT:
	case VALUE_BYTES:
		if (as_hex) {
			event_text_literal(text, "\"");
			event_text_hex(text, value->bytes, value->length);
			event_text_literal(text, "\"");
		} else {
			event_text_string(text, value->bytes, value->length);
		}
		break;
	case VALUE_HEX:
	case VALUE_IPV4:
		put_quoted(text, value);
		break;
	case VALUE_ADDRESS:
		if (address_known(value->bytes))
			put_quoted(text, value);
		else
			event_text_literal(text, "null");
		break;
	default:
		put_bare(text, value);
		break;
	}
}

int event_json(char *out, size_t size, const struct record *record, const char *origin, uint64_t position)
{
	if (!event_check(record))
		return -EINVAL;
	if (size > INT_MAX)
		size = INT_MAX; /* the result is an int */
	struct event_text text = {.at = out, .end = out + size};
	event_text_literal(&text, "{\"id\":\"");
	event_text_put(&text, origin, strlen(origin));
	event_text_literal(&text, "-");
	event_text_unsigned(&text, position);
	event_text_literal(&text, "\"");
	size_t n;
	const struct field *field = fields_of(record->type, &n);
	for (size_t i = 0; i < n && !text.full; i++) {
		struct value value = field[i].get(record);
		put_member(&text, &field[i], &value);
	}
	event_text_literal(&text, "}");
	return text.full ? -ENOSPC : (int)(text.at - out);
}

static const struct field *find_field(uint16_t type, const char *key)
{
	/* The documents say "sha" throughout; whoever filters by it means this field. */
	if (type == EVENT_IP && strcmp(key, "sha") == 0)
		key = "app_sha256";
	size_t n;
	const struct field *field = fields_of(type, &n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(field[i].key, key) == 0)
			return &field[i];
	return NULL;
}

const char *event_field_name(uint16_t type, unsigned i)
{
	size_t n;
	const struct field *field = fields_of(type, &n);
	return i < n ? field[i].key : NULL;
}

int event_field(char *out, size_t size, const struct record *record, const char *key)
{
	if (!event_check(record))
		return -EINVAL;
	const struct field *field = find_field(record->type, key);
	struct value value = {.kind = VALUE_ABSENT};
	if (field != NULL)
		value = field->get(record);
	if (value.kind == VALUE_ABSENT)
		return -ENOENT;
	struct event_text text = {.at = out, .end = out + (size > INT_MAX ? INT_MAX : size)};
	put_bare(&text, &value);
	return text.full ? -ENOSPC : (int)(text.at - out);
}
