#include "ingest/uring.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"

#define TRIES  10u
#define TRY_NS (20 * NS_PER_MS)

/* Register calls whose functions the shared library of liburing 2.3 does not export. */
#define REGISTER_RESTRICTIONS 11u
#define REGISTER_ENABLE_RINGS 12u

/* io_uring_getevents_arg under its present field names. */
struct getevents_arg {
	uint64_t sigmask;
	uint32_t sigmask_bytes;
	uint32_t min_wait_us;
	uint64_t timeout; /* address of a struct __kernel_timespec, or 0 */
};
_Static_assert(sizeof(struct getevents_arg) == sizeof(struct io_uring_getevents_arg), "same size");

static bool try_again(int result, unsigned *tries)
{
	if (result != -ENOMEM || ++*tries == TRIES)
		return false;
	nanosleep(&(struct timespec){.tv_nsec = TRY_NS}, NULL);
	return true;
}

int uring_create(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries, unsigned flags)
{
	unsigned tries = 0;
	int result;
	struct io_uring_params params;
	do {
		params = (struct io_uring_params){
		        .flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
		                 IORING_SETUP_R_DISABLED,
		        .cq_entries = cq_entries,
		};
		result = io_uring_queue_init_params(sq_entries, ring, &params);
	} while (try_again(result, &tries));
	if (result != 0)
		ring->ring_fd = -1;
	return result;
}

int uring_buffers_register(struct uring_buffers *buffers, struct io_uring *ring, unsigned n_buffers,
                           unsigned group)
{
	for (buffers->entries = 1; buffers->entries < n_buffers;)
		buffers->entries *= 2;
	buffers->bytes = buffers->entries * sizeof(struct io_uring_buf);
	void *memory = mmap(NULL, buffers->bytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	buffers->ring = memory == MAP_FAILED ? NULL : memory;
	if (buffers->ring == NULL)
		return -errno;
	io_uring_buf_ring_init(buffers->ring);
	struct io_uring_buf_reg about = {
	        .ring_addr = (uint64_t)(uintptr_t)memory,
	        .ring_entries = buffers->entries,
	        .bgid = (uint16_t)group,
	};
	unsigned tries = 0;
	int result;
	do
		result = io_uring_register_buf_ring(ring, &about, 0);
	while (try_again(result, &tries));
	return result;
}

void uring_buffers_free(struct uring_buffers *buffers)
{
	if (buffers->ring != NULL)
		munmap(buffers->ring, buffers->bytes);
	buffers->ring = NULL;
}

int uring_restrict(struct io_uring *ring, struct io_uring_restriction *allowed, unsigned n_allowed)
{
	unsigned fd = (unsigned)ring->ring_fd;
	int result = io_uring_register(fd, REGISTER_RESTRICTIONS, allowed, n_allowed);
	if (result == 0)
		result = io_uring_register(fd, REGISTER_ENABLE_RINGS, NULL, 0);
	return result;
}

int uring_round_trip(struct io_uring *ring, unsigned sqe_flags)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	if (sqe == NULL)
		return -EBUSY;
	io_uring_prep_cancel64(sqe, UINT64_MAX, 0);
	sqe->flags |= (unsigned char)sqe_flags;
	int result = io_uring_submit(ring);
	if (result < 0)
		return result;
	do
		result = io_uring_wait_cqe_timeout(ring, &cqe, &second);
	while (result == -EINTR);
	if (result != 0)
		return result;
	result = cqe->res == -ENOENT ? 0 : cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

int uring_wait(struct io_uring *ring, unsigned n, uint64_t least_ns, uint64_t timeout_ns)
{
	struct __kernel_timespec timeout = {
	        .tv_sec = (long long)(timeout_ns / NS_PER_SEC),
	        .tv_nsec = (long long)(timeout_ns % NS_PER_SEC),
	};
	struct getevents_arg arg = {
	        .min_wait_us = (uint32_t)(least_ns / NS_PER_US),
	        .timeout = (uint64_t)(uintptr_t)&timeout,
	};
	return io_uring_enter2((unsigned)ring->ring_fd, 0, n, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
	                       (sigset_t *)&arg, sizeof arg);
}
