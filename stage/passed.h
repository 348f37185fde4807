/* Sockets that a service manager hands to a stage (sd_listen_fds(3)): descriptors from 3 on.
 *
 *     LISTEN_PID=<this process> LISTEN_FDS=2  -->  one for each address that the role's listener has, in that order
 *
 * Where a supervisor runs, it binds the sockets and gives them with --socket; then this is not
 * asked. The service manager decides what is bound, the configuration what is meant: they must
 * agree, or the stage does not start.
 */
#ifndef STAGE_PASSED_H
#define STAGE_PASSED_H

#include "stage/stage.h"

/* Takes the sockets of a role that has a listener, if any were passed: they become stage->socket,
 * set up as the supervisor would (non-blocking, close-on-exec; UDP_GRO; TCP_NODELAY). Returns 0,
 * also when nothing was passed; -EINVAL with the address in error when an address of the listener
 * has no socket, or a socket has no address there, and when more than STAGE_SOCKETS_MAX were
 * passed. */
int passed_take(struct stage *stage, struct shm_error *error);

#endif
