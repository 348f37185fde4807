/* SIGHUP: the configuration is read again, and only what changed is changed.
 *
 *     load, plan, room; the stages try what they would open at
 *     their start; bind new sockets --any error--> said, everything goes on as before
 *        |
 *        v
 *     stop the roles that are gone or changed, in the order of the flow --> segments, config.yaml, secrets --> start
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

/* ---- the steps by themselves, for an instance without a supervisor (managed_reload.h) ---- */

/* What a command is told at the end (request.h). */
#define RELOAD_REFUSED   "the configuration is refused; everything goes on as before"
#define RELOAD_FAILED    "the configuration could not be put in force; the one before is"
#define RELOAD_NO_CHANGE "no stage starts again; all read their files again"

/* Loads and plans what is new: next_config and next_plan. False, having said why, when it is
 * refused; then there is neither. Plan, segments.old and the folder of the programs are there. */
bool reload_prepare(struct supervisor *supervisor);

/* A trial_say for the next plan; argument is the supervisor. Counts in reload_refused what forbids
 * the reload. */
void reload_say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text);

/* Says that a role of the plan in force starts again, or ends. */
void reload_say_role(struct supervisor *supervisor, const char *role);

/* Makes the segments of the next plan and writes the page and what in_force.h has: next_config and
 * next_plan are in force, and what was is "next". The roles that change are down. False, having
 * said why: everything is as it was. */
bool reload_enforce(struct supervisor *supervisor);

/* Frees the next plan and configuration. */
void reload_forget(struct supervisor *supervisor);

#endif
