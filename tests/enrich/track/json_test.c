/* Tracking events as JSON and as filter values: the query as an object. */
#include "tests/fixture/event_slot.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "event/params.h"
#include "event/query.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/track_make.h"

static void the_example_has_these_members_in_this_order(void **state)
{
	(void)state;
	struct track_make make = track_example;
	char out[1024];
	make.country = "DE";
	make.city = "K\xc3\xb6ln";
	struct record *record = track_make(&make);
	int n = event_json(out, sizeof out - 1, record, "g-track-0", 96);
	assert_true(n > 0);
	out[n] = '\0';
	assert_string_equal(
	        out,
	        "{\"id\":\"g-track-0-96\",\"ts\":1510826008003,\"ip\":\"172.17.0.1\",\"type\":\"app_open\",\"params\":{\"deviceid\":\"abcdf\",\"ts\":\"123456\",\"referrer\":\"website\"},"
	        "\"host\":\"192.168.64.2\",\"pod\":\"10.0.0.7\",\"klag\":266,\"country\":\"DE\",\"city\":\"K\xc3\xb6ln\",\"device\":\"Desktop\",\"browser\":\"Firefox\",\"engine\":\"Gecko\","
	        "\"version\":\"56.0\",\"os\":\"Mac\"}");
	free(record);
}

static void the_clients_time_and_its_wish_are_there_when_they_were_given(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.client_ts_ms = 1510826008001;
	make.flags = EVENT_TRACK_DNT;
	struct record *record = track_make(&make);
	json_t *object = parsed(record);
	assert_number(object, "client_ts", 1510826008001);
	assert_true(json_is_true(json_object_get(object, "dnt")));
	json_decref(object);
	free(record);
}

static void what_is_unknown_is_said_to_be(void **state)
{
	(void)state;
	struct track_make make = {.type = "a"};
	struct record *record = track_make(&make);
	json_t *object = parsed(record);
	assert_text(object, "country", "XX");
	assert_text(object, "city", "XX");
	assert_text(object, "browser", "");
	assert_true(json_is_null(json_object_get(object, "ip")));
	assert_int_equal(json_object_size(json_object_get(object, "params")), 0);
	json_decref(object);
	free(record);
}

static void fields_for_filters_have_the_names_of_the_json(void **state)
{
	(void)state;
	struct record *record = track_make(&track_example);
	assert_field(record, "type", "app_open");
	assert_field(record, "ip", "172.17.0.1");
	assert_field(record, "source", "172.17.0.1");
	assert_field(record, "klag", "266");
	assert_field(record, "country", "XX");
	assert_field(record, "device", "Desktop");
	assert_field(record, "os", "Mac");
	assert_field(record, "params", track_example.query);
	assert_field(record, "query", track_example.query);
	char value[8];
	assert_int_equal(event_field(value, sizeof value, record, "dnt"), -ENOENT);
	assert_int_equal(event_field(value, sizeof value, record, "user_agent"), -ENOENT);
	assert_true(event_field_known(EVENT_TRACK, "query"));
	assert_string_equal(event_field_name(EVENT_TRACK, 3), "params");
	free(record);
}

static void assert_params(const char *query, size_t bytes, const char *expected)
{
	char out[1024];
	struct text text = {.at = out, .end = out + sizeof out - 1};
	event_params_put(&text, query, bytes);
	assert_false(text.full);
	*text.at = '\0';
	assert_string_equal(out, expected);
}

static void queries_become_objects(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	        {"", "{}"},
	        {"&&&", "{}"},
	        {"a", "{\"a\":\"\"}"},
	        {"a=", "{\"a\":\"\"}"},
	        {"=b", "{\"\":\"b\"}"},
	        {"a=b=c", "{\"a\":\"b=c\"}"},
	        {"&a=1&&b=2&", "{\"a\":\"1\",\"b\":\"2\"}"},
	        {"b=1&a=2&b=3&c=4&b=5", "{\"b\":[\"1\",\"3\",\"5\"],\"a\":\"2\",\"c\":\"4\"}"},
	        {"tag=a&tag=a", "{\"tag\":[\"a\",\"a\"]}"},
	        {"a=1&%61=2&A=3", "{\"a\":[\"1\",\"2\"],\"A\":\"3\"}"},
	        {"a+b=c+d&a%20b=%2B", "{\"a b\":[\"c d\",\"+\"]}"},
	        {"q=caf%C3%A9", "{\"q\":\"caf\xc3\xa9\"}"},
	        {"q=caf%E9", "{\"q\":\"caf\\u00e9\"}"},
	        {"q=%22%5C%0A%00", "{\"q\":\"\\\"\\\\\\n\\u0000\"}"},
	        {"q=100%&r=%zz&s=%4&t=%", "{\"q\":\"100%\",\"r\":\"%zz\",\"s\":\"%4\",\"t\":\"%\"}"},
	        {"q=%3D%26", "{\"q\":\"=&\"}"},
	        {"x=%F0%9F%98%80", "{\"x\":\"\xf0\x9f\x98\x80\"}"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_params(cases[i][0], strlen(cases[i][0]), cases[i][1]);
}

/* The slow way: for each pair, all others. */
static json_t *params_by_pairs(const char *text, size_t bytes)
{
	json_t *object = json_object();
	struct query query = {text, text + bytes};
	struct query_pair pair;
	while (query_next(&query, &pair)) {
		char name[64], value[64];
		size_t name_bytes = query_decode(name, pair.name, pair.name_bytes);
		size_t value_bytes = query_decode(value, pair.value, pair.value_bytes);
		json_t *string = json_stringn(value, value_bytes);
		name[name_bytes] = '\0';
		json_t *before = json_object_get(object, name);
		if (before == NULL)
			assert_int_equal(json_object_set_new(object, name, string), 0);
		else if (json_is_array(before))
			assert_int_equal(json_array_append_new(before, string), 0);
		else
			assert_int_equal(
			        json_object_set_new(object, name, json_pack("[O,o]", before, string)), 0);
	}
	return object;
}

static void random_queries_become_what_pair_by_pair_comparison_makes_of_them(void **state)
{
	(void)state;
	static const char *const pieces[] = {"a", "b", "c", "%61", "%C3%A9", "\xc3\xa9", "+",  "%20",
	                                     "=", "=", "&", "&",   "&",      "1",        "%zz"};
	for (unsigned i = 0; i < 50000; i++) {
		char query[60] = "", out[4096];
		for (unsigned n = draw_below(25); n > 0 && strlen(query) < 50; n--)
			strcat(query, pieces[draw_below(sizeof pieces / sizeof pieces[0])]);
		struct text text = {.at = out, .end = out + sizeof out};
		event_params_put(&text, query, strlen(query));
		assert_false(text.full);
		json_error_t error;
		json_t *made = json_loadb(out, (size_t)(text.at - out), JSON_REJECT_DUPLICATES, &error);
		json_t *expected = params_by_pairs(query, strlen(query));
		if (made == NULL || !json_equal(made, expected))
			fail_msg("%s became %.*s", query, (int)(text.at - out), out);
		json_decref(made);
		json_decref(expected);
	}
}

/* As many parameters as there may be, all of one name or all different; one more, and the query
 * comes as text. */
static void a_query_of_thousands_of_parameters_is_an_object_up_to_the_limit(void **state)
{
	(void)state;
	size_t room = (EVENT_PARAMS_MAX + 1) * 16;
	char *query = malloc(room), *out = malloc(4 * room);
	for (unsigned same = 0; same < 2; same++) {
		for (unsigned n = EVENT_PARAMS_MAX; n <= EVENT_PARAMS_MAX + 1; n++) {
			size_t bytes = 0;
			for (unsigned i = 0; i < n; i++)
				bytes += (size_t)sprintf(query + bytes, "&k%u=%u", same ? 0 : i, i);
			struct text text = {.at = out, .end = out + 4 * room};
			event_params_put(&text, query, bytes);
			assert_false(text.full);
			json_t *made = json_loadb(out, (size_t)(text.at - out),
			                          JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
			assert_non_null(made);
			if (n > EVENT_PARAMS_MAX)
				assert_memory_equal(json_string_value(made), query, bytes);
			else if (same)
				assert_int_equal(json_array_size(json_object_get(made, "k0")), n);
			else
				assert_int_equal(json_object_size(made), n);
			json_decref(made);
		}
	}
	free(query);
	free(out);
}

/* Decoding uses the end of the buffer: whatever its size, nothing after it is touched, and what
 * was said to fit is right. */
static void a_buffer_of_any_size_is_enough_or_said_to_be_too_small(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.query = "a=%41%42+c&b=1&a=%0A%0A%0A%0A%0A%0A%0A%0A&%C3%A9=x";
	struct record *record = track_make(&make);
	char whole[2048];
	int n = event_json(whole, sizeof whole, record, origin, 720);
	assert_true(n > 0);
	int first = 0;
	for (int size = 0; size <= n + 64; size++) {
		char *exact = malloc((size_t)size + 1);
		exact[size] = '!';
		int got = event_json(exact, (size_t)size, record, origin, 720);
		assert_int_equal(exact[size], '!');
		assert_true(got == -ENOSPC || got == n);
		if (got == n)
			assert_memory_equal(exact, whole, (size_t)n);
		if (got == n && first == 0)
			first = size;
		assert_true(first == 0 || got == n);
		free(exact);
	}
	assert_true(first >= n && first <= n + 64);
	free(record);
}

int main(void)
{
	alarm(60);
	draw_init(20261121);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_has_these_members_in_this_order),
	        cmocka_unit_test(the_clients_time_and_its_wish_are_there_when_they_were_given),
	        cmocka_unit_test(what_is_unknown_is_said_to_be),
	        cmocka_unit_test(fields_for_filters_have_the_names_of_the_json),
	        cmocka_unit_test(queries_become_objects),
	        cmocka_unit_test(random_queries_become_what_pair_by_pair_comparison_makes_of_them),
	        cmocka_unit_test(a_query_of_thousands_of_parameters_is_an_object_up_to_the_limit),
	        cmocka_unit_test(a_buffer_of_any_size_is_enough_or_said_to_be_too_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
