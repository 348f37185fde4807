/* The groups of stages in topics that are there already: a configuration that comes into force may
 * have other readers than the one before.
 *
 *     plan: required = {tally, lines}     page in force: topic ip with groups {tally, bus}
 *         lines  made; it begins with what is written from now on
 *         bus    freed, with a warning when it had not read all: nobody reads it any more, and its writers would wait for ever
 *         tally  stays where it is
 *
 * Called while the roles that come and go do not run. A topic that the plan no longer has keeps its
 * groups, with what waits for them.
 */
#ifndef SUPERVISOR_GROUPS_H
#define SUPERVISOR_GROUPS_H

#include "supervisor/plan.h"

/* Fits the groups of one topic to the plan. A group that still has a reader stays, with a warning.
 * Returns 0 or -errno with the reason: -EPERM when an outside program has a group of a name that a
 * stage wants. */
int groups_apply(const struct plan *plan, const struct plan_topic *topic, struct shm_error *error);

#endif
