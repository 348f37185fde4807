/* What bench-packets-bare says at its end, for printf and scanf: datagrams received; times it
 * waited; lost for want of a frame, at a full ring; times there was no free frame; processor time
 * in ns. */
#ifndef BENCH_PACKETS_BARE_H
#define BENCH_PACKETS_BARE_H

#define PACKETS_BARE_LINE "received %llu waits %llu dropped %llu full %llu empty %llu cpu_ns %llu\n"

#endif
