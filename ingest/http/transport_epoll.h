/* The epoll back-end's state, between accepting (transport_epoll_accept.c) and the rest
 * (transport_epoll.c).
 *
 * Connections are watched edge-triggered, once for both directions: pausing and resuming then cost
 * no system call, and a failed connection that is paused does not wake anybody again and again.
 * What is known of a slot is in its state and in four lists:
 *
 *     readable   bytes, an end or an error can be read; one receive each, in turn
 *     changed    to be sent or to be closed: done before anything else in the next turn
 *     finished   of which an event is due that did not happen inside transport_poll
 *     lingering  in the order in which their time is over
 */
#ifndef INGEST_HTTP_TRANSPORT_EPOLL_H
#define INGEST_HTTP_TRANSPORT_EPOLL_H

#include <sys/epoll.h>

#include "ingest/http/slot_list.h"
#include "ingest/http/transport.h"

#define EPOLL_EVENTS   256u
#define EPOLL_LISTENER (1ull << 32) /* data of an event: a listening socket's, not a slot's */

enum {
	SLOT_READABLE = 1 << 0,
	SLOT_AT_END = 1 << 1, /* an end or an error lies behind the bytes: read until it comes */
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
	char *buffer;
	uint32_t acceptable;   /* bit per listening socket */
	uint64_t accept_at_ns; /* not before; 0: at once */
	bool refusing;
};
_Static_assert(sizeof(struct slot) + 4 * sizeof(struct slot_link) <= 64, "memory of a connection");

/* Watches the listening sockets. Returns 0 or -errno. */
int epoll_watch(struct transport *transport, struct epoll *epoll);

/* Accepts what the sockets in `acceptable` have, a bounded number. True when there was any. */
bool epoll_accept(struct transport *transport);

/* Accepts again when the time after a failure is over. */
void epoll_accept_again(struct transport *transport);

/* Accepts no more. */
void epoll_refuse(struct transport *transport);

/* The slot is free: its descriptor is closed and it is in no list. */
void epoll_give_slot(struct epoll *epoll, uint32_t i);

#endif
