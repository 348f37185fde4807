#include "sink/tally/reader.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stage/database.h"

/* Readers wait only while the first writer makes the file, or while one recovers the log. */
#define BUSY_MS 2000

int reader_explain(const struct reader *reader, int sqlite_result, struct shm_error *error)
{
	return database_failed(reader->db, reader->path, sqlite_result, error);
}

static int name_file(struct reader *reader, const char *data_dir, struct shm_error *error)
{
	int n = snprintf(reader->path, sizeof reader->path, "%s/%s", data_dir, STORE_FILE);
	if (n < 0 || (size_t)n >= sizeof reader->path) {
		shm_explain(error, "data_dir %s: the name is too long", data_dir);
		return -ENAMETOOLONG;
	}
	if (access(reader->path, F_OK) == 0)
		return 0;
	int failed = errno;
	shm_explain(error, "%s: %s; nothing was counted there yet, or data_dir is another", reader->path,
	            strerror(failed));
	return failed == ENOENT ? -ENODATA : -failed;
}

static int begin(struct reader *reader, int since, struct shm_error *error)
{
	int result =
	        sqlite3_open_v2(reader->path, &reader->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	sqlite3_busy_timeout(reader->db, BUSY_MS);
	/* From here on one snapshot: what the check sees is what is read. */
	result = sqlite3_exec(reader->db, "BEGIN", NULL, NULL, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	int state = database_check_versions(reader->db, reader->path, STORE_OLDEST, STORE_VERSION,
	                                    &reader->version, error);
	if (state < 0)
		return state;
	if (state == 0 && reader->version >= since)
		return 0;
	shm_explain(error, "%s: nothing was counted there yet", reader->path);
	return -ENODATA;
}

int reader_open(struct reader *reader, const char *data_dir, int since, struct shm_error *error)
{
	*reader = (struct reader){.version = 0};
	int result = name_file(reader, data_dir, error);
	if (result == 0)
		result = begin(reader, since, error);
	if (result != 0)
		reader_close(reader);
	return result;
}

void reader_close(struct reader *reader)
{
	sqlite3_close(reader->db);
	reader->db = NULL;
}
