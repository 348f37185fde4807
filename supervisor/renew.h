/* Renewal: stages, and the supervisor itself, go on in the programs that are installed now, while
 * the sockets stay open and the segments stay as they are (`millrace restart`, `millrace
 * upgrade`).
 *
 *     request --> TRYING: could each program start with this configuration and this layout?
 *                   | yes                       | no: says so; nothing has been ended
 *                   v                           '-- another layout, upgrade: drain, remove, exec, start (below)
 *     for each role, one after another:
 *        STOPPING: SIGTERM; it drains what it holds; killed after drain_timeout
 *        STARTING: until it runs, START_PATIENCE_NS at most; if it does not, the renewal ends here: the others run as before
 *                   |
 *                   v  upgrade
 *     exec: the supervisor's process goes on in the new program, with its lock, its sockets and its children (handover.h)
 *
 * The order is that of a start: the readers of a topic before its writers, so that no new kind of
 * record meets a program that does not know it; the supervisor last. A renewal begins when all
 * else is done (phase UP) and is given up when the instance is to end.
 *
 * Another layout: no process can use both kinds of segments. The stages end as in a drain, but the
 * sockets stay as they are and take in; what they queue is for the new stages. When everything was
 * drained, the segments are removed, and the supervisor's process starts anew in its new program,
 * with the sockets. When not, it ends (SUPERVISOR_LEFT): what is left can only be read by the old
 * programs. It is done in the same way, but with the segments kept, when packets are taken from an
 * interface: what belongs to those cannot be handed over.
 */
#ifndef SUPERVISOR_RENEW_H
#define SUPERVISOR_RENEW_H

#include "supervisor/supervisor.h"

/* Takes the request that waits, if there is one, and begins with it. */
void renew_begin(struct supervisor *supervisor, uint64_t now_ns);

/* Phase RENEWING; goes on. *due_ns: when to call again at the latest. */
void renew_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns);

/* The instance is to end: forgets the renewal, and tells who asked for it. */
void renew_give_up(struct supervisor *supervisor);

/* After a drain that was for a renewal; status is drain_finish's. Does not return when another
 * program goes on; otherwise returns the exit status. */
int renew_after_drain(struct supervisor *supervisor, int status);

/* All stages run again, after an exec or a reload: tells who asked. */
void renew_finish_started(struct supervisor *supervisor);

/* ---- the steps by themselves, for an instance without a supervisor (managed_request.h) ---- */

/* Begins with "upgrade" or "restart WHAT": renew.role and the trial of their programs, for segments
 * of this layout. False, the request being finished: it is not known, or means no role. */
bool renew_prepare(struct supervisor *supervisor, const char *text, uint64_t layout);

/* Why the trial, at its end, forbids it; NULL: it does not. */
const char *renew_verdict(const struct renew *renew);

#endif
