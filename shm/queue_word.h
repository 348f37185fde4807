/* A slot's word, taken apart: for the queue's own sources. The picture is in queue.h. */
#ifndef SHM_QUEUE_WORD_H
#define SHM_QUEUE_WORD_H

#include "shm/queue.h"

enum phase { FREE, FILLING, READY, TAKEN };

#define PHASE_MASK 3u
#define ROLE_SHIFT 2
#define ROLE_MASK  QUEUE_ROLE_MAX
#define PASSED     (1ull << 16) /* FILLING: a taker has passed it. READY: its announcement may still be owed. */
#define LAP_SHIFT  17

static inline uint64_t word_make(uint64_t lap, uint64_t role, enum phase phase)
{
	return lap << LAP_SHIFT | role << ROLE_SHIFT | phase;
}

static inline enum phase word_phase(uint64_t word)
{
	return (enum phase)(word & PHASE_MASK);
}

static inline uint64_t word_lap(uint64_t word)
{
	return word >> LAP_SHIFT;
}

static inline bool word_owned_by(uint64_t word, uint64_t role)
{
	enum phase phase = word_phase(word);
	return (phase == FILLING || phase == TAKEN) && (word >> ROLE_SHIFT & ROLE_MASK) == role;
}

/* The last position at which the slot was claimed or gone round, plus the number of slots. A free
 * slot was used in the lap before. (The sum never goes below 0, unlike the position of a slot that
 * was never used.) */
static inline uint64_t word_used_after(uint64_t word, uint64_t index, unsigned lap_shift)
{
	return ((word_lap(word) + (word_phase(word) != FREE)) << lap_shift) + index;
}

#endif
