/* Dead letters: looked at, sent again, deleted. The `millrace dead` command works on deliver.db
 * beside the processes that deliver; they see what has changed (waiting_changed).
 *
 *     list    newest first, each with its row's texts
 *     replay  dead --> parked, with no attempts, its history kept; its endpoint is gone no longer
 *     purge   deleted
 *
 * Nothing reads on and on: each letter is found by a search of its own, and changes are made in
 * transactions of DEAD_BATCH rows. So a slow terminal holds up neither the log nor a writer.
 */
#ifndef DELIVER_DEAD_H
#define DELIVER_DEAD_H

#include "deliver/waiting.h"

#define DEAD_BATCH      500u
#define DEAD_ANY_STATUS (-1)

struct dead_letter {
	const char *id, *method, *endpoint, *origin, *reason, *url, *data, *history;
	size_t url_bytes, data_bytes; /* the others end with 0 */
	int64_t seq;                  /* with dead_ms its place in the list */
	uint64_t attempts, arrival_ns;
	int64_t first_ms, dead_ms;
	int status; /* of the last answer; 0: there was none */
};

/* Status of the last attempt of a history (waiting.h); 0: there was none. */
int dead_status(const char *history);

/* What a letter has to be; all of it counts. */
struct dead_filter {
	const char *endpoint; /* it begins so; NULL: any */
	/* "api.example.com" or with ":8443"; case does not count; NULL: any */
	const char *host;
	const char *reason;         /* part of it; case does not count; NULL: any */
	int status;                 /* or DEAD_ANY_STATUS */
	int64_t since_ms, until_ms; /* it died in between, both included */
	/* dead_list: those after this place in the list; 0 and 0: from its begin on */
	int64_t after_ms, after_seq;
};

/* Calls each for the letters that pass, the newest first, until `most` (0: all) or until it returns
 * other than 0. Returns how many were given, or -errno with error. */
typedef int dead_each(void *argument, const struct dead_letter *letter);
int64_t dead_list(struct waiting *waiting, const struct dead_filter *filter, uint64_t most, dead_each *each,
                  void *argument, struct shm_error *error);

/* Calls each for the letter of this id. Returns 1, 0 when there is none, or -errno with error. */
int dead_show(struct waiting *waiting, const char *id, dead_each *each, void *argument,
              struct shm_error *error);

/* Parks, or deletes, the letters that pass, the oldest first, at most `most` (0: all). Returns how
 * many, or -errno with error: batches before it are done, *done (may be NULL) says how many. */
enum dead_change { DEAD_REPLAY, DEAD_PURGE };
int64_t dead_change(struct waiting *waiting, enum dead_change change, const struct dead_filter *filter,
                    uint64_t most, int64_t now_ms, uint64_t *done, struct shm_error *error);

/* The same for one id: 1, 0 when there is no such letter, or -errno with error. */
int dead_change_one(struct waiting *waiting, enum dead_change change, const char *id, int64_t now_ms,
                    struct shm_error *error);

#endif
