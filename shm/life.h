/* Is the instance that somebody is attached to still the one under its name?
 *
 *     SAME ------ the supervisor put a new page in its place (another configuration) --> REPLACED: attach again
 *       '-------- it drained and ended, or its folder is gone ------------------------> ENDED
 *
 * A supervisor that was killed changes nothing: its successor adopts the segments.
 */
#ifndef SHM_LIFE_H
#define SHM_LIFE_H

#include "shm/instance.h"

enum life { LIFE_SAME, LIFE_REPLACED, LIFE_ENDED };

struct life_watch {
	const struct instance *instance;
	uint64_t next_ns; /* CLOCK_MONOTONIC; when to look again */
};

/* Once, right after instance_attach. The instance must stay attached. */
void life_init(struct life_watch *watch, const struct instance *instance);

/* Looks at most every 100 ms; in between the answer is LIFE_SAME. */
enum life life_check(struct life_watch *watch);

/* Whether a supervisor runs the instance: without one nobody takes in, restarts or ends anything, whatever its segments hold. */
bool life_supervised(const struct instance *instance);

#endif
