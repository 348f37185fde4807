/* The tally stage: reads topics as its required group "tally", counts what they carry, commits.
 *
 *     ip       lanes --.                                      .-- every commit_interval, or sooner --.
 *     metric   lanes --+-- peek, the topic's book counts -->  | one transaction: changed rows of     |--> the lanes' cursors move
 *     track    lanes --+   (in memory), pass                  | all books + cursor of each lane      |
 *     delivery lanes --'                                      '--------------------------------------'
 *
 * Topics that its instance does not have are not read, and their books not opened (book.h). When a
 * commit is, what a failing database means, and why each record counts exactly once, is settle's
 * part (stage/settle.h). The stage itself wants a commit when TALLY_COMMIT_ROWS rows have changed
 * or a book is full.
 */
#ifndef SINK_TALLY_TALLY_H
#define SINK_TALLY_TALLY_H

#include "sink/tally/books.h"
#include "sink/tally/store.h"
#include "stage/stage.h"

#define TALLY_GROUP        "tally"
#define TALLY_ROLE         "tally.0" /* there is one */
#define TALLY_POLL_RECORDS 8192u
#define TALLY_COMMIT_ROWS  262144u

extern const struct stage_ops tally_stage;

/* Opens the database of a configuration with the books of the n topics. Returns 0; otherwise -errno
 * with the reason in error and nothing left open. */
int tally_open(const struct config *config, const char *const *topic, unsigned n, struct books *books,
               struct store **store, struct shm_error *error);

/* Could tally_open do it, for all topics? Makes and changes nothing, also while a stage of the same
 * instance counts there (store_try). Returns 0, or -errno with "KEY: WHAT" in error. */
int tally_check(const struct config *config, const char *section, struct shm_error *error);

/* The stage alone: counts the records of a file (as they lie in a lane: `millrace tap ip
 * --format raw`), each in the book of its type, into the database of the configuration. A file
 * counted twice counts twice. Returns the exit status. */
int tally_alone(const struct config *config, FILE *input, FILE *output);

#endif
