/* An onlooker of a topic (topic_reader_attach_unseen) that goes on over reloads: when the instance
 * has another page it leaves, attaches anew, and begins where it was.
 *
 *     follower_due? --> follower_attach --> topic_peek(&follower->reader, ...) --> another page: follower_due? ...
 *                                             '--> what lies before start[lane] it has read already
 *
 * Zero-initialised it has not attached yet. One thread.
 */
#ifndef SERVE_FOLLOWER_H
#define SERVE_FOLLOWER_H

#include "shm/topic.h"

struct follower {
	struct topic_reader reader;
	const struct instance_page *page; /* of the instance when it attached; NULL: it has not */
	uint64_t generation;              /* of the instance; 0: it has never attached */
	uint64_t retry_ns;
	uint64_t start[STREAM_LANES_MAX]; /* where it was when it left */
	uint64_t missed;                  /* by readers before this one */
};

/* Leaves when the instance has another page. Returns whether it is time to attach: it is not
 * attached, and the last such time was a second ago. */
bool follower_due(struct follower *follower, const struct instance *instance, uint64_t now_ns);

/* Goes back as many records in each lane as are there, `records` at most; 0: begins with what is
 * written from now on. Returns 0, or as topic_reader_attach_unseen. */
int follower_attach(struct follower *follower, const struct instance *instance, const char *topic,
                    uint64_t records, struct shm_error *error);

/* The instance that it attached to must still be attached. Nothing when it has not. */
void follower_leave(struct follower *follower);

/* Records that were overwritten before it could read them, since it first attached. */
uint64_t follower_missed(const struct follower *follower);

#endif
