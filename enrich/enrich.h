/* The enrich stage: tracking calls become tracking events.
 *
 *     track.raw --group "enrich"--> [ country (geo/) | device (agent/) | put together (track/) | privacy ] --> own lane of track
 *
 * Several processes share the lanes of track.raw: of n, process k reads those whose number modulo n
 * is k. Each writes its own lane of track.
 *
 * Exactly once: one redo note commits the cursor of the input lane and the tail of the output lane.
 * Killed before the note is published, nothing has happened: the next life reads the same records
 * again and writes over what was not committed. Killed later, everything has happened.
 *
 * Full: when a required reader of track is a whole lane behind, the stage stops reading. Then
 * track.raw fills up and HTTP answers 503.
 */
#ifndef ENRICH_ENRICH_H
#define ENRICH_ENRICH_H

#include "enrich/lookup.h"
#include "shm/record_copy.h"
#include "stage/stage.h"

#define ENRICH_BATCH       512u /* records in one commit at most */
#define ENRICH_PATIENCE_NS (5 * NS_PER_SEC)

enum enrich_metric {
#define METRIC(name, kind, help) ENRICH_##name,
#define HISTOGRAM(name, help, ...) \
	ENRICH_##name, ENRICH_##name##_end = ENRICH_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "enrich/metrics.def"
#undef METRIC
#undef HISTOGRAM
	ENRICH_METRIC_COUNT
};
_Static_assert((int)ENRICH_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

_Static_assert(LANE_NOTE_WORDS + STREAM_SETTLE_WORDS <= REDO_WORDS_MAX, "a batch fits one redo note");

struct enrich {
	struct lookup lookup;
	struct ports ports;
	struct topic_reader *reader; /* of track.raw */
	struct lane lane;            /* of track */
	struct redo redo;            /* regions: see ports.h */
	struct control *control;
	const struct metric_description *taken_after; /* the row of taken_after_us */
	struct record_copy copy;                      /* the call that is worked on */
	bool full;                                    /* the last record found no room */
	uint64_t commits;                             /* of this life */
	struct {
		/* while it drains and track is full: since when readers have made no room */
		uint64_t commits, since_ns;
	} stuck;
	struct {
		uint64_t loads, refusals, hits, misses, unknown, given_up;
	} seen; /* what the metrics already have of the parts' own counters */
	struct {
		uint64_t loads, refusals;
	} reported; /* of the database, to the control block (file.h) */
};

extern const struct stage_ops enrich_stage;

/* Joins: the role's private segment, its share of the group, its lane. lookup is open. Returns 0
 * or -errno with the reason; then nothing is held. */
int enrich_open(struct enrich *enrich, const struct instance *instance, const char *role,
                struct topic_share share, struct control *control, struct shm_error *error);

/* One batch; true when it committed something. */
bool enrich_poll(struct enrich *enrich);

/* Waits for records, or for room. */
void enrich_idle(struct enrich *enrich, uint64_t timeout_ns);

/* While draining, after a poll that did nothing: may the stage end? Yes, unless the whole instance
 * ends and track is full: then its readers are given time, as long as they make room within
 * ENRICH_PATIENCE_NS. What remains waits in track.raw for the next start. */
bool enrich_drained(struct enrich *enrich, uint64_t now_ns);

/* Takes one step with the database file; sets the metrics and the note of the control block. */
void enrich_tick(struct enrich *enrich, uint64_t now_ns);

/* Uses new rules from now on and empties the cache. The engine becomes enrich's. */
void enrich_replace_rules(struct enrich *enrich, struct agent_engine *engine);

void enrich_close(struct enrich *enrich);

/* The stage alone: input holds records as `ingest-http --output` writes them; tracking calls among
 * them become records of output. Returns the exit status. */
int enrich_alone(const struct config *config, FILE *input, FILE *output);

#endif
