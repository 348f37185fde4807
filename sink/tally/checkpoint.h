/* Copies the write-ahead log back into the database file, beside the stage's loop.
 *
 *     commit ----> the log grows ---- over CHECKPOINT_BYTES ----> thread: passive checkpoint (writes pages, syncs twice)
 *                       |
 *                       '----- over CHECKPOINT_WAIT_BYTES -------> the next commit waits until the thread is through
 *
 * A checkpoint syncs the disk, and a disk may take its time; the stage must not, because its lanes fill meanwhile. So a
 * thread with a database connection of its own does it. SQLite lets commits and a passive checkpoint run side by side, but the log
 * starts over only at a commit that finds it copied whole. Where commits follow each other without a gap that never happens,
 * and the log would grow without bound: hence the second limit.
 */
#ifndef SINK_TALLY_CHECKPOINT_H
#define SINK_TALLY_CHECKPOINT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#define CHECKPOINT_BYTES      (8ull << 20)
#define CHECKPOINT_WAIT_BYTES (128ull << 20)
#define CHECKPOINT_WAIT_S     5 /* at most, for the thread */

struct checkpoint {
	pthread_t thread;
	pthread_mutex_t mutex; /* guards the three below */
	pthread_cond_t changed;
	bool wanted, running, ending;
	sqlite3 *db;    /* the thread's */
	sqlite3 *owner; /* the stage's */
};

/* Starts the thread. owner is the connection that commits; path its database. Returns 0 or -errno. */
int checkpoint_start(struct checkpoint *checkpoint, const char *path, sqlite3 *owner);

/* Before a commit: the log holds log_bytes. Waits when that is too much. */
void checkpoint_before(struct checkpoint *checkpoint, uint64_t log_bytes);

/* After a commit: the log holds log_bytes. Sets the thread to work when that is worth it. */
void checkpoint_after(struct checkpoint *checkpoint, uint64_t log_bytes);

/* Ends the thread after its present checkpoint. Does nothing when none was started. */
void checkpoint_stop(struct checkpoint *checkpoint);

#endif
