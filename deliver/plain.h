/* The inside of the plain sender: HTTP/1.1 over TCP, without libcurl. What its sources share.
 *
 *     sender_plain.c   opening, requests, their time-outs, epoll
 *     plain_send.c     connecting; the request: one sendmsg for head and body, as a rule
 *     plain_reply.c    the answer: one recv for all of it, as a rule
 *     kept.c           connections that wait for the next request
 *     reply.c          the parser
 *
 * A descriptor is put into epoll once, edge-triggered, for all that may happen to it. So what can
 * be read is read until there is no more, and an idle connection that its server closes is noticed
 * and closed in the next turn. Data that comes where none was asked for closes the connection, too.
 *
 * Several addresses are tried in turn, first the one that worked the last time. One that does not
 * answer has PLAIN_PATIENCE_NS while there are others (RFC 8305 has 250 ms); then those that did
 * not are tried once more, in what is left of the time to connect.
 */
#ifndef DELIVER_PLAIN_H
#define DELIVER_PLAIN_H

#include "base/clock.h"
#include "deliver/kept.h"
#include "deliver/reply.h"
#include "deliver/sender.h"
#include "deliver/sender_limits.h"
#include "deliver/under_way.h"
#include "deliver/unpack.h"

#define PLAIN_PATIENCE_NS (300 * NS_PER_MS)
#define PLAIN_READ_BYTES  16384u
#define PLAIN_GOOD        256u /* places whose address that worked is remembered */

/* A request under way. */
struct plain_slot {
	struct plain_slot *next; /* free ones */
	struct plain_sender *sender;
	struct sender_request *request; /* NULL: free */
	struct kept_connection *connection;
	enum sender_state state;
	uint64_t clock_ns; /* when it began, for its times */
	/* connecting */
	uint64_t connect_ns;   /* there must be a connection */
	unsigned first, tried; /* address that is tried first; how many have been, this one too */
	uint32_t slow;         /* those that did not answer, one bit each */
	bool again;            /* they are tried once more */
	int error;             /* the last one's */
	/* sending */
	bool sending;      /* not all of it is out */
	size_t sent;       /* bytes of head and body */
	char *head;        /* a copy, when it did not go out at once; or NULL */
	size_t head_bytes; /* of the request */
	/* answering */
	char *held; /* bytes of a head that is not whole; or NULL */
	size_t held_bytes, held_room, seen;
	size_t heads_bytes; /* of interim ones */
	bool head_whole, redirects;
	bool ended; /* nothing more comes over the connection */
	struct reply answer;
	size_t body_bytes, unpacked_bytes;
	struct unpack *unpack;
};
/* A head that is held, and what a body is unpacked with, are never there at once. */
_Static_assert(UNPACK_MEMORY <= SENDER_HEAD_MAX + PLAIN_READ_BYTES, "memory_max counts the larger one");

struct plain_sender {
	struct sender sender; /* first */
	int epoll;
	uint64_t now_ns; /* the caller's, of this call */
	struct sender_options options;
	char *fields; /* of each request: User-Agent, Accept, Accept-Encoding */
	size_t fields_bytes;
	struct kept *kept;
	struct plain_slot *slot, *free;
	unsigned n_made;
	struct under_way requests;
	char *head; /* where heads are written */
	size_t head_room;
	bool woken; /* there is something on the descriptor besides */
	bool works; /* options.working was told of somebody */
	struct {
		uint64_t hash;
		uint8_t address[16];
	} good[PLAIN_GOOD];
	char read[PLAIN_READ_BYTES];
};

/* ---- sender_plain.c ---- */

/* What comes next has timeout_ns, and the whole request until its end. */
void plain_due(struct plain_slot *slot, uint64_t timeout_ns);

/* Microseconds since the request began; at least 1. */
uint32_t plain_since(const struct plain_slot *slot);

/* The request has ended, and the slot is free: with an answer when its head is whole, otherwise
 * with result and why. keep: the connection may be used again. */
void plain_finish(struct plain_slot *slot, int result, const char *why, bool keep);

/* ---- plain_send.c ---- */

/* On a kept connection or on a new one. */
void plain_begin(struct plain_slot *slot);

/* Something has come of its connection, or its time is over; it goes on, or on to the next
 * address. */
void plain_connected(struct plain_slot *slot);
void plain_connect_late(struct plain_slot *slot);

/* The connection takes more. */
void plain_send_more(struct plain_slot *slot);

/* ---- plain_reply.c ---- */

/* Reads what has come. The request may have ended after it. */
void plain_hear(struct plain_slot *slot);

#endif
