#include "serve/live_topic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/live.h"

#define LOOKS 32u /* records between two looks at the clock */

/* ---- attaching ---- */

/* Of what was written before the first client came nothing is read; later it is read from where
 * this was, or all of a lane that has come. */
static int attach(struct live_topic *topic, const struct instance *instance, struct shm_error *error)
{
	uint64_t records = topic->follower.generation == 0 ? 0 : UINT64_MAX;
	return follower_attach(&topic->follower, instance, topic->name, records, error);
}

int live_topic_new(struct live_topic **topic, const struct instance *instance, const char *name,
                   struct shm_error *error)
{
	struct live_topic *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	snprintf(made->name, sizeof made->name, "%s", name);
	int result = attach(made, instance, error);
	if (result == 0)
		*topic = made;
	else
		free(made);
	return result;
}

void live_topic_free(struct live_topic *topic)
{
	follower_leave(&topic->follower);
	free(topic);
}

/* The instance has another page, or the last try failed. */
static void follow(struct live_topic *topic, const struct instance *instance, uint64_t now_ns)
{
	struct shm_error error = {""};
	if (!follower_due(&topic->follower, instance, now_ns))
		return;
	int result = attach(topic, instance, &error);
	if (result != 0 && !topic->warned)
		log_warn("live events cannot be read, trying again", "topic=%s reason=\"%s\"", topic->name,
		         error.text);
	topic->warned = result != 0;
}

/* ---- reading ---- */

static void give(struct live_topic *topic, const struct record *record, const char *origin, uint64_t position,
                 uint64_t now_ns)
{
	topic->seen++;
	if (!event_check(record))
		return;
	for (struct live_feed *feed = topic->feed; feed != NULL; feed = feed->next)
		live_feed_take(feed, record, origin, position, now_ns);
}

/* Returns false when the time is over. */
static bool take(struct live_topic *topic, unsigned lane, struct record_batch *batch, uint64_t until_ns)
{
	char origin[SHM_NAME_MAX + 32];
	uint64_t records = 0, position = batch->position, now_ns = clock_monotonic_ns();
	const struct record *record;
	snprintf(origin, sizeof origin, "%016" PRIx64 "-%s-%u", topic->follower.generation, topic->name,
	         lane);
	while (now_ns < until_ns && (record = record_next(batch)) != NULL) {
		if (position >= topic->follower.start[lane])
			give(topic, record, origin, position, now_ns);
		position = batch->position;
		if (++records % LOOKS == 0)
			now_ns = clock_monotonic_ns();
	}
	stream_advance(&topic->follower.reader.lane[lane], batch, records);
	return now_ns < until_ns;
}

bool live_topic_read(struct live_topic *topic, const struct instance *instance, uint64_t now_ns,
                     uint64_t until_ns)
{
	struct record_batch batch;
	unsigned lane;
	follow(topic, instance, now_ns);
	while (topic->follower.page != NULL && topic_peek(&topic->follower.reader, &lane, &batch))
		if (!take(topic, lane, &batch, until_ns))
			return true;
	return false;
}

uint64_t live_topic_missed(const struct live_topic *topic)
{
	return follower_missed(&topic->follower);
}
