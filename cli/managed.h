/* A request to an instance whose roles a service manager runs: what the unit of the segments
 * answers (supervisor/managed_request.h) is done with systemctl.
 *
 *     systemctl reload millrace-segments ---answers--> stop, end ROLE: remembered
 *                                                      go:             systemctl stop, one unit after another, in the order of the answer
 *                                                      start, new, restart ROLE, make: remembered until the answer has ended, then done
 *
 * Role and unit: tally.0 is millrace-tally.service, ingest-http.1 millrace-ingest-http@1.service,
 * with a .socket besides, a sink millrace-sink@NAME.service.
 */
#ifndef CLI_MANAGED_H
#define CLI_MANAGED_H

#include "supervisor/request.h"

#define MANAGED_SYSTEMCTL "MILLRACE_SYSTEMCTL" /* the program that is called instead of systemctl */

/* After request_begin, for a request that is managed. text is what was asked, until_ns
 * (CLOCK_MONOTONIC) when to give up. Ends the request. Returns the exit status, having said why it
 * is not 0: roles that were stopped have been started again. Where this process cannot use
 * systemctl it says which commands do it. */
int managed_command(const char *command, struct request *request, const char *instance, const char *text,
                    uint64_t until_ns);

#endif
