/* Answers: ETag, gzip, problems. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "serve/problem.h"

static struct request request;

static void ask(const char *if_none_match, const char *accept_encoding)
{
	request_init(&request, REQUEST_GET);
	if (if_none_match != NULL)
		request_set_field(&request, REQUEST_IF_NONE_MATCH, if_none_match, strlen(if_none_match));
	if (accept_encoding != NULL)
		request_set_field(&request, REQUEST_ACCEPT_ENCODING, accept_encoding,
		                  strlen(accept_encoding));
}

static void make(struct answer *answer, const char *text)
{
	answer_init(answer);
	answer_text(answer, 200, "text/plain", text);
	answer_finish(answer, &request);
}

static void who_has_the_body_already_is_sent_none(void **state)
{
	(void)state;
	struct answer answer;
	char etag[ANSWER_ETAG_BYTES], lists[6][80];
	ask(NULL, NULL);
	make(&answer, "hello");
	assert_int_equal(answer.status, 200);
	assert_memory_equal(answer.body, "hello", 5);
	strcpy(etag, answer.etag);
	assert_memory_equal(etag, "W/\"", 3);
	answer_free(&answer);
	snprintf(lists[0], sizeof lists[0], "%s", etag);
	snprintf(lists[1], sizeof lists[1], "%s", etag + 2); /* weak comparison */
	snprintf(lists[2], sizeof lists[2], "\"a\", %s", etag);
	snprintf(lists[3], sizeof lists[3], "*");
	snprintf(lists[4], sizeof lists[4], "%s,\"b\"", etag);
	for (unsigned i = 0; i < 5; i++) {
		ask(lists[i], "gzip");
		make(&answer, "hello");
		assert_int_equal(answer.status, 304);
		assert_null(answer.body);
		assert_string_equal(answer.etag, etag);
		answer_free(&answer);
	}
	static const char *const others[] = {"\"a\"", "", ",", "W/", "W/\"\"", "\"", "hello"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		ask(others[i], NULL);
		make(&answer, "hello");
		assert_int_equal(answer.status, 200);
		answer_free(&answer);
	}
	ask(etag, NULL);
	make(&answer, "hello!");
	assert_int_equal(answer.status, 200);
	assert_string_not_equal(answer.etag, etag);
	answer_free(&answer);
}

static void what_is_long_is_compressed_for_who_accepts_it(void **state)
{
	(void)state;
	struct answer answer;
	char text[5000], back[5001], plain_etag[ANSWER_ETAG_BYTES];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ask(NULL, NULL);
	make(&answer, text);
	assert_false(answer.gzip);
	strcpy(plain_etag, answer.etag);
	answer_free(&answer);
	ask(NULL, "br, gzip");
	make(&answer, text);
	assert_true(answer.gzip);
	assert_true(answer.bytes < 200);
	assert_string_equal(answer.etag, plain_etag);
	z_stream stream = {.next_in = (Bytef *)answer.body,
	                   .avail_in = (uInt)answer.bytes,
	                   .next_out = (Bytef *)back,
	                   .avail_out = sizeof back};
	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.total_out, sizeof text - 1);
	assert_memory_equal(back, text, sizeof text - 1);
	inflateEnd(&stream);
	answer_free(&answer);
	ask(NULL, "gzip");
	make(&answer, "short");
	assert_false(answer.gzip);
	answer_free(&answer);
}

static void a_problem_is_json_whatever_was_asked(void **state)
{
	(void)state;
	struct answer answer;
	char *path = malloc(REQUEST_PATH_MAX + 1), detail[2000];
	assert_non_null(path);
	for (unsigned i = 0; i < REQUEST_PATH_MAX; i++)
		path[i] = (char)(1 + i % 255);
	path[REQUEST_PATH_MAX] = '\0';
	memset(detail, 0x01, sizeof detail - 1);
	detail[sizeof detail - 1] = '\0';
	answer_init(&answer);
	answer_text(&answer, 200, "text/plain", "before");
	problem(&answer, 404, path, "%s", detail);
	assert_int_equal(answer.status, 404);
	assert_string_equal(answer.type, "application/problem+json");
	json_t *json = json_loadb(answer.body, answer.bytes, 0, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "title")), "Not Found");
	assert_string_equal(json_string_value(json_object_get(json, "type")), "about:blank");
	assert_int_equal(json_integer_value(json_object_get(json, "status")), 404);
	assert_true(json_string_length(json_object_get(json, "instance")) >= REQUEST_PATH_MAX);
	json_decref(json);
	answer_free(&answer);
	free(path);
}

static void a_reader_that_fails_is_told_by_its_kind(void **state)
{
	(void)state;
	static const struct {
		int result;
		unsigned status;
	} rows[] = {{-ETIMEDOUT, 503}, {-EBUSY, 503},  {-ENOMEM, 503},
	            {-EIO, 500},       {-EPROTO, 500}, {-EACCES, 500}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct answer answer;
		answer_init(&answer);
		problem_of(&answer, rows[i].result, "/x", "why");
		assert_int_equal(answer.status, rows[i].status);
		assert_int_equal(answer.retry_after_s != 0, rows[i].status == 503);
		answer_free(&answer);
	}
}

static void a_page_takes_what_an_answer_has_room_for_and_always_one(void **state)
{
	(void)state;
	struct answer_list list = {.items = json_array(), .answer_bytes = 1000};
	char text[301] = "";
	memset(text, 'x', 300);
	for (unsigned i = 0; i < 2; i++) /* 303 bytes each, and what is around them */
		assert_int_equal(answer_list_add(&list, json_string(text)), 0);
	assert_int_equal(answer_list_add(&list, json_string(text)), 1);
	assert_int_equal(answer_list_add(&list, NULL), -ENOMEM);
	assert_int_equal(json_array_size(list.items), 2);
	json_decref(list.items);
	struct answer_list small = {.items = json_array(), .answer_bytes = 10};
	assert_int_equal(answer_list_add(&small, json_string(text)), 0);
	assert_int_equal(answer_list_add(&small, json_string("")), 1);
	json_decref(small.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(who_has_the_body_already_is_sent_none),
	        cmocka_unit_test(what_is_long_is_compressed_for_who_accepts_it),
	        cmocka_unit_test(a_problem_is_json_whatever_was_asked),
	        cmocka_unit_test(a_reader_that_fails_is_told_by_its_kind),
	        cmocka_unit_test(a_page_takes_what_an_answer_has_room_for_and_always_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
