/* Hosts and endpoints: who may be sent to now, so that one that hangs, fails or floods takes
 * nothing from the others.
 *
 *     hosts_offer --> HELD: with its endpoint            hosts_next: round robin over hosts that may start one now, within a host
 *                 |                                          round robin over its endpoints:
 *                 '-> PARK: no room for its host,            connections < limit, a token of the rate, addresses known and vetted,
 *                     or its circuit is open                 circuit closed or a probe
 *
 *     host       of an origin: connections, rate, addresses
 *     endpoint   of a URL's template up to its query: its circuit, those that are held
 *
 * Room. A host has room for `waiting` deliveries besides those that its connections take. Of all
 * deliveries of the process an eighth is for hosts that have less than their part (as many parts as
 * hosts hold some, and one more). When even a thirty-second is no longer free, hosts_overflow gives
 * held ones of hosts with more than their part, to be parked: so hosts that hang keep no more than
 * their connections. What is parked comes back by hosts_room, which gives one endpoint at most half
 * of what is free, so that the next endpoint of the same host finds some too.
 *
 * Round robin: each turn of a host starts as many as its quantum allows (deficit round robin, M.
 * Shreedhar and G. Varghese, 1995; all requests count 1, so the quantum is 1 and a host's deficit
 * never lasts: the list of hosts with work is the algorithm). A host that may start none is in no
 * list that is walked. Rate: a token bucket (bucket.h).
 *
 * Circuit, of an endpoint (circuit.h):
 *
 *     closed --`failures` in a row--> open --pause--> probe: one request --good--> closed
 *        ^                             ^                '--failed--> open, the pause doubled up to pause_most, with a tenth of jitter
 *        '--any success----------------'
 *     gone (410): as open for gone_ns, then probed; what is offered is HOSTS_GONE
 *
 * What is no failure of the endpoint (our own guard, a template that cannot be filled in, 4xx
 * answers but 408, 425, 429) does not count.
 *
 * Addresses: asked of names.h when a delivery is held and none are known or they have expired;
 * those that have expired serve on for `stale`, while the answer is on its way or look-ups fail
 * (RFC 8767); a name that is said not to exist is not served on. All addresses of an answer are
 * vetted (guard.h); one that is forbidden forbids the name: hosts_refused gives what was held.
 *
 * Bounded: hosts_most hosts and endpoints_most endpoints; the one that was idle for longest makes
 * room, endpoints with a closed circuit first. When none is idle (all have deliveries in memory,
 * and those are in_flight at most) there are more than in_flight: both limits are at least
 * in_flight. An endpoint with an open circuit that is forgotten is closed.
 */
#ifndef DELIVER_HOSTS_H
#define DELIVER_HOSTS_H

#include "deliver/circuit.h"
#include "deliver/delivery.h"
#include "deliver/guard.h"
#include "deliver/names.h"

struct hosts; /* opaque; one thread */

/* For whoever looks; only hosts.c writes it. */
struct endpoint {
	struct circuit circuit;
	unsigned in_memory; /* deliveries */
	unsigned held;
	char name[TARGET_ENDPOINT_MAX];
};

struct host {
	struct sender_place place; /* vetted addresses; n = 0: none yet */
	unsigned started, held, in_memory;
	const struct policy_host *policy;
	char origin[TARGET_ORIGIN_MAX];
};

struct hosts_options {
	unsigned deliveries; /* in_flight */
	unsigned hosts_most, endpoints_most;
	uint64_t stale_ns;               /* deliver.dns.stale */
	const struct policies *policies; /* these three are the caller's */
	struct names *names;
	const struct guard *guard;
};

/* NULL: no memory. */
struct hosts *hosts_new(const struct hosts_options *options);
/* Deliveries that it holds are the caller's again. What names was asked is not taken back: it is
 * not to be driven any more. */
void hosts_free(struct hosts *hosts);

/* What it takes at most, in bytes. */
uint64_t hosts_memory_max(const struct hosts_options *options);

enum hosts_verdict { HOSTS_HELD, HOSTS_PARK, HOSTS_GONE, HOSTS_REFUSED };

/* Where a delivery with target and policy goes; sets its host, endpoint, probe and held_ns. HELD:
 * its state is DELIVERY_HELD, and it is hosts' until hosts_next, hosts_refused or hosts_overflow
 * gives it, or hosts_release takes it back. REFUSED (with the verdict in *why): the guard forbids
 * the name, or one of its addresses that are known. With anything but HELD nothing keeps the
 * delivery, and hosts_release need not be called; with PARK its endpoint tells whether it is its
 * circuit that waits (set), or its host that has no room (NULL). */
enum hosts_verdict hosts_offer(struct hosts *hosts, struct delivery *delivery, enum guard_verdict *why,
                               uint64_t now_ns);

/* A STARTED delivery goes on elsewhere: its answer redirects, and delivery->target is the new place
 * by now. It leaves its host and waits for the new one, before all others there; its endpoint stays
 * (its circuit is told how it ends), and room is not asked for. HELD, or REFUSED: then it is as it
 * was, started at its old host, to be ended. */
enum hosts_verdict hosts_redirect(struct hosts *hosts, struct delivery *delivery, enum guard_verdict *why,
                                  uint64_t now_ns);

/* How many deliveries of this endpoint hosts_offer would take now: for rows before they are read. 1
 * when a probe is due; of an endpoint that is gone as many as are free, for they become dead
 * letters at once. Those that are claimed by it should be offered before it is asked again.
 * endpoint as target.endpoint, origin as target.origin ("" both: their URL does not compile; as
 * many as are free). Makes no entry. */
unsigned hosts_room(const struct hosts *hosts, const char *origin, const char *endpoint, uint64_t now_ns);

/* A delivery that may start now, DELIVERY_STARTED from here on: its host counts it. dns_us is set.
 * NULL: none may. Bounded work; drives names. */
struct delivery *hosts_next(struct hosts *hosts, uint64_t now_ns);

/* A held delivery whose host has no addresses to go to: *result is names_answer.result, or -EACCES
 * with *why set; *reason lives until the next call. NULL: none. The delivery is DELIVERY_STARTED,
 * and it counts as an attempt (hosts_ended; failed, unless the guard refuses it). */
struct delivery *hosts_refused(struct hosts *hosts, int *result, enum guard_verdict *why, const char **reason,
                               uint64_t now_ns);

/* The attempt of a STARTED delivery (or one of hosts_refused) has ended. good: it was an answer
 * that shows the endpoint alive; failed: one that counts against it; neither: nothing is told of
 * it. gone: it answered 410 (and policy->gone_ns is not 0). Returns true when the circuit opened by
 * it. */
bool hosts_ended(struct hosts *hosts, struct delivery *delivery, bool good, bool failed, bool gone,
                 uint64_t now_ns);

/* The delivery leaves memory: its host and endpoint no longer know it, and its pointers to them are
 * NULL. Also for one that is held, or started and taken back: a probe that ends so leaves the next
 * one due. */
void hosts_release(struct hosts *hosts, struct delivery *delivery, uint64_t now_ns);

/* Held ones of endpoints whose circuit is open or gone (delivery->endpoint->circuit.state says
 * which), and of hosts with too many of them, one a call, to be parked or dead; NULL: none. The
 * delivery is held no longer, and still to be released. To be called until NULL in each turn. */
struct delivery *hosts_overflow(struct hosts *hosts, uint64_t now_ns);

/* The endpoint takes postbacks again at once (dead letters of it are replayed). */
void hosts_close_circuit(struct hosts *hosts, const char *endpoint, uint64_t now_ns);

/* The endpoint is gone until then (waiting_each_gone; what another process has heard). */
void hosts_set_gone(struct hosts *hosts, const char *endpoint, uint64_t until_ns, uint64_t now_ns);

/* When there may be something that there is not now: for hosts_next a token, for hosts_room a probe
 * or the end of gone. UINT64_MAX: nothing. Answers of names wake by names_fd. */
uint64_t hosts_due_ns(const struct hosts *hosts, uint64_t now_ns);

/* Places whose addresses have changed, one a call: for sender_ops.forget. NULL: none. To be called
 * until NULL in each turn. */
const struct sender_place *hosts_moved(struct hosts *hosts);

struct hosts_counts {
	unsigned hosts, endpoints, held, started, open, gone; /* open: with those that are probed */
	uint64_t opened;                                      /* circuits, since the start */
	uint64_t asked;                                       /* look-ups */
};
struct hosts_counts hosts_counts(const struct hosts *hosts);

/* Endpoints whose circuit is not closed, for the note and `stat`: calls each for at most `most`. */
void hosts_each_open(const struct hosts *hosts, unsigned most, void (*each)(void *, const struct endpoint *),
                     void *argument);

#endif
