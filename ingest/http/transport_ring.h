/* The ring of the io_uring back-end: set up, restricted, its receive buffers.
 *
 *     buffers:  lent to the kernel --(bytes came)--> in a completion --ring_give--> given back --ring_announce--> lent
 *
 * The ring can accept, receive, send, close and cancel, and nothing else.
 */
#ifndef INGEST_HTTP_TRANSPORT_RING_H
#define INGEST_HTTP_TRANSPORT_RING_H

#include "ingest/http/transport.h"
#include "ingest/uring.h"

#define RING_GROUP      0u
#define RING_SQ_ENTRIES 2048u
#define RING_CQ_ENTRIES 16384u

struct ring {
	struct io_uring io;
	struct uring_buffers descriptors;
	char *buffers;
	size_t buffers_bytes, buffer_bytes;
	uint32_t n_buffers;
	uint32_t lent;    /* the kernel may fill them, or has done so in a completion not yet seen */
	uint32_t n_given; /* not yet announced */
	/* connections have ordinary descriptors: direct ones were not wanted, or keep their sockets
	 * (descriptors.h) */
	bool plain;
	bool min_wait; /* the kernel knows the least wait (ring_wait) */
};

/* Sets up the ring, with a direct descriptor for each connection unless it is `plain` afterwards,
 * and lends all buffers. Returns 0 or -errno, and in *step what failed. */
int ring_open(struct ring *ring, const struct transport_settings *settings, const char **step);

/* Of a ring that ring_open has seen, whatever it returned. */
void ring_close(struct ring *ring);

static inline char *ring_buffer(const struct ring *ring, uint32_t index)
{
	return ring->buffers + (size_t)index * ring->buffer_bytes;
}

/* The buffer of a completion that has been seen. */
static inline uint32_t ring_taken(struct ring *ring, const struct io_uring_cqe *cqe)
{
	ring->lent--;
	return cqe->flags >> IORING_CQE_BUFFER_SHIFT;
}

static inline void ring_give(struct ring *ring, uint32_t index)
{
	uring_buffers_add(&ring->descriptors, ring_buffer(ring, index), ring->buffer_bytes, index,
	                  ring->n_given++);
}

static inline void ring_announce(struct ring *ring)
{
	if (ring->n_given == 0)
		return;
	io_uring_buf_ring_advance(ring->descriptors.ring, (int)ring->n_given);
	ring->lent += ring->n_given;
	ring->n_given = 0;
}

/* True when the kernel has something that only entering it brings out. False is no proof: work
 * beyond what one call does is not flagged. */
static inline bool ring_has_work(const struct ring *ring)
{
	return (IO_URING_READ_ONCE(*ring->io.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* True when completions wait for room among those that are told. */
static inline bool ring_has_overflown(const struct ring *ring)
{
	return (IO_URING_READ_ONCE(*ring->io.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
}

/* Submits what is prepared and runs what the kernel has deferred. */
int ring_enter(struct ring *ring);

/* The same, then waits for a completion, at most timeout_ns. */
int ring_enter_and_wait(struct ring *ring, uint64_t timeout_ns);

/* Waits for n completions, but after least_ns for one, and at most timeout_ns. What is prepared
 * stays so. Where the kernel knows no least wait it is waited for first. */
int ring_wait(struct ring *ring, unsigned n, uint64_t least_ns, uint64_t timeout_ns);

#endif
