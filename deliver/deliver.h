/* The deliver stage: takes postbacks from the queue and sends them, at least once, whatever happens
 * to us or to them.
 *
 *     queue postback --take--> delivery --> target (template) --> policy --> hosts (who may now) --> sender --> outcome
 *           ^                     ^                                                                   |
 *           '--slot freed         | claim                                                             |--> record on topic `delivery`
 *                                 '------ deliver.db (what waits, what is dead) <--again, dead--------'
 *
 * A turn: take up, or take while there are free deliveries; ask hosts for those that may start;
 * hear sender and names; what has ended is recorded (record.c, one lane commit for the turn), then
 * its slot is freed, or it is put into the next commit of deliver.db, and its slot is freed after
 * that (law 2). Commits: every commit_interval while something is to be written, at once when a
 * quarter of the deliveries wait for one.
 *
 * Room. Of the deliveries a quarter is kept for those out of the queue, and a quarter for those out
 * of deliver.db, so neither starves the other; while rows wait, they have a quarter of each host's
 * room too. A postback whose host is full goes to deliver.db, but where the host is fast it waits
 * for a moment, and the queue after it (stall.h).
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

#include "deliver/data.h"
#include "deliver/delivery.h"
#include "deliver/hosts.h"
#include "deliver/record.h"
#include "deliver/stall.h"
#include "deliver/suspects.h"
#include "deliver/writing.h"
#include "shm/sleep_poll.h"
#include "stage/stage.h"

enum deliver_metric {
#define METRIC(name, kind, help) DELIVER_##name,
#define HISTOGRAM(name, help, ...) \
	DELIVER_##name, DELIVER_##name##_end = DELIVER_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "deliver/metrics.def"
#undef METRIC
#undef HISTOGRAM
	DELIVER_METRIC_COUNT
};
_Static_assert((int)DELIVER_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

struct deliver {
	struct stage *stage;
	struct control *control;
	struct ports ports;
	struct queue queue;
	struct lane lane; /* topic `delivery` */
	struct redo redo;
	struct deliver_private *private;
	struct sleep_poll *sleep;
	/* the parts */
	struct guard *guard;
	struct names *names;
	struct policies *policies;
	struct hosts *hosts;
	struct targets *targets;
	struct redact *redact;
	struct sender *sender;
	struct writing writing;
	struct data data; /* of the postback that is worked on */
	char *url;        /* where a template is filled in: url_most + 1 bytes */
	size_t url_most;
	/* the deliveries */
	struct delivery *delivery; /* n of them */
	struct delivery *free;
	struct {
		struct attempt *all; /* n of them */
		struct attempt *free;
		unsigned made; /* have been in use; the rest was never touched */
	} attempts;
	struct delivery *done;    /* delivered in this turn; their slots are freed after its commit */
	struct delivery *stalled; /* out of the queue; its host is full but fast */
	struct stalls stalls;
	unsigned n, n_free, n_rows, n_fresh;
	unsigned kept; /* that rows, and those out of the queue, leave to the other */
	/* for metrics */
	const struct metric_description *attempt_times, *delivered_times;
	struct {
		uint64_t asked, compiled;
	} told; /* counted already */
	/* loop */
	uint64_t now_ns;        /* of this turn */
	uint64_t refresh_ns;    /* addresses of the machine, secrets: read again then */
	uint64_t drain_ns;      /* what is under way may take until then; 0: not draining */
	uint64_t drain_most_ns; /* deliver.drain_timeout */
	uint64_t deaths_most;
	uint64_t chance; /* state of the generator for jitter */
	bool taken_up;   /* all that the last life had taken */
	bool noted;      /* the bell was noted, and nothing has been found since */
	bool dense;      /* the last time it asked to be woken it was, within a nap */
	bool worked;     /* since the last idle */
};

/* A delivery to be filled in, or NULL when there is none free. It is out of the free list. */
struct delivery *deliver_new(struct deliver *deliver, bool from_queue);

/* Gives it an attempt, unless it has one, as it is before there is an answer: no URL, no body.
 * There is always one: no delivery has two. */
void deliver_begin_attempt(struct deliver *deliver, struct delivery *delivery);

/* What it held is freed. Does nothing when there is none. */
void deliver_end_attempt(struct deliver *deliver, struct delivery *delivery);

/* Into the histograms of the control block. */
void deliver_time_attempt(struct deliver *deliver, uint64_t us);
void deliver_time_delivered(struct deliver *deliver, uint64_t us);

/* What it held is freed, its slot of the queue is not. It is in the free list. */
void deliver_free(struct deliver *deliver, struct delivery *delivery);

extern const struct stage_ops deliver_stage;

/* The stage alone: prints the request of each postback of a file as it would be sent. Returns the
 * exit status. */
int deliver_alone(const struct config *config, FILE *input, FILE *output);

#endif
