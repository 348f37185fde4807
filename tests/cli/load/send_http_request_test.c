/* What `millrace send http` sends, and where to. */
#include "cli/load/send_http_connection.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"

static struct send_http_request_settings settings_for(enum send_http_route route, double corrupt)
{
	bool many = route == SEND_HTTP_BATCH || route == SEND_HTTP_INGEST;
	return (struct send_http_request_settings){.route = route,
	                                           .corrupt_percent = corrupt,
	                                           .seed = draw(),
	                                           .first = 1 + draw_below(1000000),
	                                           .batch = many ? 1 + draw_below(20) : 1,
	                                           .time_ms = 1586846680064,
	                                           .host = "localhost",
	                                           .prefix = "",
	                                           .endpoint = "http://127.0.0.1:9/data"};
}

/* The body of a request with one Content-Length, which must be right. */
static const char *body_of(char *text, size_t bytes, size_t *length)
{
	char *end = memmem(text, bytes, "\r\n\r\n", 4);
	assert_non_null(end);
	*end = '\0';
	const char *field = strstr(text, "\r\nContent-Length: ");
	*length = (size_t)(text + bytes - (end + 4));
	assert_true(field != NULL || *length == 0);
	if (field != NULL)
		assert_int_equal(strtoul(field + 18, NULL, 10), *length);
	return end + 4;
}

static json_int_t number_in(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);
	return json_is_string(value) ? atoll(json_string_value(value)) : json_integer_value(value);
}

static void check_lines(const char *body, size_t length, uint64_t first, uint32_t batch)
{
	for (uint32_t i = 0; i < batch; i++) {
		const char *end = memchr(body, '\n', length);
		assert_non_null(end);
		json_t *line = json_loadb(body, (size_t)(end - body), 0, NULL);
		assert_int_equal(number_in(json_object_get(line, "params"), "n"), first + i);
		assert_true(json_is_string(json_object_get(line, "type")));
		json_decref(line);
		length -= (size_t)(end + 1 - body);
		body = end + 1;
	}
	assert_int_equal(length, 0);
}

static void check_body(const struct send_http_request_settings *settings, uint64_t first, const char *body,
                       size_t length)
{
	if (settings->route == SEND_HTTP_BATCH) {
		check_lines(body, length, first, settings->batch);
		return;
	}
	json_t *root = json_loadb(body, length, 0, NULL);
	assert_non_null(root);
	if (settings->route == SEND_HTTP_EVENT) {
		assert_int_equal(number_in(root, "count"), first);
		assert_true(json_string_length(json_object_get(root, "username")) > 0);
		assert_true(json_string_length(json_object_get(root, "metric")) > 0);
	} else if (settings->route == SEND_HTTP_LOG) {
		assert_int_equal(number_in(root, "content_id"), first);
		assert_true(number_in(root, "client_id") > 0 && number_in(root, "timestamp") > 0);
		assert_true(json_string_length(json_object_get(root, "text")) > 0);
	} else {
		json_t *data = json_object_get(root, "data");
		assert_int_equal(json_array_size(data), settings->batch);
		for (uint32_t i = 0; i < settings->batch; i++)
			assert_int_equal(number_in(json_array_get(data, i), "n"), first + i);
	}
	json_decref(root);
}

static void valid_requests_are_whole_and_carry_their_numbers(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		enum send_http_route route = (enum send_http_route)(round % 5);
		struct send_http_request_settings settings = settings_for(route, 0);
		uint64_t number = draw_below(1u << 30), first = send_http_request_first(&settings, number);
		char *text = calloc(1, send_http_request_room(&settings) + 1), key[40];
		struct send_http_request request = send_http_request_make(&settings, number, text);
		assert_int_equal(request.corruption, SEND_HTTP_VALID);
		assert_false(request.last || request.head || request.example);
		assert_true(request.bytes <= send_http_request_room(&settings));
		text[request.bytes] = '\0';
		size_t length;
		const char *body = body_of(text, request.bytes, &length);
		assert_non_null(strstr(text, "\r\nHost: localhost"));
		if (route == SEND_HTTP_TRACK) {
			snprintf(key, sizeof key, "&n=%llu&", (unsigned long long)first);
			assert_memory_equal(text, "GET /t/", 7);
			assert_non_null(strstr(text, key));
			assert_int_equal(length, 0);
		} else {
			assert_memory_equal(text, "POST /", 6);
			check_body(&settings, first, body, length);
		}
		free(text);
	}
}

static void the_same_seed_and_number_make_the_same_request(void **state)
{
	(void)state;
	unsigned differ = 0;
	for (unsigned round = 0; round < 500; round++) {
		struct send_http_request_settings settings =
		        settings_for((enum send_http_route)(round % 5), 50);
		size_t room = send_http_request_room(&settings);
		char *a = calloc(1, room), *b = calloc(1, room);
		struct send_http_request first = send_http_request_make(&settings, round, a);
		struct send_http_request second = send_http_request_make(&settings, round, b);
		assert_int_equal(first.bytes, second.bytes);
		assert_memory_equal(a, b, first.bytes);
		settings.seed++;
		memset(b, 0, room);
		second = send_http_request_make(&settings, round, b);
		differ += first.bytes != second.bytes || memcmp(a, b, first.bytes) != 0;
		free(a);
		free(b);
	}
	assert_true(differ > 450);
}

static bool spoils_body(unsigned corruption)
{
	return corruption == SEND_HTTP_TRUNCATED || corruption == SEND_HTTP_MALFORMED ||
	       corruption == SEND_HTTP_NOT_UTF8;
}

/* That a body of this kind is no JSON, where that is what is wrong with it. */
static void check_spoiled(const struct send_http_request *request, char *text)
{
	size_t length;
	const char *body;
	if (!spoils_body(request->corruption))
		return;
	body = body_of(text, request->bytes, &length);
	json_t *root = json_loadb(body, length, 0, NULL);
	if (root != NULL)
		fail_msg("%s: %.*s", send_http_corruption_name(request->corruption), (int)length, body);
}

static void the_share_of_corrupted_requests_is_what_was_asked_for_and_all_kinds_come(void **state)
{
	(void)state;
	unsigned kinds[SEND_HTTP_CORRUPTIONS] = {0};
	for (unsigned route = 0; route < 5; route++) {
		struct send_http_request_settings settings = settings_for((enum send_http_route)route, 30);
		char *text = malloc(send_http_request_room(&settings) + 1);
		unsigned corrupted = 0;
		for (unsigned i = 0; i < 10000; i++) {
			struct send_http_request request = send_http_request_make(&settings, i, text);
			text[request.bytes] = '\0';
			kinds[request.corruption]++;
			corrupted += request.corruption != SEND_HTTP_VALID;
			check_spoiled(&request, text);
		}
		assert_in_range(corrupted, 2600, 3400);
		free(text);
	}
	for (unsigned i = 0; i < SEND_HTTP_CORRUPTIONS; i++)
		assert_true(kinds[i] > 100);
}

static void the_collectors_mix_has_an_example_event_after_each_20_others(void **state)
{
	(void)state;
	struct send_http_request_settings settings = settings_for(SEND_HTTP_EVENT, 0);
	char *text = malloc(send_http_request_room(&settings) + 1);
	settings.collector = true;
	unsigned examples = 0;
	for (unsigned i = 0; i < 2100; i++) {
		struct send_http_request request = send_http_request_make(&settings, i, text);
		text[request.bytes] = '\0';
		bool is =
		        strstr(text,
		               "{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}") !=
		        NULL;
		assert_int_equal(is, request.example);
		examples += is;
	}
	assert_int_equal(examples, 100);
	free(text);
}

static void the_longest_request_fits_its_room(void **state)
{
	(void)state;
	static char token[SEND_HTTP_TEXT_MAX + 1], url[SEND_HTTP_TEXT_MAX + 1];
	memset(token, 't', SEND_HTTP_TEXT_MAX);
	memset(url, 'u', SEND_HTTP_TEXT_MAX);
	for (unsigned i = 0; i < 300; i++) {
		struct send_http_request_settings settings = settings_for((enum send_http_route)(i % 5), 50);
		settings.first = UINT64_MAX / 2;
		settings.token = token;
		settings.endpoint = settings.prefix = url;
		settings.close = true;
		/* of exact size, so that a sanitizer sees a write past the end */
		size_t room = send_http_request_room(&settings);
		char *text = malloc(room);
		struct send_http_request request = send_http_request_make(&settings, draw() >> 8, text);
		assert_true(request.bytes <= room && request.last);
		free(text);
	}
}

/* ---- where to ---- */

static void addresses_are_taken_in_all_their_forms(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host, *prefix;
		int family;
	} good[] = {
	        {"127.0.0.1:81", "127.0.0.1:81", "", AF_INET},
	        {"127.0.0.1", "127.0.0.1", "", AF_INET},
	        {"http://127.0.0.1/", "127.0.0.1", "", AF_INET},
	        {"HTTP://127.0.0.1:8080/behind/", "127.0.0.1:8080", "/behind", AF_INET},
	        {"http://[::1]:8080/a/b", "[::1]:8080", "/a/b", AF_INET6},
	        {"[::1]", "[::1]", "", AF_INET6},
	        {":8080", "localhost", "", AF_INET},
	        {"unix:/run/x.sock", "localhost", "", AF_UNIX},
	};
	static const char *const bad[] = {"https://127.0.0.1/",
	                                  "::1:8080",
	                                  "[::1",
	                                  "[::1]8080",
	                                  "127.0.0.1:port",
	                                  "http://h/?query",
	                                  "unix:",
	                                  "127.0.0.1:99999",
	                                  "a b",
	                                  "http://127.0.0.1:80 /"};
	struct send_http_target target;
	const char *why;
	for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(send_http_target(good[i].text, &target, &why), 0);
		assert_string_equal(target.host, good[i].host);
		assert_string_equal(target.prefix, good[i].prefix);
		assert_int_equal(target.address.ss_family, good[i].family);
	}
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		why = NULL;
		if (send_http_target(bad[i], &target, &why) == 0 || why == NULL)
			fail_msg("%s was taken", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(valid_requests_are_whole_and_carry_their_numbers),
	        cmocka_unit_test(the_same_seed_and_number_make_the_same_request),
	        cmocka_unit_test(the_share_of_corrupted_requests_is_what_was_asked_for_and_all_kinds_come),
	        cmocka_unit_test(the_collectors_mix_has_an_example_event_after_each_20_others),
	        cmocka_unit_test(the_longest_request_fits_its_room),
	        cmocka_unit_test(addresses_are_taken_in_all_their_forms),
	};
	alarm(60);
	draw_init(20261121);
	return cmocka_run_group_tests_name("send http: requests", tests, NULL, NULL);
}
