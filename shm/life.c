#include "shm/life.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 100000000ull

static uint64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool life_supervised(const struct instance *instance)
{
	char path[256];
	snprintf(path, sizeof path, "%s/lock", instance->directory);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return held;
}

void life_init(struct life_watch *watch, const struct instance *instance)
{
	*watch = (struct life_watch){.instance = instance, .next_ns = monotonic_ns() + LOOK_NS};
}

enum life life_check(struct life_watch *watch)
{
	uint64_t now = monotonic_ns();
	if (now < watch->next_ns)
		return LIFE_SAME;
	watch->next_ns = now + LOOK_NS;
	enum instance_place place = instance_look(watch->instance);
	if (place != INSTANCE_IN_PLACE)
		return place == INSTANCE_GONE ? LIFE_ENDED : LIFE_REPLACED;
	bool draining = atomic_load_explicit(&watch->instance->page->draining, memory_order_acquire) != 0;
	return draining && !life_supervised(watch->instance) ? LIFE_ENDED : LIFE_SAME;
}
