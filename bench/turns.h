/* Taking turns: two ways of doing the same thing measured alternately in one run, so that a machine
 * whose speed drifts treats both alike.
 *
 *     ours, reference, ours, reference, ...   -->  median of each, ratio of the medians, and the least and greatest
 */
#ifndef BENCH_TURNS_H
#define BENCH_TURNS_H

#include <stddef.h>
#include <sys/types.h>

#define TURNS_MAX 64u

struct turns {
	unsigned n;
	double ours[TURNS_MAX]; /* rate of each turn, per second */
	double reference[TURNS_MAX];
};

/* Adds one pair of rates; those beyond TURNS_MAX are left out. */
void turns_add(struct turns *turns, double ours, double reference);

/* Median of n values; leaves them as they are. 0 for n = 0. */
double turns_median(const double *values, unsigned n);

/* Median of ours over median of reference; 0 when there is none. */
double turns_ratio(const struct turns *turns);

/* Prints "  ours        70.1 M/s (66.2 .. 71.9)" and the same for the reference, then the ratio. */
void turns_print(const struct turns *turns, const char *what, const char *ours, const char *reference);

#define TURNS_PATH_MAX 4200u

/* Creates a private directory in one that is there and returns its path (static); exits with a
 * message when it cannot. It is removed with all files in it at exit of the process that made it;
 * when a signal ends that one, SIGPIPE or SIGKILL too, by a process that waits for it, within
 * moments. */
const char *turns_make_directory(const char *below);

/* The same for segments, one below the shared-memory root; made at the first call. */
const char *turns_directory(void);

/* A child that gets the signal when this process ends, however soon that is. As fork(2), with what
 * was printed flushed before. */
pid_t turns_fork(int end_signal);

/* Pins the process to processor n modulo their number; without effect where that is not allowed. */
void turns_pin(unsigned n);

#endif
