#include "sink/tally/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/thread.h"

#define STACK_BYTES (256u * 1024)

/* Busy is no failure: another checkpoint is under way. A reader in the way is none either, it
 * leaves a longer log. */
static void note_result(struct checkpoint *checkpoint, int result, const char *message)
{
	struct checkpoint_state *state = &checkpoint->state;
	if ((result & 0xff) == SQLITE_BUSY)
		return;
	pthread_mutex_lock(&checkpoint->mutex);
	if (result == SQLITE_OK)
		state->done++;
	else
		state->failed++;
	snprintf(state->reason, sizeof state->reason, "%s", result == SQLITE_OK ? "" : message);
	pthread_mutex_unlock(&checkpoint->mutex);
}

static int copy_log(struct checkpoint *checkpoint, sqlite3 *db, int mode)
{
	int result = sqlite3_wal_checkpoint_v2(db, NULL, mode, NULL, NULL);
	note_result(checkpoint, result, sqlite3_errmsg(db));
	return result;
}

static void *run(void *argument)
{
	struct checkpoint *checkpoint = argument;
	pthread_mutex_lock(&checkpoint->mutex);
	while (!checkpoint->ending) {
		if (!checkpoint->wanted) {
			pthread_cond_wait(&checkpoint->changed, &checkpoint->mutex);
			continue;
		}
		checkpoint->wanted = false;
		checkpoint->running = true;
		pthread_mutex_unlock(&checkpoint->mutex);
		/* What fails here leaves a longer log and is tried again after the next commit;
		 * checkpoint_look tells. */
		(void)copy_log(checkpoint, checkpoint->db, SQLITE_CHECKPOINT_PASSIVE);
		pthread_mutex_lock(&checkpoint->mutex);
		checkpoint->running = false;
		pthread_cond_broadcast(&checkpoint->changed);
	}
	pthread_mutex_unlock(&checkpoint->mutex);
	return NULL;
}

int checkpoint_start(struct checkpoint *checkpoint, const char *path, sqlite3 *owner, struct shm_error *error)
{
	*checkpoint = (struct checkpoint){.owner = owner,
	                                  .limit_bytes = CHECKPOINT_LIMIT_BYTES,
	                                  .mutex = PTHREAD_MUTEX_INITIALIZER,
	                                  .changed = PTHREAD_COND_INITIALIZER};
	int result = 0;
	if (sqlite3_open_v2(path, &checkpoint->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
	            SQLITE_OK ||
	    sqlite3_exec(checkpoint->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) != SQLITE_OK) {
		result = -EIO;
		shm_explain(error, "%s: a second connection, for checkpoints: %s", path,
		            sqlite3_errmsg(checkpoint->db));
	}
	if (result == 0) {
		result = thread_start(&checkpoint->thread, STACK_BYTES, run, checkpoint);
		if (result != 0)
			shm_explain(error, "%s: cannot start the checkpoint thread: %s", path,
			            strerror(-result));
	}
	if (result != 0) {
		sqlite3_close(checkpoint->db);
		checkpoint->db = NULL;
	}
	return result;
}

static bool wait_for_thread(struct checkpoint *checkpoint)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CHECKPOINT_WAIT_S;
	pthread_mutex_lock(&checkpoint->mutex);
	int result = 0;
	while (result == 0 && (checkpoint->wanted || checkpoint->running))
		result = pthread_cond_clockwait(&checkpoint->changed, &checkpoint->mutex, CLOCK_MONOTONIC,
		                                &until);
	pthread_mutex_unlock(&checkpoint->mutex);
	return result == 0;
}

int checkpoint_before(struct checkpoint *checkpoint, uint64_t log_bytes)
{
	bool over = log_bytes >= checkpoint->limit_bytes;
	if (log_bytes < CHECKPOINT_WAIT_BYTES && !over)
		return SQLITE_OK;
	bool idle = wait_for_thread(checkpoint);
	if (over) /* readers and all: when it works the next commit begins the log anew */
		return copy_log(checkpoint, checkpoint->owner, SQLITE_CHECKPOINT_RESTART);
	/* The rest that came after the thread began; then the log starts over with this commit. */
	if (idle)
		(void)copy_log(checkpoint, checkpoint->owner, SQLITE_CHECKPOINT_PASSIVE);
	return SQLITE_OK;
}

void checkpoint_want(struct checkpoint *checkpoint)
{
	pthread_mutex_lock(&checkpoint->mutex);
	checkpoint->wanted = true;
	pthread_cond_broadcast(&checkpoint->changed);
	pthread_mutex_unlock(&checkpoint->mutex);
}

void checkpoint_after(struct checkpoint *checkpoint, uint64_t log_bytes)
{
	if (log_bytes >= CHECKPOINT_BYTES)
		checkpoint_want(checkpoint);
}

void checkpoint_look(struct checkpoint *checkpoint, struct checkpoint_state *state)
{
	pthread_mutex_lock(&checkpoint->mutex);
	*state = checkpoint->state;
	pthread_mutex_unlock(&checkpoint->mutex);
}

void checkpoint_stop(struct checkpoint *checkpoint)
{
	if (checkpoint->db == NULL)
		return;
	pthread_mutex_lock(&checkpoint->mutex);
	checkpoint->ending = true;
	pthread_cond_broadcast(&checkpoint->changed);
	pthread_mutex_unlock(&checkpoint->mutex);
	pthread_join(checkpoint->thread, NULL);
	sqlite3_close(checkpoint->db);
	checkpoint->db = NULL;
}
