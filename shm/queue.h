/* A queue: many writers, many takers, each message taken by one of them. Nobody waits for the dead.
 *
 *     producer                                            taker
 *     queue_reserve   FREE ----> FILLING                  queue_take   READY --> TAKEN
 *     ... fill ...                                        ... work ...
 *     queue_commit    FILLING -> READY                    queue_done   TAKEN --> FREE, next lap
 *
 * There are n slots, and for each slot one 64-bit word that says everything about it. Every claim
 * is one compare-and-swap on the slot's own word and puts the claimer's role into it, so a claim
 * always has an owner:
 *
 *      63                          17    16      15          2 1       0
 *     +------------------------------+--------+--------------+---------+
 *     | lap                          | passed | role         | phase   |    a word of zero: free, lap 0
 *     +------------------------------+--------+--------------+---------+
 *
 *                     reserve             commit               take
 *       FREE, lap k ----------> FILLING ----------> READY ------------> TAKEN
 *                                 |                   ^                 |   |
 *                                 |                   '-----------------'   |
 *                                 |                    give_back, repair    |
 *       FREE, lap k + 1 <---------'                                         |
 *             ^       cancel, repair                                        |
 *             '-------------------------------------------------------------'
 *                                     done
 *
 * Positions only grow: position p is slot p % n in lap p / n. There is no shared head and no shared
 * tail; both ends are found from the words: a word of an older lap, or a free one of this lap, is
 * the end of the queue. Each user keeps a place of its own to look from. That place may be stale,
 * it is never wrong. (So a user that comes late, or slept while others went far, looks at up to n
 * words once.)
 *
 *   Going round. A producer that comes to a slot which another still fills or holds from an older lap raises the lap in the
 *   word and goes on. The owner keeps the slot (commit and done take the lap that they find). So a slot that is held for long, or
 *   orphaned by a death, costs one place out of n and delays nobody. A slot that is READY from an older lap means: full.
 *
 *   Passing. A taker that comes to a slot being filled looks further. When it has found messages QUEUE_PATIENCE places after the
 *   slot, it sets `passed` and does not look there again. Whichever producer commits a passed slot announces it, and so does
 *   a taker that gives a message back.
 *
 *   Announcing. `returned` becomes (count + 1, slot). Each taker compares it with what it saw last before it looks for anything.
 *   After one announcement more it looks at that slot; after several it looks at the whole last lap again. A READY word keeps
 *   `passed` while an announcement is due: if its maker dies first, a producer that finds the queue full there announces it.
 *
 * Order: roughly first in, first out. Messages overtake those whose producer is slow and those that
 * were given back.
 *
 * Death. A role is a small number that one living process has at a time (the lock on <role>.role
 * sees to that). A process killed at any instruction leaves words that name its role. Its next life
 * calls queue_resume and finishes what the last one had taken; or another process, which knows that
 * it is dead, calls queue_repair. What the dead process was filling is dropped (nobody was told
 * that it had been accepted); what it had taken becomes READY again. So a committed message is
 * taken at least once, and more than once only if its taker died or gave it back. Both calls also
 * announce and ring, because the dead process may have been about to.
 *
 * Several as one. A producer may claim slots for several messages and publish all of them or none,
 * whenever it dies. One word, in memory that outlives the process, decides:
 *
 *     reserve, fill ...   lengths --> *decided = 1 --> commit, commit, ... --> *decided = 0
 *     '---- death: none -------------'------- death: all, by queue_commit_filled --'
 *
 * Takers may see the first ones before the last. Those that a death leaves FILLING wait until the
 * role is repaired.
 *
 * Memory order. Commit releases what was filled, take acquires it; done and cancel release the
 * slot, reserve acquires it. An announcement is a release after the word that it is about, and a
 * taker acquires `returned` before it looks at words: if it passes a place that is about to become
 * ready, it has not seen its announcement yet, and will. Going round and passing are relaxed: they
 * carry no data.
 *
 * Why not a ring with tickets (D. Vyukov's bounded MPMC queue, ck_ring of Concurrency Kit, rte_ring
 * of DPDK): there a claim is an increment of a shared index. It says that place p is claimed, not
 * by which process. All later places wait for it, and if the claimer has died they wait for ever.
 * (The lap in each word is Vyukov's sequence number.) Laps do not wrap: 2^47 of them, at 4096 slots
 * and 100 million messages a second, last 180 years. Checked with spin: tests/model/.
 */
#ifndef SHM_QUEUE_H
#define SHM_QUEUE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/bell.h"
#include "shm/segment.h"

#define QUEUE_SLOTS_MIN      2u
#define QUEUE_SLOTS_MAX      (1u << 24)
#define QUEUE_SLOT_BYTES_MAX (1u << 20)
#define QUEUE_LENGTH_BYTES   8u     /* before the data of each slot: struct queue_prefix */
#define QUEUE_ROLE_MAX       16383u /* roles are 1 .. this; usually the role's index in the instance page + 1 */
#define QUEUE_PATIENCE       64u    /* places; a quarter of the slots when that is less */

/* ---- a slot's word, taken apart ---- */

enum queue_phase { QUEUE_FREE, QUEUE_FILLING, QUEUE_READY, QUEUE_TAKEN };

#define QUEUE_LAP_SHIFT 17

static inline enum queue_phase queue_word_phase(uint64_t word)
{
	return (enum queue_phase)(word & 3);
}

static inline uint64_t queue_word_lap(uint64_t word)
{
	return word >> QUEUE_LAP_SHIFT;
}

/* The last position at which the slot was claimed or gone round, plus the number of slots. A free
 * slot was used in the lap before. (The sum never goes below 0, unlike the position of a slot that
 * was never used.) */
static inline uint64_t queue_word_used_after(uint64_t word, uint64_t index, unsigned lap_shift)
{
	return ((queue_word_lap(word) + (queue_word_phase(word) != QUEUE_FREE)) << lap_shift) + index;
}

/* ---- memory ---- */

/* Body of a SEGMENT_QUEUE, or any 64-byte aligned memory of queue_bytes(). Then follow `slots`
 * words, each written by compare-and-swap by the user that its phase allows, and at data_offset the
 * slots, each written by the producer that claimed it. */
struct queue_shared {
	alignas(SHM_LINE) uint64_t slots; /* a power of two; this and the next three: creator */
	uint64_t slot_bytes;              /* longest message */
	/* from slot to slot: struct queue_prefix, slot_bytes, whole lines */
	uint64_t stride_bytes;
	uint64_t data_offset; /* bytes from here to slot 0 */
	/* count << 24 | slot: how often a message became ready in a slot that takers had passed,
	 * and the last such slot. Any user. */
	alignas(SHM_LINE) _Atomic uint64_t returned;
	struct bell pushed;   /* rung when a message has become ready */
	struct bell released; /* rung when a slot has become free */
	alignas(SHM_LINE) _Atomic uint64_t word[];
};
_Static_assert(sizeof(struct queue_shared) == 4 * SHM_LINE, "words begin on a line of their own");

/* Before the data of each slot, written by the producer at commit. Each message of a slot has
 * another lap, so queue_look can tell one from the next. */
struct queue_prefix {
	uint32_t length; /* of the message, bytes */
	uint32_t lap;    /* of the slot's word when the message was published, its low half */
};
_Static_assert(sizeof(struct queue_prefix) == QUEUE_LENGTH_BYTES, "data is 8-byte aligned");

/* A queue as one thread of one process sees it. Its fields are the implementation's. */
struct queue {
	struct queue_shared *shared;
	_Atomic uint64_t *word;
	char *data;
	struct bell *pushed;   /* its bells, or NULL: nobody sleeps, and none is rung */
	struct bell *released; /* the same */
	uint64_t slots, slot_bytes, stride_bytes;
	unsigned lap_shift; /* position >> lap_shift is its lap */
	unsigned patience;
	uint64_t role;
	uint64_t reserve_position; /* all places before it have been used */
	uint64_t take_position;    /* no place before it is ready, or an announcement comes */
	uint64_t returned;         /* last seen */
	uint64_t damaged;          /* messages thrown away because their length was impossible */
	struct segment segment;    /* zero unless attached by name */
};

/* A claimed slot. */
struct queue_slot {
	void *data;      /* slot_bytes bytes, 8-byte aligned; NULL when nothing was claimed */
	uint32_t length; /* bytes of the message; taken slots only */
	uint32_t index;
};

/* What the words say, read one after the other: while others work, not a picture of one moment. */
struct queue_counts {
	uint64_t slots, free, filling, ready, taken;
	/* places that all producers together have come to: used less ready and taken is, but for
	 * places that were gone round or given up, how many messages have been dealt with */
	uint64_t used;
};

/* ---- creating ---- */

/* Bytes of memory for a queue, 0 when slots is not a power of two within the limits or slot_bytes
 * is 0 or too large. */
size_t queue_bytes(uint64_t slots, uint64_t slot_bytes);

/* Makes an empty queue in zeroed memory of at least queue_bytes(). Returns 0, or -EINVAL for the
 * sizes, too little memory or an address that is no multiple of SHM_LINE. */
int queue_init(struct queue_shared *shared, size_t bytes, uint64_t slots, uint64_t slot_bytes);

/* Creates the segment directory/name. Supervisor only. Errors as segment_create; -EINVAL for the
 * sizes. */
int queue_create(const char *directory, const char *name, uint64_t generation, uint64_t slots,
                 uint64_t slot_bytes, struct shm_error *error);

/* Bytes of the file that queue_create makes; 0 as queue_bytes. */
size_t queue_file_bytes(uint64_t slots, uint64_t slot_bytes);

/* ---- joining: once per thread that uses the queue ---- */

/* Uses a queue in memory. role 1..QUEUE_ROLE_MAX claims in that name; 0 only counts and repairs.
 * The sizes are copied once and not read from shared memory again. Returns 0, -EINVAL for the role,
 * -EPROTO when the sizes do not fit together or do not fit in `bytes`. */
int queue_join(struct queue *queue, struct queue_shared *shared, size_t bytes, unsigned role);

/* Maps the segment and joins, using its bells. With SEGMENT_READ only queue_count and queue_look
 * may be called, role is 0, and there is no bell to sleep on: that would be a write. Errors as
 * segment_attach and queue_join. */
int queue_attach(struct queue *queue, const char *directory, const char *name, enum segment_access access,
                 unsigned role, struct shm_error *error);

/* Unmaps what queue_attach mapped. Claims stay claimed: finish them first. */
void queue_detach(struct queue *queue);

/* After queue_join: rings the queue's bells, and may sleep on them. */
void queue_use_bells(struct queue *queue);

/* ---- producing ---- */

/* Claims a free slot. Fill slot->data, then queue_commit or queue_cancel. Returns false when the
 * queue is full, or when every slot is claimed. Any number may be claimed at a time. A queue joined
 * with role 0 aborts here and in queue_take. */
bool queue_reserve(struct queue *queue, struct queue_slot *slot);

/* Whether `n` reserves in a row would succeed now: a look, which others may overtake. (A cancelled
 * claim cannot be used again until the takers have come round to it, so look first when several are
 * wanted.) */
bool queue_has_room(const struct queue *queue, uint64_t n);

/* Publishes `length` bytes (at most slot_bytes; more aborts). Rings `pushed`. Returns 0, or -EPERM
 * when the slot is no longer this role's claim (the role was repaired while it was alive): nothing
 * was published. */
int queue_commit(struct queue *queue, const struct queue_slot *slot, uint32_t length);

/* Publishes n slots, slot->length bytes each, as one: after a death all of them count, or none, if
 * whoever repairs the role calls queue_commit_filled where *decided is not 0. The role has no other
 * slot claimed to fill, in any queue. decided is 0 before and after. Returns 0, or -EPERM as
 * queue_commit: then those that still were this role's are published. */
int queue_commit_all(struct queue *queue, const struct queue_slot *slot, uint32_t n,
                     _Atomic uint64_t *decided);

/* Gives the slot up unfilled. Rings `released`. Returns 0 or -EPERM as queue_commit. */
int queue_cancel(struct queue *queue, const struct queue_slot *slot);

/* Reserve, copy, commit. Returns false when full. */
bool queue_push(struct queue *queue, const void *data, uint32_t length);

/* ---- taking ---- */

/* Claims the oldest ready message that it finds. Work on it, then queue_done or queue_give_back;
 * any number may be held at a time, in any order (but have twice as many slots as all takers hold
 * together, so that producers find free ones quickly). Returns false when there is none. */
bool queue_take(struct queue *queue, struct queue_slot *slot);

/* The message has been dealt with; its effect is safe. Rings `released`. Returns 0, or -EPERM when
 * the slot is no longer this role's claim: the message was repaired and will be taken again. */
int queue_done(struct queue *queue, const struct queue_slot *slot);

/* Makes the message ready again, at its old place. Rings `pushed`. Returns 0 or -EPERM as
 * queue_done. */
int queue_give_back(struct queue *queue, const struct queue_slot *slot);

/* ---- after a death ---- */

struct queue_repaired {
	uint64_t dropped;    /* slots that were being filled */
	uint64_t given_back; /* messages that had been taken */
};

/* Frees and gives back whatever words name `role` as their owner, announces, rings both bells. The
 * caller knows that no process of that role lives. May be repeated; must be, when the caller itself
 * died in the middle. Looks at all words. */
struct queue_repaired queue_repair(struct queue *queue, unsigned role);

/* Before queue_repair or queue_resume, when the dead process of the role had decided to publish all
 * that it was filling (queue_commit_all): publishes it. Afterwards, and after the same on all other
 * queues that the role puts into, set the word back to 0. May be repeated. Returns how many. */
uint64_t queue_commit_filled(struct queue *queue, unsigned role);

/* For the next life of a role, before it claims anything: hands out, one a call, the messages that
 * the last life had taken and not finished, in the order of slots, and drops what it was filling.
 * *next is 0 at first. Finish each with queue_done or queue_give_back. Returns false after the
 * last; then all is announced and both bells have been rung. */
bool queue_resume(struct queue *queue, uint32_t *next, struct queue_slot *slot);

/* ---- looking and waiting ---- */

/* Reads all words; changes nothing. */
void queue_count(const struct queue *queue, struct queue_counts *counts);

/* queue_take, and when there is nothing, one sleep of at most timeout_ns on `pushed` (which must
 * not be NULL) and another queue_take. A false may come early: a signal, or others were quicker. */
bool queue_take_wait(struct queue *queue, struct queue_slot *slot, uint64_t timeout_ns);

/* queue_reserve in the same manner, on `released`. */
bool queue_reserve_wait(struct queue *queue, struct queue_slot *slot, uint64_t timeout_ns);

#endif
