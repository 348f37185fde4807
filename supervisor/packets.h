/* Packets: the supervisor holds, for listeners whose backend is xdp, the program on their network
 * interface and the AF_XDP sockets behind it, and hands the sockets down as it does all others.
 *
 *     interface --program (packets.bpf.c)--> socket of a queue --> --frames FD:QUEUE:COUNT of its role
 *                    '- whatever it passes --> kernel --> the listener's ordinary sockets (sockets.h)
 *
 * Process p of n takes the queues p, p + n, ... of those that the listener names, 16 at most
 * (STAGE_FRAMES_MAX). The memory of a socket is a slice of its role's private segment
 * (shm/frames.h), which the supervisor keeps mapped; so a stage that dies loses nothing, and its
 * next life goes on in the same rings.
 *
 * Whatever does not work (no privilege, no such interface, another program on it, a build without
 * libxdp) is one warning with the remedy, and the listener is served by its ordinary sockets. It is
 * tried again at a reload when the interface has come, gone or been replaced, or the section has
 * changed.
 *
 * A build with XDP=0 has packets_none.c instead of packets.c.
 */
#ifndef SUPERVISOR_PACKETS_H
#define SUPERVISOR_PACKETS_H

#include "supervisor/children.h"
#include "supervisor/sockets.h"

struct packets; /* opaque */

/* Never NULL. */
struct packets *packets_create(void);

/* Makes what the plan asks for; its private segments exist and its sockets are open. What is there
 * for a role of children stays as it is, for that role runs with it. What the plan no longer has is
 * taken off. Never fails: see above. */
void packets_apply(struct packets *packets, const struct config *config, const struct plan *plan,
                   const struct sockets *sockets, const struct children *children);

/* What the role is handed. handed->n is 0 when it is served by its ordinary sockets alone. */
void packets_of(const struct packets *packets, const char *role, struct child_packets *handed);

/* Whether the role, of this plan, should get other sockets than it has though its section is the
 * same: its interface has come, gone or been replaced. */
bool packets_changed(const struct packets *packets, const struct plan *plan, const struct plan_role *role);

/* Closes all gates: from here on the ordinary sockets get what comes. */
void packets_quiet(struct packets *packets);

/* Says once that an interface has gone. Call it about once a second. */
void packets_look(struct packets *packets);

/* One line for each listener that takes packets, for people. */
void packets_print(const struct packets *packets, FILE *out);

/* Takes the programs off and closes all sockets. May be called again. */
void packets_close(struct packets *packets);

/* The same, and frees. NULL is allowed. */
void packets_destroy(struct packets *packets);

#endif
