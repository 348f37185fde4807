/* The watch: says in the log when the writers of a topic are held back, by which group, and what
 * helps; and lets a group lapse that nobody reads.
 *
 *     once a second, for each topic:
 *
 *       something was dropped or refused, or a lane has no room and nothing moves
 *                                   |
 *          (room) --- warn: topic, group, since when nobody reads it, remedy ---> FULL --.
 *             ^                                                                    ^      | again every full_reminder, and at once
 *             '------- info: room again, after WATCH_CLEAR_NS without loss --------+------'  when it is another group
 *
 * A required group keeps its place while it has a reader, and for topics.<name>.max_idle after
 * that, or until topics.<name>.max_lag bytes wait for it. Then it lapses (topic_group_lapse), so
 * that a reader that never comes back, or a misspelled name, does not stop a topic for good. Time
 * is counted from when this process first saw the group without a reader. Groups of stages never
 * lapse.
 *
 * What the writers count (dropped, refused) and the cursors say all there is to know; the watch
 * reads them where they lie. Writers and readers do nothing for it.
 */
#ifndef SUPERVISOR_WATCH_H
#define SUPERVISOR_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/instance.h"
#include "base/clock.h"
#include "config/config.h"

#define WATCH_LOOK_NS  NS_PER_SEC
#define WATCH_CLEAR_NS (5 * NS_PER_SEC)

/* Whether a group is read, as far as this process saw it. */
struct watch_group {
	char name[SHM_NAME_MAX]; /* "": none that outside programs read */
	bool live;
	bool before;       /* it had no reader at the first look: since_ns is too late */
	uint64_t since_ns; /* CLOCK_REALTIME; while it has no reader: since when */
	uint64_t idle_ns;  /* the same on CLOCK_MONOTONIC */
};

struct watch_lane {
	const struct stream_shared *shared; /* NULL: not there */
	uint64_t tail, slowest;             /* at the last look */
};

struct watch_topic {
	char name[SHM_NAME_MAX];
	unsigned n_lanes;
	struct watch_lane lane[STREAM_LANES_MAX];
	struct segment group_segment[STREAM_GROUPS_MAX];
	struct watch_group group[STREAM_GROUPS_MAX];
	bool looked;               /* at least once */
	uint64_t dropped, refused; /* of all lanes, at the last look */
	/* FULL */
	bool full;
	char holder[SHM_NAME_MAX]; /* the group that was named last */
	/* CLOCK_MONOTONIC: the first word, the last word, writers were last held back */
	uint64_t begun_ns, said_ns, held_ns;
	uint64_t dropped_before, refused_before;
};

struct watch {
	char directory[128], instance[SHM_NAME_MAX];
	uint64_t reminder_ns; /* set by the owner */
	uint64_t next_ns;
	uint64_t lapsed; /* groups that lapsed; the owner counts them and sets it to 0 */
	unsigned n_topics;
	struct watch_topic topic[INSTANCE_TOPICS_MAX];
};

/* Maps what the page in force names; what was known of a topic of the same name stays known. All
 * zero before the first time. A lane or group that cannot be mapped is left out. */
void watch_open(struct watch *watch, const char *directory, const char *instance,
                const struct instance_page *page);

/* Looks when it is time. config: that in force, for the limits of groups. Returns when to call
 * again, CLOCK_MONOTONIC. */
uint64_t watch_step(struct watch *watch, const struct config *config, uint64_t now_ns);

void watch_close(struct watch *watch);

#endif
