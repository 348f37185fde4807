/* Forgets all that tally keeps of topic ip: counts, addresses and networks of all applications.
 *
 *     forget_addresses --errand (stage/errand.h)--> tally: commits what it has counted, deletes it, in one transaction
 *
 * Tally alone writes tally.db and holds the counts in memory too, so it is asked. What is forgotten
 * is what it has counted by then; an event that is still in a lane is counted after it. Either all
 * is forgotten or nothing, whoever is killed. Other topics stay.
 */
#ifndef SINK_TALLY_FORGET_H
#define SINK_TALLY_FORGET_H

#include <stdint.h>

#include "shm/segment.h"

struct forget_answer {
	uint64_t applications; /* that had a count */
	uint64_t events;       /* that were counted, of these and beyond tally.applications */
};

/* Asks the tally of the instance in this directory, and waits until it is done. Returns 0;
 * otherwise -errno with a line for a person in error: -EBUSY nothing was forgotten, and will not
 * be, as tally does not run or cannot commit; -EINPROGRESS tally is about to, but was not done in
 * time: it will be; others when there is no tally. */
int forget_addresses(const char *directory, uint64_t timeout_ns, struct forget_answer *answer,
                     struct shm_error *error);

#endif
