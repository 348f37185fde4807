/* What is in a queue, seen without taking it. Nothing is changed and no user of the queue waits.
 *
 *     queue_look_open --> [ queue_look ... queue_look: true, a message;  false: end of the sweep ]* --> queue_look_close
 *
 * A sweep goes over all slots once, from the place that was used longest ago to the newest, so its
 * messages come roughly in their order. Each message that is ready or taken when the sweep gets to
 * it is shown once: not again when it is taken, given back, or held for so long that producers go
 * round it. What comes and goes between two sweeps is not seen and not counted.
 *
 * A slot has no lock. Its word is read before and after the message is copied, and a copy is shown
 * only when both tell the same message, whole; otherwise the next sweep tries again. The order, as
 * for any sequence lock: word (acquire), copy, fence (acquire), word again. A producer that
 * overwrites the message has seen the word that made its slot free, so a copy with a byte of the
 * new message in it finds that word or a later one.
 */
#ifndef SHM_QUEUE_LOOK_H
#define SHM_QUEUE_LOOK_H

#include "shm/queue.h"

struct queue_look {
	/* The message that the last call showed, until the next: */
	const void *data; /* 8-byte aligned */
	uint32_t length;  /* bytes */
	bool taken;       /* a taker works on it; otherwise it waits */
	/* The implementation's: */
	uint64_t *seen; /* by slot: lap of the message shown last + 1 */
	char *copy;     /* slot_bytes */
	uint64_t slots, slot_bytes;
	uint64_t next, left; /* of the sweep */
	bool sweeping;
};

/* Begins to look at a queue of that size; all messages are new. Allocates 8 bytes a slot, and room
 * for one message. Returns 0 or -ENOMEM. */
int queue_look_open(struct queue_look *look, const struct queue *queue);

/* Shows the next message. False: the sweep has ended, the next call begins another. The queue is
 * the one that was given to queue_look_open, or the same attached again (read-only is enough). */
bool queue_look(struct queue_look *look, const struct queue *queue);

void queue_look_close(struct queue_look *look);

#endif
