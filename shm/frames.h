/* Frames: packets that the kernel puts straight into the private segment of a role (AF_XDP), and
 * that outlive the process which takes them.
 *
 *     body of <role>.private, whole pages
 *     +----------------------+-------------+------------------+------------------+--- - -
 *     | receive buffers ...  | frames_head | slice of queue 0 | slice of queue 1 | ...
 *     +----------------------+-------------+------------------+------------------+--- - -
 *                            '- frames_area, the end of the body; a slice is the UMEM of one socket
 *
 *     fill ring (in the kernel): frames that it may fill        RX ring (in the kernel): frames it has filled
 *     --------------------------------------------------        ---------------------------------------------
 *       ... free frames ... | fill producer                       consumer | consumed ... not taken yet ... | producer
 *              ^                                                           |
 *              '---------------- given back: frames_release ---------------'
 *
 * The supervisor makes one socket for each queue, with N entries in either ring and N frames, so
 * neither can overflow. It keeps the sockets for life; the stage gets descriptors.
 *
 * Exactly once, over any death of the stage, with one word for each queue. `consumed` counts the
 * entries of the RX ring whose datagrams are in the lanes. Only the redo note changes it, the one
 * that moves tails and ledger too. Nothing else is state; the rings follow from it:
 *
 *     fill producer = N + consumed         an entry that is consumed is a frame given back
 *     RX consumer   = consumed
 *
 * frames_release brings the rings there, and a new life begins with it. The address of fill entry i
 * is frame i while i < N; then it is that of RX entry i - N, which the kernel cannot overwrite
 * before the RX consumer has passed it. The RX consumer moves last, so a death between any two
 * stores leaves something that the next life does again with the same result.
 *
 * The count of frames stays N because the kernel loses none. Of Linux 6.18: xp_alloc
 * (net/xdp/xsk_buff_pool.c) takes a frame from the pool's free list first, then from the fill ring;
 * one that is not delivered (ring full, program passed or dropped the packet, driver stopped) goes
 * to that list (xsk_buff_free, xp_free); __xsk_rcv_zc (net/xdp/xsk.c) releases a frame only after
 * it has its RX entry. A fill entry has been read before its place is written again, because its
 * frame came through the RX ring.
 *
 * A process can map the rings of a bound socket since Linux 6.4 (xsk_mmap).
 */
#ifndef SHM_FRAMES_H
#define SHM_FRAMES_H

#include <linux/if_xdp.h>

#include "shm/frames_gate.h"
#include "shm/redo.h"
#include "shm/segment.h"

#define FRAMES_QUEUES_MAX 16u    /* of one process */
#define FRAMES_MIN        64u    /* of one queue */
#define FRAMES_MAX        65536u /* of one process */
#define FRAMES_HEAD_BYTES 4096u

/* "generic", "copy", "zero-copy", as the option xdp_mode has it; "none". */
const char *frames_mode_name(enum frames_mode mode);

/* What is counted of the socket's XDP_STATISTICS. */
enum frames_loss {
	FRAMES_RX_DROPPED, /* no free frame, or larger than one: lost */
	FRAMES_RING_FULL,  /* lost */
	/* times the kernel looked for a free frame and found none; in copy mode each is also in
	 * FRAMES_RX_DROPPED, in zero-copy mode the card drops and counts for itself */
	FRAMES_FILL_EMPTY,
	FRAMES_INVALID, /* descriptors that the kernel refused */
	FRAMES_LOSS_COUNT
};

/* Of one queue, in the segment. Written by the role's process, by redo notes alone. */
struct frames_queue {
	/* of the socket (SO_COOKIE) that the other words speak of; another one begins at 0 */
	alignas(SHM_LINE) _Atomic uint64_t cookie;
	_Atomic uint64_t consumed;
	_Atomic uint64_t counted[FRAMES_LOSS_COUNT]; /* of its statistics, in ledger and metrics already */
};

/* All zero when the supervisor has just created the segment. */
struct frames_head {
	struct frames_queue queue[FRAMES_QUEUES_MAX];
};
_Static_assert(sizeof(struct frames_head) <= FRAMES_HEAD_BYTES, "the head fits its page");

/* Bytes that the area adds to the body of the private segment, whole pages: frames is a power of
 * two, frame_bytes 2048 or 4096. What the supervisor adds in its plan. */
static inline size_t frames_area_bytes(uint64_t frames, uint64_t frame_bytes)
{
	return FRAMES_HEAD_BYTES + frames * frame_bytes;
}

/* Frames of one queue when n_queues share them (1 to FRAMES_QUEUES_MAX): a power of two. 0 when
 * they are too few. */
static inline unsigned frames_each(unsigned frames, unsigned n_queues)
{
	unsigned each = frames;
	while (each != 0 && (uint64_t)each * n_queues > frames)
		each /= 2;
	return each < FRAMES_MIN ? 0 : each;
}

/* Where the area lies in the body of a private segment (struct segment); NULL when the body is too
 * small. */
static inline struct frames_head *frames_area(void *body, size_t body_bytes, uint64_t frames,
                                              uint64_t frame_bytes)
{
	size_t bytes = frames_area_bytes(frames, frame_bytes);
	return body_bytes < bytes ? NULL : (void *)((char *)body + (body_bytes - bytes));
}

/* The frames of queue i of the process: `each` of them, the UMEM that its socket is given. Begins
 * at a page. */
static inline char *frames_slice(struct frames_head *head, unsigned i, unsigned each, uint64_t frame_bytes)
{
	return (char *)head + FRAMES_HEAD_BYTES + (size_t)i * each * frame_bytes;
}

/* A ring of a socket as one process sees it; indexes have 32 bits and wrap. */
struct frames_ring {
	_Atomic uint32_t *producer, *consumer;
	const _Atomic uint32_t *flags;
	void *entry; /* uint64_t (fill) or struct xdp_desc (RX), as many as frames */
	void *map;   /* for munmap; NULL: it is the caller's memory */
	size_t map_bytes;
};

/* A queue as its process sees it. */
struct frames {
	struct frames_queue *queue;
	char *memory; /* the slice */
	uint32_t n;   /* frames, and entries of each ring: a power of two */
	uint32_t frame_bytes;
	int socket; /* stays the caller's */
	struct frames_ring fill, rx;
};

/* What lies in a frame. */
struct frame {
	const uint8_t *data;
	uint32_t bytes;
};

/* ---- what asks the kernel: frames_map.c ---- */

/* Maps the rings of a bound socket that was given `n` entries in each. Unmap with frames_unmap.
 * Returns 0; -EBUSY when the kernel is older than 6.4 or the interface is gone; another -errno;
 * with the reason in error. Nothing is held on failure. */
int frames_map(struct frames *frames, int socket, uint32_t n, struct shm_error *error);
void frames_unmap(struct frames *frames);

/* The socket's SO_COOKIE: 0 when it cannot be told. */
uint64_t frames_cookie(int socket);

/* The socket's XDP_STATISTICS, all since it was made. False when it cannot be told. */
bool frames_losses(int socket, uint64_t loss[FRAMES_LOSS_COUNT]);

/* Tells the kernel that there are free frames again. */
void frames_wake(int socket);

/* ---- what follows from the segment: frames.c ---- */

/* Takes the queue up where the last life left it; queue, memory, n, frame_bytes and the rings are
 * set, and the redo note of the last life is finished. cookie: of the socket; a new socket begins
 * at 0, by a note through redo (region: that of the segment). Then gives back what is consumed, and
 * to a new socket all frames. Returns 0, or -EPROTO with the reason when the rings contradict the
 * segment; then nothing was changed. */
int frames_begin(struct frames *frames, uint64_t cookie, struct redo *redo, unsigned region,
                 struct shm_error *error);

/* How many frames the kernel has filled that are not consumed. */
static inline uint32_t frames_ready(const struct frames *frames)
{
	uint64_t consumed = atomic_load_explicit(&frames->queue->consumed, memory_order_relaxed);
	uint32_t ready = atomic_load_explicit(frames->rx.producer, memory_order_acquire) - (uint32_t)consumed;
	return ready <= frames->n ? ready : 0;
}

/* The i-th of them (from 0). False when its descriptor points outside of the slice: then it is an
 * empty frame. */
static inline bool frames_look(const struct frames *frames, uint32_t i, struct frame *frame)
{
	uint64_t consumed = atomic_load_explicit(&frames->queue->consumed, memory_order_relaxed);
	const struct xdp_desc *entry = frames->rx.entry;
	struct xdp_desc desc = entry[((uint32_t)consumed + i) & (frames->n - 1)];
	uint64_t all = (uint64_t)frames->n * frames->frame_bytes;
	bool fits = desc.addr < all && desc.len <= all - desc.addr;
	*frame =
	        (struct frame){(const uint8_t *)frames->memory + (fits ? desc.addr : 0), fits ? desc.len : 0};
	return fits;
}

/* Adds to a redo note that n more are consumed. */
static inline void frames_note(const struct frames *frames, uint32_t n, struct redo *redo, unsigned region)
{
	redo_add(redo, region, &frames->queue->consumed,
	         atomic_load_explicit(&frames->queue->consumed, memory_order_relaxed) + n);
}

/* Gives the kernel all frames that are consumed; after the note was applied. */
void frames_release(struct frames *frames);

/* True when the kernel wants frames_wake after it was given frames (XDP_USE_NEED_WAKEUP). */
static inline bool frames_want_wake(const struct frames *frames)
{
	return (atomic_load_explicit(frames->fill.flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP) != 0;
}

#endif
