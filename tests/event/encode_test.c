/* One event as the bytes that a sink writes. */
#include "event/encode.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "event/line.h"
#include "tests/fixture/event_slot.h"
#include "tests/fixture/track_make.h"

static const char object[] = "{\"text\":\"a\\nb\",\"content_id\":1,\"more\":{\"x\":[1,2]}}";

static struct record *sent(union slot *slot)
{
	return log_record(slot, object, object + 8, 6);
}

static struct record *outside_record(union slot *slot, const void *bytes, uint32_t length)
{
	memcpy(record_put(slot, EVENT_OUTSIDE + 3, length), bytes, length);
	return &slot->record;
}

/* Asserts that the event comes out as these bytes, into exactly as much room, and not into less. */
static void assert_encoded(enum encode_format format, const struct record *record, const void *expected,
                           size_t bytes)
{
	char *out = malloc(bytes + 1);
	assert_non_null(out);
	assert_int_equal(encode_event(out, bytes, format, record, origin, 720), bytes);
	assert_memory_equal(out, expected, bytes);
	for (size_t room = 0; room < bytes; room++)
		assert_int_equal(encode_event(out, room, format, record, origin, 720), -ENOSPC);
	free(out);
}

static void assert_as_json(enum encode_format format, const struct record *record)
{
	char json[4096];
	int n = event_json(json, sizeof json, record, origin, 720);
	assert_true(n > 0);
	assert_encoded(format, record, json, (size_t)n);
	size_t bytes;
	assert_null(encode_in_place(format, record, &bytes));
}

static void formats_are_known_by_their_names_alone(void **state)
{
	(void)state;
	assert_int_equal(encode_format("auto"), ENCODE_AUTO);
	assert_int_equal(encode_format("json"), ENCODE_JSON);
	assert_int_equal(encode_format("line"), ENCODE_LINE);
	assert_int_equal(encode_format("record"), ENCODE_RECORD);
	static const char *const no[] = {"", "Auto", "json ", "lines", "recor"};
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		assert_int_equal(encode_format(no[i]), -EINVAL);
}

static void a_log_is_the_object_that_the_client_sent(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = sent(&slot);
	size_t bytes = 0;
	const struct event_log *event = (const void *)record->payload;
	assert_ptr_equal(encode_in_place(ENCODE_AUTO, record, &bytes), event->object);
	assert_int_equal(bytes, strlen(object));
	assert_encoded(ENCODE_AUTO, record, object, strlen(object));
	assert_as_json(ENCODE_JSON, record);
}

static void a_log_that_would_spoil_other_lines_comes_as_json(void **state)
{
	(void)state;
	static const char *const broken[] = {
	        "{\"text\":\"a\"\n}",
	        "{\"text\":\"\n\"}",
	        "{\"text\":\"a\"}\n",
	        "\n{\"text\":\"a\"}",
	        "{\"text\":\"a\"",
	        "[\"text\",\"a\"]",
	        "\"text\"",
	        "{",
	        "}",
	        "",
	};
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
		union slot slot;
		struct record *record = log_record(&slot, broken[i], broken[i], strlen(broken[i]));
		assert_as_json(ENCODE_AUTO, record);
	}
}

static void events_other_than_logs_are_json(void **state)
{
	(void)state;
	struct record *track = track_make(&track_example);
	union slot slot;
	assert_as_json(ENCODE_AUTO, track);
	assert_as_json(ENCODE_JSON, track);
	assert_as_json(ENCODE_AUTO, outside_record(&slot, "a\nb", 3));
	free(track);
}

static void only_tracking_events_have_a_tracking_line(void **state)
{
	(void)state;
	struct record *track = track_make(&track_example);
	char line[1024];
	int n = event_line(line, sizeof line, track);
	assert_true(n > 0);
	assert_encoded(ENCODE_LINE, track, line, (size_t)n);
	free(track);
	union slot slot;
	assert_int_equal(encode_event(line, sizeof line, ENCODE_LINE, sent(&slot), origin, 0), -EINVAL);
	for (unsigned type = 0; type < 300; type++) {
		bool known = (type >= EVENT_IP && type <= EVENT_DELIVERY) || type >= EVENT_OUTSIDE;
		assert_int_equal(encode_possible(ENCODE_LINE, (uint16_t)type), type == EVENT_TRACK);
		assert_int_equal(encode_possible(ENCODE_AUTO, (uint16_t)type), known);
		assert_int_equal(encode_possible(ENCODE_JSON, (uint16_t)type), known);
		assert_int_equal(encode_possible(ENCODE_RECORD, (uint16_t)type), known);
	}
}

static void a_records_bytes_are_its_payload_whatever_they_are(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = outside_record(&slot, "\0\n\xff{", 4);
	size_t bytes = 0;
	assert_ptr_equal(encode_in_place(ENCODE_RECORD, record, &bytes), record->payload);
	assert_encoded(ENCODE_RECORD, record, "\0\n\xff{", 4);
	assert_encoded(ENCODE_RECORD, outside_record(&slot, "", 0), "", 0);
	record = sent(&slot);
	assert_encoded(ENCODE_RECORD, record, record->payload, record->length);
}

static void a_record_that_is_not_as_long_as_it_says_is_refused_in_every_format(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = sent(&slot);
	char out[4096];
	size_t bytes;
	record->length--;
	for (enum encode_format format = ENCODE_AUTO; format <= ENCODE_RECORD; format++) {
		assert_null(encode_in_place(format, record, &bytes));
		assert_int_equal(encode_event(out, sizeof out, format, record, origin, 0), -EINVAL);
	}
	record_put(&slot, 77, 0);
	for (enum encode_format format = ENCODE_AUTO; format <= ENCODE_RECORD; format++)
		assert_int_equal(encode_event(out, sizeof out, format, &slot.record, origin, 0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(formats_are_known_by_their_names_alone),
	        cmocka_unit_test(a_log_is_the_object_that_the_client_sent),
	        cmocka_unit_test(a_log_that_would_spoil_other_lines_comes_as_json),
	        cmocka_unit_test(events_other_than_logs_are_json),
	        cmocka_unit_test(only_tracking_events_have_a_tracking_line),
	        cmocka_unit_test(a_records_bytes_are_its_payload_whatever_they_are),
	        cmocka_unit_test(a_record_that_is_not_as_long_as_it_says_is_refused_in_every_format),
	};
	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
