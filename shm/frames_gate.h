/* What the XDP program of an interface, the supervisor, which loads it, and the stages that take
 * its frames share: one struct frames_gate for each queue of the interface.
 *
 *     packet --> program: ours? --no--------------------------> kernel, as if there were no program
 *                   | yes
 *                 open? --0: no stage takes--> kernel --> the listener's ordinary socket
 *                   | 1
 *                   '--> ring of the queue's AF_XDP socket --> stage (shm/frames.h)
 *
 * It is the value of an array map with BPF_F_MMAPABLE, whose index is the number of the queue; the
 * supervisor hands the map's descriptor down and both map it. The program is compiled without a C
 * library, so this header includes nothing.
 */
#ifndef SHM_FRAMES_GATE_H
#define SHM_FRAMES_GATE_H

#define FRAMES_GATE_LINE 64

enum frames_mode { FRAMES_NONE, FRAMES_GENERIC, FRAMES_COPY, FRAMES_ZERO_COPY };

/* Why the program passed a packet to the kernel: name, help. */
#define FRAMES_PASSED(X)                                                                             \
	X(OTHER, "other", "not UDP over IPv4 or IPv6 for a listener's address and port")             \
	X(FORM, "form", "for a listener, but a fragment, with IP options or with extension headers") \
	X(SOURCE, "source", "for a listener, from a network that `sources` does not list")           \
	X(LARGE, "large", "for a listener, longer than the room of a frame")                         \
	X(CLOSED, "closed", "for a listener, while no process took frames from the queue")

enum frames_passed {
#define X(symbol, name, help) FRAMES_PASSED_##symbol,
	FRAMES_PASSED(X)
#undef X
	        FRAMES_PASSED_COUNT
};

struct frames_gate {
	/* 1 while a stage takes from the queue: stored by the stage, and set to 0 by the
	 * supervisor when the stage has died. */
	unsigned long long open __attribute__((aligned(FRAMES_GATE_LINE)));
	/* enum frames_mode; by the supervisor, before the stage starts */
	unsigned long long mode;
	/* written by the program, on whichever processor serves the queue */
	unsigned long long redirected __attribute__((aligned(FRAMES_GATE_LINE)));
	unsigned long long passed[FRAMES_PASSED_COUNT];
};
_Static_assert(sizeof(struct frames_gate) == 2 * FRAMES_GATE_LINE,
               "entries of the map lie one after the other");

#endif
