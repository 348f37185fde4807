/* The head of a request, case by case, in every split, at its limits. Every text ends where a page
 * ends that nothing may be read behind. */
#include "ingest/http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/http_oracle.h"
#include "tests/fixture/http_request_cases.h"
#include "tests/fixture/page_end.h"

#define ROOM (1u << 16)
#define N(a) (sizeof a / sizeof *a)

static const struct request_limits limits = {.line_bytes = 1024, .head_bytes = 4096, .fields = 32};
static char *page_end;

/* Parses text where nothing may be read behind it, with rubbish in request. */
static enum request_result parse_within(struct request *request, const char *text, size_t bytes,
                                        const struct request_limits *within)
{
	assert_true(bytes <= ROOM);
	memset(request, 0xa5, sizeof *request);
	return request_parse(request, memcpy(page_end - bytes, text, bytes), bytes, within);
}

static enum request_result parse(struct request *request, const char *text, size_t bytes)
{
	return parse_within(request, text, bytes, &limits);
}

static void assert_slice(const char *head, const char *what, struct slice slice, const char *expected)
{
	if (expected == NULL ? slice.text == NULL && slice.bytes == 0
	                     : slice.text != NULL && slice.bytes == strlen(expected) &&
	                               memcmp(slice.text, expected, slice.bytes) == 0)
		return;
	fail_msg("%s: %s is \"%.*s\", expected \"%s\"", head, what, (int)slice.bytes,
	         slice.text ? slice.text : "NULL", expected ? expected : "NULL");
}

static void assert_slices(const struct request *request, const struct taken *expected)
{
	const char *head = expected->head;
	assert_slice(head, "method", request->method_text, expected->method);
	assert_slice(head, "path", request->path, expected->path);
	assert_slice(head, "query", request->query, expected->query);
	assert_slice(head, "host", request->host, expected->host);
	assert_slice(head, "Content-Type", request->content_type, expected->content_type);
	assert_slice(head, "User-Agent", request->user_agent, expected->user_agent);
	assert_slice(head, "Authorization", request->authorization, expected->authorization);
	assert_slice(head, "Origin", request->origin, expected->origin);
	assert_slice(head, "X-Push-IP", request->push_ip, expected->push_ip);
	assert_slice(head, "X-Forwarded-For", request->forwarded_for, expected->forwarded_for);
	assert_slice(head, "X-Real-IP", request->real_ip, expected->real_ip);
	assert_slice(head, "Forwarded", request->forwarded, expected->forwarded);
	assert_slice(head, "requested method", request->request_method, expected->request_method);
	assert_slice(head, "requested headers", request->request_headers, expected->request_headers);
}

static void assert_taken(const struct request *request, const struct taken *expected)
{
	unsigned minor = expected->http_1_0 ? 0 : expected->minor ? expected->minor : 1;
	assert_int_equal(request->head_bytes, strlen(expected->head));
	assert_int_equal(request->method, expected->as);
	assert_int_equal(request->minor, minor);
	if (request->keep_alive == expected->closes)
		fail_msg("%s: keep_alive is %d", expected->head, request->keep_alive);
	assert_int_equal(request->expect_continue, expected->expect_continue);
	assert_int_equal(request->chunked, expected->chunked);
	assert_int_equal(request->do_not_track, expected->do_not_track);
	if (request->coding != expected->coding)
		fail_msg("%s: coding %d", expected->head, request->coding);
	assert_true(request->content_length == expected->content_length);
	assert_slices(request, expected);
}

static void every_field_of_a_good_head_is_read(void **state)
{
	(void)state;
	struct request request;
	for (size_t i = 0; i < N(taken); i++) {
		const char *head = taken[i].head;
		if (parse(&request, head, strlen(head)) != REQUEST_WHOLE)
			fail_msg("%s: %u %s: %s", head, request.status, request.where, request.error);
		assert_taken(&request, &taken[i]);
		assert_int_equal(http_oracle_head(head, strlen(head)), HTTP_WHOLE);
	}
}

static void what_follows_a_head_changes_nothing(void **state)
{
	(void)state;
	static const char *const tails[] = {" ",    "\r\n",       "\n",
	                                    "\xff", "{\"a\": 1}", "GET / HTTP/1.1\r\n\r\n"};
	for (size_t i = 0; i < N(taken); i++) {
		for (size_t t = 0; t < N(tails); t++) {
			char text[2048];
			struct request request;
			int bytes = snprintf(text, sizeof text, "%s%s", taken[i].head, tails[t]);
			assert_int_equal(parse(&request, text, (size_t)bytes), REQUEST_WHOLE);
			assert_taken(&request, &taken[i]);
		}
	}
}

static void every_prefix_of_a_good_head_is_partial(void **state)
{
	(void)state;
	struct request request;
	for (size_t i = 0; i < N(taken); i++) {
		for (size_t bytes = 0; bytes < strlen(taken[i].head); bytes++)
			if (parse(&request, taken[i].head, bytes) != REQUEST_PARTIAL)
				fail_msg("%.*s: %u %s: %s", (int)bytes, taken[i].head, request.status,
				         request.where, request.error);
	}
}

static void a_bad_head_is_refused_when_its_line_has_ended(void **state)
{
	(void)state;
	struct request request;
	for (size_t i = 0; i < N(refused); i++) {
		const struct refused *r = &refused[i];
		if (parse(&request, r->head, r->bytes) != REQUEST_BAD)
			fail_msg("%.*s is not refused", (int)r->bytes, r->head);
		if (request.status != r->status || strcmp(request.where, r->where) != 0)
			fail_msg("%.*s: %u %s: %s, expected %u %s", (int)r->bytes, r->head, request.status,
			         request.where, request.error, r->status, r->where);
		assert_true(strlen(request.error) > 0);
	}
}

static void a_bad_head_gets_one_verdict_in_whatever_pieces_it_comes(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(refused); i++) {
		struct request whole, part;
		char text[1024];
		size_t bytes = refused[i].bytes;
		memcpy(text, refused[i].head, bytes);
		strcpy(text + bytes, "Host: a\r\n\r\n");
		assert_int_equal(parse(&whole, text, bytes + strlen(text + bytes)), REQUEST_BAD);
		bool bad = false;
		for (size_t n = 0; n <= bytes; n++) {
			enum request_result result = parse(&part, text, n);
			if (result == REQUEST_WHOLE || (bad && result == REQUEST_PARTIAL))
				fail_msg("%.*s: result %d", (int)n, text, result);
			bad = result == REQUEST_BAD;
			if (bad)
				assert_true(part.status == whole.status && part.error == whole.error &&
				            part.where == whole.where);
		}
		assert_true(bad);
	}
}

/* ---- characters: the RFCs' words against the table ---- */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* Puts each of the 256 octets at each of 40 places (all of a vector and its rest) between two
 * texts; those of good, and obs-text when so, must be taken. */
static void assert_characters(const char *before, const char *after, const char *good, bool obs_text)
{
	static const char run[] =
	        "ghijklmnopqrstuvwxyzghijklmnopqrstuvwxyz" /* no hexadecimal digits: "%" is wrong in a host */
	        ;
	for (unsigned c = 0; c < 256; c++) {
		bool allowed = (c != 0 && strchr(good, (int)c)) || (obs_text && c >= 0x80);
		for (size_t place = 0; place < sizeof run - 1; place++) {
			char text[256];
			struct request request;
			int bytes = snprintf(text, sizeof text, "%s%s%s", before, run, after);
			text[strlen(before) + place] = (char)c;
			enum request_result result = parse(&request, text, (size_t)bytes);
			if (result != (allowed ? REQUEST_WHOLE : REQUEST_BAD))
				fail_msg("octet %u at %zu behind %s: result %d", c, place, before, result);
		}
	}
}

static void exactly_the_right_octets_are_taken_everywhere(void **state)
{
	(void)state;
	static const char tokens[] = LETTERS "!#$%&'*+-.^_`|~";
	static const char target[] = LETTERS "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
	assert_characters("", " / HTTP/1.1\r\nHost: a\r\n\r\n", tokens, false);
	assert_characters("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n", target, false);
	assert_characters("GET /?a", " HTTP/1.1\r\nHost: a\r\n\r\n", target, false);
	assert_characters("GET / HTTP/1.1\r\nHost: a\r\nX", "X: y\r\n\r\n",
	                  LETTERS "!#$%&'*+-.^_`|~:", false);
	assert_characters("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n",
	                  LETTERS "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true);
	assert_characters("GET / HTTP/1.1\r\nHost: x", "y\r\n\r\n", LETTERS "!$&'()*+,;=-._~", false);
}

/* Every name that is known, with each of its letters changed in 8 ways: only a change of case
 * leaves it the same name. */
static void names_are_known_without_regard_to_case_and_nothing_else_is(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value;
	} known[] = {{"Content-Length", "x"}, {"Transfer-Encoding", ""}, {"Expect", "x"}, {"Host", "/"}};
	for (size_t k = 0; k < N(known); k++) {
		for (size_t i = 0; i < strlen(known[k].name); i++) {
			for (unsigned bit = 0; bit < 8; bit++) {
				char text[256];
				struct request request;
				int bytes = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s: %s\r\n",
				                     known[k].name, known[k].value);
				char *c = text + strlen("GET / HTTP/1.1\r\n") + i;
				bool letter = *c != '-';
				*c ^= (char)(1u << bit);
				if (*c == ':') /* then it is another name for sure */
					continue;
				enum request_result result = parse(&request, text, (size_t)bytes);
				bool same =
				        result == REQUEST_BAD && strcmp(request.where, known[k].name) == 0;
				assert_int_equal(same, letter && bit == 5);
			}
		}
	}
}

/* ---- limits ---- */

/* Prefixes of text from `from` bytes on, all of them refused with the status, and the one before it
 * partial. */
static void assert_limit(const char *text, size_t from, const struct request_limits *within, unsigned status)
{
	struct request request;
	assert_int_equal(parse_within(&request, text, from - 1, within), REQUEST_PARTIAL);
	for (size_t bytes = from; bytes <= strlen(text); bytes++) {
		assert_int_equal(parse_within(&request, text, bytes, within), REQUEST_BAD);
		assert_int_equal(request.status, status);
		assert_true(request.error && request.where);
	}
}

static void a_request_line_over_its_limit_is_414_at_once(void **state)
{
	(void)state;
	static const char head[] = "\r\n\r\nGET /0123456789 HTTP/1.1\r\nHost: a\r\n\r\n";
	struct request request;
	uint32_t line = (uint32_t)strlen("GET /0123456789 HTTP/1.1\r\n");
	struct request_limits within = {.line_bytes = line, .head_bytes = 1024, .fields = 8};
	assert_int_equal(parse_within(&request, head, sizeof head - 1, &within), REQUEST_WHOLE);
	for (uint32_t short_by = 1; short_by < line; short_by++) {
		within.line_bytes = line - short_by;
		assert_limit(head, 4 + within.line_bytes + 1, &within, 414);
	}
}

static void a_head_over_its_limit_is_431_at_once(void **state)
{
	(void)state;
	static const char head[] = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: some text\r\n\r\n";
	struct request request;
	uint32_t bytes = sizeof head - 1;
	struct request_limits within = {.line_bytes = 1024, .head_bytes = bytes, .fields = 8};
	assert_int_equal(parse_within(&request, head, bytes, &within), REQUEST_WHOLE);
	for (uint32_t short_by = 1; short_by < bytes; short_by++) {
		within.head_bytes = bytes - short_by;
		assert_limit(head, within.head_bytes + 1, &within, 431);
	}
}

static void a_body_does_not_count_against_the_limits(void **state)
{
	(void)state;
	static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n";
	static char text[sizeof head + 5000];
	struct request request;
	struct request_limits within = {.line_bytes = 17, .head_bytes = sizeof head - 1, .fields = 2};
	memset(text, 'x', sizeof text);
	memcpy(text, head, sizeof head - 1);
	assert_int_equal(parse_within(&request, text, sizeof text, &within), REQUEST_WHOLE);
	assert_int_equal(request.head_bytes, sizeof head - 1);
}

static void one_field_too_many_is_431(void **state)
{
	(void)state;
	static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nX:\r\nX:\r\n\r\n";
	struct request request;
	struct request_limits within = {.line_bytes = 1024, .head_bytes = 1024, .fields = 4};
	assert_int_equal(parse_within(&request, head, sizeof head - 1, &within), REQUEST_WHOLE);
	within.fields = 3;
	assert_limit(head, strlen("GET / HTTP/1.1\r\nHost: a\r\nX:\r\nX:\r\n") + 1, &within, 431);
}

/* ---- request_ready ---- */

static void a_good_head_is_ready_with_its_last_byte_in_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(taken); i++) {
		size_t bytes = strlen(taken[i].head);
		char *text = memcpy(page_end - bytes, taken[i].head, bytes);
		for (size_t split = 0; split < bytes; split++) {
			size_t seen = 0;
			assert_false(request_ready(text, split, &seen));
			assert_int_equal(seen, split);
			assert_true(request_ready(text, bytes, &seen));
			assert_int_equal(seen, bytes);
		}
		size_t seen = 0;
		for (size_t n = 0; n < bytes; n++)
			assert_false(request_ready(text, n, &seen));
		assert_true(request_ready(text, bytes, &seen));
	}
}

static void a_head_is_ready_when_a_line_feed_stands_alone(void **state)
{
	(void)state;
	static const char *const texts[] = {"\n",           "\r\n\n",
	                                    "GET /\n",      "GET / HTTP/1.1\r\nHost: a\n",
	                                    "\r\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"};
	for (size_t i = 0; i < N(texts); i++) {
		size_t bytes = strlen(texts[i]), seen = 0;
		char *text = memcpy(page_end - bytes, texts[i], bytes);
		struct request request;
		for (size_t n = 0; n < bytes; n++)
			assert_false(request_ready(text, n, &seen));
		assert_true(request_ready(text, bytes, &seen));
		assert_int_equal(parse(&request, texts[i], bytes), REQUEST_BAD);
	}
}

/* ---- percent-encoding ---- */

static void assert_decoded(const char *text, size_t bytes, const char *expected, long length)
{
	char *end = page_end - bytes, out[64];
	memcpy(end, text, bytes);
	assert_int_equal(percent_decode(out, end, bytes), length);
	if (length > 0)
		assert_memory_equal(out, expected, (size_t)length);
	if (length >= 0) { /* in place as well */
		assert_int_equal(percent_decode(end, end, bytes), length);
		assert_memory_equal(end, expected, (size_t)length);
	}
}

static void percent_encoding_is_resolved(void **state)
{
	(void)state;
	assert_decoded("", 0, "", 0);
	assert_decoded("abc+d", 5, "abc+d", 5);
	assert_decoded("%41%4a%4A%2f%00%ff", 18, "AJJ/\0\xff", 6);
	assert_decoded("a%25b%2525", 10, "a%b%25", 6);
	assert_decoded("\xff\0%20", 5, "\xff\0 ", 3);
	assert_decoded("%", 1, NULL, -1);
	assert_decoded("ab%4", 4, NULL, -1);
	assert_decoded("%4g", 3, NULL, -1);
	assert_decoded("%g4", 3, NULL, -1);
	assert_decoded("%%41", 4, NULL, -1);
	assert_decoded("% 1", 3, NULL, -1);
	assert_decoded("%4:", 3, NULL, -1);
	assert_decoded("%@1", 3, NULL, -1);
	for (unsigned c = 0; c < 256; c++) {
		char text[4], octet = (char)c;
		snprintf(text, sizeof text, "%%%02x", c);
		assert_decoded(text, 3, &octet, 1);
	}
}

static int make_page(void **state)
{
	(void)state;
	page_end = page_end_make(ROOM);
	return page_end ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_field_of_a_good_head_is_read),
	        cmocka_unit_test(what_follows_a_head_changes_nothing),
	        cmocka_unit_test(every_prefix_of_a_good_head_is_partial),
	        cmocka_unit_test(a_bad_head_is_refused_when_its_line_has_ended),
	        cmocka_unit_test(a_bad_head_gets_one_verdict_in_whatever_pieces_it_comes),
	        cmocka_unit_test(exactly_the_right_octets_are_taken_everywhere),
	        cmocka_unit_test(names_are_known_without_regard_to_case_and_nothing_else_is),
	        cmocka_unit_test(a_request_line_over_its_limit_is_414_at_once),
	        cmocka_unit_test(a_head_over_its_limit_is_431_at_once),
	        cmocka_unit_test(a_body_does_not_count_against_the_limits),
	        cmocka_unit_test(one_field_too_many_is_431),
	        cmocka_unit_test(a_good_head_is_ready_with_its_last_byte_in_every_split),
	        cmocka_unit_test(a_head_is_ready_when_a_line_feed_stands_alone),
	        cmocka_unit_test(percent_encoding_is_resolved),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, make_page, NULL);
}
