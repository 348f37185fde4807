#include "ingest/http/transport_uring.h"
#include "base/clock.h"

#define PREPARE_MAX 4u /* requests that one slot may need at once */
#define STOP_TRIES  100u
#define STOP_TRY_NS (10 * NS_PER_MS)
#define SEND_MAX    (1u << 30) /* of one request */
#define LOOK_MAX    16u        /* connections; so many looks at most are in vain for each wait */

/* ---- requests ---- */

static struct io_uring_sqe *new_request(struct uring *uring)
{
	uring->requests++;
	return io_uring_get_sqe(&uring->ring.io);
}

/* Bytes into whatever buffer is free when they come: what is there now (OP_POLL), or what comes
 * (OP_RECEIVE). While others are polled that is for once: a connection that has brought bytes is
 * polled next. */
static void request_bytes(struct uring *uring, uint32_t i, enum op op)
{
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_recv(sqe, (int)i, NULL, 0, op == OP_POLL ? MSG_DONTWAIT : 0);
	if (op == OP_RECEIVE && !uring->polling.on)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	io_uring_sqe_set_data64(sqe, uring_tag(op, uring->slot[i].life, i));
	uring->slot[i].state |= SLOT_RECEIVING;
}

static void request_send(struct uring *uring, uint32_t i)
{
	struct slot *slot = &uring->slot[i];
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_send(sqe, (int)i, slot->data, slot->bytes < SEND_MAX ? slot->bytes : SEND_MAX,
	                   MSG_NOSIGNAL);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, uring_tag(OP_SEND, slot->life, i));
	slot->state = (slot->state & ~(uint32_t)SLOT_TO_SEND) | SLOT_SENDING;
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
	request_cancel(uring, uring_tag(op, life, i), uring_tag(OP_CANCEL, life, i));
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
 * faster and goes to a kernel thread: this one is done at once, in order. */
static void request_install(struct uring *uring, uint32_t i)
{
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_rw(URING_OP_FIXED_FD_INSTALL, sqe, (int)i, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, uring_tag(OP_INSTALL, uring->slot[i].life, i));
	uring->slot[i].state |= SLOT_SHUT | SLOT_SHUTTING;
}

static void request_close(struct uring *uring, uint32_t i)
{
	struct io_uring_sqe *sqe = new_request(uring);
	io_uring_prep_close_direct(sqe, i);
	io_uring_sqe_set_data64(sqe, uring_tag(OP_CLOSE, uring->slot[i].life, i));
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
		request_install(uring, i);
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
		                     &accept->peer_bytes, 0);
		/* Any free slot. (io_uring_prep_accept_direct of 2.3 makes an ordinary descriptor
		 * of this.) */
		sqe->file_index = IORING_FILE_INDEX_ALLOC;
		io_uring_sqe_set_data64(sqe, uring_tag(OP_ACCEPT, 0, k));
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
		request_cancel(uring, uring_tag(OP_ACCEPT, 0, k), OP_UNHEARD);
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
 * buffers are lent, and whoever waits longest comes first. */
static void feed_starved(struct uring *uring)
{
	for (uint32_t n = uring->ring.lent; n > 0 && uring->starved.n_in > 0; n--) {
		uint32_t i = slot_list_first(&uring->starved);
		slot_list_remove(&uring->starved, i);
		slot_list_add(&uring->changed, i);
	}
}

void uring_end_lingering(struct uring *uring, uint32_t i)
{
	uring->slot[i].state &= ~(uint32_t)SLOT_LINGER;
	slot_list_remove(&uring->lingering, i);
	slot_list_add(&uring->changed, i);
}

void uring_linger(struct uring *uring, uint32_t i)
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
		uring_end_lingering(uring, i);
}

void uring_prepare(struct transport *transport)
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

void uring_look(struct uring *uring)
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

/* ---- ending ---- */

void uring_stop(struct uring *uring)
{
	struct io_uring *io = &uring->ring.io;
	(void)io_uring_submit(io); /* makes room */
	struct io_uring_sqe *sqe = io_uring_get_sqe(io);
	if (sqe == NULL)
		return;
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, OP_UNHEARD);
	for (unsigned n = 0; n < STOP_TRIES && uring->requests > 0; n++) {
		(void)ring_wait(&uring->ring, 1, 0, STOP_TRY_NS);
		const struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		io_uring_for_each_cqe(io, head, cqe)
		{
			seen++;
			if (uring_counted(cqe) && (cqe->flags & IORING_CQE_F_MORE) == 0)
				uring->requests--;
		}
		io_uring_cq_advance(io, seen);
	}
}
