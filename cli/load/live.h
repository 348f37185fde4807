/* Live frames: the second way to send whole frames (the first is transmit.h). The kernel runs a
 * program of ours (live.bpf.c) on pages that it uses again and again; the program writes each frame
 * and redirects it to the interface, as if it had come in at another (BPF_PROG_TEST_RUN with
 * BPF_F_TEST_XDP_LIVE_FRAMES: Documentation/bpf/bpf_prog_run.rst). No socket buffer is made, and no
 * frame is copied twice.
 *
 *     live_allow(goal)  --> a thread in one long system call: batches of 64 pages --program--> frames --> interface
 *                                                                                   ^                   |
 *     live_sent(), ...  <-- counts --------------------------- once more -----------'--- its ring full <'
 *
 * The interface's driver tells for each bulk of frames how many it took (tracepoint
 * xdp_devmap_xmit), so each frame is sent once and the count is exact. The thread uses a processor
 * whole, whatever the rate: the program cannot sleep, and to end the call and begin another takes
 * the kernel tens of milliseconds.
 *
 * It needs Linux 5.18, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and a driver that sends redirected
 * frames. An end of a veth pair does when the other end has GRO on (since Linux 6.3 set while it is
 * up) or an XDP program. A build with XDP=0 has live_none.c.
 */
#ifndef CLI_LOAD_LIVE_H
#define CLI_LOAD_LIVE_H

#include <stdint.h>

#include "cli/load/generator.h"
#include "cli/load/send_frame.h"

struct live; /* opaque */

/* Makes all ready to send the datagrams of this pool in frames of this form from the interface, by
 * the queue that its driver has for the processor, and sends the frame of position 0: only that
 * shows whether the driver takes it. Returns 0, or -errno with the reason in *why, nothing sent and
 * nothing to close. */
int live_open(struct live **live, const struct send_frame *frame, const struct generator *generator,
              unsigned interface, const char **why);

/* NULL is allowed. */
void live_close(struct live *live);

/* Lets the frames before position goal be sent; 0: no more than those that have begun. The first
 * call, and that after live_stop, starts the thread. Returns 0 or -errno; none is sent any more
 * then: -ENETDOWN when the interface is down, -EINVAL or -ENODEV when it is gone. */
int live_allow(struct live *live, uint64_t goal);

/* Ends the thread. Then the counts stand still; live_allow starts another. */
void live_stop(struct live *live);

/* How many frames the interface has taken: all before live_position when the two are equal. */
uint64_t live_sent(const struct live *live);

/* No frame from this position on has begun. */
uint64_t live_position(const struct live *live);

/* Times that the interface refused a frame, which was then sent once more. */
uint64_t live_refused(const struct live *live);

#endif
