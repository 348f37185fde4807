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
 * polling.h says how it waits under load, transport_requests.h what it asks the kernel for,
 * transport_ring.h how the ring is set up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/polling.h"
#include "ingest/http/slot_list.h"
#include "ingest/http/spin.h"
#include "ingest/http/transport_requests.h"
#include "base/clock.h"

#define NEVER      RING_CQ_ENTRIES /* so many completions do not come */
#define EVENTS_MAX 1024u           /* completions handled in one turn */
/* Only the table of direct descriptors is held against the limit of open files; plain ones share it
 * with what the process has open, and with connections that are accepted to be turned away. */
#define OTHER_FILES       0u
#define OTHER_FILES_PLAIN 64u /* and URING_ACCEPTS for each listening socket */
#define LOOK_MAX          16u /* connections; at most so many looks find nothing for each wait */

/* One-shot accepts for each listening socket. A multishot accept has one place for the peer's
 * address, which the next connection overwrites before the first is looked at; and a direct
 * descriptor cannot be asked for it later. So each request has a place of its own and is armed
 * again with the next submit. They wait exclusively: a connection wakes one of them. (Multishot
 * accept, then an ordinary descriptor for getpeername, was measured: the same connections per
 * second and CPU per connection, in two turns instead of one.) */
#define URING_ACCEPTS 32u

struct accept {
	struct sockaddr_storage peer;
	socklen_t peer_bytes;
	bool armed, cancelled;
};

struct uring {
	struct requests requests;
	/* starved: found no buffer, in the order in which they get one */
	struct slot_list changed, starved, lingering;
	struct accept *accept;            /* URING_ACCEPTS for each listening socket */
	uint32_t n_accepts, idle_accepts; /* idle: not armed */
	struct polling polling;
	struct spin spin;
	uint64_t accept_at_ns; /* not before; 0: at once */
	uint32_t n_open;
	uint32_t n_received; /* since the last wait */
	bool refusing;
};
_Static_assert(sizeof(struct slot) + 4 * sizeof(struct slot_link) <= 64, "memory of a connection");

/* ---- from what a slot should be to requests ---- */

static void prepare_end(struct uring *uring, uint32_t i)
{
	uring->requests.slot[i].state &= ~(uint32_t)SLOT_TO_SEND;
	slot_list_remove(&uring->polling.slots, i);
	requests_stop_sending(&uring->requests, i);
	requests_stop_receiving(&uring->requests, i);
	if ((uring->requests.slot[i].state & (SLOT_BUSY | SLOT_CLOSING)) == 0)
		requests_close(&uring->requests, i);
}

/* Bytes of a slot are wanted, or not. While others are polled a receive is for once: a connection
 * that has brought bytes is polled next. */
static void prepare_bytes(struct uring *uring, uint32_t i)
{
	uint32_t state = uring->requests.slot[i].state;
	bool wanted = (state & (SLOT_PAUSED | SLOT_LINGER)) != SLOT_PAUSED;
	bool polled = uring->polling.on && (state & (SLOT_HOT | SLOT_LINGER)) == SLOT_HOT;
	if (!wanted)
		slot_list_remove(&uring->polling.slots, i);
	if (!wanted || polled)
		requests_stop_receiving(&uring->requests, i);
	if (!wanted || (state & (SLOT_RECEIVING | SLOT_ENDED)) != 0 || slot_list_has(&uring->starved, i))
		return;
	if (polled)
		slot_list_add(&uring->polling.slots, i);
	else
		requests_receive(&uring->requests, i, uring->polling.on);
}

static void prepare(struct uring *uring, uint32_t i)
{
	const struct slot *slot = &uring->requests.slot[i];
	if ((slot->state & (SLOT_CLOSED | SLOT_LINGER)) == SLOT_CLOSED) {
		prepare_end(uring, i);
		return;
	}
	if ((slot->state & SLOT_TO_SEND) != 0)
		requests_send(&uring->requests, i);
	if ((slot->state & (SLOT_LINGER | SLOT_SENDING | SLOT_SHUT)) == SLOT_LINGER)
		requests_shut(&uring->requests, i);
	prepare_bytes(uring, i);
}

static void arm_accepts(struct transport *transport)
{
	struct uring *uring = transport->own;
	for (uint32_t k = 0; k < uring->n_accepts && uring->idle_accepts > 0; k++) {
		struct accept *accept = &uring->accept[k];
		if (accept->armed || !requests_have_room(&uring->requests, 1))
			continue;
		requests_accept(&uring->requests, k, transport->socket[k / URING_ACCEPTS], &accept->peer,
		                &accept->peer_bytes);
		accept->armed = true;
		uring->idle_accepts--;
	}
}

static void cancel_accepts(struct uring *uring)
{
	for (uint32_t k = 0; k < uring->n_accepts; k++) {
		struct accept *accept = &uring->accept[k];
		if (!accept->armed || accept->cancelled || !requests_have_room(&uring->requests, 1))
			continue;
		requests_cancel_accept(&uring->requests, k);
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
	for (uint32_t n = uring->requests.ring.lent; n > 0 && uring->starved.n_in > 0; n--) {
		uint32_t i = slot_list_first(&uring->starved);
		slot_list_remove(&uring->starved, i);
		slot_list_add(&uring->changed, i);
	}
}

static void end_lingering(struct uring *uring, uint32_t i)
{
	uring->requests.slot[i].state &= ~(uint32_t)SLOT_LINGER;
	slot_list_remove(&uring->lingering, i);
	slot_list_add(&uring->changed, i);
}

static void linger_on(struct uring *uring, uint32_t i)
{
	uring->requests.slot[i].until_ns = clock_monotonic_ns() + TRANSPORT_LINGER_NS;
	slot_list_remove(&uring->lingering, i); /* its time is the latest now */
	slot_list_add(&uring->lingering, i);
}

static void end_late(struct uring *uring)
{
	if (uring->lingering.n_in == 0)
		return;
	uint64_t now_ns = clock_monotonic_ns();
	uint32_t i;
	while ((i = slot_list_first(&uring->lingering)) != SLOT_NONE &&
	       uring->requests.slot[i].until_ns <= now_ns)
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
	       requests_have_room(&uring->requests, REQUESTS_OF_SLOT)) {
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
		if (!requests_have_room(&uring->requests, 1))
			return;
		uint32_t i = slot_list_first(&polling->slots);
		slot_list_remove(&polling->slots, i);
		if ((uring->requests.slot[i].state & (SLOT_RECEIVING | SLOT_ENDED)) == 0)
			requests_poll(&uring->requests, i);
	}
}

/* ---- completions ---- */

static void end(struct transport *transport, uint32_t i, bool failed)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->requests.slot[i];
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
	uint32_t i = descriptors_take(&uring->requests.descriptors, accepted);
	if (i == SLOT_NONE) {
		transport->counts.turned_away++;
		(void)close(accepted);
		return;
	}
	uring->n_open++;
	transport->counts.accepted++;
	uring->requests.slot[i].state = 0;
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
		uring->requests.slot[i].state &= ~(uint32_t)SLOT_HOT;
}

static void handle_receive(struct transport *transport, uint32_t i, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->requests.slot[i];
	if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
		uint32_t index = ring_taken(&uring->requests.ring, cqe);
		if (cqe->res > 0 && (slot->state & (SLOT_CLOSED | SLOT_FAILED)) == 0) {
			uring->n_received++;
			slot->period = polling_received(&uring->polling, i, slot->period);
			slot->state |= SLOT_HOT;
			transport->counts.received_bytes += (uint32_t)cqe->res;
			transport_received(transport, i, ring_buffer(&uring->requests.ring, index),
			                   (size_t)cqe->res, uring->requests.ring.buffer_bytes);
		}
		ring_give(&uring->requests.ring, index);
	}
	if ((cqe->flags & IORING_CQE_F_MORE) != 0)
		return;
	slot->state &= ~(uint32_t)(SLOT_RECEIVING | SLOT_STOPPING);
	slot_list_add(&uring->changed, i);
	if (requests_op(cqe) == OP_POLL && (cqe->res > 0 || cqe->res == -EAGAIN))
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
	struct slot *slot = &uring->requests.slot[i];
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
	uring->requests.slot[i].state &= ~(uint32_t)(SLOT_SENDING | SLOT_GIVING_UP);
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
	struct slot *slot = &uring->requests.slot[i];
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
	struct slot *slot = &uring->requests.slot[i];
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
	struct requests *requests = &uring->requests;
	const struct io_uring_cqe *cqe;
	unsigned head;
	uint32_t n = requests->n_trying, n_sent = 0;
	if (n == 0 || io_uring_sq_ready(&requests->ring.io) > 0 || ring_has_overflown(&requests->ring))
		return 0;
	io_uring_for_each_cqe(&requests->ring.io, head, cqe)
	{
		if (requests_op(cqe) == OP_TRY)
			requests->slot[requests_of(cqe)].state &= ~(uint32_t)SLOT_TRYING;
	}
	requests->n_trying = 0;
	for (uint32_t k = 0; k < n; k++)
		if ((requests->slot[requests->trying[k]].state & SLOT_TRYING) != 0) {
			tried(transport, requests->trying[k]);
			n_sent++;
		}
	return n_sent;
}

/* Without a descriptor the peer does not learn that we are done, but what was sent reaches it all
 * the same. */
static void handle_install(struct uring *uring, uint32_t i, int result)
{
	uring->requests.slot[i].state &= ~(uint32_t)SLOT_SHUTTING;
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
	requests_next_life(&uring->requests, i);
	uring->n_open--;
	transport->events->closed(transport->user, i);
}

/* A cancel that found nothing. Its request has just ended by itself, and that was seen before; if
 * not, the cancel is tried again. */
static void handle_missed(struct uring *uring, uint32_t i)
{
	uring->requests.slot[i].state &= ~(uint32_t)(SLOT_STOPPING | SLOT_GIVING_UP);
	slot_list_add(&uring->changed, i);
}

static void handle(struct transport *transport, const struct io_uring_cqe *cqe)
{
	struct uring *uring = transport->own;
	enum op op = requests_op(cqe);
	uint32_t i = requests_of(cqe);
	if (op == OP_UNHEARD)
		return;
	requests_ended(&uring->requests, cqe);
	if (op == OP_ACCEPT) {
		handle_accept(transport, i, cqe->res);
	} else if (!requests_of_this_life(&uring->requests, cqe)) {
		if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
			ring_give(&uring->requests.ring, ring_taken(&uring->requests.ring, cqe));
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
	struct ring *ring = &uring->requests.ring;
	const struct io_uring_cqe *cqe;
	unsigned head, n = 0, n_sent = tell_sent(transport);
	io_uring_for_each_cqe(&ring->io, head, cqe)
	{
		if (n == EVENTS_MAX)
			break;
		n++;
		handle(transport, cqe);
	}
	io_uring_cq_advance(&ring->io, n);
	ring_announce(ring);
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
	struct ring *ring = &uring->requests.ring;
	prepare_all(transport);
	look(uring);
	if (io_uring_sq_ready(&ring->io) > 0 || (io_uring_cq_ready(&ring->io) == 0 && ring_has_work(ring)))
		check_entered(transport, ring_enter(ring));
	bool any = handle_completions(transport) > 0;
	polling_end_look(&uring->polling);
	transport->calm =
	        !uring->polling.on && !polling_is_load(&uring->polling) && io_uring_cq_ready(&ring->io) == 0;
	return any;
}

static void flush_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	struct ring *ring = &uring->requests.ring;
	prepare_all(transport);
	if (io_uring_sq_ready(&ring->io) == 0)
		return;
	int result = io_uring_submit(&ring->io);
	if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
		transport_failed(transport, -result);
}

/* Until the next thing that no completion tells. */
static uint64_t sleep_ns(const struct uring *uring, uint64_t timeout_ns)
{
	uint32_t first = slot_list_first(&uring->lingering);
	uint64_t until_ns = first == SLOT_NONE ? UINT64_MAX : uring->requests.slot[first].until_ns;
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
	struct ring *ring = &uring->requests.ring;
	bool polled = uring->polling.slots.n_in > 0, prepared = io_uring_sq_ready(&ring->io) > 0;
	int result;
	if (prepared && (nap_ns != 0 || (uring->requests.n_trying > 0 && !late)))
		result = ring_enter(ring);
	else if (prepared)
		result = ring_enter_and_wait(ring, timeout_ns);
	else if (nap_ns == 0 || nap_ns >= timeout_ns)
		result = ring_wait(ring, 1, 0, timeout_ns);
	else if (polled)
		result = ring_wait(ring, NEVER, 0, nap_ns);
	else
		result = ring_wait(ring, NEVER, nap_ns, timeout_ns);
	check_entered(transport, result);
	polling_woken(&uring->polling, polled ? nap_ns : 0, transport->settings.batch_wait_ns);
}

static bool has_come(void *own)
{
	const struct uring *uring = own;
	return ring_has_work(&uring->requests.ring) || io_uring_cq_ready(&uring->requests.ring.io) > 0;
}

/* Lets go what is prepared. True when something is there, at once or within a spin. */
static bool spin_finds(struct transport *transport)
{
	struct uring *uring = transport->own;
	struct ring *ring = &uring->requests.ring;
	if (io_uring_sq_ready(&ring->io) > 0)
		check_entered(transport, ring_enter(ring));
	return has_come(uring) || spin_until(&uring->spin, has_come, uring);
}

/* All that are polled are armed instead. */
static void arm_all(struct uring *uring)
{
	uint32_t i;
	while ((i = slot_list_first(&uring->polling.slots)) != SLOT_NONE) {
		slot_list_remove(&uring->polling.slots, i);
		uring->requests.slot[i].state &= ~(uint32_t)SLOT_HOT;
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
	bool more = unseen || io_uring_cq_ready(&uring->requests.ring.io) > 0 || uring->changed.n_in > 0 ||
	            uring->starved.n_in > 0;
	timeout_ns = more ? 0 : sleep_ns(uring, timeout_ns);
	/* Not where answers may be followed by something at once, nor under load: it naps. */
	if (late && timeout_ns > 0 && spin_begins(&uring->spin) && spin_finds(transport)) {
		polling_woken(&uring->polling, 0, 0);
		return;
	}
	transport->counts.waits += timeout_ns > 0;
	if (timeout_ns == 0)
		check_entered(transport, ring_enter(&uring->requests.ring));
	else
		sleep_until_woken(transport, nap_ns, timeout_ns, late);
}

static void send_uring(struct transport *transport, uint32_t i, const char *data, size_t bytes)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->requests.slot[i];
	slot->data = data;
	slot->bytes = bytes;
	slot->state = (slot->state & ~(uint32_t)SLOT_FULL) | SLOT_TO_SEND;
	slot_list_add(&uring->changed, i);
}

static void pause_uring(struct transport *transport, uint32_t i)
{
	struct uring *uring = transport->own;
	uring->requests.slot[i].state |= SLOT_PAUSED;
	slot_list_add(&uring->changed, i);
}

static void resume_uring(struct transport *transport, uint32_t i)
{
	struct uring *uring = transport->own;
	uring->requests.slot[i].state &= ~(uint32_t)SLOT_PAUSED;
	slot_list_add(&uring->changed, i);
}

static void close_uring(struct transport *transport, uint32_t i, bool linger)
{
	struct uring *uring = transport->own;
	struct slot *slot = &uring->requests.slot[i];
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

static void free_all(struct uring *uring)
{
	requests_fini(&uring->requests);
	slot_list_fini(&uring->changed);
	slot_list_fini(&uring->starved);
	slot_list_fini(&uring->lingering);
	slot_list_fini(&uring->polling.slots);
	free(uring->accept);
	free(uring);
}

static void shut_uring(struct transport *transport)
{
	struct uring *uring = transport->own;
	requests_stop(&uring->requests);
	free_all(uring);
}

static struct uring *take_memory(const struct transport *transport)
{
	uint32_t n = transport->settings.max_connections;
	struct uring *uring = calloc(1, sizeof *uring);
	if (uring == NULL)
		return NULL;
	uring->requests.ring.io.ring_fd = -1;
	uring->n_accepts = uring->idle_accepts = transport->n_sockets * URING_ACCEPTS;
	uring->accept = calloc(uring->n_accepts, sizeof *uring->accept);
	uring->requests.slot = calloc(n, sizeof *uring->requests.slot);
	if (uring->accept == NULL || uring->requests.slot == NULL || !slot_list_init(&uring->changed, n) ||
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
	if (descriptors_init(&uring->requests.descriptors, transport->settings.max_connections))
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
	result = ring_open(&uring->requests.ring, &transport->settings, &step);
	if (result != 0)
		shm_explain(error, "%s: %s", step, strerror(-result));
	else if (uring->requests.ring.plain)
		result = take_descriptors(transport, uring, error);
	if (result != 0) {
		free_all(uring);
		return result;
	}
	transport->plain = uring->requests.ring.plain;
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
