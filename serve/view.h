/* The snapshot that handlers look at: one for all that is asked within VIEW_FRESH_NS, so that many
 * clients cost no more than one. And, while somebody scrapes, the high-water marks between scrapes.
 */
#ifndef SERVE_VIEW_H
#define SERVE_VIEW_H

#include "look/peaks.h"

#define VIEW_FRESH_NS  50000000ull
#define VIEW_SCRAPE_NS (2 * PEAKS_WINDOW_NS) /* who has not asked for so long scrapes no more */

struct view {
	const char *instance;
	struct snapshot_source *source;
	bool open;
	struct snapshot *now;
	uint64_t taken_ns; /* 0: none */
	struct peaks *peaks;
	uint64_t scraped_ns, sampled_ns; /* 0: never */
};

/* Returns 0 or -ENOMEM. */
int view_init(struct view *view, const char *instance);
void view_fini(struct view *view);

/* Bytes that it takes. */
size_t view_bytes(void);

/* A snapshot that is fresh enough; NULL with the reason in error when the instance cannot be read.
 * It holds until the next call. */
const struct snapshot *view_take(struct view *view, struct shm_error *error);

/* Somebody asks for marks: from now on they are kept, until nobody has asked for VIEW_SCRAPE_NS. */
void view_scraped(struct view *view, uint64_t now_ns);

/* Looks for marks when it is time. Returns how long from now the next look is, nanoseconds;
 * UINT64_MAX: nobody asks. */
uint64_t view_sample(struct view *view, uint64_t now_ns);

#endif
