/* Settle: when a sink makes safe what it has read, what a failing store means, and when the cursors
 * move. Every sink has one.
 *
 *     records --sink--> effects, not safe yet --commit: effects and cursors in one step--> store
 *        '--settle_pass--> due?                     '- good: the lanes' cursors move (law 2)
 *                                                   '- bad: nothing has moved; tried again at each tick
 *
 * Due: `interval_ns` after the first record that is not safe; sooner when a lane is a quarter full
 * counted from its cursor (and little more is waiting in it), when `most_bytes` have been passed,
 * or when the sink wishes.
 *
 * Exactly once, where the store keeps the cursors with the effects. A life killed before the store
 * has both leaves both as they were; one killed between store and cursor leaves the store ahead,
 * and the next begins, in each lane, at the later of the two (settle_take_up).
 *
 * Failing: said once in the log, told by `failing` and the note in the control block, tried again
 * by each tick. The sink may read on as long as it has room; what it read stays in the lanes, which
 * then fill, and writers drop or refuse as their topic says.
 *
 * Draining: what was passed is committed at once. While that fails the stage stays, until whoever
 * drains it loses patience; the lanes then still hold what the store lacks.
 */
#ifndef STAGE_SETTLE_H
#define STAGE_SETTLE_H

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
	 * and then nothing has changed and the same call may be repeated. */
	int (*commit)(void *sink, const struct settle_cursor *cursor, unsigned n, struct shm_error *error);
	/* The stored cursor of cursor->topic and ->lane; fills the rest. Returns 0; -ENOENT when
	 * there is none; other -errno with the reason. NULL: the store keeps none. */
	int (*stored)(void *sink, struct settle_cursor *cursor, struct shm_error *error);
	/* Whether the store is still there, while nothing is to be committed; about once a second.
	 * Returns 0 or -errno with the reason: it is failing. NULL: it is. */
	int (*look)(void *sink, struct shm_error *error);
	const char *name; /* for people: "database" */
};

struct settle {
	const struct settle_store *store;
	void *sink;
	struct ports *ports;
	struct control *control;
	unsigned metric; /* where those of settle.def begin */
	uint64_t interval_ns;
	uint64_t most_bytes;           /* 0: no limit */
	const char *folder;            /* left out where a reason begins with it; NULL: none */
	uint64_t due_ns;               /* UINT64_MAX while all is safe */
	uint64_t passed_bytes;         /* in all lanes since the last commit */
	uint64_t look_ns;              /* when to look at the store again */
	uint64_t longest_ns;           /* commit of this life */
	int failing;                   /* 0, or the -errno of the last attempt */
	char note[CONTROL_NOTE_BYTES]; /* what `stat` shows while all is well */
	struct settle_cursor cursor[SETTLE_CURSORS_MAX];
};

enum settle_metric {
#define METRIC(name, kind, help) SETTLE_##name,
#include "stage/settle.def"
#undef METRIC
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

/* At the start of a poll: commits when the time has come. */
void settle_poll(struct settle *settle, uint64_t now_ns);

/* The sink has dealt with `records` records of the batch, which topic_peek gave of a lane of topic
 * i of `reads`: the reader moves on, its cursor stays. Commits when that is due early. wish: the
 * sink wants it now. */
void settle_pass(struct settle *settle, unsigned i, unsigned lane, const struct record_batch *batch,
                 uint64_t records, bool wish, uint64_t now_ns);

/* True while something was passed that is not safe. */
static inline bool settle_open(const struct settle *settle)
{
	return settle->due_ns != UINT64_MAX;
}

/* How long the sink may sleep at most, of timeout_ns. */
uint64_t settle_timeout(const struct settle *settle, uint64_t timeout_ns, uint64_t now_ns);

/* Tries again what failed, looks at the store, sets metrics. */
void settle_tick(struct settle *settle, uint64_t now_ns);

/* While draining, when nothing is left to read: commits; true when all is safe. */
bool settle_drained(struct settle *settle);

/* At the end: one more attempt. True when all is safe. */
bool settle_finish(struct settle *settle);

/* What the control block's note says while the store does not fail. */
void settle_note(struct settle *settle, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
