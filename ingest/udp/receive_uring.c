#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/udp/receive.h"
#include "ingest/uring.h"

_Static_assert(sizeof(struct io_uring_recvmsg_out) == 16, "the header is 16 bytes");
_Static_assert(offsetof(struct buffer, name_bytes) == offsetof(struct io_uring_recvmsg_out, namelen), "");
_Static_assert(offsetof(struct buffer, control_bytes) == offsetof(struct io_uring_recvmsg_out, controllen),
               "");
_Static_assert(offsetof(struct buffer, payload_bytes) == offsetof(struct io_uring_recvmsg_out, payloadlen),
               "");
_Static_assert(offsetof(struct buffer, flags) == offsetof(struct io_uring_recvmsg_out, flags), "");
_Static_assert(offsetof(struct buffer, name) == sizeof(struct io_uring_recvmsg_out), "");

#define URING_GROUP      0u
#define URING_WAIT_NR    16u /* completions that end a wait before batch_wait_ns has passed */
#define URING_SQ_ENTRIES 64u /* an arm and a cancel for each socket */

/* user_data: the socket's index; bit 32 marks the completion of a cancel. */
#define CANCEL_MARK (1ull << 32)

enum request { REQUEST_IDLE, REQUEST_ARMED, REQUEST_FAILED };

struct uring {
	struct io_uring ring;
	struct uring_buffers buffers; /* descriptors */
	unsigned lent;
	struct msghdr room; /* the lengths that the kernel keeps free for name and control */
	enum request request[BUFFERS_SOCKETS_MAX];
	bool min_wait; /* the kernel knows the least wait */
	bool stopped;
	unsigned cancels; /* not yet completed */
	/* Filled buffers that completed while opening or stopping, not yet taken. */
	uint16_t *ready;
	unsigned n_ready, next_ready;
};

static void lend(struct receive *receive, unsigned index, unsigned offset)
{
	struct uring *uring = receive->own;
	uring_buffers_add(&uring->buffers, &receive->buffers->buffer[index], sizeof(struct buffer), index,
	                  offset);
}

static void give_uring(struct receive *receive, const uint16_t *index, unsigned n)
{
	struct uring *uring = receive->own;
	for (unsigned i = 0; i < n; i++)
		lend(receive, index[i], i);
	io_uring_buf_ring_advance(uring->buffers.ring, (int)n);
	uring->lent += n;
}

/* ---- setting up ---- */

/* This ring can receive from the sockets that were handed down and do nothing else: every request
 * must name a registered file. */
static int restrict_and_enable(struct uring *uring)
{
	struct io_uring_restriction allowed[] = {
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECVMSG},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
	        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_BUFFER_SELECT},
	        {.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE},
	};
	return uring_restrict(&uring->ring, allowed, sizeof allowed / sizeof allowed[0]);
}

static int set_up_ring(struct receive *receive, const char **step)
{
	struct uring *uring = receive->own;
	/* Each buffer has at most one completion under way, each request at most two of its own: it
	 * never overflows. */
	unsigned cq_entries = receive->buffers->n_buffers + 4 * BUFFERS_SOCKETS_MAX;
	*step = "io_uring_setup";
	int result = uring_create(&uring->ring, URING_SQ_ENTRIES, cq_entries,
	                          IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (result == -EINVAL) /* before 6.1 */
		result = uring_create(&uring->ring, URING_SQ_ENTRIES, cq_entries, IORING_SETUP_COOP_TASKRUN);
	if (result != 0)
		return result;
	uring->min_wait = (uring->ring.features & URING_FEAT_MIN_TIMEOUT) != 0;
	*step = "registering the buffer ring";
	result = uring_buffers_register(&uring->buffers, &uring->ring, receive->buffers->n_buffers,
	                                URING_GROUP);
	if (result != 0)
		return result;
	*step = "registering the sockets";
	result = io_uring_register_files(&uring->ring, receive->socket, receive->n_sockets);
	if (result != 0)
		return result;
	*step = "restricting the ring";
	result = restrict_and_enable(uring);
	if (result != 0)
		return result;
	*step = "a round trip through the ring (io_uring_enter)";
	return uring_round_trip(&uring->ring, IOSQE_FIXED_FILE);
}

/* ---- requests ---- */

/* Arms what is not armed; never while no buffer is lent, for then the request would end at once. */
static void arm(struct receive *receive)
{
	struct uring *uring = receive->own;
	if (uring->stopped || uring->lent == 0)
		return;
	for (unsigned i = 0; i < receive->n_sockets; i++) {
		struct io_uring_sqe *sqe;
		if (uring->request[i] != REQUEST_IDLE || (sqe = io_uring_get_sqe(&uring->ring)) == NULL)
			continue;
		io_uring_prep_recvmsg_multishot(sqe, (int)i, &uring->room, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE;
		sqe->buf_group = URING_GROUP;
		io_uring_sqe_set_data64(sqe, i);
		uring->request[i] = REQUEST_ARMED;
		receive->counts.rearms++;
	}
	if (io_uring_sq_ready(&uring->ring) == 0)
		return;
	int submitted = io_uring_submit(&uring->ring);
	if (submitted < 0 && submitted != -EINTR) /* they stay in the queue until the next wait */
		receive_failed(receive, -submitted);
}

static void handle_end(struct receive *receive, unsigned socket, int result)
{
	struct uring *uring = receive->own;
	uring->request[socket] = REQUEST_IDLE;
	if (result >= 0 || result == -ECANCELED) /* an empty datagram ends a request too */
		return;
	if (result == -ENOBUFS) {
		receive->counts.enobufs++;
		return;
	}
	/* Not at once again: an error that stays would keep the loop busy for nothing. */
	uring->request[socket] = REQUEST_FAILED;
	receive_failed(receive, -result);
}

/* Deals with the completions that are there. Returns the number of filled buffers put into index,
 * at most max. */
static unsigned handle_completions(struct receive *receive, uint16_t *index, unsigned max)
{
	struct uring *uring = receive->own;
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, n = 0;
	io_uring_for_each_cqe(&uring->ring, head, cqe)
	{
		if (n == max)
			break;
		seen++;
		if ((cqe->user_data & CANCEL_MARK) != 0) {
			uring->cancels--;
			continue;
		}
		if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
			uint16_t i = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
			uring->lent--;
			if (buffer_filled(&receive->buffers->buffer[i]))
				index[n++] = i;
			else /* a receive that failed after it had chosen its buffer */
				give_uring(receive, &i, 1);
		}
		if ((cqe->flags & IORING_CQE_F_MORE) == 0)
			handle_end(receive, (unsigned)cqe->user_data, cqe->res);
	}
	io_uring_cq_advance(&uring->ring, seen);
	return n;
}

static unsigned take_uring(struct receive *receive, uint16_t *index, unsigned max)
{
	struct uring *uring = receive->own;
	unsigned n = 0;
	while (n < max && uring->next_ready < uring->n_ready)
		index[n++] = uring->ready[uring->next_ready++];
	return n + handle_completions(receive, index + n, max - n);
}

/* A process that sleeps longer than collect_ns is not under load: the first datagram wakes it. */
static int wait_for_many(struct uring *uring, uint64_t collect_ns, uint64_t timeout_ns)
{
	uint64_t begin_ns = clock_monotonic_ns();
	if (!uring->min_wait) { /* the same in two steps */
		int result = uring_wait(&uring->ring, 1, 0, timeout_ns);
		uint64_t slept_ns = clock_monotonic_ns() - begin_ns;
		return result < 0 || slept_ns >= collect_ns
		               ? result
		               : uring_wait(&uring->ring, URING_WAIT_NR, 0, collect_ns - slept_ns);
	}
	int result = uring_wait(&uring->ring, URING_WAIT_NR, collect_ns, timeout_ns);
	/* A kernel that sleeps on although something is there (reported of 6.16: liburing issue
	 * 1477) is not asked again. */
	if (io_uring_cq_ready(&uring->ring) > 0 && clock_monotonic_ns() - begin_ns >= timeout_ns)
		uring->min_wait = false;
	return result;
}

static void wait_uring(struct receive *receive, uint64_t timeout_ns)
{
	struct uring *uring = receive->own;
	uint64_t collect_ns = receive->batch_wait_ns;
	arm(receive);
	receive->counts.waits++;
	int result;
	if (timeout_ns == 0)
		result = uring_wait(&uring->ring, 0, 0, 0);
	else if (collect_ns == 0 || collect_ns >= timeout_ns)
		result = uring_wait(&uring->ring, 1, 0, timeout_ns);
	else
		result = wait_for_many(uring, collect_ns, timeout_ns);
	if (result < 0 && result != -ETIME && result != -EINTR)
		receive_failed(receive, -result);
}

static void retry_uring(struct receive *receive)
{
	struct uring *uring = receive->own;
	for (unsigned i = 0; i < receive->n_sockets; i++)
		if (uring->request[i] == REQUEST_FAILED)
			uring->request[i] = REQUEST_IDLE;
}

/* ---- ending ---- */

static bool any_armed(const struct receive *receive)
{
	const struct uring *uring = receive->own;
	for (unsigned i = 0; i < receive->n_sockets; i++)
		if (uring->request[i] == REQUEST_ARMED)
			return true;
	return uring->cancels > 0;
}

static void cancel_all(struct receive *receive)
{
	struct uring *uring = receive->own;
	for (unsigned i = 0; i < receive->n_sockets; i++) {
		struct io_uring_sqe *sqe;
		if (uring->request[i] != REQUEST_ARMED || (sqe = io_uring_get_sqe(&uring->ring)) == NULL)
			continue;
		io_uring_prep_cancel64(sqe, i, 0);
		sqe->flags |= IOSQE_FIXED_FILE;
		io_uring_sqe_set_data64(sqe, CANCEL_MARK | i);
		uring->cancels++;
	}
	(void)io_uring_submit(&uring->ring);
}

/* The filled buffers that the requests still deliver while they end are kept in `ready`. Bounded: a
 * request that does not end within a second leaves its buffers to the next life. */
static void stop_uring(struct receive *receive)
{
	struct uring *uring = receive->own;
	if (uring->stopped)
		return;
	uring->stopped = true;
	cancel_all(receive);
	for (unsigned i = 0; i < 100 && any_armed(receive); i++) {
		(void)uring_wait(&uring->ring, 1, 0, 10 * NS_PER_MS);
		uring->n_ready += handle_completions(receive, uring->ready + uring->n_ready,
		                                     receive->buffers->n_buffers - uring->n_ready);
	}
}

static void close_uring(struct receive *receive)
{
	struct uring *uring = receive->own;
	if (uring == NULL)
		return;
	if (uring->ring.ring_fd >= 0) {
		stop_uring(receive);
		io_uring_queue_exit(&uring->ring);
	}
	uring_buffers_free(&uring->buffers);
	free(uring->ready);
	free(uring);
	receive->own = NULL;
}

/* ---- opening ---- */

/* A kernel before 6.0 refuses each of these requests at once. Then none is armed, so no buffer can
 * have been filled. */
static int arm_first(struct receive *receive)
{
	struct uring *uring = receive->own;
	arm(receive);
	receive->counts.rearms = 0;
	uring->n_ready = handle_completions(receive, uring->ready, receive->buffers->n_buffers);
	for (unsigned i = 0; i < receive->n_sockets; i++)
		if (uring->request[i] != REQUEST_FAILED)
			return 0;
	return receive->n_sockets == 0 ? 0 : -receive->failed_errno;
}

static int open_uring(struct receive *receive, struct shm_error *error)
{
	unsigned n_buffers = receive->buffers->n_buffers;
	struct uring *uring = calloc(1, sizeof *uring);
	uint16_t *ready = calloc(n_buffers, sizeof *ready);
	if (uring == NULL || ready == NULL) {
		free(uring);
		free(ready);
		shm_explain(error, "io_uring: no memory");
		return -ENOMEM;
	}
	uring->ready = ready;
	uring->ring.ring_fd = -1;
	uring->room.msg_namelen = BUFFER_NAME_BYTES;
	uring->room.msg_controllen = BUFFER_CONTROL_BYTES;
	receive->own = uring;
	const char *step;
	int result = set_up_ring(receive, &step);
	if (result == 0) {
		for (unsigned i = 0; i < n_buffers; i++)
			give_uring(receive, &(uint16_t){(uint16_t)i}, 1);
		step = "multishot receive";
		result = arm_first(receive);
	}
	if (result != 0) {
		shm_explain(error, "%s: %s", step, strerror(-result));
		close_uring(receive);
	}
	return result;
}

const struct receive_ops receive_uring = {
        .name = "uring",
        .open = open_uring,
        .take = take_uring,
        .give = give_uring,
        .wait = wait_uring,
        .retry = retry_uring,
        .stop = stop_uring,
        .close = close_uring,
};
