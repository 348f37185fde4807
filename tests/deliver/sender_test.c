/* The sender against a server of a few lines: what goes out, what comes back, what is told of a
 * request that gets no answer, which addresses it goes to, and what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "deliver/sender.h"
#include "tests/fixture/little_server.h"
#include "tests/fixture/sandbox.h"

/* ---- what must not be called ---- */

static atomic_uint looked_up;

/* In the place of libc's: nobody may look a name up. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (hints == NULL || (hints->ai_flags & AI_NUMERICHOST) == 0)
		looked_up++;
	return real(node, service, hints, result);
}

static atomic_uint folders;

/* In the place of OpenSSL's: a folder of certificates to trust. */
int X509_STORE_load_path(X509_STORE *store, const char *path)
{
	int (*real)(X509_STORE *, const char *);
	*(void **)&real = dlsym(RTLD_NEXT, "X509_STORE_load_path");
	folders++;
	return real(store, path);
}

/* Whose answer the sender says it works on, and whose libcurl has in its hands then. */
static struct {
	pthread_t thread;
	void *owner;
	struct sender_request request[4];
	unsigned right, wrong;
} work;

static void note_work(void *context, void *owner)
{
	(void)context;
	work.owner = owner;
}

/* In the place of libc's: an answer "mark-2" belongs to request 2. */
ssize_t recv(int fd, void *to, size_t bytes, int flags)
{
	ssize_t (*real)(int, void *, size_t, int);
	*(void **)&real = dlsym(RTLD_NEXT, "recv");
	ssize_t n = real(fd, to, bytes, flags);
	const char *mark = n > 0 && pthread_equal(pthread_self(), work.thread)
	                           ? memmem(to, (size_t)n, "mark-", 5)
	                           : NULL;
	if (mark != NULL)
		*(work.owner == &work.request[mark[5] - '0'] ? &work.right : &work.wrong) += 1;
	return n;
}

/* ---- the server ---- */

/* What it saw of the last request. */
static struct {
	pthread_mutex_t lock;
	char head[8192];
	char method[16], path[2048], body[8192];
	size_t body_bytes;
	unsigned connection, number;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(const struct little_request *request)
{
	pthread_mutex_lock(&seen.lock);
	snprintf(seen.head, sizeof seen.head, "%s", request->head);
	snprintf(seen.method, sizeof seen.method, "%s", request->method);
	snprintf(seen.path, sizeof seen.path, "%s", request->path);
	seen.body_bytes = request->body_bytes;
	snprintf(seen.body, sizeof seen.body, "%s", request->body);
	seen.connection = request->connection;
	seen.number = request->number;
	pthread_mutex_unlock(&seen.lock);
}

static const char *seen_header(const char *name)
{
	static char value[256];
	struct little_request request = {.head = seen.head};
	little_header(&request, name, value, sizeof value);
	return value;
}

static void say_zeros(struct little_connection *c, size_t bytes)
{
	char *text = calloc(1, bytes);
	little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", bytes);
	little_send(c, text, bytes);
	free(text);
}

static void say_gzip(struct little_connection *c, size_t bytes)
{
	unsigned char *text = calloc(1, bytes), *packed = malloc(bytes + 1000);
	z_stream z = {.next_in = text,
	              .avail_in = (uInt)bytes,
	              .next_out = packed,
	              .avail_out = (uInt)bytes + 1000};
	memset(text, 'z', bytes);
	if (deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	deflateEnd(&z);
	little_say(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %lu\r\n\r\n",
	           z.total_out);
	little_send(c, packed, z.total_out);
	free(text);
	free(packed);
}

static void say_for_ever(struct little_connection *c)
{
	little_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (unsigned i = 0; i < 200; i++)
		little_say(c, "400\r\n%01024u\r\n", i);
	little_hang(c);
}

static void say_endless_head(struct little_connection *c)
{
	little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
	for (unsigned i = 0; i < 80; i++)
		little_say(c, "X-%u: %01000u\r\n", i, i);
	little_say(c, "\r\n");
}

static void say_date(struct little_connection *c, int seconds)
{
	char text[64];
	time_t then = time(NULL) + seconds;
	struct tm tm;
	strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&then, &tm));
	little_say(c, "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", text);
}

/* ---- a server that means no good ---- */

static const struct {
	const char *path, *before, *again;
	unsigned times;
	const char *after;
} hostile[] = {
        {"/switch", "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "", 0, "hello"},
        {"/one-line", "HTTP/1.1 200 OK\r\nX-A: ", "0123456789abcdef", 20000, ""},
        {"/interim-flood", "", "HTTP/1.1 100 Go on\r\n\r\n", 4000, "HTTP/1.1 200 OK\r\n\r\n"},
        {"/version-9", "hello\r\n", "", 0, ""},
        {"/version-2", "HTTP/2 200\r\nContent-Length: 0\r\n\r\n", "", 0, ""},
        {"/no-version", "HTTP/ 200\r\n\r\n", "", 0, ""},
        {"/status-long", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "", 0, ""},
        {"/status-none", "HTTP/1.1  OK\r\nContent-Length: 0\r\n\r\n", "", 0, ""},
        {"/length-less", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "", 0, ""},
        {"/length-huge", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", "", 0, "abc"},
        {"/length-twice", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 90\r\n\r\n", "", 0, "abc"},
        {"/length-text", "HTTP/1.1 200 OK\r\nContent-Length: three\r\n\r\n", "", 0, "abc"},
        {"/layers", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip", ", gzip", 1000, "\r\n\r\nabc"},
        {"/chunk-huge", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", 0,
         "ffffffffffffffffff\r\nabc"},
        {"/chunk-text", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", 0, "-3\r\nabc"},
        {"/trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
         "X-A: 0123456789abcdef\r\n", 8000, ""},
        {"/bare", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "", 0, ""},
        {"/fold", "HTTP/1.1 307 Go\r\nLocation:\r\n http://a.example/\r\nContent-Length: 0\r\n\r\n", "", 0,
         ""},
        {"/more",
         "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "", 0,
         ""},
};

static bool say_hostile(struct little_connection *c, const char *path)
{
	static const char nul[] = "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n";
	if (strcmp(path, "/nul") == 0) {
		little_send(c, nul, sizeof nul - 1);
		little_close(c, false);
		return true;
	}
	for (unsigned i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
		if (strcmp(path, hostile[i].path) != 0)
			continue;
		little_say(c, "%s", hostile[i].before);
		for (unsigned k = 0; k < hostile[i].times; k++)
			little_say(c, "%s", hostile[i].again);
		little_say(c, "%s", hostile[i].after);
		little_close(c, false);
		return true;
	}
	return false;
}

/* A piece of an answer every now and then, for longer than anybody waits for it. */
static bool say_trickle(struct little_connection *c, const char *path)
{
	static const struct {
		const char *path, *before, *again;
	} trickle[] = {
	        {"/trickle-line", "HTTP/1.1 200 O", "K"},
	        {"/trickle-head", "HTTP/1.1 200 OK\r\n", "X-A: b\r\n"},
	        {"/trickle-interim", "", "HTTP/1.1 102 Yes\r\n\r\n"},
	        {"/trickle-body", "HTTP/1.1 200 OK\r\n\r\n", "a"},
	};
	for (unsigned i = 0; i < sizeof trickle / sizeof trickle[0]; i++) {
		if (strcmp(path, trickle[i].path) != 0)
			continue;
		little_say(c, "%s", trickle[i].before);
		for (unsigned k = 0; k < 40; k++) {
			usleep(20000);
			little_say(c, "%s", trickle[i].again);
		}
		little_hang(c);
		return true;
	}
	return false;
}

static void say_retry_after(struct little_connection *c, const char *value)
{
	char text[64];
	snprintf(text, sizeof text, "%s", value);
	for (char *at = text; *at != '\0'; at++)
		*at = *at == '_' ? ' ' : *at;
	little_say(c, "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", text);
}

/* Fixed answers, by path. */
static const struct {
	const char *path, *answer;
	enum { STAYS, CLOSES, HANGS } then;
} fixed[] = {
        {"/cut-line", "HTTP/1.1 2", CLOSES},
        {"/cut-head", "HTTP/1.1 200 OK\r\nX-A: ", CLOSES},
        {"/cut-body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", CLOSES},
        {"/close", "", CLOSES},
        {"/leave", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSES},
        {"/hang", "", HANGS},
        {"/hang-head", "HTTP/1.1 200 OK\r\n", HANGS},
        {"/hang-body", "HTTP/1.1 202 OK\r\nContent-Length: 100\r\n\r\nabc", HANGS},
        {"/garbage", "SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSES},
        {"/204", "HTTP/1.1 204 None\r\n\r\n", STAYS},
        {"/interim",
         "HTTP/1.1 103 Early\r\nLocation: /early\r\nRetry-After: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         STAYS},
        {"/chunked",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nRetry-After: 9\r\n\r\n",
         STAYS},
        {"/redirect", "HTTP/1.1 307 Go\r\nlocation:  /else where?a=b \r\nContent-Length: 0\r\n\r\n", STAYS},
        {"/far", "HTTP/1.1 302 Go\r\nLocation: http://[::1]:9/x\r\nContent-Length: 0\r\n\r\n", STAYS},
        {"/nowhere", "HTTP/1.1 302 Go\r\nLocation: http://\r\nContent-Length: 0\r\n\r\n", STAYS},
        {"/busy", "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy", STAYS},
        {"/later", "HTTP/1.1 503 Busy\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
         STAYS},
        {"/sometime", "HTTP/1.1 503 Busy\r\nRetry-After: tomorrow-ish\r\nContent-Length: 0\r\n\r\n", STAYS},
        {"/bad-gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!",
         CLOSES},
};

/* The path says what the answer is to be. */
static void answer(struct little_connection *c, const struct little_request *request, void *argument)
{
	const char *path = request->path;
	(void)argument;
	note(request);
	for (unsigned i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
		if (strcmp(path, fixed[i].path) != 0)
			continue;
		little_say(c, "%s", fixed[i].answer);
		if (fixed[i].then == CLOSES)
			little_close(c, false);
		if (fixed[i].then == HANGS)
			little_hang(c);
		return;
	}
	if (say_hostile(c, path) || say_trickle(c, path))
		return;
	if (strncmp(path, "/retry-after?", 13) == 0)
		say_retry_after(c, path + 13);
	else if (strncmp(path, "/mark-", 6) == 0)
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n%.6s", path + 1);
	else if (strcmp(path, "/reset") == 0)
		little_close(c, true);
	else if (strcmp(path, "/close-second") == 0 && request->number == 2)
		little_close(c, false);
	else if (strcmp(path, "/large") == 0)
		say_zeros(c, 10 << 20);
	else if (strcmp(path, "/medium") == 0)
		say_zeros(c, 20000);
	else if (strcmp(path, "/for-ever") == 0)
		say_for_ever(c);
	else if (strcmp(path, "/gzip") == 0)
		say_gzip(c, 3000);
	else if (strcmp(path, "/bomb") == 0)
		say_gzip(c, 50 << 20);
	else if (strcmp(path, "/large-head") == 0)
		say_endless_head(c);
	else if (strcmp(path, "/in-an-hour") == 0)
		say_date(c, 3600);
	else if (strcmp(path, "/an-hour-ago") == 0)
		say_date(c, -3600);
	else
		little_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
}

/* ---- the sender ---- */

struct fixture {
	struct little_server *server;
	struct sender *sender;
	struct sender_place place;
	unsigned vetted;
	bool forbidden, anywhere; /* what vet says; it does not look at the address */
	char url[3000];
	struct sender_request request;
};

static bool vet(void *context, const uint8_t address[16], uint16_t port, void *owner)
{
	static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct fixture *f = context;
	(void)owner;
	if (!f->anywhere && port == little_port(f->server))
		assert_memory_equal(address, loopback, 16);
	f->vetted++;
	return !f->forbidden;
}

static const struct sender_options usual = {
        .requests = 4,
        .connections_kept = 4,
        .lifetime_ns = 300 * NS_PER_SEC,
        .ca_file = "",
        .user_agent = "millrace test",
        .vet = vet,
};

static void open_with(struct fixture *f, struct sender_options options)
{
	struct shm_error error = {""};
	if (f->sender != NULL)
		f->sender->ops->close(f->sender);
	f->sender = NULL;
	options.context = f;
	if (sender_curl.open(&f->sender, &options, &error) != 0)
		fail_msg("%s", error.text);
}

static void place_at(struct sender_place *place, const char *host, uint16_t port, const char *address,
                     uint64_t serial)
{
	*place = (struct sender_place){.port = port, .n = 1, .serial = serial};
	snprintf(place->host, sizeof place->host, "%s", host);
	if (inet_pton(AF_INET6, address, place->address[0]) == 1)
		return;
	memset(place->address[0] + 10, 0xff, 2);
	assert_int_equal(inet_pton(AF_INET, address, place->address[0] + 12), 1);
}

static int set_up_with(void **state, const char *certificate)
{
	struct fixture *f = calloc(1, sizeof *f);
	alarm(120);
	looked_up = 0;
	f->server = little_start(answer, NULL, certificate);
	open_with(f, usual);
	place_at(&f->place, "hooks.example.com", (uint16_t)little_port(f->server), "127.0.0.1", 1);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, NULL);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	f->sender->ops->close(f->sender);
	little_stop(f->server);
	free(f);
	assert_int_equal(looked_up, 0);
	return 0;
}

static void wait_for(struct sender *sender, uint64_t most_ns)
{
	uint64_t timeout = sender->ops->timeout(sender, most_ns, clock_monotonic_ns());
	struct pollfd look = {.fd = sender->ops->fd(sender), .events = POLLIN};
	struct timespec most = {(time_t)(timeout / NS_PER_SEC), (long)(timeout % NS_PER_SEC)};
	ppoll(&look, 1, &most, NULL);
}

/* The next request that ends. */
static struct sender_request *await(struct sender *sender)
{
	for (;;) {
		struct sender_request *request = sender->ops->next(sender, clock_monotonic_ns());
		if (request != NULL)
			return request;
		wait_for(sender, 10 * NS_PER_SEC);
	}
}

static struct sender_request *prepare(struct fixture *f, struct sender_request *request, const char *method,
                                      const char *path)
{
	snprintf(f->url, sizeof f->url, "http://%s:%u%s", f->place.host, f->place.port, path);
	*request = (struct sender_request){
	        .method = method,
	        .url = f->url,
	        .place = &f->place,
	        .connect_timeout_ns = 20 * NS_PER_SEC,
	        .first_byte_timeout_ns = 20 * NS_PER_SEC,
	        .timeout_ns = 60 * NS_PER_SEC,
	};
	return request;
}

static int send_it(struct fixture *f, struct sender_request *request)
{
	assert_int_equal(f->sender->ops->start(f->sender, request, clock_monotonic_ns()), 0);
	assert_ptr_equal(await(f->sender), request);
	return request->result;
}

static int get(struct fixture *f, const char *path)
{
	return send_it(f, prepare(f, &f->request, "GET", path));
}

static int post(struct fixture *f, const char *path, const char *body)
{
	prepare(f, &f->request, "POST", path);
	f->request.body = body;
	f->request.body_bytes = strlen(body);
	return send_it(f, &f->request);
}

/* ---- what goes out and comes back ---- */

static void an_answer_comes_back_with_status_body_and_times(void **state)
{
	struct fixture *f = *state;
	const struct sender_request *r = &f->request;
	assert_int_equal(get(f, "/a?b=c"), 0);
	assert_int_equal(r->status, 200);
	assert_true(r->sent);
	assert_false(r->reused);
	assert_int_equal(r->answer_bytes, 2);
	assert_memory_equal(r->answer, "OK", 2);
	assert_string_equal(r->reason, "");
	assert_int_equal(r->retry_after_s, -1);
	assert_string_equal(r->location, "");
	assert_true(r->connect_us > 0 && r->connect_us <= r->first_byte_us &&
	            r->first_byte_us <= r->total_us);
	assert_int_equal(r->tls_us, 0);
	assert_memory_equal(r->address, f->place.address[0], 16);
	assert_int_equal(r->port, f->place.port);
	assert_string_equal(seen_header("User-Agent"), "millrace test");
}

static void a_path_goes_out_as_it_is(void **state)
{
	assert_int_equal(get(*state, "/a/../b/./c%2f%2E%2e/%C3%A4//d?x=%2f&y&z=a=b"), 0);
	assert_string_equal(seen.path, "/a/../b/./c%2f%2E%2e/%C3%A4//d?x=%2f&y&z=a=b");
}

static void each_method_goes_out_with_its_body(void **state)
{
	static const char *const method[] = {"GET", "POST", "DELETE", "PUT", "PATCH"};
	struct fixture *f = *state;
	for (unsigned i = 0; i < 50; i++) {
		const char *name = method[(i * i + i / 7) % 5];
		bool body = i % 3 == 0;
		char text[16];
		snprintf(text, sizeof text, "a=%u", i);
		prepare(f, &f->request, name, "/m");
		if (body) {
			f->request.body = text;
			f->request.body_bytes = strlen(text);
		}
		assert_int_equal(send_it(f, &f->request), 0);
		assert_string_equal(seen.method, name);
		assert_string_equal(seen.body, body ? text : "");
		assert_true((seen_header("Content-Length")[0] != '\0') == (body || name[0] == 'P'));
		assert_string_equal(seen_header("Content-Type"), "");
		assert_string_equal(seen_header("Expect"), "");
	}
	assert_int_equal(little_connections(f->server), 1);
}

static void a_large_body_goes_out_whole_and_without_asking(void **state)
{
	struct fixture *f = *state;
	size_t bytes = 3 << 20;
	char *body = malloc(bytes);
	memset(body, 'b', bytes);
	prepare(f, &f->request, "POST", "/m");
	f->request.body = body;
	f->request.body_bytes = bytes;
	assert_int_equal(send_it(f, &f->request), 0);
	assert_int_equal(seen.body_bytes, bytes);
	assert_string_equal(seen_header("Expect"), "");
	free(body);
}

static void the_headers_of_a_request_are_only_its_own(void **state)
{
	struct fixture *f = *state;
	prepare(f, &f->request, "POST", "/h");
	f->request.body = "{}";
	f->request.body_bytes = 2;
	f->request.header[0] = "Content-Type: application/json";
	f->request.header[1] = "Idempotency-Key: 1";
	f->request.n_headers = 2;
	assert_int_equal(send_it(f, &f->request), 0);
	assert_string_equal(seen_header("Content-Type"), "application/json");
	assert_string_equal(seen_header("Idempotency-Key"), "1");
	for (unsigned i = 0; i < SENDER_HEADERS_MAX; i++)
		f->request.header[i] = "X-Many: yes";
	f->request.n_headers = SENDER_HEADERS_MAX;
	assert_int_equal(send_it(f, &f->request), 0);
	assert_string_equal(seen_header("Idempotency-Key"), "");
	assert_string_equal(seen_header("X-Many"), "yes");
	assert_int_equal(get(f, "/h"), 0);
	assert_string_equal(seen_header("X-Many"), "");
}

static void the_user_of_a_url_goes_to_that_url_only(void **state)
{
	struct fixture *f = *state;
	prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "http://user:secret@%s:%u/", f->place.host, f->place.port);
	assert_int_equal(send_it(f, &f->request), 0);
	assert_string_equal(seen_header("Authorization"), "Basic dXNlcjpzZWNyZXQ=");
	assert_int_equal(get(f, "/"), 0);
	assert_string_equal(seen_header("Authorization"), "");
	assert_string_equal(seen_header("Host") + strlen(f->place.host),
	                    strchr(f->url + 7, ':') == NULL ? ""
	                                                    : seen_header("Host") + strlen(f->place.host));
}

static void a_header_or_url_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const header[] = {"X-A: b\r\nX-C: d", "X-A: b\n", "nothing"};
	for (unsigned i = 0; i < 3; i++) {
		prepare(f, &f->request, "GET", "/");
		f->request.header[0] = header[i];
		f->request.n_headers = 1;
		assert_int_equal(send_it(f, &f->request), -EINVAL);
		assert_false(f->request.sent);
	}
	static const char *const path[] = {"/a b", "/a\r\nX-A: b", "/\x7f"};
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get(f, path[i]), -EINVAL);
	prepare(f, &f->request, "GET", "/");
	f->request.url = "ftp://hooks.example.com/";
	assert_int_equal(send_it(f, &f->request), -EINVAL);
	f->request.url = "file:///etc/passwd";
	assert_int_equal(send_it(f, &f->request), -EINVAL);
	f->request.method = "PROPPATCH";
	assert_int_equal(send_it(f, &f->request), -EINVAL);
	assert_int_equal(little_connections(f->server), 0);
}

static void a_chunked_answer_is_put_together_and_trailers_are_no_headers(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/chunked"), 0);
	assert_int_equal(f->request.answer_bytes, 7);
	assert_memory_equal(f->request.answer, "abcdefg", 7);
	assert_int_equal(f->request.retry_after_s, -1);
}

static void interim_answers_do_not_count(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/interim"), 0);
	assert_int_equal(f->request.status, 200);
	assert_string_equal(f->request.location, "");
	assert_int_equal(f->request.retry_after_s, -1);
}

static void a_redirect_is_an_answer_with_an_absolute_location(void **state)
{
	struct fixture *f = *state;
	char wanted[300];
	snprintf(wanted, sizeof wanted, "http://%s:%u/else%%20where?a=b", f->place.host, f->place.port);
	assert_int_equal(get(f, "/redirect"), 0);
	assert_int_equal(f->request.status, 307);
	assert_string_equal(f->request.location, wanted);
	assert_int_equal(get(f, "/far"), 0);
	assert_string_equal(f->request.location, "http://[::1]:9/x");
	assert_int_equal(get(f, "/nowhere"), 0);
	assert_string_equal(f->request.location, "");
	assert_int_equal(little_requests(f->server), 3);
}

static void retry_after_comes_in_seconds_and_as_a_date(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/busy"), 0);
	assert_int_equal(f->request.status, 429);
	assert_int_equal(f->request.retry_after_s, 7);
	assert_memory_equal(f->request.answer, "busy", 4);
	assert_int_equal(get(f, "/later"), 0);
	assert_true(f->request.retry_after_s == INT64_MAX);
	assert_int_equal(get(f, "/sometime"), 0);
	assert_int_equal(f->request.retry_after_s, -1);
	assert_int_equal(get(f, "/in-an-hour"), 0);
	assert_in_range(f->request.retry_after_s, 3590, 3600);
	assert_int_equal(get(f, "/an-hour-ago"), 0);
	assert_int_equal(f->request.retry_after_s, 0);
}

/* ---- what is kept, and what is bounded ---- */

static void of_a_body_only_its_beginning_is_kept(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/medium"), 0);
	assert_int_equal(f->request.answer_bytes, SENDER_BODY_KEPT);
	assert_int_equal(get(f, "/"), 0);
	assert_true(f->request.reused);
	assert_int_equal(f->request.answer_bytes, 2);
}

static void a_body_that_does_not_end_is_left(void **state)
{
	struct fixture *f = *state;
	static const char *const path[] = {"/large", "/for-ever"};
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get(f, path[i]), 0);
		assert_int_equal(f->request.status, 200);
		assert_int_equal(f->request.answer_bytes, SENDER_BODY_KEPT);
		assert_int_equal(get(f, "/"), 0);
		assert_false(f->request.reused);
	}
}

static void gzip_is_unpacked_within_the_limit(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/gzip"), 0);
	assert_non_null(strstr(seen_header("Accept-Encoding"), "gzip"));
	assert_int_equal(f->request.answer_bytes, 3000);
	assert_memory_equal(f->request.answer, "zzz", 3);
	assert_int_equal(get(f, "/bomb"), 0);
	assert_int_equal(f->request.answer_bytes, SENDER_BODY_KEPT);
	assert_int_equal(get(f, "/bad-gzip"), 0);
	assert_int_equal(f->request.status, 200);
}

static int get_within(struct fixture *f, const char *path, uint64_t first_byte_ms, uint64_t ms)
{
	prepare(f, &f->request, "GET", path);
	f->request.first_byte_timeout_ns = first_byte_ms * NS_PER_MS;
	f->request.timeout_ns = ms * NS_PER_MS;
	return send_it(f, &f->request);
}

/* Answers of a server that means no good: each has an end, and each its result. */
static void no_answer_keeps_the_sender_or_breaks_it(void **state)
{
	static const struct {
		const char *path;
		unsigned status; /* 0: it is no answer */
	} cases[] = {
	        {"/switch", 0},      {"/one-line", 0},      {"/interim-flood", 0},  {"/version-9", 0},
	        {"/version-2", 200}, {"/no-version", 0},    {"/status-long", 0},    {"/status-none", 0},
	        {"/length-less", 0}, {"/length-huge", 200}, {"/length-twice", 200}, {"/length-text", 0},
	        {"/nul", 0},         {"/layers", 0},        {"/chunk-huge", 200},   {"/chunk-text", 200},
	        {"/trailers", 200},  {"/bare", 200},        {"/fold", 307},         {"/more", 200},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		prepare(f, &f->request, "GET", cases[i].path);
		f->request.timeout_ns = 3 * NS_PER_SEC;
		int r = send_it(f, &f->request);
		print_message("%s: %d, %u, %s\n", cases[i].path, r, f->request.status, f->request.reason);
		if (f->request.status != cases[i].status || (r == 0) != (cases[i].status != 0))
			fail_msg("%s", cases[i].path);
		assert_true(r != -ETIMEDOUT && r != -ENOMEM); /* which nobody could help */
		while (get(f, "/") == -EPIPE && f->request.reused)
			;                               /* the server has closed what was kept */
		assert_int_equal(f->request.result, 0); /* all is well with the sender */
		assert_memory_equal(f->request.answer, "OK", 2);
	}
}

static void what_trickles_has_no_more_time(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get_within(f, "/trickle-line", 200, 60000), -ETIMEDOUT);
	assert_int_equal(get_within(f, "/trickle-head", 60000, 300), -ETIMEDOUT);
	assert_int_equal(get_within(f, "/trickle-interim", 60000, 300), -ETIMEDOUT);
	assert_int_equal(get_within(f, "/trickle-body", 60000, 300), 0);
	assert_int_equal(f->request.status, 200);
}

static void retry_after_may_be_anything(void **state)
{
	static const char *const value[] = {"-5",
	                                    "0",
	                                    "1e9",
	                                    "0x10",
	                                    "5 5",
	                                    "+7",
	                                    "1.5",
	                                    "",
	                                    "  ",
	                                    "Fri, 31 Dec 9999 23:59:59 GMT",
	                                    "Thu, 01 Jan 1970 00:00:00 GMT",
	                                    "Wed, 21 Oct 1015 07:28:00 GMT",
	                                    "Mon, 99 Foo 2030 99:99:99 GMT"};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof value / sizeof value[0]; i++) {
		char path[128] = "/retry-after?";
		for (size_t k = 0, at = strlen(path); value[i][k] != '\0'; k++)
			path[at++] = value[i][k] == ' ' ? '_' : value[i][k];
		assert_int_equal(get(f, path), 0);
		print_message("%s: %lld\n", value[i], (long long)f->request.retry_after_s);
		assert_int_equal(f->request.status, 503);
		assert_true(f->request.retry_after_s >= -1);
	}
}

static void a_head_that_does_not_end_is_an_error(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/large-head"), -EMSGSIZE);
	assert_int_equal(f->request.status, 0);
	assert_string_not_equal(f->request.reason, "");
}

/* ---- time ---- */

static void the_first_byte_has_its_time(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ns = clock_monotonic_ns();
	assert_int_equal(get_within(f, "/hang", 150, 60000), -ETIMEDOUT);
	assert_true(clock_monotonic_ns() - begun_ns >= 150 * NS_PER_MS);
	assert_true(f->request.sent);
	assert_string_equal(f->request.reason, "there was no answer in time");
}

static void the_whole_has_its_time(void **state)
{
	struct fixture *f = *state;
	uint64_t begun_ns = clock_monotonic_ns();
	assert_int_equal(get_within(f, "/hang", 60000, 150), -ETIMEDOUT);
	assert_int_equal(get_within(f, "/hang-head", 60000, 150), -ETIMEDOUT);
	assert_int_equal(f->request.status, 0);
	assert_string_equal(f->request.reason, "the answer's head was not whole in time");
	assert_true(clock_monotonic_ns() - begun_ns >= 300 * NS_PER_MS);
}

static void an_answer_whose_body_does_not_come_in_time_is_one(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get_within(f, "/hang-body", 60000, 150), 0);
	assert_int_equal(f->request.status, 202);
	assert_int_equal(f->request.answer_bytes, 3);
	assert_string_equal(f->request.reason, "");
}

/* A listener whose backlog is full answers no SYN. */
static void the_connection_has_its_time(void **state)
{
	struct fixture *f = *state;
	unsigned port;
	int fd[4], listener;
	port = little_refusing_port(&listener);
	assert_int_equal(listen(listener, 0), 0);
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	for (unsigned i = 0; i < 4; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fd[i], (struct sockaddr *)&to, sizeof to);
	}
	usleep(50000);
	place_at(&f->place, "full.example.com", (uint16_t)port, "127.0.0.1", 2);
	prepare(f, &f->request, "GET", "/");
	f->request.connect_timeout_ns = 150 * NS_PER_MS;
	assert_int_equal(send_it(f, &f->request), -ETIMEDOUT);
	assert_false(f->request.sent);
	for (unsigned i = 0; i < 4; i++)
		close(fd[i]);
	close(listener);
}

static void requests_that_are_late_end_in_their_order(void **state)
{
	struct fixture *f = *state;
	struct sender_request request[4];
	for (unsigned i = 0; i < 4; i++) {
		prepare(f, &request[i], "GET", "/hang");
		request[i].first_byte_timeout_ns = (400 - 100 * i) * NS_PER_MS;
		assert_int_equal(f->sender->ops->start(f->sender, &request[i], clock_monotonic_ns()), 0);
	}
	struct sender_request one;
	prepare(f, &one, "GET", "/");
	assert_int_equal(f->sender->ops->start(f->sender, &one, clock_monotonic_ns()), -EAGAIN);
	for (unsigned i = 4; i-- > 0;) {
		assert_ptr_equal(await(f->sender), &request[i]);
		assert_int_equal(request[i].result, -ETIMEDOUT);
	}
	assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
	assert_int_equal(f->sender->ops->timeout(f->sender, 12345, clock_monotonic_ns()), 12345);
}

/* ---- errors ---- */

static void a_port_that_nobody_listens_on_refuses(void **state)
{
	struct fixture *f = *state;
	int fd;
	f->place.port = (uint16_t)little_refusing_port(&fd);
	assert_int_equal(get(f, "/"), -ECONNREFUSED);
	assert_false(f->request.sent);
	assert_string_not_equal(f->request.reason, "");
	assert_int_equal(f->request.port, f->place.port);
	assert_memory_equal(f->request.address, f->place.address[0], 16);
	close(fd);
}

static void an_answer_that_is_none_is_told(void **state)
{
	struct fixture *f = *state;
	static const char *const lost[] = {"/close", "/reset", "/cut-line", "/cut-head"};
	for (unsigned i = 0; i < 4; i++) {
		int r = get(f, lost[i]);
		assert_true(r == -EPIPE || (i == 2 && r == -EBADMSG));
		assert_true(f->request.sent);
		assert_false(f->request.reused);
		assert_int_equal(f->request.status, 0);
		assert_string_not_equal(f->request.reason, "");
	}
	assert_int_equal(get(f, "/garbage"), -EBADMSG);
	assert_int_equal(get(f, "/cut-body"), 0);
	assert_int_equal(f->request.status, 200);
}

static void a_kept_connection_that_is_lost_is_told_and_nothing_is_sent_twice(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 2; i++) {
		open_with(f, usual);
		unsigned requests = little_requests(f->server), connections = little_connections(f->server);
		assert_int_equal(get(f, "/close-second"), 0);
		int r = i == 0 ? get(f, "/close-second") : post(f, "/close-second", "a=b");
		assert_int_equal(r, -EPIPE);
		assert_true(f->request.reused);
		assert_true(f->request.sent);
		assert_int_equal(little_requests(f->server), requests + 2);
		assert_int_equal(little_connections(f->server), connections + 1);
		assert_int_equal(send_it(f, &f->request), 0); /* on another */
		assert_false(f->request.reused);
	}
}

/* ---- connections ---- */

static void a_connection_is_kept_and_its_times_are_zero(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(i % 2 ? get(f, "/") : post(f, "/", "x=y"), 0);
		assert_int_equal(f->request.reused, i > 0);
		assert_true((f->request.connect_us > 0) == (i == 0));
		assert_memory_equal(f->request.address, f->place.address[0], 16);
	}
	assert_int_equal(little_connections(f->server), 1);
	assert_int_equal(f->vetted, 21); /* once before it connects, then before each request */
}

static void without_idle_connections_each_request_has_its_own(void **state)
{
	struct fixture *f = *state;
	struct sender_options options = usual;
	options.connections_kept = 0;
	open_with(f, options);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get(f, "/"), 0);
	assert_int_equal(little_connections(f->server), 3);
}

static void a_connection_is_not_used_beyond_its_lifetime(void **state)
{
	struct fixture *f = *state;
	struct sender_options options = usual;
	options.lifetime_ns = NS_PER_SEC;
	open_with(f, options);
	assert_int_equal(get(f, "/"), 0);
	usleep(2100000); /* libcurl counts whole seconds */
	assert_int_equal(get(f, "/"), 0);
	assert_false(f->request.reused);
}

static void handles_and_connections_are_used_again(void **state)
{
	struct fixture *f = *state;
	struct sender_request request[4];
	for (unsigned turn = 0; turn < 50; turn++) {
		for (unsigned i = 0; i < 4; i++) {
			prepare(f, &request[i], i % 2 ? "GET" : "POST", "/");
			assert_int_equal(f->sender->ops->start(f->sender, &request[i], clock_monotonic_ns()),
			                 0);
		}
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(await(f->sender)->result, 0);
	}
	assert_true(little_connections(f->server) <= 4);
	assert_int_equal(little_requests(f->server), 200);
}

/* Whoever sleeps on the descriptor would never sleep again. */
static void an_idle_connection_that_is_closed_wakes_nobody_for_long(void **state)
{
	struct fixture *f = *state;
	struct pollfd look = {.fd = f->sender->ops->fd(f->sender), .events = POLLIN};
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(get(f, "/leave"), 0);
		assert_true(poll(&look, 1, 100) <= 1);
		assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
		assert_int_equal(poll(&look, 1, 0), 0);
		int r = get(f, "/");
		assert_true(r == 0 || (r == -EPIPE && f->request.reused));
	}
}

static void what_is_cancelled_never_comes_back(void **state)
{
	struct fixture *f = *state;
	struct sender_request other;
	prepare(f, &f->request, "GET", "/hang");
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
		for (unsigned k = 0; k < i; k++) {
			assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
			wait_for(f->sender, NS_PER_MS);
		}
		f->sender->ops->cancel(f->sender, &f->request);
	}
	/* one that has ended and was not fetched */
	prepare(f, &f->request, "BAD METHOD", "/");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	f->sender->ops->cancel(f->sender, &f->request);
	prepare(f, &other, "GET", "/");
	assert_int_equal(send_it(f, &other), 0);
	assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
	/* closed with one under way */
	prepare(f, &f->request, "GET", "/hang");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	f->sender->ops->next(f->sender, clock_monotonic_ns());
}

/* ---- addresses ---- */

static void a_forbidden_address_is_not_connected_to(void **state)
{
	struct fixture *f = *state;
	f->forbidden = true;
	assert_int_equal(get(f, "/"), -EACCES);
	assert_false(f->request.sent);
	assert_int_equal(f->vetted, 1);
	assert_string_equal(f->request.reason, "the address is forbidden");
	assert_memory_equal(f->request.address, f->place.address[0], 16);
	assert_int_equal(little_connections(f->server), 0);
}

static void an_address_is_vetted_before_each_request_of_a_kept_connection(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(get(f, "/"), 0);
	f->forbidden = true;
	assert_int_equal(get(f, "/"), -EACCES);
	assert_false(f->request.sent);
	assert_int_equal(little_requests(f->server), 1);
	f->forbidden = false;
	assert_int_equal(get(f, "/"), 0);
	assert_int_equal(little_requests(f->server), 2);
}

static void a_name_goes_where_its_place_says_and_nobody_looks_it_up(void **state)
{
	struct fixture *f = *state;
	static const char *const host[] = {"hooks.example.com",
	                                   "HOOKS.example.com",
	                                   "localhost",
	                                   "127.0.0.1",
	                                   "10.1.2.3",
	                                   "2130706433",
	                                   "0x7f.1",
	                                   "0177.0.0.1",
	                                   "trailing.example.com.",
	                                   "xn--bcher-kva.example"};
	for (unsigned i = 0; i < sizeof host / sizeof host[0]; i++) {
		place_at(&f->place, host[i], f->place.port, "127.0.0.1", 1);
		if (get(f, "/") != 0)
			fail_msg("%s: %s", host[i], f->request.reason);
		assert_memory_equal(f->request.address, f->place.address[0], 16);
	}
}

static void a_url_with_another_host_than_its_place_goes_nowhere(void **state)
{
	struct fixture *f = *state;
	prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "http://elsewhere.example.com:%u/", f->place.port);
	assert_int_equal(send_it(f, &f->request), -EINVAL);
	assert_int_equal(little_connections(f->server), 0);
}

/* libcurl's list of addresses would take it for the order to forget hooks.example.com. */
static void a_host_that_begins_with_a_hyphen_takes_no_other_out(void **state)
{
	struct fixture *f = *state;
	struct sender_place place = f->place;
	struct sender_options options = usual;
	options.connections_kept = 0;
	open_with(f, options);
	assert_int_equal(get(f, "/"), 0);
	place_at(&f->place, "-hooks.example.com", place.port, "127.0.0.1", 2);
	assert_int_equal(get(f, "/"), -EINVAL);
	f->place = place;
	assert_int_equal(get(f, "/"), 0);
}

static void new_addresses_count_from_the_next_connection_on(void **state)
{
	struct fixture *f = *state;
	struct sender_options options = usual;
	options.connections_kept = 0;
	f->anywhere = f->forbidden = true;
	open_with(f, options);
	for (uint8_t i = 1; i < 10; i++) {
		f->place.serial = i;
		f->place.address[0][15] = i;
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(get(f, "/"), -EACCES);
			assert_int_equal(f->request.address[15], i);
		}
		if (i % 3 == 0)
			f->sender->ops->forget(f->sender, &f->place);
		if (i % 6 == 0)
			f->sender->ops->forget(f->sender, &f->place);
	}
}

/* Nobody listens at the first address. */
static void every_address_of_a_place_is_tried(void **state)
{
	struct fixture *f = *state;
	f->anywhere = true;
	f->place.n = 3;
	memcpy(f->place.address[2], f->place.address[0], 16);
	memcpy(f->place.address[1], f->place.address[0], 16);
	f->place.address[1][14] = 9;
	memset(f->place.address[0], 0, 16);
	f->place.address[0][15] = 1; /* ::1 */
	assert_int_equal(get(f, "/"), 0);
	assert_memory_equal(f->request.address, f->place.address[2], 16);
	assert_true(f->vetted >= 3);
}

static void what_is_forgotten_leaves_libcurl(void **state)
{
	struct fixture *f = *state;
	struct sender_place place[60];
	for (unsigned turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < 60; i++) {
			char host[32];
			snprintf(host, sizeof host, "h%u.example.com", i);
			place_at(&f->place, host, (uint16_t)little_port(f->server), "127.0.0.1", turn + 1);
			assert_int_equal(get(f, "/"), 0);
			place[i] = f->place;
			if (i >= 10)
				f->sender->ops->forget(f->sender, &place[i - 10]);
		}
	/* it does not know the name any more, and so the request with this URL goes nowhere */
	prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "http://h20.example.com:%u/", f->place.port);
	assert_int_equal(send_it(f, &f->request), -EINVAL);
}

static void an_ipv6_address_in_the_url_is_taken_as_it_is(void **state)
{
	struct fixture *f = *state;
	prepare(f, &f->request, "GET", "/");
	snprintf(f->place.host, sizeof f->place.host, "::ffff:127.0.0.1");
	snprintf(f->url, sizeof f->url, "http://[::ffff:127.0.0.1]:%u/", f->place.port);
	for (unsigned i = 0; i < 2; i++) {
		if (send_it(f, &f->request) != 0)
			fail_msg("%s", f->request.reason);
		assert_int_equal(f->request.reused, i > 0);
	}
	assert_true(f->vetted >= 3);
	f->sender->ops->forget(f->sender, &f->place);
}

/* ---- TLS ---- */

/* A server with a certificate of its own, for localhost and 127.0.0.1. */
struct tls {
	char own[64], other[64];
	struct little_server *server;
};

static void open_tls(struct fixture *f, struct tls *tls)
{
	strcpy(tls->own, "/tmp/millrace-sender-own-XXXXXX");
	strcpy(tls->other, "/tmp/millrace-sender-other-XXXXXX");
	close(mkstemp(tls->own));
	close(mkstemp(tls->other));
	little_certificate(tls->own);
	little_certificate(tls->other);
	tls->server = little_start(answer, NULL, tls->own);
	f->anywhere = true;
}

static void close_tls(struct tls *tls)
{
	little_stop(tls->server);
	unlink(tls->own);
	unlink(tls->other);
}

static int get_tls(struct fixture *f, const struct tls *tls, const char *ca_file, const char *host,
                   bool http2)
{
	struct sender_options options = usual;
	options.ca_file = ca_file;
	open_with(f, options);
	place_at(&f->place, host, (uint16_t)little_port(tls->server), "127.0.0.1", 1);
	prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "https://%s:%u/", host, f->place.port);
	f->request.http2 = http2;
	return send_it(f, &f->request);
}

static void tls_is_verified_always(void **state)
{
	struct fixture *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", false), 0);
	assert_true(f->request.tls_us >= f->request.connect_us && f->request.connect_us > 0);
	assert_int_equal(get_tls(f, &tls, tls.own, "127.0.0.1", false), 0);
	assert_int_equal(send_it(f, &f->request), 0);
	assert_true(f->request.reused);
	assert_int_equal(f->request.tls_us, 0);
	assert_int_equal(get_tls(f, &tls, tls.other, "localhost", false), -EPROTO); /* another CA */
	assert_false(f->request.sent);
	assert_int_equal(get_tls(f, &tls, "", "localhost", false), -EPROTO); /* the system's */
	assert_int_equal(get_tls(f, &tls, tls.own, "hooks.example.com", false), -EPROTO);
	assert_string_not_equal(f->request.reason, "");
	close_tls(&tls);
}

static void a_certificate_counts_in_its_time_only(void **state)
{
	static const long time[][2] = {{-7200, -3600}, {3600, 7200}};
	struct fixture *f = *state;
	char path[] = "/tmp/millrace-sender-time-XXXXXX";
	close(mkstemp(path));
	f->anywhere = true;
	for (unsigned i = 0; i < 2; i++) {
		struct tls tls = {.server = NULL};
		little_certificate_of(path, time[i][0], time[i][1]);
		tls.server = little_start(answer, NULL, path);
		assert_int_equal(get_tls(f, &tls, path, "localhost", false), -EPROTO);
		assert_false(f->request.sent);
		little_stop(tls.server);
	}
	unlink(path);
}

/* libcurl is built with a folder of certificates besides the file; both are to go. */
static void with_a_ca_file_the_systems_certificates_do_not_count(void **state)
{
	struct fixture *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	folders = 0;
	assert_int_equal(get_tls(f, &tls, "", "localhost", false), -EPROTO);
	assert_int_equal(folders, 1);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", false), 0);
	assert_int_equal(folders, 1);
	close_tls(&tls);
}

static void a_server_without_http2_gets_http1(void **state)
{
	struct fixture *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", true), 0);
	assert_non_null(strstr(seen.head, " HTTP/1.1"));
	close_tls(&tls);
}

/* nginx takes no port 0, but sockets that the variable NGINX names, as in an upgrade of itself. */
static pid_t start_nginx(const char *folder, const char *certificate, uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof address;
	char path[128], log[128];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	*port = ntohs(address.sin_port);
	snprintf(path, sizeof path, "%s/conf", folder);
	snprintf(log, sizeof log, "%s/log", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
	        "daemon off; worker_processes 1; pid %s/pid; error_log %s/log; events {}\n"
	        "http { access_log off; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;\n"
	        "uwsgi_temp_path %s/u; scgi_temp_path %s/s; keepalive_requests 100;\n"
	        "server { listen 127.0.0.1:%u ssl http2; ssl_certificate %s; ssl_certificate_key %s;\n"
	        "location / { return 200 $server_protocol; } } }\n",
	        folder, folder, folder, folder, folder, folder, folder, *port, certificate, certificate);
	assert_int_equal(fclose(file), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (fd == 3)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, 3);
		setenv("NGINX", "3;", 1);
		execl("/usr/sbin/nginx", "nginx", "-e", log, "-c", path, NULL);
		_exit(127);
	}
	close(fd);
	return pid;
}

/* nginx says goodbye to a connection after 100 requests; what meets that is told as on any other
 * connection that was lost. */
static void send_over_http2(struct fixture *f, unsigned n)
{
	unsigned good = 0, reused = 0;
	prepare(f, &f->request, "POST", "/");
	snprintf(f->url, sizeof f->url, "https://localhost:%u/", f->place.port);
	f->request.body = "a=b";
	f->request.body_bytes = 3;
	f->request.http2 = true;
	while (good < n) {
		int r = send_it(f, &f->request);
		reused += f->request.reused;
		if (r == 0) {
			assert_int_equal(f->request.answer_bytes, 8);
			assert_memory_equal(f->request.answer, "HTTP/2.0", 8);
			good++;
		} else {
			assert_int_equal(r, -EPIPE);
			assert_true(f->request.reused);
		}
	}
	assert_true(reused > n / 2);
}

static void a_server_with_http2_gets_http2(void **state)
{
	struct fixture *f = *state;
	char folder[] = "/tmp/millrace-sender-nginx-XXXXXX", certificate[64];
	struct sender_options options = usual;
	if (access("/usr/sbin/nginx", X_OK) != 0) {
		print_message("skipped: nginx, the server of HTTP/2, is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	snprintf(certificate, sizeof certificate, "%s/pem", folder);
	little_certificate(certificate);
	f->anywhere = true;
	place_at(&f->place, "localhost", 0, "127.0.0.1", 1);
	pid_t nginx = start_nginx(folder, certificate, &f->place.port);
	options.ca_file = certificate;
	open_with(f, options);
	send_over_http2(f, 350);
	kill(nginx, SIGTERM);
	assert_int_equal(waitpid(nginx, NULL, 0), nginx);
	tree_remove(folder);
}

static void a_server_that_speaks_no_tls_is_an_error_of_tls(void **state)
{
	struct fixture *f = *state;
	prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "https://%s:%u/", f->place.host, f->place.port);
	f->request.timeout_ns = NS_PER_SEC; /* the server waits for a head */
	int r = send_it(f, &f->request);
	assert_true(r == -EPROTO || r == -ETIMEDOUT);
	assert_false(f->request.sent);
}

static void a_ca_file_that_is_none_is_told_at_the_start(void **state)
{
	(void)state;
	struct sender *sender;
	struct shm_error error = {""};
	struct sender_options options = usual;
	options.ca_file = "/nowhere/ca.pem";
	assert_int_equal(sender_curl.open(&sender, &options, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/ca.pem"));
	options.ca_file = "/etc/passwd";
	assert_int_equal(sender_curl.open(&sender, &options, &error), -EINVAL);
	assert_non_null(strstr(error.text, "/etc/passwd"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void what_libcurl_reads_is_laid_to_its_request(void **state)
{
	struct fixture *f = *state;
	struct sender_options options = usual;
	char url[4][sizeof f->url];
	options.working = note_work;
	open_with(f, options);
	memset(&work, 0, sizeof work);
	work.thread = pthread_self();
	for (unsigned round = 1; round <= 3; round++) { /* the later ones over kept connections */
		for (unsigned i = 0; i < 4; i++) {
			char path[] = {'/', 'm', 'a', 'r', 'k', '-', (char)('0' + i), '\0'};
			prepare(f, &work.request[i], "GET", path);
			snprintf(url[i], sizeof url[i], "%s", f->url);
			work.request[i].url = url[i];
			work.request[i].owner = &work.request[i];
			assert_int_equal(
			        f->sender->ops->start(f->sender, &work.request[i], clock_monotonic_ns()), 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(await(f->sender)->status, 200);
			assert_null(work.owner);
		}
		assert_int_equal(work.right, 4 * round);
	}
	assert_int_equal(work.wrong, 0);
}

int main(void)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	const struct CMUnitTest tests[] = {
	        TEST(an_answer_comes_back_with_status_body_and_times),
	        TEST(what_libcurl_reads_is_laid_to_its_request),
	        TEST(a_path_goes_out_as_it_is),
	        TEST(each_method_goes_out_with_its_body),
	        TEST(a_large_body_goes_out_whole_and_without_asking),
	        TEST(the_headers_of_a_request_are_only_its_own),
	        TEST(the_user_of_a_url_goes_to_that_url_only),
	        TEST(a_header_or_url_that_is_none_is_refused),
	        TEST(a_chunked_answer_is_put_together_and_trailers_are_no_headers),
	        TEST(interim_answers_do_not_count),
	        TEST(a_redirect_is_an_answer_with_an_absolute_location),
	        TEST(retry_after_comes_in_seconds_and_as_a_date),
	        TEST(of_a_body_only_its_beginning_is_kept),
	        TEST(a_body_that_does_not_end_is_left),
	        TEST(gzip_is_unpacked_within_the_limit),
	        TEST(no_answer_keeps_the_sender_or_breaks_it),
	        TEST(what_trickles_has_no_more_time),
	        TEST(retry_after_may_be_anything),
	        TEST(a_head_that_does_not_end_is_an_error),
	        TEST(the_first_byte_has_its_time),
	        TEST(the_whole_has_its_time),
	        TEST(an_answer_whose_body_does_not_come_in_time_is_one),
	        TEST(the_connection_has_its_time),
	        TEST(requests_that_are_late_end_in_their_order),
	        TEST(a_port_that_nobody_listens_on_refuses),
	        TEST(an_answer_that_is_none_is_told),
	        TEST(a_kept_connection_that_is_lost_is_told_and_nothing_is_sent_twice),
	        TEST(a_connection_is_kept_and_its_times_are_zero),
	        TEST(without_idle_connections_each_request_has_its_own),
	        TEST(a_connection_is_not_used_beyond_its_lifetime),
	        TEST(handles_and_connections_are_used_again),
	        TEST(an_idle_connection_that_is_closed_wakes_nobody_for_long),
	        TEST(what_is_cancelled_never_comes_back),
	        TEST(a_forbidden_address_is_not_connected_to),
	        TEST(an_address_is_vetted_before_each_request_of_a_kept_connection),
	        TEST(a_name_goes_where_its_place_says_and_nobody_looks_it_up),
	        TEST(a_url_with_another_host_than_its_place_goes_nowhere),
	        TEST(a_host_that_begins_with_a_hyphen_takes_no_other_out),
	        TEST(new_addresses_count_from_the_next_connection_on),
	        TEST(every_address_of_a_place_is_tried),
	        TEST(what_is_forgotten_leaves_libcurl),
	        TEST(an_ipv6_address_in_the_url_is_taken_as_it_is),
	        TEST(tls_is_verified_always),
	        TEST(a_certificate_counts_in_its_time_only),
	        TEST(with_a_ca_file_the_systems_certificates_do_not_count),
	        TEST(a_server_without_http2_gets_http1),
	        TEST(a_server_with_http2_gets_http2),
	        TEST(a_server_that_speaks_no_tls_is_an_error_of_tls),
	        TEST(a_ca_file_that_is_none_is_told_at_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
