/* SIGHUP: the configuration is read again, and only what changed is changed.
 *
 *     load, plan, room; the stages try what they would open at
 *     their start; bind new sockets --any error--> said, everything goes on as before
 *        |
 *        v
 *     stop the roles that are gone or changed, in the order of the flow --> segments, config.yaml --> start
 *
 * A role changes when its section does, when a topic that it writes or reads has other lanes,
 * size or when_full, when a queue that it uses has another size, when the number in whose name
 * it claims slots there is another, or when its place among the listeners does. Roles that stay
 * read their files again (stage/file.h), each for itself: what is broken of theirs is a warning
 * and no error. What else was configured (log, time-outs) applies at once to the supervisor, and
 * to a stage when it starts next. */
#ifndef SUPERVISOR_RELOAD_H
#define SUPERVISOR_RELOAD_H

#include "supervisor/supervisor.h"

/* Loads, and enters CHECKING. */
void reload_begin(struct supervisor *supervisor, uint64_t now_ns);

/* Goes on once the process that was asked has ended. When all is good enters RELOADING if a role or
 * a lane changes, otherwise UP. */
void reload_check(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns);

/* Gives up what is being CHECKED: everything goes on as before. */
void reload_give_up(struct supervisor *supervisor);

/* Goes on once the roles that had to stop are down. */
void reload_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns);

#endif
