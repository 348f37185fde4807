/* One socket: made, bound and made ready for its stage. The part of sockets.h that talks to the
 * kernel.
 *
 *     socket --options--> bind --(connections)--> listen
 *                          '-- in use: by our own (then all of the port share it), by no process any more (a Unix socket's file), by another program
 */
#ifndef SUPERVISOR_BIND_H
#define SUPERVISOR_BIND_H

#include <netinet/in.h>

#include "supervisor/sockets.h"

/* Makes entry->fd from entry->wanted, which may become IPv4 on a kernel without IPv6, and tries
 * again until deadline_ns (CLOCK_MONOTONIC) while the address is in use. Returns 0, or -errno with
 * nothing left open. */
int bind_socket(struct sockets *sockets, struct socket_entry *entry, uint64_t deadline_ns);

/* Sets what the stage expects of an open socket of the entry's kind. */
void bind_options(struct sockets *sockets, struct socket_entry *entry);

/* Sets the receive buffer (datagrams), the backlog (connections) that the entry asks for. */
void bind_resize(struct sockets *sockets, struct socket_entry *entry);

/* Removes the file of a Unix socket bound here, unless another program has replaced it. Call it
 * while the socket is open: that keeps the file's inode number from being used again. */
void bind_unlink(struct socket_entry *entry);

/* Says why bind_socket failed, with address, key and remedy. */
void bind_explain(const struct socket_entry *entry, int result, struct shm_error *error);

/* Of an AF_INET or AF_INET6 address. */
in_port_t *bind_port(struct sockaddr_storage *address);

#endif
