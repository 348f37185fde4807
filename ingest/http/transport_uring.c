/* The io_uring back-end. What events ask of a slot becomes requests, and what the kernel says of
 * requests becomes events.
 *
 *     events --state of the slot, list `changed`--> prepare_all --requests--> kernel --completions--> events
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
 *
 * polling.h says how it waits under load, transport_ring.h how the ring is set up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/descriptors.h"
#include "ingest/http/polling.h"
#include "ingest/http/slot_list.h"
#include "ingest/http/spin.h"
#include "ingest/http/transport_ring.h"
#include "base/clock.h"

#define NEVER      RING_CQ_ENTRIES /* so many completions do not come */
#define EVENTS_MAX 1024u           /* completions handled in one turn */
/* Only the table of direct descriptors is held against the limit of open files; plain ones share it
 * with what the process has open, and with connections that are accepted to be turned away. */
#define OTHER_FILES       0u
#define OTHER_FILES_PLAIN 64u /* and URING_ACCEPTS for each listening socket */
#define PREPARE_MAX       4u  /* requests that one slot may need at once */
#define STOP_TRIES        100u
#define STOP_TRY_NS       (10 * NS_PER_MS)
#define SEND_MAX          (1u << 30) /* of one request */
#define LOOK_MAX          16u        /* connections; at most so many looks find nothing for each wait */

/* One-shot accepts for each listening socket. A multishot accept has one place for the peer's
 * address, which the next connection overwrites before the first is looked at; and a direct
 * descriptor cannot be asked for it later. So each request has a place of its own and is armed
 * again with the next submit. They wait exclusively: a connection wakes one of them. (Multishot
 * accept, then an ordinary descriptor for getpeername, was measured: the same connections per
 * second and CPU per connection, in two turns instead of one.) */
#define URING_ACCEPTS 32u

enum op { OP_UNHEARD, OP_ACCEPT, OP_RECEIVE, OP_POLL, OP_TRY, OP_SEND, OP_CANCEL, OP_CLOSE, OP_INSTALL };

/* user_data: what it is, of which life of the slot, which slot (or accept). A completion of an
 * earlier life touches nothing, and a cancel meant for it finds nothing. */
#define LIFE_MASK 0xffffffu

static uint64_t tag_of(enum op op, uint32_t life, uint32_t i)
{
	return (uint64_t)op << 56 | (uint64_t)life << 32 | i;
}

static enum op op_of(const struct io_uring_cqe *cqe)
{
	return (enum op)(cqe->user_data >> 56);
}

/* Whether it is of a request that always completes. */
static bool is_counted(const struct io_uring_cqe *cqe)
{
	return op_of(cqe) != OP_UNHEARD && op_of(cqe) != OP_CANCEL && op_of(cqe) != OP_TRY;
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
	SLOT_TRYING = 1 << 14,  /* SLOT_SENDING, without waiting for room */
	SLOT_FULL = 1 << 15,    /* ... there was none: the rest waits for it */
};
#define SLOT_BUSY (SLOT_RECEIVING | SLOT_SENDING | SLOT_SHUTTING)

struct slot {
	const char *data; /* what is left to send */
	size_t bytes;
	uint64_t until_ns; /* it lingers at most */
	uint32_t life : 24;
	uint32_t period : 8; /* polling_received */
	uint32_t state;
};

struct accept {
	struct sockaddr_storage peer;
	socklen_t peer_bytes;
	bool armed, cancelled;
};

struct uring {
	struct ring ring;
	struct descriptors descriptors;
	struct slot *slot;
	/* starved: found no buffer, in the order in which they get one */
	struct slot_list changed, starved, lingering;
	struct accept *accept;            /* URING_ACCEPTS for each listening socket */
	uint32_t n_accepts, idle_accepts; /* idle: not armed */
	struct polling polling;
	struct spin spin;
	uint32_t trying[RING_SQ_ENTRIES]; /* slots whose bytes may have left (tell_sent) */
	uint32_t n_trying;
	uint64_t accept_at_ns; /* not before; 0: at once */
	uint32_t n_open;
	uint32_t n_received; /* since the last wait */
	uint32_t requests;   /* under way, without those that complete only when they fail */
	bool refusing;
};
_Static_assert(sizeof(struct slot) + 4 * sizeof(struct slot_link) <= 64, "memory of a connection");

/* ---- requests ---- */

static struct io_uring_sqe *new_request(struct uring *uring)
{
	uring->requests++;
	return io_uring_get_sqe(&uring->ring.io);
}

static int descriptor(const struct uring *uring, uint32_t i)
{
	return descriptors_of(&uring->descriptors, i);
}

static unsigned char fixed(const struct uring *uring)
{
	return descriptors_flags(&uring->descriptors);
}

/* Bytes into any buffer that is free when they come: what is there now (OP_POLL), or what comes
 * (OP_RECEIVE). While others are polled that is for once: a connection that has brought bytes is
 * polled next. */
static void request_bytes(struct uring *uring, uint32_t i, enum op op)
{
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_recv(sqe, descriptor(uring, i), NULL, 0, op == OP_POLL ? MSG_DONTWAIT : 0);
	if (op == OP_RECEIVE && !uring->polling.on)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	sqe->flags |= fixed(uring) | IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	io_uring_sqe_set_data64(sqe, tag_of(op, uring->slot[i].life, i));
	uring->slot[i].state |= SLOT_RECEIVING;
}

/* Without waiting for room: it completes only when not all bytes could leave. So an answer, which
 * almost always can, costs no completion, and none ends the wait that it is sent with. */
static void request_try(struct uring *uring, uint32_t i)
{
	struct slot *slot = &uring->slot[i];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring.io);
	io_uring_prep_send(sqe, descriptor(uring, i), slot->data, slot->bytes,
	                   MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
	sqe->flags |= fixed(uring) | IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, tag_of(OP_TRY, slot->life, i));
	slot->state |= SLOT_SENDING | SLOT_TRYING;
	uring->trying[uring->n_trying++] = i;
}

static void request_send(struct uring *uring, uint32_t i)
{
	struct slot *slot = &uring->slot[i];
	slot->state &= ~(uint32_t)SLOT_TO_SEND;
	if ((slot->state & (SLOT_FULL | SLOT_CLOSED)) == 0 && slot->bytes <= SEND_MAX &&
	    uring->n_trying < RING_SQ_ENTRIES) {
		request_try(uring, i);
		return;
	}
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_send(sqe, descriptor(uring, i), slot->data,
	                   slot->bytes < SEND_MAX ? slot->bytes : SEND_MAX, MSG_NOSIGNAL);
	sqe->flags |= fixed(uring);
	io_uring_sqe_set_data64(sqe, tag_of(OP_SEND, slot->life, i));
	slot->state |= SLOT_SENDING;
}

/* Completes, with the tag `failed`, only when it finds nothing. */
static void request_cancel(struct uring *uring, uint64_t what, uint64_t failed)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring.io);
	io_uring_prep_cancel64(sqe, what, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, failed);
}

static void cancel_of_slot(struct uring *uring, enum op op, uint32_t i)
{
	uint32_t life = uring->slot[i].life;
	request_cancel(uring, tag_of(op, life, i), tag_of(OP_CANCEL, life, i));
}

static void stop_receiving(struct uring *uring, uint32_t i)
{
	if ((uring->slot[i].state & (SLOT_RECEIVING | SLOT_STOPPING)) != SLOT_RECEIVING)
		return;
	cancel_of_slot(uring, OP_RECEIVE, i);
	uring->slot[i].state |= SLOT_STOPPING;
}

static void stop_sending(struct uring *uring, uint32_t i)
{
	if ((uring->slot[i].state & (SLOT_SENDING | SLOT_GIVING_UP)) != SLOT_SENDING)
		return;
	cancel_of_slot(uring, OP_SEND, i);
	uring->slot[i].state |= SLOT_GIVING_UP;
}

/* Shutting down wants an ordinary descriptor. io_uring has a request of its own for it, which is no
 * faster and goes to a kernel thread: this one is done at once, in order. Called when all that was
 * sent is with the kernel. */
static void shut_our_side(struct uring *uring, uint32_t i)
{
	if (descriptors_are_plain(&uring->descriptors)) {
		(void)shutdown(descriptor(uring, i), SHUT_WR);
		uring->slot[i].state |= SLOT_SHUT;
		return;
	}
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_rw(URING_OP_FIXED_FD_INSTALL, sqe, (int)i, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, tag_of(OP_INSTALL, uring->slot[i].life, i));
	uring->slot[i].state |= SLOT_SHUT | SLOT_SHUTTING;
}

static void request_close(struct uring *uring, uint32_t i)
{
	struct io_uring_sqe *sqe = new_request(uring);
	if (descriptors_are_plain(&uring->descriptors))
		io_uring_prep_close(sqe, descriptor(uring, i));
	else
		io_uring_prep_close_direct(sqe, i);
	io_uring_sqe_set_data64(sqe, tag_of(OP_CLOSE, uring->slot[i].life, i));
	uring->slot[i].state |= SLOT_CLOSING;
}

/* ---- from what a slot should be to requests ---- */

static void prepare_end(struct uring *uring, uint32_t i)
{
	uring->slot[i].state &= ~(uint32_t)SLOT_TO_SEND;
	slot_list_remove(&uring->polling.slots, i);
	stop_sending(uring, i);
	stop_receiving(uring, i);
	if ((uring->slot[i].state & (SLOT_BUSY | SLOT_CLOSING)) == 0)
		request_close(uring, i);
}

/* Bytes of a slot are wanted, or not. */
static void prepare_bytes(struct uring *uring, uint32_t i)
{
	uint32_t state = uring->slot[i].state;
	bool wanted = (state & (SLOT_PAUSED | SLOT_LINGER)) != SLOT_PAUSED;
	bool polled = uring->polling.on && (state & (SLOT_HOT | SLOT_LINGER)) == SLOT_HOT;
	if (!wanted)
		slot_list_remove(&uring->polling.slots, i);
	if (!wanted || polled)
		stop_receiving(uring, i);
	if (!wanted || (state & (SLOT_RECEIVING | SLOT_ENDED)) != 0 || slot_list_has(&uring->starved, i))
		return;
	if (polled)
		slot_list_add(&uring->polling.slots, i);
	else
		request_bytes(uring, i, OP_RECEIVE);
}

static void prepare(struct uring *uring, uint32_t i)
{
	const struct slot *slot = &uring->slot[i];
	if ((slot->state & (SLOT_CLOSED | SLOT_LINGER)) == SLOT_CLOSED) {
		prepare_end(uring, i);
		return;
	}
	if ((slot->state & SLOT_TO_SEND) != 0)
		request_send(uring, i);
	if ((slot->state & (SLOT_LINGER | SLOT_SENDING | SLOT_SHUT)) == SLOT_LINGER)
		shut_our_side(uring, i);
	prepare_bytes(uring, i);
}

static void arm_accepts(struct transport *transport)
{
	struct uring *uring = transport->own;
	for (uint32_t k = 0; k < uring->n_accepts && uring->idle_accepts > 0; k++) {
		struct accept *accept = &uring->accept[k];
		if (accept->armed || io_uring_sq_space_left(&uring->ring.io) == 0)
			continue;
		struct io_uring_sqe *sqe = new_request(uring);
		accept->peer.ss_family = AF_UNSPEC;
		accept->peer_bytes = sizeof accept->peer;
		io_uring_prep_accept(sqe, transport->socket[k / URING_ACCEPTS], (void *)&accept->peer,
		                     &accept->peer_bytes,
		                     descriptors_are_plain(&uring->descriptors) ? SOCK_CLOEXEC : 0);
		/* Any free slot. (io_uring_prep_accept_direct of 2.3 makes an ordinary descriptor
		 * of this.) */
		if (!descriptors_are_plain(&uring->descriptors))
			sqe->file_index = IORING_FILE_INDEX_ALLOC;
		io_uring_sqe_set_data64(sqe, tag_of(OP_ACCEPT, 0, k));
		accept->armed = true;
		uring->idle_accepts--;
	}
}

static void cancel_accepts(struct uring *uring)
{
	for (uint32_t k = 0; k < uring->n_accepts; k++) {
		struct accept *accept = &uring->accept[k];
		if (!accept->armed || accept->cancelled || io_uring_sq_space_left(&uring->ring.io) == 0)
			continue;
		request_cancel(uring, tag_of(OP_ACCEPT, 0, k), OP_UNHEARD);
		accept->cancelled = true;
	}
}

static void prepare_accepts(struct transport *transport)
{
	struct uring *uring = transport->own;
	if (uring->refusing) {
		if (uring->idle_accepts < uring->n_accepts)
			cancel_accepts(uring);
		return;
	}
	if (uring->idle_accepts == 0)
		return;
	if (uring->accept_at_ns != 0 && clock_monotonic_ns() < uring->accept_at_ns)
		return;
	uring->accept_at_ns = 0;
	arm_accepts(transport);
}

/* A receive that is armed while no buffer is free ends at once. So no more are armed again than
 * buffers are lent, and the connection that has waited longest comes first. */
static void feed_starved(struct uring *uring)
{
	for (uint32_t n = uring->ring.lent; n > 0 && uring->starved.n_in > 0; n--) {
		uint32_t i = slot_list_first(&uring->starved);
		slot_list_remove(&uring->starved, i);
		slot_list_add(&uring->changed, i);
	}
}

static void end_lingering(struct uring *uring, uint32_t i)
{
	uring->slot[i].state &= ~(uint32_t)SLOT_LINGER;
	slot_list_remove(&uring->lingering, i);
	slot_list_add(&uring->changed, i);
}

static void linger_on(struct uring *uring, uint32_t i)
{
	uring->slot[i].until_ns = clock_monotonic_ns() + TRANSPORT_LINGER_NS;
	slot_list_remove(&uring->lingering, i); /* its time is the latest now */
	slot_list_add(&uring->lingering, i);
}

static void end_late(struct uring *uring)
{
	if (uring->lingering.n_in == 0)
		return;
	uint64_t now_ns = clock_monotonic_ns();
	uint32_t i;
	while ((i = slot_list_first(&uring->lingering)) != SLOT_NONE && uring->slot[i].until_ns <= now_ns)
		end_lingering(uring, i);
}

/* Makes requests of all that has changed. What does not fit into the ring stays for the next
 * time. */
static void prepare_all(struct transport *transport)
{
	struct uring *uring = transport->own;
	uint32_t i;
	prepare_accepts(transport);
	end_late(uring);
	feed_starved(uring);
	while ((i = slot_list_first(&uring->changed)) != SLOT_NONE &&
	       io_uring_sq_space_left(&uring->ring.io) >= PREPARE_MAX) {
		slot_list_remove(&uring->changed, i);
		prepare(uring, i);
	}
}

/* Makes requests for a look at some of the polled connections, if it is time for one. They complete
 * as soon as the ring is entered. */
static void look(struct uring *uring)
{
	struct polling *polling = &uring->polling;
	for (unsigned n = 0; n < LOOK_MAX && !polling->enough && polling->slots.n_in > 0; n++) {
		if (io_uring_sq_space_left(&uring->ring.io) == 0)
			return;
		uint32_t i = slot_list_first(&polling->slots);
		slot_list_remove(&polling->slots, i);
		if ((uring->slot[i].state & (SLOT_RECEIVING | SLOT_ENDED)) == 0)
			request_bytes(uring, i, OP_POLL);
	}
}

/* ---- completions ---- */

static void end(struct transport *transport, uint32_t i, bool failed)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	bool told = (slot->state & (failed ? SLOT_FAILED : SLOT_ENDED)) != 0;
	slot->state |= SLOT_ENDED | (failed ? SLOT_FAILED : 0);
	if ((slot->state & SLOT_CLOSED) == 0) {
		if (!told)
			transport->events->ended(transport->user, i, failed);
	} else if (failed || (slot->state & (SLOT_TO_SEND | SLOT_SENDING)) == 0) {
		end_lingering(uring, i);
	}
}

static void opened(struct transport *transport, uint32_t k, int accepted)
{
	struct uring *uring = transport->own;
	uint32_t i = descriptors_take(&uring->descriptors, accepted);
	if (i == SLOT_NONE) {
		transport->counts.turned_away++;
		(void)close(accepted);
		return;
	}
	uring->n_open++;
	transport->counts.accepted++;
	uring->slot[i].state = 0;
	slot_list_add(&uring->changed, i);
	transport->events->opened(transport->user, i, k / URING_ACCEPTS, &uring->accept[k].peer);
}

static void handle_accept(struct transport *transport, uint32_t k, int result)
{
	struct uring *uring = transport->own;
	struct accept *accept = &uring->accept[k];
	accept->armed = false;
	uring->idle_accepts++;
	if (result >= 0) {
		opened(transport, k, result);
	} else if (result == -ENFILE && uring->n_open == transport->settings.max_connections &&
	           !transport->plain) {
		transport->counts.turned_away++; /* the kernel has closed it */
	} else if (result != -ECANCELED) {
		/* Not at once again: an error that stays would keep the loop busy for nothing. A
		 * connection that was given up before it was accepted is no such error. */
		if (result != -ECONNABORTED)
			uring->accept_at_ns = clock_monotonic_ns() + TRANSPORT_BACKOFF_NS;
		transport_failed(transport, -result);
	}
}

/* A look at the slot has ended. */
static void looked(struct transport *transport, uint32_t i, bool found)
{
	struct uring *uring = transport->own;
	polling_looked(&uring->polling, found);
	transport->counts.polls += found;
	transport->counts.empty_polls += !found;
	if (!found)
		uring->slot[i].state &= ~(uint32_t)SLOT_HOT;
}

static void handle_receive(struct transport *transport, uint32_t i, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
		uint32_t index = ring_taken(&uring->ring, cqe);
		if (cqe->res > 0 && (slot->state & (SLOT_CLOSED | SLOT_FAILED)) == 0) {
			uring->n_received++;
			slot->period = polling_received(&uring->polling, i, slot->period);
			slot->state |= SLOT_HOT;
			transport->counts.received_bytes += (uint32_t)cqe->res;
			transport_received(transport, i, ring_buffer(&uring->ring, index), (size_t)cqe->res,
			                   uring->ring.buffer_bytes);
		}
		ring_give(&uring->ring, index);
	}
	if ((cqe->flags & IORING_CQE_F_MORE) != 0)
		return;
	slot->state &= ~(uint32_t)(SLOT_RECEIVING | SLOT_STOPPING);
	slot_list_add(&uring->changed, i);
	if (op_of(cqe) == OP_POLL && (cqe->res > 0 || cqe->res == -EAGAIN))
		looked(transport, i, cqe->res > 0);
	if (cqe->res == -ENOBUFS) {
		transport->counts.enobufs++;
		slot_list_add(&uring->starved, i);
	} else if (cqe->res <= 0 && cqe->res != -ECANCELED && cqe->res != -EAGAIN) {
		end(transport, i, cqe->res < 0);
	}
}

/* So many bytes have left. */
static void sent(struct transport *transport, uint32_t i, uint32_t result)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	transport->counts.sent_bytes += result;
	slot->data += result;
	slot->bytes -= result;
	if (slot->bytes > 0)
		slot->state |= SLOT_TO_SEND;
	if ((slot->state & SLOT_LINGER) != 0) {
		if (slot->bytes == 0 && (slot->state & SLOT_ENDED) != 0)
			end_lingering(uring, i);
		else
			linger_on(uring, i);
	} else if (slot->bytes == 0 && (slot->state & (SLOT_CLOSED | SLOT_FAILED)) == 0) {
		transport->events->sent(transport->user, i);
	}
}

static void handle_send(struct transport *transport, uint32_t i, int result)
{
	struct uring *uring = transport->own;
	uring->slot[i].state &= ~(uint32_t)(SLOT_SENDING | SLOT_GIVING_UP);
	slot_list_add(&uring->changed, i);
	if (result <= 0)
		end(transport, i, true);
	else
		sent(transport, i, (uint32_t)result);
}

/* Not all could leave at once. */
static void handle_try(struct transport *transport, uint32_t i, int result)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	slot->state |= SLOT_FULL;
	if (result != -EAGAIN) {
		handle_send(transport, i, result);
		return;
	}
	slot->state = (slot->state & ~(uint32_t)(SLOT_SENDING | SLOT_GIVING_UP)) | SLOT_TO_SEND;
	slot_list_add(&uring->changed, i);
}

static void tried(struct transport *transport, uint32_t i)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	slot->state &= ~(uint32_t)(SLOT_SENDING | SLOT_GIVING_UP | SLOT_TRYING);
	if ((slot->state & SLOT_CLOSED) != 0)
		slot_list_add(&uring->changed, i);
	sent(transport, i, (uint32_t)slot->bytes);
}

/* Once the ring was entered, what was tried has left, or a completion says that it has not. That is
 * told before the client's next bytes are. Returns how many have left. */
static uint32_t tell_sent(struct transport *transport)
{
	struct uring *uring = transport->own;
	const struct io_uring_cqe *cqe;
	unsigned head;
	uint32_t n = uring->n_trying, n_sent = 0;
	if (n == 0 || io_uring_sq_ready(&uring->ring.io) > 0 || ring_has_overflown(&uring->ring))
		return 0;
	io_uring_for_each_cqe(&uring->ring.io, head, cqe)
	{
		if (op_of(cqe) == OP_TRY)
			uring->slot[(uint32_t)cqe->user_data].state &= ~(uint32_t)SLOT_TRYING;
	}
	uring->n_trying = 0;
	for (uint32_t k = 0; k < n; k++)
		if ((uring->slot[uring->trying[k]].state & SLOT_TRYING) != 0) {
			tried(transport, uring->trying[k]);
			n_sent++;
		}
	return n_sent;
}

/* Without a descriptor the peer does not learn that we are done, but what was sent reaches it all
 * the same. */
static void handle_install(struct uring *uring, uint32_t i, int result)
{
	uring->slot[i].state &= ~(uint32_t)SLOT_SHUTTING;
	slot_list_add(&uring->changed, i);
	if (result < 0)
		return;
	(void)shutdown(result, SHUT_WR);
	(void)close(result);
}

static void handle_close(struct transport *transport, uint32_t i, int result)
{
	struct uring *uring = transport->own;
	if (result < 0)
		abort(); /* the slot was open, and nothing else closes it */
	slot_list_remove(&uring->changed, i);
	slot_list_remove(&uring->starved, i);
	slot_list_remove(&uring->lingering, i);
	slot_list_remove(&uring->polling.slots, i);
	uring->slot[i] = (struct slot){.life = (uring->slot[i].life + 1) & LIFE_MASK};
	descriptors_give(&uring->descriptors, i);
	uring->n_open--;
	transport->events->closed(transport->user, i);
}

/* A cancel that found nothing. Its request has just ended by itself, and that was seen before; if
 * not, the cancel is tried again. */
static void handle_missed(struct uring *uring, uint32_t i)
{
	uring->slot[i].state &= ~(uint32_t)(SLOT_STOPPING | SLOT_GIVING_UP);
	slot_list_add(&uring->changed, i);
}

static void handle(struct transport *transport, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	enum op op = op_of(cqe);
	uint32_t i = (uint32_t)cqe->user_data;
	if (op == OP_UNHEARD)
		return;
	if (is_counted(cqe) && (cqe->flags & IORING_CQE_F_MORE) == 0)
		uring->requests--;
	if (op == OP_ACCEPT) {
		handle_accept(transport, i, cqe->res);
	} else if ((cqe->user_data >> 32 & LIFE_MASK) != uring->slot[i].life) {
		if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
			ring_give(&uring->ring, ring_taken(&uring->ring, cqe));
	} else if (op == OP_RECEIVE || op == OP_POLL) {
		handle_receive(transport, i, cqe);
	} else if (op == OP_TRY) {
		handle_try(transport, i, cqe->res);
	} else if (op == OP_SEND) {
		handle_send(transport, i, cqe->res);
	} else if (op == OP_INSTALL) {
		handle_install(uring, i, cqe->res);
	} else if (op == OP_CLOSE) {
		handle_close(transport, i, cqe->res);
	} else {
		handle_missed(uring, i);
	}
}

static unsigned handle_completions(struct transport *transport)
{
	struct uring *uring = transport->own;
	const struct io_uring_cqe *cqe;
	unsigned head, n = 0, n_sent = tell_sent(transport);
	io_uring_for_each_cqe(&uring->ring.io, head, cqe)
	{
		if (n == EVENTS_MAX)
			break;
		n++;
		handle(transport, cqe);
	}
	io_uring_cq_advance(&uring->ring.io, n);
	ring_announce(&uring->ring);
	return n + n_sent;
}

/* ---- the contract ---- */

static void check_entered(struct transport *transport, int result)
{
	if (result != 0) /* what is prepared stays so until the next time */
		transport_failed(transport, -result);
}

static bool poll_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	prepare_all(transport);
	look(uring);
	if (io_uring_sq_ready(&uring->ring.io) > 0 ||
	    (io_uring_cq_ready(&uring->ring.io) == 0 && ring_has_work(&uring->ring)))
		check_entered(transport, ring_enter(&uring->ring));
	bool any = handle_completions(transport) > 0;
	polling_end_look(&uring->polling);
	transport->calm = !uring->polling.on && !polling_is_load(&uring->polling) &&
	                  io_uring_cq_ready(&uring->ring.io) == 0;
	return any;
}

static void flush_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	prepare_all(transport);
	if (io_uring_sq_ready(&uring->ring.io) == 0)
		return;
	int result = io_uring_submit(&uring->ring.io);
	if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
		transport_failed(transport, -result);
}

/* Until the next thing that no completion tells. */
static uint64_t sleep_ns(const struct uring *uring, uint64_t timeout_ns)
{
	uint32_t first = slot_list_first(&uring->lingering);
	uint64_t until_ns = first == SLOT_NONE ? UINT64_MAX : uring->slot[first].until_ns;
	if (uring->accept_at_ns != 0 && uring->accept_at_ns < until_ns)
		until_ns = uring->accept_at_ns;
	if (until_ns == UINT64_MAX)
		return timeout_ns;
	uint64_t now_ns = clock_monotonic_ns();
	if (until_ns <= now_ns)
		return 0;
	return until_ns - now_ns < timeout_ns ? until_ns - now_ns : timeout_ns;
}

/* Nothing but the clock ends a nap. Where all are armed the wait goes on after it while nothing has
 * come; what is polled brings nothing by itself. What is prepared leaves with the same system call,
 * unless something follows from it. */
static void sleep_until_woken(struct transport *transport, uint64_t nap_ns, uint64_t timeout_ns, bool late)
{
	struct uring *uring = transport->own;
	bool polled = uring->polling.slots.n_in > 0, prepared = io_uring_sq_ready(&uring->ring.io) > 0;
	int result;
	if (prepared && (nap_ns != 0 || (uring->n_trying > 0 && !late)))
		result = ring_enter(&uring->ring);
	else if (prepared)
		result = ring_enter_and_wait(&uring->ring, timeout_ns);
	else if (nap_ns == 0 || nap_ns >= timeout_ns)
		result = ring_wait(&uring->ring, 1, 0, timeout_ns);
	else if (polled)
		result = ring_wait(&uring->ring, NEVER, 0, nap_ns);
	else
		result = ring_wait(&uring->ring, NEVER, nap_ns, timeout_ns);
	check_entered(transport, result);
	polling_woken(&uring->polling, polled ? nap_ns : 0, transport->settings.batch_wait_ns);
}

static bool has_come(void *own)
{
	const struct uring *uring = own;
	return ring_has_work(&uring->ring) || io_uring_cq_ready(&uring->ring.io) > 0;
}

/* Lets go what is prepared. True when something is there, at once or within a spin. */
static bool spin_finds(struct transport *transport)
{
	struct uring *uring = transport->own;
	if (io_uring_sq_ready(&uring->ring.io) > 0)
		check_entered(transport, ring_enter(&uring->ring));
	return has_come(uring) || spin_until(&uring->spin, has_come, uring);
}

/* All that are polled are armed instead. */
static void arm_all(struct uring *uring)
{
	uint32_t i;
	while ((i = slot_list_first(&uring->polling.slots)) != SLOT_NONE) {
		slot_list_remove(&uring->polling.slots, i);
		uring->slot[i].state &= ~(uint32_t)SLOT_HOT;
		slot_list_add(&uring->changed, i);
	}
}

static void wait_uring(struct transport *transport, uint64_t timeout_ns, bool late)
{
	struct uring *uring = transport->own;
	bool arm;
	uint64_t nap_ns =
	        polling_pace(&uring->polling, uring->n_received, transport->settings.batch_wait_ns, &arm);
	uring->n_received = 0;
	if (arm)
		arm_all(uring);
	prepare_all(transport);
	/* A connection that has just joined the polled ones (resumed, say) cannot wake the process:
	 * without a nap there is no sleep. */
	bool unseen = nap_ns == 0 && uring->polling.slots.n_in > 0;
	bool more = unseen || io_uring_cq_ready(&uring->ring.io) > 0 || uring->changed.n_in > 0 ||
	            uring->starved.n_in > 0;
	timeout_ns = more ? 0 : sleep_ns(uring, timeout_ns);
	/* Not where answers may be followed by something at once, nor under load: it naps. */
	if (late && timeout_ns > 0 && spin_begins(&uring->spin) && spin_finds(transport)) {
		polling_woken(&uring->polling, 0, 0);
		return;
	}
	transport->counts.waits += timeout_ns > 0;
	if (timeout_ns == 0)
		check_entered(transport, ring_enter(&uring->ring));
	else
		sleep_until_woken(transport, nap_ns, timeout_ns, late);
}

static void send_uring(struct transport *transport, uint32_t i, const char *data, size_t bytes)
{
	struct uring *uring = transport->own;
	uring->slot[i].data = data;
	uring->slot[i].bytes = bytes;
	uring->slot[i].state = (uring->slot[i].state & ~(uint32_t)SLOT_FULL) | SLOT_TO_SEND;
	slot_list_add(&uring->changed, i);
}

static void pause_uring(struct transport *transport, uint32_t i)
{
	struct uring *uring = transport->own;
	uring->slot[i].state |= SLOT_PAUSED;
	slot_list_add(&uring->changed, i);
}

static void resume_uring(struct transport *transport, uint32_t i)
{
	struct uring *uring = transport->own;
	uring->slot[i].state &= ~(uint32_t)SLOT_PAUSED;
	slot_list_add(&uring->changed, i);
}

static void close_uring(struct transport *transport, uint32_t i, bool linger)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	bool first = (slot->state & SLOT_CLOSED) == 0;
	slot->state |= SLOT_CLOSED;
	if (first && linger &&
	    ((slot->state & SLOT_ENDED) == 0 || (slot->state & (SLOT_TO_SEND | SLOT_SENDING)) != 0)) {
		slot->state |= SLOT_LINGER;
		linger_on(uring, i);
	} else if (!linger) {
		end_lingering(uring, i);
	}
	slot_list_add(&uring->changed, i);
}

static void refuse_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	uring->refusing = true;
}

/* A completion that nobody else sees. */
static void handle_stopped(struct uring *uring, const struct io_uring_cqe *cqe)
{
	if (is_counted(cqe) && (cqe->flags & IORING_CQE_F_MORE) == 0)
		uring->requests--;
	bool ordinary = op_of(cqe) == OP_INSTALL ||
	                (op_of(cqe) == OP_ACCEPT && descriptors_are_plain(&uring->descriptors));
	if (ordinary && cqe->res >= 0)
		(void)close(cqe->res);
}

/* Cancels all requests and waits until they have ended, because they use the caller's memory.
 * Bounded: the end of the ring ends the rest. */
static void stop(struct uring *uring)
{
	struct io_uring *io = &uring->ring.io;
	(void)io_uring_submit(io); /* makes room */
	struct io_uring_sqe *sqe = io_uring_get_sqe(io);
	if (sqe == NULL)
		return;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, OP_UNHEARD);
	for (unsigned n = 0; n < STOP_TRIES && uring->requests > 0; n++) {
		(void)ring_enter_and_wait(&uring->ring, STOP_TRY_NS);
		const struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		io_uring_for_each_cqe(io, head, cqe)
		{
			seen++;
			handle_stopped(uring, cqe);
		}
		io_uring_cq_advance(io, seen);
	}
}

/* Direct ones go with the ring. One whose request to close has been made is closed by it. */
static void close_plain(struct uring *uring)
{
	for (uint32_t i = 0; i < uring->descriptors.n_used; i++)
		if (descriptor(uring, i) >= 0 && (uring->slot[i].state & SLOT_CLOSING) == 0)
			(void)close(descriptor(uring, i));
}

static void free_all(struct uring *uring)
{
	ring_close(&uring->ring);
	close_plain(uring);
	descriptors_fini(&uring->descriptors);
	slot_list_fini(&uring->changed);
	slot_list_fini(&uring->starved);
	slot_list_fini(&uring->lingering);
	slot_list_fini(&uring->polling.slots);
	free(uring->accept);
	free(uring->slot);
	free(uring);
}

static void shut_uring(struct transport *transport)
{
	stop(transport->own);
	free_all(transport->own);
}

static struct uring *take_memory(const struct transport *transport)
{
	uint32_t n = transport->settings.max_connections;
	struct uring *uring = calloc(1, sizeof *uring);
	if (uring == NULL)
		return NULL;
	uring->ring.io.ring_fd = -1;
	uring->n_accepts = uring->idle_accepts = transport->n_sockets * URING_ACCEPTS;
	uring->accept = calloc(uring->n_accepts, sizeof *uring->accept);
	uring->slot = calloc(n, sizeof *uring->slot);
	if (uring->accept == NULL || uring->slot == NULL || !slot_list_init(&uring->changed, n) ||
	    !slot_list_init(&uring->starved, n) || !slot_list_init(&uring->lingering, n) ||
	    !slot_list_init(&uring->polling.slots, n)) {
		free_all(uring);
		return NULL;
	}
	return uring;
}

static int take_descriptors(struct transport *transport, struct uring *uring, struct shm_error *error)
{
	int result = transport_raise_limit(transport, OTHER_FILES_PLAIN + uring->n_accepts, error);
	if (result != 0)
		return result;
	if (descriptors_init(&uring->descriptors, transport->settings.max_connections))
		return 0;
	shm_explain(error, "io_uring: no memory for %u descriptors", transport->settings.max_connections);
	return -ENOMEM;
}

static int open_uring(struct transport *transport, struct shm_error *error)
{
	int result = transport_raise_limit(transport, OTHER_FILES, error);
	if (result != 0)
		return result;
	struct uring *uring = take_memory(transport);
	if (uring == NULL) {
		shm_explain(error, "io_uring: no memory for %u connections",
		            transport->settings.max_connections);
		return -ENOMEM;
	}
	const char *step;
	result = ring_open(&uring->ring, &transport->settings, &step);
	if (result != 0)
		shm_explain(error, "%s: %s", step, strerror(-result));
	else if (uring->ring.plain)
		result = take_descriptors(transport, uring, error);
	if (result != 0) {
		free_all(uring);
		return result;
	}
	transport->plain = uring->ring.plain;
	transport->own = uring;
	return 0;
}

const struct transport_ops transport_uring = {
        .name = "uring",
        .open = open_uring,
        .poll = poll_uring,
        .flush = flush_uring,
        .wait = wait_uring,
        .send = send_uring,
        .pause = pause_uring,
        .resume = resume_uring,
        .close = close_uring,
        .refuse = refuse_uring,
        .shut = shut_uring,
};
