/* Detects that the attached instance was replaced, ended or deleted.
 *
 *     SAME ------ the supervisor put a new page in its place (another configuration) --> REPLACED: attach again
 *       '-------- it drained and ended, or its folder is gone ------------------------> ENDED
 *
 * A supervisor that was killed changes nothing: its successor adopts the segments.
 *
 * An outside writer asks before each record (life_writes, one line of shared memory) and after each
 * commit (life_committed). The second question closes the race with a supervisor that is about to
 * give the memory up:
 *
 *     writer:     moves the tail;  fence;  reads `ended`                  one of the two sees the other: what was committed before `ended`
 *     supervisor: stores `ended`;  fence;  looks at what waits            is counted as waiting, and the segments are kept
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

/* For readers. Looks at the folder at most every 100 ms; in between the answer is LIFE_SAME, unless
 * the page itself tells of the end. */
enum life life_check(struct life_watch *watch);

/* For writers, before they append: ENDED from the moment the instance drains. Costs three loads. */
static inline enum life life_writes(const struct instance *instance)
{
	const struct instance_page *page = instance->page;
	if (atomic_load_explicit(&page->draining, memory_order_relaxed) != 0 ||
	    atomic_load_explicit(&page->ended, memory_order_relaxed) != 0)
		return LIFE_ENDED;
	return atomic_load_explicit(&page->replaced, memory_order_relaxed) != 0 ? LIFE_REPLACED : LIFE_SAME;
}

/* For writers, after a commit. ENDED: perhaps nobody ever reads what was just committed. Otherwise
 * the groups of the topic will read it, and it stays in memory until then; REPLACED says in
 * addition that another page is in place. A folder that was removed is noticed within 100 ms. */
enum life life_committed(struct life_watch *watch);

/* Whether a supervisor, or a service manager in its place, runs the instance: without one nothing
 * is taken in, restarted or ended, whatever its segments hold. True also when it cannot be told
 * (instance_locked). */
bool life_supervised(const struct instance *instance);

#endif
