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
	return 0;
}
