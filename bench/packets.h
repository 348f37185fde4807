/* `bench udp --backend xdp`: from frame to count in a lab of its own (lab.h), sender included.
 *
 *     generator (AF_XDP) --> client0 ==veth== server0 --> A  millrace with backend xdp --> stream --> tally
 *                                                         B  a bare AF_XDP loop (packets_bare.c)
 *                                                         C  millrace with its ordinary socket
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

struct packets_options {
	double seconds;      /* of the longer run */
	double turn_seconds; /* of a turn, and of a step of the search */
	double corrupt_percent;
	unsigned sources, apps, turns;
	unsigned moderate; /* microseconds in which packets gather at the server's end (packet-lab) */
	bool json, search;
	bool spin; /* the bare loop never sleeps */
};

/* Returns the exit status: 0 measured, 1 failed or packets were lost in the longer run. */
int packets_run(const struct packets_options *options);

#endif
