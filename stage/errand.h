/* An errand: what another process asks of a stage that alone can do it. It is done once or not at
 * all, whichever of the two is killed, and the asker learns which.
 *
 *     asker                      a word of the control block       stage
 *     errand_begin
 *     errand_look: asks --------> ASKED -------------------------> errand_take
 *      (again and   |               |                              TAKEN: from here on it will be done, by this life or the next
 *       again)      '- its time is  |                                | one transaction: what was asked, and the errand's id
 *                      over: NONE <-'                                v
 *     errand_end  answer <-------------------------------- DONE <--- errand_done, with numbers
 *
 * A life that finds TAKEN (errand_taken) follows one that died over it: what its store says of the
 * id tells whether it is still to be done. Only the end of the whole instance ends one that was
 * taken and cannot be done.
 *
 * One at a time. An errand is taken only before its time is over, so one whose asker has died is
 * not done hours later, and stands in nobody's way. The time is also what tells it from all others:
 * the word is that time (CLOCK_MONOTONIC, nanoseconds) and the state.
 */
#ifndef STAGE_ERRAND_H
#define STAGE_ERRAND_H

#include "stage/control.h"

enum errand_state { ERRAND_NONE, ERRAND_ASKED, ERRAND_TAKEN, ERRAND_DONE };

#define ERRAND_STATE_BITS 2u
#define ERRAND_STATES     ((1ull << ERRAND_STATE_BITS) - 1)

/* ---- the stage ---- */

/* The id of an errand that is asked and may still be taken; 0: none. */
static inline uint64_t errand_asked(const struct control *control, uint64_t now_ns)
{
	uint64_t word = atomic_load_explicit(&control->errand, memory_order_acquire);
	return (word & ERRAND_STATES) == ERRAND_ASKED && now_ns < word >> ERRAND_STATE_BITS
	               ? word - ERRAND_ASKED
	               : 0;
}

/* False: its asker has given it up meanwhile. */
static inline bool errand_take(struct control *control, uint64_t id)
{
	uint64_t word = id + ERRAND_ASKED;
	return atomic_compare_exchange_strong(&control->errand, &word, id + ERRAND_TAKEN);
}

/* At the start of a life: the id of the one that a former life took; 0: none. */
static inline uint64_t errand_taken(const struct control *control)
{
	uint64_t word = atomic_load_explicit(&control->errand, memory_order_acquire);
	return (word & ERRAND_STATES) == ERRAND_TAKEN ? word - ERRAND_TAKEN : 0;
}

static inline void errand_done(struct control *control, uint64_t id, const uint64_t answer[ERRAND_ANSWERS])
{
	for (unsigned i = 0; i < ERRAND_ANSWERS; i++)
		atomic_store_explicit(&control->errand_answer[i], answer[i], memory_order_relaxed);
	atomic_store_explicit(&control->errand, id + ERRAND_DONE, memory_order_release);
}

/* ---- the asker ---- */

#define ERRAND_LOOK_NS 2000000ull /* an asker looks so often */

struct errand {
	struct segment segment; /* of the stage */
	const char *directory, *role;
	uint64_t id; /* 0: not asked yet */
	uint64_t until_ns, end_ns;
};

/* An errand for the role of the instance in this directory, both of which outlive it: it is to be
 * done within timeout_ns, and may be taken during the first half of that. Returns 0, or -errno with
 * the reason in error: there is no such role. */
int errand_begin(struct errand *errand, const char *directory, const char *role, uint64_t timeout_ns,
                 struct shm_error *error);

/* Asks, or looks what became of it; waits for nothing. Returns -EAGAIN while that is open; 0 with
 * the answer; -EBUSY: it was not taken and never will be, or somebody else's was in the way all the
 * time; -EINPROGRESS: it was taken and will be done. */
int errand_look(struct errand *errand, uint64_t answer[ERRAND_ANSWERS]);

/* At any time after errand_begin: nobody looks any more. One that was not taken never will be; one
 * that was will be done. */
void errand_end(struct errand *errand);

#endif
