/* Hosts and endpoints: who may be sent to now, so that one that hangs, fails or floods takes
 * nothing from the others.
 *
 *     hosts_offer --> HELD: in the list of its host          hosts_next: round robin over hosts that may start one now
 *                 '-> PARK: its host holds `waiting` already,     connections < limit, a token of the rate, addresses known and vetted,
 *                     or its circuit is open, or gone             circuit closed or a probe due
 *
 *     host       of an origin: connections, rate, addresses, those that are held
 *     endpoint   of a URL's template up to its query: its circuit
 *
 * Round robin: each turn of a host starts as many as its quantum allows (deficit round robin, M.
 * Shreedhar and G. Varghese, 1995; all requests count 1, so the quantum is 1 and a host's deficit
 * never lasts: the list of hosts with work is the algorithm). Rate: a token bucket of `burst`
 * tokens, `rate` a second.
 *
 * Circuit, of an endpoint:
 *
 *     closed --`failures` in a row--> open --pause--> probe: one request --good--> closed
 *        ^                             ^                '--bad--> open, the pause doubled up to pause_most, with a tenth of jitter
 *        '--any success----------------'
 *     gone (410): as open for gone_ns; what is offered is HOSTS_GONE
 *
 * What is no failure of the endpoint (our own guard, a template that cannot be filled in, 4xx
 * answers but 408, 425, 429) does not count.
 *
 * Addresses: asked of names.h when a delivery is held and none are known or they have expired;
 * those that have expired serve on while a new answer is on its way and for `stale` after a
 * failure. All addresses of an answer are vetted (guard.h); one that is forbidden forbids the name:
 * hosts_refused gives what was held.
 *
 * Bounded: hosts_most hosts and endpoints_most endpoints; the one that was idle for longest makes
 * room. When none is idle (all have deliveries in memory, and those are in_flight at most) there
 * are more than in_flight: both limits are at least in_flight. An endpoint with an open circuit
 * that is forgotten is closed.
 */
#ifndef DELIVER_HOSTS_H
#define DELIVER_HOSTS_H

#include "deliver/delivery.h"
#include "deliver/guard.h"
#include "deliver/names.h"

struct hosts; /* opaque; one thread */

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_PROBING, CIRCUIT_GONE };

struct endpoint {
	char name[TARGET_ENDPOINT_MAX];
	enum circuit_state circuit;
	unsigned failures;  /* in a row */
	uint64_t pause_ns;  /* the last one */
	uint64_t until_ns;  /* open: probed then; gone: until then */
	unsigned in_memory; /* deliveries */
	uint64_t used_ns;
	/* the table's */
	uint64_t hash;
	struct endpoint *chain, *older, *newer;
};

struct host {
	struct sender_place place; /* vetted addresses; n = 0: none yet */
	uint64_t expires_ns;
	bool asking;
	bool by_name; /* guard_name's */
	unsigned started, held;
	const struct policy_host *policy;
	double tokens;
	uint64_t tokens_ns;            /* when they were counted */
	struct delivery *first, *last; /* held */
	uint64_t used_ns;
	char origin[TARGET_ORIGIN_MAX];
	/* the table's */
	uint64_t hash;
	struct host *chain, *older, *newer, *turn;
	bool in_turn;
};

/* hosts_most, endpoints_most: deliver.hosts_most, deliver.endpoints_most. names and guard are the
 * caller's. NULL: no memory. */
struct hosts *hosts_new(unsigned hosts_most, unsigned endpoints_most, const struct policies *policies,
                        struct names *names, const struct guard *guard, uint64_t stale_ns);
void hosts_free(struct hosts *hosts);

enum hosts_verdict { HOSTS_HELD, HOSTS_PARK, HOSTS_GONE, HOSTS_REFUSED };

/* Where a delivery with target and policy goes; sets its host and endpoint. HELD: it is hosts'
 * until hosts_next or hosts_refused gives it. REFUSED (with the verdict in *why): the guard forbids
 * the name, or one of its addresses that are known. With anything but HELD nothing keeps the
 * delivery. */
enum hosts_verdict hosts_offer(struct hosts *hosts, struct delivery *delivery, enum guard_verdict *why,
                               uint64_t now_ns);

/* Whether one for this endpoint would be held: for rows before they are read. endpoint as
 * target.endpoint, origin as target.origin. Returns how many there is room for now; 1 when a probe
 * is due. Makes no entry. */
unsigned hosts_room(const struct hosts *hosts, const char *origin, const char *endpoint, uint64_t now_ns);

/* A delivery that may start now, STARTED from here on: its host counts it. delivery->probe and
 * dns_us are set. NULL: none may. Bounded work; drives names. */
struct delivery *hosts_next(struct hosts *hosts, uint64_t now_ns);

/* A held delivery whose host has no addresses to go to: *result is names_answer.result, or -EACCES
 * with *why set. NULL: none. The delivery leaves the list; it counts as an attempt
 * (hosts_ended). */
struct delivery *hosts_refused(struct hosts *hosts, int *result, enum guard_verdict *why, const char **reason,
                               uint64_t now_ns);

/* The attempt of a STARTED delivery (or one of hosts_refused) has ended. good: it was an answer
 * that shows the endpoint alive; failed: one that counts against it; neither: nothing is told of
 * it. gone: it answered 410. Returns true when the circuit opened by it. */
bool hosts_ended(struct hosts *hosts, struct delivery *delivery, bool good, bool failed, bool gone,
                 uint64_t now_ns);

/* The delivery leaves memory: its host and endpoint no longer know it. Also for one that is
 * HELD. */
void hosts_release(struct hosts *hosts, struct delivery *delivery);

/* Held ones of endpoints whose circuit is open, one a call, to be parked; NULL: none. */
struct delivery *hosts_overflow(struct hosts *hosts, uint64_t now_ns);

/* The endpoint takes postbacks again at once (dead letters of it are replayed). */
void hosts_close_circuit(struct hosts *hosts, const char *endpoint);

/* When hosts_next may have something that it has not now (a token, a probe, addresses to ask
 * again). */
uint64_t hosts_due_ns(const struct hosts *hosts, uint64_t now_ns);

struct hosts_counts {
	unsigned hosts, endpoints, held, started, open, gone;
	uint64_t opened; /* circuits, since the start */
};
struct hosts_counts hosts_counts(const struct hosts *hosts);

/* Endpoints whose circuit is not closed, for the note and `stat`: calls each for at most `most`. */
void hosts_each_open(const struct hosts *hosts, unsigned most, void (*each)(void *, const struct endpoint *),
                     void *argument);

#endif
