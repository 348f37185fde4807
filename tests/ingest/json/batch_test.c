/* Bodies of several events: lines and arrays of POST /batch, postbacks of POST /ingest; and random
 * bodies of every kind against jansson. */
#include "tests/fixture/json_body.h"

#include <stdio.h>
#include <unistd.h>

#include "tests/fixture/draw.h"

#define RANDOM_TEXTS 30000u /* of each kind */

struct part {
	uint32_t number;
	const char *text;
};

/* The parts come in this order with these numbers, and no others. */
static void assert_parts(const char *body, bool array, const struct part *parts)
{
	struct json_batch batch;
	struct json_fault fault;
	const char *data, *text = body_put(body, strlen(body));
	size_t bytes;
	if (!json_batch_open(&batch, text, strlen(body), &fault))
		fail_msg("%s: %s %s", body, fault.where, fault.what);
	assert_int_equal(batch.array, array);
	for (; parts->text; parts++) {
		assert_true(json_batch_next(&batch, &data, &bytes));
		if (batch.number != parts->number || bytes != strlen(parts->text) ||
		    memcmp(data, parts->text, bytes) != 0)
			fail_msg("%s: %u is %.*s, expected %u %s", body, batch.number, (int)bytes, data,
			         parts->number, parts->text);
	}
	for (unsigned again = 0; again < 3; again++)
		assert_false(json_batch_next(&batch, &data, &bytes));
	assert_int_not_equal(json_oracle_batch(text, strlen(body)), JSON_DISAGREED);
}

#define PARTS(...) ((const struct part[]){__VA_ARGS__, {0, NULL}})
#define NO_PARTS   ((const struct part[]){{0, NULL}})

static void lines_come_with_their_numbers(void **state)
{
	(void)state;
	assert_parts("", false, NO_PARTS);
	assert_parts("\n", false, NO_PARTS);
	assert_parts(" \r\n\t\r\n\r", false, NO_PARTS);
	assert_parts("{}", false, PARTS({1, "{}"}));
	assert_parts("{}\n", false, PARTS({1, "{}"}));
	assert_parts("{}\n{\"a\":1}\n", false, PARTS({1, "{}"}, {2, "{\"a\":1}"}));
	assert_parts("{}\r\n{\"a\":1}\r\n", false, PARTS({1, "{}"}, {2, "{\"a\":1}"}));
	assert_parts("{}\n{\"a\":1}", false, PARTS({1, "{}"}, {2, "{\"a\":1}"}));
	assert_parts("{}\r\n{\"a\":1}\r", false, PARTS({1, "{}"}, {2, "{\"a\":1}"}));
	assert_parts("\n\n{}\n \t\r\n\n7\n\n", false, PARTS({3, "{}"}, {6, "7"}));
	assert_parts("  {\"a\" : 1}  \nx", false, PARTS({1, "  {\"a\" : 1}  "}, {2, "x"}));
	assert_parts("{}\r\r\n{}", false, PARTS({1, "{}\r"}, {2, "{}"}));
}

#define MARK "\xef\xbb\xbf"

static void a_byte_order_mark_in_front_makes_no_line_and_hides_no_array(void **state)
{
	(void)state;
	assert_parts(MARK, false, NO_PARTS);
	assert_parts(MARK "\r\n" MARK "\n", false, NO_PARTS);
	assert_parts(MARK "{}\n{\"a\":1}\n", false, PARTS({1, MARK "{}"}, {2, "{\"a\":1}"}));
	assert_parts("{}\n" MARK "{\"a\":1}\n" MARK " \n7", false,
	             PARTS({1, "{}"}, {2, MARK "{\"a\":1}"}, {4, "7"}));
	assert_parts(MARK "\n [ {\"a\":1} , 2 ]", true, PARTS({1, "{\"a\":1}"}, {2, "2"}));
	assert_parts(" " MARK "[1]", false, PARTS({1, " " MARK "[1]"}));
	static const char lines[] =
	        MARK "{\"type\":\"a\"}\n" MARK "{\"type\":\"b\"}\n" MARK MARK "{\"type\":\"c\"}";
	struct json_batch batch;
	struct json_fault fault;
	const char *data, *text = body_put(lines, sizeof lines - 1);
	size_t bytes;
	uint32_t length, taken = 0;
	assert_true(json_batch_open(&batch, text, sizeof lines - 1, &fault));
	while (json_batch_next(&batch, &data, &bytes))
		taken += json_track(data, bytes, body_payload(json_room(bytes)), &length, &fault);
	assert_int_equal(taken, 2); /* one mark, not two */
	assert_int_equal(fault.at, 3);
}

static void a_broken_line_leaves_the_others_alone(void **state)
{
	(void)state;
	static const char body[] =
	        "{\"type\":\"a\"}\n{\"type\":\n{\"type\":\"b\"}\n\n\xff\r\n[\n{\"type\":7}\n{\"type\":\"c\"}";
	static const bool good[] = {true, false, true, false, false, false, true};
	static const uint32_t numbers[] = {1, 2, 3, 5, 6, 7, 8};
	struct json_batch batch;
	struct json_fault fault;
	const char *data, *text = body_put(body, sizeof body - 1);
	size_t bytes, i = 0;
	assert_true(json_batch_open(&batch, text, sizeof body - 1, &fault));
	while (json_batch_next(&batch, &data, &bytes)) {
		uint32_t length;
		assert_true(i < N(good));
		assert_int_equal(batch.number, numbers[i]);
		bool taken = json_track(data, bytes, body_payload(json_room(bytes)), &length, &fault);
		assert_int_equal(taken, good[i]);
		i++;
	}
	assert_int_equal(i, N(good));
	assert_int_not_equal(json_oracle_batch(text, sizeof body - 1), JSON_DISAGREED);
}

static void elements_of_an_array_come_with_their_numbers(void **state)
{
	(void)state;
	assert_parts("[]", true, NO_PARTS);
	assert_parts(" [ \n ] ", true, NO_PARTS);
	assert_parts("[{}]", true, PARTS({1, "{}"}));
	assert_parts("\n\t[{\"type\":\"a\"},\n{\"type\":\"b\" }]\n", true,
	             PARTS({1, "{\"type\":\"a\"}"}, {2, "{\"type\":\"b\" }"}));
	assert_parts("[1 , -2.5e3,true,null , \"a,]\\\"}\",[[],[{}]],{\"]\":\"}\\\\\"} ]", true,
	             PARTS({1, "1"}, {2, "-2.5e3"}, {3, "true"}, {4, "null"}, {5, "\"a,]\\\"}\""},
	                   {6, "[[],[{}]]"}, {7, "{\"]\":\"}\\\\\"}"}));
	assert_parts(
	        "[\"0123456789abcdef\\\\\",\"0123456789abcdefghi\\\"jklmnopqrstuvw\"]", true,
	        PARTS({1, "\"0123456789abcdef\\\\\""}, {2, "\"0123456789abcdefghi\\\"jklmnopqrstuvw\""}));
}

static void an_array_that_is_no_json_is_refused_whole(void **state)
{
	(void)state;
	static const struct {
		const char *text, *what;
		enum ledger_reason reason;
		size_t at;
	} cases[] = {
	        {"[", "text ends early", LEDGER_TRUNCATED, 1},
	        {"[{\"type\":\"a\"}", "text ends early", LEDGER_TRUNCATED, 13},
	        {"[{\"type\":\"a\"},]", "not JSON", LEDGER_MALFORMED, 14},
	        {"[{\"type\":\"a\"} {\"type\":\"b\"}]", "not JSON", LEDGER_MALFORMED, 14},
	        {" [{}]x", "not JSON", LEDGER_MALFORMED, 5},
	        {"[{}]\n[{}]", "not JSON", LEDGER_MALFORMED, 5},
	        {"[{}]\n{}", "not JSON", LEDGER_MALFORMED, 5},
	        {"[\"\xc3(\"]", "not UTF-8", LEDGER_MALFORMED, 3},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct json_batch batch;
		struct json_fault fault;
		size_t bytes = strlen(cases[i].text);
		const char *text = body_put(cases[i].text, bytes);
		assert_false(json_batch_open(&batch, text, bytes, &fault));
		body_assert_fault(&fault, cases[i].text, cases[i].reason, "body", cases[i].what);
		assert_int_equal(fault.at, cases[i].at);
		assert_int_not_equal(json_oracle_batch(text, bytes), JSON_DISAGREED);
	}
}

/* ---- random bodies ---- */

static const char *const scalars[] = {"0",
                                      "1",
                                      "-1",
                                      "1586846680064",
                                      "9999999999999",
                                      "10000000000000",
                                      "1.5",
                                      "1e2",
                                      "null",
                                      "true",
                                      "false",
                                      "\"\"",
                                      "\"a b\"",
                                      "\"\\u20ac& \\\"\"",
                                      "\"GET\"",
                                      "\"http://h/?x={a}\"",
                                      "\"0123456789abcdef\xc3\xa9 \\\\\""};

static const char *scalar(void)
{
	return scalars[draw_below(N(scalars))];
}

static const char *space(void)
{
	static const char *const spaces[] = {"", "", " ", "\n", " \t\r\n "};
	return spaces[draw_below(N(spaces))];
}

static size_t put_any(char *out)
{
	static const char *const any[] = {
	        "{}", "[]", "{\"a\":{}}", "[1,\"x y\",null]", "[[]]", "{\"a\":1,\"a\":[]}"};
	return (size_t)sprintf(out, "%s", draw_one_in(2) ? any[draw_below(N(any))] : scalar());
}

/* Members in random order, some twice, some left out, some with another value than they should
 * have. */
static size_t put_object(char *out, const char *const (*members)[2], unsigned n)
{
	unsigned first = draw_below(n), count = draw_one_in(6) ? draw_below(2 * n) : n;
	size_t bytes = (size_t)sprintf(out, "{%s", space());
	for (unsigned i = 0; i < count; i++) {
		const char *const *member = members[draw_one_in(8) ? draw_below(n) : (first + i) % n];
		bytes += (size_t)sprintf(out + bytes, "%s%s\"%s\"%s:%s", i > 0 ? "," : "", space(), member[0],
		                         space(), space());
		bytes += draw_one_in(16) ? put_any(out + bytes)
		                         : (size_t)sprintf(out + bytes, "%s", member[1]);
	}
	return bytes + (size_t)sprintf(out + bytes, "%s}", space());
}

static size_t put_metric(char *out)
{
	static const char *const members[][2] = {{"username", "\"kodingbot\""},
	                                         {"count", "-7"},
	                                         {"metric", "\"kite\\u005fcall\""},
	                                         {"x", "{\"y\":[]}"}};
	return put_object(out, members, N(members));
}

static size_t put_log(char *out)
{
	static const char *const members[][2] = {
	        {"client_id", "1"},
	        {"content_id", "-9223372036854775808"},
	        {"timestamp", "1586846680064"},
	        {"text", "\"hello \\\" w\\u00f6rld \\ud83d\\ude00 0123456789\""},
	        {"more", "[ 1 , { \"a b\" : null } ]"}};
	return put_object(out, members, N(members));
}

static size_t put_params(char *out)
{
	static const char *const members[][2] = {{"klag", "3"},
	                                         {"tag", "[\"a\",\"b c\",1.50]"},
	                                         {"e\\u20ac", "true"},
	                                         {"", "\"&=\xe2\x82\xac\""}};
	return put_object(out, members, N(members));
}

static size_t put_mark(char *out)
{
	return draw_one_in(10) ? (size_t)sprintf(out, MARK) : 0;
}

static size_t put_track(char *out)
{
	static char params[4096];
	put_params(params);
	const char *const members[][2] = {
	        {"type", "\"app_open\""}, {"ts", "1510826008003"}, {"params", params}};
	return put_object(out, members, N(members));
}

static size_t put_batch(char *out)
{
	bool array = draw_one_in(2);
	size_t n = array ? (size_t)sprintf(out, "%s[%s", space(), space()) : 0;
	for (unsigned i = 0, elements = draw_below(5); i < elements; i++) {
		if (i > 0)
			n += (size_t)sprintf(out + n,
			                     array            ? "%s,%s"
			                     : draw_one_in(2) ? "\n"
			                                      : "\r\n",
			                     space(), space());
		n += array ? 0 : put_mark(out + n);
		n += draw_one_in(6) ? put_any(out + n) : put_track(out + n);
	}
	return n + (size_t)sprintf(out + n, array ? "%s]%s" : "%s", space(), space());
}

static size_t put_postback(char *out)
{
	static const char *const urls[] = {"\"http://host/data?title={a}&x={b c}\"",
	                                   "\"hTTps:\\/\\/{host}:80\"",
	                                   "\"https://u:p@\\u0068\\u00f6st\"",
	                                   "\"http://h#a@b\"",
	                                   "\"http://u@\"",
	                                   "\"http://:80/\"",
	                                   "\"http:///x\"",
	                                   "\"ftp://h/\"",
	                                   "\"http://h/\\u0000\"",
	                                   "\"http://@h@i\""};
	static const char *const methods[] = {"\"GET\"",   "\"POST\"",   "\"PU\\u0054\"",
	                                      "\"PATCH\"", "\"DELETE\"", "\"get\""};
	static const char *const element[][2] = {
	        {"a", "\"x y\""}, {"b c", "-1.50e+3"}, {"\\u20ac", "null"}, {"d", "\"\\\"\\\\ \""}};
	static char endpoint[4096], data[1 << 15];
	const char *const inner[][2] = {{"method", methods[draw_below(draw_one_in(4) ? N(methods) : 5)]},
	                                {"url", urls[draw_below(draw_one_in(4) ? N(urls) : 4)]}};
	put_object(endpoint, inner, N(inner));
	size_t n = (size_t)sprintf(data, "[%s", space());
	for (unsigned i = 0, elements = draw_one_in(8) ? 0 : 1 + draw_below(4); i < elements; i++) {
		if (i > 0)
			n += (size_t)sprintf(data + n, "%s,%s", space(), space());
		n += draw_one_in(20) ? put_any(data + n) : put_object(data + n, element, N(element));
	}
	sprintf(data + n, "%s]", space());
	const char *const outer[][2] = {{"endpoint", endpoint}, {"data", data}};
	return put_object(out, outer, N(outer));
}

static void random_bodies_are_what_jansson_makes_of_them(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		body_oracle *oracle;
		size_t (*put)(char *out);
	} kinds[] = {
	        {"metric", json_oracle_metric, put_metric}, {"log", json_oracle_log, put_log},
	        {"track", json_oracle_track, put_track},    {"params", json_oracle_params, put_params},
	        {"batch", json_oracle_batch, put_batch},    {"postback", json_oracle_postback, put_postback}};
	static char text[1 << 18];
	for (size_t kind = 0; kind < N(kinds); kind++) {
		unsigned seen[JSON_UNDECIDED + 1] = {0};
		for (unsigned i = 0; i < RANDOM_TEXTS; i++) {
			size_t mark = put_mark(text), bytes = mark + kinds[kind].put(text + mark);
			if (draw_one_in(10))
				text[draw_below((unsigned)bytes + 1)] ^= (char)(1u << draw_below(8));
			if (draw_one_in(20))
				bytes = draw_below((unsigned)bytes + 1);
			enum json_agreement agreement = kinds[kind].oracle(body_put(text, bytes), bytes);
			assert_int_not_equal(agreement, JSON_DISAGREED);
			seen[agreement]++;
		}
		print_message("%s: %u accepted, %u refused, %u undecided\n", kinds[kind].name,
		              seen[JSON_ACCEPTED], seen[JSON_REFUSED], seen[JSON_UNDECIDED]);
		assert_true(seen[JSON_ACCEPTED] > RANDOM_TEXTS / 10);
		assert_true(seen[JSON_REFUSED] > RANDOM_TEXTS / 50 &&
		            seen[JSON_UNDECIDED] < RANDOM_TEXTS / 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines_come_with_their_numbers),
	        cmocka_unit_test(a_byte_order_mark_in_front_makes_no_line_and_hides_no_array),
	        cmocka_unit_test(a_broken_line_leaves_the_others_alone),
	        cmocka_unit_test(elements_of_an_array_come_with_their_numbers),
	        cmocka_unit_test(an_array_that_is_no_json_is_refused_whole),
	        cmocka_unit_test(random_bodies_are_what_jansson_makes_of_them),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, body_pages, NULL);
}
