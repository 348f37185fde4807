#include "shm/frames.h"

#include <errno.h>

const char *frames_mode_name(enum frames_mode mode)
{
	static const char *const name[] = {
	        [FRAMES_NONE] = "none",
	        [FRAMES_GENERIC] = "generic",
	        [FRAMES_COPY] = "copy",
	        [FRAMES_ZERO_COPY] = "zero-copy",
	};
	return name[mode];
}

/* The rings are where the segment says, or one release behind it. */
static bool rings_agree(const struct frames *frames, uint64_t consumed, bool fresh)
{
	uint32_t filled = atomic_load_explicit(frames->fill.producer, memory_order_relaxed);
	uint32_t taken = atomic_load_explicit(frames->rx.consumer, memory_order_relaxed);
	uint32_t arrived = atomic_load_explicit(frames->rx.producer, memory_order_acquire);
	if (fresh && (filled | taken | arrived) != 0)
		return false;
	return (uint32_t)consumed + frames->n - filled <= frames->n &&
	       (uint32_t)consumed - taken <= frames->n && arrived - (uint32_t)consumed <= frames->n;
}

int frames_begin(struct frames *frames, uint64_t cookie, struct redo *redo, unsigned region,
                 struct shm_error *error)
{
	struct frames_queue *queue = frames->queue;
	bool fresh = atomic_load_explicit(&queue->cookie, memory_order_relaxed) != cookie;
	uint64_t consumed = fresh ? 0 : atomic_load_explicit(&queue->consumed, memory_order_relaxed);
	if (!rings_agree(frames, consumed, fresh)) {
		shm_explain(
		        error,
		        "socket %d: its rings are not where the private segment says (%llu taken): it was used with another segment",
		        frames->socket, (unsigned long long)consumed);
		return -EPROTO;
	}
	if (fresh) {
		redo_add(redo, region, &queue->cookie, cookie);
		redo_add(redo, region, &queue->consumed, 0);
		for (unsigned i = 0; i < FRAMES_LOSS_COUNT; i++)
			redo_add(redo, region, &queue->counted[i], 0);
		redo_publish(redo);
		redo_apply(redo);
	}
	frames_release(frames);
	return 0;
}

void frames_release(struct frames *frames)
{
	uint64_t consumed = atomic_load_explicit(&frames->queue->consumed, memory_order_relaxed);
	uint64_t target = consumed + frames->n; /* of the fill ring's producer */
	uint32_t behind =
	        (uint32_t)target - atomic_load_explicit(frames->fill.producer, memory_order_relaxed);
	uint32_t mask = frames->n - 1;
	uint64_t *free_frame = frames->fill.entry;
	const struct xdp_desc *taken = frames->rx.entry;
	for (uint64_t i = target - behind; i != target; i++)
		free_frame[i & mask] = i < frames->n
		                               ? i * frames->frame_bytes
		                               : taken[i & mask].addr & ~(uint64_t)(frames->frame_bytes - 1);
	atomic_store_explicit(frames->fill.producer, (uint32_t)target, memory_order_release);
	atomic_store_explicit(frames->rx.consumer, (uint32_t)consumed, memory_order_release);
}
