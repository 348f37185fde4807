#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ingest/http/transport_epoll.h"
#include "base/clock.h"

#define ACCEPTS_MAX 64u /* of each listening socket in one turn */

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

void epoll_give_slot(struct epoll *epoll, uint32_t i)
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

void epoll_accept_again(struct transport *transport)
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
		epoll_give_slot(epoll, i);
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

bool epoll_accept(struct transport *transport)
{
	struct epoll *epoll = transport->own;
	bool any = false;
	for (unsigned k = 0; k < transport->n_sockets; k++)
		if ((epoll->acceptable & 1u << k) != 0)
			any |= accept_some(transport, k);
	epoll->acceptable = 0; /* it is told again of what is left */
	return any;
}

void epoll_refuse(struct transport *transport)
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

int epoll_watch(struct transport *transport, struct epoll *epoll)
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
	/* Whether waiting is allowed, too; who waits to be accepted is seen again. */
	return epoll_wait(epoll->fd, epoll->event, EPOLL_EVENTS, 0) < 0 ? -errno : 0;
}
