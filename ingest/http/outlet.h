/* Where events go: the stage's lane in each of its topics, and the queue of postbacks.
 *
 *     handler --outlet_room, outlet_keep--> lane (uncommitted) ... --outlet_commit: one redo note--> readers
 *             --outlet_postbacks--> queue
 *
 * An event is in shared memory for good when outlet_commit has returned; only after that may its
 * answer leave (server.h).
 *
 * Full: a required reader is behind by the whole lane. Then the event is counted as refused,
 * whatever when_full says, for an HTTP client can be told; and how long it should wait is estimated
 * from how fast the slowest reader moved lately (outlet_retry_after_s).
 */
#ifndef INGEST_HTTP_OUTLET_H
#define INGEST_HTTP_OUTLET_H

#include "ingest/json/postback.h"
#include "stage/ports.h"

/* OUTLET(symbol, topic) */
#define OUTLETS(X)          \
	X(METRIC, "metric") \
	X(LOG, "log")       \
	X(TRACK, "track.raw")

enum outlet_topic {
#define X(symbol, name) OUTLET_##symbol,
	OUTLETS(X)
#undef X
	        OUTLET_TOPICS,
	OUTLET_QUEUE = OUTLET_TOPICS, /* for outlet_retry_after_s */
	OUTLET_PLACES
};

#define OUTLET_QUEUE_NAME "postback"

_Static_assert(OUTLET_TOPICS *LANE_NOTE_WORDS <= REDO_WORDS_MAX, "a batch fits one redo note");

/* How fast a place empties. */
struct outlet_pressure {
	uint64_t read_bytes; /* position of the slowest reader, or messages done, at the last look */
	uint64_t looked_ns;
	double bytes_per_s; /* moving average */
	uint64_t backlog_bytes;
};

struct outlet {
	struct lane lane[OUTLET_TOPICS];
	struct ports ports; /* all zero: alone */
	struct redo redo;
	struct queue queue;
	struct queue_slot *slot;  /* queue.slots: those claimed for one request */
	uint64_t id_high, id_low; /* of the last postback */
	struct outlet_pressure pressure[OUTLET_PLACES];
	uint64_t retry_after_max_s;
	bool shut;           /* outlet_shut was called */
	uint64_t arrival_ns; /* CLOCK_REALTIME of this turn; set by the server */
};

/* Who sent it. */
struct outlet_source {
	uint8_t address[16];
	uint16_t port;
};

/* Opens the ports of the role; notes of the last life that are finished count in the metric
 * `recovered`. Returns 0, or -errno with the reason; then nothing is held. */
int outlet_open(struct outlet *outlet, const struct instance *instance, const char *role,
                struct control *control, unsigned recovered, struct shm_error *error);

/* The same for a stage alone: records go to memory of `bytes` bytes per topic, postbacks to a queue
 * in memory. -ENOMEM. */
int outlet_open_alone(struct outlet *outlet, size_t bytes);

void outlet_close(struct outlet *outlet);

/* Room for a record of payload bytes `length`: the payload's place, or NULL when the lane is full
 * (*ever: it never has so much). Nothing has changed. */
void *outlet_room(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length, bool *never);

/* The same for an event that stands alone: what this turn has kept so far is committed when it is
 * in the way. */
void *outlet_room_alone(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length,
                        bool *never);

/* The payload at outlet_room's place is whole and takes `length` bytes, which may be fewer than
 * asked for: writes its head, and keeps it. */
void outlet_keep(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length,
                 const struct outlet_source *source);

/* Counts for the ledger: events received that were not kept. */
static inline void outlet_reject(struct outlet *outlet, enum outlet_topic topic, enum ledger_reason reason)
{
	outlet->lane[topic].received++;
	outlet->lane[topic].rejected[reason]++;
}

static inline void outlet_refuse(struct outlet *outlet, enum outlet_topic topic, uint64_t n)
{
	outlet->lane[topic].received += n;
	outlet->lane[topic].refused += n;
}

/* From now on everything is refused as if the topics were full: nobody could find it any more.
 * Between two commits. */
void outlet_shut(struct outlet *outlet);

/* Commits what was kept and counted. True when there was anything. */
bool outlet_commit(struct outlet *outlet);

enum outlet_result { OUTLET_TAKEN, OUTLET_FULL, OUTLET_TOO_LARGE, OUTLET_TOO_MANY };

/* Puts all elements into the queue, or none: slots for all are claimed first. OUTLET_TOO_LARGE:
 * element *number (from 1) is longer than a slot; OUTLET_TOO_MANY: more than the queue has slots. A
 * death in the middle leaves some of them in the queue; nobody was told that they were accepted. */
enum outlet_result outlet_postbacks(struct outlet *outlet, struct json_postback *postback,
                                    const struct outlet_source *source, uint32_t *number);

/* Looks at how fast the readers move; from the tick. */
void outlet_look(struct outlet *outlet, uint64_t now_ns);

/* Seconds that a refused client should wait: backlog / drain rate, 1 .. retry_after_max_s. */
unsigned outlet_retry_after_s(const struct outlet *outlet, enum outlet_topic place);

/* Whether the stage could take an event of each kind now: NULL, or what is in the way, for people
 * ("topic \"log\" is full"). text is room for it. */
#define OUTLET_OBSTACLE_BYTES 160u
const char *outlet_obstacle(const struct outlet *outlet, const struct instance *instance,
                            char text[OUTLET_OBSTACLE_BYTES]);

#endif
