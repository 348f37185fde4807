/* The io_uring back-end's state, between its two halves: what events ask of a slot becomes requests
 * (transport_uring_requests.c), and what the kernel says of requests becomes events
 * (transport_uring.c).
 *
 *     events --state of the slot, list `changed`--> uring_prepare --requests--> kernel --completions--> events
 *
 * Events only change what a slot should be. Before the ring is entered, each changed slot gets the
 * requests that lead there. So nothing leaves while events are handled, however many there are, and
 * what is asked for and taken back in one turn costs nothing.
 *
 * A slot after transport_close:
 *
 *     to send --> sending --> our side shut --> bytes thrown away until the peer ends or it is late     lingering
 *          \          \              \                                  |
 *           '----------'--------------'--- (cut, or not lingering) -----+--> requests cancelled, all ended --> closing --> free
 */
#ifndef INGEST_HTTP_TRANSPORT_URING_H
#define INGEST_HTTP_TRANSPORT_URING_H

#include "ingest/http/slot_list.h"
#include "ingest/http/transport_ring.h"

/* One-shot accepts for each listening socket. A multishot accept has one place for the peer's
 * address, which the next connection overwrites before the first is looked at; and a direct
 * descriptor cannot be asked for it later. So each request has a place of its own and is armed
 * again with the next submit. They wait exclusively: a connection wakes one of them. (Multishot
 * accept, then an ordinary descriptor for getpeername, was measured: the same connections per
 * second and CPU per connection, in two turns instead of one.) */
#define URING_ACCEPTS 32u

enum op { OP_UNHEARD, OP_ACCEPT, OP_RECEIVE, OP_POLL, OP_SEND, OP_CANCEL, OP_CLOSE, OP_INSTALL };

/* user_data: what it is, of which life of the slot, which slot (or accept). A completion of an
 * earlier life touches nothing, and a cancel meant for it finds nothing. */
#define LIFE_MASK 0xffffffu

static inline uint64_t uring_tag(enum op op, uint32_t life, uint32_t i)
{
	return (uint64_t)op << 56 | (uint64_t)(life & LIFE_MASK) << 32 | i;
}

static inline enum op uring_op(const struct io_uring_cqe *cqe)
{
	return (enum op)(cqe->user_data >> 56);
}

/* Whether it is of a request that always completes. */
static inline bool uring_counted(const struct io_uring_cqe *cqe)
{
	return uring_op(cqe) != OP_UNHEARD && uring_op(cqe) != OP_CANCEL;
}

enum {
	SLOT_PAUSED = 1 << 0,
	SLOT_RECEIVING = 1 << 1, /* a receive is armed */
	SLOT_STOPPING = 1 << 2,  /* ... and is being cancelled */
	SLOT_TO_SEND = 1 << 3,
	SLOT_SENDING = 1 << 4,   /* a send is under way */
	SLOT_GIVING_UP = 1 << 5, /* ... and is being cancelled */
	SLOT_ENDED = 1 << 6,     /* nothing more comes */
	SLOT_FAILED = 1 << 7,    /* ... and nothing more leaves */
	SLOT_CLOSED = 1 << 8,    /* by transport_close */
	SLOT_LINGER = 1 << 9,
	SLOT_SHUT = 1 << 10, /* our side is, or will be when SLOT_SHUTTING ends */
	SLOT_SHUTTING = 1 << 11,
	SLOT_CLOSING = 1 << 12, /* the last request */
	SLOT_HOT = 1 << 13,     /* brought bytes when it was last looked at */
};
#define SLOT_BUSY (SLOT_RECEIVING | SLOT_SENDING | SLOT_SHUTTING)

struct slot {
	const char *data; /* what is left to send */
	size_t bytes;
	uint64_t until_ns; /* it lingers at most */
	uint32_t life;
	uint32_t state;
};

struct accept {
	struct sockaddr_storage peer;
	socklen_t peer_bytes;
	bool armed, cancelled;
};

/* How the ring waits under load; transport_uring_polling.c says why. In a spell of polling a
 * connection that has brought bytes is not armed: no completion announces its next bytes. It stays
 * in `slots` until a look (a receive that does not wait) either finds bytes or finds none, and then
 * it is armed once. A look takes the first few of `slots`. Looks follow each other, one a turn,
 * until one misses more than it finds; then comes a wait. */
struct polling {
	bool on; /* a spell of polling */
	/* the last look missed more than it found: no other before the next wait */
	bool enough;
	bool in_vain;                   /* so did all looks between the last two waits together */
	uint32_t found, missed;         /* by one look */
	uint64_t all_found, all_missed; /* since the last wait */
	uint64_t waits_ns, woken_ns;    /* when that began, and ended */
	uint64_t late_ns;               /* by which naps end late, about */
	/* connections that come back and back, about; of this spell or the last */
	uint32_t n_hot;
	uint32_t n_waits, n_poor; /* since the spell was judged */
	uint64_t begin_ns;        /* no spell begins before */
	/* not armed, to be looked at, in the order in which they were answered */
	struct slot_list slots;
};

struct uring {
	struct ring ring;
	struct slot *slot;
	/* starved: found no buffer, in the order in which they get one */
	struct slot_list changed, starved, lingering;
	struct accept *accept;            /* URING_ACCEPTS for each listening socket */
	uint32_t n_accepts, idle_accepts; /* idle: not armed */
	struct polling polling;
	uint64_t accept_at_ns; /* not before; 0: at once */
	uint32_t n_open;
	uint32_t n_received; /* since the last wait */
	uint32_t requests;   /* under way, without those that complete only when they fail */
	bool refusing;
};
_Static_assert(sizeof(struct slot) + 4 * sizeof(struct slot_link) <= 64, "memory of a connection");

/* Makes requests of all that has changed. What does not fit into the ring stays for the next
 * time. */
void uring_prepare(struct transport *transport);

/* Makes requests for a look at some of the connections that are polled, if it is time for one. They
 * complete as soon as the ring is entered. */
void uring_look(struct uring *uring);

/* Takes a completion of OP_POLL into account: bytes were found, or none. */
void uring_looked(struct transport *transport, uint32_t i, bool found);

/* After the completions of a turn. */
void uring_end_look(struct uring *uring);

/* Before a wait, when n receives came since the last: begins a spell of polling, goes on with it or
 * ends it. Returns how long a nap the wait is to be in which nothing wakes us; 0: none, and what
 * was polled is to be armed. */
uint64_t uring_pace(struct transport *transport, uint32_t n);

/* After a wait. nap_ns: of a nap that only the clock could end; else 0. */
void uring_woken(struct transport *transport, uint64_t nap_ns);

/* Lingers from now on for TRANSPORT_LINGER_NS. */
void uring_linger(struct uring *uring, uint32_t i);

/* Ends the lingering of a slot, if it does: it is closed with the next requests. */
void uring_end_lingering(struct uring *uring, uint32_t i);

/* Cancels all requests and waits until they have ended, for they use the caller's memory. Bounded:
 * the end of the ring ends the rest. */
void uring_stop(struct uring *uring);

#endif
