/* Bodies of one event each (POST /event, /log, one element of /batch, parameters of a tracking
 * call), case by case and against jansson: what is accepted with which payload, what is refused
 * with which reason, place and words. */
#include "tests/fixture/json_body.h"

#include <stdio.h>
#include <unistd.h>

#include "ingest/json/scan.h"

struct refused {
	const char *text;
	enum ledger_reason reason;
	const char *where, *what;
};

static const char is_missing[] = "is missing", is_empty[] = "must not be empty",
                  no_string[] = "must be a string", no_int64[] = "must be an integer of 64 bits",
                  no_object[] = "must be a JSON object", not_json[] = "not JSON",
                  ends_early[] = "text ends early";

static struct body_outcome metric(const char *text)
{
	size_t bytes = strlen(text);
	return body_parse(json_metric, json_oracle_metric, json_room_plain(bytes), text, bytes);
}

static struct body_outcome log_of(const char *text)
{
	size_t bytes = strlen(text);
	return body_parse(json_log, json_oracle_log, json_room_plain(bytes), text, bytes);
}

static struct body_outcome track(const char *text)
{
	size_t bytes = strlen(text);
	return body_parse(json_track, json_oracle_track, json_room(bytes), text, bytes);
}

static bool params_in_3(const char *data, size_t bytes, void *out, uint32_t *length, struct json_fault *fault)
{
	return json_params(data, bytes, out, 3 * bytes, length, fault);
}

static struct body_outcome params(const char *text)
{
	size_t bytes = strlen(text);
	return body_parse(params_in_3, json_oracle_params, 3 * bytes, text, bytes);
}

static void assert_refused(struct body_outcome parse(const char *text), const struct refused *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct body_outcome o = parse(cases[i].text);
		if (o.valid)
			fail_msg("%s: accepted", cases[i].text);
		body_assert_fault(&o.fault, cases[i].text, cases[i].reason, cases[i].where, cases[i].what);
	}
}

/* ---- POST /event ---- */

static void a_metric_body_becomes_its_event(void **state)
{
	(void)state;
	static const struct {
		const char *text, *username, *metric;
		int64_t count;
	} cases[] = {
	        {"{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}", "kodingbot",
	         "kite_call", 12412414},
	        {"{\"metric\":\"m\",\"count\":-9223372036854775808,\"username\":\"u\"}", "u", "m", INT64_MIN},
	        {"\r\n{\"count\":9223372036854775807,\"more\":[{}],\"metric\":\"m\",\"username\":\"u\"}\n",
	         "u", "m", INT64_MAX},
	        {"{\"count\":-0,\"metric\":\"\\u00e9\\n\",\"us\\u0065rname\":\"\\ud83d\\ude00\"}",
	         "\xf0\x9f\x98\x80", "\xc3\xa9\n", 0},
	        {"{\"type\":\"a\",\"text\":1,\"url\":{},\"count\":1,\"metric\":\"m\",\"username\":\"u\"}",
	         "u", "m", 1},
	        {"{\"count\":{},\"count\":1,\"metric\":\"\",\"metric\":\"m\",\"username\":1,\"username\":\"u\"}",
	         "u", "m", 1},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct body_outcome o = metric(cases[i].text);
		if (!o.valid)
			fail_msg("%s: %s %s", cases[i].text, o.fault.where, o.fault.what);
		size_t username = strlen(cases[i].username), name = strlen(cases[i].metric);
		struct event_metric wanted = {.username_bytes = (uint16_t)username,
		                              .metric_bytes = (uint16_t)name,
		                              .count = cases[i].count};
		assert_int_equal(o.length, sizeof wanted + username + name);
		assert_memory_equal(o.payload, &wanted, sizeof wanted);
		assert_memory_equal(o.payload + sizeof wanted, cases[i].username, username);
		assert_memory_equal(o.payload + sizeof wanted + username, cases[i].metric, name);
	}
}

static void a_metric_body_that_is_wrong_is_told_what_and_where(void **state)
{
	(void)state;
	static const struct refused cases[] = {
	        {"", LEDGER_TRUNCATED, "body", ends_early},
	        {"{\"username\":\"u\",", LEDGER_TRUNCATED, "body", ends_early},
	        {"x", LEDGER_MALFORMED, "body", not_json},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"m\"}x", LEDGER_MALFORMED, "body", not_json},
	        {"{\"username\":\"u\",\"count\":01,\"metric\":\"m\"}", LEDGER_MALFORMED, "body", not_json},
	        {"{\"username\":\"\xff\",\"count\":1,\"metric\":\"m\"}", LEDGER_MALFORMED, "body",
	         "not UTF-8"},
	        {"{\"x\":\"\\ud800\"}", LEDGER_MALFORMED, "body", "half a surrogate pair"},
	        {"[]", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"null", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"{}", LEDGER_MISSING_FIELD, "username", is_missing},
	        {"{\"username\":\"u\"}", LEDGER_MISSING_FIELD, "count", is_missing},
	        {"{\"username\":\"u\",\"count\":1}", LEDGER_MISSING_FIELD, "metric", is_missing},
	        {"{\"username\":\"u\",\"count\":1,\"Metric\":\"m\"}", LEDGER_MISSING_FIELD, "metric",
	         is_missing},
	        {"{\"username\":\"\",\"count\":1,\"metric\":\"m\"}", LEDGER_MISSING_FIELD, "username",
	         is_empty},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"\"}", LEDGER_MISSING_FIELD, "metric",
	         is_empty},
	        {"{\"username\":\"u\",\"count\":\"\",\"metric\":\"m\"}", LEDGER_MISSING_FIELD, "count",
	         is_empty},
	        {"{\"username\":null,\"count\":1,\"metric\":\"m\"}", LEDGER_WRONG_TYPE, "username",
	         no_string},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":[\"m\"]}", LEDGER_WRONG_TYPE, "metric",
	         no_string},
	        {"{\"username\":\"u\",\"count\":\"1\",\"metric\":\"m\"}", LEDGER_WRONG_TYPE, "count",
	         no_int64},
	        {"{\"username\":\"u\",\"count\":1.0,\"metric\":\"m\"}", LEDGER_WRONG_TYPE, "count", no_int64},
	        {"{\"username\":\"u\",\"count\":1e2,\"metric\":\"m\"}", LEDGER_WRONG_TYPE, "count", no_int64},
	        {"{\"username\":\"u\",\"count\":9223372036854775808,\"metric\":\"m\"}", LEDGER_WRONG_TYPE,
	         "count", no_int64},
	        {"{\"username\":\"u\",\"count\":-9223372036854775809,\"metric\":\"m\"}", LEDGER_WRONG_TYPE,
	         "count", no_int64},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"m\",\"count\":true}", LEDGER_WRONG_TYPE,
	         "count", no_int64},
	};
	assert_refused(metric, cases, N(cases));
}

static void structure_errors_tell_the_byte(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t at;
	} cases[] = {
	        {"x", 0},
	        {"{\"username\":\"u\",\"count\":01,\"metric\":\"m\"}", 25},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"m\"}x", 39},
	        {"{\"username\":\"u\xff\"}", 14},
	        {"{\"username\":\"u\xe2\x82(\"}", 16},
	        {"{\"username\":\"u\\x\"}", 15},
	        {"{\"username\":\"u\\u00g\"}", 18},
	        {"{\"username\":\"u\n\"}", 14},
	        {"{\"username\":\"u\",", 16},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct body_outcome o = metric(cases[i].text);
		assert_false(o.valid);
		assert_int_equal(o.fault.at, cases[i].at);
	}
}

static void bodies_cut_anywhere_are_truncated(void **state)
{
	(void)state;
	static const char event
	        [] = "{\"username\":\"a\\ud83d\\ude00\xe2\x82\xac\",\"count\":15,\"metric\":\"m\",\"x\":[-1.5e-3,true,null,\"0123456789abcdefgh\"]}",
	   entry[] =
	           "{\"text\":\"hello \\\"world\\\" \xc3\xa9\",\"content_id\":1,\"client_id\":2, \"timestamp\" : 1586846680064}",
	   call[] = "{\"type\":\"app_open\",\"ts\":15,\"params\":{\"a\":[1,true,null],\"b\":\"c\"}}";
	body_assert_truncated(json_metric, json_oracle_metric, json_room_plain(sizeof event), event);
	body_assert_truncated(json_log, json_oracle_log, json_room_plain(sizeof entry), entry);
	body_assert_truncated(json_track, json_oracle_track, json_room(sizeof call), call);
	body_assert_truncated(params_in_3, json_oracle_params, 3 * sizeof call,
	                      "{\"a\":[1,true,null],\"b\":\"\\u20ac\"}");
}

static void strings_over_16_bits_of_length_are_too_large(void **state)
{
	(void)state;
	static const struct {
		struct body_outcome (*parse)(const char *text);
		const char *form, *where;
	} cases[] = {
	        {metric, "{\"username\":\"%s\",\"count\":1,\"metric\":\"m\"}", "username"},
	        {metric, "{\"username\":\"u\",\"count\":1,\"metric\":\"%s\"}", "metric"},
	        {track, "{\"type\":\"%s\"}", "type"},
	};
	static char value[UINT16_MAX + 2], text[UINT16_MAX + 100];
	for (size_t i = 0; i < N(cases); i++) {
		for (size_t bytes = UINT16_MAX; bytes <= UINT16_MAX + 1; bytes++) {
			memset(value, 'x', bytes);
			value[bytes] = 0;
			snprintf(text, sizeof text, cases[i].form, value);
			struct body_outcome o = cases[i].parse(text);
			assert_int_equal(o.valid, bytes <= UINT16_MAX);
			if (!o.valid)
				body_assert_fault(&o.fault, "long string", LEDGER_TOO_LARGE, cases[i].where,
				                  "is longer than 65535 bytes");
		}
	}
}

static void what_is_too_long_or_too_deep_is_too_large(void **state)
{
	(void)state;
	static char deep[3 * SCAN_DEPTH_MAX];
	memset(deep, '[', SCAN_DEPTH_MAX + 1);
	uint32_t length;
	struct json_fault fault;
	struct json_batch batch;
	struct json_postback postback;
	assert_false(json_metric(deep, SCAN_DEPTH_MAX + 1, body_payload_end, &length, &fault));
	body_assert_fault(&fault, "deep", LEDGER_TOO_LARGE, "body", "nested too deep");
	assert_int_equal(fault.at, SCAN_DEPTH_MAX);
	size_t bytes = (size_t)JSON_EVENT_BYTES_MAX + 1; /* not read */
	assert_false(json_metric(deep, bytes, body_payload_end, &length, &fault));
	body_assert_fault(&fault, "long", LEDGER_TOO_LARGE, "body", "is too long");
	assert_false(json_log(deep, bytes, body_payload_end, &length, &fault));
	assert_false(json_track(deep, bytes, body_payload_end, &length, &fault));
	assert_false(json_params(deep, bytes, body_payload_end, 0, &length, &fault));
	assert_false(json_batch_open(&batch, deep, bytes, &fault));
	assert_false(json_postback_open(&postback, deep, bytes, &fault));
	body_assert_fault(&fault, "long", LEDGER_TOO_LARGE, "body", "is too long");
}

/* ---- POST /log ---- */

static void a_log_body_keeps_its_object_without_white_space(void **state)
{
	(void)state;
	static const struct {
		const char *text, *object, *string;
		int64_t client_id, content_id, timestamp;
	} cases[] = {
	        {"{\"text\": \"hello world\", \"content_id\": 1, \"client_id\": 2, \"timestamp\": 1586846680064}",
	         "{\"text\":\"hello world\",\"content_id\":1,\"client_id\":2,\"timestamp\":1586846680064}",
	         "\"hello world\"", 2, 1, 1586846680064},
	        {"\xef\xbb\xbf {\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"\xef\xbb\xbf\"}",
	         "{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"\xef\xbb\xbf\"}",
	         "\"\xef\xbb\xbf\"", 1, 1, 1},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"x\"}",
	         "{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"x\"}", "\"x\"", 1, 1, 1},
	        {" {\"client_id\" :-1 ,\"content_id\":9223372036854775807,\n\"timestamp\":9999999999999,\t\"text\":\" a \\\" \\\\\" , \"more\" : [ 1 , { \" k \" : \" \\\\\\\" \" } ] }\r\n",
	         "{\"client_id\":-1,\"content_id\":9223372036854775807,\"timestamp\":9999999999999,\"text\":\" a \\\" \\\\\",\"more\":[1,{\" k \":\" \\\\\\\" \"}]}",
	         "\" a \\\" \\\\\"", -1, INT64_MAX, 9999999999999},
	        {"{\"text\":\"first\", \"text\":1, \"te\\u0078t\": \"\\u20ac\xe2\x82\xac \\ud83d\\ude00\", \"client_id\":1,\"content_id\":1,\"timestamp\":7}",
	         "{\"text\":\"first\",\"text\":1,\"te\\u0078t\":\"\\u20ac\xe2\x82\xac \\ud83d\\ude00\",\"client_id\":1,\"content_id\":1,\"timestamp\":7}",
	         "\"\\u20ac\xe2\x82\xac \\ud83d\\ude00\"", 1, 1, 7},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"0123456789abcdef0123456789abc\\\"ef\"}",
	         "{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"0123456789abcdef0123456789abc\\\"ef\"}",
	         "\"0123456789abcdef0123456789abc\\\"ef\"", 1, 1, 1},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct body_outcome o = log_of(cases[i].text);
		if (!o.valid)
			fail_msg("%s: %s %s", cases[i].text, o.fault.where, o.fault.what);
		const struct event_log *event = (const void *)o.payload;
		size_t object = strlen(cases[i].object);
		struct event_log wanted = {.object_bytes = (uint32_t)object,
		                           .client_id = cases[i].client_id,
		                           .content_id = cases[i].content_id,
		                           .timestamp_ms = cases[i].timestamp,
		                           .text_offset = event->text_offset,
		                           .text_bytes = (uint32_t)strlen(cases[i].string)};
		assert_int_equal(o.length, sizeof wanted + object);
		assert_memory_equal(event, &wanted, sizeof wanted);
		assert_memory_equal(event->object, cases[i].object, object);
		assert_memory_equal(event->object + event->text_offset, cases[i].string, event->text_bytes);
	}
}

static void a_log_body_that_is_wrong_is_told_what_and_where(void **state)
{
	(void)state;
	static const char ms[] = "must be milliseconds, 1 to 9999999999999";
	static const struct refused cases[] = {
	        {"{} {}", LEDGER_MALFORMED, "body", not_json},
	        {"[]", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"{}", LEDGER_MISSING_FIELD, "client_id", is_missing},
	        {"{\"client_id\":1}", LEDGER_MISSING_FIELD, "content_id", is_missing},
	        {"{\"client_id\":1,\"content_id\":1}", LEDGER_MISSING_FIELD, "timestamp", is_missing},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1}", LEDGER_MISSING_FIELD, "text",
	         is_missing},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":\"\"}", LEDGER_MISSING_FIELD,
	         "text", is_empty},
	        {"{\"client_id\":\"1\",\"content_id\":1,\"timestamp\":1,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "client_id", no_int64},
	        {"{\"client_id\":1,\"content_id\":null,\"timestamp\":1,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "content_id", no_int64},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1.5,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "timestamp", no_int64},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":1,\"text\":{}}", LEDGER_WRONG_TYPE, "text",
	         no_string},
	        {"{\"client_id\":0,\"content_id\":1,\"timestamp\":1,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "client_id", "must not be 0"},
	        {"{\"client_id\":1,\"content_id\":-0,\"timestamp\":1,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "content_id", "must not be 0"},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":0,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "timestamp", ms},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":-1,\"text\":\"x\"}", LEDGER_WRONG_TYPE,
	         "timestamp", ms},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":10000000000000,\"text\":\"x\"}",
	         LEDGER_WRONG_TYPE, "timestamp", ms},
	        {"{\"client_id\":1,\"content_id\":1,\"timestamp\":99999999999999999999,\"text\":\"x\"}",
	         LEDGER_WRONG_TYPE, "timestamp", no_int64},
	};
	assert_refused(log_of, cases, N(cases));
}

/* So that each vector and each tail meets the end of a string, an escape and a space at each
 * place. */
static void white_space_and_quotes_are_told_apart_at_every_length(void **state)
{
	(void)state;
	for (unsigned length = 1; length <= 70; length++) {
		for (unsigned place = 0; place < length; place++) {
			char value[160], text[300];
			memset(value, ' ', sizeof value);
			memcpy(value + place, "\\\"", 2);
			value[length + 1] = 0;
			sprintf(text,
			        "{ \"text\" : \"%s\" , \"client_id\":1,\"content_id\":1,\"timestamp\": 1}",
			        value);
			struct body_outcome o = log_of(text); /* compared by the oracle */
			assert_true(o.valid);
			assert_int_equal(((const struct event_log *)(const void *)o.payload)->text_bytes,
			                 length + 3);
		}
	}
}

/* ---- POST /batch, one element ---- */

static void a_tracking_element_becomes_its_event(void **state)
{
	(void)state;
	static const struct {
		const char *text, *type, *query;
		uint64_t ts;
	} cases[] = {
	        {"{\"type\":\"app_open\",\"ts\":1510826008003,\"params\":{\"klag\":3}}", "app_open", "klag=3",
	         1510826008003},
	        {"{\"type\":\"a\"}", "a", "", 0},
	        {"{\"params\":{},\"type\":\"\\u002fa b\",\"ts\":0}", "/a b", "", 0},
	        {"{\"username\":\"u\",\"params\":{\"a\":[1,\"x y\"]},\"type\":\"t\"}", "t", "a=1&a=x%20y", 0},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct body_outcome o = track(cases[i].text);
		assert_true(o.valid);
		size_t type = strlen(cases[i].type), query = strlen(cases[i].query);
		struct event_track_raw wanted = {.type_bytes = (uint16_t)type,
		                                 .query_bytes = (uint32_t)query,
		                                 .client_ts_ms = cases[i].ts};
		assert_int_equal(o.length, sizeof wanted + type + query);
		assert_memory_equal(o.payload, &wanted, sizeof wanted);
		assert_memory_equal(o.payload + sizeof wanted, cases[i].type, type);
		assert_memory_equal(o.payload + sizeof wanted + type, cases[i].query, query);
	}
}

static const char no_parameters[] = "values must be strings, numbers, true, false, null or arrays of these";

static void a_tracking_element_that_is_wrong_is_told_what_and_where(void **state)
{
	(void)state;
	static const char no_ms[] = "must be milliseconds, 0 or more";
	static const struct refused cases[] = {
	        {"{\"type\":", LEDGER_TRUNCATED, "body", ends_early},
	        {"7", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"{\"username\":\"u\",\"count\":1,\"metric\":\"m\"}", LEDGER_MISSING_FIELD, "type",
	         is_missing},
	        {"{\"type\":\"\"}", LEDGER_MISSING_FIELD, "type", is_empty},
	        {"{\"type\":7}", LEDGER_WRONG_TYPE, "type", no_string},
	        {"{\"type\":\"t\",\"ts\":\"1\"}", LEDGER_WRONG_TYPE, "ts", no_int64},
	        {"{\"type\":\"t\",\"ts\":null}", LEDGER_WRONG_TYPE, "ts", no_int64},
	        {"{\"type\":\"t\",\"ts\":-1}", LEDGER_WRONG_TYPE, "ts", no_ms},
	        {"{\"type\":\"t\",\"params\":[]}", LEDGER_WRONG_TYPE, "params", "must be an object"},
	        {"{\"type\":\"t\",\"params\":\"\"}", LEDGER_WRONG_TYPE, "params", "must be an object"},
	        {"{\"type\":\"t\",\"params\":{\"a\":{}}}", LEDGER_WRONG_TYPE, "params", no_parameters},
	        {"{\"type\":\"t\",\"params\":{\"a\":[1,[]]}}", LEDGER_WRONG_TYPE, "params", no_parameters},
	};
	assert_refused(track, cases, N(cases));
}

/* ---- parameters of a tracking call ---- */

static void an_object_becomes_a_query_string(void **state)
{
	(void)state;
	static const struct {
		const char *text, *query;
	} cases[] = {
	        {"{}", ""},
	        {" {\"klag\": 3, \"tag\": [\"a\", \"b\"]}\n", "klag=3&tag=a&tag=b"},
	        {"{\"a\":true,\"b\":[false,null],\"c\":[]}", "a=true&b=false&b=null"},
	        {"{\"a\":1,\"a\":2}", "a=1&a=2"},
	        {"{\"a\":-0,\"b\":1.50,\"c\":1E+2}", "a=-0&b=1.50&c=1E%2B2"},
	        {"{\"a b\":\"c&d=e\",\"\":\"\"}", "a%20b=c%26d%3De&="},
	        {"{\"k\":\"AZaz09-._~+%/?#\\\"\\\\\\/\"}", "k=AZaz09-._~%2B%25%2F%3F%23%22%5C%2F"},
	        {"{\"\\u00e9\":\"\xe2\x82\xac\\ud83d\\ude00\\u0000\\n\x7f\"}",
	         "%C3%A9=%E2%82%AC%F0%9F%98%80%00%0A%7F"},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct body_outcome o = params(cases[i].text);
		assert_true(o.valid);
		if (o.length != strlen(cases[i].query) || memcmp(o.payload, cases[i].query, o.length) != 0)
			fail_msg("%s: %.*s", cases[i].text, (int)o.length, o.payload);
	}
}

static void an_object_that_is_no_parameters_is_told_what_and_where(void **state)
{
	(void)state;
	static const struct refused cases[] = {
	        {"{\"a\":1", LEDGER_TRUNCATED, "body", ends_early},
	        {"{\"a\":{},\"b\":}", LEDGER_MALFORMED, "body", not_json},
	        {"{\"a\":[{\"b\":[}]]}", LEDGER_MALFORMED, "body", not_json},
	        {"{\"a\":1}}", LEDGER_MALFORMED, "body", not_json},
	        {"[1]", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"\"a=b\"", LEDGER_UNKNOWN_EVENT, "body", no_object},
	        {"{\"a\":{}}", LEDGER_WRONG_TYPE, "body", no_parameters},
	        {"{\"a\":1,\"b\":[[]],\"c\":{\"d\":[]}}", LEDGER_WRONG_TYPE, "body", no_parameters},
	};
	assert_refused(params, cases, N(cases));
}

static void a_query_string_fills_its_room_to_the_byte_and_no_more(void **state)
{
	(void)state;
	static const char text[] = "{\"key\":[\"a b\",1,true,\"\\u20ac\"]}",
	                  query[] = "key=a%20b&key=1&key=true&key=%E2%82%AC";
	struct json_fault fault;
	uint32_t length;
	for (size_t room = 0; room <= sizeof query - 1; room++) {
		char *out = body_payload_end - room;
		bool valid = json_params(text, sizeof text - 1, out, room, &length, &fault);
		assert_int_equal(valid, room == sizeof query - 1);
		if (!valid)
			body_assert_fault(&fault, text, LEDGER_TOO_LARGE, "body",
			                  "is too long as a query string");
		else
			assert_memory_equal(out, query, length);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_metric_body_becomes_its_event),
	        cmocka_unit_test(a_metric_body_that_is_wrong_is_told_what_and_where),
	        cmocka_unit_test(structure_errors_tell_the_byte),
	        cmocka_unit_test(bodies_cut_anywhere_are_truncated),
	        cmocka_unit_test(strings_over_16_bits_of_length_are_too_large),
	        cmocka_unit_test(what_is_too_long_or_too_deep_is_too_large),
	        cmocka_unit_test(a_log_body_keeps_its_object_without_white_space),
	        cmocka_unit_test(a_log_body_that_is_wrong_is_told_what_and_where),
	        cmocka_unit_test(white_space_and_quotes_are_told_apart_at_every_length),
	        cmocka_unit_test(a_tracking_element_becomes_its_event),
	        cmocka_unit_test(a_tracking_element_that_is_wrong_is_told_what_and_where),
	        cmocka_unit_test(an_object_becomes_a_query_string),
	        cmocka_unit_test(an_object_that_is_no_parameters_is_told_what_and_where),
	        cmocka_unit_test(a_query_string_fills_its_room_to_the_byte_and_no_more),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, body_pages, NULL);
}
