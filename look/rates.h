/* Rates of an instance: the gain of its counters between two snapshots, per second.
 *
 *     struct rates rates;
 *     rates_init(&rates, now, before);        before: an earlier snapshot, or NULL
 *     rates_topic(&rates, topic)              topic is one of now's; 0 when before has nothing to compare it with
 *
 * Stages, topics, groups and metrics are matched by name, so a reload may add or remove some. A
 * counter that went down has started again: its rate is 0.
 */
#ifndef LOOK_RATES_H
#define LOOK_RATES_H

#include "look/snapshot.h"

struct rates {
	const struct snapshot *now;
	const struct snapshot *before; /* NULL: nothing to compare with */
	double seconds;
};

/* Takes two snapshots of one instance, which must live as long as the rates. Returns false when
 * there is no earlier one, or it is from another run of the instance; then all rates are 0. */
bool rates_init(struct rates *rates, const struct snapshot *now, const struct snapshot *before);

/* Events that a topic received, all lanes. */
double rates_topic(const struct rates *rates, const struct snapshot_topic *topic);

/* Records written to a lane. */
double rates_lane(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane);

/* Records that a group read from a lane; group is one of the lane's. */
double rates_group(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane,
                   const struct snapshot_group *group);

/* A counter's gain, or the number of new values in a histogram; 0 for a gauge. stage NULL: the
 * supervisor's. */
double rates_metric(const struct rates *rates, const struct snapshot_stage *stage,
                    const struct snapshot_metric *metric);

#endif
