/* The hosts and endpoints that are remembered: two tables keyed by a secret (names are strangers'
 * choice), each with a bound. Those without deliveries in memory are in the order in which they
 * became idle; the first of them makes room for a new one, endpoints with a closed circuit before
 * others.
 */
#ifndef DELIVER_DIRECTORY_H
#define DELIVER_DIRECTORY_H

#include "deliver/addresses.h"
#include "deliver/bucket.h"
#include "deliver/due.h"
#include "deliver/hosts.h"
#include "deliver/list.h"

/* Deliveries that are held, the oldest first. */
struct held {
	struct delivery *first, *last;
};

/* The host's first member is what others see, and the same for an endpoint. */
struct host_entry {
	struct host host;
	struct addresses addresses;
	struct bucket bucket;
	enum guard_verdict forbidden; /* by its name or port */
	struct held redirected;       /* held here, of endpoints of other hosts too */
	struct list endpoints;        /* with held ones that may start */
	struct link turn;             /* of hosts.c: in one of its lists, or */
	struct due due;               /* waits for a token */
	bool refusing;                /* turn is in the list of those */
	struct link moved;
	struct link holding; /* has held ones */
	/* the table's */
	uint64_t hash;
	struct host_entry *chain;
	struct link idle;
};

struct endpoint_entry {
	struct endpoint endpoint;
	struct host_entry *host; /* while held */
	struct held held;
	struct link turn;     /* of its host's endpoints, or of those whose held ones overflow */
	struct link unclosed; /* its circuit is not closed */
	struct due due;       /* open: the probe; gone: the end */
	/* the table's */
	uint64_t hash;
	struct endpoint_entry *chain;
	struct link idle;
};

struct directory {
	struct host_entry **host;
	struct endpoint_entry **endpoint;
	uint64_t mask_hosts, mask_endpoints;
	unsigned n_hosts, n_endpoints, hosts_most, endpoints_most;
	uint64_t key[2];
	struct list idle_hosts, idle_closed, idle_unclosed;
};

/* Returns 0 or -errno. */
int directory_init(struct directory *directory, unsigned hosts_most, unsigned endpoints_most);
/* Frees all entries. */
void directory_fini(struct directory *directory);

/* The entry of that name, or NULL. */
struct host_entry *directory_host(const struct directory *directory, const char *origin);
struct endpoint_entry *directory_endpoint(const struct directory *directory, const char *name);

/* Adds an entry, idle. NULL: no memory, or the table is full: then directory_forgotten_* says which
 * one to take out first. */
struct host_entry *directory_add_host(struct directory *directory, const char *origin);
struct endpoint_entry *directory_add_endpoint(struct directory *directory, const char *name);

/* The one that makes room, when the table is full; NULL otherwise, or when none is idle. */
struct host_entry *directory_oldest_host(const struct directory *directory);
struct endpoint_entry *directory_oldest_endpoint(const struct directory *directory);

/* Takes an idle entry out and frees it. It is in no other list. */
void directory_drop_host(struct directory *directory, struct host_entry *host);
void directory_drop_endpoint(struct directory *directory, struct endpoint_entry *endpoint);

/* To be called when in_memory became 0 or more, or the circuit of an idle one changed. */
void directory_regard_host(struct directory *directory, struct host_entry *host);
void directory_regard_endpoint(struct directory *directory, struct endpoint_entry *endpoint);

#endif
