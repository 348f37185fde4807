/* Reading tally.db by others than tally: one snapshot of it, for one question.
 *
 *     reader_open --> statements of the caller's on reader.db --> reader_close
 *
 * At most tally.commit_interval old, and there while nothing runs. Makes no file, holds nobody up.
 */
#ifndef SINK_TALLY_READER_H
#define SINK_TALLY_READER_H

#include <stdint.h>

#include "shm/segment.h"
#include "sink/tally/store.h"

struct sqlite3;

struct reader {
	struct sqlite3 *db;
	int64_t version; /* of the file */
	char path[4096 + sizeof "/" STORE_FILE];
};

/* Opens data_dir/tally.db and begins the snapshot. since: the STORE_VERSION that first had what is
 * to be read. Returns 0; otherwise -errno with a line for a person in error, and nothing is open:
 *
 *   -ENODATA  there is no database yet, or none with these tables: nothing was ever counted there
 *   -EPROTO   the file is not ours or of another version
 *   -ENAMETOOLONG, -EACCES, -EBUSY, -EIO
 */
int reader_open(struct reader *reader, const char *data_dir, int since, struct shm_error *error);

/* Also for one that is all zero. */
void reader_close(struct reader *reader);

/* "PATH: what SQLite says" in error; returns -errno for its result code (database_failed). */
int reader_explain(const struct reader *reader, int sqlite_result, struct shm_error *error);

#endif
