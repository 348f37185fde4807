/* The files that a store stands on, and whether they are still the ones under their names.
 *
 *     open --> files_note   device and inode of tally.db, tally.db-wal, tally.db-shm, tally.lock
 *     before each commit, after it, now and then --> files_check   the same four stat(2) again
 *
 * A process goes on with a file that somebody deleted, replaced or moved: every write succeeds, and
 * nobody who opens the name finds what was written. So what was written is safe only while the
 * names still lead to it.
 */
#ifndef SINK_TALLY_FILES_H
#define SINK_TALLY_FILES_H

#include <stdint.h>

#include "shm/segment.h"

#define FILES_MAX 4u

struct files {
	unsigned n;
	struct {
		const char *path; /* the caller's */
		uint64_t device, inode;
	} file[FILES_MAX];
};

/* Adds the file that is at path now. path must stay. Returns 0 or -errno with the reason in
 * error. */
int files_note(struct files *files, const char *path, struct shm_error *error);

/* Returns 0 while file i is the one under its name; -ESTALE with the reason and the remedy in error
 * when it was deleted, replaced or moved; other -errno when nobody can tell. */
int files_check_one(const struct files *files, unsigned i, struct shm_error *error);

/* The same for all of them: 0, or what is wrong with the first that is not what it was. */
int files_check(const struct files *files, struct shm_error *error);

#endif
