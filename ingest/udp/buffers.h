/* Receive buffers: memory that the kernel fills and that outlives the process that lent it.
 *
 *     body of the segment <role>.private
 *     +--------------+---------------------------+----------+----------+--- - -
 *     | buffers_head | struct mmsghdr x n_buffers | buffer 0 | buffer 1 | ...
 *     +--------------+---------------------------+----------+----------+--- - -
 *      4 KiB          recvmmsg back-end only      64 KiB + 128 each
 *
 *     one buffer (the form of io_uring's multishot recvmsg, struct io_uring_recvmsg_out):
 *     | mark 8 | payload_bytes 4 | flags 4 | name 32 | control 80 | data 65,536 |
 *
 *     lent (mark 0) --kernel: data, control, then the header--> filled (mark not 0) --redo note--> lent again
 *
 * The mark is the first word of the header. It holds the length of the sender's address, so it is
 * never 0 in a filled buffer, not even for an empty datagram. The kernel writes the header after
 * the data (io_recvmsg_multishot in io_uring/net.c; wait_test watches it happen). The redo note
 * that moves the stream's tail and the ledger also clears the mark. So whenever the process dies, a
 * buffer is either not yet received, or has a mark and waits for the next life, or is in the
 * stream.
 *
 * An aggregate that is too large for one commit is committed in pieces. The note of each piece but
 * the last does not clear the mark; it stores in it how many datagrams are in the stream.
 * name_bytes needs one byte and the kernel leaves the other three 0: they hold that number.
 *
 * recvmmsg has no such header. The kernel stores msg_len last (do_recvmmsg in net/socket.c); until
 * then it is BUFFER_UNFILLED. buffers_adopt makes a header of it, mark last.
 */
#ifndef INGEST_UDP_BUFFERS_H
#define INGEST_UDP_BUFFERS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "shm/private.h"
#include "shm/redo.h"
#include "shm/segment.h"

#define BUFFERS_MIN          16u
#define BUFFERS_MAX          32768u /* what one io_uring buffer ring takes */
#define BUFFER_NAME_BYTES    32u
#define BUFFER_CONTROL_BYTES 80u
#define BUFFER_DATA_BYTES    65536u     /* a UDP_GRO aggregate has up to 65,535 bytes */
#define BUFFER_UNFILLED      UINT32_MAX /* in msg_len: the kernel has not filled this one */
#define BUFFERS_SOCKETS_MAX  16u
#define BUFFER_DONE_SHIFT    8u

struct buffer {
	alignas(SHM_LINE) union {
		_Atomic uint64_t mark; /* 0: lent to the kernel or unused */
		struct {
			uint32_t
			        /* of the sender's address; from BUFFER_DONE_SHIFT on, datagrams
			         * that are committed */
			        name_bytes;
			uint32_t control_bytes;
		};
	};
	uint32_t payload_bytes;
	uint32_t flags; /* MSG_TRUNC, MSG_CTRUNC */
	unsigned char name[BUFFER_NAME_BYTES];
	alignas(8) unsigned char control[BUFFER_CONTROL_BYTES];
	unsigned char data[BUFFER_DATA_BYTES];
};
_Static_assert(offsetof(struct buffer, data) == 128, "the data begins at a cache line");
_Static_assert(sizeof(struct buffer) == BUFFER_DATA_BYTES + 128, "whole cache lines, and not a power of two");

/* Written by the role's process alone. All zero when the supervisor has just created the
 * segment. */
struct buffers_head {
	/* its layout 0: never used; otherwise BUFFERS_LAYOUT, stored last by the first life */
	struct private_buffers about;
	alignas(SHM_LINE) struct redo_note note;
};
#define BUFFERS_HEAD_BYTES 4096u
_Static_assert(sizeof(struct buffers_head) <= BUFFERS_HEAD_BYTES, "the head fits its page");

/* Changes with the layout of the private segment, and with what a mark may say. */
#define BUFFERS_MARK_FORM 1ull
#define BUFFERS_LAYOUT                                                                  \
	(PRIVATE_KIND_BUFFERS | BUFFERS_MARK_FORM << 44 | sizeof(struct buffer) << 24 | \
	 sizeof(struct redo_note))

/* Bytes of the private segment's body: 4,096 + n_buffers * (64 + 65,664). What the supervisor
 * creates. */
static inline size_t udp_private_bytes(unsigned n_buffers)
{
	return BUFFERS_HEAD_BYTES + n_buffers * (sizeof(struct mmsghdr) + sizeof(struct buffer));
}

/* The buffers as one process sees them. */
struct buffers {
	struct buffers_head *head; /* = the segment's body */
	struct mmsghdr *message;   /* n_buffers; message[i] belongs to buffer[i] */
	struct buffer *buffer;     /* n_buffers */
	unsigned n_buffers;
};

/* What one filled buffer holds that is not committed: one datagram, or several of segment_bytes
 * each (the last may be shorter). */
struct burst {
	const uint8_t *data;
	uint32_t bytes;
	uint32_t segment_bytes; /* at least 1 */
	uint32_t n_datagrams;   /* at least 1: an empty datagram counts */
	uint32_t room;          /* bytes from data on that belong to the buffer; 0: not known */
	uint32_t done;          /* datagrams of the same buffer before these, committed */
	bool truncated;         /* the last datagram was cut */
	uint8_t source[16];     /* IPv6, or IPv4-mapped */
	uint16_t source_port;   /* host order */
};

/* Finds the buffers in the body of the private segment, or lays them out in a new one. Their number
 * is what fits, which the first life stored. Returns 0; -EPROTO with the reason when another build
 * laid it out or its size does not fit; -EINVAL when there is room for fewer than BUFFERS_MIN.
 * Changes nothing on failure. */
int buffers_init(struct buffers *buffers, void *body, size_t body_bytes, struct shm_error *error);

/* True when the kernel has filled the buffer and it is not committed. */
static inline bool buffer_filled(const struct buffer *buffer)
{
	return atomic_load_explicit(&buffer->mark, memory_order_acquire) != 0;
}

/* Finds filled buffers from *next on, at most max, and moves *next past them. Returns how many. For
 * a new life. */
unsigned buffers_filled(const struct buffers *buffers, unsigned *next, uint16_t *index, unsigned max);

/* Prepares message[i] for recvmmsg: msg_len says unfilled, lengths are those of the room. */
void buffers_prepare(struct buffers *buffers, unsigned i);

/* When recvmmsg filled message[i]: gives buffer[i] the common form and prepares the message again.
 * Returns true when it did. A buffer that has its mark already (a death half-way) is left as it is.
 * Idempotent. */
bool buffers_adopt(struct buffers *buffers, unsigned i);

/* Describes what of a filled buffer is not committed. Lengths are read once and bounded: whatever
 * the header says, data .. data + bytes lies in the buffer. */
void buffer_describe(const struct buffer *buffer, struct burst *burst);

/* The mark of a filled buffer when its first `done` datagrams are committed and more follow. */
uint64_t buffer_mark_done(const struct buffer *buffer, uint32_t done);

#endif
