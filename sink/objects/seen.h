/* A sink's journal as another process sees it: which objects it holds, without a lock and without
 * writing.
 *
 *     state, copy;  the same state (acquire), the same copy again: it is one object, as it was a moment ago
 *
 * The journal stores an object's state last, when all that it speaks of is there. So what is read
 * after the second look at the state is whole, and what was read before it is when it is the same.
 * Objects whose first lines are not committed are left out.
 */
#ifndef SINK_OBJECTS_SEEN_H
#define SINK_OBJECTS_SEEN_H

#include "sink/objects/journal.h"

struct seen_object {
	enum journal_phase phase;
	bool finishing;                 /* it takes no more lines */
	char key[JOURNAL_KEY_MAX + 1];  /* 0-ended */
	char name[JOURNAL_KEY_MAX + 1]; /* 0-ended; "" while it has none */
	uint64_t opened_ns;             /* CLOCK_REALTIME, of its first line */
	uint64_t lines;                 /* that it took */
	uint16_t first_topic, first_lane;
	uint64_t first_position;
};

/* Calls each for every object in the journal of the role; directory is the instance's. Returns 0,
 * or -errno with the reason: -ENOENT it has no journal; -EPROTO it makes no sense to this build. */
typedef void seen_each(void *argument, const struct seen_object *object);
int seen_journal(const char *directory, const char *role, seen_each *each, void *argument,
                 struct shm_error *error);

#endif
