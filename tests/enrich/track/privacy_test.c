/* What privacy options leave out, and what they leave alone. */
#include "tests/fixture/event_slot.h"

#include <stdio.h>
#include <unistd.h>

#include "enrich/track/privacy.h"
#include "event/line.h"
#include "event/query.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/track_make.h"

static void ipv4_keeps_24_bits_and_ipv6_48(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint8_t address[16], cut[16];
		for (unsigned at = 0; at < 16; at++)
			address[at] = (uint8_t)draw();
		bool mapped = draw_one_in(2);
		if (mapped) {
			memset(address, 0, 10);
			address[10] = address[11] = 0xff;
		}
		memcpy(cut, address, 16);
		privacy_truncate(cut);
		unsigned kept = mapped ? 15 : 6;
		for (unsigned at = 0; at < 16; at++)
			assert_int_equal(cut[at], at < kept ? address[at] : 0);
	}
}

static void assert_dropped(const char *query, const char *expected)
{
	static const char *const names[] = {"uid", "e mail", "", "caf\xc3\xa9"};
	char out[128];
	size_t n = privacy_drop(out, query, strlen(query), names, 4);
	out[n] = '\0';
	assert_string_equal(out, expected);
	strcpy(out, query); /* in place */
	n = privacy_drop(out, out, strlen(query), names, 4);
	out[n] = '\0';
	assert_string_equal(out, expected);
}

static void named_parameters_go_and_the_rest_stays_byte_for_byte(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	        {"", ""},
	        {"a=1", "a=1"},
	        {"uid=1", ""},
	        {"uid", ""},
	        {"uid=1&a=2", "a=2"},
	        {"a=2&uid=1", "a=2"},
	        {"a=1&uid=2&b=3", "a=1&b=3"},
	        {"uid=1&uid=2&%75%69%64=3", ""},
	        {"UID=1&uida=2&ui=3&x=uid", "UID=1&uida=2&ui=3&x=uid"},
	        {"e+mail=1&e%20mail=2&email=3&e%2Bmail=4", "email=3&e%2Bmail=4"},
	        {"caf%C3%A9=1&caf%c3%a9=2&caf\xc3\xa9=3&cafe=4", "cafe=4"},
	        {"=1&a", "a"},
	        {"a=%zz+%41&&b=&c", "a=%zz+%41&&b=&c"},
	        {"&a&", "&a&"},
	        {"&uid&", "&"},
	        {"a=uid=1&b", "a=uid=1&b"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_dropped(cases[i][0], cases[i][1]);
}

/* The pairs with other names remain, in their order, as they were. */
static void random_queries_lose_the_named_pairs_and_no_other(void **state)
{
	(void)state;
	static const char *const pieces[] = {"uid", "u", "%75id", "id", "=", "&", "&", "%", "+", "x"};
	static const char *const names[] = {"uid"};
	for (unsigned i = 0; i < 50000; i++) {
		char query[80] = "", out[80];
		for (unsigned n = draw_below(16); n > 0; n--)
			strcat(query, pieces[draw_below(sizeof pieces / sizeof pieces[0])]);
		size_t bytes = privacy_drop(out, query, strlen(query), names, 1);
		struct query before = {query, query + strlen(query)}, after = {out, out + bytes};
		struct query_pair was, is;
		while (query_next(&before, &was)) {
			if (query_is(was.name, was.name_bytes, "uid", 3))
				continue;
			assert_true(query_next(&after, &is));
			assert_int_equal(is.name_bytes, was.name_bytes);
			assert_int_equal(is.value_bytes, was.value_bytes);
			assert_memory_equal(is.name, was.name, was.name_bytes);
			assert_memory_equal(is.value, was.value, was.value_bytes);
		}
		assert_false(query_next(&after, &is));
	}
}

static const struct track_make whole = {
        .type = "buy",
        .query = "item=7&uid=123&price=9",
        .host = "shop.example",
        .pod = "pod1",
        .device = "Mobile",
        .browser = "Chrome",
        .os = "Android",
        .country = "SE",
        .city = "Stockholm",
        .address = track_example_address,
        .arrival_ms = 5,
        .client_ts_ms = 4,
};

/* The line after the options, with what has to be true of the record whatever they are. */
static const char *applied(const struct privacy *privacy, const struct track_make *make)
{
	static char line[1024];
	struct record *record = track_make(make);
	struct event_track *event = (void *)record->payload;
	uint32_t length = privacy_apply(privacy, event);
	assert_true(length <= record->length);
	record->length = length;
	assert_true(event_check(record));
	int n = event_line(line, sizeof line - 1, record);
	assert_true(n > 0);
	line[n] = '\0';
	free(record);
	return line;
}

#define META "type=Mobile&browser=Chrome&engine=&version=&os=Android&host=shop.example&pod=pod1&ts=5&"

static void options_that_are_off_change_nothing(void **state)
{
	(void)state;
	struct track_make make = whole;
	make.flags = EVENT_TRACK_DNT;
	assert_string_equal(applied(&(struct privacy){0}, &make),
	                    "buy " META
	                    "ip=ffffac110001&klag=0&country=SE&city=Stockholm item=7&uid=123&price=9");
}

static void each_option_leaves_out_its_own(void **state)
{
	(void)state;
	static const char *const names[] = {"uid", "price"};
	assert_string_equal(applied(&(struct privacy){.truncate = true}, &whole),
	                    "buy " META
	                    "ip=ffffac110000&klag=0&country=SE&city=Stockholm item=7&uid=123&price=9");
	assert_string_equal(applied(&(struct privacy){.drop = names, .n_drop = 2}, &whole),
	                    "buy " META "ip=ffffac110001&klag=0&country=SE&city=Stockholm item=7");
	struct track_make only = whole;
	only.query = "uid=9";
	assert_string_equal(applied(&(struct privacy){.drop = names, .n_drop = 2}, &only),
	                    "buy " META "ip=ffffac110001&klag=0&country=SE&city=Stockholm e");
}

static void of_a_client_that_asked_not_to_be_tracked_only_what_many_share_is_kept(void **state)
{
	(void)state;
	static const char *const names[] = {"uid"};
	struct track_make make = whole;
	const struct privacy dnt = {.honour_dnt = true},
	                     all = {.truncate = true, .honour_dnt = true, .drop = names, .n_drop = 1};
	assert_string_equal(applied(&dnt, &make),
	                    "buy " META
	                    "ip=ffffac110001&klag=0&country=SE&city=Stockholm item=7&uid=123&price=9");
	make.flags = EVENT_TRACK_DNT;
	assert_string_equal(applied(&dnt, &make), "buy " META "ip=0&klag=0&country=SE&city=XX e");
	assert_string_equal(applied(&all, &make), "buy " META "ip=0&klag=0&country=SE&city=XX e");
	struct record *record = track_make(&make);
	record->length = privacy_apply(&dnt, (void *)record->payload);
	json_t *object = parsed(record);
	assert_true(json_is_true(json_object_get(object, "dnt")));
	assert_true(json_is_null(json_object_get(object, "ip")));
	assert_null(json_object_get(object, "client_ts"));
	assert_int_equal(((const struct event_track *)(const void *)record->payload)->source_port, 0);
	json_decref(object);
	free(record);
}

int main(void)
{
	alarm(60);
	draw_init(20261121);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ipv4_keeps_24_bits_and_ipv6_48),
	        cmocka_unit_test(named_parameters_go_and_the_rest_stays_byte_for_byte),
	        cmocka_unit_test(random_queries_lose_the_named_pairs_and_no_other),
	        cmocka_unit_test(options_that_are_off_change_nothing),
	        cmocka_unit_test(each_option_leaves_out_its_own),
	        cmocka_unit_test(of_a_client_that_asked_not_to_be_tracked_only_what_many_share_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
