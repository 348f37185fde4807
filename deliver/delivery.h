/* A delivery: one postback that this process has in its hands, from the queue or from deliver.db
 * until its attempt has an outcome that is safe.
 *
 *     queue slot --take--.                                                             .--> delivered: slot freed, or row deleted
 *                        +--> delivery --hosts--> held .. started --sender--> outcome -+--> again, dead: row written, then slot freed
 *     row of deliver.db -'       |                                                     '    (one commit for many)
 *                                '--> parked: row written, then slot freed                    no room for its host, or its circuit is open
 *
 * There are deliver.in_flight of them, made at the start. A delivery out of the queue keeps its
 * slot, and `postback` lies in it; one out of the database has a copy.
 *
 * Most of them wait for their host at any time, and what they have is small and lies together. What
 * is large belongs to the attempt, is taken when one begins and given back at its outcome, last in,
 * first out: the few that are under way find theirs in the processor's cache.
 */
#ifndef DELIVER_DELIVERY_H
#define DELIVER_DELIVERY_H

#include "deliver/policy.h"
#include "deliver/sender.h"
#include "deliver/target.h"
#include "event/event.h"
#include "shm/queue.h"

struct host;
struct endpoint;

enum delivery_state {
	DELIVERY_FREE,
	DELIVERY_HELD,    /* waits for its host's room, rate, addresses */
	DELIVERY_STARTED, /* the sender has it */
	DELIVERY_WRITING, /* waits for the commit that makes its fate safe in deliver.db */
};

/* What deliver.db is told of one that is in state WRITING. */
enum delivery_fate {
	DELIVERY_DELETE, /* delivered; only of a row */
	DELIVERY_LATER,  /* its next attempt is due at due_ms */
	DELIVERY_PARK,   /* it waits until its endpoint has room */
	DELIVERY_DIES,   /* for `reason` */
};

#define DELIVERY_REASON_BYTES 256u
#define DELIVERY_HEADER_BYTES 64u

/* What a delivery needs while an attempt is under way, or its outcome is told. */
struct attempt {
	struct sender_request request;
	char *url, *body; /* freed with the attempt */
	char id[EVENT_POSTBACK_ID_BYTES + 1];
	char key_header[DELIVERY_HEADER_BYTES], id_header[DELIVERY_HEADER_BYTES],
	        time_header[DELIVERY_HEADER_BYTES], sign_header[SIGN_HEADER_MAX];
	struct attempt *next; /* of those that are free */
};

struct delivery {
	enum delivery_state state;
	bool from_queue;
	bool probe;          /* its circuit is open, and this attempt tries whether it may close */
	unsigned hosts_part; /* hosts.c's: where it has the delivery; zero at first */
	/* of the list it is in: free, held of its host, done, writing */
	struct delivery *next, *previous;
	uint64_t id[2];                        /* the postback's */
	const struct event_postback *postback; /* checked; in the slot, or in copy */
	uint32_t bytes;
	uint32_t dns_us;             /* that this attempt waited for addresses */
	struct queue_slot slot;      /* from_queue */
	struct attempt *attempt;     /* NULL: none has begun, or its outcome is told */
	struct target *target;       /* where it goes now; NULL: its URL does not compile */
	struct target *first_target; /* that of the postback, while a redirect is followed; or NULL */
	const struct policy *policy; /* of the postback's target */
	struct host *host;
	struct endpoint *endpoint;
	uint64_t held_ns;                 /* since when it waits for its host */
	uint64_t begun_ns, begun_real_ns; /* of this attempt */
	unsigned attempts;                /* that have ended */
	unsigned redirects;               /* followed in this attempt */
	unsigned resent; /* times that a dead kept connection made it start over in this attempt */
	enum delivery_fate fate;
	int64_t first_ms;                   /* CLOCK_REALTIME of the first attempt; 0: none yet */
	int64_t due_ms;                     /* CLOCK_REALTIME */
	int64_t gone_until_ms;              /* its endpoint takes no more until then; 0: it does */
	struct event_postback *copy;        /* of a row; freed with the delivery */
	char *history;                      /* of attempts before, as waiting.h has it; or NULL */
	char reason[DELIVERY_REASON_BYTES]; /* why it dies */
};

#endif
