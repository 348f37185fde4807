/* Event records as JSON and as filter values. */
#include "event/event.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "base/escape.h"
#include "tests/fixture/event_slot.h"

static unsigned seed;

static uint32_t draw(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

static struct record *ip_record(union slot *slot)
{
	struct event_ip event = {.arrival_ns = 1760000000123456789u, .source_port = 40001, .ip = 0x0a000001};
	memcpy(event.source, loopback, 16);
	for (unsigned i = 0; i < 32; i++)
		event.sha[i] = (uint8_t)(i * 7);
	memcpy(record_put(slot, EVENT_IP, sizeof event), &event, sizeof event);
	return &slot->record;
}

static struct record *metric_record(union slot *slot, const char *username, size_t username_bytes,
                                    const char *metric)
{
	struct event_metric event = {.arrival_ns = 5000000, .count = INT64_MIN};
	event.username_bytes = (uint16_t)username_bytes;
	event.metric_bytes = (uint16_t)strlen(metric);
	char *at = record_put(slot, EVENT_METRIC, (uint32_t)(sizeof event + username_bytes + strlen(metric)));
	memcpy(at, &event, sizeof event);
	memcpy(at + sizeof event, username, username_bytes);
	memcpy(at + sizeof event + username_bytes, metric, strlen(metric));
	return &slot->record;
}

static struct record *raw_record(union slot *slot, const void *data, uint32_t length)
{
	struct event_raw event = {.arrival_ns = 7000000, .source_port = 9, .listener = 2, .length = length};
	event.source[15] = 1;
	char *at = record_put(slot, EVENT_RAW, (uint32_t)sizeof event + length);
	memcpy(at, &event, sizeof event);
	memcpy(at + sizeof event, data, length);
	return &slot->record;
}

static void an_ip_event_has_the_fields_of_the_wire_and_who_sent_it(void **state)
{
	(void)state;
	union slot slot;
	json_t *object = parsed(ip_record(&slot));
	assert_text(object, "id", "00c0ffee-ip-0-720");
	assert_number(object, "ts", 1760000000123);
	assert_text(object, "source", "127.0.0.1");
	assert_number(object, "source_port", 40001);
	assert_text(object, "app_sha256", "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9");
	assert_text(object, "ip", "10.0.0.1");
	assert_int_equal(json_object_size(object), 6);
	json_decref(object);
}

static void fields_for_filters_are_those_of_the_json(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = ip_record(&slot);
	assert_field(record, "ip", "10.0.0.1");
	assert_field(record, "source", "127.0.0.1");
	assert_field(record, "source_port", "40001");
	assert_field(record, "ts", "1760000000123");
	assert_field(record, "sha", "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9");
	assert_field(record, "app_sha256",
	             "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9");
	char value[8];
	assert_int_equal(event_field(value, sizeof value, record, "metric"), -ENOENT);
	assert_int_equal(event_field(value, sizeof value, record, "sha"), -ENOSPC);
}

static void the_names_of_fields_can_be_listed(void **state)
{
	(void)state;
	static const char *const names[] = {"ts", "source", "source_port", "app_sha256", "ip"};
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(event_field_name(EVENT_IP, i), names[i]);
	assert_null(event_field_name(EVENT_IP, 5));
	assert_string_equal(event_field_name(EVENT_OUTSIDE + 1, 0), "record_type");
	assert_null(event_field_name(77, 0));
}

static void text_is_escaped_and_broken_utf8_shown_byte_by_byte(void **state)
{
	(void)state;
	union slot slot;
	static const char name[] = "a\"\\\n\x01\xc3\xa9\xff\xed\xa0\x80\xf0\x9f\x98\x80\0z";
	struct record *record = metric_record(&slot, name, sizeof name - 1, "kite_call");
	assert_json(
	        record, "g-metric-3", 8,
	        "{\"id\":\"g-metric-3-8\",\"ts\":5,\"ip\":null,\"username\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\\u00ff\\u00ed\\u00a0\\u0080\xf0\x9f\x98\x80"
	        "\\u0000z\",\"count\":-9223372036854775808,\"metric\":\"kite_call\"}");
	assert_field(record, "count", "-9223372036854775808");
	assert_field(record, "metric", "kite_call");
}

static void raw_bytes_are_text_when_they_are_text_and_hexadecimal_when_not(void **state)
{
	(void)state;
	union slot slot;
	json_t *object = parsed(raw_record(&slot, "hello \xe2\x82\xac", 9));
	assert_text(object, "data", "hello \xe2\x82\xac");
	assert_null(json_object_get(object, "data_hex"));
	assert_text(object, "source", "::1");
	assert_number(object, "listener", 2);
	assert_number(object, "length", 9);
	json_decref(object);
	object = parsed(raw_record(&slot, "\x0a\x40\xff", 3));
	assert_text(object, "data_hex", "0a40ff");
	assert_null(json_object_get(object, "data"));
	json_decref(object);
	object = parsed(raw_record(&slot, "a\0b", 3));
	assert_text(object, "data_hex", "610062");
	json_decref(object);
	object = parsed(raw_record(&slot, "", 0));
	assert_text(object, "data", "");
	json_decref(object);
}

static void a_tracking_call_has_its_parts_and_the_clients_time_only_when_given(void **state)
{
	(void)state;
	union slot slot;
	struct event_track_raw event = {
	        .arrival_ns = 1, .type_bytes = 8, .query_bytes = 5, .agent_bytes = 4, .host_bytes = 3};
	uint32_t length = sizeof event + 20;
	char *at = record_put(&slot, EVENT_TRACK_RAW, length);
	memcpy(at, &event, sizeof event);
	memcpy(at + sizeof event, "app_openk=v&eCurlwww", 20);
	json_t *object = parsed(&slot.record);
	assert_text(object, "type", "app_open");
	assert_text(object, "query", "k=v&e");
	assert_text(object, "user_agent", "Curl");
	assert_text(object, "host", "www");
	assert_null(json_object_get(object, "client_ts"));
	char value[8];
	assert_int_equal(event_field(value, sizeof value, &slot.record, "client_ts"), -ENOENT);
	json_decref(object);
	event.client_ts_ms = 1510826008003;
	memcpy(at, &event, sizeof event);
	object = parsed(&slot.record);
	assert_number(object, "client_ts", 1510826008003);
	assert_null(json_object_get(object, "dnt"));
	assert_int_equal(event_field(value, sizeof value, &slot.record, "dnt"), -ENOENT);
	json_decref(object);
	event.flags = EVENT_TRACK_DNT | 8;
	memcpy(at, &event, sizeof event);
	object = parsed(&slot.record);
	assert_true(json_is_true(json_object_get(object, "dnt")));
	assert_field(&slot.record, "dnt", "true");
	json_decref(object);
}

static void a_record_of_an_outside_program_is_shown_as_bytes(void **state)
{
	(void)state;
	union slot slot;
	memcpy(record_put(&slot, EVENT_OUTSIDE + 7, 4), "abcd", 4);
	json_t *object = parsed(&slot.record);
	assert_number(object, "record_type", 263);
	assert_number(object, "length", 4);
	assert_text(object, "data", "abcd");
	assert_null(json_object_get(object, "ts"));
	json_decref(object);
	record_put(&slot, EVENT_OUTSIDE, 0);
	object = parsed(&slot.record);
	assert_text(object, "data", "");
	json_decref(object);
}

static void a_payload_shorter_than_its_fields_say_is_refused(void **state)
{
	(void)state;
	union slot slot;
	char out[256];
	struct record *record = raw_record(&slot, "abc", 3);
	assert_true(event_check(record));
	record->length--;
	assert_false(event_check(record));
	assert_int_equal(event_json(out, sizeof out, record, origin, 0), -EINVAL);
	assert_int_equal(event_field(out, sizeof out, record, "ts"), -EINVAL);
	record = raw_record(&slot, "", 0);
	((struct event_raw *)(void *)record->payload)->length = UINT32_MAX;
	assert_false(event_check(record));
	record = ip_record(&slot);
	record->length--;
	assert_false(event_check(record));
	record->length++;
	record->type = 200;
	assert_false(event_check(record));
	record->type = EVENT_NONE;
	assert_false(event_check(record));
}

static void too_small_a_buffer_is_said_and_never_overrun(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = metric_record(&slot, "koding\xff\"bot", 11, "kite_call");
	char full[512];
	int needed = event_json(full, sizeof full, record, origin, 720);
	assert_true(needed > 0);
	for (int size = 0; size < needed; size++) {
		char *exact = malloc((size_t)size + 1);
		exact[size] = 0x55;
		assert_int_equal(event_json(exact, (size_t)size, record, origin, 720), -ENOSPC);
		assert_int_equal(exact[size], 0x55);
		free(exact);
	}
	char *exact = malloc((size_t)needed);
	assert_int_equal(event_json(exact, (size_t)needed, record, origin, 720), needed);
	assert_memory_equal(exact, full, (size_t)needed);
	free(exact);
}

/* Lengths small enough to pass the check often. */
static void make_lengths_small(const struct record *record, void *payload)
{
	struct event_raw *raw = payload;
	struct event_metric *metric = payload;
	struct event_track_raw *track = payload;
	struct event_log *entry = payload;
	struct event_postback *postback = payload;
	struct event_delivery *delivery = payload;
	switch (record->type) {
	case EVENT_RAW:
		raw->length = draw() % 300;
		break;
	case EVENT_METRIC:
		metric->username_bytes = draw() % 200;
		metric->metric_bytes = draw() % 200;
		break;
	case EVENT_TRACK_RAW:
		track->type_bytes = draw() % 100;
		track->query_bytes = draw() % 100;
		track->agent_bytes = draw() % 100;
		track->host_bytes = draw() % 100;
		break;
	case EVENT_LOG:
		entry->object_bytes = draw() % 300;
		entry->text_offset = draw() % 50;
		entry->text_bytes = draw() % 50;
		break;
	case EVENT_POSTBACK:
		postback->method = draw() % POSTBACK_METHOD_COUNT;
		postback->url_bytes = draw() % 100;
		postback->data_bytes = draw() % 20;
		break;
	case EVENT_DELIVERY:
		delivery->method = (uint8_t)(draw() % POSTBACK_METHOD_COUNT);
		delivery->outcome = (uint8_t)(draw() % OUTCOME_COUNT);
		delivery->endpoint_bytes = draw() % 50;
		delivery->url_bytes = draw() % 100;
		delivery->error_bytes = draw() % 50;
		delivery->body_bytes = draw() % 100;
		break;
	}
}

/* Whatever lies in a payload, the result is JSON and the text goes round when it is UTF-8. */
static void random_payloads_become_json_that_a_parser_takes(void **state)
{
	(void)state;
	static const uint16_t types[] = {EVENT_IP,  EVENT_RAW,      EVENT_METRIC,   EVENT_TRACK_RAW,
	                                 EVENT_LOG, EVENT_POSTBACK, EVENT_DELIVERY, EVENT_OUTSIDE};
	unsigned taken = 0;
	for (unsigned i = 0; i < 60000; i++) {
		union slot slot;
		uint32_t length = draw() % 600;
		unsigned char *payload = record_put(&slot, types[draw() % 8], length);
		bool high = draw() % 2;
		for (uint32_t at = 0; at < length; at++)
			payload[at] = (unsigned char)(high ? draw() : draw() % 128);
		if (draw() % 4 != 0 && length >= 64)
			make_lengths_small(&slot.record, payload);
		/* As long as its fields say, if it can be: with a byte more or less it is
		 * refused. */
		while (!event_check(&slot.record) && slot.record.length > 0)
			slot.record.length--;
		if (slot.record.length > 0 && slot.record.type < EVENT_OUTSIDE) {
			slot.record.length++;
			assert_false(event_check(&slot.record));
			slot.record.length -= 2;
			assert_false(event_check(&slot.record));
			slot.record.length++;
		}
		if (!event_check(&slot.record))
			continue;
		json_decref(parsed(&slot.record));
		taken++;
	}
	assert_true(taken > 20000);
}

static bool a_terminal_obeys(unsigned code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
	       code == 0x200f || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* Every character of Unicode: what a terminal would obey is escaped in all three forms, everything
 * else comes through, and JSON keeps its value. */
static void no_character_that_a_terminal_obeys_comes_out_as_it_is(void **state)
{
	(void)state;
	for (unsigned code = 1; code < 0x110000; code += code < 0x3000 ? 1 : 97) {
		if (code >= 0xd800 && code < 0xe000)
			continue;
		char in[8] = "[", raw[16], json[64], plain[64];
		size_t bytes = 1 + json_utf8(in + 1, code);
		in[bytes++] = ']';
		struct text text = {.at = json, .end = json + sizeof json - 1};
		text_string(&text, (const unsigned char *)in, bytes);
		*text.at = 0;
		struct text shown = {.at = plain, .end = plain + sizeof plain - 1};
		text_plain(&shown, (const unsigned char *)in, bytes);
		*shown.at = 0;
		char character[8] = "";
		memcpy(character, in + 1, bytes - 2);
		assert_int_equal(strstr(json, character) == NULL, a_terminal_obeys(code));
		assert_int_equal(strstr(plain, character) == NULL, a_terminal_obeys(code));
		json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
		assert_int_equal(json_string_length(value), bytes);
		assert_memory_equal(json_string_value(value), in, bytes);
		json_decref(value);
		if (code < 0x7f)
			continue;
		snprintf(raw, sizeof raw, "\"%.*s\"", (int)bytes, in);
		text = (struct text){.at = json, .end = json + sizeof json - 1};
		text_json(&text, (const unsigned char *)raw, strlen(raw));
		*text.at = 0;
		assert_int_equal(strcmp(json, raw) != 0, a_terminal_obeys(code));
		value = json_loads(json, JSON_DECODE_ANY, NULL);
		assert_memory_equal(json_string_value(value), in, bytes);
		json_decref(value);
	}
}

static void text_for_a_terminal_is_escaped_byte_by_byte_where_it_is_no_utf8(void **state)
{
	(void)state;
	char out[64];
	static const unsigned char in[] = "a\n\x1b[31m\x7f\x9b\xc2\x9b\xe2\x80\xae\xc3\xa9\"\\\xff";
	struct text text = {.at = out, .end = out + sizeof out - 1};
	text_plain(&text, in, sizeof in - 1);
	*text.at = 0;
	assert_string_equal(out, "a\\x0a\\x1b[31m\\x7f\\x9b\\x9b\\u202e\xc3\xa9\"\\\\xff");
}

static void validity_of_utf8_is_that_of_unicode(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		bool valid;
	} cases[] = {
	        {"", true},
	        {"\x7f", true},
	        {"\xc2\x80", true},
	        {"\xdf\xbf", true},
	        {"\xe0\xa0\x80", true},
	        {"\xef\xbf\xbf", true},
	        {"\xed\x9f\xbf", true},
	        {"\xee\x80\x80", true},
	        {"\xf0\x90\x80\x80", true},
	        {"\xf4\x8f\xbf\xbf", true},
	        {"\x80", false},
	        {"\xc0\x80", false},
	        {"\xc1\xbf", false},
	        {"\xc2", false},
	        {"\xc2 ", false},
	        {"\xe0\x9f\xbf", false},
	        {"\xe2\x82", false},
	        {"\xed\xa0\x80", false},
	        {"\xf0\x8f\xbf\xbf", false},
	        {"\xf4\x90\x80\x80", false},
	        {"\xf5\x80\x80\x80", false},
	        {"\xff", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(text_valid((const unsigned char *)cases[i].bytes, strlen(cases[i].bytes)),
		                 cases[i].valid);
}

static void an_id_of_a_postback_is_32_digits(void **state)
{
	(void)state;
	uint64_t id[2];
	assert_true(event_postback_parse_id(id, "00000000000000070123456789abcDEF", 32));
	assert_true(id[0] == 7 && id[1] == 0x0123456789abcdef);
	assert_false(event_postback_parse_id(id, "", 0));
	assert_false(event_postback_parse_id(id, "0000000000000007123456789abcDEF", 31));
	assert_false(event_postback_parse_id(id, "00000000000000070123456789abcDEF0", 33));
	assert_false(event_postback_parse_id(id, "00000000000000070123456789abcDEg", 32));
}

int main(void)
{
	alarm(60);
	const char *given = getenv("MILLRACE_SEED");
	seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 20261121u;
	print_message("seed %u\n", seed);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_ip_event_has_the_fields_of_the_wire_and_who_sent_it),
	        cmocka_unit_test(fields_for_filters_are_those_of_the_json),
	        cmocka_unit_test(the_names_of_fields_can_be_listed),
	        cmocka_unit_test(text_is_escaped_and_broken_utf8_shown_byte_by_byte),
	        cmocka_unit_test(raw_bytes_are_text_when_they_are_text_and_hexadecimal_when_not),
	        cmocka_unit_test(a_tracking_call_has_its_parts_and_the_clients_time_only_when_given),
	        cmocka_unit_test(a_record_of_an_outside_program_is_shown_as_bytes),
	        cmocka_unit_test(a_payload_shorter_than_its_fields_say_is_refused),
	        cmocka_unit_test(too_small_a_buffer_is_said_and_never_overrun),
	        cmocka_unit_test(random_payloads_become_json_that_a_parser_takes),
	        cmocka_unit_test(no_character_that_a_terminal_obeys_comes_out_as_it_is),
	        cmocka_unit_test(text_for_a_terminal_is_escaped_byte_by_byte_where_it_is_no_utf8),
	        cmocka_unit_test(validity_of_utf8_is_that_of_unicode),
	        cmocka_unit_test(an_id_of_a_postback_is_32_digits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
