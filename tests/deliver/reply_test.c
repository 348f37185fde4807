/* Answers: heads of every kind, bodies in every framing and in any pieces, and what http-parser
 * thinks of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deliver/reply.h"
#include "tests/fuzz/reply_oracle.h"

#define OK "HTTP/1.1 200 OK\r\n"

static struct reply answer;

static ssize_t read_head(const char *text)
{
	static char copy[4096];
	size_t bytes = strlen(text);
	memcpy(copy, text, bytes);
	return reply_head(&answer, copy, bytes, 0, false);
}

static void a_head_is_read_when_it_is_whole(void **state)
{
	static const char text[] =
	        OK "Content-Length: 5\r\nretry-after: 7 \r\nLOCATION:\t/a\r\nContent-Encoding: gzip\r\n\r\n";
	(void)state;
	char copy[sizeof text];
	for (size_t n = 1; n < sizeof text - 1; n++) {
		memcpy(copy, text, n);
		assert_int_equal(reply_head(&answer, copy, n, n - 1, false), -EAGAIN);
	}
	assert_int_equal(read_head(text), sizeof text - 1);
	assert_int_equal(answer.status, 200);
	assert_int_equal(answer.framing, REPLY_LENGTH);
	assert_int_equal(answer.left, 5);
	assert_int_equal(answer.coding, REPLY_GZIP);
	assert_true(answer.keep);
	assert_int_equal(answer.retry_after.bytes, 1);
	assert_memory_equal(answer.retry_after.text, "7", 1);
	assert_int_equal(answer.location.bytes, 2);
	assert_memory_equal(answer.location.text, "/a", 2);
}

static void what_is_no_answer_is_refused_at_once(void **state)
{
	static const char *const none[] = {
	        "S",
	        "SSH-2.0-OpenSSH\r\n",
	        "hTTP/1.1 200 OK\r\n\r\n",
	        "\r\n" OK "\r\n",
	        "HTTP/ 200 OK\r\n\r\n",
	        "HTTP/1 200 OK\r\n\r\n",
	        "HTTP/11.1 200 OK\r\n\r\n",
	        "HTTP/3.0 200 OK\r\n\r\n",
	        "HTTP/1.1  200 OK\r\n\r\n",
	        "HTTP/1.1 20 OK\r\n\r\n",
	        "HTTP/1.1 2000 OK\r\n\r\n",
	        "HTTP/1.1 099 OK\r\n\r\n",
	        "HTTP/1.1 101 Switching\r\n\r\n",
	        OK " folded: into the first line\r\n\r\n",
	        OK "no colon\r\n\r\n",
	        OK ": no name\r\n\r\n",
	        OK "Content-Length: -1\r\n\r\n",
	        OK "Content-Length: 1x\r\n\r\n",
	        OK "Content-Length:\r\n\r\n",
	        OK "Content-Encoding: gzip, gzip, gzip\r\nContent-Encoding: a, b, c\r\n\r\n"};
	(void)state;
	for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++)
		if (read_head(none[i]) != -EBADMSG)
			fail_msg("%s", none[i]);
	char nul[] = OK "X: a\0b\r\n\r\n";
	assert_int_equal(reply_head(&answer, nul, sizeof nul - 1, 0, false), -EBADMSG);
}

static void framing_and_keeping_are_as_rfc_9112_has_them(void **state)
{
	static const struct {
		const char *head;
		enum reply_framing framing;
		bool keep;
	} cases[] = {
	        {OK "Content-Length: 0", REPLY_LENGTH, true},
	        {OK "Content-Length: 3, 3", REPLY_LENGTH, true},
	        {OK "Content-Length: 3\r\nContent-Length: 4", REPLY_EMPTY, false},
	        {OK "Content-Length: 99999999999999999999999", REPLY_LENGTH, false},
	        {OK "Content-Length : 3", REPLY_LENGTH, false},
	        {OK "X Y: 1\r\nContent-Length: 3", REPLY_LENGTH, false},
	        {OK "X: \x01\r\nContent-Length: 3", REPLY_LENGTH, false},
	        {OK "X: a\rb\r\nContent-Length: 3", REPLY_LENGTH, false},
	        {OK "Content-Length: 3\r\nConnection: upgrade, Close", REPLY_LENGTH, false},
	        {OK "Content-Length: 3\r\nConnection: closed", REPLY_LENGTH, true},
	        {OK "X: y", REPLY_TO_CLOSE, false},
	        {OK "Transfer-Encoding: Chunked", REPLY_CHUNKED, true},
	        {OK "Transfer-Encoding: gzip, chunked", REPLY_CHUNKED, false},
	        {OK "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", REPLY_CHUNKED, false},
	        {OK "Transfer-Encoding: chunked, gzip", REPLY_TO_CLOSE, false},
	        {OK "Transfer-Encoding: chunked\r\nContent-Length: 3", REPLY_CHUNKED, false},
	        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive", REPLY_CHUNKED,
	         false},
	        {"HTTP/1.0 200 OK\r\nContent-Length: 3", REPLY_LENGTH, false},
	        {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive", REPLY_LENGTH, true},
	        {"HTTP/2 200\r\nContent-Length: 3", REPLY_LENGTH, false},
	        {"HTTP/1.1 200\r\nContent-Length: 3", REPLY_LENGTH, true},
	        {"HTTP/1.1 204 None\r\nContent-Length: 3", REPLY_EMPTY, true},
	        {"HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked", REPLY_EMPTY, true},
	        {"HTTP/1.1 103 Early\r\nX: y", REPLY_EMPTY, true},
	        {"HTTP/1.1 999 No\nContent-Length: 3", REPLY_LENGTH, true},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		snprintf(text, sizeof text, "%s\r\n\r\n", cases[i].head);
		if (read_head(text) != (ssize_t)strlen(text) || answer.framing != cases[i].framing ||
		    answer.keep != cases[i].keep)
			fail_msg("%s: %d, %d", cases[i].head, answer.framing, answer.keep);
	}
	char head[] = OK "Content-Length: 3\r\n\r\n";
	assert_true(reply_head(&answer, head, sizeof head - 1, 0, true) > 0);
	assert_int_equal(answer.framing, REPLY_EMPTY);
	assert_true(answer.keep);
}

static void a_folded_line_is_one(void **state)
{
	(void)state;
	assert_true(read_head(OK "Location:\r\n http://a.example/\r\nContent-Length:\n\t3\r\n\r\n") > 0);
	assert_int_equal(answer.location.bytes, 17);
	assert_memory_equal(answer.location.text, "http://a.example/", 17);
	assert_int_equal(answer.left, 3);
	assert_false(answer.keep); /* nobody is to fold any more, and others read it in another way */
}

/* The body of a chunked answer, in one piece. Returns the last step; *rest: bytes that are left. */
static enum reply_step read_chunks(const char *coded, char *body, size_t *rest)
{
	size_t at = 0, bytes = strlen(coded), used;
	enum reply_step step = REPLY_MORE;
	struct reply_span span;
	assert_true(read_head(OK "Transfer-Encoding: chunked\r\n\r\n") > 0);
	body[0] = '\0';
	do {
		step = reply_body(&answer, coded + at, bytes - at, &used, &span);
		if (span.bytes > 0)
			strncat(body, span.text, span.bytes);
		at += used;
	} while (step == REPLY_MORE && at < bytes);
	*rest = bytes - at;
	return step;
}

static void chunks_are_put_together(void **state)
{
	static const struct {
		const char *coded, *body;
		enum reply_step step;
		size_t rest;
	} cases[] = {
	        {"3\r\nabc\r\n4;x=\"y\"\r\ndefg\r\n0\r\n\r\n", "abcdefg", REPLY_DONE, 0},
	        {"00A \r\n0123456789\r\n0\r\nRetry-After: 9\r\n\r\nHTTP", "0123456789", REPLY_DONE, 4},
	        {"1\r\na\r\n", "a", REPLY_MORE, 0},
	        {"ffffffffffffffff\r\nabc", "", REPLY_BROKEN, 6},
	        {"-3\r\nabc", "", REPLY_BROKEN, 7},
	        {"3\nabc\n0\n\n", "", REPLY_BROKEN, 9},
	        {"3\r\nabcd\r\n", "abc", REPLY_BROKEN, 2},
	        {"3;\nabc\n", "", REPLY_BROKEN, 4},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char body[64];
		size_t rest;
		enum reply_step step = read_chunks(cases[i].coded, body, &rest);
		if (step != cases[i].step || strcmp(body, cases[i].body) != 0 ||
		    (step == REPLY_DONE && rest != cases[i].rest))
			fail_msg("%s: %d, %s, %zu", cases[i].coded, step, body, rest);
	}
}

static void trailers_and_extensions_have_a_bound(void **state)
{
	static char noise[REPLY_EXTRA_MAX + 16];
	(void)state;
	size_t used;
	struct reply_span span;
	memset(noise, 'x', sizeof noise);
	for (unsigned i = 0; i < 2; i++) {
		const char *begin = i == 0 ? "3;" : "0\r\n";
		assert_true(read_head(OK "Transfer-Encoding: chunked\r\n\r\n") > 0);
		assert_int_equal(reply_body(&answer, begin, strlen(begin), &used, &span), REPLY_MORE);
		assert_int_equal(reply_body(&answer, noise, REPLY_EXTRA_MAX - 8, &used, &span), REPLY_MORE);
		assert_int_equal(reply_body(&answer, noise, sizeof noise, &used, &span), REPLY_BROKEN);
	}
}

/* ---- as http-parser sees it ---- */

static const char *const sample[] = {
        OK "Content-Length: 2\r\n\r\nOK",
        "HTTP/1.1 204 No Content\r\nServer: x\r\nConnection: close\r\n\r\n",
        OK "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLocation: /a\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        OK "\r\nuntil it closes",
        "HTTP/1.1 307 Go\r\nLocation:\r\n http://a.example/\r\nContent-Length: 0\r\n\r\n",
};

static void http_parser_sees_the_same(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof sample / sizeof sample[0]; i++)
		for (uint64_t seed = 1; seed < 40; seed++)
			if (reply_oracle(sample[i], strlen(sample[i]), seed) != REPLY_AGREED)
				fail_msg("%s", sample[i]);
}

/* The samples with bytes changed, taken out, doubled, and one put into another. */
static void http_parser_sees_the_same_in_what_chance_makes(void **state)
{
	static const char byte[] = "\r\n :;,0123456789abcdef\t\x01HTTP/.-";
	const char *given = getenv("MILLRACE_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : 20261128, agreed = 0;
	(void)state;
	print_message("MILLRACE_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned turn = 0; turn < 60000; turn++) {
		char text[512];
		size_t n = (size_t)snprintf(text, sizeof text / 2, "%s",
		                            sample[turn % (sizeof sample / sizeof sample[0])]);
		for (unsigned changes = 1 + turn % 4; changes > 0; changes--) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			size_t at = (seed >> 33) % n, length = 1 + (seed >> 20) % 8;
			length = length < n - at ? length : n - at;
			if (seed >> 62 == 0 && n + length < sizeof text) {
				memmove(text + at + length, text + at, n - at);
				n += length;
			} else if (seed >> 62 == 1 && length < n) {
				memmove(text + at, text + at + length, n - at - length);
				n -= length;
			} else {
				text[at] = byte[(seed >> 10) % (sizeof byte - 1)];
			}
		}
		enum reply_agreement agreement = reply_oracle(text, n, seed);
		assert_int_not_equal(agreement, REPLY_DISAGREED);
		agreed += agreement == REPLY_AGREED;
	}
	assert_true(agreed > 10000); /* it was asked often enough */
}

int main(void)
{
	alarm(120);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_head_is_read_when_it_is_whole),
	        cmocka_unit_test(what_is_no_answer_is_refused_at_once),
	        cmocka_unit_test(framing_and_keeping_are_as_rfc_9112_has_them),
	        cmocka_unit_test(a_folded_line_is_one),
	        cmocka_unit_test(chunks_are_put_together),
	        cmocka_unit_test(trailers_and_extensions_have_a_bound),
	        cmocka_unit_test(http_parser_sees_the_same),
	        cmocka_unit_test(http_parser_sees_the_same_in_what_chance_makes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
