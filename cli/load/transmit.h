/* An AF_XDP socket that sends whole frames (Documentation/networking/af_xdp.rst), straight on the
 * kernel's interface: no library, no XDP program.
 *
 *     frames (UMEM)    | free | free | with the kernel | free | ...
 *
 *     transmit_reserve --> the caller writes a frame --> transmit_commit --> TX ring --transmit_kick--> interface
 *            ^                                              ^                                             |
 *            |                     not taken: once more ----'                                             |
 *            '---------------------- transmit_reap <-- completion ring <----------------------------------'
 *
 * Each frame that is committed leaves the interface once. In copy mode a full interface may drop a
 * frame that it has taken; the system call then says EBUSY (__xsk_generic_xmit), about the last
 * frame that it took. That frame goes back into the TX ring when it is completed.
 */
#ifndef CLI_LOAD_TRANSMIT_H
#define CLI_LOAD_TRANSMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSMIT_FRAMES      2048u /* a power of two */
#define TRANSMIT_FRAME_BYTES 2048u /* room of one; a power of two from 2048 to the size of a page */

struct transmit_ring {
	_Atomic uint32_t *producer, *consumer, *flags; /* shared with the kernel */
	void *entries;
	void *map;
	size_t map_bytes;
};

struct transmit {
	int fd;
	bool zero_copy;
	uint8_t *memory;
	struct transmit_ring tx, completion;
	uint32_t put;                   /* frames put into the TX ring so far */
	uint32_t taken;                 /* those that the kernel took */
	uint32_t reaped;                /* completions that were read */
	uint32_t free[TRANSMIT_FRAMES]; /* a stack of frames nobody uses */
	uint32_t n_free;
	uint16_t length[TRANSMIT_FRAMES]; /* of those with the kernel */
	bool again[TRANSMIT_FRAMES];      /* to be sent once more when completed */
	uint64_t dropped;                 /* times that a frame has to be sent once more */
	uint64_t full;                    /* times that the interface took nothing */
};

/* Opens a socket on a queue of an interface; zero-copy where the driver has it. Needs CAP_NET_RAW,
 * and RLIMIT_MEMLOCK or CAP_IPC_LOCK for 4 MiB. Returns 0, or -errno and the step that failed in
 * *why; there is nothing to close then. */
int transmit_open(struct transmit *transmit, unsigned interface, unsigned queue, const char **why);

void transmit_close(struct transmit *transmit);

/* Room for one frame; NULL: all are with the kernel. */
uint8_t *transmit_reserve(struct transmit *transmit);

/* Puts the frame just reserved into the TX ring; bytes: its length. */
void transmit_commit(struct transmit *transmit, uint16_t bytes);

/* Frames in the TX ring that the kernel has not taken yet. */
static inline uint32_t transmit_waiting(const struct transmit *transmit)
{
	return transmit->put - transmit->taken;
}

/* Frames that are not all the way through: not 0 until all that was committed is sent. */
static inline uint32_t transmit_under_way(const struct transmit *transmit)
{
	return TRANSMIT_FRAMES - transmit->n_free;
}

/* Has the kernel take frames out of the TX ring: some of them, one system call. Returns 0; -EAGAIN:
 * it took none, the interface is full; another -errno: the interface is down or gone. */
int transmit_kick(struct transmit *transmit);

/* Reads the completion ring. Returns how many frames were sent; those to be sent once more do not
 * count. */
uint32_t transmit_reap(struct transmit *transmit);

/* Descriptors that the kernel found invalid: always 0, else a fault of this program. */
uint64_t transmit_invalid(const struct transmit *transmit);

#endif
