/* Events that HTTP clients send, as JSON and as filter values: the client's address, log events,
 * postbacks. */
#include "event/event.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "event/literal.h"
#include "tests/fixture/event_slot.h"

static void the_clients_address_is_ip_and_old_filters_find_it_as_source(void **state)
{
	(void)state;
	static const uint16_t types[] = {EVENT_METRIC, EVENT_TRACK_RAW, EVENT_LOG, EVENT_POSTBACK};
	for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
		union slot slot;
		struct event_head head = {.arrival_ns = 9000000, .source_port = 5};
		static const uint32_t bytes[] = {sizeof(struct event_metric), sizeof(struct event_track_raw),
		                                 sizeof(struct event_log), sizeof(struct event_postback)};
		char *at = record_put(&slot, types[i], bytes[i]);
		memset(at, 0, bytes[i]);
		memcpy(head.source, loopback, sizeof loopback);
		memcpy(at, &head, offsetof(struct event_head, reserved));
		json_t *object = parsed(&slot.record);
		assert_text(object, "ip", "127.0.0.1");
		assert_number(object, "ts", 9);
		assert_null(json_object_get(object, "source"));
		assert_null(json_object_get(object, "source_port"));
		json_decref(object);
		assert_field(&slot.record, "ip", "127.0.0.1");
		assert_field(&slot.record, "source", "127.0.0.1");
		assert_true(event_field_known(types[i], "source"));
		assert_false(event_field_known(types[i], "source_port"));
	}
	assert_true(event_field_known(EVENT_IP, "sha") && event_field_known(EVENT_IP, "source_port"));
	assert_false(event_field_known(EVENT_METRIC, "sha"));
	assert_false(event_field_known(EVENT_OUTSIDE, "source"));
}

static void a_log_event_shows_its_text_as_the_client_wrote_it(void **state)
{
	(void)state;
	union slot slot;
	static const char object[] = "{\"text\":\"a\\u20ac\\\"\\n\\ud83d\\ude00\",\"more\":1}";
	struct record *record = log_record(&slot, object, object + 8, strlen(object) - 18);
	assert_json(
	        record, "g-log-0", 8,
	        "{\"id\":\"g-log-0-8\",\"ts\":1760000000123,\"ip\":\"127.0.0.1\",\"client_id\":-7,\"content_id\":9223372036854775807,"
	        "\"timestamp\":1586846680064,\"text\":\"a\\u20ac\\\"\\n\\ud83d\\ude00\"}");
	assert_field(record, "client_id", "-7");
	assert_field(record, "text", "a\xe2\x82\xac\"\n\xf0\x9f\x98\x80");
	record->length--;
	assert_false(event_check(record));
	record->length++;
	((struct event_log *)(void *)record->payload)->text_bytes += 11;
	assert_false(event_check(record));
}

static void a_text_that_is_no_json_string_is_shown_as_bytes_in_one(void **state)
{
	(void)state;
	static const char *const broken[] = {"",
	                                     "\"",
	                                     "\"a",
	                                     "a\"",
	                                     "\"a\"b\"",
	                                     "\"\\\"",
	                                     "\"\\x\"",
	                                     "\"\n\"",
	                                     "\"\xff\"",
	                                     "\"\xed\xa0\x80\"",
	                                     "\"\\ud800\"",
	                                     "\"\\udc00\"",
	                                     "\"\\u00g0\"",
	                                     "\"\\u12\"",
	                                     "\"\\ud83d\\u0041\"",
	                                     "{}",
	                                     "\"\\ud83d\\ude0\"",
	                                     "\"a\"}"};
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
		union slot slot;
		struct record *record = log_record(&slot, broken[i], broken[i], strlen(broken[i]));
		json_t *object = parsed(record);
		assert_true(json_is_string(json_object_get(object, "text")));
		assert_field(record, "text", broken[i]);
		json_decref(object);
	}
}

static uint32_t put_postback(void *payload, enum postback_method method, const char *url, const char *data)
{
	struct event_postback event = {.arrival_ns = 5000000,
	                               .method = (uint16_t)method,
	                               .url_bytes = (uint32_t)strlen(url),
	                               .data_bytes = (uint32_t)strlen(data),
	                               .id = {0x0123456789abcdef, 0xfedcba9876543210}};
	memcpy(event.source, loopback, sizeof loopback);
	memcpy(payload, &event, sizeof event);
	memcpy((char *)payload + sizeof event, url, strlen(url));
	memcpy((char *)payload + sizeof event + strlen(url), data, strlen(data));
	return (uint32_t)(sizeof event + strlen(url) + strlen(data));
}

static void a_postback_shows_its_own_id_and_its_data_as_an_object(void **state)
{
	(void)state;
	union slot slot;
	uint32_t length = put_postback(&slot, POSTBACK_PATCH, "http://h/?a={\"b\"}",
	                               "{\"a\":\"\\u20ac\",\"b\":-1.50e+3,\"c\":null,\"d\":true}");
	char out[1024];
	int n = event_postback_json(out, sizeof out, &slot, length);
	assert_true(n > 0);
	out[n] = 0;
	assert_string_equal(
	        out,
	        "{\"id\":\"0123456789abcdeffedcba9876543210\",\"ts\":5,\"ip\":\"127.0.0.1\",\"method\":\"PATCH\",\"url\":\"http://h/?a={\\\"b\\\"}\","
	        "\"data\":{\"a\":\"\\u20ac\",\"b\":-1.50e+3,\"c\":null,\"d\":true}}");
	n = event_postback_field(out, sizeof out, &slot, length, "method");
	assert_int_equal(n, 5);
	assert_memory_equal(out, "PATCH", 5);
	assert_true(event_postback_check(&slot, length));
	assert_false(event_postback_check(&slot, length - 1));
	assert_false(event_postback_check(&slot, sizeof(struct event_postback) - 1));
	((struct event_postback *)(void *)&slot)->method = POSTBACK_METHOD_COUNT;
	assert_false(event_postback_check(&slot, length));
	assert_null(postback_method_name(POSTBACK_METHOD_COUNT));
}

static void data_that_is_no_object_is_shown_as_text(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		bool object;
	} cases[] = {
	        {"{}", true},
	        {"{\"\":0}", true},
	        {"{\"a\":-0.0,\"b\":1E-2,\"c\":false,\"d\":\"x\"}", true},
	        {"", false},
	        {"{", false},
	        {"{}}", false},
	        {"[]", false},
	        {"{\"a\":1", false},
	        {"{\"a\":1,}", false},
	        {"{\"a\":1 }", false},
	        {"{\"a\" :1}", false},
	        {"{\"a\":}", false},
	        {"{\"a\"}", false},
	        {"{\"a", false},
	        {"{a:1}", false},
	        {"{\"a\":{}}", true},
	        {"{\"a\":[]}", true},
	        {"{\"a\":[1,\"]\",{\"b\":[[],{}]}],\"c\":{\"d\":null}}", true},
	        {"{\"a\":[1,]}", false},
	        {"{\"a\":[,]}", false},
	        {"{\"a\":[1 ]}", false},
	        {"{\"a\":[1}", false},
	        {"{\"a\":{1}}", false},
	        {"{\"a\":{\"b\"}}", false},
	        {"{\"a\":[]]}", false},
	        {"{\"a\":[\"b\":1]}", false},
	        {"{\"a\":01}", false},
	        {"{\"a\":-}", false},
	        {"{\"a\":1.}", false},
	        {"{\"a\":1.e2}", false},
	        {"{\"a\":1e}", false},
	        {"{\"a\":1e+}", false},
	        {"{\"a\":.5}", false},
	        {"{\"a\":tru}", false},
	        {"{\"a\":truex}", false},
	        {"{\"a\":1}x", false},
	        {"{\"a\":1,\"b\":2}{", false},
	        {"{\"a\":1;\"b\":2}", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		union slot slot;
		char out[1024];
		uint32_t length = put_postback(&slot, POSTBACK_GET, "u", cases[i].data);
		int n = event_postback_json(out, sizeof out, &slot, length);
		json_t *object = json_loadb(out, n > 0 ? (size_t)n : 0, 0, NULL);
		json_t *data = json_object_get(object, "data");
		if (data == NULL || json_is_object(data) != cases[i].object)
			fail_msg("%s became %.*s", cases[i].data, n, out);
		if (!cases[i].object)
			assert_string_equal(json_string_value(data), cases[i].data);
		json_decref(object);
	}
}

static void data_is_followed_as_deep_as_it_can_come_in(void **state)
{
	(void)state;
	for (unsigned depth = EVENT_LITERAL_DEPTH_MAX - 1; depth <= EVENT_LITERAL_DEPTH_MAX; depth++) {
		char data[2 * EVENT_LITERAL_DEPTH_MAX + 8] = "{\"a\":";
		memset(data + 5, '[', depth);
		memset(data + 5 + depth, ']', depth);
		strcpy(data + 5 + 2 * depth, "}");
		assert_int_equal(event_literal_is_object(data, strlen(data)),
		                 depth < EVENT_LITERAL_DEPTH_MAX);
	}
	static char open[1 << 20];
	memset(open, '[', sizeof open);
	memcpy(open, "{\"a\":", 5);
	assert_false(event_literal_is_object(open, sizeof open));
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_clients_address_is_ip_and_old_filters_find_it_as_source),
	        cmocka_unit_test(a_log_event_shows_its_text_as_the_client_wrote_it),
	        cmocka_unit_test(a_text_that_is_no_json_string_is_shown_as_bytes_in_one),
	        cmocka_unit_test(a_postback_shows_its_own_id_and_its_data_as_an_object),
	        cmocka_unit_test(data_that_is_no_object_is_shown_as_text),
	        cmocka_unit_test(data_is_followed_as_deep_as_it_can_come_in),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
