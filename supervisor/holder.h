/* The holder of packets, for an instance that a service manager runs: the one process of it that
 * may load the program on an interface and make AF_XDP sockets (packets.h). It hands these to the
 * stages (stage/handed.h), and does nothing else.
 *
 *     supervisor --packets    after the segments are made, before ingest-udp starts; ends after that has
 *     SIGHUP                  looks for the addresses of the host, and interfaces that have come, again
 *
 * It knows the configuration in force at its start. Another one of a listener that takes packets
 * wants its restart, while no stage that has sockets of it runs.
 *
 * A stage that ends closes its connection; then its gates are closed, so that packets go to its
 * ordinary socket until its next life. When the holder dies, the kernel takes the program off; the
 * stages notice, empty their rings, and end, for a life with the next holder's.
 */
#ifndef SUPERVISOR_HOLDER_H
#define SUPERVISOR_HOLDER_H

#include "supervisor/supervisor.h"

/* Runs until SIGTERM. Returns the exit status: 0, or SUPERVISOR_CANNOT_START, having said why. */
int holder_run(struct supervisor *supervisor, const struct supervisor_options *options);

#endif
