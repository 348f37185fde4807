#include "ingest/http/transport_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"

static int register_buffers(struct ring *ring, const struct transport_settings *settings)
{
	ring->n_buffers = settings->buffers;
	ring->buffer_bytes = settings->buffer_bytes;
	ring->buffers_bytes = ring->buffer_bytes * ring->n_buffers;
	void *memory = mmap(NULL, ring->buffers_bytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	ring->buffers = memory;
	int result = uring_buffers_register(&ring->descriptors, &ring->io, ring->n_buffers, RING_GROUP);
	for (uint32_t i = 0; result == 0 && i < ring->n_buffers; i++)
		ring_give(ring, i);
	if (result == 0)
		ring_announce(ring);
	return result;
}

/* The last one is left out where descriptors are plain: a kernel before 6.8 does not know it. */
static int restrict_ring(struct ring *ring)
{
	struct io_uring_restriction allowed[] = {
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ACCEPT},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECV},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_SEND},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
	        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	         .sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = URING_OP_FIXED_FD_INSTALL},
	};
	return uring_restrict(&ring->io, allowed, sizeof allowed / sizeof allowed[0] - ring->plain);
}

int ring_open(struct ring *ring, const struct transport_settings *settings, const char **step)
{
	*ring = (struct ring){.io.ring_fd = -1};
	*step = "io_uring_setup";
	int result = uring_create(&ring->io, RING_SQ_ENTRIES, RING_CQ_ENTRIES,
	                          IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
	                                  IORING_SETUP_TASKRUN_FLAG);
	if (result != 0)
		return result;
	/* What direct descriptors need (descriptors.h) is of 6.13 and has no flag of its own. */
	ring->plain =
	        settings->backend == TRANSPORT_URING_PLAIN || (ring->io.features & URING_FEAT_RW_ATTR) == 0;
	ring->min_wait = (ring->io.features & URING_FEAT_MIN_TIMEOUT) != 0;
	*step = "registering the receive buffers";
	result = register_buffers(ring, settings);
	if (result != 0)
		return result;
	*step = "registering a descriptor for each connection";
	if (!ring->plain)
		result = io_uring_register_files_sparse(&ring->io, settings->max_connections);
	if (result != 0)
		return result;
	*step = "restricting the ring";
	result = restrict_ring(ring);
	if (result != 0)
		return result;
	*step = "a round trip through the ring (io_uring_enter)";
	return uring_round_trip(&ring->io, 0);
}

void ring_close(struct ring *ring)
{
	if (ring->io.ring_fd >= 0)
		io_uring_queue_exit(&ring->io);
	if (ring->buffers != NULL)
		munmap(ring->buffers, ring->buffers_bytes);
	uring_buffers_free(&ring->descriptors);
}

/* EBADR: the kernel dropped a completion for want of memory. Then it is unknown what is under
 * way. */
static int entered(int result)
{
	if (result == -EBADR)
		abort();
	return result < 0 && result != -EINTR && result != -ETIME && result != -EAGAIN && result != -EBUSY
	               ? result
	               : 0;
}

int ring_enter(struct ring *ring)
{
	return entered(io_uring_submit_and_get_events(&ring->io));
}

int ring_enter_and_wait(struct ring *ring, uint64_t timeout_ns)
{
	struct __kernel_timespec timeout = {
	        .tv_sec = (long long)(timeout_ns / NS_PER_SEC),
	        .tv_nsec = (long long)(timeout_ns % NS_PER_SEC),
	};
	struct io_uring_cqe *first;
	return entered(io_uring_submit_and_wait_timeout(&ring->io, &first, 1, &timeout, NULL));
}

int ring_wait(struct ring *ring, unsigned n, uint64_t least_ns, uint64_t timeout_ns)
{
	if (least_ns == 0 || ring->min_wait)
		return entered(uring_wait(&ring->io, n, least_ns, timeout_ns));
	int result = entered(uring_wait(&ring->io, n, 0, least_ns));
	if (result != 0 || io_uring_cq_ready(&ring->io) > 0 || timeout_ns <= least_ns)
		return result;
	return entered(uring_wait(&ring->io, 1, 0, timeout_ns - least_ns));
}
