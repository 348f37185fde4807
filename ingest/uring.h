/* Setting up io_uring for a stage that receives: what ingest/udp and ingest/http have in common.
 *
 *     uring_create --> uring_buffers_register --> registered files --> uring_restrict --> uring_round_trip --> in use
 *
 * A ring starts disabled, is restricted to the operations that its stage needs, and is enabled
 * then. So an attacker who takes over the process cannot use the ring to open files.
 *
 * The header also names what the kernel has and liburing 2.3 with the headers of 6.1 does not.
 * Values come from include/uapi/linux/io_uring.h of Linux 6.12.
 */
#ifndef INGEST_URING_H
#define INGEST_URING_H

#include <liburing.h>

/* Since 6.12: io_uring_getevents_arg's last 32-bit field is the least time to wait, in
 * microseconds, for the number of completions asked for; after it one is enough. Older kernels
 * refuse a value other than 0. */
#define URING_FEAT_MIN_TIMEOUT (1u << 15)

/* Since 6.14. */
#define URING_FEAT_RW_ATTR (1u << 16)

/* Since 6.8: makes an ordinary descriptor of a direct one. */
#define URING_OP_FIXED_FD_INSTALL 54

/* Creates a disabled ring with `flags` besides those that every ring here has. Tries again while
 * the kernel is short of locked memory: what a process that just died had locked is released a
 * little later. Returns 0, then ring->features is set; or -errno, then ring->ring_fd is -1. */
int uring_create(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries, unsigned flags);

/* Descriptors of provided buffers. They lie in private memory: a process that can write them makes
 * the kernel write anywhere. */
struct uring_buffers {
	struct io_uring_buf_ring *ring;
	size_t bytes;
	unsigned entries; /* a power of two */
};

/* Maps descriptors for at least n_buffers buffers and registers them as group `group`. No buffer is
 * lent yet. Returns 0 or -errno; uring_buffers_free after either. */
int uring_buffers_register(struct uring_buffers *buffers, struct io_uring *ring, unsigned n_buffers,
                           unsigned group);

/* Unmaps the descriptors of a ring that is closed. Zeroed buffers are fine. */
void uring_buffers_free(struct uring_buffers *buffers);

/* Puts a buffer into the place `offset` after the last one that the kernel knows. It is lent when
 * io_uring_buf_ring_advance has passed it. */
static inline void uring_buffers_add(struct uring_buffers *buffers, void *buffer, size_t bytes,
                                     unsigned index, unsigned offset)
{
	io_uring_buf_ring_add(buffers->ring, buffer, (unsigned)bytes, (unsigned short)index,
	                      io_uring_buf_ring_mask(buffers->entries), (int)offset);
}

/* Restricts the ring to what `allowed` says and enables it. Returns 0 or -errno. */
int uring_restrict(struct io_uring *ring, struct io_uring_restriction *allowed, unsigned n_allowed);

/* Sends a request that finds nothing to do, the cancel of a request that does not exist, and waits
 * for its completion, a second at most. A ring that can be set up need not work: a seccomp filter
 * may deny io_uring_enter alone. sqe_flags: what the ring's restrictions require. Before any other
 * request. Returns 0 or -errno. */
int uring_round_trip(struct io_uring *ring, unsigned sqe_flags);

/* Runs what the kernel has deferred and waits for n completions: at least least_ns for all of them
 * (needs URING_FEAT_MIN_TIMEOUT unless 0), then for one, at most timeout_ns. Submits nothing.
 * Returns what io_uring_enter returns. */
int uring_wait(struct io_uring *ring, unsigned n, uint64_t least_ns, uint64_t timeout_ns);

#endif
