#include "shm/queue.h"

#include <errno.h>
#include <string.h>

static bool sizes(struct queue_shared *wanted, uint64_t slots, uint64_t slot_bytes, size_t *bytes)
{
	if (slots < QUEUE_SLOTS_MIN || slots > QUEUE_SLOTS_MAX || (slots & (slots - 1)) != 0 ||
	    slot_bytes == 0 || slot_bytes > QUEUE_SLOT_BYTES_MAX)
		return false;
	wanted->slots = slots;
	wanted->slot_bytes = slot_bytes;
	wanted->stride_bytes = (QUEUE_LENGTH_BYTES + slot_bytes + SHM_LINE - 1) / SHM_LINE * SHM_LINE;
	uint64_t words = (slots * sizeof(uint64_t) + SHM_LINE - 1) / SHM_LINE * SHM_LINE;
	wanted->data_offset = sizeof(struct queue_shared) + words;
	*bytes = wanted->data_offset + slots * wanted->stride_bytes;
	return true;
}

size_t queue_bytes(uint64_t slots, uint64_t slot_bytes)
{
	struct queue_shared wanted;
	size_t bytes;
	return sizes(&wanted, slots, slot_bytes, &bytes) ? bytes : 0;
}

size_t queue_file_bytes(uint64_t slots, uint64_t slot_bytes)
{
	size_t bytes = queue_bytes(slots, slot_bytes);
	return bytes == 0 ? 0 : segment_file_bytes(bytes);
}

/* Words of zero are free slots of lap 0: nothing else need be stored. */
static void store_sizes(void *body, void *wanted)
{
	struct queue_shared *shared = body;
	const struct queue_shared *from = wanted;
	shared->slots = from->slots;
	shared->slot_bytes = from->slot_bytes;
	shared->stride_bytes = from->stride_bytes;
	shared->data_offset = from->data_offset;
}

int queue_init(struct queue_shared *shared, size_t bytes, uint64_t slots, uint64_t slot_bytes)
{
	struct queue_shared wanted;
	size_t needed;
	if (!sizes(&wanted, slots, slot_bytes, &needed) || needed > bytes ||
	    (uintptr_t)shared % SHM_LINE != 0)
		return -EINVAL;
	store_sizes(shared, &wanted);
	return 0;
}

int queue_create(const char *directory, const char *name, uint64_t generation, uint64_t slots,
                 uint64_t slot_bytes, struct shm_error *error)
{
	struct queue_shared wanted;
	size_t bytes;
	if (!sizes(&wanted, slots, slot_bytes, &bytes)) {
		shm_explain(
		        error,
		        "%s: %llu slots of %llu bytes: slots must be a power of two of %u to %u, bytes 1 to %u",
		        name, (unsigned long long)slots, (unsigned long long)slot_bytes, QUEUE_SLOTS_MIN,
		        QUEUE_SLOTS_MAX, QUEUE_SLOT_BYTES_MAX);
		return -EINVAL;
	}
	return segment_create(directory, name, SEGMENT_QUEUE, generation, bytes, store_sizes, &wanted, error);
}

int queue_join(struct queue *queue, struct queue_shared *shared, size_t bytes, unsigned role)
{
	struct queue_shared wanted;
	size_t needed;
	if (role > QUEUE_ROLE_MAX)
		return -EINVAL;
	if (bytes < sizeof *shared || !sizes(&wanted, shared->slots, shared->slot_bytes, &needed) ||
	    needed > bytes || shared->stride_bytes != wanted.stride_bytes ||
	    shared->data_offset != wanted.data_offset)
		return -EPROTO;
	unsigned patience =
	        wanted.slots < 4 * QUEUE_PATIENCE ? (unsigned)(wanted.slots + 3) / 4 : QUEUE_PATIENCE;
	*queue = (struct queue){
	        .shared = shared,
	        .word = shared->word,
	        .data = (char *)shared + wanted.data_offset,
	        .slots = wanted.slots,
	        .slot_bytes = wanted.slot_bytes,
	        .stride_bytes = wanted.stride_bytes,
	        .lap_shift = (unsigned)__builtin_ctzll(wanted.slots),
	        .patience = patience,
	        .role = role,
	        .returned = atomic_load_explicit(&shared->returned, memory_order_acquire),
	};
	return 0;
}

int queue_attach(struct queue *queue, const char *directory, const char *name, enum segment_access access,
                 unsigned role, struct shm_error *error)
{
	struct segment segment = {0};
	int result = segment_attach(&segment, directory, name, SEGMENT_QUEUE, access, error);
	if (result != 0)
		return result;
	result = queue_join(queue, segment.body, segment.body_bytes, access == SEGMENT_READ ? 0 : role);
	if (result != 0) {
		shm_explain(error,
		            result == -EINVAL ? "%s/%s: no such role"
		                              : "%s/%s: sizes of the queue do not fit together",
		            directory, name);
		segment_detach(&segment);
		return result;
	}
	queue->segment = segment;
	return 0;
}

void queue_detach(struct queue *queue)
{
	segment_detach(&queue->segment);
	memset(queue, 0, sizeof *queue);
}

void queue_use_bells(struct queue *queue, struct bell *pushed, struct bell *released)
{
	queue->pushed = pushed;
	queue->released = released;
}
