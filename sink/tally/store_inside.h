/* What the pieces of the store share: store.c commits, store_open.c opens, store_try.c looks
 * without changing. */
#ifndef SINK_TALLY_STORE_INSIDE_H
#define SINK_TALLY_STORE_INSIDE_H

#include <stdbool.h>

#include <sqlite3.h>

#include "sink/tally/checkpoint.h"
#include "sink/tally/files.h"
#include "sink/tally/store.h"

#define STORE_OPEN_MS  2000 /* at the start: another one recovers the log, which the last life left */
#define STORE_BUSY_MS  100  /* another program that writes: the stage tries again in its next tick */
#define STORE_PATH_MAX (4096 + sizeof "/" STORE_FILE "-wal")

enum store_statement {
	STORE_BEGIN,
	STORE_COMMIT,
	STORE_ROLLBACK,
	STORE_PUT_CURSOR,
	STORE_READ_CURSOR,
	STORE_STATEMENT_COUNT
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statement[STORE_STATEMENT_COUNT];
	struct checkpoint checkpoint;
	struct files files; /* the database first */
	bool astray;        /* one of them was not what it was at the last look */
	uint64_t page_bytes;
	uint64_t log_bytes; /* of the write-ahead log after the last commit */
	int lock;
	char path[STORE_PATH_MAX], log_path[STORE_PATH_MAX], index_path[STORE_PATH_MAX],
	        lock_path[STORE_PATH_MAX];
};

/* All zero, no lock, and the paths of its files. NULL or -errno in *result, with the reason. */
struct store *store_new(const char *data_dir, int *result, struct shm_error *error);

/* "PATH: what SQLite says" in error; returns -errno for its result code (database_failed). */
int store_explain(struct store *store, int sqlite_result, struct shm_error *error);

/* Process owner counts there: -EBUSY. */
int store_explain_busy(const struct store *store, int owner, struct shm_error *error);

/* Each file must be one that can be read and written, or one that can be made. */
int store_check_place(const struct store *store, const char *data_dir, struct shm_error *error);

/* Prepares the statements. */
int store_prepare(struct store *store, struct shm_error *error);

#endif
