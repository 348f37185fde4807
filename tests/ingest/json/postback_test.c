/* Bodies of POST /ingest, case by case and against jansson: endpoints, URLs, elements one after the
 * other in exactly the room that they were said to need. */
#include "tests/fixture/json_body.h"
#include "tests/fixture/postback_urls.h"

#include <stdio.h>
#include <unistd.h>

#include "ingest/json/scan.h"
#include "tests/fixture/draw.h"

static const char is_missing[] = "is missing", is_empty[] = "must not be empty",
                  no_object[] = "must be an object", no_string[] = "must be a string";

static bool open_body(struct json_postback *postback, const char *body, struct json_fault *fault)
{
	const char *text = body_put(body, strlen(body));
	bool open = json_postback_open(postback, text, strlen(body), fault);
	assert_int_not_equal(json_oracle_postback(text, strlen(body)), JSON_DISAGREED);
	return open;
}

/* The next element, in memory of the size that is asked for. */
static void assert_next(struct json_postback *postback, enum postback_method method, const char *url,
                        const char *data)
{
	size_t room = json_postback_room(postback);
	struct event_postback wanted = {.method = (uint16_t)method,
	                                .url_bytes = (uint32_t)strlen(url),
	                                .data_bytes = (uint32_t)strlen(data)};
	char *payload = body_payload(room);
	uint32_t length;
	assert_true(json_postback_next(postback, payload, &length));
	assert_true(length <= room);
	assert_int_equal(length, sizeof wanted + wanted.url_bytes + wanted.data_bytes);
	assert_memory_equal(payload, &wanted, sizeof wanted);
	assert_memory_equal(payload + sizeof wanted, url, wanted.url_bytes);
	if (memcmp(payload + sizeof wanted + wanted.url_bytes, data, wanted.data_bytes) != 0)
		fail_msg("%.*s, expected %s", (int)wanted.data_bytes,
		         payload + sizeof wanted + wanted.url_bytes, data);
	assert_true(event_postback_check(payload, length));
	char json[8192];
	assert_true(event_postback_json(json, sizeof json, payload, length) > 0);
}

static void assert_no_more(struct json_postback *postback)
{
	uint32_t length = 7;
	assert_int_equal(json_postback_room(postback), 0);
	assert_false(json_postback_next(postback, NULL, &length));
	json_postback_pass(postback);
	assert_int_equal(postback->number, postback->n);
}

static void the_example_of_the_old_system_is_one_postback(void **state)
{
	(void)state;
	struct json_postback postback;
	struct json_fault fault;
	assert_true(open_body(
	        &postback,
	        "{\"endpoint\": {\"method\": \"GET\", \"url\": \"http://host/data?title={mascot}&image={location}&foo={bar}\"},\n    \"data\": [{\"mascot\": \"Gopher\", \"location\": "
	        "\"https://blog.golang.org/gopher/gopher.png\"}]}",
	        &fault));
	assert_int_equal(postback.n, 1);
	assert_next(&postback, POSTBACK_GET, "http://host/data?title={mascot}&image={location}&foo={bar}",
	            "{\"mascot\":\"Gopher\",\"location\":\"https://blog.golang.org/gopher/gopher.png\"}");
	assert_no_more(&postback);
}

static const char several[] =
        " { \"data\" : [ {} ,{\"b\":1,\"a\":2},\n{ \"a b\" : \" x \\\" ] } \" , \"c\":-1.50e+3,\"d\":null } , "
        "{\"e\":true,\"e\":false} ] , \"x\":[{}], \"endpoint\":{\"url\":\"HTTPS:\\/\\/h\\u00f6st\\/{a}\",\"method\":\"\\u0050OST\",\"more\":{}} } ";

static void elements_come_in_their_order_without_white_space(void **state)
{
	(void)state;
	static const char url[] = "HTTPS://h\xc3\xb6st/{a}";
	struct json_postback postback;
	struct json_fault fault;
	assert_true(open_body(&postback, several, &fault));
	assert_int_equal(postback.n, 4);
	struct json_postback copy = postback;
	assert_next(&postback, POSTBACK_POST, url, "{}");
	assert_int_equal(postback.number, 1);
	assert_next(&postback, POSTBACK_POST, url, "{\"b\":1,\"a\":2}");
	assert_next(&postback, POSTBACK_POST, url, "{\"a b\":\" x \\\" ] } \",\"c\":-1.50e+3,\"d\":null}");
	assert_next(&postback, POSTBACK_POST, url, "{\"e\":true,\"e\":false}");
	assert_no_more(&postback);

	json_postback_pass(&copy);
	json_postback_pass(&copy);
	assert_int_equal(copy.number, 2);
	assert_next(&copy, POSTBACK_POST, url, "{\"a b\":\" x \\\" ] } \",\"c\":-1.50e+3,\"d\":null}");
	json_postback_pass(&copy);
	assert_no_more(&copy);
}

static bool open_in_payload(const char *data, size_t bytes, void *postback, uint32_t *length,
                            struct json_fault *fault)
{
	*length = 0;
	return json_postback_open(postback, data, bytes, fault);
}

static void a_body_cut_anywhere_is_truncated(void **state)
{
	(void)state;
	static char text[sizeof several];
	memcpy(text, several, sizeof several - 2); /* without the space behind */
	body_assert_truncated(open_in_payload, json_oracle_postback, sizeof(struct json_postback), text);
}

static void methods_are_the_five_as_http_writes_them(void **state)
{
	(void)state;
	static const char *const others[] = {
	        "get",          "Get",
	        "HEAD",         "OPTIONS",
	        "GETS",         "GE",
	        "POST ",        "\\u0000",
	        "DELETEDELETE", "\\u0047\\u0045\\u0054\\u0054\\u0054\\u0054\\u0054"};
	struct json_postback postback;
	struct json_fault fault;
	char body[256];
	for (unsigned i = 0; i < POSTBACK_METHOD_COUNT; i++) {
		sprintf(body, "{\"endpoint\":{\"method\":\"%s\",\"url\":\"http://h\"},\"data\":[{}]}",
		        postback_method_name(i));
		assert_true(open_body(&postback, body, &fault));
		assert_int_equal(postback.method, i);
	}
	for (size_t i = 0; i < N(others); i++) {
		sprintf(body, "{\"endpoint\":{\"method\":\"%s\",\"url\":\"http://h\"},\"data\":[{}]}",
		        others[i]);
		assert_false(open_body(&postback, body, &fault));
		body_assert_fault(&fault, body, LEDGER_WRONG_TYPE, "endpoint.method",
		                  "must be GET, POST, PUT, PATCH or DELETE");
	}
}

static void urls_have_a_scheme_a_host_a_port_that_can_be_and_no_spaces(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(url_cases); i++) {
		struct json_postback postback;
		struct json_fault fault;
		char body[256];
		sprintf(body, "{\"endpoint\":{\"method\":\"GET\",\"url\":\"%s\"},\"data\":[{}]}",
		        url_cases[i].url);
		bool open = open_body(&postback, body, &fault);
		if (open != (url_cases[i].what == NULL))
			fail_msg("%s: %s", url_cases[i].url, open ? "taken" : fault.what);
		if (!open)
			body_assert_fault(&fault, body, LEDGER_WRONG_TYPE, "endpoint.url", url_cases[i].what);
	}
}

static bool url_taken(const char *url)
{
	struct json_postback postback;
	struct json_fault fault;
	static char body[4096];
	snprintf(body, sizeof body, "{\"endpoint\":{\"method\":\"GET\",\"url\":\"%s\"},\"data\":[{}]}", url);
	return open_body(&postback, body, &fault);
}

static void hosts_are_as_long_as_names_can_be(void **state)
{
	(void)state;
	char url[2048], label[64];
	memset(label, 'a', 63);
	label[63] = 0;
	sprintf(url, "http://%s.%s.%s.%.61s/", label, label, label, label); /* 253 */
	assert_true(url_taken(url));
	sprintf(url, "http://%s.%s.%s.%.61s./", label, label, label, label);
	assert_true(url_taken(url));
	sprintf(url, "http://%s.%s.%s.%.62s/", label, label, label, label);
	assert_false(url_taken(url));
	for (unsigned n = 1; n <= 600; n++) {
		strcpy(url, "http://");
		for (unsigned i = 0; i < n; i++)
			strcat(url, "\xc3\xb6");
		assert_int_equal(url_taken(url), n <= 512);
	}
}

static void random_urls_are_judged_as_the_oracle_does(void **state)
{
	(void)state;
	unsigned taken = 0;
	for (unsigned i = 0; i < 20000; i++) {
		char url[512];
		size_t n = (size_t)sprintf(url, "http://");
		for (unsigned k = 1 + draw_below(8); k > 0; k--)
			n += (size_t)sprintf(url + n, "%s", url_pieces[draw_below(N(url_pieces))]);
		taken += url_taken(url); /* the oracle is asked there */
	}
	print_message("%u of 20000 URLs taken\n", taken);
	assert_in_range(taken, 1000, 19000);
}

#define ENDPOINT "\"endpoint\":{\"method\":\"GET\",\"url\":\"http://h\"}"

static void what_is_wrong_is_told_with_its_place(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum ledger_reason reason;
		const char *where, *what;
		size_t at;
	} cases[] = {
	        {"", LEDGER_TRUNCATED, "body", "text ends early", 0},
	        {"{" ENDPOINT ",\"data\":[{}}", LEDGER_MALFORMED, "body", "not JSON", 56},
	        {"[]", LEDGER_UNKNOWN_EVENT, "body", "must be a JSON object", 0},
	        {"{}", LEDGER_MISSING_FIELD, "endpoint", is_missing, 0},
	        {"{" ENDPOINT "}", LEDGER_MISSING_FIELD, "data", is_missing, 0},
	        {"{\"endpoint\":\"\",\"data\":[]}", LEDGER_MISSING_FIELD, "endpoint", is_empty, 0},
	        {"{\"endpoint\":\"http://h\",\"data\":[]}", LEDGER_WRONG_TYPE, "endpoint", no_object, 0},
	        {"{\"endpoint\":[],\"data\":[]}", LEDGER_WRONG_TYPE, "endpoint", no_object, 0},
	        {"{" ENDPOINT ",\"data\":{}}", LEDGER_WRONG_TYPE, "data", "must be an array of objects", 0},
	        {"{" ENDPOINT ",\"data\":null}", LEDGER_WRONG_TYPE, "data", "must be an array of objects", 0},
	        {"{\"endpoint\":{},\"data\":[]}", LEDGER_MISSING_FIELD, "endpoint.method", is_missing, 0},
	        {"{\"endpoint\":{\"method\":\"\"},\"data\":[]}", LEDGER_MISSING_FIELD, "endpoint.method",
	         is_empty, 0},
	        {"{\"endpoint\":{\"method\":\"GET\"},\"data\":[]}", LEDGER_MISSING_FIELD, "endpoint.url",
	         is_missing, 0},
	        {"{\"method\":\"GET\",\"url\":\"http://h\",\"endpoint\":{\"method\":\"GET\"},\"data\":[]}",
	         LEDGER_MISSING_FIELD, "endpoint.url", is_missing, 0},
	        {"{\"endpoint\":{\"method\":1,\"url\":\"x\"},\"data\":[]}", LEDGER_WRONG_TYPE,
	         "endpoint.method", no_string, 0},
	        {"{\"endpoint\":{\"method\":\"GET\",\"url\":[]},\"data\":[]}", LEDGER_WRONG_TYPE,
	         "endpoint.url", no_string, 0},
	        {"{" ENDPOINT ",\"data\":[]}", LEDGER_MISSING_FIELD, "data", is_empty, 0},
	        {"{" ENDPOINT ",\"data\":[[]]}", LEDGER_WRONG_TYPE, "data[]", no_object, 54},
	        {"{" ENDPOINT ",\"data\":[{},\"x\"]}", LEDGER_WRONG_TYPE, "data[]", no_object, 57},
	};
	for (size_t i = 0; i < N(cases); i++) {
		struct json_postback postback;
		struct json_fault fault;
		if (open_body(&postback, cases[i].text, &fault))
			fail_msg("%s: accepted", cases[i].text);
		body_assert_fault(&fault, cases[i].text, cases[i].reason, cases[i].where, cases[i].what);
		if (fault.at != cases[i].at)
			fail_msg("%s: at %zu, expected %zu", cases[i].text, fault.at, cases[i].at);
		struct json_words words;
		(void)json_fault_words(&words, &fault);
		bool second = strcmp(fault.where, "data[]") == 0 && cases[i].at == 57;
		const char *where = second                               ? "data[1]"
		                    : strcmp(fault.where, "data[]") == 0 ? "data[0]"
		                                                         : fault.where;
		assert_string_equal(words.where, where);
		char what[128];
		snprintf(what, sizeof what, fault.structure ? "%s at offset %zu" : "%s", cases[i].what,
		         cases[i].at);
		assert_string_equal(words.what, what);
		assert_int_equal(fault.structure, strcmp(fault.where, "body") == 0 && i < 2);
	}
}

static void values_of_any_type_are_taken_as_deep_as_the_scanner_goes(void **state)
{
	(void)state;
	struct json_postback postback;
	struct json_fault fault;
	static char body[4 * SCAN_DEPTH_MAX];
	assert_true(open_body(&postback,
	                      "{" ENDPOINT
	                      ",\"data\":[{\"a\":[ 1, {\"b\": [] } ],\"o\":{ }}, {\"c\":[\"] }\"]}]}",
	                      &fault));
	assert_int_equal(postback.n, 2);
	assert_next(&postback, POSTBACK_GET, "http://h", "{\"a\":[1,{\"b\":[]}],\"o\":{}}");
	assert_next(&postback, POSTBACK_GET, "http://h", "{\"c\":[\"] }\"]}");
	assert_no_more(&postback);
	/* the body, data and its element are open around the value */
	for (unsigned depth = SCAN_DEPTH_MAX - 4; depth < SCAN_DEPTH_MAX; depth++) {
		sprintf(body, "{" ENDPOINT ",\"data\":[{\"a\":");
		size_t n = strlen(body);
		memset(body + n, '[', depth);
		memset(body + n + depth, ']', depth);
		strcpy(body + n + 2 * depth, "}]}");
		bool open = open_body(&postback, body, &fault);
		assert_int_equal(open, depth + 3 <= SCAN_DEPTH_MAX);
		if (!open)
			assert_int_equal(fault.reason, LEDGER_TOO_LARGE);
	}
}

static void of_repeated_keys_the_last_counts(void **state)
{
	(void)state;
	struct json_postback postback;
	struct json_fault fault;
	assert_true(open_body(
	        &postback,
	        "{\"data\":[],\"data\":[{\"a\":1}],\"endpoint\":7,\"endpoint\":{\"method\":\"X\",\"url\":\"x\",\"method\":\"PUT\",\"url\":\"http://h\"}}",
	        &fault));
	assert_int_equal(postback.n, 1);
	assert_next(&postback, POSTBACK_PUT, "http://h", "{\"a\":1}");
	assert_no_more(&postback);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_of_the_old_system_is_one_postback),
	        cmocka_unit_test(elements_come_in_their_order_without_white_space),
	        cmocka_unit_test(a_body_cut_anywhere_is_truncated),
	        cmocka_unit_test(methods_are_the_five_as_http_writes_them),
	        cmocka_unit_test(urls_have_a_scheme_a_host_a_port_that_can_be_and_no_spaces),
	        cmocka_unit_test(hosts_are_as_long_as_names_can_be),
	        cmocka_unit_test(random_urls_are_judged_as_the_oracle_does),
	        cmocka_unit_test(what_is_wrong_is_told_with_its_place),
	        cmocka_unit_test(values_of_any_type_are_taken_as_deep_as_the_scanner_goes),
	        cmocka_unit_test(of_repeated_keys_the_last_counts),
	};
	draw_init(20261127);
	alarm(60);
	return cmocka_run_group_tests(tests, body_pages, NULL);
}
