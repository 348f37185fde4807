/* Copies the write-ahead log back into the database file, in a thread of its own.
 *
 *     commit ----> the log grows ---- over CHECKPOINT_BYTES ----> thread: passive checkpoint (writes pages, syncs twice)
 *                       |
 *                       +----- over CHECKPOINT_WAIT_BYTES -------> the next commit waits until the thread is through
 *                       |
 *                       '----- over limit_bytes -----------------> no further commit until the log can start over
 *
 * A checkpoint syncs the disk, and a disk may take its time; the stage must not, because its lanes
 * fill meanwhile. So a thread with a database connection of its own does it. SQLite lets commits
 * and a passive checkpoint run side by side, but the log starts over only at a commit that finds it
 * copied whole. Where commits follow each other without a gap that never happens, and the log would
 * grow without bound: hence the second limit. While some program reads one snapshot on and on, or
 * the database cannot be written though the log can, it does not happen either: hence the third.
 */
#ifndef SINK_TALLY_CHECKPOINT_H
#define SINK_TALLY_CHECKPOINT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "shm/segment.h"

#define CHECKPOINT_BYTES       (8ull << 20)
#define CHECKPOINT_WAIT_BYTES  (128ull << 20)
#define CHECKPOINT_WAIT_S      5            /* at most, for the thread */
#define CHECKPOINT_LIMIT_BYTES (1ull << 30) /* limit_bytes, unless set otherwise */

struct checkpoint_state {
	uint64_t done, failed;
	char reason[160]; /* why the last one failed; "" when it did not */
};

struct checkpoint {
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what stands from here to db */
	pthread_cond_t changed;
	bool wanted, running, ending;
	struct checkpoint_state state;
	sqlite3 *db;    /* the thread's */
	sqlite3 *owner; /* the stage's */
	uint64_t limit_bytes;
};

/* Starts the thread. owner is the connection that commits; path its database. Returns 0 or -errno
 * with the reason in error. */
int checkpoint_start(struct checkpoint *checkpoint, const char *path, sqlite3 *owner,
                     struct shm_error *error);

/* Before a commit: the log holds log_bytes. Waits when that is too much. Returns SQLITE_OK; when
 * the log has reached its limit and cannot start over, SQLite's result, with its message in the
 * owner's connection: SQLITE_BUSY because somebody reads in it. */
int checkpoint_before(struct checkpoint *checkpoint, uint64_t log_bytes);

/* After a commit: the log holds log_bytes. Sets the thread to work when that is worth it. */
void checkpoint_after(struct checkpoint *checkpoint, uint64_t log_bytes);

/* Sets the thread to work. */
void checkpoint_want(struct checkpoint *checkpoint);

/* What came of the checkpoints so far. */
void checkpoint_look(struct checkpoint *checkpoint, struct checkpoint_state *state);

/* Ends the thread after its present checkpoint. Does nothing when none was started. */
void checkpoint_stop(struct checkpoint *checkpoint);

#endif
