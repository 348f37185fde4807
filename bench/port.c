#include "bench/port.h"

#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

unsigned port_read(int in, const char *before, uint64_t timeout_ns)
{
	char text[8192];
	size_t used = 0;
	uint64_t end_ns = clock_monotonic_ns() + timeout_ns;
	while (used < sizeof text - 1 && clock_monotonic_ns() < end_ns) {
		struct pollfd ready = {.fd = in, .events = POLLIN};
		if (poll(&ready, 1, 100) <= 0)
			continue;
		ssize_t n = read(in, text + used, sizeof text - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		text[used] = '\0';
		const char *at = strstr(text, before);
		if (at == NULL)
			continue;
		at += strlen(before);
		if (at[strspn(at, "0123456789")] != '\0')
			return (unsigned)atoi(at);
	}
	return 0;
}
