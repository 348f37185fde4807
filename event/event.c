#include "event/event.h"

#include <errno.h>
#include <limits.h>

#include "base/hex.h"
#include "event/fields.h"
#include "event/literal.h"
#include "event/params.h"
#include "base/text.h"
#include "event/track.h"
#include "base/escape.h"

/* ---- lengths: added up in 64 bits, so that no field can make a sum wrap ---- */

static uint64_t metric_bytes(const struct event_metric *event)
{
	return sizeof *event + (uint64_t)event->username_bytes + event->metric_bytes;
}

static uint64_t track_bytes(const struct event_track_raw *event)
{
	return sizeof *event + (uint64_t)event->type_bytes + event->query_bytes + event->agent_bytes +
	       event->host_bytes;
}

static bool postback_check(const struct event_postback *event, uint64_t length)
{
	return length == sizeof *event + (uint64_t)event->url_bytes + event->data_bytes &&
	       event->method < POSTBACK_METHOD_COUNT;
}

static bool payload_check(const struct event_payload *payload)
{
	const void *at = payload->at;
	uint64_t length = payload->length;
	switch (payload->type) {
	case EVENT_IP:
		return length == sizeof(struct event_ip);
	case EVENT_RAW:
		return length >= sizeof(struct event_raw) &&
		       length == sizeof(struct event_raw) + (uint64_t)((const struct event_raw *)at)->length;
	case EVENT_METRIC:
		return length >= sizeof(struct event_metric) && length == metric_bytes(at);
	case EVENT_TRACK_RAW:
		return length >= sizeof(struct event_track_raw) && length == track_bytes(at);
	case EVENT_TRACK:
		return length >= sizeof(struct event_track) && length == event_track_bytes(at);
	case EVENT_LOG:
		return length >= sizeof(struct event_log) && event_log_check(at, length);
	case EVENT_POSTBACK:
		return length >= sizeof(struct event_postback) && postback_check(at, length);
	case EVENT_DELIVERY:
		return length >= sizeof(struct event_delivery) && event_delivery_check(at, length);
	default:
		return payload->type >= EVENT_OUTSIDE;
	}
}

/* ---- writing ---- */

static bool address_known(const uint8_t *address)
{
	static const uint8_t zero[16];
	return memcmp(address, zero, sizeof zero) != 0;
}

static void put_key(struct text *text, const struct event_field *field, const char *suffix)
{
	text_literal(text, ",\"");
	text_put(text, field->key, field->key_bytes);
	text_put(text, suffix, strlen(suffix));
	text_literal(text, "\":");
}

/* An id is two numbers, so its bytes lie in the machine's order. */
static void put_postback_id(struct text *text, const uint64_t id[2])
{
	if (!text_room(text, EVENT_POSTBACK_ID_BYTES))
		return;
	for (unsigned i = 0; i < EVENT_POSTBACK_ID_BYTES; i++)
		*text->at++ = hex_lower((unsigned)(id[i / 16] >> (60 - 4 * (i % 16))));
}

static void put_unescaped(struct text *text, const struct event_value *value)
{
	if (!event_literal_is_string(value->bytes, value->length))
		text_put(text, value->bytes, value->length);
	else if (text_room(text, value->length - 2))
		text->at += json_unescape(text->at, (const char *)value->bytes + 1, value->length - 2);
}

void event_value_put(struct text *text, const struct event_value *value)
{
	switch (value->kind) {
	case EVENT_VALUE_ABSENT:
		break;
	case EVENT_VALUE_TRUE:
		text_literal(text, "true");
		break;
	case EVENT_VALUE_UNSIGNED:
		text_unsigned(text, value->number);
		break;
	case EVENT_VALUE_SIGNED:
		text_signed(text, value->number);
		break;
	case EVENT_VALUE_TEXT:
	case EVENT_VALUE_BYTES:
	case EVENT_VALUE_OBJECT:
	case EVENT_VALUE_QUERY:
		text_put(text, value->bytes, value->length);
		break;
	case EVENT_VALUE_STRING:
		put_unescaped(text, value);
		break;
	case EVENT_VALUE_HEX:
		text_hex(text, value->bytes, value->length);
		break;
	case EVENT_VALUE_ID:
		put_postback_id(text, value->bytes);
		break;
	case EVENT_VALUE_ADDRESS:
		if (address_known(value->bytes))
			text_address(text, value->bytes);
		break;
	case EVENT_VALUE_IPV4:
		text_ipv4(text, (uint32_t)value->number);
		break;
	}
}

static void put_quoted(struct text *text, const struct event_value *value)
{
	text_literal(text, "\"");
	event_value_put(text, value);
	text_literal(text, "\"");
}

static void put_bytes(struct text *text, const struct event_value *value, bool as_hex)
{
	if (!as_hex) {
		text_string(text, value->bytes, value->length);
		return;
	}
	text_literal(text, "\"");
	text_hex(text, value->bytes, value->length);
	text_literal(text, "\"");
}

/* JSON that lies in the payload. */
static void put_json(struct text *text, const struct event_value *value)
{
	bool formed = value->kind == EVENT_VALUE_STRING
	                      ? event_literal_is_string(value->bytes, value->length)
	                      : event_literal_is_object(value->bytes, value->length);
	if (formed)
		text_json(text, value->bytes, value->length);
	else
		text_string(text, value->bytes, value->length);
}

static void put_member(struct text *text, const struct event_field *field, const struct event_value *value)
{
	if (value->kind == EVENT_VALUE_ABSENT)
		return;
	bool as_hex = value->kind == EVENT_VALUE_BYTES && !text_valid(value->bytes, value->length);
	put_key(text, field, as_hex ? "_hex" : "");
	switch (value->kind) {
	case EVENT_VALUE_TEXT:
	case EVENT_VALUE_BYTES:
		put_bytes(text, value, as_hex);
		break;
	case EVENT_VALUE_STRING:
	case EVENT_VALUE_OBJECT:
		put_json(text, value);
		break;
	case EVENT_VALUE_QUERY:
		event_params_put(text, value->bytes, value->length);
		break;
	case EVENT_VALUE_HEX:
	case EVENT_VALUE_ID:
	case EVENT_VALUE_IPV4:
		put_quoted(text, value);
		break;
	case EVENT_VALUE_ADDRESS:
		if (address_known(value->bytes))
			put_quoted(text, value);
		else
			text_literal(text, "null");
		break;
	default:
		event_value_put(text, value);
		break;
	}
}

static void put_id(struct text *text, const struct event_payload *payload, const char *origin,
                   uint64_t position)
{
	text_literal(text, "{\"id\":\"");
	if (payload->type == EVENT_POSTBACK) {
		put_postback_id(text, ((const struct event_postback *)payload->at)->id);
	} else {
		text_put(text, origin, strlen(origin));
		text_literal(text, "-");
		text_unsigned(text, position);
	}
	text_literal(text, "\"");
}

static int payload_json(char *out, size_t size, const struct event_payload *payload, const char *origin,
                        uint64_t position)
{
	if (!payload_check(payload))
		return -EINVAL;
	if (size > INT_MAX)
		size = INT_MAX; /* the result is an int */
	struct text text = {.at = out, .end = out + size};
	put_id(&text, payload, origin, position);
	size_t n;
	const struct event_field *field = event_fields(payload->type, &n);
	for (size_t i = 0; i < n && !text.full; i++) {
		struct event_value value = field[i].get(payload);
		put_member(&text, &field[i], &value);
	}
	text_literal(&text, "}");
	return text.full ? -ENOSPC : (int)(text.at - out);
}

static int payload_field(char *out, size_t size, const struct event_payload *payload, const char *key)
{
	if (!payload_check(payload))
		return -EINVAL;
	const struct event_field *field = event_fields_find(payload->type, key);
	struct event_value value = {.kind = EVENT_VALUE_ABSENT};
	if (field != NULL)
		value = field->get(payload);
	if (value.kind == EVENT_VALUE_ABSENT)
		return -ENOENT;
	struct text text = {.at = out, .end = out + (size > INT_MAX ? INT_MAX : size)};
	event_value_put(&text, &value);
	return text.full ? -ENOSPC : (int)(text.at - out);
}

/* ---- records and messages ---- */

static struct event_payload payload_of(const struct record *record)
{
	return (struct event_payload){.at = record->payload, .length = record->length, .type = record->type};
}

static struct event_payload postback_of(const void *payload, uint32_t length)
{
	return (struct event_payload){.at = payload, .length = length, .type = EVENT_POSTBACK};
}

bool event_check(const struct record *record)
{
	struct event_payload payload = payload_of(record);
	return payload_check(&payload);
}

int event_json(char *out, size_t size, const struct record *record, const char *origin, uint64_t position)
{
	struct event_payload payload = payload_of(record);
	return payload_json(out, size, &payload, origin, position);
}

int event_field(char *out, size_t size, const struct record *record, const char *key)
{
	struct event_payload payload = payload_of(record);
	return payload_field(out, size, &payload, key);
}

bool event_postback_check(const void *payload, uint32_t length)
{
	struct event_payload postback = postback_of(payload, length);
	return payload_check(&postback);
}

int event_postback_json(char *out, size_t size, const void *payload, uint32_t length)
{
	struct event_payload postback = postback_of(payload, length);
	return payload_json(out, size, &postback, "", 0);
}

int event_postback_field(char *out, size_t size, const void *payload, uint32_t length, const char *key)
{
	struct event_payload postback = postback_of(payload, length);
	return payload_field(out, size, &postback, key);
}

void event_postback_id(char out[EVENT_POSTBACK_ID_BYTES], const struct event_postback *postback)
{
	struct text text = {.at = out, .end = out + EVENT_POSTBACK_ID_BYTES};
	put_postback_id(&text, postback->id);
}

bool event_postback_parse_id(uint64_t id[2], const char *text, size_t bytes)
{
	if (bytes != EVENT_POSTBACK_ID_BYTES)
		return false;
	for (unsigned i = 0; i < EVENT_POSTBACK_ID_BYTES; i++) {
		int digit = hex_value(text[i]);
		if (digit < 0)
			return false;
		id[i / 16] = id[i / 16] << 4 | (unsigned)digit;
	}
	return true;
}

const char *event_field_name(uint16_t type, unsigned i)
{
	size_t n;
	const struct event_field *field = event_fields(type, &n);
	return i < n ? field[i].key : NULL;
}

bool event_field_known(uint16_t type, const char *key)
{
	return event_fields_find(type, key) != NULL;
}

const char *postback_method_name(unsigned method)
{
	static const char *const names[] = {
#define METHOD(symbol) [POSTBACK_##symbol] = #symbol,
	        POSTBACK_METHODS(METHOD)
#undef METHOD
	};
	return method < POSTBACK_METHOD_COUNT ? names[method] : NULL;
}

const char *delivery_outcome_name(unsigned outcome)
{
	static const char *const names[] = {
#define OUTCOME(symbol, name) [OUTCOME_##symbol] = (name),
	        DELIVERY_OUTCOMES(OUTCOME)
#undef OUTCOME
	};
	return outcome < OUTCOME_COUNT ? names[outcome] : NULL;
}
