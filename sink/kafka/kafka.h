/* The kafka stage: reads its topics as a required group, and brings each event as a message to a
 * Kafka cluster.
 *
 *     lane 0 --.                              .--> partition 0 --.
 *     lane 1 --+-- peek, make, produce --> librdkafka            +-- delivery reports --> settle: the lanes' cursors move
 *     lane n --'   (messages)              (its threads) --> ... '
 *
 * At least once: one pipe (pipe.h), one producer, for all lanes. Exactly once: a pipe with a
 * transactional producer for each lane (exactly.h).
 */
#ifndef SINK_KAFKA_KAFKA_H
#define SINK_KAFKA_KAFKA_H

#include "shm/sleep_poll.h"
#include "sink/kafka/cluster.h"
#include "sink/kafka/message.h"
#include "stage/settle.h"
#include "stage/stage.h"

#define KAFKA_FLIGHTS        8192u /* batches in flight; when they are few, batches grow */
#define KAFKA_FLIGHT_RECORDS 256u
#define TRANSACTIONAL_MAX    512u

enum kafka_metric {
#define METRIC(name, kind, help) KAFKA_##name,
#define HISTOGRAM(name, help, ...) \
	KAFKA_##name, KAFKA_##name##_end = KAFKA_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "sink/kafka/metrics.def"
#undef METRIC
#undef HISTOGRAM
	KAFKA_METRIC_COUNT
};
_Static_assert((int)KAFKA_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

struct pipe;

struct kafka {
	struct cluster cluster;
	struct messages messages;
	struct ports ports;
	struct settle settle;
	struct control *control;
	struct stage *stage;
	struct sleep_poll *sleep;
	int wake; /* eventfd: librdkafka has an event, a worker has an answer */
	/* in librdkafka, of all pipes */
	uint64_t queued, queued_bytes;
	bool exactly_once, stop_on_invalid;
	uint64_t rebuild_least_ns, rebuild_most_ns, stalled_ns, commit_ns;
	const char *positions;                    /* topic */
	char transactional_id[TRANSACTIONAL_MAX]; /* how the ids of all lanes begin */
	/* At least once there is one for all lanes; exactly once one for each lane that there is,
	 * at `pipe` by topic and lane too. */
	struct pipe *pipes[SETTLE_CURSORS_MAX], *pipe[PORTS_READS_MAX][STREAM_LANES_MAX];
	unsigned n_pipes;
	unsigned next_read; /* topic whose turn it is */
	uint64_t lost;      /* for settle_take_up_lane; stays 0 (stored) */
	bool blocked;       /* no room: that a word has changed would tell nothing */
	bool worked;        /* since the last idle */
	bool dense;         /* the last time it asked to be woken it was, within a nap */
	bool noted;         /* the words were noted, and nothing has been found since */
	uint64_t stalled_told_ns;
	char broker_error[256]; /* the last one */
};

/* Whether another message may be given to librdkafka. */
static inline bool kafka_has_room(const struct kafka *kafka)
{
	return kafka->queued < kafka->cluster.queue_messages &&
	       kafka->queued_bytes < kafka->cluster.queue_bytes;
}

extern const struct stage_ops kafka_stage;

/* The stage alone: prints for each record of a file the message that it would become, as topic, key
 * and value with tabs between them. Returns the exit status. */
int kafka_alone(const struct config *config, FILE *input, FILE *output);

#endif
