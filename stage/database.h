/* SQLite databases below data_dir: what all of ours have in common.
 *
 *     tally.db      sink/tally/store.h      counts
 *     deliver.db    deliver/waiting.h       postbacks that wait, dead letters
 *
 * No layer over SQLite: each stage has its own statements, transactions and bounds. Here is what
 * must be judged and said the same way: what SQLite's codes mean to us, what may lie at the place
 * of a file, whose database it is (application_id and user_version, SQLite's file format, 1.3), and
 * whether it has a write-ahead log.
 *
 * Alone in its object, so that a program without a database does not link SQLite.
 */
#ifndef STAGE_DATABASE_H
#define STAGE_DATABASE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/segment.h"

struct sqlite3;
struct sqlite3_stmt;

#define DATABASE_APPLICATION_ID 0x6d696c6c /* "mill" */

/* -errno for an SQLite result code, extended or not; 0 for one that is no failure. -ETIMEDOUT: a
 * progress handler ended it. */
int database_errno(int sqlite_result);

/* "PATH: what failed is" in error; returns -failed. */
int database_explain(const char *path, int failed, struct shm_error *error);

/* "WHAT: what SQLite says" in error, the words alone where what is NULL; returns -errno for its
 * result code, -EIO for one that is no failure (a row that had to be there). */
int database_failed(struct sqlite3 *db, const char *what, int sqlite_result, struct shm_error *error);

/* One integer that a query gives. Returns an SQLite result code; SQLITE_ERROR when it gives no
 * row. */
int database_number(struct sqlite3 *db, const char *query, int64_t *number);

/* Steps a statement that gives no rows, and resets it. Returns an SQLite result code, SQLITE_OK
 * when it is done. */
int database_run(struct sqlite3_stmt *statement);

/* Binds bytes, which stay where they are while the statement has them: as text; as a blob where
 * they are no UTF-8 or have a 0 among them. */
void database_bind_bytes(struct sqlite3_stmt *statement, int at, const char *bytes, size_t n);

/* Whose it is, by application_id, user_version and how many tables it has: 0 ours and of this
 * version; 1 empty; -EPROTO with the remedy in error. */
int database_judge(const char *path, int64_t application, int64_t version, int64_t tables, int expected,
                   struct shm_error *error);

/* The same of an open database; -EPROTO also for a file that is no database; other -errno. */
int database_check(struct sqlite3 *db, const char *path, int expected, struct shm_error *error);

/* The same where versions from oldest on are ours too; *version is set to that of the file. */
int database_check_versions(struct sqlite3 *db, const char *path, int oldest, int newest, int64_t *version,
                            struct shm_error *error);

/* For a file that is none: -EPROTO with the remedy. */
int database_foreign(const char *path, struct shm_error *error);

/* What lies at the place of a database's file: 1, one that can be read and written; 0, nothing;
 * -errno with the reason, -EPROTO for what is no regular file. */
int database_look_at(const char *path, struct shm_error *error);

/* The mode with which to make a file beside the database, or it: 0660 where its folder hands its
 * group down (the setgid bit: users of several kinds of stages share it), otherwise alone. */
mode_t database_mode(const char *path, mode_t alone);

/* Makes the database's file, empty, where there is none, before SQLite does; the log and its index
 * get its mode (database_mode) from SQLite. Returns 0 or -errno with the reason. */
int database_make(const char *path, mode_t alone, struct shm_error *error);

/* Puts it into write-ahead mode. Returns 0; -EOPNOTSUPP when the file system has no shared memory
 * for the log's index (SQLite would go on without a log); other -errno. */
int database_begin_log(struct sqlite3 *db, const char *path, struct shm_error *error);

#endif
