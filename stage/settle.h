/* Settle: when a sink makes safe what it has read, what a failing store means, and when the cursors
 * move. Every sink has one, in the form that its store needs:
 *
 *     at once    the store makes all that was passed safe in one call          tally
 *     in flight  the store answers later, piece by piece and in any order      kafka, file
 *
 * At once:
 *
 *     records --sink--> effects, not safe yet --commit: effects and cursors in one step--> store
 *        '--settle_pass--> due?                     '- good: the lanes' cursors move (law 2)
 *                                                   '- bad: nothing has moved; tried again at each tick
 *
 * Due: `interval_ns` after the first record that is not safe; sooner when a lane is a quarter full
 * counted from its cursor (and little more is waiting in it), when `most_bytes` have been passed,
 * or when the sink wishes.
 *
 * In flight:
 *
 *     records --sink--> effects --> store                                       in the order of the lane
 *        '--settle_open_flight, settle_fly, settle_close_flight
 *                                     '--> answers --settle_land                  in any order
 *
 *        lane:  ...... | flight | flight | flight | ......
 *               cursor ^          landed          ^ position       the cursor moves over the flights at the
 *                        '- not landed                             front that have landed, and no further (law 2)
 *
 * A flight is a run of records of one lane that becomes safe together: a batch whose messages a
 * broker confirms one by one, or a transaction. At most `most_flights` and `most_bytes` are in
 * flight; then the sink stops reading, and the lane fills. What the store will never answer for is
 * read again from the cursor (settle_return).
 *
 * Exactly once, where the store keeps the cursors with the effects. A life killed before the store
 * has both leaves both as they were; one killed between store and cursor leaves the store ahead,
 * and the next begins, in each lane, at the later of the two (settle_take_up).
 *
 * Failing: said once in the log, told by `failing` and the note in the control block. At once:
 * tried again by each tick; the sink may read on as long as it has room. In flight: the sink says
 * so (settle_fail) and tries again as its store has it; what lands ends it. What was read stays in
 * the lanes, which then fill, and writers drop or refuse as their topic says.
 *
 * Draining: what was passed is committed at once; what is in flight is waited for. While that fails
 * the stage stays, until whoever drains it loses patience; the lanes then still hold what the store
 * lacks.
 */
#ifndef STAGE_SETTLE_H
#define STAGE_SETTLE_H

#include "event/event.h"
#include "stage/ports.h"

/* How far a lane was read. */
struct settle_cursor {
	const char *topic;
	unsigned lane;
	uint64_t generation; /* of the instance in which position means something */
	uint64_t position;
	uint64_t records;
};

#define SETTLE_CURSORS_MAX (PORTS_READS_MAX * STREAM_LANES_MAX)

/* Where the effects go. */
struct settle_store {
	/* Makes safe, in one step, all that was passed since the last time and the cursors, those
	 * of lanes in which something was passed. Returns 0; or -errno with the reason in error,
	 * and then nothing has changed and the same call may be repeated. NULL: the store answers
	 * later, in flight. */
	int (*commit)(void *sink, const struct settle_cursor *cursor, unsigned n, struct shm_error *error);
	/* The stored cursor of cursor->topic and ->lane; fills the rest. Returns 0; -ENOENT when
	 * there is none; other -errno with the reason. NULL: the store keeps none. */
	int (*stored)(void *sink, struct settle_cursor *cursor, struct shm_error *error);
	/* Whether the store is still there, while nothing is to be committed; about once a second.
	 * Returns 0 or -errno with the reason: it is failing. In flight it is asked while nothing
	 * is in flight, and 0 ends failing. NULL: it is. */
	int (*look)(void *sink, struct shm_error *error);
	const char *name; /* for people: "database" */
};

/* A run of records of one lane whose effects the store has not confirmed. By settle alone, but for
 * `awaited`. */
struct settle_flight {
	struct stream_mark end; /* the cursor goes there once it and all before it have landed */
	uint64_t begun_ns;
	uint32_t awaited; /* effects that are not safe; 1 more while it is open */
	uint16_t reads, lane;
	struct settle_flight *next; /* of its lane, or of those that are free */
};

struct settle {
	const struct settle_store *store;
	void *sink;
	struct ports *ports;
	struct control *control;
	unsigned metric; /* where those of settle.def begin: a word */
	uint64_t interval_ns;
	uint64_t most_bytes;           /* 0: no limit */
	const char *folder;            /* left out where a reason begins with it; NULL: none */
	uint64_t due_ns;               /* UINT64_MAX while all is safe */
	uint64_t passed_bytes;         /* in all lanes and not safe */
	uint64_t look_ns;              /* when to look at the store again */
	uint64_t longest_ns;           /* commit of this life */
	int failing;                   /* 0, or the -errno of the last attempt */
	char note[CONTROL_NOTE_BYTES]; /* what `stat` shows while all is well */
	struct settle_cursor cursor[SETTLE_CURSORS_MAX];
	/* in flight */
	struct settle_flight *flights, *free;
	uint32_t n_flights; /* not free */
	struct settle_lane {
		struct settle_flight *first, *last;
	} lane[PORTS_READS_MAX][STREAM_LANES_MAX];
};

enum settle_metric {
#define METRIC(name, kind, help) SETTLE_##name,
#define HISTOGRAM(name, help, ...) \
	SETTLE_##name, SETTLE_##name##_end = SETTLE_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "stage/settle.def"
#undef METRIC
#undef HISTOGRAM
	SETTLE_METRIC_COUNT
};

/* Prepares settle for what the ports read. metric is the sink's index of `waiting_records`. The
 * limits and the folder are the caller's to set after it. */
void settle_init(struct settle *settle, const struct settle_store *store, void *sink, struct ports *ports,
                 struct control *control, unsigned metric);

/* At the start, before anything is read: takes each lane to the later of its cursor and the
 * store's. *lost is the number of records that the group has read and the store does not have
 * (deleted, an older copy, another store). Returns 0 or -errno with the reason: -EINVAL when the
 * store is where the lane has not been. */
int settle_take_up(struct settle *settle, uint64_t *lost, struct shm_error *error);

/* The same for one lane of topic i of `reads`, for a store that tells its cursors later or a lane
 * that came with a reload. *lost grows. */
int settle_take_up_lane(struct settle *settle, unsigned i, unsigned lane, uint64_t *lost,
                        struct shm_error *error);

/* ---- at once ---- */

/* At the start of a poll: commits when the time has come. */
void settle_poll(struct settle *settle, uint64_t now_ns);

/* The sink has dealt with `records` records of the batch, which topic_peek gave of a lane of topic
 * i of `reads`: the reader moves on, its cursor stays. Commits when that is due early. wish: the
 * sink wants it now. */
void settle_pass(struct settle *settle, unsigned i, unsigned lane, const struct record_batch *batch,
                 uint64_t records, bool wish, uint64_t now_ns);

/* ---- in flight ---- */

/* After settle_init: at most so many flights at a time. Returns 0 or -ENOMEM. */
int settle_init_flights(struct settle *settle, uint32_t most_flights);

/* A flight that begins where the reader of a lane of topic i of `reads` is. NULL while most_flights
 * or most_bytes are in flight: stop reading, and come back when something has landed. Count each
 * effect in flight->awaited before its answer can come. One flight of a lane is open at a time. */
struct settle_flight *settle_open_flight(struct settle *settle, unsigned i, unsigned lane, uint64_t now_ns);

/* The sink has sent `records` records of the batch: they belong to the flight, and the reader moves
 * on. May be called again for the next batch of the same lane. */
void settle_fly(struct settle *settle, struct settle_flight *flight, const struct record_batch *batch,
                uint64_t records);

/* `effects` of a flight are safe. It lands with the last of them, and is settle's from then on. */
void settle_land(struct settle *settle, struct settle_flight *flight, uint32_t effects, uint64_t now_ns);

/* Nothing more comes to the flight: before this it cannot land. One without effects (all its
 * records were left out) lands now, which tells nothing of the store. */
void settle_close_flight(struct settle *settle, struct settle_flight *flight);

/* When the oldest flight was opened; UINT64_MAX while nothing is in flight. */
uint64_t settle_oldest_ns(const struct settle *settle);

/* The store will answer for none of the flights of a lane, nor for one that is open: they are
 * forgotten, and the reader goes back to the cursor. */
void settle_return(struct settle *settle, unsigned i, unsigned lane);

/* The store takes nothing at the moment; the sink goes on trying. result is -errno, error the
 * reason as `stat` shows it. */
void settle_fail(struct settle *settle, int result, const struct shm_error *error);

/* The store is there again, though nothing has landed yet. */
void settle_is_well(struct settle *settle);

/* ---- both ---- */

/* True while something was passed that is not safe. */
static inline bool settle_open(const struct settle *settle)
{
	return settle->due_ns != UINT64_MAX || settle->n_flights != 0;
}

/* How long the sink may sleep at most, of timeout_ns. */
uint64_t settle_timeout(const struct settle *settle, uint64_t timeout_ns, uint64_t now_ns);

/* Tries again what failed, looks at the store, sets metrics. */
void settle_tick(struct settle *settle, uint64_t now_ns);

/* While draining, when nothing is left to read: commits; true when all is safe. */
bool settle_drained(struct settle *settle);

/* At the end: one more attempt, and the flights are freed. True when all is safe. What was in
 * flight is read again by the next life: the store's answers no longer count. */
bool settle_finish(struct settle *settle);

/* What the control block's note says while the store does not fail. */
void settle_note(struct settle *settle, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
