/* The deliver stage: takes postbacks from the queue and sends them, at least once, whatever happens
 * to us or to them.
 *
 *     queue postback --take--> delivery --> target (template) --> policy --> hosts (who may now) --> sender --> outcome
 *           ^                     ^                                                                   |
 *           '--slot freed         | claim                                                             |--> record on topic `delivery`
 *                                 '------ deliver.db (what waits, what is dead) <--again, dead--------'
 *
 * A turn: take up, or take while there are free deliveries; ask hosts for those that may start;
 * hear sender and names; what has ended is recorded (records.c, one lane commit for the turn), then
 * its slot is freed, or it is put into the next commit of deliver.db, and its slot is freed after
 * that (law 2). Commits: every commit_interval while something is to be written, at once when a
 * quarter of the deliveries wait for one.
 *
 * Which postback kills its sender. While the stage works on one (its template, its request, its
 * answer), `handling` in the private segment holds its id. A life that begins with a `handling`
 * that the last one left counts a death for it; after `deaths_most` it becomes a dead letter
 * ("killed its sender 2 times") and is not touched otherwise. A kill from outside hits the same one
 * twice only by chance: the list holds the last DELIVER_SUSPECTS ids that were hit, and a delivered
 * one leaves it.
 *
 * Draining. What is in flight has deliver.drain_timeout; what waits in memory and in the queue is
 * written to deliver.db at once; what is left then is taken back from the sender and written too,
 * due at once. The stage ends with an empty queue.
 */
#ifndef DELIVER_DELIVER_H
#define DELIVER_DELIVER_H

#include "deliver/delivery.h"
#include "deliver/hosts.h"
#include "deliver/waiting.h"
#include "shm/bell_poll.h"
#include "shm/private.h"
#include "stage/stage.h"

#define DELIVER_SUSPECTS 64u

struct deliver_suspect {
	_Atomic uint64_t id[2]; /* of the postback; zero: none */
	_Atomic uint64_t deaths;
};

/* Body of the private segment, PRIVATE_NOTE_BYTES long. */
struct deliver_private {
	struct private_note note;
	_Atomic uint64_t handling[2]; /* id, zero while nothing is worked on */
	struct deliver_suspect suspect[DELIVER_SUSPECTS];
};
_Static_assert(sizeof(struct deliver_private) <= PRIVATE_NOTE_BYTES, "it fits its segment");

extern const struct stage_ops deliver_stage;

#endif
