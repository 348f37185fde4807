/* Events from JSON, case by case and against jansson. Every text ends where a page ends that
 * nothing may be read behind, and so does the room of every payload. */
#include "ingest/json/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/json/scan.h"
#include "tests/fixture/draw.h"
#include "tests/fuzz/json_oracle.h"
#include "tests/fixture/page_end.h"

#define ROOM         (1u << 19)
#define RANDOM_TEXTS 300000u
#define N(array)     (sizeof array / sizeof *array)

static char *text_end, *payload_end;

struct outcome {
	enum ledger_reason reason;
	uint16_t type;
	uint32_t length;
	char *payload; /* full of 0xa5 but for what was written */
};

static struct outcome parse(const char *text, size_t bytes)
{
	struct outcome o;
	size_t room = (json_room(bytes) + 7) & ~(size_t)7;
	assert_true(bytes <= ROOM && room <= 4 * ROOM);
	o.payload = payload_end - room;
	memset(o.payload, 0xa5, room);
	memcpy(text_end - bytes, text, bytes);
	o.reason = json_event_parse(text_end - bytes, bytes, o.payload, &o.type, &o.length);
	assert_int_not_equal(json_oracle_event(text_end - bytes, bytes), JSON_DISAGREED);
	return o;
}

static void assert_reason(const char *text, enum ledger_reason expected)
{
	struct outcome o = parse(text, strlen(text));
	if (o.reason != expected)
		fail_msg("%s: reason %u, expected %u", text, o.reason, expected);
}

static void assert_metric(const char *text, const char *username, const char *metric, int64_t count)
{
	struct outcome o = parse(text, strlen(text));
	const struct event_metric *event = (const void *)o.payload;
	if (o.reason != LEDGER_VALID)
		fail_msg("%s: reason %u", text, o.reason);
	assert_int_equal(o.type, EVENT_METRIC);
	assert_true(event->count == count);
	assert_int_equal(event->username_bytes, strlen(username));
	assert_int_equal(event->metric_bytes, strlen(metric));
	assert_int_equal(o.length, sizeof *event + strlen(username) + strlen(metric));
	assert_memory_equal(event->text, username, strlen(username));
	assert_memory_equal(event->text + strlen(username), metric, strlen(metric));
}

static void assert_track(const char *text, const char *type, const char *query, uint64_t ts)
{
	struct outcome o = parse(text, strlen(text));
	const struct event_track_raw *event = (const void *)o.payload;
	if (o.reason != LEDGER_VALID)
		fail_msg("%s: reason %u", text, o.reason);
	assert_int_equal(o.type, EVENT_TRACK_RAW);
	assert_true(event->client_ts_ms == ts);
	assert_int_equal(event->type_bytes, strlen(type));
	assert_memory_equal(event->text, type, strlen(type));
	if (event->query_bytes != strlen(query) ||
	    memcmp(event->text + strlen(type), query, strlen(query)) != 0)
		fail_msg("%s: query %.*s, expected %s", text, (int)event->query_bytes,
		         event->text + strlen(type), query);
	assert_int_equal(event->agent_bytes + event->host_bytes, 0);
	assert_int_equal(o.length, sizeof *event + strlen(type) + strlen(query));
}

static void a_metric_event_is_read(void **state)
{
	(void)state;
	assert_metric("{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}",
	              "kodingbot", "kite_call", 12412414);
	assert_metric("\n{\"metric\":\"m\",\"count\":-9223372036854775808,\"username\":\"u\"} ", "u", "m",
	              INT64_MIN);
	assert_metric("{\"count\":-0,\"metric\":\"\\u00e9\\n\",\"username\":\"\\ud83d\\ude00\"}",
	              "\xf0\x9f\x98\x80", "\xc3\xa9\n", 0);
}

static void a_tracking_event_is_read(void **state)
{
	(void)state;
	assert_track("{\"type\":\"app_open\",\"ts\":1510826008003,\"params\":{\"klag\":3}}", "app_open",
	             "klag=3", 1510826008003);
	assert_track("{\"type\":\"a\"}", "a", "", 0);
	assert_track("{\"params\":{},\"type\":\"\\u002fa b\"}", "/a b", "", 0);
	assert_track("{\"type\":\"a\",\"ts\":0,\"username\":\"u\",\"count\":1,\"metric\":\"m\"}", "a", "", 0);
}

static void params_become_a_query_string(void **state)
{
	(void)state;
	static const struct {
		const char *params, *query;
	} cases[] = {
	        {"{}", ""},
	        {"{\"a\":\"b\",\"c\":\"d\"}", "a=b&c=d"},
	        {"{\"z\":1,\"a\":2}", "z=1&a=2"},
	        {"{\"a\":true,\"b\":false,\"c\":null}", "a=true&b=false&c=null"},
	        {"{\"a\":-0,\"b\":1.50,\"c\":1E+2,\"d\":123456789012345678901234567890}",
	         "a=-0&b=1.50&c=1E%2B2&d=123456789012345678901234567890"},
	        {"{\"a\":[1,\"x\",null],\"b\":[],\"c\":[true]}", "a=1&a=x&a=null&c=true"},
	        {"{\"a\":[],\"b\":1}", "b=1"},
	        {"{\"a\":1,\"a\":2}", "a=1&a=2"},
	        {"{\"\":\"\"}", "="},
	        {"{\"a b\":\"c&d=e\"}", "a%20b=c%26d%3De"},
	        {"{\"k\":\"AZaz09-._~\"}", "k=AZaz09-._~"},
	        {"{\"k\":\"+%/?#\\\"\\\\\\/\"}", "k=%2B%25%2F%3F%23%22%5C%2F"},
	        {"{\"\\u00e9\":\"\xe2\x82\xac\\ud83d\\ude00\\u0000\\n\x7f\"}",
	         "%C3%A9=%E2%82%AC%F0%9F%98%80%00%0A%7F"},
	};
	for (size_t i = 0; i < N(cases); i++) {
		char text[512];
		snprintf(text, sizeof text, "{\"params\":%s,\"type\":\"t\"}", cases[i].params);
		assert_track(text, "t", cases[i].query, 0);
	}
}

static void of_a_repeated_key_the_last_counts(void **state)
{
	(void)state;
	assert_metric(
	        "{\"count\":\"x\",\"username\":1,\"metric\":\"\",\"metric\":\"m\",\"username\":\"u\",\"count\":1}",
	        "u", "m", 1);
	assert_reason("{\"count\":1,\"username\":\"u\",\"metric\":\"m\",\"count\":{}}", LEDGER_WRONG_TYPE);
	assert_track(
	        "{\"type\":1,\"params\":{\"a\":{}},\"params\":{\"b\":1},\"ts\":-1,\"ts\":2,\"type\":\"t\"}",
	        "t", "b=1", 2);
	assert_track("{\"type\":\"t\",\"params\":{\"b\":1},\"params\":{}}", "t", "", 0);
}

static void unknown_keys_are_skipped_after_a_check(void **state)
{
	(void)state;
	assert_metric(
	        "{\"x\":{\"count\":2,\"type\":[{}]},\"username\":\"u\",\"y\":[[[]]],\"count\":1,\"metric\":\"m\",\"Type\":1,\"\":null}",
	        "u", "m", 1);
	assert_reason("{\"x\":{\"y\":01},\"username\":\"u\",\"count\":1,\"metric\":\"m\"}", LEDGER_MALFORMED);
	assert_reason("{\"x\":\"\xff\",\"username\":\"u\",\"count\":1,\"metric\":\"m\"}", LEDGER_MALFORMED);
	assert_metric(
	        "{\"typ\":0,\"types\":0,\"username\":\"u\",\"count\":1,\"metric\":\"m\",\"usernam3\":0,\"metrik\":0,\"param\":0}",
	        "u", "m", 1);
}

static void keys_may_be_written_with_escapes(void **state)
{
	(void)state;
	assert_metric(
	        "{\"\\u0075\\u0073\\u0065\\u0072\\u006e\\u0061\\u006d\\u0065\":\"u\",\"c\\u006funt\":1,\"metri\\u0063\":\"m\"}",
	        "u", "m", 1);
	assert_metric(
	        "{\"\\u0075\\u0073\\u0065\\u0072\\u006e\\u0061\\u006d\\u0065\\u0065\":1,\"username\":\"u\",\"count\":1,\"metric\":\"m\"}",
	        "u", "m", 1);
	assert_reason("{\"\\u0074ype\\u0000\":\"t\"}", LEDGER_UNKNOWN_EVENT);
}

static void reasons_are_told_apart(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum ledger_reason reason;
	} cases[] = {
	        {"", LEDGER_TRUNCATED},
	        {"{", LEDGER_TRUNCATED},
	        {"{\"type\":\"t\"", LEDGER_TRUNCATED},
	        {"{\"type\":\"t\"}}", LEDGER_MALFORMED},
	        {"{\"type\":\"t\"} x", LEDGER_MALFORMED},
	        {"x", LEDGER_MALFORMED},
	        {"\xef\xbb\xbf{}", LEDGER_UNKNOWN_EVENT},
	        {"\xef\xbb\xbf\xef\xbb\xbf{\"type\":\"t\"}", LEDGER_MALFORMED},
	        {"\xef\xbb\xbf", LEDGER_TRUNCATED},
	        {"{\"type\":\"\\ud800\"}", LEDGER_MALFORMED},
	        {"{\"type\":\"\xc0\xaf\"}", LEDGER_MALFORMED},
	        {"{}", LEDGER_UNKNOWN_EVENT},
	        {"[]", LEDGER_UNKNOWN_EVENT},
	        {"[{\"type\":\"t\"}]", LEDGER_UNKNOWN_EVENT},
	        {"\"type\"", LEDGER_UNKNOWN_EVENT},
	        {"null", LEDGER_UNKNOWN_EVENT},
	        {"{\"ts\":1,\"params\":{}}", LEDGER_UNKNOWN_EVENT},
	        {"[1,]", LEDGER_MALFORMED},
	        {"[1", LEDGER_TRUNCATED},
	        {"{\"username\":\"u\"}", LEDGER_MISSING_FIELD},
	        {"{\"count\":1,\"metric\":\"m\"}", LEDGER_MISSING_FIELD},
	        {"{\"username\":\"u\",\"count\":1}", LEDGER_MISSING_FIELD},
	        {"{\"username\":\"\",\"count\":1,\"metric\":\"m\"}", LEDGER_MISSING_FIELD},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"\"}", LEDGER_MISSING_FIELD},
	        {"{\"type\":\"\"}", LEDGER_MISSING_FIELD},
	        {"{\"type\":\"\",\"username\":\"u\",\"count\":1,\"metric\":\"m\"}", LEDGER_MISSING_FIELD},
	        {"{\"username\":1,\"count\":1}", LEDGER_MISSING_FIELD},
	        {"{\"username\":1,\"count\":1,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":null}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":\"1\",\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":1.0,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":1e3,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":9223372036854775808,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":\"u\",\"count\":true,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"username\":[],\"count\":1,\"metric\":\"m\"}", LEDGER_WRONG_TYPE},
	        {"{\"type\":null}", LEDGER_WRONG_TYPE},
	        {"{\"type\":[]}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"ts\":-1}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"ts\":\"1\"}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"ts\":1.5}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"ts\":null}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"ts\":9223372036854775808}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":[]}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":\"a=b\"}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":null}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":{\"a\":{}}}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":{\"a\":[[]]}}", LEDGER_WRONG_TYPE},
	        {"{\"type\":\"t\",\"params\":{\"a\":[1,{}]}}", LEDGER_WRONG_TYPE},
	};
	for (size_t i = 0; i < N(cases); i++)
		assert_reason(cases[i].text, cases[i].reason);
}

static void an_event_cut_anywhere_is_truncated(void **state)
{
	(void)state;
	static const char text[] =
	        "{\"type\":\"app_\\ud83d\\ude00\xe2\x82\xac\",\"ts\":15,\"params\":{\"a\":[1,true,null],\"b\":\"0123456789abcdefgh\"},\"x\":-1.5e-3}";
	assert_int_equal(parse(text, sizeof text - 1).reason, LEDGER_VALID);
	for (size_t bytes = 0; bytes < sizeof text - 1; bytes++)
		assert_int_equal(parse(text, bytes).reason, LEDGER_TRUNCATED);
}

static void head_and_unused_fields_are_zero(void **state)
{
	(void)state;
	static const char track[] = "{\"type\":\"t\"}",
	                  metric[] = "{\"username\":\"u\",\"count\":1,\"metric\":\"m\"}";
	struct event_track_raw wanted_track = {.type_bytes = 1};
	struct event_metric wanted_metric = {.username_bytes = 1, .metric_bytes = 1, .count = 1};
	assert_memory_equal(parse(track, sizeof track - 1).payload, &wanted_track, sizeof wanted_track);
	assert_memory_equal(parse(metric, sizeof metric - 1).payload, &wanted_metric, sizeof wanted_metric);
}

static void strings_over_16_bits_of_length_are_too_large(void **state)
{
	(void)state;
	static const char *const forms[] = {"{\"username\":\"%s\",\"count\":1,\"metric\":\"m\"}",
	                                    "{\"username\":\"u\",\"count\":1,\"metric\":\"%s\"}",
	                                    "{\"type\":\"%s\"}"};
	static char value[UINT16_MAX + 2], text[UINT16_MAX + 100];
	for (size_t i = 0; i < N(forms); i++) {
		for (size_t bytes = UINT16_MAX; bytes <= UINT16_MAX + 1; bytes++) {
			memset(value, 'x', bytes);
			value[bytes] = 0;
			snprintf(text, sizeof text, forms[i], value);
			assert_reason(text, bytes <= UINT16_MAX ? LEDGER_VALID : LEDGER_TOO_LARGE);
		}
	}
	assert_int_equal(json_event_parse("", (size_t)JSON_EVENT_BYTES_MAX + 1, payload_end, &(uint16_t){0},
	                                  &(uint32_t){0}),
	                 LEDGER_TOO_LARGE);
}

static void percent_encoding_at_its_worst_fits_the_room(void **state)
{
	(void)state;
	static char text[30000];
	int n = sprintf(text, "{\"type\":\"t\",\"params\":{\"");
	memset(text + n, '+', 20000);
	sprintf(text + n + 20000, "\":\"++++\"}}");
	struct outcome o = parse(text, strlen(text));
	assert_int_equal(o.reason, LEDGER_VALID);
	assert_int_equal(o.length, sizeof(struct event_track_raw) + 1 + 3 * 20000 + 1 + 3 * 4);
}

/* A long key with an array of many: the query grows until it fills the room to the byte, and then
 * no more. */
static void a_key_repeated_for_an_array_fills_the_room_and_no_more(void **state)
{
	(void)state;
	static char text[100000];
	unsigned valid = 0;
	for (unsigned elements = 1; elements < 200; elements++) {
		int n = sprintf(text, "{\"type\":\"t\",\"params\":{\"%0*d\":[1", 300, 0);
		for (unsigned i = 1; i < elements; i++)
			n += sprintf(text + n, ",1");
		n += sprintf(text + n, "]}}");
		size_t query = elements * (300 + 2) + elements - 1;
		struct outcome o = parse(text, (size_t)n);
		bool fits = sizeof(struct event_track_raw) + 1 + query <= json_room((size_t)n);
		assert_int_equal(o.reason, fits ? LEDGER_VALID : LEDGER_TOO_LARGE);
		valid += fits;
	}
	assert_in_range(valid, 10, 100);
}

static void nesting_over_the_scanner_s_limit_is_too_large(void **state)
{
	(void)state;
	static char text[4 * SCAN_DEPTH_MAX];
	for (unsigned depth = SCAN_DEPTH_MAX - 1; depth <= SCAN_DEPTH_MAX; depth++) {
		int n = sprintf(text, "{\"type\":\"t\",\"x\":");
		memset(text + n, '[', depth);
		memset(text + n + depth, ']', depth);
		sprintf(text + n + 2 * depth, "}");
		assert_reason(text, depth < SCAN_DEPTH_MAX ? LEDGER_VALID : LEDGER_TOO_LARGE);
	}
}

static size_t put_random_event(char *out)
{
	static const char *const keys[] = {"username", "count", "metric",     "type",    "ts",
	                                   "params",   "x",     "\\u0074ype", "usernamE"};
	static const char *const values[] = {"1",
	                                     "-1",
	                                     "12412414",
	                                     "1.5",
	                                     "9223372036854775807",
	                                     "1e2",
	                                     "null",
	                                     "true",
	                                     "[]",
	                                     "{}",
	                                     "[1]",
	                                     "\"\"",
	                                     "\"a b\"",
	                                     "\"\\u20ac&\"",
	                                     "{\"a\":1}",
	                                     "{\"a\":[\"x y\",2,null]}",
	                                     "{\"a\":{\"b\":1}}",
	                                     "{\"a b\":\"\\\"\xc3\xa9\",\"c\":1.50,\"d\":true}",
	                                     "{\"a\":1,\"a\":2}"};
	/* mostly what the key wants, by the index of the key */
	static const char *const right[] = {
	        "\"kodingbot\"", "12412414",      "\"kite_call\"",
	        "\"app_open\"",  "1510826008003", "{\"deviceid\":\"abc df\",\"n\":[1,2]}",
	        "{\"y\":[]}",    "\"t\"",         "0"};
	size_t n = 0;
	bool track = draw_one_in(2);
	out[n++] = '{';
	unsigned members = draw_one_in(8) ? draw_below(3) : 3 + draw_below(3);
	for (unsigned i = 0; i < members; i++) {
		unsigned key = draw_one_in(4) ? draw_below(N(keys)) : (i + track * 3) % 6;
		if (!track && key == 3 && !draw_one_in(8))
			key = 6;
		const char *value = draw_one_in(8) ? values[draw_below(N(values))] : right[key];
		n += (size_t)sprintf(out + n, "%s\"%s\":%s", i > 0 ? ", " : "", keys[key], value);
	}
	out[n++] = '}';
	return n;
}

static void random_events_are_what_jansson_makes_of_them(void **state)
{
	(void)state;
	static char text[4096];
	unsigned seen[JSON_UNDECIDED + 1] = {0};
	for (unsigned i = 0; i < RANDOM_TEXTS; i++) {
		size_t bytes = put_random_event(text);
		if (draw_one_in(8))
			text[draw_below((unsigned)bytes)] ^= (char)(1u << draw_below(8));
		if (draw_one_in(20))
			bytes = draw_below((unsigned)bytes + 1);
		memcpy(text_end - bytes, text, bytes);
		enum json_agreement agreement = json_oracle_event(text_end - bytes, bytes);
		assert_int_not_equal(agreement, JSON_DISAGREED);
		seen[agreement]++;
	}
	print_message("%u texts: %u events, %u refused, %u undecided\n", RANDOM_TEXTS, seen[JSON_ACCEPTED],
	              seen[JSON_REFUSED], seen[JSON_UNDECIDED]);
	assert_true(seen[JSON_ACCEPTED] > RANDOM_TEXTS / 4 && seen[JSON_REFUSED] > RANDOM_TEXTS / 10 &&
	            seen[JSON_UNDECIDED] < RANDOM_TEXTS / 10);
}

static int make_pages(void **state)
{
	(void)state;
	text_end = page_end_make(ROOM);
	payload_end = page_end_make(4 * ROOM);
	return text_end && payload_end ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_metric_event_is_read),
	        cmocka_unit_test(a_tracking_event_is_read),
	        cmocka_unit_test(params_become_a_query_string),
	        cmocka_unit_test(of_a_repeated_key_the_last_counts),
	        cmocka_unit_test(unknown_keys_are_skipped_after_a_check),
	        cmocka_unit_test(keys_may_be_written_with_escapes),
	        cmocka_unit_test(reasons_are_told_apart),
	        cmocka_unit_test(an_event_cut_anywhere_is_truncated),
	        cmocka_unit_test(head_and_unused_fields_are_zero),
	        cmocka_unit_test(strings_over_16_bits_of_length_are_too_large),
	        cmocka_unit_test(percent_encoding_at_its_worst_fits_the_room),
	        cmocka_unit_test(a_key_repeated_for_an_array_fills_the_room_and_no_more),
	        cmocka_unit_test(nesting_over_the_scanner_s_limit_is_too_large),
	        cmocka_unit_test(random_events_are_what_jansson_makes_of_them),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, make_pages, NULL);
}
