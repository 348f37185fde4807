/* A topic that clients of /live want events of: one optional reader for all of them, from the first
 * to the last.
 *
 *     lanes --topic_peek--> records --> each feed (live_feed.h)
 *
 * After a reload it goes on where it was (follower.h). One thread.
 */
#ifndef SERVE_LIVE_TOPIC_H
#define SERVE_LIVE_TOPIC_H

#include "serve/follower.h"
#include "serve/live_feed.h"

struct live_topic {
	struct live_topic *next;
	struct live_feed *feed;
	char name[SHM_NAME_MAX];
	struct follower follower;
	bool warned;
	uint64_t seen; /* records read */
};

/* Begins at what is written from now on. Returns 0, -ENOMEM, or as topic_reader_attach. */
int live_topic_new(struct live_topic **topic, const struct instance *instance, const char *name,
                   struct shm_error *error);

/* Its feeds are gone. The instance that it had last must still be attached. */
void live_topic_free(struct live_topic *topic);

/* Reads what has come, until until_ns (CLOCK_MONOTONIC). Returns true when there may be more. */
bool live_topic_read(struct live_topic *topic, const struct instance *instance, uint64_t now_ns,
                     uint64_t until_ns);

/* Records missed since it began. */
uint64_t live_topic_missed(const struct live_topic *topic);

#endif
