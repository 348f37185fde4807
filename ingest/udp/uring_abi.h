/* What the kernel's io_uring interface has and liburing 2.3 with the headers of 6.1 does not name.
 * Values from include/uapi/linux/io_uring.h of Linux 6.12.
 */
#ifndef INGEST_UDP_URING_ABI_H
#define INGEST_UDP_URING_ABI_H

#include <errno.h>
#include <liburing.h>

/* Since 6.12: io_uring_getevents_arg's last 32-bit field is the least time to wait, in
 * microseconds, for the number of completions asked for; after it one is enough. Older kernels
 * refuse a value other than 0. */
#define URING_FEAT_MIN_TIMEOUT (1u << 15)

/* io_uring_getevents_arg under its present field names. */
struct uring_getevents_arg {
	uint64_t sigmask;
	uint32_t sigmask_bytes;
	uint32_t min_wait_us;
	uint64_t timeout; /* address of a struct __kernel_timespec, or 0 */
};
_Static_assert(sizeof(struct uring_getevents_arg) == sizeof(struct io_uring_getevents_arg), "same size");

/* Library functions that the shared library of 2.3 does not export; these are the register calls
 * behind them. */
#define URING_REGISTER_RESTRICTIONS 11u
#define URING_REGISTER_ENABLE_RINGS 12u

/* Sends a request through the ring that finds nothing to do, the cancel of what nobody asked for,
 * and waits for its completion, a second at most. A ring that can be set up need not work: a
 * seccomp filter may deny io_uring_enter alone. sqe_flags: what the ring's restrictions require.
 * Before any other request. Returns 0 or -errno. */
static inline int uring_round_trip(struct io_uring *ring, unsigned sqe_flags)
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

#endif
