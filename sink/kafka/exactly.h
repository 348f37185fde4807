/* Exactly once: each lane has a producer with a transactional id of its own, and the position in
 * the lane is a message of the transaction.
 *
 *     begin, messages ..., position --> topic `positions`, partition 0, key = transactional id
 *                                        {"generation":7,"position":4096,"records":17}
 *     all confirmed --> commit --> the lane's cursor moves
 *     killed before commit: the next life's init_transactions has the broker abort it
 *     killed between commit and cursor: the position read back is ahead of the cursor, the lane goes on there
 *
 * The transactional calls of librdkafka wait for brokers, and its documents advise against cutting
 * them short. So a thread of each lane, the worker, makes them, and the loop goes on serving
 * delivery reports, without which a commit would not end. The loop hands over one job at a time and
 * touches the producer's transaction only when there is none.
 *
 *     loop                                    worker
 *     exactly_start  ---- job ------------->  init_transactions (fences and ends the last life's transaction),
 *                                             creates the topic of positions, reads the position back
 *     exactly_done   <--- eventfd, answer --
 *     exactly_commit ---- job ------------->  commit_transaction
 *
 * The position is read by a read_committed consumer up to the end that the partition had after
 * init_transactions. Transactions of others that are open before that end are waited for: what is
 * behind them cannot be seen yet.
 */
#ifndef SINK_KAFKA_EXACTLY_H
#define SINK_KAFKA_EXACTLY_H

#include <librdkafka/rdkafka.h>

#include "sink/kafka/cluster.h"

struct exactly; /* opaque; one worker */

struct exactly_position {
	uint64_t generation, position, records;
};

#define EXACTLY_REASON_BYTES 256u

/* Starts the worker of the transactional id. wake is an eventfd that becomes readable with each
 * answer. The strings, cluster and wake stay until exactly_free. NULL when there is no memory or no
 * more threads. */
struct exactly *exactly_new(struct cluster *cluster, const char *id, const char *positions, int wake);

/* Ends the worker: waits until its present call returns, at most about a second while it starts,
 * and the transaction's time-out while it commits. NULL is allowed. */
void exactly_free(struct exactly *exactly);

/* Jobs; only while there is none. rk must stay until the answer. */
void exactly_start(struct exactly *exactly, rd_kafka_t *rk);
void exactly_commit(struct exactly *exactly, rd_kafka_t *rk);

/* Whether the job is done: then *result is 0 or -errno, with the reason in error, and there is no
 * job any more. While it is not, error says what it waits for, if it is in trouble. -ECANCELED: it
 * was told to end. */
bool exactly_done(struct exactly *exactly, int *result, struct shm_error *error);

/* What the last start read back; false when there was no position. */
bool exactly_position(const struct exactly *exactly, struct exactly_position *position);

#define EXACTLY_POSITION_BYTES 100u

/* A position as the text of its message, and back: returns its length; whether it is one. */
size_t exactly_write(char text[EXACTLY_POSITION_BYTES], const struct exactly_position *position);
bool exactly_read(const char *text, size_t bytes, struct exactly_position *position);

#endif
