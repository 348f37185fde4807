#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "deliver/sender_inside.h"
#include "stage/certificates.h"

#define EVENTS_MAX 256

/* What libcurl 7.88 and OpenSSL 3.0 take (measured: 11 KB for a handle with its connection, 50 KB
 * with TLS), and the system's certificates. */
#define HANDLE_BYTES       (16u << 10)
#define CERTIFICATES_BYTES (8u << 20)

static struct curl_sender *of(struct sender *sender)
{
	return (struct curl_sender *)sender;
}

/* ---- what libcurl waits for ---- */

bool sender_watch_new(struct curl_sender *sender, int fd)
{
	size_t room = sender->watched_room > 0 ? sender->watched_room : 64;
	while (room <= (size_t)fd)
		room *= 2;
	if (room > sender->watched_room) {
		struct watched *larger = realloc(sender->watched, room * sizeof *larger);
		if (larger == NULL)
			return false;
		sender->watched = larger;
		sender->watched_room = room;
	}
	/* one that was closed has left epoll, too (epoll(7)) */
	sender->watched[fd] = (struct watched){0};
	return true;
}

static void ask(struct curl_sender *sender, int fd, uint8_t events)
{
	struct watched *watched = &sender->watched[fd];
	struct epoll_event event = {.data.fd = fd, .events = events};
	int what = watched->asked == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
	if (watched->asked == events)
		return;
	/* One that cannot be added is one that nothing is heard of: its request times out. */
	watched->asked = epoll_ctl(sender->epoll, what, fd, &event) == 0 ? events : 0;
}

static int watch(CURL *easy, curl_socket_t fd, int what, void *argument, void *unused)
{
	struct curl_sender *sender = argument;
	struct slot *slot = NULL;
	uint8_t events = 0;
	(void)unused;
	if (what != CURL_POLL_REMOVE) {
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
		if (what & CURL_POLL_IN)
			events |= EPOLLIN;
		if (what & CURL_POLL_OUT)
			events |= EPOLLOUT;
	}
	sender->watched[fd].wanted = events;
	sender->watched[fd].slot = slot;
	if (events != 0 || sender->watched[fd].asked != EPOLLIN)
		ask(sender, fd, events);
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *argument)
{
	struct curl_sender *sender = argument;
	(void)multi;
	sender->timer_ns = timeout_ms < 0 ? SENDER_NEVER : sender->now_ns + (uint64_t)timeout_ms * NS_PER_MS;
	return 0;
}

void sender_work_on(struct curl_sender *sender, const struct slot *slot)
{
	void *owner = slot != NULL && slot->request != NULL ? slot->request->owner : NULL;
	if (sender->options.working != NULL)
		sender->options.working(sender->options.context, owner);
}

/* ---- opening ---- */

static bool open_multi(struct curl_sender *sender)
{
	sender->multi = curl_multi_init();
	sender->pins = pins_new();
	if (sender->multi == NULL || sender->pins == NULL)
		return false;
	curl_multi_setopt(sender->multi, CURLMOPT_SOCKETFUNCTION, watch);
	curl_multi_setopt(sender->multi, CURLMOPT_SOCKETDATA, sender);
	curl_multi_setopt(sender->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(sender->multi, CURLMOPT_TIMERDATA, sender);
	return true;
}

static void sender_close(struct sender *opened);

static int sender_open(struct sender **opened, const struct sender_options *options, struct shm_error *error)
{
	int r = certificates_check(options->ca_file, error);
	if (r != 0)
		return r;
	struct curl_sender *sender = calloc(1, sizeof *sender);
	if (sender == NULL) {
		shm_explain(error, "libcurl: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	sender->sender.ops = &sender_curl;
	sender->options = *options;
	sender->timer_ns = SENDER_NEVER;
	under_way_open(&sender->requests);
	sender->epoll = epoll_create1(EPOLL_CLOEXEC);
	r = sender->epoll < 0 ? -errno : 0;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	sender->slot = calloc(options->requests, sizeof *sender->slot);
	sender->ca_file = strdup(options->ca_file);
	sender->user_agent = strdup(options->user_agent);
	if (r == 0 && (sender->slot == NULL || sender->ca_file == NULL || sender->user_agent == NULL ||
	               !open_multi(sender)))
		r = -ENOMEM;
	if (r != 0) {
		shm_explain(error, "libcurl: %s", strerror(-r));
		sender_close(&sender->sender);
		return r;
	}
	*opened = &sender->sender;
	return 0;
}

/* ---- requests ---- */

/* Idle connections are those that libcurl has besides the busy ones. */
static void limit_connections(struct curl_sender *sender)
{
	curl_multi_setopt(sender->multi, CURLMOPT_MAXCONNECTS,
	                  (long)(sender->requests.n_busy + sender->options.connections_kept));
}

static struct slot *take_slot(struct curl_sender *sender)
{
	struct slot *slot = sender->free;
	if (slot != NULL) {
		sender->free = slot->next;
	} else {
		if (sender->n_made == sender->options.requests)
			return NULL;
		slot = &sender->slot[sender->n_made++];
		slot->sender = sender;
	}
	return slot;
}

/* What is left of the transfer goes, its connection too unless it has ended by itself. */
static void release(struct slot *slot)
{
	struct curl_sender *sender = slot->sender;
	if (slot->easy != NULL)
		curl_multi_remove_handle(sender->multi, slot->easy);
	under_way_leave(&sender->requests, slot->request);
	slot->request = NULL;
	slot->next = sender->free;
	sender->free = slot;
	limit_connections(sender);
}

/* The addresses of the place have to be in libcurl's cache before any request counts on them, so a
 * transfer that brings them begins at once. */
static int add_with_pins(struct slot *slot, struct curl_slist *list)
{
	struct curl_sender *sender = slot->sender;
	int running;
	curl_easy_setopt(slot->easy, CURLOPT_RESOLVE, list);
	bool added = curl_multi_add_handle(sender->multi, slot->easy) == CURLM_OK;
	if (added) {
		curl_multi_socket_action(sender->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		sender_work_on(sender, slot); /* whatever that was for */
		pins_set(sender->pins, slot->request->place);
	}
	curl_easy_setopt(slot->easy, CURLOPT_RESOLVE, NULL);
	curl_slist_free_all(list);
	return added ? 0 : -ENOMEM;
}

static int begin(struct slot *slot)
{
	struct curl_slist *list;
	int r = sender_handle_set(slot);
	if (r == 0)
		r = pins_list(slot->sender->pins, slot->request->place, &list);
	if (r != 0)
		return r;
	if (list != NULL)
		return add_with_pins(slot, list);
	return curl_multi_add_handle(slot->sender->multi, slot->easy) == CURLM_OK ? 0 : -ENOMEM;
}

static int sender_start(struct sender *started, struct sender_request *request, uint64_t now_ns)
{
	struct curl_sender *sender = of(started);
	struct slot *slot = take_slot(sender);
	sender_clear(request);
	if (slot == NULL)
		return -EAGAIN;
	sender->now_ns = now_ns;
	under_way_begin(&sender->requests, request, slot, now_ns);
	limit_connections(sender);
	slot->request = request;
	slot->state = SENDER_CONNECTING;
	slot->tries = 0;
	slot->opened = slot->head_whole = slot->redirects = false;
	slot->result = 0;
	slot->why = "";
	slot->head_bytes = slot->body_bytes = 0;
	slot->error[0] = '\0';
	sender_due(slot, request->connect_timeout_ns);
	int r = begin(slot);
	if (r == 0)
		return 0;
	release(slot);
	if (r == -ENOMEM)
		return r;
	request->result = r;
	snprintf(request->reason, sizeof request->reason, SENDER_NONE);
	under_way_ended(&sender->requests, request);
	return 0;
}

/* The request has ended: with libcurl's code, or with slot->result when that is set. */
static void finish(struct slot *slot, CURLcode code)
{
	struct sender_request *request = slot->request;
	sender_answer_end(slot, code);
	release(slot);
	under_way_ended(&slot->sender->requests, request);
}

static void sender_cancel(struct sender *started, struct sender_request *request)
{
	if (request->own != NULL)
		release(request->own);
	else
		under_way_leave(&of(started)->requests, request);
}

static void sender_close(struct sender *opened)
{
	struct curl_sender *sender = of(opened);
	for (struct sender_request *request; (request = under_way_busy(&sender->requests)) != NULL;)
		release(request->own);
	under_way_close(&sender->requests);
	for (unsigned i = 0; i < sender->n_made; i++)
		curl_easy_cleanup(sender->slot[i].easy);
	curl_multi_cleanup(sender->multi);
	if (sender->epoll >= 0)
		close(sender->epoll);
	pins_free(sender->pins);
	free(sender->slot);
	free(sender->watched);
	free(sender->ca_file);
	free(sender->user_agent);
	free(sender);
	curl_global_cleanup();
}

/* ---- the loop ---- */

static void on_late(struct sender_request *request)
{
	struct slot *slot = request->own;
	slot->result = -ETIMEDOUT;
	slot->why = sender_late(slot->state);
	finish(slot, CURLE_OPERATION_TIMEDOUT);
}

static void take_ended(struct curl_sender *sender)
{
	bool any = false;
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(sender->multi, &left)) != NULL;) {
		struct slot *slot = NULL;
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode code = message->data.result;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
		sender_work_on(sender, slot);
		finish(slot, code);
		any = true;
	}
	if (any)
		sender_work_on(sender, NULL);
}

static void drive(struct curl_sender *sender)
{
	struct epoll_event event[EVENTS_MAX];
	int running, n = epoll_wait(sender->epoll, event, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++) {
		const struct watched *watched = &sender->watched[event[i].data.fd];
		if (watched->wanted == 0) {
			/* an idle connection was closed: libcurl sees that before it uses it */
			ask(sender, event[i].data.fd, 0);
			continue;
		}
		int mask = (event[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
		           (event[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		           (event[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
		sender_work_on(sender, watched->slot);
		curl_multi_socket_action(sender->multi, event[i].data.fd, mask, &running);
	}
	if (n > 0)
		sender_work_on(sender, NULL);
	if (sender->timer_ns <= sender->now_ns) {
		sender->timer_ns = SENDER_NEVER; /* libcurl sets it anew */
		curl_multi_socket_action(sender->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		sender_work_on(sender, NULL);
	}
	take_ended(sender);
	under_way_late(&sender->requests, sender->now_ns, on_late);
}

static struct sender_request *sender_next(struct sender *started, uint64_t now_ns)
{
	struct curl_sender *sender = of(started);
	sender->now_ns = now_ns;
	if (!under_way_any_ended(&sender->requests))
		drive(sender);
	return under_way_next(&sender->requests);
}

static void sender_forget(struct sender *started, const struct sender_place *place)
{
	pins_forget(of(started)->pins, place);
}

static int sender_fd(const struct sender *started)
{
	return ((const struct curl_sender *)started)->epoll;
}

static uint64_t sender_timeout(const struct sender *started, uint64_t timeout_ns, uint64_t now_ns)
{
	const struct curl_sender *sender = (const struct curl_sender *)started;
	uint64_t timer_ns = sender->timer_ns <= now_ns ? 0 : sender->timer_ns - now_ns;
	if (sender->requests.n_busy > 0 && timer_ns < timeout_ns)
		timeout_ns = timer_ns;
	return under_way_timeout(&sender->requests, timeout_ns, now_ns);
}

static uint64_t sender_memory_max(const struct sender_options *options)
{
	return CERTIFICATES_BYTES + (uint64_t)options->requests * (sizeof(struct slot) + HANDLE_BYTES) +
	       ((uint64_t)options->requests + options->connections_kept) * SENDER_CONNECTION_BYTES;
}

const struct sender_ops sender_curl = {
        .name = "curl",
        .open = sender_open,
        .close = sender_close,
        .start = sender_start,
        .cancel = sender_cancel,
        .next = sender_next,
        .forget = sender_forget,
        .fd = sender_fd,
        .timeout = sender_timeout,
        .memory_max = sender_memory_max,
};
