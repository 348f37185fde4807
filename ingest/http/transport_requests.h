/* What the io_uring back-end asks the kernel for, and what completions name.
 *
 *     requests_send, ... --> submission queue --(ring_enter)--> kernel --> completion: requests_op, requests_ended
 *       '-- SLOT_SENDING, ...: it is under way                             '-- its handler takes that back
 *
 *     user_data:  op (8 bits) | life of the slot (24) | which slot, or accept (32)
 *
 * A completion of an earlier life touches nothing, and a cancel meant for it finds nothing. When to
 * make which request, and what follows from its end, is transport_uring.c's to know. Whoever makes
 * one has seen that the submission queue has room.
 */
#ifndef INGEST_HTTP_TRANSPORT_REQUESTS_H
#define INGEST_HTTP_TRANSPORT_REQUESTS_H

#include <sys/socket.h>

#include "ingest/http/descriptors.h"
#include "ingest/http/transport_ring.h"

#define REQUESTS_OF_SLOT  4u         /* that one slot may need at once */
#define REQUESTS_SEND_MAX (1u << 30) /* bytes of one request */
#define REQUESTS_LIFE     0xffffffu

enum op { OP_UNHEARD, OP_ACCEPT, OP_RECEIVE, OP_POLL, OP_TRY, OP_SEND, OP_CANCEL, OP_CLOSE, OP_INSTALL };

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

/* A connection. All zero: of its first life. */
struct slot {
	const char *data; /* what is left to send */
	size_t bytes;
	uint64_t until_ns; /* it lingers at most */
	uint32_t life : 24;
	uint32_t period : 8; /* polling_received */
	uint32_t state;
};

/* The ring is opened, and slots and plain descriptors are given their memory, by the owner. */
struct requests {
	struct ring ring;
	struct descriptors descriptors;
	struct slot *slot;                /* by malloc */
	uint32_t trying[RING_SQ_ENTRIES]; /* slots whose bytes may have left: SLOT_TRYING */
	uint32_t n_trying;
	uint32_t under_way; /* without those that complete only when they fail */
};

/* ---- completions ---- */

static inline enum op requests_op(const struct io_uring_cqe *cqe)
{
	return (enum op)(cqe->user_data >> 56);
}

/* The slot, or the accept. */
static inline uint32_t requests_of(const struct io_uring_cqe *cqe)
{
	return (uint32_t)cqe->user_data;
}

/* Of one that is about a slot. */
static inline bool requests_of_this_life(const struct requests *requests, const struct io_uring_cqe *cqe)
{
	return (cqe->user_data >> 32 & REQUESTS_LIFE) == requests->slot[requests_of(cqe)].life;
}

/* Once for each completion: of requests that always complete, those under way are counted. */
static inline void requests_ended(struct requests *requests, const struct io_uring_cqe *cqe)
{
	enum op op = requests_op(cqe);
	if (op != OP_UNHEARD && op != OP_CANCEL && op != OP_TRY && (cqe->flags & IORING_CQE_F_MORE) == 0)
		requests->under_way--;
}

/* The slot is closed: a new life. */
static inline void requests_next_life(struct requests *requests, uint32_t i)
{
	requests->slot[i] = (struct slot){.life = (requests->slot[i].life + 1) & REQUESTS_LIFE};
	descriptors_give(&requests->descriptors, i);
}

/* ---- requests ---- */

static inline bool requests_have_room(const struct requests *requests, unsigned n)
{
	return io_uring_sq_space_left(&requests->ring.io) >= n;
}

static inline uint64_t requests_tag(enum op op, uint32_t life, uint32_t i)
{
	return (uint64_t)op << 56 | (uint64_t)life << 32 | i;
}

static inline struct io_uring_sqe *requests_new(struct requests *requests)
{
	requests->under_way++;
	return io_uring_get_sqe(&requests->ring.io);
}

/* Into any buffer that is free when they come. */
static inline void requests_bytes(struct requests *requests, uint32_t i, enum op op, int flags,
                                  uint16_t ioprio)
{
	struct io_uring_sqe *sqe = requests_new(requests);
	io_uring_prep_recv(sqe, descriptors_of(&requests->descriptors, i), NULL, 0, flags);
	sqe->ioprio |= ioprio;
	sqe->flags |= descriptors_flags(&requests->descriptors) | IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	io_uring_sqe_set_data64(sqe, requests_tag(op, requests->slot[i].life, i));
	requests->slot[i].state |= SLOT_RECEIVING;
}

/* Bytes that come: once, or until it is stopped or fails. */
static inline void requests_receive(struct requests *requests, uint32_t i, bool once)
{
	requests_bytes(requests, i, OP_RECEIVE, 0, once ? 0 : IORING_RECV_MULTISHOT);
}

/* Bytes that are there now. */
static inline void requests_poll(struct requests *requests, uint32_t i)
{
	requests_bytes(requests, i, OP_POLL, MSG_DONTWAIT, 0);
}

/* Without waiting for room: it completes only when not all bytes could leave. So an answer, which
 * almost always can, costs no completion, and none ends the wait that it is sent with. */
static inline void requests_try(struct requests *requests, uint32_t i)
{
	struct slot *slot = &requests->slot[i];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&requests->ring.io);
	io_uring_prep_send(sqe, descriptors_of(&requests->descriptors, i), slot->data, slot->bytes,
	                   MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
	sqe->flags |= descriptors_flags(&requests->descriptors) | IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, requests_tag(OP_TRY, slot->life, i));
	slot->state |= SLOT_SENDING | SLOT_TRYING;
	requests->trying[requests->n_trying++] = i;
}

/* What is left to send, or a part of it: tried where that may do. */
static inline void requests_send(struct requests *requests, uint32_t i)
{
	struct slot *slot = &requests->slot[i];
	slot->state &= ~(uint32_t)SLOT_TO_SEND;
	if ((slot->state & (SLOT_FULL | SLOT_CLOSED)) == 0 && slot->bytes <= REQUESTS_SEND_MAX &&
	    requests->n_trying < RING_SQ_ENTRIES) {
		requests_try(requests, i);
		return;
	}
	struct io_uring_sqe *sqe = requests_new(requests);
	io_uring_prep_send(sqe, descriptors_of(&requests->descriptors, i), slot->data,
	                   slot->bytes < REQUESTS_SEND_MAX ? slot->bytes : REQUESTS_SEND_MAX, MSG_NOSIGNAL);
	sqe->flags |= descriptors_flags(&requests->descriptors);
	io_uring_sqe_set_data64(sqe, requests_tag(OP_SEND, slot->life, i));
	slot->state |= SLOT_SENDING;
}

/* Completes, with the tag `failed`, only when it finds nothing. */
static inline void requests_cancel(struct requests *requests, uint64_t what, uint64_t failed)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&requests->ring.io);
	io_uring_prep_cancel64(sqe, what, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, failed);
}

static inline void requests_cancel_of_slot(struct requests *requests, enum op op, uint32_t i)
{
	uint32_t life = requests->slot[i].life;
	requests_cancel(requests, requests_tag(op, life, i), requests_tag(OP_CANCEL, life, i));
}

static inline void requests_stop_receiving(struct requests *requests, uint32_t i)
{
	if ((requests->slot[i].state & (SLOT_RECEIVING | SLOT_STOPPING)) != SLOT_RECEIVING)
		return;
	requests_cancel_of_slot(requests, OP_RECEIVE, i);
	requests->slot[i].state |= SLOT_STOPPING;
}

static inline void requests_stop_sending(struct requests *requests, uint32_t i)
{
	if ((requests->slot[i].state & (SLOT_SENDING | SLOT_GIVING_UP)) != SLOT_SENDING)
		return;
	requests_cancel_of_slot(requests, OP_SEND, i);
	requests->slot[i].state |= SLOT_GIVING_UP;
}

/* Shuts our side; all that was sent is with the kernel. It wants an ordinary descriptor. io_uring
 * has a request of its own for it, which is no faster and goes to a kernel thread: this one is done
 * at once, in order. */
static inline void requests_shut(struct requests *requests, uint32_t i)
{
	if (descriptors_are_plain(&requests->descriptors)) {
		(void)shutdown(descriptors_of(&requests->descriptors, i), SHUT_WR);
		requests->slot[i].state |= SLOT_SHUT;
		return;
	}
	struct io_uring_sqe *sqe = requests_new(requests);
	io_uring_prep_rw(URING_OP_FIXED_FD_INSTALL, sqe, (int)i, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, requests_tag(OP_INSTALL, requests->slot[i].life, i));
	requests->slot[i].state |= SLOT_SHUT | SLOT_SHUTTING;
}

static inline void requests_close(struct requests *requests, uint32_t i)
{
	struct io_uring_sqe *sqe = requests_new(requests);
	if (descriptors_are_plain(&requests->descriptors))
		io_uring_prep_close(sqe, descriptors_of(&requests->descriptors, i));
	else
		io_uring_prep_close_direct(sqe, i);
	io_uring_sqe_set_data64(sqe, requests_tag(OP_CLOSE, requests->slot[i].life, i));
	requests->slot[i].state |= SLOT_CLOSING;
}

/* Accept number k, once, from a listening socket. *peer and *bytes stay until it has ended. */
static inline void requests_accept(struct requests *requests, uint32_t k, int socket,
                                   struct sockaddr_storage *peer, socklen_t *bytes)
{
	bool plain = descriptors_are_plain(&requests->descriptors);
	struct io_uring_sqe *sqe = requests_new(requests);
	peer->ss_family = AF_UNSPEC;
	*bytes = sizeof *peer;
	io_uring_prep_accept(sqe, socket, (void *)peer, bytes, plain ? SOCK_CLOEXEC : 0);
	/* Any free slot. (io_uring_prep_accept_direct of 2.3 makes an ordinary descriptor of
	 * this.) */
	if (!plain)
		sqe->file_index = IORING_FILE_INDEX_ALLOC;
	io_uring_sqe_set_data64(sqe, requests_tag(OP_ACCEPT, 0, k));
}

static inline void requests_cancel_accept(struct requests *requests, uint32_t k)
{
	requests_cancel(requests, requests_tag(OP_ACCEPT, 0, k), OP_UNHEARD);
}

/* Cancels all requests and waits until they have ended, because they use the caller's memory.
 * Bounded: the end of the ring ends the rest. */
void requests_stop(struct requests *requests);

/* Closes the ring and all that is open, and frees the slots. */
void requests_fini(struct requests *requests);

#endif
