/* The snapshot that handlers look at: one for all that is asked within VIEW_FRESH_NS, so that many
 * clients cost no more than one.
 */
#ifndef SERVE_VIEW_H
#define SERVE_VIEW_H

#include "look/snapshot.h"

#define VIEW_FRESH_NS 50000000ull

struct view {
	const char *instance;
	struct snapshot_source *source;
	bool open;
	struct snapshot *now;
	uint64_t taken_ns; /* 0: none */
};

/* Returns 0 or -ENOMEM. */
int view_init(struct view *view, const char *instance);
void view_fini(struct view *view);

/* A snapshot that is fresh enough; NULL with the reason in error when the instance cannot be read.
 * It holds until the next call. */
const struct snapshot *view_take(struct view *view, struct shm_error *error);

#endif
