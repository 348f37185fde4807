/* The fields of events: one table per type serves JSON and filters, so that they cannot disagree on
 * a name. For event.c and template.c alone. */
#ifndef EVENT_FIELDS_H
#define EVENT_FIELDS_H

#include "base/text.h"
#include "event/event.h"

enum event_value_kind {
	EVENT_VALUE_ABSENT, /* left out of the JSON */
	EVENT_VALUE_TRUE,
	EVENT_VALUE_UNSIGNED,
	EVENT_VALUE_SIGNED,
	EVENT_VALUE_TEXT,
	EVENT_VALUE_BYTES, /* text when text_valid, hexadecimal under "<key>_hex" when not */
	EVENT_VALUE_HEX,
	EVENT_VALUE_ID,      /* a postback's, two numbers of 64 bits */
	EVENT_VALUE_ADDRESS, /* 16 bytes; null when all zero */
	EVENT_VALUE_IPV4,
	EVENT_VALUE_STRING, /* a JSON string with its quotes */
	EVENT_VALUE_OBJECT, /* a JSON object */
	EVENT_VALUE_QUERY,  /* a query string, in JSON an object */
};

struct event_value {
	enum event_value_kind kind;
	uint64_t number;
	const void *bytes;
	size_t length;
};

/* A record's or a message's payload, and what it is. */
struct event_payload {
	const void *at;
	uint32_t length;
	uint16_t type;
};

struct event_field {
	const char *key;
	size_t key_bytes;
	struct event_value (*get)(const struct event_payload *payload);
	/* where in the payload the number lies that get gives, 64 bits; 0: it is not that simple */
	uint32_t number_at;
};

/* The fields of a type in the order of the JSON form. *n is 0 for a type that is not known. */
const struct event_field *event_fields(uint16_t type, size_t *n);

/* The field that a filter calls `key`, or NULL. */
const struct event_field *event_fields_find(uint16_t type, const char *key);

/* Writes the value without quotes, as filters compare it; nothing for one that is absent. */
void event_value_put(struct text *text, const struct event_value *value);

#endif
