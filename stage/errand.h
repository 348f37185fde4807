/* An errand: what another process asks of a stage that alone can do it. It is done once or not at
 * all, whichever of the two is killed, and the asker learns which.
 *
 *     asker                      <role>.errand          <role>.stage          stage
 *                                the asker's word       the stage's word
 *     errand_begin
 *     errand_look: asks -------> ASKED ------------------------------------> errand_take
 *      (again and again)           |                    TAKEN <---------------  |    and then looks at the asker's word again
 *                                  |                                            | one transaction: what was asked, and the errand's id
 *     errand_end   answer <------- | ------------------ DONE <--------------- errand_done, with numbers
 *                                  |
 *       its time is over: DECIDING '                    fence between writing one word and looking at the other, on both sides
 *                         TAKEN there? no: REVOKED, it never will be done; yes: CONFIRMED, it will be
 *
 * Each word has one writing side; the other side maps it read-only. Each side writes its own word
 * and then, after a fence, looks at the other's, so at least one sees the other (Dekker's
 * argument):
 *
 *  - A stage that has written TAKEN carries the errand out when it finds ASKED in time, or
 *    CONFIRMED. On DECIDING it waits for the word of the asker, and goes on with its other work
 *    meanwhile. On REVOKED, or another errand, it takes TAKEN back.
 *  - An asker that does not see TAKEN after DECIDING says REVOKED, and no stage has begun: a stage
 *    that writes TAKEN later finds DECIDING or REVOKED. An asker that sees TAKEN says CONFIRMED:
 *    the stage has begun, or waits for this word, or its next life finds it.
 *
 * So the asker decides at once whatever the stage does, and the time is no more than the asker's
 * patience and the bound on what a stage takes up whose asker has died: a stage that is stopped
 * between two instructions, for however long, begins nothing that was revoked.
 *
 * A life that finds TAKEN (errand_taken) follows one that died over it: what its store says of the
 * id tells whether it is still to be done. Only the end of the whole instance ends one that was
 * confirmed and cannot be done.
 *
 * One at a time: an asker holds a lock on <role>.errand from ASKED to the end of its errand, and
 * the kernel frees it when it dies. The next asker may write over whatever a dead one has left but
 * CONFIRMED, which stands until it is done: somebody may have been told that it will be.
 */
#ifndef STAGE_ERRAND_H
#define STAGE_ERRAND_H

#include "shm/sleep.h"
#include "stage/control.h"

/* The first group is of the asker's word, the second of the stage's; NONE is of both. */
enum errand_state {
	ERRAND_NONE,
	ERRAND_ASKED,
	ERRAND_DECIDING,
	ERRAND_REVOKED,
	ERRAND_CONFIRMED,

	ERRAND_TAKEN,
	ERRAND_DONE,
};

/* A word is an errand's id and a state. The id is the time (CLOCK_MONOTONIC, nanoseconds) before
 * which it may be taken, and tells it from all others. The low halves of the words of two errands
 * that follow each other differ too: they can be slept on (futex(2)). */
#define ERRAND_STATE_BITS 3u

static inline uint64_t errand_word(uint64_t id, enum errand_state state)
{
	return id << ERRAND_STATE_BITS | (uint64_t)state;
}

static inline uint64_t errand_id(uint64_t word)
{
	return word >> ERRAND_STATE_BITS;
}

static inline enum errand_state errand_state(uint64_t word)
{
	return (enum errand_state)(word & ((1u << ERRAND_STATE_BITS) - 1));
}

/* Body of the segment <role>.errand. The stage's word is in its control block. */
struct errand_page {
	/* written by the asker that holds the lock on the file */
	alignas(SHM_LINE) _Atomic uint64_t asked;
};

/* ---- the stage ---- */

struct errands {
	struct segment segment; /* <role>.errand */
	const struct errand_page *page;
	struct control *control;
};

/* What is asked of this role, whose control block it is. Returns 0 or -errno with the reason. */
int errand_attach(struct errands *errands, const char *directory, const char *role, struct control *control,
                  struct shm_error *error);

void errand_detach(struct errands *errands);

/* At the start of a life: the id of one that a former life took; 0: none. If it was done, say so
 * (errand_done); if not, errand_take tells whether it is still to be. */
uint64_t errand_taken(const struct errands *errands);

/* What to sleep on until something is asked, or an asker has decided (sleep_note before
 * errand_take, then sleep_any). */
static inline struct sleep_word errand_call(const struct errands *errands)
{
	return sleep_on_call(sleep_low_half(&errands->page->asked));
}

/* Takes what is asked; waits for nothing. Returns the id of an errand that is to be done now, also
 * one that a former life took; 0: none. */
uint64_t errand_take(struct errands *errands, uint64_t now_ns);

/* The errand is done, and what tells so is safe. */
void errand_done(struct errands *errands, uint64_t id, const uint64_t answer[ERRAND_ANSWERS]);

/* ---- the asker ---- */

#define ERRAND_LOOK_NS 2000000ull /* an asker looks so often */

struct errand {
	struct segment page_segment, control_segment;
	struct errand_page *page;
	const struct control *control;
	int file;    /* <role>.errand, for the lock */
	uint64_t id; /* 0: not asked yet */
	uint64_t until_ns, end_ns;
};

/* An errand for the role of the instance in this directory: it is to be done within timeout_ns, and
 * may be taken during the first half of that. Returns 0, or -errno with the reason in error: there
 * is no such role, or it takes no errands. */
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
