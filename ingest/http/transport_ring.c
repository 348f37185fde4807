#include "ingest/http/transport_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"

#define RING_TRIES  10u
#define RING_TRY_NS (20 * NS_PER_MS)

/* Charges for locked memory of a process that has just died are released a little later: ENOMEM may
 * pass. */
static bool try_again(int result, unsigned *tries)
{
	if (result != -ENOMEM || ++*tries == RING_TRIES)
		return false;
	nanosleep(&(struct timespec){.tv_nsec = RING_TRY_NS}, NULL);
	return true;
}

static int create(struct ring *ring)
{
	unsigned tries = 0;
	int result;
	struct io_uring_params params;
	do {
		params = (struct io_uring_params){
		        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
		                 IORING_SETUP_R_DISABLED,
		        .cq_entries = RING_CQ_ENTRIES,
		};
		result = io_uring_queue_init_params(RING_SQ_ENTRIES, &ring->io, &params);
	} while (try_again(result, &tries));
	if (result != 0)
		ring->io.ring_fd = -1;
	return result;
}

static void *map(size_t bytes)
{
	void *memory =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int register_buffers(struct ring *ring, const struct transport_settings *settings)
{
	ring->n_buffers = settings->buffers;
	ring->buffer_bytes = settings->buffer_bytes;
	ring->buffers_bytes = ring->buffer_bytes * ring->n_buffers;
	ring->descriptors_bytes = ring->n_buffers * sizeof(struct io_uring_buf);
	ring->buffers = map(ring->buffers_bytes);
	ring->descriptors = map(ring->descriptors_bytes);
	if (ring->buffers == NULL || ring->descriptors == NULL)
		return -ENOMEM;
	io_uring_buf_ring_init(ring->descriptors);
	struct io_uring_buf_reg about = {
	        .ring_addr = (uint64_t)(uintptr_t)ring->descriptors,
	        .ring_entries = ring->n_buffers,
	        .bgid = RING_GROUP,
	};
	unsigned tries = 0;
	int result;
	do
		result = io_uring_register_buf_ring(&ring->io, &about, 0);
	while (try_again(result, &tries));
	for (uint32_t i = 0; result == 0 && i < ring->n_buffers; i++)
		ring_give(ring, i);
	ring_announce(ring);
	return result;
}

static int restrict_and_enable(const struct ring *ring)
{
	struct io_uring_restriction allowed[] = {
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ACCEPT},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_RECV},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_SEND},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
	        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = URING_OP_FIXED_FD_INSTALL},
	        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
	         .sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS},
	};
	unsigned fd = (unsigned)ring->io.ring_fd;
	int result = io_uring_register(fd, URING_REGISTER_RESTRICTIONS, allowed,
	                               sizeof allowed / sizeof allowed[0]);
	if (result == 0)
		result = io_uring_register(fd, URING_REGISTER_ENABLE_RINGS, NULL, 0);
	return result;
}

int ring_open(struct ring *ring, const struct transport_settings *settings, const char **step)
{
	*ring = (struct ring){.io.ring_fd = -1};
	*step = "io_uring_setup";
	int result = create(ring);
	if (result != 0)
		return result;
	*step = "io_uring of a kernel before 6.14";
	if ((ring->io.features & URING_FEAT_RW_ATTR) == 0)
		return -EOPNOTSUPP;
	*step = "registering the receive buffers";
	result = register_buffers(ring, settings);
	if (result != 0)
		return result;
	*step = "registering a descriptor for each connection";
	result = io_uring_register_files_sparse(&ring->io, settings->max_connections);
	if (result != 0)
		return result;
	*step = "restricting the ring";
	result = restrict_and_enable(ring);
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
	if (ring->descriptors != NULL)
		munmap(ring->descriptors, ring->descriptors_bytes);
}

/* EBADR: a completion was dropped because the kernel had no memory even to remember it. Nobody
 * knows then what is under way. */
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

int ring_wait(struct ring *ring, unsigned n, uint64_t least_ns, uint64_t timeout_ns)
{
	struct __kernel_timespec timeout = {
	        .tv_sec = (long long)(timeout_ns / NS_PER_SEC),
	        .tv_nsec = (long long)(timeout_ns % NS_PER_SEC),
	};
	struct uring_getevents_arg arg = {
	        .min_wait_us = (uint32_t)(least_ns / NS_PER_US),
	        .timeout = (uint64_t)(uintptr_t)&timeout,
	};
	/* liburing 2.3 knows no least wait, so what is prepared goes first; as a rule there is
	 * nothing. */
	if (io_uring_sq_ready(&ring->io) > 0)
		return ring_enter(ring);
	return entered(io_uring_enter2((unsigned)ring->io.ring_fd, 0, n,
	                               IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, (sigset_t *)&arg,
	                               sizeof arg));
}
