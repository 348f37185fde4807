/* One hop: messages of 100 bytes that go from a writer process to a reader process, by each of the
 * ways that a design on one box can choose from.
 *
 *     writer --hand_in(64)--> [ topic | pipe | socket | Redis | NATS | Kafka ] --take--> reader
 *        '------------- written, read: counters in shared memory ------------------------'
 *
 * A way is a row of functions. Those with a server start it in `open`, in a folder of the
 * benchmark, and end it in `close`; the processor time of the server counts. What a way promises is
 * in `promise`, because a hop that forgets everything with its process is not the same as one that
 * does not.
 */
#ifndef BENCH_HOP_H
#define BENCH_HOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOP_BYTES 100u
/* Messages that are handed in at once, and taken at most. */
#define HOP_BATCH 64u

struct hop_message {
	uint64_t sent_ns; /* monotonic, when it was handed in */
	uint64_t number;  /* from 0, without gaps */
	char filler[HOP_BYTES - 16];
};

struct hop_way {
	const char *name;
	const char *promise; /* what of an accepted message outlives which death */

	/* In the measuring process, once. Returns NULL, or why this way is left out (a static
	 * text). */
	const char *(*open)(void);
	void (*close)(void);
	pid_t (*server)(void); /* 0: none; NULL is allowed */

	/* In the writer. hand_in returns when all n have been accepted or lie in a pipeline of
	 * bounded length; writer_done when everything has been accepted. */
	void (*writer_begin)(void); /* both _begin: NULL is allowed */
	void (*hand_in)(const struct hop_message *message, unsigned n);
	void (*writer_done)(void); /* NULL is allowed */

	/* In the reader. take waits up to 100 ms and returns how many it has put into message,
	 * of at most HOP_BATCH; they are acknowledged at the next call at the latest, or by
	 * reader_done. */
	void (*reader_begin)(void);
	unsigned (*take)(struct hop_message *message);
	void (*reader_done)(void); /* NULL is allowed */
};

extern const struct hop_way hop_topic, hop_pipe, hop_unix, hop_redis_list, hop_redis_lists, hop_redis_stream,
        hop_nats, hop_kafka;

/* For ways that cannot go on: says "bench-hop: WHAT: WHY" and ends the process with 1. */
_Noreturn void hop_fail(const char *what, const char *why);

/* Brokers of a Kafka that runs, from the command line; NULL: none. */
extern const char *hop_kafka_brokers;
extern unsigned hop_kafka_pid; /* of its process, 0: its processor time is not counted */

/* fork(2), with what was printed before flushed; the child ends with this process. Returns its pid,
 * 0 in it. */
pid_t hop_fork(void);

/* Starts a server that ends with this process; its output goes to the file `log`. Returns its
 * pid. */
pid_t hop_start(const char *const *arguments, const char *log);

/* Ends and waits for what hop_start started. */
void hop_end(pid_t pid);

#endif
