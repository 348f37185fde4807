/* The plain sender: what it sends itself and what it leaves to libcurl; answers in pieces, before
 * their time and packed; several addresses; connections that it keeps and lets go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "deliver/kept.h"
#include "deliver/sender_plain.h"
#include "deliver/unpack.h"
#include "tests/deliver/talk.h"

/* ---- which requests are its own ---- */

static bool can(const char *url, const char *host, uint16_t port)
{
	struct sender_place place;
	talk_place(&place, host, port, "127.0.0.1", 1);
	return sender_plain_can(&(struct sender_request){.method = "GET", .url = url, .place = &place});
}

static void it_sends_what_has_one_meaning(void **state)
{
	(void)state;
	assert_true(can("http://a.example/x?y", "a.example", 80));
	assert_true(can("http://a.example:8080?y", "a.example", 8080));
	assert_true(can("http://a.example:80", "a.example", 80));
	assert_true(can("http://[2001:db8::1]:81/", "2001:db8::1", 81));
	assert_false(can("https://a.example/", "a.example", 443));
	assert_false(can("HTTP://a.example/", "a.example", 80));
	assert_false(can("http://b.example/", "a.example", 80));
	assert_false(can("http://a.example.b/", "a.example", 80));
	assert_false(can("http://a.example:81/", "a.example", 80));
	assert_false(can("http://a.example/", "a.example", 81));
	assert_false(can("http://a.example:65616/", "a.example", 80));
	assert_false(can("http://user@a.example/", "a.example", 80));
	assert_false(can("http://a.example\\@b.example/", "a.example", 80));
	assert_false(can("http://a.example/a b", "a.example", 80));
	assert_false(can("http://a.example/\xc3\xa4", "a.example", 80));
	assert_false(can("http://a.example/\r\nX: y", "a.example", 80));
	assert_false(can("http://2001:db8::1/", "2001:db8::1", 80));
	assert_false(can("http://-a.example/", "-a.example", 80));
	assert_false(can("", "a.example", 80));
}

static void methods_headers_and_addresses_count_as_well(void **state)
{
	struct sender_place place;
	struct sender_request request = {.method = "GET", .url = "http://a.example/", .place = &place};
	static const char *const no_method[] = {"", "get", "G T", "CONNECT", "TRACE", "PROPPATCH"};
	static const char *const no_header[] = {"X", ": y", "X: y\r\nZ: a", "X: y\n"};
	(void)state;
	talk_place(&place, "a.example", 80, "127.0.0.1", 1);
	for (unsigned i = 0; i < 6; i++) {
		request.method = no_method[i];
		assert_false(sender_plain_can(&request));
	}
	request.method = "PATCH";
	request.n_headers = 1;
	for (unsigned i = 0; i < 4; i++) {
		request.header[0] = no_header[i];
		assert_false(sender_plain_can(&request));
	}
	request.header[0] = "X: y";
	assert_true(sender_plain_can(&request));
	place.zone = 2;
	assert_false(sender_plain_can(&request));
	place.zone = 0;
	place.n = 0;
	assert_false(sender_plain_can(&request));
}

/* As libcurl sends it, so nobody sees a difference. */
static void both_senders_send_the_same_bytes(void **state)
{
	struct talk *f = *state;
	char head[sizeof talk_seen.head];
	static const char *const method[] = {"GET", "POST", "DELETE", "PUT"};
	for (unsigned i = 0; i < 8; i++) {
		for (unsigned k = 0; k < 2; k++) {
			talk_ops = k == 0 ? &sender_curl : &sender_plain;
			talk_open(f, talk_usual);
			talk_prepare(f, &f->request, method[i / 2], i == 0 ? "?a=b#c" : "/a/./b?c={d}#e");
			f->request.header[0] = "Idempotency-Key: 1";
			f->request.n_headers = 1;
			if (i % 2 == 1) {
				f->request.header[1] = "Content-Type: application/json";
				f->request.n_headers = 2;
				f->request.body = "{}";
				f->request.body_bytes = 2;
			}
			assert_int_equal(talk_send(f, &f->request), 0);
			if (k == 0)
				snprintf(head, sizeof head, "%s", talk_seen.head);
		}
		assert_string_equal(head, talk_seen.head);
	}
	talk_ops = &sender_auto;
}

/* ---- a server by hand: one connection, what it says and when ---- */

static int listen_at(struct talk *f)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	talk_place(&f->place, "hand.example.com", ntohs(at.sin_port), "127.0.0.1", 3);
	return fd;
}

static void drive(struct talk *f)
{
	assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
}

static int start_at(struct talk *f, int listener)
{
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	drive(f);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void an_answer_may_come_byte_by_byte(void **state)
{
	struct talk *f = *state;
	static const char text[] =
	        "HTTP/1.1 103 Early\r\nLocation: /no\r\n\r\nHTTP/1.1 302 Go\r\nLocation: /a\r\n"
	        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
	int listener = listen_at(f), fd;
	talk_prepare(f, &f->request, "GET", "/");
	fd = start_at(f, listener);
	for (size_t i = 0; i + 2 < sizeof text; i++) {
		assert_int_equal(write(fd, text + i, 1), 1);
		drive(f);
	}
	assert_int_equal(write(fd, "\n", 1), 1);
	assert_int_equal(talk_await(f->sender)->status, 302);
	assert_int_equal(f->request.answer_bytes, 3);
	assert_string_equal(f->request.location + strlen(f->request.location) - 2, "/a");
	/* and the connection is kept */
	talk_prepare(f, &f->request, "HEAD", "/");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	assert_int_equal(talk_await(f->sender)->status, 200);
	assert_true(f->request.reused);
	close(fd);
	close(listener);
}

static void an_answer_that_comes_too_early_counts(void **state)
{
	struct talk *f = *state;
	size_t bytes = 30 << 20;
	char *body = calloc(1, bytes);
	for (unsigned i = 0; i < 2; i++) {
		int listener = listen_at(f);
		talk_prepare(f, &f->request, "POST", "/");
		f->request.body = body;
		f->request.body_bytes = bytes;
		int fd = start_at(f, listener);
		say(fd, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
		if (i == 1)
			close(fd); /* unread bytes: a reset, which the answer is ahead of */
		assert_int_equal(talk_await(f->sender)->result, 0);
		assert_int_equal(f->request.status, 413);
		assert_memory_equal(f->request.answer, "no", 2);
		if (i == 0)
			close(fd);
		/* what was not sent would be the next request's beginning */
		talk_prepare(f, &f->request, "GET", "/");
		fd = start_at(f, listener);
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		assert_int_equal(talk_await(f->sender)->result, 0);
		assert_false(f->request.reused);
		close(fd);
		close(listener);
	}
	free(body);
}

static void a_server_that_speaks_first_is_heard(void **state)
{
	struct talk *f = *state;
	int listener = listen_at(f);
	talk_prepare(f, &f->request, "GET", "/");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	say(fd, "220 smtp.example.com ESMTP\r\n");
	assert_int_equal(talk_await(f->sender)->result, -EBADMSG);
	close(fd);
	close(listener);
}

/* All of its kept connections died with it, and the next try meets none of them. */
static void after_one_dead_connection_the_next_is_new(void **state)
{
	struct talk *f = *state;
	struct sender_request request[3];
	int listener = listen_at(f), fd[3];
	for (unsigned i = 0; i < 3; i++) {
		talk_prepare(f, &request[i], "GET", "/");
		assert_int_equal(f->sender->ops->start(f->sender, &request[i], clock_monotonic_ns()), 0);
		fd[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	}
	drive(f);
	for (unsigned i = 0; i < 3; i++)
		say(fd[i], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(talk_await(f->sender)->result, 0);
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	/* before the sender has looked */
	assert_int_equal(talk_post(f, "/", "a"), -EPIPE);
	assert_true(f->request.reused);
	assert_int_equal(f->request.first_byte_us, 0);
	int one = start_at(f, listener);
	say(one, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(talk_await(f->sender)->result, 0);
	assert_false(f->request.reused);
	close(one);
	close(listener);
}

static void what_comes_unasked_closes_the_connection(void **state)
{
	struct talk *f = *state;
	int listener = listen_at(f);
	talk_prepare(f, &f->request, "GET", "/");
	int fd = start_at(f, listener);
	say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(talk_await(f->sender)->result, 0);
	say(fd, "HTTP/1.1 500 Poison\r\nContent-Length: 0\r\n\r\n");
	drive(f);
	int other = start_at(f, listener);
	say(other, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(talk_await(f->sender)->status, 200);
	assert_false(f->request.reused);
	close(fd);
	close(other);
	close(listener);
}

/* ---- addresses ---- */

/* A listener whose backlog is full answers no SYN; the one that does is remembered. */
static void an_address_that_hangs_does_not_hold_the_others_up(void **state)
{
	struct talk *f = *state;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->place.port)};
	int hanging = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd[4];
	inet_pton(AF_INET, "127.0.0.77", &to.sin_addr);
	assert_int_equal(bind(hanging, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(listen(hanging, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fd[i], (struct sockaddr *)&to, sizeof to);
	}
	usleep(50000);
	struct sender_options options = talk_usual;
	options.connections_kept = 0;
	f->anywhere = true;
	talk_open(f, options);
	f->place.n = 2;
	memcpy(f->place.address[1], f->place.address[0], 16);
	f->place.address[0][15] = 77;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t begun_ns = clock_monotonic_ns();
		assert_int_equal(talk_get(f, "/"), 0);
		assert_int_equal(f->request.address[15], 1);
		uint64_t ms = (clock_monotonic_ns() - begun_ns) / NS_PER_MS;
		if (i == 0)
			assert_in_range(ms, 290, 5000);
		assert_true((f->request.connect_us >= 290000) == (i == 0));
	}
	/* when nobody answers, the time to connect is used */
	f->place.address[1][15] = 77;
	talk_prepare(f, &f->request, "GET", "/");
	f->request.connect_timeout_ns = 800 * NS_PER_MS;
	uint64_t begun_ns = clock_monotonic_ns();
	assert_int_equal(talk_send(f, &f->request), -ETIMEDOUT);
	assert_true(clock_monotonic_ns() - begun_ns >= 800 * NS_PER_MS);
	for (unsigned i = 0; i < 4; i++)
		close(fd[i]);
	close(hanging);
}

static void a_place_with_other_addresses_gets_no_old_connection(void **state)
{
	struct talk *f = *state;
	assert_int_equal(talk_get(f, "/"), 0);
	f->anywhere = true;
	f->place.address[0][15] = 2; /* 127.0.0.2: nobody */
	f->place.serial++;
	assert_int_equal(talk_get(f, "/"), -ECONNREFUSED);
	f->place.address[0][15] = 1;
	assert_int_equal(talk_get(f, "/"), 0);
	f->sender->ops->forget(f->sender, &f->place);
	assert_int_equal(talk_get(f, "/"), 0);
	assert_false(f->request.reused);
}

/* ---- what is kept ---- */

static void what_is_kept_is_bounded_in_number_and_time(void **state)
{
	struct sender_place place[3];
	struct kept *kept = kept_new(2, 100 * NS_PER_SEC);
	struct kept_connection *c[3];
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		char host[16];
		snprintf(host, sizeof host, "h%u.example", i);
		talk_place(&place[i], host, 80, "127.0.0.1", 1);
		c[i] = kept_connection(kept, &place[i], 0, i);
		kept_keep(kept, c[i], i);
	}
	assert_null(kept_take(kept, &place[0], 5)); /* the oldest made room */
	assert_ptr_equal(kept_take(kept, &place[1], 5), c[1]);
	assert_null(kept_take(kept, &place[1], 5));
	assert_null(kept_take(kept, &place[2], KEPT_IDLE_NS + 2)); /* unused for too long */
	kept_keep(kept, c[1], KEPT_IDLE_NS);
	assert_ptr_equal(kept_take(kept, &place[1], KEPT_IDLE_NS), c[1]);
	kept_keep(kept, c[1], 100 * NS_PER_SEC + 1); /* too old */
	assert_null(kept_take(kept, &place[1], 100 * NS_PER_SEC + 1));
	kept_bury(kept, 200 * NS_PER_SEC);
	kept_free(kept);
}

/* ---- unpacking ---- */

static size_t unpack_all(bool gzip, const unsigned char *packed, size_t bytes, size_t piece, char *out)
{
	struct unpack *state = unpack_open(gzip);
	size_t n = 0, used;
	struct reply_span span;
	bool more = true;
	for (size_t at = 0; more && at < bytes; at += used) {
		more = unpack(state, (const char *)packed + at, piece < bytes - at ? piece : bytes - at,
		              &used, &span);
		memcpy(out + n, span.text, span.bytes);
		n += span.bytes;
	}
	unpack_close(state);
	return n;
}

static void every_form_of_gzip_and_deflate_is_unpacked(void **state)
{
	static const int bits[] = {31, 15, -15};
	static unsigned char packed[20000];
	static char text[9000], out[20000];
	(void)state;
	for (unsigned i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + (i * i) % 23);
	for (unsigned i = 0; i < 3; i++) {
		z_stream z = {.next_in = (unsigned char *)text,
		              .avail_in = sizeof text,
		              .next_out = packed,
		              .avail_out = sizeof packed};
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, bits[i], 8, Z_DEFAULT_STRATEGY), Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		deflateEnd(&z);
		for (size_t piece = 1; piece < 4000; piece = piece * 7 + 1) {
			assert_int_equal(unpack_all(i == 0, packed, z.total_out, piece, out), sizeof text);
			assert_memory_equal(out, text, sizeof text);
		}
		packed[z.total_out / 2] ^= 0xff;
		assert_true(unpack_all(i == 0, packed, z.total_out, 100, out) <= sizeof out);
	}
	assert_int_equal(unpack_all(true, (const unsigned char *)"no gzip!!", 9, 9, out), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, talk_set_up, talk_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(it_sends_what_has_one_meaning),
	        cmocka_unit_test(methods_headers_and_addresses_count_as_well),
	        TEST(both_senders_send_the_same_bytes),
	        TEST(an_answer_may_come_byte_by_byte),
	        TEST(an_answer_that_comes_too_early_counts),
	        TEST(a_server_that_speaks_first_is_heard),
	        TEST(after_one_dead_connection_the_next_is_new),
	        TEST(what_comes_unasked_closes_the_connection),
	        TEST(an_address_that_hangs_does_not_hold_the_others_up),
	        TEST(a_place_with_other_addresses_gets_no_old_connection),
	        cmocka_unit_test(what_is_kept_is_bounded_in_number_and_time),
	        cmocka_unit_test(every_form_of_gzip_and_deflate_is_unpacked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
