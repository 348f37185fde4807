#include "shm/life.h"

#include <time.h>

#define LOOK_NS 100000000ull

static uint64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool life_supervised(const struct instance *instance)
{
	return atomic_load_explicit(&instance->page->managed, memory_order_relaxed) != 0 ||
	       instance_locked(instance->directory, "lock", NULL) != 0;
}

static bool has_ended(const struct instance_page *page)
{
	return atomic_load_explicit(&page->ended, memory_order_acquire) != 0;
}

void life_init(struct life_watch *watch, const struct instance *instance)
{
	*watch = (struct life_watch){.instance = instance, .next_ns = monotonic_ns() + LOOK_NS};
}

enum life life_check(struct life_watch *watch)
{
	if (has_ended(watch->instance->page))
		return LIFE_ENDED;
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

/* The page that is mapped was replaced: what comes later is told by the one in place. */
static enum life ask_page_in_place(const struct instance *instance)
{
	struct segment page = {0};
	struct shm_error error;
	if (segment_attach(&page, instance->directory, "instance", SEGMENT_INSTANCE, SEGMENT_READ, &error) !=
	    0)
		return LIFE_ENDED;
	bool ended = page.header->generation != instance->generation || has_ended(page.body);
	segment_detach(&page);
	return ended ? LIFE_ENDED : LIFE_REPLACED;
}

enum life life_committed(struct life_watch *watch)
{
	/* Pairs with the fence of segments_set_ended. */
	atomic_thread_fence(memory_order_seq_cst);
	const struct instance_page *page = watch->instance->page;
	if (atomic_load_explicit(&page->replaced, memory_order_acquire) != 0)
		return ask_page_in_place(watch->instance);
	return life_check(watch);
}
