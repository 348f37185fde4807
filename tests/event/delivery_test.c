/* Attempts to deliver postbacks, as JSON and as filter values: what a stranger's server answers
 * included. */
#include "event/event.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "event/filter.h"
#include "tests/fixture/event_slot.h"

static const struct event_delivery example = {.arrival_ns = 1760000000123456789u,
                                              .source_port = 443,
                                              .status = 503,
                                              .attempt = 2,
                                              .id = {0x0123456789abcdef, 0xfedcba9876543210},
                                              .postback_ns = 1759999990000999999u,
                                              .next_ms = 1760000005123,
                                              .dns_us = 1,
                                              .connect_us = 2,
                                              .tls_us = 3,
                                              .first_byte_us = 4,
                                              .total_us = UINT32_MAX,
                                              .method = POSTBACK_PUT,
                                              .outcome = OUTCOME_AGAIN};

static struct record *delivery_record(union slot *slot, const struct event_delivery *from,
                                      const char *endpoint, const char *url, const char *error,
                                      const void *body, uint32_t bytes)
{
	struct event_delivery event = *from;
	memcpy(event.source, loopback, sizeof loopback);
	event.endpoint_bytes = (uint16_t)strlen(endpoint);
	event.url_bytes = (uint32_t)strlen(url);
	event.error_bytes = (uint16_t)strlen(error);
	event.body_bytes = bytes;
	char *at =
	        record_put(slot, EVENT_DELIVERY,
	                   (uint32_t)(sizeof event + strlen(endpoint) + strlen(url) + strlen(error) + bytes));
	memcpy(at, &event, sizeof event);
	at = mempcpy(at + sizeof event, endpoint, strlen(endpoint));
	at = mempcpy(at, url, strlen(url));
	at = mempcpy(at, error, strlen(error));
	memcpy(at, body, bytes);
	return &slot->record;
}

static void an_attempt_shows_what_became_of_it(void **state)
{
	(void)state;
	union slot slot;
	assert_json(
	        delivery_record(&slot, &example, "https://h/{a}", "https://h/x?token=***", "busy", "later",
	                        5),
	        "g-delivery-0", 8,
	        "{\"id\":\"g-delivery-0-8\",\"ts\":1760000000123,\"ip\":\"127.0.0.1\",\"postback\":\"0123456789abcdeffedcba9876543210\","
	        "\"endpoint\":\"https://h/{a}\",\"method\":\"PUT\",\"url\":\"https://h/x?token=***\",\"attempt\":2,\"outcome\":\"again\","
	        "\"status\":503,\"error\":\"busy\",\"dns_us\":1,\"connect_us\":2,\"tls_us\":3,\"first_byte_us\":4,\"total_us\":4294967295,"
	        "\"next_ts\":1760000005123,\"postback_ts\":1759999990000,\"body\":\"later\"}");
}

static void what_there_was_not_is_left_out(void **state)
{
	(void)state;
	union slot slot;
	struct event_delivery last = example;
	last.next_ms = 0;
	last.outcome = OUTCOME_DELIVERED;
	struct record *record = delivery_record(&slot, &last, "", "", "", "", 0);
	memset(((struct event_delivery *)(void *)record->payload)->source, 0, 16);
	json_t *object = parsed(record);
	assert_true(json_is_null(json_object_get(object, "ip")));
	assert_null(json_object_get(object, "error"));
	assert_null(json_object_get(object, "next_ts"));
	assert_text(object, "body", "");
	assert_text(object, "outcome", "delivered");
	json_decref(object);
	char value[8];
	assert_int_equal(event_field(value, sizeof value, record, "error"), -ENOENT);
	assert_int_equal(event_field(value, sizeof value, record, "next_ts"), -ENOENT);
}

static void the_body_of_a_stranger_is_text_or_hexadecimal(void **state)
{
	(void)state;
	union slot slot;
	char out[1024];
	struct record *record =
	        delivery_record(&slot, &example, "e", "u", "", "\x1b[2J\xe2\x80\xae\"\xc3\xa9", 10);
	int n = event_json(out, sizeof out - 1, record, origin, 0);
	assert_true(n > 0);
	out[n] = '\0';
	assert_non_null(strstr(out, "\"body\":\"\\u001b[2J\\u202e\\\"\xc3\xa9\"}"));
	json_t *object = parsed(delivery_record(&slot, &example, "e", "u", "", "\xff\0a", 3));
	assert_null(json_object_get(object, "body"));
	assert_text(object, "body_hex", "ff0061");
	json_decref(object);
}

static void fields_of_attempts_are_found_by_filters(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = delivery_record(&slot, &example, "https://h/a", "https://h/a?b", "e", "x", 1);
	static const char *const right[] = {"outcome=again",
	                                    "endpoint=https://h/a",
	                                    "postback=0123456789ABCDEFfedcba9876543210",
	                                    "url=https://h/a?b",
	                                    "status=503",
	                                    "attempt=2",
	                                    "method=PUT",
	                                    "ip=127.0.0.1",
	                                    "source=::ffff:127.0.0.1",
	                                    "error=e",
	                                    "body=x",
	                                    "next_ts=1760000005123"};
	static const char *const wrong[] = {"outcome=dead", "status=50", "postback=0", "error="};
	struct filters filters;
	struct filters_why why;
	assert_int_equal(filters_init(&filters, EVENT_DELIVERY, "delivery", right,
	                              sizeof right / sizeof right[0], &why),
	                 0);
	assert_true(filters_hold(&filters, record));
	filters_fini(&filters);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(filters_init(&filters, EVENT_DELIVERY, "delivery", &wrong[i], 1, &why), 0);
		assert_false(filters_hold(&filters, record));
		filters_fini(&filters);
	}
	static const char *const unknown[] = {"color=red"};
	assert_int_equal(filters_init(&filters, EVENT_DELIVERY, "delivery", unknown, 1, &why), -EINVAL);
	assert_string_equal(
	        why.text,
	        "events of delivery have no field \"color\"; they have: ts, ip, postback, endpoint, method, url, attempt, outcome, "
	        "status, error, dns_us, connect_us, tls_us, first_byte_us, total_us, next_ts, postback_ts, body");
	filters_fini(&filters);
}

static void a_payload_that_its_fields_do_not_describe_is_refused(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = delivery_record(&slot, &example, "e", "u", "err", "body", 4);
	struct event_delivery *event = (void *)record->payload;
	assert_true(event_check(record));
	for (int by = -1; by <= 1; by += 2) {
		record->length += (unsigned)by;
		assert_false(event_check(record));
		record->length -= (unsigned)by;
	}
	event->body_bytes = UINT32_MAX;
	event->url_bytes = 9;
	assert_false(event_check(record));
	event->body_bytes = 4;
	event->url_bytes = 1;
	event->outcome = OUTCOME_COUNT;
	assert_false(event_check(record));
	event->outcome = OUTCOME_GONE;
	event->method = POSTBACK_METHOD_COUNT;
	assert_false(event_check(record));
	event->method = POSTBACK_GET;
	record->length = sizeof *event - 1;
	assert_false(event_check(record));
	assert_string_equal(delivery_outcome_name(OUTCOME_DEAD), "dead");
	assert_null(delivery_outcome_name(OUTCOME_COUNT));
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_attempt_shows_what_became_of_it),
	        cmocka_unit_test(what_there_was_not_is_left_out),
	        cmocka_unit_test(the_body_of_a_stranger_is_text_or_hexadecimal),
	        cmocka_unit_test(fields_of_attempts_are_found_by_filters),
	        cmocka_unit_test(a_payload_that_its_fields_do_not_describe_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
