/* The watch: says in the log when the writers of a topic are held back, by which group, and what
 * helps.
 *
 *     once a second, for each topic:
 *
 *       something was dropped or refused, or a lane has no room and nothing moves
 *                                   |
 *          (room) --- warn: topic, group, since when nobody reads it, remedy ---> FULL --.
 *             ^                                                                    ^      | again every full_reminder, and at once
 *             '------- info: room again, after WATCH_CLEAR_NS without loss --------+------'  when it is another group
 *
 * A required group keeps its place for as long as it is wanted, so one whose reader never comes
 * back, or whose name was misspelled, stops a topic for good. What the writers count (dropped,
 * refused) and the cursors say all there is to know; the watch reads them where they lie. Writers
 * and readers do nothing for it.
 */
#ifndef SUPERVISOR_WATCH_H
#define SUPERVISOR_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/instance.h"
#include "base/clock.h"

#define WATCH_LOOK_NS  NS_PER_SEC
#define WATCH_CLEAR_NS (5 * NS_PER_SEC)

/* Whether a group is read, as far as this process saw it. */
struct watch_group {
	char name[SHM_NAME_MAX]; /* "": none that outside programs read */
	bool live;
	bool before;       /* it had no reader at the first look: since_ns is too late */
	uint64_t since_ns; /* CLOCK_REALTIME; while it has no reader: since when */
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
	unsigned n_topics;
	struct watch_topic topic[INSTANCE_TOPICS_MAX];
};

/* Maps what the page in force names; what was known of a topic of the same name stays known. All
 * zero before the first time. A lane or group that cannot be mapped is left out. */
void watch_open(struct watch *watch, const char *directory, const char *instance,
                const struct instance_page *page);

/* Looks when it is time. Returns when to call again, CLOCK_MONOTONIC. */
uint64_t watch_step(struct watch *watch, uint64_t now_ns);

void watch_close(struct watch *watch);

#endif
