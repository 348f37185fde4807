/* Receiving: the kernel fills buffers, the stage takes them and gives them back.
 *
 *                 .--- give --------------------------------.
 *                 v                                         |
 *     lent to the kernel --(datagrams)--> filled --take--> taken --(committed: mark cleared)
 *                                           wait sleeps until there is one
 *
 * Two back-ends have this contract: receive_uring.c (one ring, a multishot recvmsg per socket) and
 * receive_mmsg.c (recvmmsg and poll, where io_uring is denied). Neither touches a mark; a taken
 * buffer may be given back only when its mark is 0.
 */
#ifndef INGEST_UDP_RECEIVE_H
#define INGEST_UDP_RECEIVE_H

#include "ingest/udp/buffers.h"

#define RECEIVE_ALSO_MAX 16u

#define RECEIVE_DENIED_BYTES 96u

enum receive_backend { RECEIVE_AUTO, RECEIVE_URING, RECEIVE_RECVMMSG };

/* The back-end of that name, a value of the option `backend`; of another (xdp), which it is for the
 * ordinary sockets when there is nothing else to take. */
enum receive_backend receive_backend_of(const char *name);

/* Since they were last read; the reader sets them to 0. */
struct receive_counts {
	uint64_t waits;  /* times the process may have slept */
	uint64_t rearms; /* multishot requests armed again */
	/* times the kernel found no free buffer; nothing is lost, datagrams wait in the socket */
	uint64_t enobufs;
	uint64_t failures; /* receive calls or requests that ended with another error */
};

struct receive;

struct receive_ops {
	const char *name; /* "uring" */
	int (*open)(struct receive *receive, struct shm_error *error);
	unsigned (*take)(struct receive *receive, uint16_t *index, unsigned max);
	void (*give)(struct receive *receive, const uint16_t *index, unsigned n);
	void (*wait)(struct receive *receive, uint64_t timeout_ns);
	void (*retry)(struct receive *receive);
	void (*stop)(struct receive *receive);
	void (*close)(struct receive *receive);
};

struct receive {
	const struct receive_ops *ops;
	struct buffers *buffers;
	int socket[BUFFERS_SOCKETS_MAX];
	unsigned n_sockets;
	/* Others whose readiness ends a wait too, taken by the caller. For receive_mmsg alone. */
	int also[RECEIVE_ALSO_MAX];
	unsigned n_also;
	uint64_t batch_wait_ns; /* how long a wait may collect after the first datagram; 0: not at all */
	int failed_errno;       /* of the last failure that was logged */
	/* why receive_open has taken recvmmsg although io_uring would do; "" */
	char denied[RECEIVE_DENIED_BYTES];
	struct receive_counts counts;
	void *own; /* the back-end's state */
};

extern const struct receive_ops receive_uring;
extern const struct receive_ops receive_mmsg;

/* Lends all buffers, whose marks must be 0, and begins to receive. receive->buffers, socket,
 * n_sockets and batch_wait_ns are set by the caller; UDP_GRO is switched on for each socket.
 * RECEIVE_AUTO takes io_uring when a request has made a round trip through a ring, and otherwise
 * recvmmsg, saying so in the log. Returns 0 or -errno with the reason in error. */
int receive_open(struct receive *receive, enum receive_backend backend, struct shm_error *error);

/* Up to max filled buffers, in the order of arrival of each socket. The io_uring back-end makes
 * no system call for it: it gives what receive_wait found. Buffers taken before must
 * have been given back. */
static inline unsigned receive_take(struct receive *receive, uint16_t *index, unsigned max)
{
	return receive->ops->take(receive, index, max);
}

/* Lends them again. */
static inline void receive_give(struct receive *receive, const uint16_t *index, unsigned n)
{
	receive->ops->give(receive, index, n);
}

/* Sleeps until there is something to take, a signal came or timeout_ns passed. Under load it
 * collects for batch_wait_ns. */
static inline void receive_wait(struct receive *receive, uint64_t timeout_ns)
{
	receive->ops->wait(receive, timeout_ns);
}

/* From tick: tries again what failed. A request that fails at once must not be repeated at once. */
static inline void receive_retry(struct receive *receive)
{
	receive->ops->retry(receive);
}

/* Asks the kernel to fill no more. When it returns, every filled buffer can be taken and none will
 * follow. */
static inline void receive_stop(struct receive *receive)
{
	receive->ops->stop(receive);
}

/* True when the kernel has a datagram queued on one of the sockets. */
bool receive_pending(const struct receive *receive);

/* Counts a failure; a change of errno is logged once. For back-ends. */
void receive_failed(struct receive *receive, int error);

/* Ends. Buffers keep their marks. */
void receive_close(struct receive *receive);

#endif
