#include "shm/private.h"

#include <errno.h>

int private_attach(struct segment *segment, struct redo *redo, const struct instance *instance,
                   const char *role, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result = segment_attach(segment, instance->directory, instance_private_name(name, role),
	                            SEGMENT_PRIVATE, SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	struct private_note *own = segment->body;
	uint64_t layout = segment->body_bytes < sizeof *own
	                          ? UINT64_MAX
	                          : atomic_load_explicit(&own->layout, memory_order_acquire);
	if (layout != 0 && layout != PRIVATE_LAYOUT) {
		shm_explain(error, "%s/%s was laid out by another build; end the instance in order first",
		            instance->directory, name);
		segment_detach(segment);
		return -EPROTO;
	}
	atomic_store_explicit(&own->layout, PRIVATE_LAYOUT, memory_order_release);
	atomic_store_explicit(&own->lives, atomic_load_explicit(&own->lives, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
	redo->note = &own->note;
	redo->base[0] = segment->body;
	redo->bytes[0] = segment->body_bytes;
	return 0;
}

_Atomic uint64_t *private_decided(const struct segment *segment)
{
	struct private_note *own = segment->body;
	if (own == NULL || segment->body_bytes < sizeof *own ||
	    atomic_load_explicit(&own->layout, memory_order_acquire) != PRIVATE_LAYOUT)
		return NULL;
	return &own->decided;
}

uint64_t private_filled(const struct segment *segment)
{
	const struct private_buffers *buffers = segment->body;
	uint64_t filled = 0;
	if (segment->body_bytes < sizeof *buffers)
		return 0;
	uint64_t kind = atomic_load_explicit(&buffers->layout, memory_order_acquire) >> 48 << 48;
	if (kind != PRIVATE_KIND_BUFFERS && kind != PRIVATE_KIND_JOURNAL)
		return 0;
	uint64_t at = buffers->mark_bytes;
	for (uint64_t i = 0; i < buffers->n && at % sizeof(uint64_t) == 0 &&
	                     at <= segment->body_bytes - sizeof(uint64_t) && buffers->stride_bytes != 0;
	     i++, at += buffers->stride_bytes) {
		const _Atomic uint64_t *mark = (const void *)((const char *)segment->body + at);
		filled += atomic_load_explicit(mark, memory_order_relaxed) != 0 ? 1 : 0;
	}
	return filled;
}
