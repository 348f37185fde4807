/* A queue in plain memory, with as many users as the test wants, all in one thread. */
#ifndef TESTS_QUEUE_MEMORY_H
#define TESTS_QUEUE_MEMORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shm/queue.h"

#define SLOT_BYTES 24u
#define LAP_SHIFT  17 /* as in the picture in queue.h */

struct queue_memory {
	struct queue_shared *shared;
	size_t bytes;
};

static inline struct queue_memory memory_make(uint64_t slots)
{
	struct queue_memory memory = {.bytes = queue_bytes(slots, SLOT_BYTES)};
	memory.shared = aligned_alloc(SHM_LINE, memory.bytes);
	assert_non_null(memory.shared);
	memset(memory.shared, 0, memory.bytes);
	assert_int_equal(queue_init(memory.shared, memory.bytes, slots, SLOT_BYTES), 0);
	return memory;
}

static inline struct queue user(struct queue_memory memory, unsigned role)
{
	struct queue queue;
	assert_int_equal(queue_join(&queue, memory.shared, memory.bytes, role), 0);
	return queue;
}

static inline void push(struct queue *queue, uint64_t number)
{
	assert_true(queue_push(queue, &number, sizeof number));
}

static inline uint64_t number_in(const struct queue_slot *slot)
{
	uint64_t number;
	assert_int_equal(slot->length, sizeof number);
	memcpy(&number, slot->data, sizeof number);
	return number;
}

/* Takes one and is done with it; 0 when there is none. */
static inline uint64_t pop(struct queue *queue)
{
	struct queue_slot slot;
	if (!queue_take(queue, &slot))
		return 0;
	uint64_t number = number_in(&slot);
	assert_int_equal(queue_done(queue, &slot), 0);
	return number;
}

static inline void expect_counts(const struct queue *queue, unsigned free_slots, unsigned filling,
                                 unsigned ready, unsigned taken)
{
	struct queue_counts counts;
	queue_count(queue, &counts);
	assert_int_equal(counts.free, free_slots);
	assert_int_equal(counts.filling, filling);
	assert_int_equal(counts.ready, ready);
	assert_int_equal(counts.taken, taken);
	assert_int_equal(counts.slots, free_slots + filling + ready + taken);
}

#endif
