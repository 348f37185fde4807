/* An instance whose roles a service manager runs (systemd): one unit per role, no supervisor.
 *
 *     supervisor --segments make    before all roles: segments, page, config.yaml, secrets, as a start of the supervisor makes them
 *     supervisor --segments open    after all roles have started: outside programs may write
 *     supervisor --segments reload  while they run: puts another configuration in force, or tries other programs (managed_request.h)
 *     supervisor --segments drain   before the first role is stopped: the instance drains (the roles ask the page)
 *     supervisor --segments end     after the last role has ended: removed when nothing waits, otherwise kept
 *     supervisor --sink NAME        becomes the program of the sink's role
 *
 * Each does its work and ends. What a supervisor does for a role that died is done by the role's
 * next life: the role's lock is its own, its redo notes and claims are taken up when it attaches
 * (stage/ports.h). Sockets are the service manager's (stage/passed.h), heartbeats go to its
 * watchdog (stage/notify.h). When another build has been installed meanwhile, whose layout is
 * another, drain and end are done by the program that made the segments (maker.h). The page's word
 * `managed` says that nobody holds the supervisor's lock, and that this is as it should be.
 */
#ifndef SUPERVISOR_MANAGED_H
#define SUPERVISOR_MANAGED_H

#include "supervisor/supervisor.h"

/* Does what the word says. Returns the exit status: 0; SUPERVISOR_CANNOT_START, having said why;
 * SUPERVISOR_USAGE for another word; of `end` SUPERVISOR_LEFT: records wait, the segments are
 * kept. */
int managed_do(const char *word, struct supervisor *supervisor, const struct supervisor_options *options);

/* Becomes the program of the role of the sink. Returns, only on failure, SUPERVISOR_CANNOT_START,
 * having said why. */
int managed_sink(const char *name, const struct supervisor_options *options);

#endif
