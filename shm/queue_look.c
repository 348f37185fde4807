#include "shm/queue_look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A test changes the slot here (tests/shm/queue_look_test.c). */
#ifdef QUEUE_TEST_HOOKS
#define LOOK_GAP(name) queue_test_gap(name)
#else
#define LOOK_GAP(name) ((void)0)
#endif

int queue_look_open(struct queue_look *look, const struct queue *queue)
{
	*look = (struct queue_look){.slots = queue->slots, .slot_bytes = queue->slot_bytes};
	look->seen = calloc(queue->slots, sizeof *look->seen);
	look->copy = malloc(queue->slot_bytes);
	if (look->seen != NULL && look->copy != NULL)
		return 0;
	queue_look_close(look);
	return -ENOMEM;
}

void queue_look_close(struct queue_look *look)
{
	free(look->seen);
	free(look->copy);
	memset(look, 0, sizeof *look);
}

/* The place after the newest that was ever used is the oldest: a lap of places back. */
static void begin_sweep(struct queue_look *look, const struct queue *queue)
{
	uint64_t newest = 0;
	for (uint64_t index = 0; index < look->slots; index++) {
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		uint64_t used = queue_word_used_after(word, index, queue->lap_shift);
		if (used > newest)
			newest = used;
	}
	look->next = newest + 1;
	look->left = look->slots;
}

static bool holds_message(uint64_t word)
{
	return queue_word_phase(word) == QUEUE_READY || queue_word_phase(word) == QUEUE_TAKEN;
}

/* Copies the slot's message when it is a new one. */
static bool look_at(struct queue_look *look, const struct queue *queue, uint64_t index)
{
	const char *slot = queue->data + index * queue->stride_bytes;
	struct queue_prefix prefix;
	uint64_t before = atomic_load_explicit(&queue->word[index], memory_order_acquire);
	if (!holds_message(before))
		return false;
	memcpy(&prefix, slot, sizeof prefix);
	if (look->seen[index] == (uint64_t)prefix.lap + 1)
		return false;
	if (prefix.length <= look->slot_bytes)
		memcpy(look->copy, slot + QUEUE_LENGTH_BYTES, prefix.length);
	LOOK_GAP("look: copied");
	atomic_thread_fence(memory_order_acquire);
	uint64_t after = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
	/* The next message of a slot has a later lap in its word. The same one may have been taken
	 * in between, or given back. */
	if (!holds_message(after) || queue_word_lap(after) != queue_word_lap(before))
		return false;
	look->seen[index] = (uint64_t)prefix.lap + 1;
	look->data = look->copy;
	look->length = prefix.length;
	look->taken = queue_word_phase(after) == QUEUE_TAKEN;
	return prefix.length <=
	       look->slot_bytes; /* an impossible length: queue_take throws the message away */
}

bool queue_look(struct queue_look *look, const struct queue *queue)
{
	if (!look->sweeping)
		begin_sweep(look, queue);
	look->sweeping = true;
	while (look->left > 0) {
		look->left--;
		if (look_at(look, queue, look->next++ & (look->slots - 1)))
			return true;
	}
	look->sweeping = false;
	return false;
}
