#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/transport_uring.h"
#include "base/clock.h"

#define NEVER       RING_CQ_ENTRIES /* so many completions do not come */
#define EVENTS_MAX  1024u           /* completions handled in one turn */
#define OTHER_FILES 0u /* only the table of direct descriptors is held against the limit of open files */

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
		uring_end_lingering(uring, i);
	}
}

static void handle_accept(struct transport *transport, uint32_t k, int result)
{
	struct uring *uring = transport->own;
	struct accept *accept = &uring->accept[k];
	accept->armed = false;
	uring->idle_accepts++;
	if (result >= 0) {
		uint32_t i = (uint32_t)result;
		uring->n_open++;
		transport->counts.accepted++;
		uring->slot[i].state = 0;
		slot_list_add(&uring->changed, i);
		transport->events->opened(transport->user, i, k / URING_ACCEPTS, &accept->peer);
	} else if (result == -ENFILE && uring->n_open == transport->settings.max_connections) {
		transport->counts.turned_away++; /* the kernel has closed it */
	} else if (result != -ECANCELED) {
		/* Not at once again: an error that stays would keep the loop busy for nothing. A
		 * connection that was given up before it was accepted is no such error. */
		if (result != -ECONNABORTED)
			uring->accept_at_ns = clock_monotonic_ns() + TRANSPORT_BACKOFF_NS;
		transport_failed(transport, -result);
	}
}

static void handle_receive(struct transport *transport, uint32_t i, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
		uint32_t index = ring_taken(&uring->ring, cqe);
		if (cqe->res > 0 && (slot->state & (SLOT_CLOSED | SLOT_FAILED)) == 0) {
			uring->n_received++;
			slot->state |= SLOT_HOT;
			transport->counts.received_bytes += (uint32_t)cqe->res;
			transport->events->received(transport->user, i, ring_buffer(&uring->ring, index),
			                            (size_t)cqe->res);
		}
		ring_give(&uring->ring, index);
	}
	if ((cqe->flags & IORING_CQE_F_MORE) != 0)
		return;
	slot->state &= ~(uint32_t)(SLOT_RECEIVING | SLOT_STOPPING);
	slot_list_add(&uring->changed, i);
	if (uring_op(cqe) == OP_POLL && (cqe->res > 0 || cqe->res == -EAGAIN))
		uring_looked(transport, i, cqe->res > 0);
	if (cqe->res == -ENOBUFS) {
		transport->counts.enobufs++;
		slot_list_add(&uring->starved, i);
	} else if (cqe->res <= 0 && cqe->res != -ECANCELED && cqe->res != -EAGAIN) {
		end(transport, i, cqe->res < 0);
	}
}

static void handle_send(struct transport *transport, uint32_t i, int result)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->slot[i];
	slot->state &= ~(uint32_t)(SLOT_SENDING | SLOT_GIVING_UP);
	slot_list_add(&uring->changed, i);
	if (result <= 0) {
		end(transport, i, true);
		return;
	}
	transport->counts.sent_bytes += (uint32_t)result;
	slot->data += result;
	slot->bytes -= (size_t)result;
	if (slot->bytes > 0)
		slot->state |= SLOT_TO_SEND;
	if ((slot->state & SLOT_LINGER) != 0) {
		if (slot->bytes == 0 && (slot->state & SLOT_ENDED) != 0)
			uring_end_lingering(uring, i);
		else
			uring_linger(uring, i);
	} else if (slot->bytes == 0 && (slot->state & (SLOT_CLOSED | SLOT_FAILED)) == 0) {
		transport->events->sent(transport->user, i);
	}
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
	uring->slot[i] = (struct slot){.life = uring->slot[i].life + 1};
	uring->n_open--;
	transport->events->closed(transport->user, i);
}

/* A cancel that found nothing: what it looked for has just ended by itself, which has been seen
 * before this; if not, it is tried again. */
static void handle_missed(struct uring *uring, uint32_t i)
{
	uring->slot[i].state &= ~(uint32_t)(SLOT_STOPPING | SLOT_GIVING_UP);
	slot_list_add(&uring->changed, i);
}

static void handle(struct transport *transport, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	enum op op = uring_op(cqe);
	uint32_t i = (uint32_t)cqe->user_data;
	if (op == OP_UNHEARD)
		return;
	if (uring_counted(cqe) && (cqe->flags & IORING_CQE_F_MORE) == 0)
		uring->requests--;
	if (op == OP_ACCEPT) {
		handle_accept(transport, i, cqe->res);
	} else if ((cqe->user_data >> 32 & LIFE_MASK) != (uring->slot[i].life & LIFE_MASK)) {
		if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
			ring_give(&uring->ring, ring_taken(&uring->ring, cqe));
	} else if (op == OP_RECEIVE || op == OP_POLL) {
		handle_receive(transport, i, cqe);
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
	unsigned head, n = 0;
	io_uring_for_each_cqe(&uring->ring.io, head, cqe)
	{
		if (n == EVENTS_MAX)
			break;
		n++;
		handle(transport, cqe);
	}
	io_uring_cq_advance(&uring->ring.io, n);
	ring_announce(&uring->ring);
	return n;
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
	uring_prepare(transport);
	uring_look(uring);
	if (io_uring_sq_ready(&uring->ring.io) > 0 ||
	    (io_uring_cq_ready(&uring->ring.io) == 0 && ring_has_work(&uring->ring)))
		check_entered(transport, ring_enter(&uring->ring));
	bool any = handle_completions(transport) > 0;
	uring_end_look(uring);
	return any;
}

static void flush_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	uring_prepare(transport);
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
 * come; what is polled brings nothing by itself. */
static void sleep_until_woken(struct transport *transport, uint64_t nap_ns, uint64_t timeout_ns)
{
	struct uring *uring = transport->own;
	bool polled = uring->polling.slots.n_in > 0;
	int result;
	if (nap_ns == 0 || nap_ns >= timeout_ns)
		result = ring_wait(&uring->ring, 1, 0, timeout_ns);
	else if (polled)
		result = ring_wait(&uring->ring, NEVER, 0, nap_ns);
	else
		result = ring_wait(&uring->ring, NEVER, nap_ns, timeout_ns);
	check_entered(transport, result);
	uring_woken(transport, polled ? nap_ns : 0);
}

static void wait_uring(struct transport *transport, uint64_t timeout_ns)
{
	struct uring *uring = transport->own;
	uint64_t nap_ns = uring_pace(transport, uring->n_received);
	uring->n_received = 0;
	uring_prepare(transport);
	/* What has just come to be polled (it was resumed, say) wakes nobody: without a nap there
	 * is no sleep. */
	bool unseen = nap_ns == 0 && uring->polling.slots.n_in > 0;
	bool more = unseen || io_uring_cq_ready(&uring->ring.io) > 0 || uring->changed.n_in > 0 ||
	            uring->starved.n_in > 0;
	timeout_ns = more ? 0 : sleep_ns(uring, timeout_ns);
	transport->counts.waits += timeout_ns > 0;
	if (timeout_ns == 0)
		check_entered(transport, ring_enter(&uring->ring));
	else
		sleep_until_woken(transport, nap_ns, timeout_ns);
}

static void send_uring(struct transport *transport, uint32_t i, const char *data, size_t bytes)
{
	struct uring *uring = transport->own;
	uring->slot[i].data = data;
	uring->slot[i].bytes = bytes;
	uring->slot[i].state |= SLOT_TO_SEND;
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
		uring_linger(uring, i);
	} else if (!linger) {
		uring_end_lingering(uring, i);
	}
	slot_list_add(&uring->changed, i);
}

static void refuse_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	uring->refusing = true;
}

static void free_all(struct uring *uring)
{
	ring_close(&uring->ring);
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
	uring_stop(transport->own);
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
	if (result != 0) {
		shm_explain(error, "%s: %s", step, strerror(-result));
		free_all(uring);
		return result;
	}
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
