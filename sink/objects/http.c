#include "sink/objects/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

#define EVENTS_MAX 64
#define BODY_FIRST 4096u /* the first room of an answer's body */
#define NEVER      UINT64_MAX

#define EXPECTATION_FAILED 417

/* An idle connection is used again for so long: less than servers keep it, so that a request seldom
 * meets one that is just being closed. */
#define KEEP_SECONDS 30L

/* What libcurl 7.88 and OpenSSL 3.0 take: for each connection its buffers (16 KiB in, 64 KiB out)
 * and those of TLS; once the system's certificates. */
#define CONNECTION_BYTES   (256u << 10)
#define CERTIFICATES_BYTES (8u << 20)

/* A connection's worth: one request at a time. */
struct slot {
	struct http *http;
	struct slot *next; /* of those that are free */
	CURL *easy;
	struct http_request *request; /* NULL: free */
	struct curl_slist *headers;   /* the first is Expect; signing puts the others after it */
	unsigned n_headers;           /* the request's before it was signed */
	unsigned tries;               /* how often it was about to be sent */
	int result;                   /* why we ended it; 0: libcurl knows */
	uint64_t moved_ns;            /* when a byte moved last; 0: not connected yet */
	/* where the next byte of the request's body is taken from */
	unsigned piece;
	size_t piece_at;
	size_t body_room, answer_bytes, answer_room;
	bool head_whole;             /* what comes now are trailers */
	char error[CURL_ERROR_SIZE]; /* libcurl's */
	const char *why;             /* ours */
};

struct http {
	CURLM *multi;
	int epoll;
	uint64_t timer_ns; /* when libcurl wants to be called at the latest */
	struct http_options options;
	char *ca_file;
	struct slot *slot, *free;
	unsigned n_busy;
	bool expects_nothing; /* a server did not know Expect */
	struct http_request *done, **done_end;
};

/* ---- what libcurl calls ---- */

/* A descriptor that cannot be added is one that nothing is heard of: its request times out. */
static int watch(CURL *easy, curl_socket_t fd, int what, void *argument, void *unused)
{
	(void)easy, (void)unused;
	struct http *http = argument;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(http->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	struct epoll_event event = {.data.fd = fd};
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(http->epoll, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
		epoll_ctl(http->epoll, EPOLL_CTL_MOD, fd, &event);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *argument)
{
	(void)multi;
	struct http *http = argument;
	http->timer_ns = timeout_ms < 0 ? NEVER : clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	return 0;
}

static size_t take_body(char *to, size_t size, size_t n, void *argument)
{
	struct slot *slot = argument;
	const struct http_request *request = slot->request;
	size_t room = size * n, taken = 0;
	while (taken < room && slot->piece < request->n_pieces) {
		const struct iovec *piece = &request->piece[slot->piece];
		size_t bytes = piece->iov_len - slot->piece_at;
		if (bytes > room - taken)
			bytes = room - taken;
		memcpy(to + taken, (const char *)piece->iov_base + slot->piece_at, bytes);
		taken += bytes;
		slot->piece_at += bytes;
		if (slot->piece_at == piece->iov_len) {
			slot->piece++;
			slot->piece_at = 0;
		}
	}
	slot->moved_ns = clock_monotonic_ns();
	return taken;
}

static int seek_body(void *argument, curl_off_t offset, int origin)
{
	struct slot *slot = argument;
	const struct http_request *request = slot->request;
	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_CANTSEEK;
	size_t left = (size_t)offset;
	for (slot->piece = 0; slot->piece < request->n_pieces; slot->piece++) {
		if (left < request->piece[slot->piece].iov_len)
			break;
		left -= request->piece[slot->piece].iov_len;
	}
	slot->piece_at = left;
	return CURL_SEEKFUNC_OK;
}

/* Makes room for more bytes and a final 0, doubling it. False when there is no memory. */
static bool grow(char **text, size_t *room, size_t bytes, size_t more)
{
	size_t wanted = *room ? *room : BODY_FIRST;
	while (wanted - 1 < bytes + more)
		wanted *= 2;
	if (wanted == *room)
		return true;
	char *grown = realloc(*text, wanted);
	if (!grown)
		return false;
	*text = grown;
	*room = wanted;
	return true;
}

static size_t keep_body(char *from, size_t size, size_t n, void *argument)
{
	struct slot *slot = argument;
	struct http_request *request = slot->request;
	size_t bytes = size * n, keep = slot->http->options.answer_max - request->body_bytes;
	slot->moved_ns = clock_monotonic_ns();
	if (keep >= bytes)
		keep = bytes;
	else
		request->body_cut = true;
	if (keep && !grow(&request->body, &slot->body_room, request->body_bytes, keep)) {
		slot->result = -ENOMEM;
		return 0;
	}
	if (keep) {
		memcpy(request->body + request->body_bytes, from, keep);
		request->body_bytes += keep;
		request->body[request->body_bytes] = 0;
	}
	return bytes;
}

static void forget_answer(struct slot *slot)
{
	slot->answer_bytes = 0;
	if (slot->request->answer)
		slot->request->answer[0] = 0;
}

/* One line of a head. There may be several heads: 100 Continue comes before the answer. */
static size_t keep_head(char *from, size_t size, size_t n, void *argument)
{
	struct slot *slot = argument;
	struct http_request *request = slot->request;
	size_t bytes = size * n, line = bytes;
	slot->moved_ns = clock_monotonic_ns();
	while (line > 0 && (from[line - 1] == '\n' || from[line - 1] == '\r'))
		line--;
	if (slot->head_whole)
		return bytes;
	if (line >= 5 && memcmp(from, "HTTP/", 5) == 0) {
		forget_answer(slot);
		return bytes;
	}
	if (line == 0) {
		long status = 0;
		curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
		slot->head_whole = status >= 200;
		return bytes;
	}
	if (slot->answer_bytes + line + 1 > HTTP_ANSWER_HEAD_MAX) {
		slot->result = -EBADMSG;
		slot->why = "the head of the answer is too long";
		return 0;
	}
	if (!grow(&request->answer, &slot->answer_room, slot->answer_bytes, line + 1)) {
		slot->result = -ENOMEM;
		return 0;
	}
	memcpy(request->answer + slot->answer_bytes, from, line);
	slot->answer_bytes += line;
	request->answer[slot->answer_bytes++] = '\n';
	request->answer[slot->answer_bytes] = 0;
	return bytes;
}

/* Puts the request's headers after the first of the list, instead of those of the last try. */
static int set_headers(struct slot *slot)
{
	const struct http_request *request = slot->request;
	curl_slist_free_all(slot->headers->next);
	slot->headers->next = NULL;
	for (unsigned i = 0; i < request->n_headers; i++) {
		if (strpbrk(request->header[i], "\r\n")) {
			slot->why = "a header has a line end in it";
			return -EINVAL;
		}
		if (!curl_slist_append(slot->headers, request->header[i]))
			return -ENOMEM;
	}
	return 0;
}

/* A request that the server may have obeyed is sent again only when that does not matter, or when
 * it said that it did not: it knows no Expect. */
static bool may_repeat(const struct slot *slot)
{
	const char *method = slot->request->method;
	long sent = 0, status = 0;
	curl_easy_getinfo(slot->easy, CURLINFO_REQUEST_SIZE, &sent);
	curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
	return sent == 0 || status == EXPECTATION_FAILED || strcmp(method, "GET") == 0 ||
	       strcmp(method, "HEAD") == 0;
}

/* There is a connection, and the head is built as soon as this returns: from the list that libcurl
 * was given, which it does not copy (CURLOPT_HTTPHEADER). */
static int about_to_send(void *argument, char *to, char *from, int to_port, int from_port)
{
	(void)to, (void)from, (void)to_port, (void)from_port;
	struct slot *slot = argument;
	struct http_request *request = slot->request;
	if (slot->tries++ > 0 && !may_repeat(slot)) {
		slot->result = -EIO;
		slot->why = "the kept connection was closed before an answer";
		return CURL_PREREQFUNC_ABORT;
	}
	long status = 0;
	curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == EXPECTATION_FAILED) {
		slot->http->expects_nothing = true;
		slot->headers->data[sizeof "Expect:" - 1] = 0; /* as without request->expect */
	}
	slot->moved_ns = clock_monotonic_ns();
	slot->head_whole = false;
	request->n_headers = slot->n_headers;
	int r = request->sign ? request->sign(request, request->owner) : 0;
	if (r == 0)
		r = set_headers(slot);
	slot->result = r;
	return r == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* ---- opening ---- */

static bool open_multi(struct http *http)
{
	http->multi = curl_multi_init();
	if (!http->multi)
		return false;
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)http->options.connections);
	for (unsigned i = http->options.connections; i-- > 0;) {
		struct slot *slot = &http->slot[i];
		slot->http = http;
		slot->easy = curl_easy_init();
		if (!slot->easy)
			return false;
		slot->next = http->free;
		http->free = slot;
	}
	return true;
}

int http_open(struct http **opened, const struct http_options *options, struct shm_error *error)
{
	if (options->ca_file[0] && access(options->ca_file, R_OK) != 0) {
		int r = -errno;
		shm_explain(error, "%s: %s", options->ca_file, strerror(-r));
		return r;
	}
	struct http *http = calloc(1, sizeof *http);
	if (!http || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(http);
		shm_explain(error, "libcurl: out of memory");
		return -ENOMEM;
	}
	http->options = *options;
	http->timer_ns = NEVER;
	http->done_end = &http->done;
	http->ca_file = strdup(options->ca_file);
	http->slot = calloc(options->connections, sizeof *http->slot);
	http->epoll = epoll_create1(EPOLL_CLOEXEC);
	int r = http->epoll < 0 ? -errno : -ENOMEM;
	if (!http->ca_file || !http->slot || http->epoll < 0 || !open_multi(http)) {
		http_close(http);
		shm_explain(error, "libcurl: %s", strerror(-r));
		return r;
	}
	*opened = http;
	return 0;
}

static void release(struct slot *slot)
{
	struct http *http = slot->http;
	curl_multi_remove_handle(http->multi, slot->easy);
	curl_slist_free_all(slot->headers);
	slot->headers = NULL;
	slot->request = NULL;
	slot->next = http->free;
	http->free = slot;
	http->n_busy--;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	for (unsigned i = 0; http->slot && i < http->options.connections; i++) {
		struct slot *slot = &http->slot[i];
		if (slot->request) {
			http_request_fini(slot->request);
			release(slot);
		}
		curl_easy_cleanup(slot->easy);
	}
	for (struct http_request *request = http->done; request; request = request->next)
		http_request_fini(request);
	curl_multi_cleanup(http->multi);
	if (http->epoll >= 0)
		close(http->epoll);
	free(http->slot);
	free(http->ca_file);
	free(http);
	curl_global_cleanup();
}

uint64_t http_memory_max(const struct http_options *options)
{
	/* rooms double, and while one grows there are two */
	uint64_t answer = 3 * (uint64_t)(options->answer_max + HTTP_ANSWER_HEAD_MAX);
	return CERTIFICATES_BYTES + options->connections * (CONNECTION_BYTES + answer);
}

/* ---- requests ---- */

static void give_back(struct http *http, struct http_request *request)
{
	request->next = NULL;
	*http->done_end = request;
	http->done_end = &request->next;
}

/* All options each time, because the last request's are not this one's. */
static void set_options(struct slot *slot)
{
	const struct http_options *options = &slot->http->options;
	const struct http_request *request = slot->request;
	CURL *easy = slot->easy;
	curl_easy_reset(easy); /* connections, names and TLS sessions are kept */
	curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (slot->http->ca_file[0]) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, slot->http->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* else the system's are trusted besides */
	}
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEEP_SECONDS);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(options->connect_timeout_ns / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(options->total_timeout_ns / NS_PER_MS));
	/* a handle that goes while its name is being resolved does not wait for the thread */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, about_to_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, slot);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, keep_head);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, slot->headers);
	if (strcmp(request->method, "HEAD") == 0) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	} else if (strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->bytes);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, take_body);
		curl_easy_setopt(easy, CURLOPT_READDATA, slot);
		curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body);
		curl_easy_setopt(easy, CURLOPT_SEEKDATA, slot);
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	} else if (strcmp(request->method, "GET") != 0) {
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	}
}

/* Puts the request under way. Returns 0 or -errno. */
static int begin(struct slot *slot)
{
	const struct http_request *request = slot->request;
	uint64_t bytes = 0;
	for (unsigned i = 0; i < request->n_pieces; i++)
		bytes += request->piece[i].iov_len;
	if (bytes != request->bytes)
		return -EINVAL;
	bool expect = request->expect && !slot->http->expects_nothing;
	slot->headers = curl_slist_append(NULL, expect ? "Expect: 100-continue" : "Expect:");
	if (!slot->headers)
		return -ENOMEM;
	set_options(slot);
	CURLcode code = curl_easy_setopt(slot->easy, CURLOPT_URL, request->url);
	if (code == CURLE_OK)
		code = curl_easy_setopt(slot->easy, CURLOPT_PATH_AS_IS, 1L);
	if (code != CURLE_OK)
		return code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
	return curl_multi_add_handle(slot->http->multi, slot->easy) == CURLM_OK ? 0 : -ENOMEM;
}

bool http_start(struct http *http, struct http_request *request)
{
	struct slot *slot = http->free;
	if (!slot)
		return false;
	request->result = 0;
	request->sent = request->body_cut = false;
	request->status = 0;
	request->body = request->answer = NULL;
	request->body_bytes = 0;
	request->reason[0] = 0;
	http->free = slot->next;
	http->n_busy++;
	*slot = (struct slot){
	        .http = http, .easy = slot->easy, .request = request, .n_headers = request->n_headers};
	request->own = slot;
	int r = begin(slot);
	if (r != 0) {
		request->result = r;
		snprintf(request->reason, sizeof request->reason, "libcurl: %s", strerror(-r));
		release(slot);
		give_back(http, request);
	}
	return true;
}

static int result_of(const struct slot *slot, CURLcode code)
{
	long system = 0;
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(slot->easy, CURLINFO_OS_ERRNO, &system);
		return system > 0 ? -(int)system : -ECONNREFUSED;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
		return -EPROTO;
	case CURLE_WEIRD_SERVER_REPLY:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

/* The request has ended: with libcurl's code, or with slot->result when that is set. */
static void finish(struct slot *slot, CURLcode code)
{
	struct http *http = slot->http;
	struct http_request *request = slot->request;
	long sent = 0;
	curl_easy_getinfo(slot->easy, CURLINFO_REQUEST_SIZE, &sent);
	request->sent = sent > 0;
	request->result = slot->result ? slot->result : result_of(slot, code);
	/* libcurl takes a connection that closes within the head for an answer without a body */
	if (request->result == 0 && !slot->head_whole) {
		request->result = -EIO;
		slot->why = "the answer was cut";
	}
	if (request->result == 0)
		curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &request->status);
	else
		snprintf(request->reason, sizeof request->reason, "%.*s", (int)sizeof request->reason - 1,
		         slot->why        ? slot->why
		         : slot->result   ? strerror(-slot->result)
		         : slot->error[0] ? slot->error
		                          : curl_easy_strerror(code));
	if (request->status == EXPECTATION_FAILED)
		http->expects_nothing = true;
	request->n_headers = slot->n_headers;
	release(slot);
	give_back(http, request);
}

/* When the request has stalled; NEVER while it is being connected, which libcurl bounds. */
static uint64_t stalled_at(const struct slot *slot)
{
	return slot->moved_ns == 0 ? NEVER : slot->moved_ns + slot->http->options.stall_timeout_ns;
}

static void end_stalled(struct http *http, uint64_t now_ns)
{
	for (unsigned i = 0; i < http->options.connections; i++) {
		struct slot *slot = &http->slot[i];
		if (!slot->request || stalled_at(slot) > now_ns)
			continue;
		slot->result = -ETIMEDOUT;
		slot->why = "nothing came or went for too long";
		finish(slot, CURLE_OPERATION_TIMEDOUT);
	}
}

static void take_ended(struct http *http)
{
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(http->multi, &left));) {
		struct slot *slot = NULL;
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
		finish(slot, message->data.result);
	}
}

static void drive(struct http *http, uint64_t now_ns)
{
	struct epoll_event event[EVENTS_MAX];
	int running, n = epoll_wait(http->epoll, event, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++) {
		int mask = (event[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
		           (event[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		           (event[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
		curl_multi_socket_action(http->multi, event[i].data.fd, mask, &running);
	}
	if (http->timer_ns <= now_ns) {
		http->timer_ns = NEVER; /* libcurl sets it anew */
		curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	take_ended(http);
	end_stalled(http, now_ns);
}

struct http_request *http_next(struct http *http, uint64_t now_ns)
{
	if (!http->done && http->n_busy > 0)
		drive(http, now_ns);
	struct http_request *request = http->done;
	if (!request)
		return NULL;
	http->done = request->next;
	if (!http->done)
		http->done_end = &http->done;
	request->next = NULL;
	return request;
}

unsigned http_wait(struct http *http, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	if (http->done)
		*timeout_ns = 0;
	if (http->n_busy == 0)
		return 0;
	uint64_t at = http->timer_ns, now = clock_monotonic_ns();
	for (unsigned i = 0; i < http->options.connections; i++)
		if (http->slot[i].request && stalled_at(&http->slot[i]) < at)
			at = stalled_at(&http->slot[i]);
	uint64_t left = at <= now ? 0 : at - now;
	if (left < *timeout_ns)
		*timeout_ns = left;
	if (n > 0)
		*wait = (struct store_wait){http->epoll, POLLIN};
	return n > 0;
}

/* ---- answers ---- */

int http_header(const struct http_request *request, const char *name, char *value, size_t size)
{
	size_t length = strlen(name);
	for (const char *line = request->answer, *end; line && *line; line = end + (*end != 0)) {
		end = strchrnul(line, '\n');
		if (strncasecmp(line, name, length) != 0 || line[length] != ':')
			continue;
		const char *from = line + length + 1;
		from += strspn(from, " \t");
		while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		size_t bytes = end > from ? (size_t)(end - from) : 0;
		if (bytes >= size)
			return -ENOSPC;
		memcpy(value, from, bytes);
		value[bytes] = 0;
		return (int)bytes;
	}
	return -ENOENT;
}

int64_t http_date(const struct http_request *request)
{
	char value[64];
	if (http_header(request, "Date", value, sizeof value) <= 0)
		return 0;
	time_t date = curl_getdate(value, NULL);
	return date > 0 ? (int64_t)date : 0;
}

uint64_t http_retry_after_ns(const struct http_request *request, uint64_t most_ns)
{
	char value[64], *end;
	if (http_header(request, "Retry-After", value, sizeof value) <= 0)
		return 0;
	uint64_t seconds = strtoull(value, &end, 10);
	if (*end || value[0] < '0' || value[0] > '9') {
		time_t then = curl_getdate(value, NULL), now = time(NULL);
		seconds = then > now ? (uint64_t)(then - now) : 0;
	}
	return seconds > most_ns / NS_PER_SEC ? most_ns : seconds * NS_PER_SEC;
}

void http_request_fini(struct http_request *request)
{
	free(request->body);
	free(request->answer);
	request->body = request->answer = NULL;
	request->body_bytes = 0;
}
