#include "look/process.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* See proc(5), /proc/[pid]/statm: size, resident, shared, in pages. */
static bool ask_memory(uint32_t pid, struct process_cost *cost)
{
	char path[32];
	unsigned long long resident = 0, shared = 0;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof path, "/proc/%u/statm", pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	bool read = fscanf(file, "%*u %llu %llu", &resident, &shared) == 2;
	fclose(file);
	cost->own_bytes = (resident > shared ? resident - shared : 0) * page_bytes;
	cost->shared_bytes = shared * page_bytes;
	return read;
}

void process_ask(uint32_t pid, struct process_cost *cost)
{
	clockid_t clock;
	struct timespec time;
	*cost = (struct process_cost){0};
	/* The clock counts nanoseconds; /proc/[pid]/stat would tell ticks of 10 ms. */
	if (pid == 0 || clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &time) != 0 ||
	    !ask_memory(pid, cost))
		return;
	cost->cpu_ns = (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec;
	cost->known = true;
}
