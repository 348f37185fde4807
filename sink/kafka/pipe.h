/* A pipe: one producer of librdkafka, what is in flight in it, and how it is made anew.
 *
 *     CLOSED --pause over--> open --(exactly once: exactly.h)--> READY <--> OPEN --> CLOSING --> COMMITTING
 *       ^                                                          |          a transaction
 *       '----- fault: a fatal error, a message that came back -----'
 *
 * A fault. What is in flight is forgotten, the producer is destroyed, the lanes go back to their
 * cursors, and after a pause another producer sends from there: what the brokers had taken and not
 * confirmed comes twice (at least once), or was in a transaction that is never committed (exactly
 * once). That is the only repair: it keeps the order of a lane, whatever failed.
 *
 * A message that the broker refuses takes its whole batch with it, and the answer does not say
 * which one it was, or whether the batch was too large and no message is. So the lanes are sent
 * once more, each message alone (`single`), until they are past what had been read. What is refused
 * then is the message's own fault: counted, logged, passed over (or the sink stops, when_invalid).
 * When nothing is, it was the batch, and batches are half as large from then on.
 */
#ifndef SINK_KAFKA_PIPE_H
#define SINK_KAFKA_PIPE_H

#include "sink/kafka/exactly.h"
#include "sink/kafka/kafka.h"

enum pipe_state {
	PIPE_CLOSED,     /* no producer; opened at retry_ns */
	PIPE_STARTING,   /* exactly once: the worker fences the last life and reads the position back */
	PIPE_READY,      /* sends; exactly once: begins a transaction with the next record */
	PIPE_OPEN,       /* a transaction is open */
	PIPE_CLOSING,    /* its position was sent; the brokers have not confirmed all of it */
	PIPE_COMMITTING, /* by the worker */
	PIPE_STOPPED,    /* a message was refused, and when_invalid is stop */
};

enum pipe_fault {
	FAULT_NONE,
	FAULT_AGAIN,  /* made anew after a pause */
	FAULT_SINGLE, /* made anew for messages one by one */
	FAULT_NOW,    /* made anew at once: other properties, or something to pass over in a transaction */
	FAULT_STOP,   /* a message was refused, and when_invalid is stop */
};

#define PIPE_SKIPS_MAX 64u

struct pipe {
	struct kafka *kafka;
	enum pipe_state state;
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topic[PORTS_READS_MAX];
	uint64_t queued, queued_bytes; /* in this producer */
	bool full;                     /* librdkafka takes no more until something is answered */
	enum pipe_fault fault;         /* that pipe_serve is to act on */
	char reason[512];              /* of the last one */
	uint64_t fault_ns;             /* when it came */
	uint64_t opened_ns, retry_ns, pause_ns;
	uint64_t batch_bytes; /* 0: as the properties say */
	bool single, refused; /* each message alone; one of them was refused since */
	uint64_t refusal_ns;  /* when a refused message is logged again */
	uint64_t until[PORTS_READS_MAX][STREAM_LANES_MAX]; /* single up to these positions */
	/* exactly once */
	unsigned read, lane; /* its lane */
	char id[TRANSACTIONAL_MAX + 64];
	rd_kafka_topic_t *positions;
	struct exactly *worker;
	struct settle_flight *flight; /* the transaction */
	uint64_t commit_ns;           /* when it is due */
	uint64_t trouble_ns;          /* when the worker's trouble is told again */
	/* Positions of records that were refused: a message that fails fails its transaction, so
	 * they are passed over in the next. */
	uint64_t skip[PIPE_SKIPS_MAX];
	unsigned n_skips;
};

/* A pipe for all lanes. NULL when there is no memory. It opens at the first pipe_serve. */
struct pipe *pipe_new(struct kafka *kafka);

/* A pipe with transactions, for lane `lane` of topic i. NULL with the reason in error. */
struct pipe *pipe_new_exactly(struct kafka *kafka, unsigned i, unsigned lane, struct shm_error *error);

/* Closes and frees; NULL is allowed. What is in flight goes back to its lanes. */
void pipe_free(struct pipe *pipe);

/* Opens when it is time, takes the events of librdkafka, acts on faults. True when it did
 * something. */
bool pipe_serve(struct pipe *pipe, uint64_t now_ns);

/* Has the next pipe_serve make the producer anew, with the properties as they are now. */
void pipe_renew(struct pipe *pipe);

/* Whether records may be given to it. */
bool pipe_takes(const struct pipe *pipe);

/* Gives records of the batch, of lane `lane` of topic i, to the producer, KAFKA_FLIGHT_RECORDS at
 * most, and the reader moves on. They are a flight, or part of the open transaction. True when it
 * did something; false when there is no room, or something failed. */
bool pipe_send(struct pipe *pipe, unsigned i, unsigned lane, struct record_batch *batch, uint64_t now_ns);

/* When pipe_serve has to be called at the latest, whether there are events or not; UINT64_MAX: it
 * need not. */
uint64_t pipe_due_ns(const struct pipe *pipe);

/* Sends what librdkafka keeps back (linger.ms) now. */
void pipe_flush(struct pipe *pipe);

#endif
