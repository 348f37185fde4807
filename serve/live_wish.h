/* What a client of /live wants: figures, or events of a topic that pass a filter, or both.
 *
 *     ?topic=track&filter=app_open&where=color=red  -->  topic "track", filters "type=app_open", "params.color=red"
 *
 * Clients that want the same events share a subscription: their keys are equal.
 */
#ifndef SERVE_LIVE_WISH_H
#define SERVE_LIVE_WISH_H

#include <stdbool.h>

#include "event/filter.h"
#include "shm/segment.h"

#define LIVE_WHERE_MAX 8u

struct live_wish {
	bool ticks;
	char topic[SHM_NAME_MAX];         /* "": no events */
	uint16_t type;                    /* of the topic's records */
	char *filter[LIVE_WHERE_MAX + 1]; /* as filters_init takes them */
	unsigned n;
	char *key;   /* of the subscription */
	char *hello; /* {"type":"hello",...} */
};

/* The field that says of which kind an event is: "type" of tracking events; NULL: it has none. */
const char *live_wish_kind(uint16_t type);

/* topic NULL: none; type: of its records; filter NULL: none; where: n_where times "KEY=VALUE".
 * Returns 0, or -EINVAL with what is wrong in why, or -ENOMEM. In all cases the caller calls
 * live_wish_fini. */
int live_wish_init(struct live_wish *wish, const char *topic, uint16_t type, const char *filter,
                   const char *const *where, unsigned n_where, bool ticks, struct filters_why *why);

void live_wish_fini(struct live_wish *wish);

#endif
