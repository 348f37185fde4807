#include "stage/database.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

int database_errno(int sqlite_result)
{
	switch (sqlite_result & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_INTERRUPT:
		return -ETIMEDOUT;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_PERM:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		return -EACCES;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
	case SQLITE_SCHEMA:
	case SQLITE_ERROR:
		return -EPROTO;
	default:
		return -EIO;
	}
}

int database_explain(const char *path, int failed, struct shm_error *error)
{
	shm_explain(error, "%s: %s", path, strerror(failed));
	return -failed;
}

int database_failed(struct sqlite3 *db, const char *what, int sqlite_result, struct shm_error *error)
{
	int reported = database_errno(sqlite_result);
	/* Whoever failed may have had a reason of its own. */
	bool last = (sqlite3_errcode(db) & 0xff) == (sqlite_result & 0xff);
	shm_explain(error, "%s%s%s", what == NULL ? "" : what, what == NULL ? "" : ": ",
	            last ? sqlite3_errmsg(db) : sqlite3_errstr(sqlite_result));
	return reported == 0 ? -EIO : reported;
}

int database_number(struct sqlite3 *db, const char *query, int64_t *number)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(db, query, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return result;
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		*number = sqlite3_column_int64(statement, 0);
	int last = sqlite3_finalize(statement);
	return result == SQLITE_ROW ? last : result == SQLITE_DONE ? SQLITE_ERROR : result;
}

int database_run(sqlite3_stmt *statement)
{
	int result = sqlite3_step(statement);
	int last = sqlite3_reset(statement);
	return result == SQLITE_DONE ? SQLITE_OK : last != SQLITE_OK ? last : result;
}

void database_bind_bytes(sqlite3_stmt *statement, int at, const char *bytes, size_t n)
{
	if (text_valid((const unsigned char *)bytes, n))
		sqlite3_bind_text64(statement, at, bytes, n, SQLITE_STATIC, SQLITE_UTF8);
	else
		sqlite3_bind_blob64(statement, at, bytes, n, SQLITE_STATIC);
}

/* ---- whose it is ---- */

int database_judge(const char *path, int64_t application, int64_t version, int64_t tables, int expected,
                   struct shm_error *error)
{
	if (application == 0 && version == 0 && tables == 0)
		return 1;
	if (application != DATABASE_APPLICATION_ID) {
		shm_explain(error,
		            "%s: a database, but not of millrace; move it away or set another data_dir",
		            path);
		return -EPROTO;
	}
	if (version == expected)
		return 0;
	shm_explain(
	        error,
	        "%s: has version %lld, this program reads and writes version %d; use the program that made it or move it away",
	        path, (long long)version, expected);
	return -EPROTO;
}

int database_foreign(const char *path, struct shm_error *error)
{
	shm_explain(error, "%s: not an SQLite database; move it away or set another data_dir", path);
	return -EPROTO;
}

int database_check(struct sqlite3 *db, const char *path, int expected, struct shm_error *error)
{
	int64_t version;
	return database_check_versions(db, path, expected, expected, &version, error);
}

/* Of one moment: asked one after the other, the first could be of before another process made the
 * database, and the last of after. */
static int look_inside(struct sqlite3 *db, int64_t *application, int64_t *version, int64_t *tables)
{
	static const char query[] = "SELECT a.application_id, v.user_version, s.tables\n"
	                            "FROM pragma_application_id AS a, pragma_user_version AS v,\n"
	                            "(SELECT count(*) AS tables FROM sqlite_schema) AS s";
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(db, query, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return result;
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		*application = sqlite3_column_int64(statement, 0);
		*version = sqlite3_column_int64(statement, 1);
		*tables = sqlite3_column_int64(statement, 2);
	}
	int last = sqlite3_finalize(statement);
	return result == SQLITE_ROW ? last : result;
}

int database_check_versions(struct sqlite3 *db, const char *path, int oldest, int newest, int64_t *version,
                            struct shm_error *error)
{
	int64_t application = 0, tables = 0;
	*version = 0;
	int result = look_inside(db, &application, version, &tables);
	if (result == SQLITE_NOTADB)
		return database_foreign(path, error);
	if (result != SQLITE_OK) {
		/* A reader must be able to make the log's index, unless a writer left one. */
		bool denied = database_errno(result) == -EACCES;
		shm_explain(error, "%s: %s%s", path, sqlite3_errmsg(db),
		            denied ? "; run this as the user who owns the folder" : "");
		return database_errno(result);
	}
	bool ours = *version >= oldest && *version <= newest;
	return database_judge(path, application, *version, tables, ours ? (int)*version : newest, error);
}

int database_look_at(const char *path, struct shm_error *error)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return errno == ENOENT ? 0 : database_explain(path, errno, error);
	if (S_ISDIR(status.st_mode))
		return database_explain(path, EISDIR, error);
	if (!S_ISREG(status.st_mode)) {
		shm_explain(error, "%s: not a regular file; move it away or set another data_dir", path);
		return -EPROTO;
	}
	return access(path, R_OK | W_OK) == 0 ? 1 : database_explain(path, errno, error);
}

mode_t database_mode(const char *path, mode_t alone)
{
	char folder[PATH_MAX];
	struct stat status;
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path),
	         slash == NULL ? "." : path);
	return stat(folder, &status) == 0 && (status.st_mode & S_ISGID) != 0 ? 0660 : alone;
}

int database_make(const char *path, mode_t alone, struct shm_error *error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, database_mode(path, alone));
	if (fd < 0)
		return errno == EEXIST ? 0 : database_explain(path, errno, error);
	close(fd);
	return 0;
}

/* SQLite answers with the mode that is in force, which stays another one where the file system has
 * no shared memory for the log's index. */
int database_begin_log(struct sqlite3 *db, const char *path, struct shm_error *error)
{
	sqlite3_stmt *statement;
	int reported = 0, result = sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	const char *mode = result == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
	if (mode == NULL) {
		reported = database_failed(db, path, result, error);
	} else if (strcmp(mode, "wal") != 0) {
		reported = -EOPNOTSUPP;
		shm_explain(
		        error,
		        "%s: cannot have a write-ahead log, SQLite stays in journal mode \"%s\"; set a data_dir on a local file system",
		        path, mode);
	}
	sqlite3_finalize(statement);
	return reported;
}
