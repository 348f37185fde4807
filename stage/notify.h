/* What the service manager is told (sd_notify(3)): one datagram each to the Unix socket that the
 * environment names, as its documentation has the protocol.
 *
 *     NOTIFY_SOCKET=/run/systemd/notify, WATCHDOG_USEC=10000000
 *     starting: EXTEND_TIMEOUT_USEC --> READY=1 --> running: WATCHDOG=1 ... --> STOPPING=1
 *
 * The socket is opened once, before a stage gives up the right to open others. Without
 * NOTIFY_SOCKET all of these do nothing. A beat that cannot be sent at once is dropped, as another
 * comes; the others wait for a second at most.
 */
#ifndef STAGE_NOTIFY_H
#define STAGE_NOTIFY_H

#include <stdint.h>

/* Opens the socket, and removes the variables from the environment. */
void notify_open(void);

/* It runs; status is a line for `systemctl status`. */
void notify_ready(const char *status);

/* It has begun to end. */
void notify_stopping(const char *status);

/* It lives: the watchdog's message, a third of its time after the last one at the earliest. While
 * it has not said that it runs: that it needs NOTIFY_EXTEND_NS more to start. */
#define NOTIFY_EXTEND_NS 30000000000ull
void notify_beat(uint64_t now_ns);

#endif
