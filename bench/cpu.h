/* Processor time of a process. */
#ifndef BENCH_CPU_H
#define BENCH_CPU_H

#include <sys/types.h>

/* What all its threads have used so far, user and system together, in seconds; 0 is this process.
 * Returns 0 when there is none of this number. See clock_getcpuclockid(3). */
double cpu_seconds(pid_t pid);

#endif
