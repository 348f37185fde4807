#include "sink/tally/checkpoint.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define STACK_BYTES (256u * 1024)

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
		/* What fails here (a full disk, a reader in the way) leaves a longer log and is tried again after the next commit. */
		(void)sqlite3_wal_checkpoint_v2(checkpoint->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		pthread_mutex_lock(&checkpoint->mutex);
		checkpoint->running = false;
		pthread_cond_broadcast(&checkpoint->changed);
	}
	pthread_mutex_unlock(&checkpoint->mutex);
	return NULL;
}

/* Signals belong to the stage's loop: the thread blocks them all. */
static int start_thread(struct checkpoint *checkpoint)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int result = pthread_attr_init(&attributes);
	if (result != 0)
		return -result;
	sigfillset(&all);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&checkpoint->thread, &attributes, run, checkpoint);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attributes);
	return -result;
}

int checkpoint_start(struct checkpoint *checkpoint, const char *path, sqlite3 *owner)
{
	*checkpoint = (struct checkpoint){
	        .owner = owner, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	int result = -EIO;
	if (sqlite3_open_v2(path, &checkpoint->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
	            SQLITE_OK &&
	    sqlite3_exec(checkpoint->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) == SQLITE_OK)
		result = start_thread(checkpoint);
	if (result != 0) {
		sqlite3_close(checkpoint->db);
		checkpoint->db = NULL;
	}
	return result;
}

static bool wait_for_thread(struct checkpoint *checkpoint)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CHECKPOINT_WAIT_S;
	pthread_mutex_lock(&checkpoint->mutex);
	int result = 0;
	while (result == 0 && (checkpoint->wanted || checkpoint->running))
		result = pthread_cond_timedwait(&checkpoint->changed, &checkpoint->mutex, &until);
	pthread_mutex_unlock(&checkpoint->mutex);
	return result == 0;
}

void checkpoint_before(struct checkpoint *checkpoint, uint64_t log_bytes)
{
	if (log_bytes < CHECKPOINT_WAIT_BYTES || !wait_for_thread(checkpoint))
		return;
	/* The rest that came after the thread began; then the log starts over with this commit. */
	(void)sqlite3_wal_checkpoint_v2(checkpoint->owner, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

void checkpoint_after(struct checkpoint *checkpoint, uint64_t log_bytes)
{
	if (log_bytes < CHECKPOINT_BYTES)
		return;
	pthread_mutex_lock(&checkpoint->mutex);
	checkpoint->wanted = true;
	pthread_cond_broadcast(&checkpoint->changed);
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
