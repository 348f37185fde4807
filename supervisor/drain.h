/* The orderly end, in the order of the flow.
 *
 *     draining = 1 --> rank 0: SIGTERM, ended --> outside writers gone --> rank 1 --> rank 2 --> outside required groups at the tail --> ended = 1
 *                      |                          '- outside_timeout -'                                                          |
 *                      '------------------------ drain_timeout ------------------------------------------------------------------'--> SIGKILL
 *
 * An outside writer is refused from the first moment on; while it holds its lane it may still
 * commit what it had appended. A stage that reads, reads to the tail before it ends. A stage that
 * is starting gets its SIGTERM once it runs. Outside readers of required groups are waited for
 * while they live and have something to read. Sockets are quiet from the beginning (sockets.h) and
 * closed when rank 0 has ended: later connections are refused at once.
 */
#ifndef SUPERVISOR_DRAIN_H
#define SUPERVISOR_DRAIN_H

#include "supervisor/supervisor.h"

/* Enters DRAINING. Called again half a second later or more (a second SIGTERM), it cuts the drain
 * short. */
void drain_begin(struct supervisor *supervisor, uint64_t now_ns);

/* Whether a role that is DOWN has left something that a life of its own could finish: in its
 * private memory, in its sockets, or in what it reads. */
bool drain_has_left(const struct supervisor *supervisor, const struct child *child);

/* Goes as far as it can. Returns true when everything has ended; else *due_ns says when to call
 * again (a death calls earlier). */
bool drain_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns);

/* After the end: removes what is drained, or says what is left. Returns the exit status. */
int drain_finish(struct supervisor *supervisor);

#endif
