/* What a process costs, as the kernel tells it: time on processors, memory. */
#ifndef LOOK_PROCESS_H
#define LOOK_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_cost {
	bool known;            /* there is such a process, and the kernel tells of it */
	uint64_t cpu_ns;       /* of all its threads, since it began */
	uint64_t own_bytes;    /* memory in RAM that it does not share */
	uint64_t shared_bytes; /* memory in RAM of files and of shared memory that it has touched */
};

/* Asks for the process of that pid. When there is none, or /proc is not there, known is false and
 * all else 0. Two system calls and a file of /proc; any user may ask. */
void process_ask(uint32_t pid, struct process_cost *cost);

#endif
