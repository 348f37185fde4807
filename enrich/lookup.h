/* What the stage looks up, and the event it makes of a call with it.
 *
 *     call --> [ country, city by address (geo/) | device by User-Agent (agent/) | put together (track/) | privacy ] --> event
 *
 * It needs no shared memory: the stage, a file (--input), the tests and the benchmark use it alike.
 */
#ifndef ENRICH_LOOKUP_H
#define ENRICH_LOOKUP_H

#include <limits.h>

#include "config/config.h"
#include "enrich/agent/cache.h"
#include "enrich/geo/geo.h"
#include "enrich/track/privacy.h"
#include "enrich/track/track.h"

#define LOOKUP_DROP_MAX 64u

struct lookup_settings {
	/* configured paths, "" for none; live as long as the configuration */
	const char *database, *rules;
	size_t agent_longest;
	uint32_t agent_cache;
	char pod[TRACK_TEXT_MAX + 1];
	struct privacy privacy;
	const char *drop[LOOKUP_DROP_MAX];
};

struct lookup {
	struct lookup_settings settings;
	struct geo *geo;
	struct agent_engine *engine;
	struct agent_cache *cache;
	struct agent parsed;
	uint64_t countries_unknown;
};

/* Reads section enrich. */
void lookup_read_settings(struct lookup_settings *settings, const struct config *config);

/* Opens database and rules; lookup->settings must be set. A missing or broken database and missing
 * rules are logged, and the lookup does without them; broken rules are an error. Returns 0 or
 * -errno with the reason. */
int lookup_open(struct lookup *lookup, struct shm_error *error);
void lookup_close(struct lookup *lookup);

/* Makes the event of a call, which has passed event_check, at payload, which has track_room(raw)
 * bytes. Returns its length. */
uint32_t lookup_event(struct lookup *lookup, const struct event_track_raw *raw, uint64_t now_ns,
                      void *payload);

#endif
