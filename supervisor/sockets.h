/* Sockets: the supervisor binds them, keeps them for its whole life and hands them down, so a stage
 * that dies or is replaced closes no port and loses nothing that the kernel has queued.
 *
 *     passed by LISTEN_FDS --.
 *                            +--> one per address and process of each listener --> --socket FD of its role
 *     bound here ------------'
 *
 * Of several processes on one address the first socket is bound without SO_REUSEPORT, so that a
 * port in use by another program is noticed; then all of them have it. All are non-blocking and
 * close-on-exec; an IPv6 socket takes IPv4 too.
 *
 *   datagrams     UDP_GRO and the receive buffer asked for.
 *   connections   TCP_NODELAY, which accepted sockets inherit, and SO_REUSEADDR; they listen from here on, so that a connection is never
 *                 refused, whatever the stage does. All processes share one socket when it is a Unix socket (a file has one
 *                 socket) or when a service manager passed it (another user's, perhaps: the kernel lets no second socket join it).
 *
 * The end of a socket. What waits in a socket's queue when it is closed is lost: datagrams vanish,
 * connections that wait to be accepted are reset, also where other sockets have the port (only
 * net.ipv4.tcp_migrate_req=1, Linux 5.14, hands them over). So a socket is made quiet first, while
 * its stage still has it, and what the stage must do when it gets SIGTERM is:
 *
 *   datagrams     receive until there is nothing (EAGAIN), at least as long as udp.h says, then end.
 *   connections   accept until there is nothing (EAGAIN) and answer, each connection with its last answer; accept until EAGAIN once more
 *                 before the end. One that goes on (the stage alone is replaced, or a service manager passed it) is not quiet: what comes
 *                 after the first EAGAIN is for the next life, so the stage needs a bound of its own.
 *
 * Then at most one connection for each socket, which came in between, is reset. A client that comes
 * to a quiet TCP socket is not refused: its SYN is dropped and sent again within a second or so,
 * and goes to the other sockets of the port, or finds the port closed.
 */
#ifndef SUPERVISOR_SOCKETS_H
#define SUPERVISOR_SOCKETS_H

#include <sys/stat.h>

#include "supervisor/plan.h"

#define SOCKETS_MAX 256u

struct socket_entry {
	int fd;
	enum plan_sockets kind;
	char text[ADDRESS_TEXT_MAX]; /* the configured address */
	char section[32];            /* "ingest.udp[0]" */
	struct sockaddr_storage wanted;
	socklen_t wanted_length;
	struct sockaddr_storage bound; /* with the port that the kernel chose */
	socklen_t bound_length;
	unsigned listener, process, place; /* of the plan, its process, its address */
	uint64_t receive_buffer_bytes;     /* datagrams */
	unsigned backlog;                  /* connections */
	dev_t device; /* of the file of a Unix socket bound here; inode 0: there is none to remove */
	ino_t inode;
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

/* Takes what the service manager passed (LISTEN_PID, LISTEN_FDS; sd_listen_fds(3)) and removes the
 * variables from the environment. Returns how many. */
unsigned sockets_take_passed(struct sockets *sockets);

/* Makes sockets what the plan asks: keeps those that fit, takes passed ones whose type and local
 * address match, binds the rest (a port in use is retried for 500 ms: the end of a process that
 * used io_uring is asynchronous; the file of a Unix socket on which no process listens is
 * replaced). Sockets that the plan does not have stay open until sockets_close_unused. Returns 0,
 * or -errno with address, reason and key in error; then what was there before is as it was. */
int sockets_open(struct sockets *sockets, const struct plan *plan, struct shm_error *error);

/* Sockets that are about to go (those that the last sockets_open found no use for, or all) take in
 * no more, so that their stages can empty them. What is queued stays.
 *   UDP   connected to itself: what others send goes to the other sockets of the port or is refused by the kernel.
 *   TCP   a backlog of 0: see above.
 *   Unix  its file is removed: new connections are refused.
 * Passed sockets are left alone: the service manager queues for the next start. */
void sockets_quiet(struct sockets *sockets, bool all);

/* Closes the sockets that the last sockets_open found no use for, and passed ones that nothing
 * matched (with a warning). */
void sockets_close_unused(struct sockets *sockets);

/* What was counted of the drops of sockets that are closed now is forgotten (shm/drops.h). After
 * sockets_close_unused; the directory has its segments. */
void sockets_forget_drops(const struct sockets *sockets, const char *directory);

/* Closes all and removes the files of Unix sockets bound here. May be called again. */
void sockets_close(struct sockets *sockets);

/* The sockets of a role, in the order of its addresses. Returns how many. */
unsigned sockets_of(const struct sockets *sockets, const struct plan_role *role, int fd[STAGE_SOCKETS_MAX]);

#endif
