#include "deliver/sender_plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "deliver/plain.h"

#define EVENTS_MAX 256

static struct plain_sender *of(struct sender *sender)
{
	return (struct plain_sender *)sender;
}

/* ---- times ---- */

void plain_due(struct plain_slot *slot, uint64_t timeout_ns)
{
	struct plain_sender *sender = slot->sender;
	under_way_due(&sender->requests, slot->request, timeout_ns, sender->now_ns);
}

uint32_t plain_since(const struct plain_slot *slot)
{
	uint64_t us = (clock_monotonic_ns() - slot->clock_ns) / NS_PER_US;
	return us == 0 ? 1 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* ---- opening ---- */

static void sender_close(struct sender *opened);

static bool open_parts(struct plain_sender *sender)
{
	const struct sender_options *options = &sender->options;
	int bytes = asprintf(&sender->fields,
	                     "User-Agent: %s\r\nAccept: */*\r\nAccept-Encoding: " SENDER_CODINGS "\r\n",
	                     options->user_agent);
	if (bytes < 0) {
		sender->fields = NULL;
		return false;
	}
	sender->fields_bytes = (size_t)bytes;
	sender->slot = calloc(options->requests, sizeof *sender->slot);
	sender->kept = kept_new(options->connections_kept, options->lifetime_ns);
	return sender->slot != NULL && sender->kept != NULL;
}

static int sender_open(struct sender **opened, const struct sender_options *options, struct shm_error *error)
{
	struct plain_sender *sender = calloc(1, sizeof *sender);
	int r = 0;
	if (sender == NULL) {
		shm_explain(error, "the plain sender: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	sender->sender.ops = &sender_plain;
	sender->options = *options;
	under_way_open(&sender->requests);
	sender->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sender->epoll < 0)
		r = -errno;
	else if (!open_parts(sender))
		r = -ENOMEM;
	if (r != 0) {
		shm_explain(error, "the plain sender: %s", strerror(-r));
		sender_close(&sender->sender);
		return r;
	}
	*opened = &sender->sender;
	return 0;
}

int sender_plain_beside(struct sender *opened, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	return epoll_ctl(of(opened)->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

bool sender_plain_woken(const struct sender *opened)
{
	return ((const struct plain_sender *)opened)->woken;
}

/* ---- requests ---- */

static struct plain_slot *take_slot(struct plain_sender *sender)
{
	struct plain_slot *slot = sender->free;
	if (slot != NULL) {
		sender->free = slot->next;
	} else {
		if (sender->n_made == sender->options.requests)
			return NULL;
		slot = &sender->slot[sender->n_made++];
	}
	memset(slot, 0, sizeof *slot);
	slot->sender = sender;
	return slot;
}

static void release(struct plain_slot *slot, bool keep)
{
	struct plain_sender *sender = slot->sender;
	if (slot->connection != NULL && keep)
		kept_keep(sender->kept, slot->connection, sender->now_ns);
	else if (slot->connection != NULL)
		kept_close(sender->kept, slot->connection);
	slot->connection = NULL;
	free(slot->head);
	free(slot->held);
	unpack_close(slot->unpack);
	under_way_leave(&sender->requests, slot->request);
	slot->request = NULL;
	slot->next = sender->free;
	sender->free = slot;
}

void plain_finish(struct plain_slot *slot, int result, const char *why, bool keep)
{
	struct plain_sender *sender = slot->sender;
	struct sender_request *request = slot->request;
	request->total_us = plain_since(slot);
	request->sent = slot->sent > 0;
	if (!slot->head_whole) {
		request->result = result;
		snprintf(request->reason, sizeof request->reason, "%s", why);
	}
	release(slot, keep);
	under_way_ended(&sender->requests, request);
}

int sender_plain_try(struct sender *started, struct sender_request *request, uint64_t now_ns)
{
	struct plain_sender *sender = of(started);
	sender_clear(request);
	if (!sender_plain_can(request))
		return -EINVAL;
	struct plain_slot *slot = take_slot(sender);
	if (slot == NULL)
		return -EAGAIN;
	sender->now_ns = now_ns;
	under_way_begin(&sender->requests, request, slot, now_ns);
	slot->request = request;
	slot->clock_ns = clock_monotonic_ns();
	plain_due(slot, request->connect_timeout_ns);
	slot->connect_ns = request->due_ns;
	plain_begin(slot);
	return 0;
}

static int sender_start(struct sender *started, struct sender_request *request, uint64_t now_ns)
{
	int r = sender_plain_try(started, request, now_ns);
	if (r != -EINVAL)
		return r;
	request->result = r;
	snprintf(request->reason, sizeof request->reason, SENDER_NONE);
	under_way_ended(&of(started)->requests, request);
	return 0;
}

static void sender_cancel(struct sender *started, struct sender_request *request)
{
	if (request->own != NULL)
		release(request->own, false);
	else
		under_way_leave(&of(started)->requests, request);
}

static void sender_close(struct sender *opened)
{
	struct plain_sender *sender = of(opened);
	for (struct sender_request *request; (request = under_way_busy(&sender->requests)) != NULL;)
		release(request->own, false);
	under_way_close(&sender->requests);
	kept_free(sender->kept);
	if (sender->epoll >= 0)
		close(sender->epoll);
	free(sender->slot);
	free(sender->fields);
	free(sender->head);
	free(sender);
}

/* ---- the loop ---- */

/* Whoever dies from here on dies of this request. */
static void work_on(struct plain_sender *sender, const struct plain_slot *slot)
{
	if (sender->options.working != NULL)
		sender->options.working(sender->options.context, slot != NULL ? slot->request->owner : NULL);
	sender->works = slot != NULL;
}

static void on_late(struct sender_request *request)
{
	struct plain_slot *slot = request->own;
	struct plain_sender *sender = slot->sender;
	work_on(sender, slot);
	if (slot->state == SENDER_CONNECTING && slot->connect_ns > sender->now_ns)
		plain_connect_late(slot);
	else
		plain_finish(slot, -ETIMEDOUT, sender_late(slot->state), false);
}

static void on_event(struct plain_sender *sender, struct kept_connection *connection, uint32_t events)
{
	struct plain_slot *slot = connection->user;
	if (connection->fd < 0)
		return; /* closed by what came before in this turn */
	if (slot == NULL) {
		if (events & ~(uint32_t)EPOLLOUT)
			kept_close(sender->kept, connection);
		return;
	}
	work_on(sender, slot);
	if (slot->state == SENDER_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		plain_connected(slot);
	/* after each of these it may have ended, and the connection have gone */
	if (connection->user == slot && (events & ~(uint32_t)EPOLLOUT)) {
		slot->ended |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
		plain_hear(slot);
	}
	if (connection->user == slot && slot->sending && (events & EPOLLOUT))
		plain_send_more(slot);
}

static void drive(struct plain_sender *sender)
{
	struct epoll_event event[EVENTS_MAX];
	kept_bury(sender->kept, sender->now_ns); /* before epoll speaks of others */
	int n = epoll_wait(sender->epoll, event, EVENTS_MAX, 0);
	sender->woken = false;
	for (int i = 0; i < n; i++) {
		if (event[i].data.ptr != NULL)
			on_event(sender, event[i].data.ptr, event[i].events);
		else
			sender->woken = true;
	}
	under_way_late(&sender->requests, sender->now_ns, on_late);
	if (sender->works)
		work_on(sender, NULL);
}

static struct sender_request *sender_next(struct sender *started, uint64_t now_ns)
{
	struct plain_sender *sender = of(started);
	sender->now_ns = now_ns;
	if (!under_way_any_ended(&sender->requests))
		drive(sender);
	return under_way_next(&sender->requests);
}

static void sender_forget(struct sender *started, const struct sender_place *place)
{
	kept_forget(of(started)->kept, place);
}

static int sender_fd(const struct sender *started)
{
	return ((const struct plain_sender *)started)->epoll;
}

static uint64_t sender_timeout(const struct sender *started, uint64_t timeout_ns, uint64_t now_ns)
{
	const struct plain_sender *sender = (const struct plain_sender *)started;
	return under_way_timeout(&sender->requests, timeout_ns, now_ns);
}

static uint64_t sender_memory_max(const struct sender_options *options)
{
	uint64_t connections = (uint64_t)options->requests + options->connections_kept;
	return sizeof(struct plain_sender) + connections * sizeof(struct kept_connection) +
	       options->requests * (sizeof(struct plain_slot) + SENDER_HEAD_MAX + PLAIN_READ_BYTES) +
	       2 * (uint64_t)options->connections_kept * sizeof(struct list);
}

const struct sender_ops sender_plain = {
        .name = "plain",
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
