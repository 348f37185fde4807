/* Forgets all that tally keeps of topic ip: counts, addresses and networks of all applications.
 *
 *     forget_begin, forget_look --errand (stage/errand.h)--> tally: commits what it has counted, deletes it, in one transaction
 *
 * Tally alone writes tally.db and holds the counts in memory too, so it is asked. What is forgotten
 * is what it has counted by then; an event that is still in a lane is counted after it. Either all
 * is forgotten or nothing, whoever is killed. Other topics stay.
 */
#ifndef SINK_TALLY_FORGET_H
#define SINK_TALLY_FORGET_H

#include "stage/errand.h"

struct forget_answer {
	uint64_t applications; /* that had a count */
	uint64_t events;       /* that were counted, of these and beyond tally.applications */
};

struct forget {
	struct errand errand;
	uint64_t timeout_ns;
};

/* The tally of the instance in this directory is to be asked. Returns 0, or
 * -errno with the reason in error: there is no tally. */
int forget_begin(struct forget *forget, const char *directory, uint64_t timeout_ns, struct shm_error *error);

/* Asks, or looks whether it is done; waits for nothing. Returns -EAGAIN while that is open, and is
 * called again after ERRAND_LOOK_NS; 0 when all is forgotten; otherwise -errno with a line for a
 * person in error: -EBUSY nothing was forgotten, and will not be, as tally does not run or cannot
 * commit; -EINPROGRESS tally is about to, but was not done in time: it will be. */
int forget_look(struct forget *forget, struct forget_answer *answer, struct shm_error *error);

/* At any time after forget_begin: nobody looks any more. Unless tally is about to, it will not
 * forget. */
void forget_end(struct forget *forget);

#endif
