/* The tally stage: reads topic `ip` as its required group "tally", counts, commits.
 *
 *     lane 0 --.                        .-- every commit_interval, or sooner --.
 *     lane 1 --+-- peek, count, pass -->| one transaction: changed counts +    |--> the lanes' cursors move
 *     lane n --'   (counts in memory)   | cursor of each lane                  |
 *                                       '--------------------------------------'
 *
 * When that is, what a failing database means, and why each record counts exactly once, is settle's
 * part (stage/settle.h). The stage itself wants a commit when TALLY_COMMIT_ROWS rows have changed
 * or the counts are full (counts.h).
 */
#ifndef SINK_TALLY_TALLY_H
#define SINK_TALLY_TALLY_H

#include "shm/topic.h"
#include "sink/tally/counts.h"
#include "sink/tally/store.h"
#include "stage/stage.h"

#define TALLY_TOPIC        "ip"
#define TALLY_GROUP        "tally"
#define TALLY_ROLE         "tally.0" /* there is one */
#define TALLY_POLL_RECORDS 8192u
#define TALLY_COMMIT_ROWS  262144u

extern const struct stage_ops tally_stage;

/* What was taken from a batch. */
struct tally_taken {
	uint64_t records; /* all */
	uint64_t bad;     /* of these no IpEvents, skipped */
};

/* Counts at most `max` records of the batch, fewer when counts become full. batch moves past what
 * was taken. */
struct tally_taken tally_take(struct counts *counts, struct record_batch *batch, uint64_t max);

/* The limits of a configuration. */
struct counts_limits tally_limits(const struct config *config);

/* Opens the database of a configuration and loads it. Returns 0; otherwise -errno with the reason
 * in error and nothing left open. */
int tally_open(const struct config *config, struct counts *counts, struct store **store,
               struct shm_error *error);

/* Could tally_open do it? Makes and changes nothing, also while a stage of the same instance
 * counts there (store_try). Returns 0, or -errno with "KEY: WHAT" in error. */
int tally_check(const struct config *config, const char *section, struct shm_error *error);

/* The stage alone: counts the records of a file (as they lie in a lane: `millrace tap ip
 * --format raw`) into the database of the configuration. A file counted twice counts twice.
 * Returns the exit status. */
int tally_alone(const struct config *config, FILE *input, FILE *output);

#endif
