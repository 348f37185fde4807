/* The exit of the stage: its lane in each topic that it writes, and the queues that it puts into,
 * by the row of the flow table (flow/flow.def). It takes records and messages and knows nothing of
 * what is in them but their head.
 *
 *     handler --outlet_room, outlet_keep--> lane (uncommitted) ... --outlet_commit: one redo note--> readers
 *             --outlet_claim, outlet_fill, outlet_put--> queue
 *
 * An event is in shared memory for good when outlet_commit or outlet_put has returned. Only after
 * that may its answer leave (server.h).
 *
 * A topic is full when a required reader is a whole lane behind. Then the event is counted as
 * refused, whatever when_full says, because an HTTP client can be told. How long it should wait is
 * estimated from how fast the slowest reader moved lately (outlet_retry_after_s).
 */
#ifndef INGEST_HTTP_OUTLET_H
#define INGEST_HTTP_OUTLET_H

#include "event/event.h"
#include "stage/ports.h"

#define OUTLET_TOPICS_MAX PORTS_WRITES_MAX
#define OUTLET_QUEUES_MAX PORTS_QUEUES_MAX
#define OUTLET_PLACES_MAX (OUTLET_TOPICS_MAX + OUTLET_QUEUES_MAX)
_Static_assert(OUTLET_TOPICS_MAX *LANE_NOTE_WORDS <= REDO_WORDS_MAX, "a batch fits one redo note");

/* How fast a place empties. */
struct outlet_pressure {
	uint64_t read_bytes; /* position of the slowest reader, or messages done, at the last look */
	uint64_t looked_ns;
	double bytes_per_s; /* moving average */
	uint64_t backlog_bytes;
};

/* A topic or a queue. Places are numbers: first the topics, then the queues. */
struct outlet_place {
	const char *name;
	uint16_t type; /* of its records */
	struct outlet_pressure pressure;
};

struct outlet {
	struct outlet_place place[OUTLET_PLACES_MAX];
	unsigned n_topics, n_places;
	struct lane lane[OUTLET_TOPICS_MAX];   /* by place */
	struct queue queue[OUTLET_QUEUES_MAX]; /* by place - n_topics */
	struct ports ports;                    /* all zero: alone */
	struct redo redo;
	struct queue_slot *slot;  /* those claimed for one request; room for the largest queue */
	uint64_t id_high, id_low; /* the last id given */
	uint64_t retry_after_max_s;
	bool shut;           /* outlet_shut was called */
	uint64_t arrival_ns; /* CLOCK_REALTIME of this turn; set by the server */
};

/* The sender. */
struct outlet_source {
	uint8_t address[16];
	uint16_t port;
};

/* Opens the ports of the role; notes of the last life that are finished count in the metric
 * `recovered`. Returns 0, or -errno with the reason; then nothing is held. */
int outlet_open(struct outlet *outlet, const struct instance *instance, const char *role,
                struct control *control, unsigned recovered, struct shm_error *error);

/* The same for a stage alone: records go to memory of `bytes` bytes per topic, messages to queues
 * in memory. -ENOMEM. */
int outlet_open_alone(struct outlet *outlet, size_t bytes);

void outlet_close(struct outlet *outlet);

/* The place of a topic or queue, or -ENOENT: the stage does not write it. */
int outlet_find(const struct outlet *outlet, const char *name);

static inline bool outlet_is_queue(const struct outlet *outlet, unsigned place)
{
	return place >= outlet->n_topics;
}

/* ---- topics ---- */

/* Room for a record with a payload of `length` bytes. Returns where the payload goes, or NULL when
 * the lane is full (*never: it cannot hold so much even when it is empty; otherwise *never is left
 * alone). Nothing changes. */
void *outlet_room(struct outlet *outlet, unsigned place, size_t length, bool *never);

/* The same for an event that stands alone: what this turn has kept so far is committed when it is
 * in the way. */
void *outlet_room_alone(struct outlet *outlet, unsigned place, size_t length, bool *never);

/* The payload in outlet_room's place is complete and takes `length` bytes, which may be fewer than
 * asked for. Writes its head, and keeps it. */
void outlet_keep(struct outlet *outlet, unsigned place, size_t length, const struct outlet_source *source);

/* Counts for the ledger: events received that were not kept. */
static inline void outlet_reject(struct outlet *outlet, unsigned place, enum ledger_reason reason)
{
	outlet->lane[place].received++;
	outlet->lane[place].rejected[reason]++;
}

static inline void outlet_refuse(struct outlet *outlet, unsigned place, uint64_t n)
{
	outlet->lane[place].received += n;
	outlet->lane[place].refused += n;
}

/* Commits what was kept and counted. True when there was anything. */
bool outlet_commit(struct outlet *outlet);

/* ---- queues: slots for all messages of a request are claimed, filled, then put ---- */

/* Messages that the queue can hold, and bytes that each may have. */
uint64_t outlet_slots(const struct outlet *outlet, unsigned place);
size_t outlet_slot_bytes(const struct outlet *outlet, unsigned place);

/* Claims n slots (at most outlet_slots), or none and returns false: the queue is too full. Each of
 * the n is filled then, and outlet_put is called. */
bool outlet_claim(struct outlet *outlet, unsigned place, uint32_t n);

/* Where the payload of claimed slot i goes, outlet_slot_bytes long. */
static inline void *outlet_slot(struct outlet *outlet, uint32_t i)
{
	return outlet->slot[i].data;
}

/* The payload of slot i is complete and takes `length` bytes. Writes its head. */
void outlet_fill(struct outlet *outlet, uint32_t i, uint32_t length, const struct outlet_source *source);

/* Puts the n claimed slots into the queue, all of them or none, even if this process dies in the
 * middle (ports_put_all). */
void outlet_put(struct outlet *outlet, unsigned place, uint32_t n);

/* An id that no other message of the instance has, in any life of any process. */
void outlet_next_id(struct outlet *outlet, uint64_t id[2]);

/* ---- full, or not ---- */

/* From now on everything is refused as if all were full: nobody could find it any more. Between two
 * commits. */
void outlet_shut(struct outlet *outlet);

/* Measures how fast the readers move; from the tick. */
void outlet_look(struct outlet *outlet, uint64_t now_ns);

/* Seconds that a refused client should wait: backlog / drain rate, 1 .. retry_after_max_s. */
unsigned outlet_retry_after_s(const struct outlet *outlet, unsigned place);

/* Whether every place could take something now: NULL, or what is in the way, for people ("topic
 * \"log\" is full"). text is room for it. */
#define OUTLET_OBSTACLE_BYTES 160u
const char *outlet_obstacle(const struct outlet *outlet, const struct instance *instance,
                            char text[OUTLET_OBSTACLE_BYTES]);

#endif
