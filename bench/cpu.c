#include "bench/cpu.h"

#include <time.h>

#include "base/clock.h"

double cpu_seconds(pid_t pid)
{
	clockid_t id;
	struct timespec used;
	if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &used) != 0)
		return 0;
	return (double)used.tv_sec + (double)used.tv_nsec / NS_PER_SEC;
}
