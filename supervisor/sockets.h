/* Sockets: the supervisor binds them, keeps them for its whole life and hands them down, so a stage that dies or is replaced closes
 * no port and loses nothing that the kernel has queued.
 *
 *     passed by LISTEN_FDS --.
 *                            +--> one per address and process of each ingest.udp entry --> --socket FD of its role
 *     bound here ------------'
 *
 * Of several processes on one address the first socket is bound without SO_REUSEPORT, so that a port in use by somebody
 * else is noticed; then all of them have it. All are non-blocking, close-on-exec, with UDP_GRO; an IPv6 socket takes IPv4 too.
 */
#ifndef SUPERVISOR_SOCKETS_H
#define SUPERVISOR_SOCKETS_H

#include "supervisor/plan.h"

#define SOCKETS_MAX 256u

struct socket_entry {
	int fd;
	char text[ADDRESS_TEXT_MAX]; /* the configured address */
	struct sockaddr_storage wanted;
	socklen_t wanted_length;
	struct sockaddr_storage bound; /* with the port that the kernel chose */
	socklen_t bound_length;
	unsigned listener, process, place; /* entry of ingest.udp, its process, its address */
	uint64_t receive_buffer_bytes;
	bool kept;   /* sockets_open has found a use for it */
	bool passed; /* the service manager has it too and keeps it after us */
	bool quiet;  /* takes in no more (sockets_quiet) */
};

struct sockets {
	struct socket_entry entry[SOCKETS_MAX];
	unsigned n;
	int passed[SOCKETS_MAX]; /* from LISTEN_FDS, not yet used */
	unsigned n_passed;
	bool warned; /* of a receive buffer that the kernel made smaller */
};

/* Takes what the service manager passed (LISTEN_PID, LISTEN_FDS; sd_listen_fds(3)) and removes the variables from the
 * environment. Returns how many. */
unsigned sockets_take_passed(struct sockets *sockets);

/* Makes sockets what the plan asks: keeps those that fit, takes passed ones whose local address matches, binds the rest
 * (a port in use is retried for 500 ms: the end of a process that used io_uring is asynchronous). Sockets that the plan does not
 * have stay open until sockets_close_unused. Returns 0, or -errno with address, reason and key in error; then what was there
 * before is as it was. */
int sockets_open(struct sockets *sockets, const struct plan *plan, struct shm_error *error);

/* Sockets that are about to go (those that the last sockets_open found no use for, or all) take in no more, so that their
 * stages can empty them: they are connected to themselves, and what others send goes to the other sockets of the port or is
 * refused by the kernel. What is queued stays. Passed sockets are left alone: the service manager queues for the next start. */
void sockets_quiet(struct sockets *sockets, bool all);

/* Closes the sockets that the last sockets_open found no use for, and passed ones that nothing matched (with a warning). */
void sockets_close_unused(struct sockets *sockets);

void sockets_close(struct sockets *sockets);

/* The sockets of a role, in the order of its addresses. Returns how many. */
unsigned sockets_of(const struct sockets *sockets, const struct plan_role *role, int fd[STAGE_SOCKETS_MAX]);

#endif
