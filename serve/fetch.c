#include "serve/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stage/tokens.h"

#define BODY_FIRST  4096u
#define IDLE_MAX    32L /* connections that are kept */
#define VIA         "Via: 1.1 millrace"
#define TOKEN_LABEL "Authorization: Bearer "

struct fetcher {
	struct fetch_options options;
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t *timer; /* libcurl's only one */
	char token[TOKEN_BYTES_MAX + 1];
	uint64_t held; /* bytes of bodies */
	uint64_t events;
};

/* ---- libuv ---- */

/* A socket of libcurl's. */
struct socket {
	uv_poll_t poll; /* first: what libuv closes is what is freed */
	struct fetcher *fetcher;
	curl_socket_t fd;
};

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

static void look_what_ended(struct fetcher *fetcher);

static void on_socket(uv_poll_t *poll, int status, int events)
{
	struct socket *socket = (struct socket *)poll;
	struct fetcher *fetcher = socket->fetcher;
	int mask = status < 0 ? CURL_CSELECT_ERR : 0, running;
	if ((events & UV_READABLE) != 0)
		mask |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		mask |= CURL_CSELECT_OUT;
	fetcher->events++;
	curl_multi_socket_action(fetcher->multi, socket->fd, mask, &running);
	look_what_ended(fetcher);
}

static void on_timer(uv_timer_t *timer)
{
	struct fetcher *fetcher = timer->data;
	int running;
	fetcher->events++;
	curl_multi_socket_action(fetcher->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	look_what_ended(fetcher);
}

/* ---- what libcurl calls ---- */

static void end_socket(struct socket *socket)
{
	uv_poll_stop(&socket->poll);
	uv_close((uv_handle_t *)&socket->poll, free_handle);
}

static struct socket *begin_socket(struct fetcher *fetcher, curl_socket_t fd)
{
	struct socket *socket = calloc(1, sizeof *socket);
	if (socket == NULL)
		return NULL;
	socket->fetcher = fetcher;
	socket->fd = fd;
	if (uv_poll_init_socket(fetcher->loop, &socket->poll, fd) != 0) {
		free(socket);
		return NULL;
	}
	curl_multi_assign(fetcher->multi, fd, socket);
	return socket;
}

/* A descriptor that cannot be watched is one that nothing is heard of: its request times out. */
static int watch(CURL *easy, curl_socket_t fd, int what, void *argument, void *known)
{
	struct fetcher *fetcher = argument;
	struct socket *socket = known;
	int events = 0;
	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (socket != NULL) {
			curl_multi_assign(fetcher->multi, fd, NULL);
			end_socket(socket);
		}
		return 0;
	}
	if (socket == NULL)
		socket = begin_socket(fetcher, fd);
	if (socket == NULL)
		return 0;
	if ((what & CURL_POLL_IN) != 0)
		events |= UV_READABLE;
	if ((what & CURL_POLL_OUT) != 0)
		events |= UV_WRITABLE;
	uv_poll_start(&socket->poll, events, on_socket);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *argument)
{
	struct fetcher *fetcher = argument;
	(void)multi;
	if (timeout_ms < 0)
		uv_timer_stop(fetcher->timer);
	else
		uv_timer_start(fetcher->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

/* Makes room for more bytes and a final 0. */
static bool grow(struct fetch *fetch, size_t more)
{
	struct fetcher *fetcher = fetch->fetcher;
	size_t room = fetch->room != 0 ? fetch->room : BODY_FIRST;
	if (fetch->bytes + more > fetcher->options.bytes_max)
		return false;
	while (room - 1 < fetch->bytes + more)
		room *= 2;
	if (room == fetch->room)
		return true;
	while (fetcher->held + (room - fetch->room) > fetcher->options.memory_max)
		if (!fetcher->options.full(fetcher->options.context))
			return false;
	char *grown = realloc(fetch->body, room);
	if (grown == NULL)
		return false;
	fetcher->held += room - fetch->room;
	fetch->body = grown;
	fetch->room = room;
	return true;
}

static size_t take_body(char *from, size_t size, size_t n, void *argument)
{
	struct fetch *fetch = argument;
	size_t bytes = size * n;
	if (!grow(fetch, bytes)) {
		snprintf(fetch->why, sizeof fetch->why,
		         "its answer is too long (serve.max_answer, serve.peer_memory)");
		return 0;
	}
	memcpy(fetch->body + fetch->bytes, from, bytes);
	fetch->bytes += bytes;
	fetch->body[fetch->bytes] = '\0';
	return bytes;
}

/* ---- the end of a request ---- */

static void free_easy(struct fetch *fetch)
{
	curl_easy_cleanup(fetch->easy);
	curl_slist_free_all(fetch->fields);
	fetch->easy = NULL;
	fetch->fields = NULL;
}

static void release_easy(struct fetch *fetch)
{
	curl_multi_remove_handle(fetch->fetcher->multi, fetch->easy);
	free_easy(fetch);
}

static void take_result(struct fetch *fetch, CURLcode result)
{
	long status = 0;
	struct curl_header *box;
	if (result == CURLE_OK) {
		curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
		if (curl_easy_header(fetch->easy, "Millrace-Box", 0, CURLH_HEADER, -1, &box) == CURLHE_OK)
			snprintf(fetch->box, sizeof fetch->box, "%s", box->value);
	} else if (fetch->why[0] == '\0') {
		snprintf(fetch->why, sizeof fetch->why, "%s", curl_easy_strerror(result));
	}
	fetch->status = (unsigned)status;
	fetch->took_us = (clock_monotonic_ns() - fetch->began_ns) / NS_PER_US;
}

static void look_what_ended(struct fetcher *fetcher)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(fetcher->multi, &left)) != NULL) {
		struct fetch *fetch = NULL;
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode result = message->data.result; /* the message goes with its handle */
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
		take_result(fetch, result);
		release_easy(fetch);
		fetch->done(fetch);
	}
}

/* ---- requests ---- */

static bool make_fields(const struct fetcher *fetcher, struct fetch *fetch)
{
	char field[sizeof TOKEN_LABEL + TOKEN_BYTES_MAX];
	struct curl_slist *more = fetch->fields = curl_slist_append(NULL, VIA);
	snprintf(field, sizeof field, TOKEN_LABEL "%s", fetcher->token);
	if (more != NULL && fetcher->token[0] != '\0')
		more = curl_slist_append(more, field);
	return more != NULL;
}

static bool set_up(struct fetcher *fetcher, struct fetch *fetch, const char *url)
{
	const struct fetch_options *options = &fetcher->options;
	CURL *easy = fetch->easy;
	bool good = make_fields(fetcher, fetch) && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
	            curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	            curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	            curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->fields) == CURLE_OK &&
	            curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip") == CURLE_OK &&
	            curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace/" MILLRACE_VERSION) == CURLE_OK;
	if (good && options->ca_file[0] != '\0')
		good = curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file) == CURLE_OK &&
		       curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	/* A name that is still being looked up when the time is over is left to its thread. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(options->timeout_ns / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
	return good;
}

bool fetch_begin(struct fetcher *fetcher, struct fetch *fetch, const char *url)
{
	fetch->fetcher = fetcher;
	fetch->began_ns = clock_monotonic_ns();
	fetch->easy = curl_easy_init();
	if (fetch->easy == NULL)
		return false;
	if (set_up(fetcher, fetch, url) && curl_multi_add_handle(fetcher->multi, fetch->easy) == CURLM_OK)
		return true;
	free_easy(fetch);
	return false;
}

void fetch_free(struct fetch *fetch)
{
	if (fetch->easy != NULL)
		release_easy(fetch);
	if (fetch->fetcher != NULL)
		fetch->fetcher->held -= fetch->room;
	free(fetch->body);
	fetch->body = NULL;
	fetch->room = 0;
	fetch->bytes = 0;
}

/* ---- opening and closing ---- */

void fetcher_set_token(struct fetcher *fetcher, const char *token)
{
	snprintf(fetcher->token, sizeof fetcher->token, "%s", token);
}

int fetcher_open(struct fetcher **fetcher, const struct fetch_options *options, uv_loop_t *loop,
                 struct shm_error *error)
{
	struct fetcher *made = calloc(1, sizeof *made);
	uv_timer_t *timer = calloc(1, sizeof *timer);
	if (made == NULL || timer == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    (made->multi = curl_multi_init()) == NULL) {
		free(made);
		free(timer);
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->options = *options;
	made->loop = loop;
	made->timer = timer;
	timer->data = made;
	uv_timer_init(loop, timer);
	curl_multi_setopt(made->multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(made->multi, CURLMOPT_SOCKETDATA, made);
	curl_multi_setopt(made->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(made->multi, CURLMOPT_TIMERDATA, made);
	curl_multi_setopt(made->multi, CURLMOPT_MAXCONNECTS, IDLE_MAX);
	*fetcher = made;
	return 0;
}

uint64_t fetcher_events(const struct fetcher *fetcher)
{
	return fetcher->events;
}

void fetcher_close(struct fetcher *fetcher)
{
	if (fetcher == NULL)
		return;
	curl_multi_cleanup(fetcher->multi); /* ends its sockets, and stops the timer */
	uv_close((uv_handle_t *)fetcher->timer, free_handle);
	free(fetcher);
	curl_global_cleanup();
}
