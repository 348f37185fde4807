/* What a running instance without a supervisor can be asked: its part of `millrace reload`,
 * `millrace restart` and `millrace upgrade`. The service manager runs it as the unit of the
 * segments (ExecReload=), so files are tried where, and as whom, the instance was made.
 *
 *     command (cli/managed.h)          service manager              supervisor --segments reload
 *     request "reload" (request.h)
 *     systemctl reload millrace-segments ----------> starts -->     checks all, as the supervisor would (reload.h)
 *                       <----- "step stop ingest-http.0" -------    says which roles end, in the order of the flow
 *                       <----- "step go" -----------------------    waits until they have ended
 *     systemctl stop ... --------------------------> stops          makes segments, page, config.yaml, secrets
 *                       <----- "step start ingest-http.0" ------    says which begin, readers first
 *     systemctl start ... -------------------------> starts         ends
 *
 * While this runs the service manager starts no role: the units of the roles come After= that of
 * the segments, and a start waits for a reload of a unit that it comes after. So a socket on which
 * something arrives meanwhile does not bring its role back too early.
 *
 * Without a request (somebody has typed systemctl reload millrace-segments) it is a reload: what no
 * role need end for is done; otherwise the log says which units to stop, and they are waited for.
 */
#ifndef SUPERVISOR_MANAGED_REQUEST_H
#define SUPERVISOR_MANAGED_REQUEST_H

#include "supervisor/supervisor.h"

/* The words of a step. */
#define MANAGED_STOP    "stop"    /* ROLE ends, to begin again */
#define MANAGED_END     "end"     /* ROLE ends for good */
#define MANAGED_GO      "go"      /* now end those */
#define MANAGED_START   "start"   /* ROLE begins, once this process has ended */
#define MANAGED_NEW     "new"     /* the same of a role that was not there before */
#define MANAGED_RESTART "restart" /* ROLE ends and begins */
#define MANAGED_MAKE    "make"    /* everything ends, the segments are made anew */
#define MANAGED_PACKETS "packets" /* the holder of packets (holder.h) ends and begins */
#define MANAGED_LOOK    "look"    /* it looks for addresses and interfaces again */

/* Does what is asked in the directory. Returns the exit status: 0, or SUPERVISOR_CANNOT_START,
 * having said why; then everything is as it was, but for roles that have ended: they are to begin
 * again. */
int managed_request(const char *directory, struct supervisor *supervisor,
                    const struct supervisor_options *options);

#endif
