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
	DELIVERY_PARKING, /* waits for the commit that writes it to deliver.db */
	DELIVERY_ENDING,  /* waits for the commit that deletes its row, or makes it wait, or dead */
};

struct delivery {
	enum delivery_state state;
	bool from_queue;
	struct queue_slot slot;                /* from_queue */
	const struct event_postback *postback; /* checked; in the slot, or in copy */
	uint32_t bytes;
	struct event_postback *copy; /* of a row; freed with the delivery */
	unsigned attempts;           /* that have ended */
	int64_t first_ms;            /* CLOCK_REALTIME of the first attempt; 0: none yet */
	char *history;               /* of attempts before, as waiting.h has it; or NULL */
	struct target *target;
	const struct policy *policy;
	struct host *host;
	struct endpoint *endpoint;
	uint64_t held_ns;                 /* since when it waits for its host */
	uint64_t begun_ns, begun_real_ns; /* of this attempt */
	uint32_t dns_us;                  /* that this attempt waited for addresses */
	bool probe;         /* its circuit is open, and this attempt tries whether it may close */
	unsigned redirects; /* followed in this attempt */
	unsigned resent;    /* times that a dead kept connection made it start over in this attempt */
	struct sender_request request;
	char *url, *body; /* of this attempt; freed with it */
	/* of the list it is in: free, held of its host, parking, ending */
	struct delivery *next, *previous;
	unsigned hosts_part; /* hosts.c's: where it has the delivery; zero at first */
};

#endif
