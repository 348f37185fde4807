/* AF_XDP sockets that a process of their own hands to a stage which a service manager runs.
 *
 *     stage                                       holder (supervisor --packets, supervisor/holder.h)
 *     connects to $MILLRACE_PACKETS, "ROLE" ----> which queues are the role's?
 *              <-- "QUEUE:COUNT QUEUE:COUNT" ---  with the sockets' descriptors, in this order, and that of the gates' map
 *     keeps the connection -------------------->  its end is the end of the stage: closes the role's gates
 *              <-------- end of it -------------  the holder ends, or has sockets that it had not: the stage ends, for a life with those
 *
 * A Unix socket of type SEQPACKET: one message each way. Where a supervisor runs, it hands them
 * down by --frames, and this is not asked.
 */
#ifndef STAGE_HANDED_H
#define STAGE_HANDED_H

#include "stage/stage.h"

#define HANDED_VARIABLE   "MILLRACE_PACKETS" /* path of the socket */
#define HANDED_TEXT_MAX   512u
#define HANDED_FRAMES_MAX (STAGE_FRAMES_MAX + 1u) /* descriptors of an answer: sockets and the map */

/* Takes what is for the stage's role: stage->frames, stage->gate, stage->holder. When the listener
 * takes no packets, when nobody hands any, or when there are none for the role, the ordinary
 * sockets serve, and a warning says so. Returns 0, or -EPROTO with the reason for an answer that
 * cannot be one. */
int handed_take(struct stage *stage, struct shm_error *error);

/* Whether who handed them has ended, or has others. */
bool handed_gone(const struct stage *stage);

#endif
