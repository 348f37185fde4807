/* What `millrace send http` counts by: the histogram, the reading of answers. */
#include "cli/load/send_http_answer.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/load/send_http_histogram.h"
#include "tests/fixture/draw.h"

/* ---- the histogram ---- */

static void every_value_falls_into_a_bucket_that_is_at_most_a_128th_wide(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t value = draw() >> draw_below(64);
		uint32_t index = send_http_histogram_index(value);
		assert_true(index < SEND_HTTP_HISTOGRAM_BUCKETS);
		uint64_t top = send_http_histogram_value(index);
		assert_true(top >= value && top - value <= value / 128);
		assert_int_equal(send_http_histogram_index(top), index);
		if (top < UINT64_MAX)
			assert_int_equal(send_http_histogram_index(top + 1), index + 1);
	}
	assert_int_equal(send_http_histogram_index(UINT64_MAX), SEND_HTTP_HISTOGRAM_BUCKETS - 1);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
	(void)state;
	static struct send_http_histogram histogram;
	static uint64_t value[10007];
	const unsigned n = sizeof value / sizeof value[0];
	static const double percents[] = {0, 1, 50, 90, 99, 99.9, 100};
	for (unsigned i = 0; i < n; i++) {
		value[i] = draw() >> (20 + draw_below(40));
		send_http_histogram_add(&histogram, value[i]);
	}
	qsort(value, n, sizeof value[0], ascending);
	for (unsigned i = 0; i < sizeof percents / sizeof percents[0]; i++) {
		unsigned rank = (unsigned)(percents[i] / 100 * n + 0.9999999);
		uint64_t right = value[rank == 0 ? 0 : rank - 1];
		uint64_t said = send_http_histogram_percentile(&histogram, percents[i]);
		assert_true(said >= right && said - right <= right / 128);
	}
	assert_int_equal(send_http_histogram_percentile(&histogram, 100), value[n - 1]);
	assert_int_equal(histogram.max, value[n - 1]);
	assert_int_equal(histogram.n, n);
}

static void an_empty_histogram_has_percentiles_of_zero(void **state)
{
	(void)state;
	static struct send_http_histogram histogram;
	assert_int_equal(send_http_histogram_percentile(&histogram, 99), 0);
}

/* ---- answers ---- */

struct known_answer {
	const char *text;
	bool head;
	unsigned status;
	bool close;
	const char *body;
};

/* All of them end without the end of the connection. */
static const struct known_answer known[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", false, 200, false, "OK"},
        {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 200, false, ""},
        {"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", false, 204, false, ""},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, 304, false, ""},
        {"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 31\r\n\r\n", true, 405, false,
         ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n6;x=\"y\"\r\npedia!\r\n0\r\n\r\n",
         false, 200, false, "Wikipedia!"},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked \r\n\r\n00A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
         false, 200, false, "0123456789"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length:5\r\n\r\n12345",
         false, 202, false, "12345"},
        {"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n", false, 400, true,
         "no\n"},
        {"HTTP/1.1 400 Bad Request\r\nConnection: x , Close\r\nContent-Length: 0\r\n\r\n", false, 400, true,
         ""},
        {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false, 200, true, "x"},
        {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", false, 200, false, "x"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", false, 200, false, "x"},
};
#define KNOWN (sizeof known / sizeof known[0])

static void check_answer(const struct send_http_answer *answer, const struct known_answer *right)
{
	size_t bytes = strlen(right->body);
	assert_int_equal(answer->status, right->status);
	assert_int_equal(answer->close, right->close);
	assert_int_equal(answer->body_bytes, bytes);
	assert_memory_equal(answer->body, right->body, bytes);
}

/* Feeds a copy of exact size, so that a sanitizer sees a read past the end. Returns what the last
 * byte gave. */
static enum send_http_answer_result feed(struct send_http_answer *answer, const char *text, size_t bytes,
                                         size_t *used)
{
	char *copy = malloc(bytes + (bytes == 0));
	memcpy(copy, text, bytes);
	enum send_http_answer_result result = send_http_answer_feed(answer, copy, bytes, used);
	free(copy);
	return result;
}

static void an_answer_may_be_cut_at_any_byte(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KNOWN; i++) {
		size_t bytes = strlen(known[i].text), used;
		for (size_t cut = 0; cut < bytes; cut++) {
			struct send_http_answer answer = {0};
			send_http_answer_begin(&answer, known[i].head);
			assert_int_equal(feed(&answer, known[i].text, cut, &used), SEND_HTTP_ANSWER_MORE);
			assert_int_equal(used, cut);
			assert_int_equal(feed(&answer, known[i].text + cut, bytes - cut, &used),
			                 SEND_HTTP_ANSWER_DONE);
			assert_int_equal(used, bytes - cut);
			check_answer(&answer, &known[i]);
		}
	}
}

static void an_answer_may_come_byte_by_byte(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KNOWN; i++) {
		struct send_http_answer answer = {0};
		size_t bytes = strlen(known[i].text), used;
		send_http_answer_begin(&answer, known[i].head);
		for (size_t k = 0; k < bytes; k++)
			assert_int_equal(feed(&answer, known[i].text + k, 1, &used),
			                 k + 1 < bytes ? SEND_HTTP_ANSWER_MORE : SEND_HTTP_ANSWER_DONE);
		check_answer(&answer, &known[i]);
	}
}

static void pipelined_answers_are_told_apart_whatever_the_pieces(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		char text[8192];
		unsigned order[32] = {0}, n = 1 + draw_below(32), at = 0;
		size_t bytes = 0, sent = 0;
		for (unsigned i = 0; i < n; i++) {
			order[i] = draw_below(KNOWN);
			bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s",
			                          known[order[i]].text);
		}
		struct send_http_answer answer = {0};
		send_http_answer_begin(&answer, known[order[0]].head);
		while (sent < bytes) {
			size_t piece = 1 + draw_below(draw_one_in(2) ? 8 : 400), used;
			piece = piece < bytes - sent ? piece : bytes - sent;
			enum send_http_answer_result result = feed(&answer, text + sent, piece, &used);
			assert_int_not_equal(result, SEND_HTTP_ANSWER_BAD);
			sent += used;
			if (result == SEND_HTTP_ANSWER_MORE)
				continue;
			check_answer(&answer, &known[order[at]]);
			at++;
			send_http_answer_begin(&answer, at < n && known[order[at]].head);
		}
		assert_int_equal(at, n);
		assert_int_equal(send_http_answer_end(&answer), SEND_HTTP_ANSWER_MORE);
	}
}

static void a_body_without_length_ends_with_the_connection(void **state)
{
	(void)state;
	static const char text[] = "HTTP/1.1 200 OK\r\nServer: old\r\n\r\nall of this";
	struct send_http_answer answer = {0};
	size_t used;
	send_http_answer_begin(&answer, false);
	assert_int_equal(feed(&answer, text, strlen(text), &used), SEND_HTTP_ANSWER_MORE);
	assert_int_equal(used, strlen(text));
	assert_int_equal(send_http_answer_end(&answer), SEND_HTTP_ANSWER_DONE);
	assert_true(answer.close);
	assert_int_equal(answer.body_bytes, strlen("all of this"));
}

static void an_answer_that_is_cut_off_is_noticed_wherever_it_is(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KNOWN; i++)
		for (size_t cut = 1; cut < strlen(known[i].text); cut++) {
			struct send_http_answer answer = {0};
			size_t used;
			send_http_answer_begin(&answer, known[i].head);
			assert_int_equal(feed(&answer, known[i].text, cut, &used), SEND_HTTP_ANSWER_MORE);
			assert_int_equal(send_http_answer_end(&answer), SEND_HTTP_ANSWER_BAD);
			assert_non_null(answer.error);
		}
}

static void what_is_no_http_is_refused_with_a_reason(void **state)
{
	(void)state;
	static const char *const texts[] = {
	        "HTTP/2.0 200 OK\r\n",
	        "HTTP/1.1 20 OK\r\n",
	        "HTTP/1.1 2000 OK\r\n",
	        "HTTP/1.1 099 OK\r\n",
	        "HTTP/1.1 600 OK\r\n",
	        "HTTP/1.1\r\n",
	        "\r\n",
	        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
	        "HTTP/1.1 200 OK\n",
	        "\n",
	        "HTTP/1.1 200 OK\r\nServer\r\n",
	        "HTTP/1.1 200 OK\r\n: x\r\n",
	        "HTTP/1.1 200 OK\r\nServer : x\r\n",
	        "HTTP/1.1 200 OK\r\nServer: x\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12345678901234567\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
	};
	for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++)
		for (size_t cut = 0; cut < strlen(texts[i]); cut++) {
			struct send_http_answer answer = {0};
			size_t used;
			send_http_answer_begin(&answer, false);
			assert_int_equal(feed(&answer, texts[i], cut, &used), SEND_HTTP_ANSWER_MORE);
			assert_int_equal(feed(&answer, texts[i] + cut, strlen(texts[i]) - cut, &used),
			                 SEND_HTTP_ANSWER_BAD);
			assert_non_null(answer.error);
		}
}

static void long_lines_are_passed_over_and_endless_heads_refused(void **state)
{
	(void)state;
	static char line[SEND_HTTP_ANSWER_HEAD_MAX];
	memset(line, 'x', sizeof line);
	static const char end[] = "\r\nContent-Length: 1\r\n\r\n!";
	size_t used;
	for (size_t n = SEND_HTTP_ANSWER_LINE_KEPT - 12; n < SEND_HTTP_ANSWER_LINE_KEPT + 4; n++) {
		struct send_http_answer answer = {0};
		send_http_answer_begin(&answer, false);
		assert_int_equal(feed(&answer, "HTTP/1.1 200 OK\r\nX: ", 20, &used), SEND_HTTP_ANSWER_MORE);
		assert_int_equal(feed(&answer, line, n, &used), SEND_HTTP_ANSWER_MORE);
		assert_int_equal(feed(&answer, end, 1, &used), SEND_HTTP_ANSWER_MORE);
		assert_int_equal(feed(&answer, end + 1, strlen(end) - 1, &used), SEND_HTTP_ANSWER_DONE);
		assert_int_equal(answer.body_bytes, 1);
	}
	struct send_http_answer answer = {0};
	send_http_answer_begin(&answer, false);
	assert_int_equal(feed(&answer, "HTTP/1.1 200 OK\r\nX: ", 20, &used), SEND_HTTP_ANSWER_MORE);
	assert_int_equal(feed(&answer, line, sizeof line, &used), SEND_HTTP_ANSWER_BAD);
}

static void retry_after_is_understood_as_seconds(void **state)
{
	(void)state;
	static const struct {
		const char *value;
		bool there;
		uint32_t seconds;
	} cases[] = {{"17", true, 17},
	             {"0", true, 0},
	             {"99999999999", true, UINT32_MAX},
	             {"Fri, 31 Dec 1999 23:59:59 GMT", false, 0},
	             {"", false, 0}};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[160];
		size_t used;
		int n = snprintf(text, sizeof text,
		                 "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
		                 cases[i].value);
		struct send_http_answer answer = {0};
		send_http_answer_begin(&answer, false);
		assert_int_equal(feed(&answer, text, (size_t)n, &used), SEND_HTTP_ANSWER_DONE);
		assert_int_equal(answer.retry_after, cases[i].there);
		assert_int_equal(answer.retry_after_s, cases[i].seconds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_value_falls_into_a_bucket_that_is_at_most_a_128th_wide),
	        cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
	        cmocka_unit_test(an_empty_histogram_has_percentiles_of_zero),
	        cmocka_unit_test(an_answer_may_be_cut_at_any_byte),
	        cmocka_unit_test(an_answer_may_come_byte_by_byte),
	        cmocka_unit_test(pipelined_answers_are_told_apart_whatever_the_pieces),
	        cmocka_unit_test(a_body_without_length_ends_with_the_connection),
	        cmocka_unit_test(an_answer_that_is_cut_off_is_noticed_wherever_it_is),
	        cmocka_unit_test(what_is_no_http_is_refused_with_a_reason),
	        cmocka_unit_test(long_lines_are_passed_over_and_endless_heads_refused),
	        cmocka_unit_test(retry_after_is_understood_as_seconds),
	};
	alarm(60);
	draw_init(20261121);
	return cmocka_run_group_tests_name("send http", tests, NULL, NULL);
}
