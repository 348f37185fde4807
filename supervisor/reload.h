/* SIGHUP: the configuration is read again, and only what changed is changed.
 *
 *     load, plan, room, bind new sockets --any error--> said, everything goes on as before
 *        |
 *        v
 *     stop the roles that are gone or changed, in the order of the flow --> segments, config.yaml --> start
 *
 * A role changes when its section does, when a topic that it writes or reads has other lanes, size or when_full, when a queue that it
 * uses has another size, when the number in whose name it claims slots there is another, or when its place among the
 * listeners does. What else was configured (log, time-outs) applies at once to the supervisor, and to a stage when it starts next.
 */
#ifndef SUPERVISOR_RELOAD_H
#define SUPERVISOR_RELOAD_H

#include "supervisor/supervisor.h"

/* Loads and compares; enters RELOADING when a role or a lane changes. */
void reload_begin(struct supervisor *supervisor, uint64_t now_ns);

/* Goes on once the roles that had to stop are down. */
void reload_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns);

#endif
