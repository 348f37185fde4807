#include "bench/deliver_plain.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

#define EVENTS_MAX 256
#define NEVER      UINT64_MAX

struct plain {
	CURLM *multi;
	int epoll;
	uint64_t timer_ns;
	unsigned connections, n_free;
	CURL **easy, **free;
	struct curl_slist *headers;
};

static int watch(CURL *easy, curl_socket_t fd, int what, void *argument, void *unused)
{
	struct plain *plain = argument;
	struct epoll_event event = {.data.fd = fd};
	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE)
		return epoll_ctl(plain->epoll, EPOLL_CTL_DEL, fd, NULL), 0;
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (epoll_ctl(plain->epoll, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
		epoll_ctl(plain->epoll, EPOLL_CTL_MOD, fd, &event);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *argument)
{
	struct plain *plain = argument;
	(void)multi;
	plain->timer_ns = timeout_ms < 0 ? NEVER : clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	return 0;
}

static size_t throw_away(char *from, size_t size, size_t n, void *argument)
{
	(void)from;
	(void)argument;
	return size * n;
}

static CURL *new_handle(const struct plain *plain)
{
	CURL *easy = curl_easy_init();
	if (easy == NULL)
		exit(1);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 3000L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace");
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, plain->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, throw_away);
	return easy;
}

struct plain *plain_open(unsigned connections, const char *header[2])
{
	struct plain *plain = calloc(1, sizeof *plain);
	if (plain == NULL || (plain->easy = calloc(2 * (size_t)connections, sizeof *plain->easy)) == NULL)
		exit(1);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	plain->free = plain->easy + connections;
	plain->timer_ns = NEVER;
	plain->epoll = epoll_create1(EPOLL_CLOEXEC);
	plain->multi = curl_multi_init();
	for (unsigned i = 0; i < 2; i++)
		plain->headers = curl_slist_append(plain->headers, header[i]);
	if (plain->epoll < 0 || plain->multi == NULL || plain->headers == NULL) {
		fputs("bench-deliver: libcurl does not begin\n", stderr);
		exit(1);
	}
	curl_multi_setopt(plain->multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(plain->multi, CURLMOPT_SOCKETDATA, plain);
	curl_multi_setopt(plain->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(plain->multi, CURLMOPT_TIMERDATA, plain);
	curl_multi_setopt(plain->multi, CURLMOPT_MAXCONNECTS, (long)connections);
	for (; plain->connections < connections; plain->connections++)
		plain->free[plain->n_free++] = plain->easy[plain->connections] = new_handle(plain);
	return plain;
}

void plain_close(struct plain *plain)
{
	for (unsigned i = 0; i < plain->connections; i++)
		curl_easy_cleanup(plain->easy[i]);
	curl_multi_cleanup(plain->multi);
	curl_slist_free_all(plain->headers);
	close(plain->epoll);
	free(plain->easy);
	free(plain);
	curl_global_cleanup();
}

/* Takes what has ended. Returns how many; adds those answered 200 to good. */
static unsigned take_ended(struct plain *plain, unsigned *good)
{
	unsigned n = 0;
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(plain->multi, &left)) != NULL; n++) {
		long status = 0;
		CURL *easy = message->easy_handle;
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		*good += message->data.result == CURLE_OK && status == 200;
		curl_multi_remove_handle(plain->multi, easy);
		plain->free[plain->n_free++] = easy;
	}
	return n;
}

/* Waits for sockets or the timer, and lets libcurl act. */
static void wait_and_act(struct plain *plain)
{
	struct epoll_event event[EVENTS_MAX];
	uint64_t now_ns = clock_monotonic_ns();
	int running, timeout_ms = -1;
	if (plain->timer_ns != NEVER)
		timeout_ms = plain->timer_ns <= now_ns
		                     ? 0
		                     : (int)((plain->timer_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
	int n = epoll_wait(plain->epoll, event, EVENTS_MAX, timeout_ms);
	for (int i = 0; i < n; i++) {
		int mask = (event[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
		           (event[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		           (event[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
		curl_multi_socket_action(plain->multi, event[i].data.fd, mask, &running);
	}
	if (plain->timer_ns <= clock_monotonic_ns()) {
		plain->timer_ns = NEVER;
		curl_multi_socket_action(plain->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
}

unsigned plain_run(struct plain *plain, unsigned n, const char *(*url_of)(unsigned i))
{
	unsigned begun = 0, ended = 0, good = 0;
	while (ended < n) {
		while (begun < n && plain->n_free > 0) {
			CURL *easy = plain->free[--plain->n_free];
			curl_easy_setopt(easy, CURLOPT_URL, url_of(begun++));
			curl_multi_add_handle(plain->multi, easy);
		}
		wait_and_act(plain);
		ended += take_ended(plain, &good);
	}
	return good;
}
