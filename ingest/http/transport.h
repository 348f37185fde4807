/* Transport: the bytes of many connections, in and out, for one process and one thread.
 *
 *     listening sockets --accept--> opened --bytes--> received ... transport_send --> sent
 *                                     '------------- transport_close --> (lingers) --> closed: the slot is free
 *
 * A connection is a number, its slot: 0 .. max_connections - 1. When all slots are taken, further
 * connections are closed at once. Two back-ends keep this contract: transport_uring.c (a ring with
 * direct descriptors, or plain ones before Linux 6.14, provided buffers and multishot receive) and
 * transport_epoll.c (where io_uring is denied or older than Linux 6.1). The server (server.c) is
 * the only user; it handles events inside transport_poll.
 *
 * Order in one turn: transport_poll (events, which call transport_send and so on) -- the caller
 * commits what it has received -- then the next transport_poll, transport_wait or transport_flush
 * lets go what was asked for, before it does anything else. Nothing that transport_send was given
 * leaves earlier: not during the transport_poll whose events asked for it, nor in between. So an
 * answer never leaves before its event is committed. Under load one system call a turn both lets
 * the answers go and fetches new requests (io_uring).
 */
#ifndef INGEST_HTTP_TRANSPORT_H
#define INGEST_HTTP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/poison.h"
#include "shm/segment.h"

#define TRANSPORT_SOCKETS_MAX  16u
#define TRANSPORT_BUFFERS_MIN  16u
#define TRANSPORT_BUFFERS_MAX  32768u
#define TRANSPORT_DENIED_BYTES 96u

/* PLAIN: io_uring with ordinary descriptors, as on kernels before 6.14; the others take direct ones
 * where they can. */
enum transport_backend { TRANSPORT_AUTO, TRANSPORT_URING, TRANSPORT_URING_PLAIN, TRANSPORT_EPOLL };

/* Called from transport_poll. user is the server. */
struct transport_events {
	/* A new connection, of listening socket number `listener`. peer.ss_family is AF_UNIX for a
	 * Unix socket's. */
	void (*opened)(void *user, uint32_t slot, unsigned listener, const struct sockaddr_storage *peer);
	/* Bytes, at least one. data may be written to by the callee and is valid until it
	 * returns. */
	void (*received)(void *user, uint32_t slot, char *data, size_t bytes);
	/* All of what transport_send was given has been taken by the kernel; its memory is the
	 * caller's again. */
	void (*sent)(void *user, uint32_t slot);
	/* The peer sends no more, or the connection failed (failed: neither direction works; a send
	 * under way will not be answered with `sent`, and its memory is free once `closed` comes).
	 * Each at most once, a failure last: what has ended may still fail while an answer is under
	 * way. The server calls transport_close when it has answered. */
	void (*ended)(void *user, uint32_t slot, bool failed);
	/* After transport_close, always: the slot is free and nothing of the connection is used any
	 * more. */
	void (*closed)(void *user, uint32_t slot);
};

struct transport_settings {
	enum transport_backend backend;
	uint32_t max_connections;
	/* receive buffers of the process: a power of two, TRANSPORT_BUFFERS_MIN .. _MAX */
	uint32_t buffers;
	uint32_t buffer_bytes; /* of each */
	/* under load a wait gathers for so long at most; 0: it does not. io_uring only */
	uint64_t batch_wait_ns;
};

/* Since the last look; the reader sets them to 0. */
struct transport_counts {
	uint64_t accepted;
	uint64_t turned_away;        /* closed at once: no free slot */
	uint64_t waits;              /* times the process may have slept */
	uint64_t polls, empty_polls; /* looks that found bytes, and that found none */
	uint64_t enobufs;            /* receives that had to wait for a free buffer */
	uint64_t failures;           /* accepts that failed for another reason */
	uint64_t received_bytes, sent_bytes;
};

struct transport;

/* A back-end. The functions below go through it. */
struct transport_ops {
	const char *name; /* "uring" */
	int (*open)(struct transport *transport, struct shm_error *error);
	bool (*poll)(struct transport *transport);
	void (*flush)(struct transport *transport);
	void (*wait)(struct transport *transport, uint64_t timeout_ns, bool late);
	void (*send)(struct transport *transport, uint32_t slot, const char *data, size_t bytes);
	void (*pause)(struct transport *transport, uint32_t slot);
	void (*resume)(struct transport *transport, uint32_t slot);
	void (*close)(struct transport *transport, uint32_t slot, bool linger);
	void (*refuse)(struct transport *transport);
	void (*shut)(struct transport *transport);
};

struct transport {
	const struct transport_ops *ops;
	struct transport_settings settings;
	int socket[TRANSPORT_SOCKETS_MAX];
	unsigned n_sockets;
	const struct transport_events *events;
	void *user;
	struct transport_counts counts;
	/* set by transport_poll: nothing is left over, another one at once would find little */
	bool calm;
	int failed_errno; /* of the last failure that was logged */
	uint32_t wanted;  /* settings.max_connections as it was before transport_open */
	uint64_t files;   /* the limit of open files, where that was too low; 0: it was not */
	bool plain;       /* transport_uring: with plain descriptors */
	/* why transport_open has taken epoll although io_uring would do; "" */
	char denied[TRANSPORT_DENIED_BYTES];
	void *own; /* the back-end's state */
};

extern const struct transport_ops transport_uring;
extern const struct transport_ops transport_epoll;

/* Begins to accept from the sockets (listening, non-blocking; they stay the caller's). settings,
 * socket, n_sockets, events and user are set by the caller. TRANSPORT_AUTO takes io_uring when a
 * request has made a round trip through a ring, and epoll otherwise (logged once, with the reason,
 * which `denied` keeps).
 * The soft limit of open files is raised to the hard one, and settings.max_connections is lowered
 * (files and wanted tell) when even that is too low. All memory is allocated here. Returns 0, or
 * -errno with the reason in error; then nothing is held. The same thread must use it from then
 * on. */
int transport_open(struct transport *transport, struct shm_error *error);

/* What runs and, where that is not the best, what was missing: "io_uring", "io_uring, plain
 * descriptors: kernel before 6.14", "epoll, no io_uring: io_uring_setup: Operation not
 * permitted". */
void transport_tell(const struct transport *transport, char *text, size_t bytes);

/* Lets go what has been asked for, then handles what has happened, a bounded number of events. True
 * when there was anything; when there was not, transport_wait finds what came meanwhile (with a
 * timeout of 0 it does not sleep). */
bool transport_poll(struct transport *transport);

/* Lets go what has been asked for since (sends, closes, pauses): at most one system call with
 * io_uring. Only needed when neither transport_poll nor transport_wait follows soon. What does not
 * fit into the ring (thousands of connections in one turn) goes with the next call. */
void transport_flush(struct transport *transport);

/* The same, then sleeps until something happens, at most timeout_ns. */
void transport_wait(struct transport *transport, uint64_t timeout_ns);

/* The same, but `sent` of what leaves now is no reason to wake: it comes with what happens next,
 * before anything else of its connection. For a caller whose `sent` has nothing to do, after a
 * transport_poll that left the transport calm: one system call both lets the answers go and waits
 * for the next requests. */
void transport_rest(struct transport *transport, uint64_t timeout_ns);

/* Sends bytes, at least one, which stay where they are until `sent` or `closed`. One at a time per
 * connection; none after transport_close. */
void transport_send(struct transport *transport, uint32_t slot, const char *data, size_t bytes);

/* Takes no more from the connection until transport_resume: the peer is slowed down by TCP. What
 * the kernel had taken from the socket before it heard of this still comes (as `received`: what one
 * turn can bring); once a transport_poll has found nothing, nothing does. While paused, the
 * connection's end may go unnoticed. Idempotent. */
void transport_pause(struct transport *transport, uint32_t slot);
void transport_resume(struct transport *transport, uint32_t slot);

/* Ends a connection; no event of it comes any more but `closed`. linger: what was sent is to reach
 * the peer even if it is still sending: shut down our side, throw away what comes until the peer
 * ends or TRANSPORT_LINGER_NS went by (RFC 9112, 9.6). A send under way is completed first, as long
 * as the kernel takes some of it every TRANSPORT_LINGER_NS. Otherwise at once; a send under way is
 * given up. Lingering is for a peer that may still be sending; where all of its bytes have been
 * read and `sent` has come, not to linger loses nothing and costs less. A second call without
 * linger cuts the lingering short. */
#define TRANSPORT_LINGER_NS (1000ull * 1000 * 1000)
void transport_close(struct transport *transport, uint32_t slot, bool linger);

/* Accepts no more; connections go on. Those that the kernel accepted before it heard of this still
 * come. */
void transport_refuse(struct transport *transport);

/* Closes all connections (without `closed` events) and frees everything. No memory given to
 * transport_send is used afterwards. */
void transport_shut(struct transport *transport);

/* ---- for back-ends ---- */

#define TRANSPORT_BACKOFF_NS \
	(100ull * 1000 * 1000) /* until accepting is tried again after a failure that may last */

/* Raises the limit of open files as far as needed for max_connections and `others`, or lowers
 * max_connections. 0, or -EMFILE with the reason. */
int transport_raise_limit(struct transport *transport, uint32_t others, struct shm_error *error);

/* Hands over what came into a buffer. Under AddressSanitizer the rest of the buffer may not be
 * touched meanwhile. */
static inline void transport_received(struct transport *transport, uint32_t slot, char *buffer, size_t bytes,
                                      size_t buffer_bytes)
{
	memory_poison(buffer + bytes, buffer_bytes - bytes);
	transport->events->received(transport->user, slot, buffer, bytes);
	memory_unpoison(buffer + bytes, buffer_bytes - bytes);
}

/* Counts a failure; a change of errno is logged once. */
void transport_failed(struct transport *transport, int error);

#endif
