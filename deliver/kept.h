/* Connections that wait for the next request of their host.
 *
 *     kept_keep(connection) --> [by host: the one that was used last is taken first] --kept_take(place)--> in use again
 *                               [by age of all: the one that was used first makes room, or is too old]--> closed
 *
 * A connection belongs to host, port and address: it is taken only for a place that has all three,
 * so a place whose addresses have changed gets none of the old ones. It is kept for KEPT_IDLE_NS
 * without a request, which is less than servers keep it, and no longer than its lifetime.
 */
#ifndef DELIVER_KEPT_H
#define DELIVER_KEPT_H

#include "base/clock.h"
#include "deliver/list.h"
#include "deliver/sender.h"

#define KEPT_IDLE_NS (30 * NS_PER_SEC)

struct kept_connection {
	struct link by_host, by_age;  /* while it is kept */
	struct kept_connection *next; /* of those that are closed */
	void *user;                   /* the sender's; NULL while it is kept */
	uint64_t hash;                /* of host and port */
	uint64_t born_ns, idle_ns;    /* idle: since when it is kept */
	int fd;                       /* -1: closed */
	uint16_t port;
	uint8_t address[16];
	char host[sizeof((struct sender_place *)0)->host];
};

struct kept; /* opaque; one thread */

/* Keeps `most` connections at most, none for longer than lifetime_ns. NULL: no memory. */
struct kept *kept_new(unsigned most, uint64_t lifetime_ns);
/* Closes what is kept. Those in use are to be closed before. */
void kept_free(struct kept *kept);

/* Of host and port, keyed by chance. */
uint64_t kept_hash(const struct kept *kept, const struct sender_place *place);

/* A new connection of the place to its i-th address, in use, without a descriptor. NULL: no
 * memory. */
struct kept_connection *kept_connection(struct kept *kept, const struct sender_place *place, unsigned i,
                                        uint64_t now_ns);

/* One that is kept, now in use; NULL: none. */
struct kept_connection *kept_take(struct kept *kept, const struct sender_place *place, uint64_t now_ns);

/* It is in use no longer: kept, or closed when it is too old or none may be kept. */
void kept_keep(struct kept *kept, struct kept_connection *connection, uint64_t now_ns);

/* Closes it, in use or kept. Its memory stays until kept_bury: epoll may have spoken of it. */
void kept_close(struct kept *kept, struct kept_connection *connection);

/* Closes all kept ones of its host and port: it was one of them, and the server had closed it. */
void kept_close_like(struct kept *kept, const struct kept_connection *connection);

/* Closes all kept ones of the place's host and port. */
void kept_forget(struct kept *kept, const struct sender_place *place);

/* Closes what is kept for too long, and frees what was closed before. */
void kept_bury(struct kept *kept, uint64_t now_ns);

#endif
