/* Filters: what compiles, what is refused and how that is said, what matches. */
#include "event/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "tests/fixture/event_slot.h"

static struct record *ip_record(union slot *slot)
{
	struct event_ip event = {.arrival_ns = 1760000000123456789u, .source_port = 40001, .ip = 0x0a000001};
	memcpy(event.source, loopback, 16);
	memset(event.sha, 0xab, sizeof event.sha);
	memcpy(record_put(slot, EVENT_IP, sizeof event), &event, sizeof event);
	return &slot->record;
}

static bool matches(const struct record *record, const char *first, const char *second)
{
	struct filters filters;
	struct filters_why why = {""};
	const char *const text[] = {first, second};
	if (filters_init(&filters, record->type, "ip", text, second == NULL ? 1 : 2, &why) != 0)
		fail_msg("%s", why.text);
	bool held = filters_hold(&filters, record);
	filters_fini(&filters);
	return held;
}

static void assert_refused(uint16_t type, const char *const *text, size_t n, const char *said)
{
	struct filters filters;
	struct filters_why why = {""};
	assert_int_equal(filters_init(&filters, type, "ip", text, n, &why), -EINVAL);
	assert_string_equal(why.text, said);
	filters_fini(&filters);
}

static void all_filters_must_match(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = ip_record(&slot);
	assert_true(matches(record, "ip=10.0.0.1", NULL));
	assert_true(matches(record, "ip=10.0.0.1", "source_port=40001"));
	assert_false(matches(record, "ip=10.0.0.1", "source_port=4000"));
	assert_false(matches(record, "ip=10.0.0.2", "source_port=40001"));
}

static void spellings_of_addresses_and_digits_do_not_matter(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = ip_record(&slot);
	char sha[72] = "sha=";
	memset(sha + 4, 0, sizeof sha - 4);
	for (unsigned i = 0; i < 32; i++)
		memcpy(sha + 4 + 2 * i, "Ab", 2);
	assert_true(matches(record, sha, "source=::ffff:127.0.0.1"));
}

static void no_filter_matches_every_event(void **state)
{
	(void)state;
	union slot slot;
	struct filters filters;
	struct filters_why why;
	assert_int_equal(filters_init(&filters, EVENT_IP, "ip", NULL, 0, &why), 0);
	assert_true(filters_hold(&filters, ip_record(&slot)));
	filters_fini(&filters);
}

static void a_filter_that_cannot_be_is_refused_with_what_is_allowed(void **state)
{
	(void)state;
	const char *many[FILTERS_MAX + 1];
	for (unsigned i = 0; i < FILTERS_MAX + 1; i++)
		many[i] = "ip=10.0.0.1";
	assert_refused(EVENT_IP, many, FILTERS_MAX + 1, "at most 16 can be given");
	assert_refused(EVENT_IP, (const char *const[]){"noequals"}, 1, "\"noequals\" must be KEY=VALUE");
	assert_refused(EVENT_IP, (const char *const[]){"=x"}, 1, "\"=x\" must be KEY=VALUE");
	assert_refused(
	        EVENT_IP, (const char *const[]){"ip=10.0.0.1", "color=red"}, 2,
	        "events of ip have no field \"color\"; they have: ts, source, source_port, app_sha256, ip");
	assert_refused(
	        EVENT_IP, (const char *const[]){"ip.part=1"}, 1,
	        "events of ip have no field \"ip.part\"; they have: ts, source, source_port, app_sha256, ip");
}

static void records_of_any_type_are_asked_when_they_come(void **state)
{
	(void)state;
	union slot slot;
	struct filters filters;
	struct filters_why why;
	assert_int_equal(
	        filters_init(&filters, EVENT_NONE, "orders", (const char *const[]){"colour=red"}, 1, &why),
	        0);
	assert_false(filters_hold(&filters, ip_record(&slot)));
	filters_fini(&filters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(all_filters_must_match),
	        cmocka_unit_test(spellings_of_addresses_and_digits_do_not_matter),
	        cmocka_unit_test(no_filter_matches_every_event),
	        cmocka_unit_test(a_filter_that_cannot_be_is_refused_with_what_is_allowed),
	        cmocka_unit_test(records_of_any_type_are_asked_when_they_come),
	};
	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
