/* What `millrace catch` reads: requests in pieces of any size, and what they say of their
 * postback. */
#include "cli/catch/catch_account.h"
#include "cli/catch/catch_rules.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"

static const struct catch_limits limits = {.head_bytes = 4096, .body_bytes = 4096};

/* Feeds text in pieces of 1 to `most` bytes, each time at another address, so that a byte read out
 * of bounds or a pointer kept shows under the sanitizer. Returns the result; *data has the
 * bytes. */
static enum catch_request_result feed(struct catch_request *request, const char *text, size_t bytes,
                                      uint32_t most, char **data)
{
	uint32_t have = 0;
	enum catch_request_result result = CATCH_MORE;
	*request = (struct catch_request){0};
	*data = NULL;
	for (size_t at = 0; at < bytes && result == CATCH_MORE;) {
		uint32_t n = 1 + draw_below(most);
		n = n < bytes - at ? n : (uint32_t)(bytes - at);
		char *moved = malloc(have + n);
		assert_non_null(moved);
		if (have > 0)
			memcpy(moved, *data, have);
		memcpy(moved + have, text + at, n);
		free(*data);
		*data = moved;
		have += n;
		at += n;
		result = catch_request_parse(request, *data, &have, &limits);
	}
	return result;
}

static void requests_are_the_same_however_they_are_split(void **state)
{
	(void)state;
	static const char text[] =
	        "POST /x?a=1&n=77 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nwebhook-id:  msg 1 \r\n\r\n"
	        "5\r\nhello\r\n1;a=\"b\"\r\n \r\n00b\r\nworld again\r\n0\r\nA: b\r\n\r\n";
	for (unsigned i = 0; i < 500; i++) {
		struct catch_request request;
		char *data;
		assert_int_equal(feed(&request, text, sizeof text - 1, i < 100 ? 1 : 40, &data), CATCH_DONE);
		assert_int_equal(request.body_bytes, 17);
		assert_memory_equal(data + request.body, "hello world again", 17);
		assert_int_equal(request.field[CATCH_WEBHOOK_ID].bytes, 5);
		assert_memory_equal(data + request.field[CATCH_WEBHOOK_ID].at, "msg 1", 5);
		struct catch_postback postback = catch_postback_read(&request, data);
		assert_int_equal(postback.key, 77);
		assert_false(request.close);
		free(data);
	}
}

static void a_request_ends_where_the_next_begins(void **state)
{
	(void)state;
	char text[] =
	        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.0\r\nContent-Length: 3\r\n\r\nabcGET /3";
	struct catch_request request = {0};
	uint32_t bytes = sizeof text - 1;
	assert_int_equal(catch_request_parse(&request, text, &bytes, &limits), CATCH_DONE);
	char *second = text + request.used;
	uint32_t left = bytes - request.used;
	request = (struct catch_request){0};
	assert_int_equal(catch_request_parse(&request, second, &left, &limits), CATCH_DONE);
	assert_true(request.close);
	assert_memory_equal(second + request.body, "abc", request.body_bytes);
	assert_string_equal(second + request.used, "GET /3");
}

static void random_changes_never_read_out_of_bounds(void **state)
{
	(void)state;
	static const char *const texts[] = {
	        "POST /x?n=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nn=2&t",
	        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"n\":\"1\"}"};
	unsigned done = 0, bad = 0;
	for (unsigned i = 0; i < 20000; i++) {
		char text[256];
		const char *from = texts[draw_below(3)];
		size_t bytes = strlen(from);
		memcpy(text, from, bytes);
		for (unsigned n = draw_below(4); n > 0; n--)
			text[draw_below((uint32_t)bytes)] = (char)draw_below(256);
		struct catch_request request;
		char *data;
		enum catch_request_result result = feed(&request, text, bytes, 64, &data);
		if (result == CATCH_DONE) {
			assert_true(request.used <= bytes);
			catch_postback_read(&request, data);
			done++;
		} else if (result == CATCH_BAD) {
			assert_true(request.status >= 400 && request.status <= 499 && request.error != NULL);
			bad++;
		}
		free(data);
	}
	assert_true(done > 1000 && bad > 1000);
}

static void the_table_tells_many_postbacks_apart(void **state)
{
	(void)state;
	struct catch_account *account = malloc(sizeof *account);
	assert_non_null(account);
	assert_int_equal(catch_account_init(account, 50000), 0);
	for (uint64_t round = 0; round < 2; round++)
		for (uint64_t n = 1; n <= 60000; n++) {
			struct catch_postback postback = {.key = n * 1024, .id = n | 1};
			catch_account_take(account, &postback);
			catch_account_answered(account, &postback, n % 2 == 0 ? 200 : 500, 0);
		}
	assert_int_equal(account->distinct, 50000);
	assert_int_equal(account->untracked, 20000);
	assert_int_equal(account->delivered, 25000);
	assert_int_equal(account->duplicates, 25000);
	assert_int_equal(account->other_id, 0);
	catch_account_fini(account);
	free(account);
}

static void shares_of_fates_are_as_they_are_given(void **state)
{
	(void)state;
	struct catch_rules rules;
	catch_rules_init(&rules);
	assert_null(catch_rules_add(&rules, "answer", "200:0.5,500:0.5"));
	assert_null(catch_rules_add(&rules, "hang", "0.1"));
	assert_null(catch_rules_add(&rules, "close", "/a=0.3"));
	assert_null(catch_rules_add(&rules, "answer", "/a/b=404"));
	catch_rules_end(&rules);
	unsigned hung = 0, closed = 0, good = 0;
	for (unsigned i = 0; i < 1000; i++) {
		double draws[2] = {(i + 0.5) / 1000, 0};
		struct catch_fate fate = catch_rules_fate(&rules, "/a?", 3, draws);
		hung += fate.hangs;
		closed += fate.closes;
		good += !fate.hangs && !fate.closes && fate.status == 200;
		assert_int_equal(catch_rules_fate(&rules, "/a/b/c", 6, draws).status, 404);
	}
	assert_int_equal(hung, 100);
	assert_int_equal(closed, 300);
	assert_int_equal(good, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(requests_are_the_same_however_they_are_split),
	        cmocka_unit_test(a_request_ends_where_the_next_begins),
	        cmocka_unit_test(random_changes_never_read_out_of_bounds),
	        cmocka_unit_test(the_table_tells_many_postbacks_apart),
	        cmocka_unit_test(shares_of_fates_are_as_they_are_given),
	};
	draw_init(20261127);
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
