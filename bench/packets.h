/* `bench udp --backend xdp`: from frame to count in a lab of its own (lab.h), sender included.
 *
 *     generator --> client0 ==veth== server0 --> A  millrace with backend xdp --> stream --> tally
 *                                                B  a bare AF_XDP loop (packets_bare.c)
 *                                                C  millrace with its ordinary socket
 *     '-------------- processor 1 ----------'    '------------- processor 0 -------------'
 *
 * The kernel works on a packet, until it is in a socket, on the processor of the sender: so a veth
 * pair does it. The server's end has GRO on, which live frames need.
 *
 *   1. A, B and C in turns, fed as fast as the generator can
 *   2. A: the highest rate at which nothing is lost, and then a longer run at 0.8 of it
 *
 * Of each run of A and C a table names every place where packets can be lost, and adds up to what
 * the generator sent.
 */
#ifndef BENCH_PACKETS_H
#define BENCH_PACKETS_H

#include <stdbool.h>

#include "cli/load/send_xdp.h"

struct packets_options {
	double seconds;      /* of the longer run */
	double turn_seconds; /* of a turn, and of a step of the search */
	double corrupt_percent;
	unsigned sources, apps, turns;
	unsigned moderate;     /* microseconds in which packets gather at the server's end (packet-lab) */
	enum send_xdp_way way; /* in which the generator sends */
	bool json, search;
	bool spin; /* the bare loop never sleeps */
};

/* Returns the exit status: 0 measured, 1 failed or packets were lost in the longer run. */
int packets_run(const struct packets_options *options);

#endif
