/* Out of the queue, and, at a stop, out of memory.
 *
 *     queue --take--> delivery --attempt_begin--> held, parked, dead; or stalled: its host is full but fast
 *
 *     drain, the whole instance ends:  queue, held, stalled --> deliver.db     started --drain_timeout--> deliver.db
 *     drain, this stage alone ends:    held, stalled --> queue                 started --drain_timeout--> deliver.db
 */
#ifndef DELIVER_TAKE_H
#define DELIVER_TAKE_H

#include "deliver/deliver.h"

#define TURN 256u /* of each kind in one poll */

/* Deliveries that are free for the queue. */
unsigned take_room(const struct deliver *deliver);

/* Whether one more may be taken. */
bool take_may(const struct deliver *deliver);

/* Takes a turn's messages, those first that the last life had taken. True when it did something. */
bool take(struct deliver *deliver);

/* Offers the one that is stalled again. True when it is no more. */
bool take_stalled(struct deliver *deliver);

/* In each turn of a stage that is to end. True when it did something. */
bool drain(struct deliver *deliver);

#endif
