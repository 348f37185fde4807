#include "tests/deliver/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

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

atomic_uint talk_folders;

/* In the place of OpenSSL's: a folder of certificates to trust. */
int X509_STORE_load_path(X509_STORE *store, const char *path)
{
	int (*real)(X509_STORE *, const char *);
	*(void **)&real = dlsym(RTLD_NEXT, "X509_STORE_load_path");
	talk_folders++;
	return real(store, path);
}

/* Whose answer the sender says it works on, and whose libcurl has in its hands then. */
struct talk_work talk_work;

void talk_note_work(void *context, void *owner)
{
	(void)context;
	talk_work.owner = owner;
}

/* In the place of libc's: an answer "mark-2" belongs to request 2. */
ssize_t recv(int fd, void *to, size_t bytes, int flags)
{
	ssize_t (*real)(int, void *, size_t, int);
	*(void **)&real = dlsym(RTLD_NEXT, "recv");
	ssize_t n = real(fd, to, bytes, flags);
	const char *mark = n > 0 && pthread_equal(pthread_self(), talk_work.thread)
	                           ? memmem(to, (size_t)n, "mark-", 5)
	                           : NULL;
	if (mark != NULL)
		*(talk_work.owner == &talk_work.request[mark[5] - '0'] ? &talk_work.right
		                                                       : &talk_work.wrong) += 1;
	return n;
}

/* ---- the server ---- */

/* What it saw of the last request. */
struct talk_seen talk_seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(const struct little_request *request)
{
	pthread_mutex_lock(&talk_seen.lock);
	snprintf(talk_seen.head, sizeof talk_seen.head, "%s", request->head);
	snprintf(talk_seen.method, sizeof talk_seen.method, "%s", request->method);
	snprintf(talk_seen.path, sizeof talk_seen.path, "%s", request->path);
	talk_seen.body_bytes = request->body_bytes;
	snprintf(talk_seen.body, sizeof talk_seen.body, "%s", request->body);
	talk_seen.connection = request->connection;
	talk_seen.number = request->number;
	pthread_mutex_unlock(&talk_seen.lock);
}

const char *talk_seen_header(const char *name)
{
	static char value[256];
	struct little_request request = {.head = talk_seen.head};
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
void talk_answer(struct little_connection *c, const struct little_request *request, void *argument)
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

static bool vet(void *context, const uint8_t address[16], uint16_t port, void *owner)
{
	static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct talk *f = context;
	(void)owner;
	if (!f->anywhere && port == little_port(f->server))
		assert_memory_equal(address, loopback, 16);
	f->vetted++;
	return !f->forbidden;
}

const struct sender_options talk_usual = {
        .requests = 4,
        .connections_kept = 4,
        .lifetime_ns = 300 * NS_PER_SEC,
        .ca_file = "",
        .user_agent = "millrace test",
        .vet = vet,
};

const struct sender_ops *talk_ops = &sender_auto;

void talk_open(struct talk *f, struct sender_options options)
{
	struct shm_error error = {""};
	if (f->sender != NULL)
		f->sender->ops->close(f->sender);
	f->sender = NULL;
	options.context = f;
	if (talk_ops->open(&f->sender, &options, &error) != 0)
		fail_msg("%s", error.text);
}

void talk_place(struct sender_place *place, const char *host, uint16_t port, const char *address,
                uint64_t serial)
{
	*place = (struct sender_place){.port = port, .n = 1, .serial = serial};
	snprintf(place->host, sizeof place->host, "%s", host);
	if (inet_pton(AF_INET6, address, place->address[0]) == 1)
		return;
	memset(place->address[0] + 10, 0xff, 2);
	assert_int_equal(inet_pton(AF_INET, address, place->address[0] + 12), 1);
}

int talk_set_up(void **state)
{
	struct talk *f = calloc(1, sizeof *f);
	alarm(120);
	looked_up = 0;
	f->server = little_start(talk_answer, NULL, NULL);
	talk_open(f, talk_usual);
	talk_place(&f->place, "hooks.example.com", (uint16_t)little_port(f->server), "127.0.0.1", 1);
	*state = f;
	return 0;
}

int talk_tear_down(void **state)
{
	struct talk *f = *state;
	f->sender->ops->close(f->sender);
	little_stop(f->server);
	free(f);
	assert_int_equal(looked_up, 0);
	return 0;
}

void talk_wait(struct sender *sender, uint64_t most_ns)
{
	uint64_t timeout = sender->ops->timeout(sender, most_ns, clock_monotonic_ns());
	struct pollfd look = {.fd = sender->ops->fd(sender), .events = POLLIN};
	struct timespec most = {(time_t)(timeout / NS_PER_SEC), (long)(timeout % NS_PER_SEC)};
	ppoll(&look, 1, &most, NULL);
}

/* The next request that ends. */
struct sender_request *talk_await(struct sender *sender)
{
	for (;;) {
		struct sender_request *request = sender->ops->next(sender, clock_monotonic_ns());
		if (request != NULL)
			return request;
		talk_wait(sender, 10 * NS_PER_SEC);
	}
}

struct sender_request *talk_prepare(struct talk *f, struct sender_request *request, const char *method,
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

int talk_send(struct talk *f, struct sender_request *request)
{
	assert_int_equal(f->sender->ops->start(f->sender, request, clock_monotonic_ns()), 0);
	assert_ptr_equal(talk_await(f->sender), request);
	return request->result;
}

int talk_get(struct talk *f, const char *path)
{
	return talk_send(f, talk_prepare(f, &f->request, "GET", path));
}

int talk_post(struct talk *f, const char *path, const char *body)
{
	talk_prepare(f, &f->request, "POST", path);
	f->request.body = body;
	f->request.body_bytes = strlen(body);
	return talk_send(f, &f->request);
}
