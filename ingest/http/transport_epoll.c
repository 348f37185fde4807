/* The epoll back-end: where io_uring is denied or too old.
 *
 * Connections are watched edge-triggered, once for both directions. Pausing and resuming then cost
 * no system call, and a failed connection that is paused does not wake the process again and again.
 * A slot has its state and is in some of four lists:
 *
 *     readable   bytes, an end or an error can be read; one receive each, in turn
 *     changed    to be sent or to be closed: done before anything else in the next turn
 *     finished   an event is due that did not happen inside transport_poll
 *     lingering  in the order in which their time ends
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ingest/http/slot_list.h"
#include "ingest/http/spin.h"
#include "ingest/http/transport.h"
#include "base/clock.h"

#define ACCEPTS_MAX    64u   /* of each listening socket in one turn */
#define EVENTS_MAX     1024u /* receives in one turn */
#define OTHER_FILES    64u   /* that the process has open besides its connections */
#define EPOLL_EVENTS   256u
#define EPOLL_LISTENER (1ull << 32) /* data of an event: a listening socket's, not a slot's */

enum {
	SLOT_READABLE = 1 << 0,
	SLOT_AT_END = 1 << 1, /* an end or an error follows the bytes: read until it comes */
	SLOT_PAUSED = 1 << 2,
	SLOT_SENDING = 1 << 3,
	SLOT_BLOCKED = 1 << 4, /* ... but the kernel takes no more for now */
	SLOT_SENT = 1 << 5,    /* `sent` is due */
	SLOT_ENDED = 1 << 6,
	SLOT_FAILED = 1 << 7,     /* `ended` has been told so */
	SLOT_FAILED_NOW = 1 << 8, /* it is due */
	SLOT_CLOSED = 1 << 9,     /* by transport_close */
	SLOT_LINGER = 1 << 10,
	SLOT_SHUT = 1 << 11,
	SLOT_GONE = 1 << 12, /* the descriptor is closed; `closed` is due */
};

struct slot {
	const char *data;  /* what is left to send */
	size_t bytes;      /* of a free slot: the next free one + 1 */
	uint64_t until_ns; /* it lingers at most */
	int fd;            /* -1: none */
	uint32_t state;
};

struct epoll {
	int fd;
	int reserve; /* given up to turn a connection away when there are no more descriptors */
	struct slot *slot;
	/* n_used: slots that were ever open; first_free: slot + 1 of those that are free again */
	uint32_t n, first_free, n_used;
	struct slot_list readable, changed, finished, lingering;
	struct epoll_event event[EPOLL_EVENTS];
	int n_events; /* not yet looked at */
	struct spin spin;
	char *buffer;
	uint32_t acceptable;   /* bit per listening socket */
	uint64_t accept_at_ns; /* not before; 0: at once */
	bool refusing;
	bool hasty; /* an event other than `sent` is due */
};
_Static_assert(sizeof(struct slot) + 4 * sizeof(struct slot_link) <= 64, "memory of a connection");

/* ---- slots ---- */

static uint32_t take_slot(struct epoll *epoll)
{
	uint32_t i = epoll->first_free;
	if (i != 0) {
		epoll->first_free = (uint32_t)epoll->slot[i - 1].bytes;
		return i - 1;
	}
	return epoll->n_used < epoll->n ? epoll->n_used++ : SLOT_NONE;
}

/* The slot is free: its descriptor is closed, and it leaves all lists. */
static void give_slot(struct epoll *epoll, uint32_t i)
{
	slot_list_remove(&epoll->readable, i);
	slot_list_remove(&epoll->changed, i);
	slot_list_remove(&epoll->finished, i);
	slot_list_remove(&epoll->lingering, i);
	epoll->slot[i] = (struct slot){.fd = -1, .bytes = epoll->first_free};
	epoll->first_free = i + 1;
}

/* ---- accepting ---- */

static void watch_listeners(struct transport *transport, uint32_t events)
{
	struct epoll *epoll = transport->own;
	for (unsigned k = 0; k < transport->n_sockets; k++) {
		struct epoll_event event = {.events = events, .data.u64 = EPOLL_LISTENER | k};
		(void)epoll_ctl(epoll->fd, EPOLL_CTL_MOD, transport->socket[k], &event);
	}
}

/* Not at once again: an error that stays would keep the loop busy for nothing. */
static void back_off(struct transport *transport, int error)
{
	struct epoll *epoll = transport->own;
	transport_failed(transport, error);
	epoll->accept_at_ns = clock_monotonic_ns() + TRANSPORT_BACKOFF_NS;
	epoll->acceptable = 0;
	watch_listeners(transport, 0);
}

/* Accepts again when the time after a failure has passed. */
static void accept_again(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	if (epoll->accept_at_ns == 0 || epoll->refusing || clock_monotonic_ns() < epoll->accept_at_ns)
		return;
	epoll->accept_at_ns = 0;
	if (epoll->reserve < 0)
		epoll->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	watch_listeners(transport, EPOLLIN);
}

/* No descriptor for a connection: the reserve makes one, so that the client learns at once instead
 * of waiting in the backlog. */
static bool turn_away(struct transport *transport, unsigned listener)
{
	struct epoll *epoll = transport->own;
	if (epoll->reserve < 0)
		return false;
	(void)close(epoll->reserve);
	int fd = accept4(transport->socket[listener], NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		(void)close(fd);
		transport->counts.turned_away++;
	}
	bool done = fd >= 0 || errno == EAGAIN;
	epoll->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return done && epoll->reserve >= 0;
}

static void open_slot(struct transport *transport, int fd, unsigned listener,
                      const struct sockaddr_storage *peer)
{
	struct epoll *epoll = transport->own;
	uint32_t i = take_slot(epoll);
	if (i == SLOT_NONE) {
		transport->counts.turned_away++;
		(void)close(fd);
		return;
	}
	epoll->slot[i] = (struct slot){.fd = fd};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = i};
	if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		transport_failed(transport, errno);
		(void)close(fd);
		give_slot(epoll, i);
		return;
	}
	transport->counts.accepted++;
	transport->events->opened(transport->user, i, listener, peer);
}

/* True when it accepted (or turned away) anything. */
static bool accept_some(struct transport *transport, unsigned listener)
{
	for (unsigned n = 0; n < ACCEPTS_MAX; n++) {
		struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
		socklen_t bytes = sizeof peer;
		int fd = accept4(transport->socket[listener], (struct sockaddr *)&peer, &bytes,
		                 SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			open_slot(transport, fd, listener, &peer);
		} else if (errno == EMFILE || errno == ENFILE) {
			int error = errno;
			if (!turn_away(transport, listener))
				back_off(transport, error);
			return true;
		} else if (errno == ECONNABORTED) {
			transport_failed(transport, errno);
		} else {
			if (errno != EAGAIN && errno != EINTR)
				back_off(transport, errno);
			return n > 0;
		}
	}
	return true;
}

/* Accepts what the sockets in `acceptable` have, a bounded number. True when there was any. */
static bool accept_all(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	bool any = false;
	for (unsigned k = 0; k < transport->n_sockets; k++)
		if ((epoll->acceptable & 1u << k) != 0)
			any |= accept_some(transport, k);
	epoll->acceptable = 0; /* what is left is reported again */
	return any;
}

static void refuse_epoll(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	if (epoll->refusing)
		return;
	epoll->refusing = true;
	epoll->acceptable = 0;
	epoll->accept_at_ns = 0;
	for (unsigned k = 0; k < transport->n_sockets; k++)
		(void)epoll_ctl(epoll->fd, EPOLL_CTL_DEL, transport->socket[k], NULL);
}

/* Watches the listening sockets. Returns 0 or -errno. */
static int watch(struct transport *transport, struct epoll *epoll)
{
	epoll->fd = epoll_create1(EPOLL_CLOEXEC);
	epoll->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (epoll->fd < 0 || epoll->reserve < 0)
		return -errno;
	for (unsigned k = 0; k < transport->n_sockets; k++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = EPOLL_LISTENER | k};
		if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, transport->socket[k], &event) != 0)
			return -errno;
	}
	/* Whether waiting is allowed, too. Connections in the backlog are reported again. */
	return epoll_wait(epoll->fd, epoll->event, EPOLL_EVENTS, 0) < 0 ? -errno : 0;
}

/* ---- sending and closing ---- */

static void end_lingering(struct epoll *epoll, uint32_t i)
{
	epoll->slot[i].state &= ~(uint32_t)SLOT_LINGER;
	slot_list_remove(&epoll->lingering, i);
	slot_list_add(&epoll->changed, i);
}

static void linger_on(struct epoll *epoll, uint32_t i)
{
	epoll->slot[i].until_ns = clock_monotonic_ns() + TRANSPORT_LINGER_NS;
	slot_list_remove(&epoll->lingering, i); /* its time is the latest now */
	slot_list_add(&epoll->lingering, i);
}

static void end_late(struct epoll *epoll)
{
	if (epoll->lingering.n_in == 0)
		return;
	uint64_t now_ns = clock_monotonic_ns();
	uint32_t i;
	while ((i = slot_list_first(&epoll->lingering)) != SLOT_NONE && epoll->slot[i].until_ns <= now_ns)
		end_lingering(epoll, i);
}

static void fail_send(struct epoll *epoll, uint32_t i)
{
	struct slot *slot = &epoll->slot[i];
	slot->state &= ~(uint32_t)SLOT_SENDING;
	slot->state |= SLOT_ENDED | SLOT_FAILED_NOW;
	slot_list_remove(&epoll->readable, i);
	if ((slot->state & SLOT_CLOSED) != 0)
		end_lingering(epoll, i);
	else
		slot_list_add(&epoll->finished, i);
	epoll->hasty = true;
}

static void send_some(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	while (slot->bytes > 0) {
		ssize_t n = send(slot->fd, slot->data, slot->bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			slot->data += n;
			slot->bytes -= (size_t)n;
			transport->counts.sent_bytes += (uint64_t)n;
			if ((slot->state & SLOT_LINGER) != 0)
				linger_on(epoll, i);
		} else if (n < 0 && errno == EAGAIN) {
			slot->state |= SLOT_BLOCKED;
			return;
		} else if (n == 0 || errno != EINTR) {
			fail_send(epoll, i);
			return;
		}
	}
	slot->state &= ~(uint32_t)SLOT_SENDING;
	if ((slot->state & SLOT_CLOSED) == 0) {
		slot->state |= SLOT_SENT;
		slot_list_add(&epoll->finished, i);
	}
}

static void close_slot(struct epoll *epoll, uint32_t i)
{
	struct slot *slot = &epoll->slot[i];
	(void)close(slot->fd);
	slot->fd = -1;
	slot->state |= SLOT_GONE;
	slot_list_add(&epoll->finished, i);
	epoll->hasty = true;
}

static void go_on(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	bool lingers = (slot->state & SLOT_LINGER) != 0;
	if ((slot->state & SLOT_GONE) != 0)
		return;
	if ((slot->state & (SLOT_SENDING | SLOT_BLOCKED)) == SLOT_SENDING &&
	    (lingers || (slot->state & SLOT_CLOSED) == 0))
		send_some(transport, i);
	if ((slot->state & (SLOT_LINGER | SLOT_SENDING | SLOT_SHUT)) == SLOT_LINGER) {
		(void)shutdown(slot->fd, SHUT_WR);
		slot->state |= SLOT_SHUT;
	}
	if ((slot->state & (SLOT_LINGER | SLOT_SENDING)) == SLOT_LINGER && (slot->state & SLOT_ENDED) != 0)
		end_lingering(epoll, i);
	if ((slot->state & (SLOT_CLOSED | SLOT_LINGER)) == SLOT_CLOSED)
		close_slot(epoll, i);
}

static void flush_epoll(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	uint32_t i;
	end_late(epoll);
	while ((i = slot_list_first(&epoll->changed)) != SLOT_NONE) {
		slot_list_remove(&epoll->changed, i);
		go_on(transport, i);
	}
}

/* ---- receiving ---- */

static void read_ended(struct transport *transport, uint32_t i, bool failed)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	slot->state |= SLOT_ENDED | (failed ? SLOT_FAILED : 0);
	if ((slot->state & SLOT_CLOSED) == 0) {
		transport->events->ended(transport->user, i, failed);
	} else if (failed || (slot->state & SLOT_SENDING) == 0) {
		end_lingering(epoll, i);
	}
}

static bool may_read(const struct slot *slot)
{
	if ((slot->state & (SLOT_READABLE | SLOT_ENDED)) != SLOT_READABLE)
		return false;
	return (slot->state & SLOT_CLOSED) != 0 ? (slot->state & SLOT_LINGER) != 0
	                                        : (slot->state & SLOT_PAUSED) == 0;
}

/* One receive, so that a connection with many bytes does not keep the others waiting. */
static void read_some(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	size_t room = transport->settings.buffer_bytes;
	ssize_t n = recv(slot->fd, epoll->buffer, room, MSG_DONTWAIT);
	if (n > 0) {
		if ((size_t)n < room && (slot->state & SLOT_AT_END) == 0)
			slot->state &= ~(uint32_t)SLOT_READABLE; /* the next byte is a new edge */
		if ((slot->state & SLOT_CLOSED) == 0) {
			transport->counts.received_bytes += (uint64_t)n;
			transport_received(transport, i, epoll->buffer, (size_t)n, room);
		}
	} else if (n < 0 && errno == EAGAIN) {
		slot->state &= ~(uint32_t)SLOT_READABLE;
	} else if (n == 0 || errno != EINTR) {
		read_ended(transport, i, n < 0);
	}
	if (may_read(slot))
		slot_list_add(&epoll->readable, i);
}

static unsigned read_all(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	unsigned n = 0;
	uint32_t i;
	for (; n < EVENTS_MAX && (i = slot_list_first(&epoll->readable)) != SLOT_NONE; n++) {
		slot_list_remove(&epoll->readable, i);
		if (may_read(&epoll->slot[i]))
			read_some(transport, i);
	}
	return n;
}

/* ---- events ---- */

static void note_event(struct epoll *epoll, const struct epoll_event *event)
{
	if ((event->data.u64 & EPOLL_LISTENER) != 0) {
		epoll->acceptable |= 1u << (uint32_t)event->data.u64;
		return;
	}
	uint32_t i = event->data.u32;
	struct slot *slot = &epoll->slot[i];
	if ((event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
		slot->state |= SLOT_READABLE;
		if ((event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
			slot->state |= SLOT_AT_END;
		if (may_read(slot))
			slot_list_add(&epoll->readable, i);
	}
	if ((event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && (slot->state & SLOT_BLOCKED) != 0) {
		slot->state &= ~(uint32_t)SLOT_BLOCKED;
		slot_list_add(&epoll->changed, i);
	}
}

/* Looks at what is there before any descriptor is closed, so no event is of an earlier connection
 * of its slot. */
static void collect(struct epoll *epoll, int timeout_ms)
{
	int n = epoll_wait(epoll->fd, epoll->event, EPOLL_EVENTS, timeout_ms);
	for (int k = 0; k < n; k++)
		note_event(epoll, &epoll->event[k]);
	epoll->n_events += n > 0 ? n : 0;
}

static bool collected(void *own)
{
	struct epoll *epoll = own;
	collect(epoll, 0);
	return epoll->n_events > 0;
}

static void finish(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	const struct transport_events *events = transport->events;
	uint32_t due = slot->state & (SLOT_SENT | SLOT_FAILED_NOW);
	slot->state &= ~due;
	if ((slot->state & SLOT_GONE) != 0) {
		give_slot(epoll, i);
		events->closed(transport->user, i);
	} else if ((slot->state & (SLOT_CLOSED | SLOT_FAILED)) != 0) {
		return;
	} else if ((due & SLOT_FAILED_NOW) != 0) {
		slot->state |= SLOT_FAILED;
		events->ended(transport->user, i, true);
	} else if ((due & SLOT_SENT) != 0) {
		events->sent(transport->user, i);
	}
}

static bool poll_epoll(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	accept_again(transport);
	flush_epoll(transport);
	if (epoll->n_events == 0)
		collect(epoll, 0);
	bool any = epoll->n_events > 0 || epoll->finished.n_in > 0;
	epoll->n_events = 0;
	epoll->hasty = false;
	for (uint32_t n = epoll->finished.n_in; n > 0; n--) {
		uint32_t i = slot_list_first(&epoll->finished);
		slot_list_remove(&epoll->finished, i);
		finish(transport, i);
	}
	any |= accept_all(transport);
	any |= read_all(transport) > 0;
	transport->calm = epoll->readable.n_in == 0;
	return any;
}

static int sleep_ms(const struct epoll *epoll, uint64_t timeout_ns)
{
	uint32_t first = slot_list_first(&epoll->lingering);
	uint64_t until_ns = first == SLOT_NONE ? UINT64_MAX : epoll->slot[first].until_ns;
	if (epoll->accept_at_ns != 0 && epoll->accept_at_ns < until_ns)
		until_ns = epoll->accept_at_ns;
	if (until_ns != UINT64_MAX) {
		uint64_t now_ns = clock_monotonic_ns();
		uint64_t left_ns = until_ns <= now_ns ? 0 : until_ns - now_ns;
		timeout_ns = left_ns < timeout_ns ? left_ns : timeout_ns;
	}
	uint64_t ms = (timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static void wait_epoll(struct transport *transport, uint64_t timeout_ns, bool late)
{
	struct epoll *epoll = transport->own;
	flush_epoll(transport);
	bool due = late ? epoll->hasty : epoll->finished.n_in > 0;
	bool more = epoll->n_events > 0 || due || epoll->readable.n_in > 0 || epoll->changed.n_in > 0;
	int timeout_ms = more ? 0 : sleep_ms(epoll, timeout_ns);
	if (epoll->n_events > 0)
		return;
	if (timeout_ms > 0 && spin_begins(&epoll->spin) &&
	    (collected(epoll) || spin_until(&epoll->spin, collected, epoll)))
		return;
	transport->counts.waits += timeout_ms > 0;
	collect(epoll, timeout_ms);
}

/* ---- the contract ---- */

static void send_epoll(struct transport *transport, uint32_t i, const char *data, size_t bytes)
{
	struct epoll *epoll = transport->own;
	epoll->slot[i].data = data;
	epoll->slot[i].bytes = bytes;
	epoll->slot[i].state |= SLOT_SENDING;
	slot_list_add(&epoll->changed, i);
}

static void pause_epoll(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	epoll->slot[i].state |= SLOT_PAUSED;
	slot_list_remove(&epoll->readable, i);
}

static void resume_epoll(struct transport *transport, uint32_t i)
{
	struct epoll *epoll = transport->own;
	epoll->slot[i].state &= ~(uint32_t)SLOT_PAUSED;
	if (may_read(&epoll->slot[i]))
		slot_list_add(&epoll->readable, i);
}

static void close_epoll(struct transport *transport, uint32_t i, bool linger)
{
	struct epoll *epoll = transport->own;
	struct slot *slot = &epoll->slot[i];
	bool first = (slot->state & SLOT_CLOSED) == 0;
	slot->state |= SLOT_CLOSED;
	if (first && linger && ((slot->state & SLOT_ENDED) == 0 || (slot->state & SLOT_SENDING) != 0)) {
		slot->state |= SLOT_LINGER;
		linger_on(epoll, i);
		if (may_read(slot)) /* it may have been paused */
			slot_list_add(&epoll->readable, i);
	} else if (!linger) {
		end_lingering(epoll, i);
	}
	slot_list_add(&epoll->changed, i);
}

static void free_all(struct epoll *epoll)
{
	for (uint32_t i = 0; epoll->slot != NULL && i < epoll->n_used; i++)
		if (epoll->slot[i].fd >= 0)
			(void)close(epoll->slot[i].fd);
	if (epoll->fd >= 0)
		(void)close(epoll->fd);
	if (epoll->reserve >= 0)
		(void)close(epoll->reserve);
	slot_list_fini(&epoll->readable);
	slot_list_fini(&epoll->changed);
	slot_list_fini(&epoll->finished);
	slot_list_fini(&epoll->lingering);
	free(epoll->slot);
	free(epoll->buffer);
	free(epoll);
}

static void shut_epoll(struct transport *transport)
{
	free_all(transport->own);
}

static struct epoll *take_memory(const struct transport *transport)
{
	uint32_t n = transport->settings.max_connections;
	struct epoll *epoll = calloc(1, sizeof *epoll);
	if (epoll == NULL)
		return NULL;
	epoll->fd = epoll->reserve = -1;
	epoll->n = n;
	epoll->slot = calloc(n, sizeof *epoll->slot);
	epoll->buffer = malloc(transport->settings.buffer_bytes);
	if (epoll->slot == NULL || epoll->buffer == NULL || !slot_list_init(&epoll->readable, n) ||
	    !slot_list_init(&epoll->changed, n) || !slot_list_init(&epoll->finished, n) ||
	    !slot_list_init(&epoll->lingering, n)) {
		free_all(epoll);
		return NULL;
	}
	return epoll;
}

static int open_epoll(struct transport *transport, struct shm_error *error)
{
	int result = transport_raise_limit(transport, OTHER_FILES, error);
	if (result != 0)
		return result;
	struct epoll *epoll = take_memory(transport);
	result = epoll == NULL ? -ENOMEM : watch(transport, epoll);
	if (result != 0) {
		shm_explain(error, "epoll: %s", strerror(-result));
		if (epoll != NULL)
			free_all(epoll);
		return result;
	}
	transport->own = epoll;
	return 0;
}

const struct transport_ops transport_epoll = {
        .name = "epoll",
        .open = open_epoll,
        .poll = poll_epoll,
        .flush = flush_epoll,
        .wait = wait_epoll,
        .send = send_epoll,
        .pause = pause_epoll,
        .resume = resume_epoll,
        .close = close_epoll,
        .refuse = refuse_epoll,
        .shut = shut_epoll,
};
