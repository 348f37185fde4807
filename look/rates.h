/* How fast an instance goes: what its counters gained between two snapshots, per second.
 *
 *     struct rates rates;
 *     rates_init(&rates, now, before);        before: an earlier snapshot, or NULL
 *     rates_topic(&rates, topic)              topic is one of now's; 0 when before has nothing to compare it with
 *
 * Stages, topics, groups and metrics are found again by name, so that a reload which adds or
 * removes some does no harm. A counter that went back belongs to another life: its rate is 0.
 */
#ifndef LOOK_RATES_H
#define LOOK_RATES_H

#include "look/snapshot.h"

struct rates {
	const struct snapshot *now;
	const struct snapshot *before; /* NULL: nothing to compare with */
	double seconds;
};

/* Takes two snapshots of one instance, which must live as long as the rates. Returns false, and all
 * rates are 0, when there is no earlier one, or it is of another life of the instance. */
bool rates_init(struct rates *rates, const struct snapshot *now, const struct snapshot *before);

/* Events that a topic received, all lanes. */
double rates_topic(const struct rates *rates, const struct snapshot_topic *topic);

/* Records written to a lane. */
double rates_lane(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane);

/* Records that a group read of a lane; group is one of the lane's. */
double rates_group(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane,
                   const struct snapshot_group *group);

/* A counter's gain, or the number of values that a histogram got; a gauge has no rate: 0. stage
 * NULL: the supervisor's. */
double rates_metric(const struct rates *rates, const struct snapshot_stage *stage,
                    const struct snapshot_metric *metric);

#endif
