#include "deliver/stall.h"

#define SLOW_NS   1000000000ull
#define SLOW_MOST 6u /* doublings */
#define STALE_NS  (10 * STALL_WINDOW_NS)

/* FNV-1a. */
static uint64_t hash_of(const char *origin)
{
	uint64_t hash = 0xcbf29ce484222325ull;
	for (; *origin != '\0'; origin++)
		hash = (hash ^ (unsigned char)*origin) * 0x100000001b3ull;
	return hash | 1;
}

static struct stall_host *host_of(struct stalls *stalls, const char *origin)
{
	uint64_t hash = hash_of(origin);
	struct stall_host *host = &stalls->host[(hash >> 32) % STALL_HOSTS];
	if (host->hash != hash)
		*host = (struct stall_host){.hash = hash};
	return host;
}

static void open_window(struct stalls *stalls, struct stall_host *host, uint64_t now_ns)
{
	host->window_ns = now_ns;
	host->taken = 0;
	stalls->any = true;
}

bool stall_waits(struct stalls *stalls, const char *origin, uint64_t now_ns)
{
	struct stall_host *host = host_of(stalls, origin);
	if (now_ns < host->slow_ns)
		return false;
	if (host->window_ns == 0 || now_ns - host->window_ns > STALE_NS) {
		open_window(stalls, host, now_ns);
		return true;
	}
	if (now_ns - host->window_ns < STALL_WINDOW_NS)
		return true;
	if (host->taken >= STALL_LEAST) {
		host->slow = 0;
		open_window(stalls, host, now_ns);
		return true;
	}
	host->slow_ns = now_ns + (SLOW_NS << host->slow);
	host->slow += host->slow < SLOW_MOST;
	host->window_ns = 0;
	return false;
}

void stall_passed(struct stalls *stalls, const char *origin)
{
	if (!stalls->any)
		return;
	struct stall_host *host = &stalls->host[(hash_of(origin) >> 32) % STALL_HOSTS];
	if (host->window_ns != 0)
		host->taken++;
}
