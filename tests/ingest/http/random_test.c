/* Heads at random against http-parser: good ones, made of lines drawn from a pool, then damaged or
 * not, in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fuzz/http_oracle.h"

#define HEADS     300000u
#define HEAD_ROOM 4096u

struct head {
	size_t bytes;
	char text[HEAD_ROOM];
};

static void put(struct head *head, const char *text)
{
	size_t bytes = strlen(text);
	assert_true(head->bytes + bytes <= HEAD_ROOM);
	memcpy(head->text + head->bytes, text, bytes);
	head->bytes += bytes;
}

#define PICK(array) (array)[draw_below(sizeof(array) / sizeof *(array))]

static void put_request_line(struct head *head)
{
	static const char *const methods[] = {"GET",     "POST",   "HEAD",     "PUT",
	                                      "OPTIONS", "DELETE", "M-SEARCH", "X"};
	static const char *const targets[] = {
	        "/",        "/event",     "/t/app_open?a=b&c=d",     "/a?b?c",
	        "/?",       "//x",        "http://b.example:81/x?y", "https://[::1]/",
	        "http://b", "/%2e%2E/{|}"};
	put(head, draw_one_in(20) ? "\r\n" : "");
	if (draw_one_in(30)) {
		put(head, draw_one_in(2) ? "OPTIONS * HTTP/1.1\r\n" : "CONNECT a.example:443 HTTP/1.1\r\n");
		return;
	}
	put(head, PICK(methods));
	put(head, " ");
	put(head, PICK(targets));
	put(head, draw_one_in(5) ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
}

static void put_fields(struct head *head)
{
	static const char *const fields[] = {
	        "Accept: */*",
	        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
	        "user-agent:",
	        "Content-Type: application/json; charset=utf-8",
	        "Authorization: Bearer abc.def",
	        "Origin: https://a.example",
	        "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
	        "X-Real-IP:\t::1 \t",
	        "X-Push-IP: 10.0.0.9",
	        "Connection: close",
	        "Connection: keep-alive",
	        "connection: Upgrade, Keep-Alive , x",
	        "Upgrade: websocket",
	        "Expect: 100-continue",
	        "Content-Encoding: gzip",
	        "Content-Encoding: br",
	        "DNT: 1",
	        "Sec-GPC: 1",
	        "Access-Control-Request-Method: POST",
	        "Access-Control-Request-Headers: x-y",
	        "X: \x80\xff",
	};
	unsigned body = draw_below(4);
	if (!draw_one_in(40))
		put(head, draw_one_in(3) ? "host:a.example:8080\r\n" : "Host: a\r\n");
	if (body == 0)
		put(head, draw_one_in(2) ? "Content-Length: 62\r\n" : "content-length:0012 \r\n");
	for (unsigned n = draw_below(8); n > 0; n--) {
		put(head, PICK(fields));
		put(head, "\r\n");
	}
	if (body == 1)
		put(head, "Transfer-Encoding: chunked\r\n");
	put(head, "\r\n");
}

/* Copies a run of the head to another place in it, or takes one out. */
static void move_run(struct head *head)
{
	size_t from = draw_below((unsigned)head->bytes), most = head->bytes - from;
	size_t bytes = 1 + draw_below((unsigned)(most < 40 ? most : 40));
	size_t to = draw_below((unsigned)head->bytes);
	if (draw_one_in(2)) {
		memmove(head->text + from, head->text + from + bytes, head->bytes - from - bytes);
		head->bytes -= bytes;
	} else if (head->bytes + bytes <= HEAD_ROOM) {
		char run[40];
		memcpy(run, head->text + from, bytes);
		memmove(head->text + to + bytes, head->text + to, head->bytes - to);
		memcpy(head->text + to, run, bytes);
		head->bytes += bytes;
	}
}

static void damage(struct head *head)
{
	static const char special[] = "\r\n\t :;,?#%/[]@\"\0\x7f\x80+-x05";
	for (unsigned n = 1 + draw_below(3); n > 0 && head->bytes > 0; n--) {
		char *c = &head->text[draw_below((unsigned)head->bytes)];
		switch (draw_below(4)) {
		case 0:
			*c ^= (char)(1u << draw_below(8));
			break;
		case 1:
			*c = special[draw_below(sizeof special - 1)];
			break;
		case 2:
			move_run(head);
			break;
		default:
			if (draw_one_in(4))
				head->bytes = draw_below((unsigned)head->bytes);
		}
	}
}

static void random_heads_are_to_us_what_they_are_to_http_parser(void **state)
{
	(void)state;
	static struct head head;
	unsigned seen[HTTP_UNDECIDED + 1] = {0};
	for (unsigned i = 0; i < HEADS; i++) {
		head.bytes = 0;
		put_request_line(&head);
		put_fields(&head);
		if (!draw_one_in(3))
			damage(&head);
		enum http_agreement agreement = http_oracle_head(head.text, head.bytes);
		if (agreement == HTTP_DISAGREED ||
		    http_oracle_pieces(head.text, head.bytes, draw()) != agreement)
			fail_msg("head %u differs", i);
		seen[agreement]++;
	}
	print_message("%u heads: %u whole, %u partial, %u refused\n", HEADS, seen[HTTP_WHOLE],
	              seen[HTTP_PARTIAL], seen[HTTP_REFUSED]);
	assert_true(seen[HTTP_WHOLE] > HEADS / 4 && seen[HTTP_PARTIAL] > HEADS / 50 &&
	            seen[HTTP_REFUSED] > HEADS / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(random_heads_are_to_us_what_they_are_to_http_parser),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
