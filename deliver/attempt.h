/* One attempt, from the postback to its outcome.
 *
 *     attempt_begin --policy, target, hosts--> HELD --hosts_next--> attempt_start --sender--> attempt_end --> outcome
 *         |                                      |                       ^                        |
 *         '--> parked, dead                      '--> attempt_refused    '-- redirect, dead connection
 *
 * Every outcome is recorded on topic `delivery`, and ends in `done` (slot freed after the lane's
 * commit) or in the list of writing.h.
 */
#ifndef DELIVER_ATTEMPT_H
#define DELIVER_ATTEMPT_H

#include "deliver/deliver.h"

/* A delivery with its postback: finds target and policy, and offers it to hosts. False: its host is
 * full but fast, and it is stalled (only with may_stall): to be offered again. */
bool attempt_begin(struct deliver *deliver, struct delivery *delivery, bool may_stall);

/* hosts_next has let it go: fills URL and body in, signs, and gives it to the sender. */
void attempt_start(struct deliver *deliver, struct delivery *delivery);

/* The sender has given it back. */
void attempt_end(struct deliver *deliver, struct delivery *delivery);

/* hosts_refused has given it back: there is no address for it. */
void attempt_refused(struct deliver *deliver, struct delivery *delivery, int result, enum guard_verdict why,
                     const char *reason);

/* hosts_overflow has given it back: its endpoint takes none now. */
void attempt_overflow(struct deliver *deliver, struct delivery *delivery);

/* It leaves memory without an outcome and waits in deliver.db until there is room for it. */
void attempt_park(struct deliver *deliver, struct delivery *delivery);

/* The same for one that is under way: taken back from the sender, due at once. */
void attempt_take_back(struct deliver *deliver, struct delivery *delivery);

#endif
