/* The build without libbpf (make XDP=0). */
#include <errno.h>
#include <stddef.h>

#include "cli/load/live.h"

int live_open(struct live **live, const struct send_frame *frame, const struct generator *generator,
              unsigned interface, const char **why)
{
	(void)frame;
	(void)generator;
	(void)interface;
	*live = NULL;
	*why = "live frames: this build is without libbpf; build it with libxdp-dev, libbpf-dev and clang";
	return -EOPNOTSUPP;
}

void live_close(struct live *live)
{
	(void)live;
}

int live_allow(struct live *live, uint64_t goal)
{
	(void)live;
	(void)goal;
	return -EOPNOTSUPP;
}

void live_stop(struct live *live)
{
	(void)live;
}

uint64_t live_sent(const struct live *live)
{
	(void)live;
	return 0;
}

uint64_t live_position(const struct live *live)
{
	(void)live;
	return 0;
}

uint64_t live_refused(const struct live *live)
{
	(void)live;
	return 0;
}
