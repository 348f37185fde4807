/* A place for one record, and what its JSON holds as jansson reads it. */
#ifndef TESTS_EVENT_SLOT_H
#define TESTS_EVENT_SLOT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>

#include "shm/event.h"

/* A record with room for a payload, aligned as in a stream. */
union slot {
	uint64_t align;
	struct record record;
	unsigned char bytes[4096];
};

static const char *const origin = "00c0ffee-ip-0";

static inline json_t *parsed(const struct record *record)
{
	char out[32768];
	int n = event_json(out, sizeof out, record, origin, 720);
	assert_true(n > 0);
	json_error_t error;
	json_t *object = json_loadb(out, (size_t)n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
	if (object == NULL)
		fail_msg("%s in %.*s", error.text, n, out);
	return object;
}

static inline void assert_text(json_t *object, const char *key, const char *expected)
{
	const char *value = json_string_value(json_object_get(object, key));
	assert_non_null(value);
	assert_string_equal(value, expected);
}

static inline void assert_number(json_t *object, const char *key, int64_t expected)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	assert_int_equal(json_integer_value(json_object_get(object, key)), expected);
}

static inline void assert_field(const struct record *record, const char *key, const char *expected)
{
	char value[256];
	int n = event_field(value, sizeof value, record, key);
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(value, expected, (size_t)n);
}

static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};

#endif
