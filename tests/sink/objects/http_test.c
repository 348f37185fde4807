/* Requests of the stores against a server of a few lines: what comes back, what is told of a
 * request that gets no answer, what is kept and what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/objects/http.h"
#include "tests/fixture/little_server.h"

#define URL_MAX 3000

static const struct http_options usual = {
        .connections = 4,
        .connect_timeout_ns = 10 * NS_PER_SEC,
        .stall_timeout_ns = 10 * NS_PER_SEC,
        .total_timeout_ns = 30 * NS_PER_SEC,
        .ca_file = "",
        .answer_max = 65536,
};

/* What the server saw of the last request. */
static struct {
	pthread_mutex_t lock;
	char head[8192];
	char method[16], path[2048];
	size_t body_bytes;
	unsigned long body_sum;
	unsigned connection, number;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned long sum_of(const void *bytes, size_t n)
{
	unsigned long sum = 5381;
	for (const unsigned char *at = bytes; n > 0; n--)
		sum = sum * 33 + *at++;
	return sum;
}

static void note(const struct little_request *request)
{
	pthread_mutex_lock(&seen.lock);
	snprintf(seen.head, sizeof seen.head, "%s", request->head);
	snprintf(seen.method, sizeof seen.method, "%s", request->method);
	snprintf(seen.path, sizeof seen.path, "%s", request->path);
	seen.body_bytes = request->body_bytes;
	seen.body_sum = request->body ? sum_of(request->body, request->body_bytes) : 0;
	seen.connection = request->connection;
	seen.number = request->number;
	pthread_mutex_unlock(&seen.lock);
}

static void say_body(struct little_connection *c, size_t bytes)
{
	char *text = malloc(bytes);
	memset(text, 'x', bytes);
	little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", bytes);
	little_send(c, text, bytes);
	free(text);
}

/* The path says what the answer is to be. */
static void answer(struct little_connection *c, const struct little_request *request, void *argument)
{
	(void)argument;
	const char *path = request->path;
	if (!request->body) { /* 100-continue is asked for */
		note(request);
		if (strcmp(path, "/forbidden") == 0)
			little_say(c, "HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		else if (strncmp(path, "/expectations", 13) == 0)
			little_say(c, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n%s\r\n",
			           path[13] ? "" : "Connection: close\r\n");
		return;
	}
	note(request);
	if (strcmp(path, "/chunked") == 0)
		little_say(
		        c,
		        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n");
	else if (strcmp(path, "/cut-head") == 0) {
		little_say(c, "HTTP/1.1 200 OK\r\nX-A: ");
		little_close(c, false);
	} else if (strcmp(path, "/cut-body") == 0) {
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
		little_close(c, false);
	} else if (strcmp(path, "/close") == 0)
		little_close(c, false);
	else if (strcmp(path, "/reset") == 0)
		little_close(c, true);
	else if (strcmp(path, "/close-second") == 0 && request->number == 2)
		little_close(c, false);
	else if (strcmp(path, "/hang") == 0)
		little_hang(c);
	else if (strcmp(path, "/hang-body") == 0) {
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
		little_hang(c);
	} else if (strcmp(path, "/slow") == 0) {
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
		for (unsigned i = 0; i < 8; i++) {
			usleep(100000);
			little_say(c, "%u", i);
		}
	} else if (strcmp(path, "/large") == 0)
		say_body(c, 10 << 20);
	else if (strcmp(path, "/large-head") == 0) {
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
		for (unsigned i = 0; i < 40; i++)
			little_say(c, "X-%u: %01000u\r\n", i, i);
		little_say(c, "\r\n");
	} else if (strcmp(path, "/garbage") == 0) {
		little_say(c, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
		little_close(c, false);
	} else if (strcmp(path, "/redirect") == 0)
		little_say(c, "HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
	else if (strcmp(path, "/busy") == 0)
		little_say(c, "HTTP/1.1 503 Slow Down\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
	else if (strcmp(request->method, "HEAD") == 0)
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Ms-Meta-Token:  abc \r\n\r\n");
	else
		little_say(c, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 2\r\n\r\nOK");
}

struct fixture {
	struct little_server *server;
	struct http *http;
	char url[URL_MAX];
};

static void open_with(struct fixture *f, const struct http_options *options)
{
	struct shm_error error;
	http_close(f->http);
	f->http = NULL;
	assert_int_equal(http_open(&f->http, options, &error), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	alarm(120);
	f->server = little_start(answer, NULL, NULL);
	open_with(f, &usual);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	http_close(f->http);
	little_stop(f->server);
	free(f);
	return 0;
}

static char *url_of(struct fixture *f, const char *path)
{
	snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u%s", little_port(f->server), path);
	return f->url;
}

/* The next request that ends. */
static struct http_request *await(struct http *http)
{
	for (;;) {
		struct http_request *request = http_next(http, clock_monotonic_ns());
		if (request)
			return request;
		struct store_wait wait;
		uint64_t timeout = NS_PER_SEC;
		unsigned n = http_wait(http, &wait, 1, &timeout);
		struct pollfd look = {.fd = wait.fd, .events = wait.events};
		struct timespec most = {(time_t)(timeout / NS_PER_SEC), (long)(timeout % NS_PER_SEC)};
		ppoll(&look, n, &most, NULL);
	}
}

/* Sends a request and waits for its end. */
static int exchange(struct fixture *f, struct http_request *request, const char *method, const char *path)
{
	request->method = method;
	request->url = url_of(f, path);
	assert_true(http_start(f->http, request));
	assert_ptr_equal(await(f->http), request);
	return request->result;
}

static int get(struct fixture *f, struct http_request *request, const char *path)
{
	*request = (struct http_request){0};
	return exchange(f, request, "GET", path);
}

static void an_answer_comes_back_with_status_head_and_body(void **state)
{
	struct http_request request;
	char value[64];
	assert_int_equal(get(*state, &request, "/a?b=c"), 0);
	assert_int_equal(request.status, 200);
	assert_true(request.sent);
	assert_string_equal(request.body, "OK");
	assert_int_equal(request.body_bytes, 2);
	assert_false(request.body_cut);
	assert_int_equal(http_header(&request, "etag", value, sizeof value), 3);
	assert_string_equal(value, "\"e\"");
	assert_int_equal(http_header(&request, "ETa", value, sizeof value), -ENOENT);
	assert_int_equal(http_header(&request, "etag", value, 3), -ENOSPC);
	assert_string_equal(request.reason, "");
	http_request_fini(&request);
	assert_null(request.body);
}

static void a_path_goes_out_as_it_is(void **state)
{
	struct http_request request;
	assert_int_equal(get(*state, &request, "/a/../b/./c%2f%2E%2e/%C3%A4//d?x=%2f&y&z=a=b"), 0);
	assert_string_equal(seen.path, "/a/../b/./c%2f%2E%2e/%C3%A4//d?x=%2f&y&z=a=b");
	http_request_fini(&request);
}

static void an_answer_to_head_has_no_body(void **state)
{
	struct http_request request = {0};
	char value[64];
	assert_int_equal(exchange(*state, &request, "HEAD", "/"), 0);
	assert_int_equal(http_header(&request, "Content-Length", value, sizeof value), 5);
	assert_int_equal(http_header(&request, "x-ms-meta-token", value, sizeof value), 3);
	assert_string_equal(value, "abc");
	assert_null(request.body);
	http_request_fini(&request);
}

static void a_chunked_answer_is_put_together(void **state)
{
	struct http_request request;
	char value[64];
	assert_int_equal(get(*state, &request, "/chunked"), 0);
	assert_string_equal(request.body, "abcdefg");
	assert_int_equal(http_header(&request, "X-Trailer", value, sizeof value), -ENOENT);
	http_request_fini(&request);
}

static void a_redirect_is_an_answer_like_any_other(void **state)
{
	struct fixture *f = *state;
	struct http_request request;
	assert_int_equal(get(f, &request, "/redirect"), 0);
	assert_int_equal(request.status, 307);
	assert_int_equal(little_requests(f->server), 1);
	http_request_fini(&request);
}

/* Pieces of 1, 2, 3, ... bytes, with empty ones between them. */
#define PIECES 2000
static unsigned make_body(struct iovec piece[PIECES], unsigned char **bytes, size_t *length)
{
	*length = 0;
	for (unsigned i = 0; i < PIECES; i++)
		*length += piece[i].iov_len = i % 3 == 2 ? 0 : i;
	*bytes = malloc(*length);
	for (size_t i = 0; i < *length; i++)
		(*bytes)[i] = (unsigned char)(i * 7 + i / 251);
	size_t at = 0;
	for (unsigned i = 0; i < PIECES; i++) {
		piece[i].iov_base = *bytes + at;
		at += piece[i].iov_len;
	}
	return PIECES;
}

static void a_body_is_sent_from_its_pieces(void **state)
{
	static const char *const method[] = {"PUT", "POST", "PUT", "POST"};
	struct iovec piece[PIECES];
	unsigned char *bytes;
	size_t length;
	make_body(piece, &bytes, &length);
	assert_true(length > 1 << 20);
	for (unsigned i = 0; i < 4; i++) {
		struct http_request request = {
		        .piece = piece, .n_pieces = PIECES, .bytes = length, .expect = i >= 2};
		assert_int_equal(exchange(*state, &request, method[i], "/put"), 0);
		assert_string_equal(seen.method, method[i]);
		assert_int_equal(seen.body_bytes, length);
		assert_true(seen.body_sum == sum_of(bytes, length));
		assert_true((strstr(seen.head, "Expect:") != NULL) == (i >= 2));
		assert_null(strstr(seen.head, "Transfer-Encoding"));
		http_request_fini(&request);
	}
	free(bytes);
}

static void a_request_without_a_body_has_length_zero(void **state)
{
	struct http_request request = {0};
	char value[16];
	assert_int_equal(exchange(*state, &request, "PUT", "/put"), 0);
	struct little_request head = {.head = seen.head};
	little_header(&head, "Content-Length", value, sizeof value);
	assert_string_equal(value, "0");
	http_request_fini(&request);
	assert_int_equal(exchange(*state, &request, "DELETE", "/delete"), 0);
	assert_string_equal(seen.method, "DELETE");
	http_request_fini(&request);
}

static void pieces_that_are_not_as_long_as_said_are_refused(void **state)
{
	struct iovec piece = {"abc", 3};
	struct http_request request = {.piece = &piece, .n_pieces = 1, .bytes = 4};
	assert_int_equal(exchange(*state, &request, "PUT", "/put"), -EINVAL);
	assert_false(request.sent);
	http_request_fini(&request);
}

static void a_refused_expectation_sends_no_body(void **state)
{
	struct iovec piece = {"abc", 3};
	struct http_request request = {.piece = &piece, .n_pieces = 1, .bytes = 3, .expect = true};
	assert_int_equal(exchange(*state, &request, "PUT", "/forbidden"), 0);
	assert_int_equal(request.status, 403);
	assert_int_equal(little_requests(((struct fixture *)*state)->server), 0);
	http_request_fini(&request);
}

static void a_server_that_knows_no_expectation_gets_the_body_without(void **state)
{
	struct iovec piece = {"abc", 3};
	struct http_request request = {.piece = &piece, .n_pieces = 1, .bytes = 3, .expect = true};
	assert_int_equal(exchange(*state, &request, "PUT", "/expectations"), 0);
	assert_int_equal(request.status, 417);
	http_request_fini(&request);
	assert_int_equal(exchange(*state, &request, "PUT", "/expectations"), 0);
	assert_int_equal(request.status, 200);
	assert_int_equal(seen.body_bytes, 3);
	http_request_fini(&request);
	open_with(*state, &usual); /* libcurl itself repeats it when the connection stays */
	assert_int_equal(exchange(*state, &request, "PUT", "/expectations/keep"), 0);
	assert_int_equal(request.status, 200);
	http_request_fini(&request);
}

static void a_connection_is_kept_and_used_again(void **state)
{
	struct fixture *f = *state;
	struct http_request request;
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(get(f, &request, "/"), 0);
		http_request_fini(&request);
	}
	assert_int_equal(little_connections(f->server), 1);
	assert_int_equal(seen.number, 20);
}

static void as_many_requests_as_connections_are_under_way(void **state)
{
	struct fixture *f = *state;
	struct http_request request[5] = {0};
	url_of(f, "/slow");
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 5; i++) {
			request[i].method = "GET";
			request[i].url = f->url;
			assert_int_equal(http_start(f->http, &request[i]), i < 4);
		}
		for (unsigned i = 0; i < 4; i++) {
			struct http_request *ended = await(f->http);
			assert_int_equal(ended->result, 0);
			assert_string_equal(ended->body, "01234567");
			http_request_fini(ended);
		}
		assert_null(http_next(f->http, clock_monotonic_ns()));
	}
	assert_int_equal(little_connections(f->server), 4);
}

static void a_closed_idle_connection_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct http_request request;
	assert_int_equal(get(f, &request, "/forget"), 0);
	http_request_fini(&request);
	/* the server goes, another comes on another port; the first one's connection is dead */
	little_stop(f->server);
	f->server = little_start(answer, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get(f, &request, "/"), 0);
		http_request_fini(&request);
	}
}

/* Headers that signing adds; counts how often. */
static unsigned signed_times;
static char signature[64];
static int sign(struct http_request *request, void *owner)
{
	snprintf(signature, sizeof signature, "Authorization: %s %u", (const char *)owner, ++signed_times);
	request->header[request->n_headers++] = signature;
	return 0;
}

static void headers_and_a_signature_are_sent(void **state)
{
	struct http_request request = {.header = {"x-ms-version: 1", "If-None-Match: *"},
	                               .n_headers = 2,
	                               .sign = sign,
	                               .owner = "me"};
	signed_times = 0;
	assert_int_equal(exchange(*state, &request, "PUT", "/"), 0);
	assert_non_null(strstr(seen.head, "\r\nx-ms-version: 1\r\n"));
	assert_non_null(strstr(seen.head, "\r\nIf-None-Match: *\r\n"));
	assert_non_null(strstr(seen.head, "\r\nAuthorization: me 1\r\n"));
	assert_null(strstr(seen.head, "Expect"));
	assert_int_equal(request.n_headers, 2);
	http_request_fini(&request);
}

static int sign_not(struct http_request *request, void *owner)
{
	(void)request, (void)owner;
	return -EACCES;
}

static void a_request_that_cannot_be_signed_is_not_sent(void **state)
{
	struct fixture *f = *state;
	struct http_request request = {.sign = sign_not};
	assert_int_equal(exchange(f, &request, "PUT", "/"), -EACCES);
	assert_false(request.sent);
	assert_int_equal(little_requests(f->server), 0);
	http_request_fini(&request);
}

static void a_line_end_in_a_header_is_refused(void **state)
{
	struct http_request request = {.header = {"a: b\r\nc: d"}, .n_headers = 1};
	assert_int_equal(exchange(*state, &request, "PUT", "/"), -EINVAL);
	assert_false(request.sent);
	http_request_fini(&request);
}

static void a_get_is_sent_and_signed_again_when_its_kept_connection_was_dead(void **state)
{
	struct fixture *f = *state;
	struct http_request request = {.sign = sign, .owner = "me"};
	signed_times = 0;
	assert_int_equal(exchange(f, &request, "GET", "/close-second"), 0);
	http_request_fini(&request);
	assert_int_equal(exchange(f, &request, "GET", "/close-second"), 0);
	assert_int_equal(signed_times, 3);
	assert_int_equal(little_requests(f->server), 3);
	assert_int_equal(little_connections(f->server), 2);
	assert_non_null(strstr(seen.head, "\r\nAuthorization: me 3\r\n"));
	assert_null(strstr(seen.head, "me 2"));
	http_request_fini(&request);
}

static void a_put_is_not_sent_again_unasked(void **state)
{
	struct fixture *f = *state;
	struct iovec piece = {"abc", 3};
	struct http_request request = {.piece = &piece, .n_pieces = 1, .bytes = 3};
	assert_int_equal(exchange(f, &request, "POST", "/close-second"), 0);
	http_request_fini(&request);
	assert_int_equal(exchange(f, &request, "POST", "/close-second"), -EIO);
	assert_true(request.sent);
	assert_int_equal(request.status, 0);
	assert_string_equal(request.reason, "the kept connection was closed before an answer");
	assert_int_equal(little_requests(f->server), 2);
	http_request_fini(&request);
	assert_int_equal(exchange(f, &request, "POST", "/"), 0);
	http_request_fini(&request);
}

static void a_lost_answer_is_told_from_a_request_that_was_not_sent(void **state)
{
	static const struct {
		const char *path;
		int result;
	} lost[] = {{"/close", -EIO}, {"/reset", -EIO}, {"/cut-head", -EIO}, {"/cut-body", -EIO}};
	struct fixture *f = *state;
	struct http_request request = {0};
	for (unsigned i = 0; i < sizeof lost / sizeof lost[0]; i++) {
		assert_int_equal(exchange(f, &request, "PUT", lost[i].path), lost[i].result);
		assert_true(request.sent);
		assert_int_equal(request.status, 0);
		assert_true(request.reason[0]);
		http_request_fini(&request);
	}
	int fd;
	char url[64];
	snprintf(url, sizeof url, "http://127.0.0.1:%u/", little_refusing_port(&fd));
	request = (struct http_request){.method = "PUT", .url = url};
	assert_true(http_start(f->http, &request));
	assert_ptr_equal(await(f->http), &request);
	assert_int_equal(request.result, -ECONNREFUSED);
	assert_false(request.sent);
	http_request_fini(&request);
	close(fd);
}

static void what_is_no_http_is_an_error(void **state)
{
	struct http_request request;
	assert_true(get(*state, &request, "/garbage") < 0);
	http_request_fini(&request);
}

static void a_url_that_is_none_is_an_error(void **state)
{
	static const char *const wrong[] = {"ftp://127.0.0.1/", "file:///etc/passwd", "http://",
	                                    "http://a b/"};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		char url[64];
		snprintf(url, sizeof url, "%s", wrong[i]);
		struct http_request request = {.method = "GET", .url = url};
		assert_true(http_start(f->http, &request));
		assert_ptr_equal(await(f->http), &request);
		assert_int_equal(request.result, -EINVAL);
		assert_false(request.sent);
		http_request_fini(&request);
	}
}

static void a_name_that_does_not_exist_is_told(void **state)
{
	struct fixture *f = *state;
	char url[] = "http://there-is-none.invalid/";
	struct http_request request = {.method = "PUT", .url = url};
	assert_true(http_start(f->http, &request));
	assert_ptr_equal(await(f->http), &request);
	assert_true(request.result == -EHOSTUNREACH || request.result == -ETIMEDOUT);
	assert_false(request.sent);
	http_request_fini(&request);
}

/* Instead of the C library's, for libcurl too. Names in .slow take two seconds to be looked up. */
static atomic_uint slow_begun, slow_ended;
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	size_t length = name ? strlen(name) : 0;
	if (length > 5 && strcmp(name + length - 5, ".slow") == 0) {
		slow_begun++;
		sleep(2);
		slow_ended++;
		return EAI_AGAIN;
	}
	if (!real)
		real = (__typeof__(real))dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, port, hints, found);
}

static void a_name_that_takes_long_holds_nobody_up(void **state)
{
	struct fixture *f = *state;
	struct http_options options = usual;
	options.connect_timeout_ns = 100 * NS_PER_MS;
	open_with(f, &options);
	char first[] = "http://a.slow/", second[] = "http://b.slow/";
	uint64_t before = clock_monotonic_ns();
	struct http_request request = {.method = "PUT", .url = first};
	assert_true(http_start(f->http, &request));
	assert_ptr_equal(await(f->http), &request);
	assert_int_equal(request.result, -ETIMEDOUT);
	assert_false(request.sent);
	http_request_fini(&request);
	request = (struct http_request){.method = "PUT", .url = second};
	assert_true(http_start(f->http, &request));
	while (slow_begun < 2)
		assert_null(http_next(f->http, clock_monotonic_ns()));
	http_close(f->http);
	f->http = NULL;
	assert_int_equal(slow_ended, 0);
	assert_true(clock_monotonic_ns() - before < 2 * NS_PER_SEC);
	while (slow_ended < 2) /* their threads end before the test does */
		usleep(10000);
	usleep(100000);
}

static void a_server_that_says_nothing_ends_by_the_stall_timeout(void **state)
{
	struct fixture *f = *state;
	struct http_options options = usual;
	options.stall_timeout_ns = 200 * NS_PER_MS;
	open_with(f, &options);
	static const char *const path[] = {"/hang", "/hang-body"};
	for (unsigned i = 0; i < 2; i++) {
		struct http_request request;
		uint64_t before = clock_monotonic_ns();
		assert_int_equal(get(f, &request, path[i]), -ETIMEDOUT);
		assert_true(request.sent);
		assert_string_equal(request.reason, "nothing came or went for too long");
		assert_true(clock_monotonic_ns() - before >= 200 * NS_PER_MS);
		http_request_fini(&request);
	}
	struct http_request request; /* it is slow and goes on: 0.8 s */
	options.stall_timeout_ns = 5 * NS_PER_SEC;
	open_with(f, &options);
	assert_int_equal(get(f, &request, "/slow"), 0);
	http_request_fini(&request);
}

static void a_slow_answer_ends_by_the_total_timeout(void **state)
{
	struct fixture *f = *state;
	struct http_options options = usual;
	options.total_timeout_ns = 300 * NS_PER_MS;
	open_with(f, &options);
	struct http_request request;
	assert_int_equal(get(f, &request, "/slow"), -ETIMEDOUT);
	assert_true(request.sent);
	http_request_fini(&request);
}

static void a_server_that_does_not_accept_ends_by_the_connect_timeout(void **state)
{
	/* TLS to a server that waits for a request: the handshake gets no answer */
	struct fixture *f = *state;
	struct http_options options = usual;
	options.connect_timeout_ns = 200 * NS_PER_MS;
	open_with(f, &options);
	char url[64];
	snprintf(url, sizeof url, "https://127.0.0.1:%u/", little_port(f->server));
	struct http_request request = {.method = "PUT", .url = url};
	assert_true(http_start(f->http, &request));
	assert_ptr_equal(await(f->http), &request);
	assert_int_equal(request.result, -ETIMEDOUT);
	assert_false(request.sent);
	http_request_fini(&request);
}

static void an_answer_is_kept_up_to_its_limit(void **state)
{
	struct http_request request;
	assert_int_equal(get(*state, &request, "/large"), 0);
	assert_int_equal(request.status, 200);
	assert_int_equal(request.body_bytes, usual.answer_max);
	assert_true(request.body_cut);
	http_request_fini(&request);
	assert_int_equal(get(*state, &request, "/large-head"), -EBADMSG);
	assert_true(request.sent);
	http_request_fini(&request);
}

static void no_proxy_is_taken_from_the_environment(void **state)
{
	int fd;
	char proxy[64];
	snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", little_refusing_port(&fd));
	setenv("http_proxy", proxy, 1);
	setenv("all_proxy", proxy, 1);
	struct http_request request;
	assert_int_equal(get(*state, &request, "/"), 0);
	http_request_fini(&request);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	close(fd);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
	struct http_request request;
	assert_int_equal(get(*state, &request, "/busy"), 0);
	assert_int_equal(request.status, 503);
	assert_int_equal(http_retry_after_ns(&request, 60 * NS_PER_SEC), 7 * NS_PER_SEC);
	assert_int_equal(http_retry_after_ns(&request, 5 * NS_PER_SEC), 5 * NS_PER_SEC);
	http_request_fini(&request);
	char head[128];
	time_t then = time(NULL) + 100;
	struct tm tm;
	strftime(head, sizeof head, "Retry-After: %a, %d %b %Y %H:%M:%S GMT\n", gmtime_r(&then, &tm));
	request.answer = head;
	uint64_t wait = http_retry_after_ns(&request, 3600 * NS_PER_SEC);
	assert_true(wait > 60 * NS_PER_SEC && wait <= 100 * NS_PER_SEC);
	static char *const none[] = {"Retry-After: soon\n", "Retry-After: -5\n", "Retry-After:\n", "X: 1\n",
	                             "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\n"};
	for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++) {
		request.answer = none[i];
		assert_int_equal(http_retry_after_ns(&request, 3600 * NS_PER_SEC), 0);
	}
	request.answer = "Date: x\nRetry-After: 7"; /* cut off */
	assert_int_equal(http_retry_after_ns(&request, 60 * NS_PER_SEC), 7 * NS_PER_SEC);
	request.answer = "Retry-After: 99999999999999999999999\n";
	assert_int_equal(http_retry_after_ns(&request, 3600 * NS_PER_SEC), 3600 * NS_PER_SEC);
}

static void tls_is_verified_against_the_ca_file(void **state)
{
	struct fixture *f = *state;
	char own[] = "/tmp/millrace-http-XXXXXX", other[] = "/tmp/millrace-http-XXXXXX", url[64];
	close(mkstemp(own));
	close(mkstemp(other));
	little_certificate(own);
	little_certificate(other);
	struct little_server *server = little_start(answer, NULL, own);
	snprintf(url, sizeof url, "https://127.0.0.1:%u/", little_port(server));
	const char *const ca_file[] = {own, other, ""};
	for (unsigned i = 0; i < 3; i++) {
		struct http_options options = usual;
		options.ca_file = ca_file[i];
		open_with(f, &options);
		for (unsigned times = 0; times < 2; times++) {
			struct http_request request = {.method = "GET", .url = url};
			assert_true(http_start(f->http, &request));
			assert_ptr_equal(await(f->http), &request);
			assert_int_equal(request.result, i == 0 ? 0 : -EPROTO);
			assert_int_equal(request.sent, i == 0);
			http_request_fini(&request);
		}
	}
	struct http_options options = usual;
	struct http *http;
	struct shm_error error;
	options.ca_file = "/nonexistent/ca.pem";
	assert_int_equal(http_open(&http, &options, &error), -ENOENT);
	assert_string_equal(error.text, "/nonexistent/ca.pem: No such file or directory");
	little_stop(server);
	unlink(own);
	unlink(other);
}

static void what_is_under_way_is_given_up_at_the_end(void **state)
{
	struct fixture *f = *state;
	char name[] = "http://there-is-none.invalid/";
	struct http_request hanging = {.method = "GET", .url = url_of(f, "/hang")},
	                    resolving = {.method = "GET", .url = name};
	assert_true(http_start(f->http, &hanging));
	assert_true(http_start(f->http, &resolving));
	for (unsigned i = 0; i < 10; i++)
		http_next(f->http, clock_monotonic_ns());
	http_close(f->http);
	f->http = NULL;
}

static void nothing_is_waited_for_without_a_request(void **state)
{
	struct fixture *f = *state;
	struct store_wait wait;
	uint64_t timeout = 77;
	assert_int_equal(http_wait(f->http, &wait, 1, &timeout), 0);
	assert_int_equal(timeout, 77);
	struct http_request request = {.method = "GET", .url = url_of(f, "/hang")};
	assert_true(http_start(f->http, &request));
	timeout = UINT64_MAX;
	assert_int_equal(http_wait(f->http, &wait, 1, &timeout), 1);
	assert_int_equal(wait.events, POLLIN);
	assert_true(timeout < NS_PER_SEC);
	http_close(f->http);
	f->http = NULL;
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        WITH_SERVER(an_answer_comes_back_with_status_head_and_body),
	        WITH_SERVER(a_path_goes_out_as_it_is),
	        WITH_SERVER(an_answer_to_head_has_no_body),
	        WITH_SERVER(a_chunked_answer_is_put_together),
	        WITH_SERVER(a_redirect_is_an_answer_like_any_other),
	        WITH_SERVER(a_body_is_sent_from_its_pieces),
	        WITH_SERVER(a_request_without_a_body_has_length_zero),
	        WITH_SERVER(pieces_that_are_not_as_long_as_said_are_refused),
	        WITH_SERVER(a_refused_expectation_sends_no_body),
	        WITH_SERVER(a_server_that_knows_no_expectation_gets_the_body_without),
	        WITH_SERVER(a_connection_is_kept_and_used_again),
	        WITH_SERVER(as_many_requests_as_connections_are_under_way),
	        WITH_SERVER(a_closed_idle_connection_is_replaced),
	        WITH_SERVER(headers_and_a_signature_are_sent),
	        WITH_SERVER(a_request_that_cannot_be_signed_is_not_sent),
	        WITH_SERVER(a_line_end_in_a_header_is_refused),
	        WITH_SERVER(a_get_is_sent_and_signed_again_when_its_kept_connection_was_dead),
	        WITH_SERVER(a_put_is_not_sent_again_unasked),
	        WITH_SERVER(a_lost_answer_is_told_from_a_request_that_was_not_sent),
	        WITH_SERVER(what_is_no_http_is_an_error),
	        WITH_SERVER(a_url_that_is_none_is_an_error),
	        WITH_SERVER(a_name_that_does_not_exist_is_told),
	        WITH_SERVER(a_name_that_takes_long_holds_nobody_up),
	        WITH_SERVER(a_server_that_says_nothing_ends_by_the_stall_timeout),
	        WITH_SERVER(a_slow_answer_ends_by_the_total_timeout),
	        WITH_SERVER(a_server_that_does_not_accept_ends_by_the_connect_timeout),
	        WITH_SERVER(an_answer_is_kept_up_to_its_limit),
	        WITH_SERVER(no_proxy_is_taken_from_the_environment),
	        WITH_SERVER(retry_after_is_seconds_or_a_date),
	        WITH_SERVER(tls_is_verified_against_the_ca_file),
	        WITH_SERVER(what_is_under_way_is_given_up_at_the_end),
	        WITH_SERVER(nothing_is_waited_for_without_a_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
