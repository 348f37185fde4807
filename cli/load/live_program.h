/* What the programs that send live frames (live.bpf.c) and the process that runs them (live.h)
 * share. Both sides compile this file: it includes types of the kernel's and nothing else.
 *
 *     settings  constants of the program, set before it is loaded
 *     pool      array, mmap  index -> a datagram, its length, what it adds to a checksum
 *     state     array, mmap  0     -> how far the sending is
 *
 * The process writes the goal, the programs all else, on one processor at a time.
 */
#ifndef CLI_LOAD_LIVE_PROGRAM_H
#define CLI_LOAD_LIVE_PROGRAM_H

#include <linux/types.h>

#define LIVE_WAITING_MAX 64u /* frames that the interface has not yet answered for; a power of two */
#define LIVE_HEAD_WORDS  8u
#define LIVE_HEAD_PAD    2u /* bytes before the head: then its 32-bit fields are aligned */

/* struct send_frame, and what else does not change. */
struct live_settings {
	__u64 head[LIVE_HEAD_WORDS]; /* LIVE_HEAD_PAD bytes, then the head */
	__u64 ip_sum, udp_sum;
	__u32 head_bytes, ipv6;
	__u32 first, addresses, port, sources;
	__u32 interface; /* its index */
	__u32 longest;   /* bytes of the longest datagram */
	__u32 pool;      /* datagrams, a power of two */
	__u32 zero;
};

/* Followed by the datagram; its room is that of the longest, rounded up to 8. */
struct live_datagram {
	__u32 sum; /* of the datagram, in the machine's byte order, not folded */
	__u16 length;
	__u16 zero;
	__u8 data[];
};

/* Counts only grow, but for a frame that the kernel did not give to the driver at all: it was not
 * given then. */
struct live_state {
	__u64 goal;       /* written by the process: positions before this one may be sent */
	__u64 nothing[7]; /* what follows has another writer, so another cache line */
	__u64 next;       /* the first position that was never given to the interface */
	__u64 given;      /* frames given to the interface, */
	__u64 answered;   /* of these it has taken or refused */
	__u64 refused;    /* of these it refused, so that they are given once more */
	__u64 repeated;   /* of these that were given once more */
	__u32 pause;      /* runs of the program that do nothing, after a refusal */
	__u32 processor;  /* that the program runs on */
	__s32 error;      /* -errno: the kernel gives no frames to the driver, so none follows */
	__u32 zero;
	__u64 waiting[LIVE_WAITING_MAX]; /* positions: given number n is at n % max */
	__u64 again[LIVE_WAITING_MAX];   /* positions: refused number n is at n % max */
};

#endif
