/* What the program on a network interface (packets.bpf.c) and its holder (packets_interface.h)
 * share besides the gates (shm/frames_gate.h): the maps' sizes and what lies in them.
 *
 *     destinations  hash         address and port   -> the listener that takes it
 *     sources       LPM trie     listener, network  -> may send to it
 *     owners        array        queue              -> the listener whose socket has it; 0: none
 *     gates         array, mmap  queue              -> open while its stage takes; counts
 *     sockets       XSKMAP       queue              -> the AF_XDP socket
 *     about         array        0                  -> the interface: its address, who holds the program
 *
 * A listener has a number that is used once, so an entry that is not yet replaced never means
 * another listener. Both sides compile this file: it includes types of the kernel's and nothing
 * else.
 */
#ifndef SUPERVISOR_PACKETS_PROGRAM_H
#define SUPERVISOR_PACKETS_PROGRAM_H

#include <linux/types.h>

#define PACKETS_QUEUES_MAX       512u /* of an interface */
#define PACKETS_DESTINATIONS_MAX 4096u
#define PACKETS_SOURCES_MAX      4096u
#define PACKETS_PROGRAM          "millrace_udp" /* its name in the kernel, 15 bytes at most */

/* IPv4 as ::ffff:a.b.c.d. */
struct packets_destination {
	__u8 address[16];
	__be16 port;
	__u16 zero;
};

struct packets_listener {
	__u32 number;
	__u32 room_bytes; /* of a whole packet; a longer one passes */
	__u32 sources;    /* not 0: only those that the trie has */
	__u32 zero;
};

struct packets_source {
	__u32 bits; /* that count, the 32 of the number included */
	__u32 number;
	__u8 address[16];
};

struct packets_about {
	__u8 mac[6];
	__u16 zero[5];
	/* of the holder's instance: a program that a dead holder of it left is replaced */
	__u64 holder;
};

#endif
