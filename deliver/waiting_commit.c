/* The transactions of waiting.h: begun and ended only in the file that has the name, and with a log
 * that has a bound. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "deliver/waiting_db.h"

#define COPY_BYTES    (32ull << 20)  /* the log is copied into the database when it has grown so much */
#define RESTART_BYTES (128ull << 20) /* and readers are waited for, so that it starts over */

static int check_files(struct waiting *waiting, struct shm_error *error)
{
	for (unsigned i = 0; i < WAITING_FILES; i++) {
		struct stat status;
		int failed = stat(waiting->path[i], &status) == 0 ? 0 : errno;
		if (failed == 0 && status.st_dev == waiting->file[i].device &&
		    status.st_ino == waiting->file[i].inode)
			continue;
		if (failed != 0 && failed != ENOENT && failed != ENOTDIR) {
			shm_explain(error, "%s: %s", waiting->path[i], strerror(failed));
			return -failed;
		}
		shm_explain(error, "%s: %s while in use", waiting->path[i],
		            failed != 0 ? "deleted or moved away" : "replaced by another file");
		return -ESTALE;
	}
	return 0;
}

void waiting_limit_log(struct waiting *waiting, uint64_t bytes)
{
	waiting->log_most = bytes;
}

static int copy_log(struct waiting *waiting, int mode)
{
	int result = sqlite3_wal_checkpoint_v2(waiting->db, NULL, mode, NULL, NULL);
	waiting->copied_bytes = waiting->log_bytes;
	if (result == SQLITE_OK && mode == SQLITE_CHECKPOINT_RESTART)
		waiting->log_bytes = waiting->copied_bytes = 0;
	return result;
}

/* What fails here leaves a longer log, and is tried again when it has grown. */
static void bound_log(struct waiting *waiting)
{
	if (waiting->log_bytes < waiting->copied_bytes)
		waiting->copied_bytes = 0; /* it started over */
	if (waiting->log_bytes - waiting->copied_bytes < COPY_BYTES)
		return;
	(void)copy_log(waiting, waiting->log_bytes < RESTART_BYTES ? SQLITE_CHECKPOINT_PASSIVE
	                                                           : SQLITE_CHECKPOINT_RESTART);
}

static int check_limit(struct waiting *waiting, struct shm_error *error)
{
	if (waiting->log_bytes < waiting->log_most)
		return 0;
	int result = copy_log(waiting, SQLITE_CHECKPOINT_RESTART);
	if (result == SQLITE_OK)
		return 0;
	bool busy = (result & 0xff) == SQLITE_BUSY;
	shm_explain(error,
	            "%s: %llu bytes, which is the limit (deliver.log_limit), and cannot start over: %s",
	            waiting->path[1], (unsigned long long)waiting->log_bytes,
	            busy ? "a program reads the database on and on; end that (fuser names it)"
	                 : sqlite3_errmsg(waiting->db));
	return busy ? -EBUSY : database_errno(result);
}

static int begin(struct waiting *waiting)
{
	int result = waiting_run(waiting, waiting_statement(waiting, SQL_BEGIN));
	bool busy = result == -EBUSY;
	if (busy != waiting->busy)
		(void)sqlite3_busy_timeout(waiting->db, busy ? WAITING_BUSY_LONG_MS : WAITING_BUSY_MS);
	waiting->busy = busy;
	return result;
}

int waiting_begin(struct waiting *waiting, bool durable, struct shm_error *error)
{
	int result = check_files(waiting, error);
	if (result == 0)
		result = check_limit(waiting, error);
	if (result != 0)
		return result;
	if (durable != waiting->durable)
		result = waiting_execute(waiting,
		                         durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
	if (result == 0) {
		waiting->durable = durable;
		result = begin(waiting);
	}
	if (result != 0)
		*error = waiting->reason;
	return result;
}

int waiting_commit(struct waiting *waiting, struct shm_error *error)
{
	int result = waiting_run(waiting, waiting_statement(waiting, SQL_COMMIT));
	if (result != 0) {
		*error = waiting->reason;
		waiting_cancel(waiting);
		return result;
	}
	/* Only a database that is still there holds what was committed. */
	result = check_files(waiting, error);
	if (result == 0)
		bound_log(waiting);
	return result;
}

void waiting_cancel(struct waiting *waiting)
{
	struct shm_error reason = waiting->reason;
	if (!sqlite3_get_autocommit(waiting->db)) /* some errors have rolled back already */
		(void)waiting_run(waiting, waiting_statement(waiting, SQL_ROLLBACK));
	waiting->reason = reason;
}
