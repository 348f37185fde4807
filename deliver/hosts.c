#include "deliver/hosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "deliver/directory.h"

/* Calls of hosts_next between two looks at names while there is always something to start. */
#define CALLS_BETWEEN_LOOKS 64u

/* Of all deliveries so manieth parts: what is kept for hosts below their part, and what is so
 * little that others have to give some back. */
#define KEPT_FREE      8u
#define PRESSED_FREE   32u
#define CROWDING_LOOKS 32u

/* Where a delivery is; delivery->hosts_part. */
enum part { PART_NONE, PART_HELD, PART_REDIRECTED, PART_STARTED, PART_ENDED };

struct hosts {
	struct hosts_options options;
	struct directory directory;
	/* A host with something to start is in one of these three, or in dues, or waits for an
	 * answer of names or an end: whatever ends its waiting calls settle_host. */
	struct list ready, to_ask, refusing;
	struct list overflow; /* endpoints with held ones whose circuit is open or gone */
	struct list unclosed, moved, holding;
	unsigned n_holding;
	struct dues host_dues, endpoint_dues;
	uint64_t serial;
	unsigned calls; /* of hosts_next since it looked at names */
	unsigned in_memory;
	struct hosts_counts counts;
};

/* One more than can be in use, so that one is idle whenever one is needed: while a delivery is
 * redirected it has the old host and the new one. */
static unsigned bound(unsigned most, unsigned deliveries)
{
	return most > deliveries ? most : deliveries + 1;
}

uint64_t hosts_memory_max(const struct hosts_options *options)
{
	/* With a pointer in the heap, up to two in the table. */
	uint64_t pointers = 3 * sizeof(void *);
	return bound(options->hosts_most, options->deliveries) * (sizeof(struct host_entry) + pointers) +
	       bound(options->endpoints_most, options->deliveries) *
	               (sizeof(struct endpoint_entry) + pointers) +
	       sizeof(struct hosts);
}

struct hosts *hosts_new(const struct hosts_options *options)
{
	unsigned hosts_most = bound(options->hosts_most, options->deliveries);
	unsigned endpoints_most = bound(options->endpoints_most, options->deliveries);
	struct hosts *hosts = calloc(1, sizeof *hosts);
	if (hosts == NULL)
		return NULL;
	hosts->options = *options;
	struct list *const lists[] = {&hosts->ready,    &hosts->to_ask, &hosts->refusing, &hosts->overflow,
	                              &hosts->unclosed, &hosts->moved,  &hosts->holding};
	for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
		list_init(lists[i]);
	if (directory_init(&hosts->directory, hosts_most, endpoints_most) != 0) {
		free(hosts);
		return NULL;
	}
	if (dues_init(&hosts->host_dues, hosts_most) != 0 ||
	    dues_init(&hosts->endpoint_dues, endpoints_most) != 0) {
		hosts_free(hosts);
		return NULL;
	}
	return hosts;
}

void hosts_free(struct hosts *hosts)
{
	if (hosts == NULL)
		return;
	directory_fini(&hosts->directory);
	dues_fini(&hosts->host_dues);
	dues_fini(&hosts->endpoint_dues);
	free(hosts);
}

/* ---- held deliveries ---- */

static void held_push(struct held *held, struct delivery *delivery)
{
	delivery->next = NULL;
	delivery->previous = held->last;
	*(held->last == NULL ? &held->first : &held->last->next) = delivery;
	held->last = delivery;
}

static void held_remove(struct held *held, struct delivery *delivery)
{
	*(delivery->previous == NULL ? &held->first : &delivery->previous->next) = delivery->next;
	*(delivery->next == NULL ? &held->last : &delivery->next->previous) = delivery->previous;
	delivery->next = delivery->previous = NULL;
}

static struct host_entry *host_of(const struct delivery *delivery)
{
	return (struct host_entry *)delivery->host;
}

static struct endpoint_entry *endpoint_of(const struct delivery *delivery)
{
	return (struct endpoint_entry *)delivery->endpoint;
}

/* One more or less is held at the host. */
static void count_held(struct hosts *hosts, struct host_entry *host, bool more)
{
	host->host.held += more ? 1 : -1u;
	hosts->counts.held += more ? 1 : -1u;
	if (more && host->host.held == 1) {
		list_push(&hosts->holding, &host->holding);
		hosts->n_holding++;
	} else if (host->host.held == 0) {
		list_remove(&host->holding);
		hosts->n_holding--;
	}
}

/* ---- where a host belongs ---- */

static bool has_work(const struct host_entry *host)
{
	return host->redirected.first != NULL || list_first(&host->endpoints) != NULL;
}

static void ask(struct hosts *hosts, struct host_entry *host, uint64_t now_ns)
{
	if (!addresses_to_ask(&host->addresses, &host->host.place, now_ns))
		return;
	host->addresses.asking = names_start(hosts->options.names, host->host.place.host, host, now_ns);
	hosts->counts.asked += host->addresses.asking;
}

/* Puts the host where it belongs now, at the end of that list. One that refuses what it held stays
 * until all of that is given back, also when the failure has expired meanwhile. */
static void settle_host(struct hosts *hosts, struct host_entry *host, uint64_t now_ns)
{
	if (host->refusing && has_work(host))
		return;
	host->refusing = false;
	list_remove(&host->turn);
	dues_remove(&hosts->host_dues, &host->due);
	if (!has_work(host))
		return;
	ask(hosts, host, now_ns);
	enum addresses_state state =
	        addresses_look(&host->addresses, &host->host.place, hosts->options.stale_ns, now_ns);
	if (state == ADDRESSES_FAILED) {
		host->refusing = true;
		list_push(&hosts->refusing, &host->turn);
		return;
	}
	if (state == ADDRESSES_NONE) {
		if (!host->addresses.asking)
			list_push(&hosts->to_ask, &host->turn);
		return;
	}
	const struct policy_host *policy = host->host.policy;
	uint64_t due_ns = bucket_due_ns(&host->bucket, policy->rate, policy->burst);
	if (host->host.started >= policy->connections)
		return;
	if (due_ns > now_ns)
		dues_set(&hosts->host_dues, &host->due, due_ns);
	else
		list_push(&hosts->ready, &host->turn);
}

/* Thousands wait, and none of their memory is in the processor's cache when its turn comes. The
 * next one was fetched a turn ago, so its postback can be asked for now. */
static void fetch_ahead(const struct delivery *next)
{
	const char *postback = next != NULL ? (const char *)next->postback : NULL;
	if (postback != NULL) {
		__builtin_prefetch(postback);
		__builtin_prefetch(postback + 64);
		__builtin_prefetch(postback + 128);
	}
	if (next == NULL || next->next == NULL)
		return;
	__builtin_prefetch(next->next);
	__builtin_prefetch(&next->next->target);
	__builtin_prefetch(&next->next->held_ns);
}

/* The next one of a host: redirected ones first, then its endpoints in turns. */
static struct delivery *take_held(struct hosts *hosts, struct host_entry *host)
{
	struct delivery *delivery = host->redirected.first;
	if (delivery != NULL) {
		held_remove(&host->redirected, delivery);
	} else {
		struct endpoint_entry *endpoint =
		        LIST_OF(struct endpoint_entry, turn, list_first(&host->endpoints));
		delivery = endpoint->held.first;
		held_remove(&endpoint->held, delivery);
		fetch_ahead(endpoint->held.first);
		endpoint->endpoint.held--;
		list_remove(&endpoint->turn);
		if (endpoint->endpoint.held > 0)
			list_push(&host->endpoints, &endpoint->turn);
	}
	count_held(hosts, host, false);
	return delivery;
}

static struct delivery *start(struct hosts *hosts, struct host_entry *host)
{
	struct delivery *delivery = take_held(hosts, host);
	delivery->state = DELIVERY_STARTED;
	delivery->hosts_part = PART_STARTED;
	host->host.started++;
	hosts->counts.started++;
	uint64_t answered_ns = host->addresses.answered_ns;
	delivery->dns_us = answered_ns > delivery->held_ns
	                           ? (uint32_t)((answered_ns - delivery->held_ns) / NS_PER_US)
	                           : 0;
	return delivery;
}

/* ---- where an endpoint belongs ---- */

/* After its circuit or the number of its held ones has changed. */
static void settle_endpoint(struct hosts *hosts, struct endpoint_entry *endpoint, uint64_t now_ns)
{
	enum circuit_state state = endpoint->endpoint.circuit.state;
	list_remove(&endpoint->turn);
	if (endpoint->endpoint.held == 0)
		return;
	if (state == CIRCUIT_CLOSED || state == CIRCUIT_PROBING)
		list_push(&endpoint->host->endpoints, &endpoint->turn);
	else
		list_push(&hosts->overflow, &endpoint->turn);
	settle_host(hosts, endpoint->host, now_ns);
}

static void count_circuit(struct hosts *hosts, enum circuit_state state, unsigned by)
{
	if (state == CIRCUIT_GONE)
		hosts->counts.gone += by;
	else if (state != CIRCUIT_CLOSED)
		hosts->counts.open += by;
}

/* The circuit was `before`. */
static void circuit_changed(struct hosts *hosts, struct endpoint_entry *endpoint, enum circuit_state before,
                            uint64_t now_ns)
{
	const struct circuit *circuit = &endpoint->endpoint.circuit;
	if (circuit->state == CIRCUIT_OPEN || circuit->state == CIRCUIT_GONE)
		dues_set(&hosts->endpoint_dues, &endpoint->due, circuit->until_ns);
	else
		dues_remove(&hosts->endpoint_dues, &endpoint->due);
	if (circuit->state == before)
		return;
	count_circuit(hosts, before, -1u);
	count_circuit(hosts, circuit->state, 1);
	if (circuit->state == CIRCUIT_CLOSED)
		list_remove(&endpoint->unclosed);
	else if (before == CIRCUIT_CLOSED)
		list_push(&hosts->unclosed, &endpoint->unclosed);
	directory_regard_endpoint(&hosts->directory, endpoint);
	settle_endpoint(hosts, endpoint, now_ns);
}

/* ---- entries ---- */

static void forget_host(struct hosts *hosts, struct host_entry *host)
{
	if (host->addresses.asking)
		names_forget(hosts->options.names, host);
	list_remove(&host->turn);
	list_remove(&host->moved);
	dues_remove(&hosts->host_dues, &host->due);
	directory_drop_host(&hosts->directory, host);
}

static struct host_entry *find_host(struct hosts *hosts, const struct target *target)
{
	struct host_entry *host = directory_host(&hosts->directory, target->origin);
	if (host != NULL)
		return host;
	struct host_entry *oldest = directory_oldest_host(&hosts->directory);
	if (oldest != NULL)
		forget_host(hosts, oldest);
	host = directory_add_host(&hosts->directory, target->origin);
	if (host == NULL)
		return NULL;
	snprintf(host->host.place.host, sizeof host->host.place.host, "%s", target->host);
	host->host.place.port = target->port;
	host->host.policy = policies_for_host(hosts->options.policies, target->host, target->port);
	host->forbidden =
	        guard_name(hosts->options.guard, target->host, target->port, &host->addresses.by_name);
	return host;
}

static void forget_endpoint(struct hosts *hosts, struct endpoint_entry *endpoint)
{
	count_circuit(hosts, endpoint->endpoint.circuit.state, -1u);
	list_remove(&endpoint->unclosed);
	dues_remove(&hosts->endpoint_dues, &endpoint->due);
	directory_drop_endpoint(&hosts->directory, endpoint);
}

static struct endpoint_entry *find_endpoint(struct hosts *hosts, const char *name)
{
	struct endpoint_entry *endpoint = directory_endpoint(&hosts->directory, name);
	if (endpoint != NULL)
		return endpoint;
	struct endpoint_entry *oldest = directory_oldest_endpoint(&hosts->directory);
	if (oldest != NULL)
		forget_endpoint(hosts, oldest);
	return directory_add_endpoint(&hosts->directory, name);
}

/* ---- room ---- */

static unsigned at_most(uint64_t value, uint64_t most)
{
	return (unsigned)(value < most ? value : most);
}

static unsigned free_deliveries(const struct hosts *hosts)
{
	return hosts->in_memory < hosts->options.deliveries ? hosts->options.deliveries - hosts->in_memory
	                                                    : 0;
}

/* The part of all deliveries that a host may have whatever the others do. */
static unsigned part_of(const struct hosts *hosts, unsigned holders)
{
	unsigned part = hosts->options.deliveries / (holders + 1);
	return part > 0 ? part : 1;
}

/* host NULL: one that is not known, with that policy. */
static unsigned room_of(const struct hosts *hosts, const struct host_entry *host,
                        const struct policy_host *policy)
{
	unsigned held = host == NULL ? 0 : host->host.held, started = host == NULL ? 0 : host->host.started;
	uint64_t unused = free_deliveries(hosts);
	uint64_t wants = (uint64_t)policy->waiting +
	                 (started < policy->connections ? policy->connections - started : 0);
	uint64_t room = wants > held ? wants - held : 0;
	uint64_t part = part_of(hosts, hosts->n_holding + (held == 0));
	uint64_t below = part > (uint64_t)held + started ? part - held - started : 0;
	uint64_t spare = unused > hosts->options.deliveries / KEPT_FREE
	                         ? unused - hosts->options.deliveries / KEPT_FREE
	                         : 0;
	return at_most(at_most(room, below > spare ? below : spare), unused);
}

static const struct policy_host *policy_of_origin(const struct hosts *hosts, const char *origin)
{
	char host[TARGET_HOST_MAX + 3];
	const char *at = strstr(origin, "://"), *colon = strrchr(origin, ':');
	at = at == NULL ? origin : at + 3;
	size_t n = colon != NULL && colon > at ? (size_t)(colon - at) : strlen(at);
	if (at[0] == '[' && n >= 2) {
		at++;
		n -= 2;
	}
	snprintf(host, sizeof host, "%.*s", (int)n, at);
	unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);
	return policies_for_host(hosts->options.policies, host, (uint16_t)port);
}

unsigned hosts_room(const struct hosts *hosts, const char *origin, const char *name, uint64_t now_ns)
{
	if (name[0] == '\0')
		return free_deliveries(hosts);
	const struct host_entry *host = directory_host(&hosts->directory, origin);
	const struct endpoint_entry *endpoint = directory_endpoint(&hosts->directory, name);
	enum circuit_leave leave =
	        endpoint == NULL ? CIRCUIT_PASSES : circuit_leave(&endpoint->endpoint.circuit, now_ns);
	/* Dead letters, all of them, at once: they take no room of the host. */
	if (leave == CIRCUIT_IS_GONE || (host != NULL && host->forbidden != GUARD_PASSES))
		return free_deliveries(hosts);
	const struct policy_host *policy = host != NULL ? host->host.policy : policy_of_origin(hosts, origin);
	unsigned room = leave == CIRCUIT_WAITS ? 0 : room_of(hosts, host, policy);
	if (leave == CIRCUIT_PROBE_DUE)
		return room > 0 && endpoint->endpoint.held == 0 ? 1 : 0;
	return room / 2 + room % 2;
}

/* ---- offers ---- */

/* What the guard says of the host by all that is known. */
static enum guard_verdict verdict_on(const struct hosts *hosts, const struct host_entry *host,
                                     uint64_t now_ns)
{
	if (host->forbidden != GUARD_PASSES)
		return host->forbidden;
	bool failed = addresses_look(&host->addresses, &host->host.place, hosts->options.stale_ns, now_ns) ==
	              ADDRESSES_FAILED;
	return failed && host->addresses.failed == -EACCES ? host->addresses.why : GUARD_PASSES;
}

static void join_host(struct hosts *hosts, struct delivery *delivery, struct host_entry *host)
{
	delivery->host = &host->host;
	if (host->host.in_memory++ == 0)
		directory_regard_host(&hosts->directory, host);
}

static void leave_host(struct hosts *hosts, struct delivery *delivery)
{
	struct host_entry *host = host_of(delivery);
	delivery->host = NULL;
	if (--host->host.in_memory == 0)
		directory_regard_host(&hosts->directory, host);
}

static void hold(struct hosts *hosts, struct delivery *delivery, struct host_entry *host,
                 struct endpoint_entry *endpoint, uint64_t now_ns)
{
	join_host(hosts, delivery, host);
	delivery->endpoint = &endpoint->endpoint;
	delivery->state = DELIVERY_HELD;
	delivery->hosts_part = PART_HELD;
	delivery->held_ns = now_ns;
	delivery->dns_us = 0;
	endpoint->host = host;
	if (endpoint->endpoint.in_memory++ == 0)
		directory_regard_endpoint(&hosts->directory, endpoint);
	held_push(&endpoint->held, delivery);
	count_held(hosts, host, true);
	hosts->in_memory++;
	if (endpoint->endpoint.held++ == 0)
		settle_endpoint(hosts, endpoint, now_ns);
}

enum hosts_verdict hosts_offer(struct hosts *hosts, struct delivery *delivery, enum guard_verdict *why,
                               uint64_t now_ns)
{
	struct host_entry *host = find_host(hosts, delivery->target);
	*why = GUARD_PASSES;
	delivery->host = NULL;
	delivery->endpoint = NULL;
	delivery->probe = false;
	if (host == NULL)
		return HOSTS_PARK;
	if ((*why = verdict_on(hosts, host, now_ns)) != GUARD_PASSES)
		return HOSTS_REFUSED;
	struct endpoint_entry *endpoint = find_endpoint(hosts, delivery->target->endpoint);
	if (endpoint == NULL)
		return HOSTS_PARK;
	enum circuit_leave leave = circuit_leave(&endpoint->endpoint.circuit, now_ns);
	if (leave == CIRCUIT_IS_GONE)
		return HOSTS_GONE;
	/* What was held when it opened is still to be parked. */
	if (leave == CIRCUIT_WAITS || (leave == CIRCUIT_PROBE_DUE && endpoint->endpoint.held > 0)) {
		delivery->endpoint = &endpoint->endpoint;
		return HOSTS_PARK;
	}
	if (room_of(hosts, host, host->host.policy) == 0)
		return HOSTS_PARK;
	if (leave == CIRCUIT_PROBE_DUE) {
		enum circuit_state before = endpoint->endpoint.circuit.state;
		circuit_probe(&endpoint->endpoint.circuit);
		circuit_changed(hosts, endpoint, before, now_ns);
		delivery->probe = true;
	}
	hold(hosts, delivery, host, endpoint, now_ns);
	return HOSTS_HELD;
}

static void stop_counting(struct hosts *hosts, struct delivery *delivery)
{
	host_of(delivery)->host.started--;
	hosts->counts.started--;
	delivery->hosts_part = PART_ENDED;
}

enum hosts_verdict hosts_redirect(struct hosts *hosts, struct delivery *delivery, enum guard_verdict *why,
                                  uint64_t now_ns)
{
	struct host_entry *old = host_of(delivery), *host = find_host(hosts, delivery->target);
	*why = GUARD_PASSES;
	if (host == NULL)
		return HOSTS_PARK;
	if ((*why = verdict_on(hosts, host, now_ns)) != GUARD_PASSES)
		return HOSTS_REFUSED;
	stop_counting(hosts, delivery);
	leave_host(hosts, delivery);
	join_host(hosts, delivery, host);
	delivery->state = DELIVERY_HELD;
	delivery->hosts_part = PART_REDIRECTED;
	delivery->held_ns = now_ns;
	held_push(&host->redirected, delivery);
	count_held(hosts, host, true);
	settle_host(hosts, old, now_ns);
	settle_host(hosts, host, now_ns);
	return HOSTS_HELD;
}

/* ---- turns ---- */

static void look_at_names(struct hosts *hosts, uint64_t now_ns)
{
	struct names_answer answer;
	struct link *first;
	hosts->calls = 0;
	while (names_next(hosts->options.names, &answer, now_ns)) {
		struct host_entry *host = answer.asker;
		if (addresses_answer(&host->addresses, &host->host.place, &answer, hosts->options.guard,
		                     hosts->options.stale_ns, &hosts->serial, now_ns) &&
		    !list_has(&host->moved))
			list_push(&hosts->moved, &host->moved);
		settle_host(hosts, host, now_ns);
	}
	/* Those that names had no room for, in their order. */
	while ((first = list_first(&hosts->to_ask)) != NULL) {
		struct host_entry *host = LIST_OF(struct host_entry, turn, first);
		ask(hosts, host, now_ns);
		if (!host->addresses.asking)
			break;
		settle_host(hosts, host, now_ns);
	}
}

static void look_at_dues(struct hosts *hosts, uint64_t now_ns)
{
	struct due *due;
	while ((due = dues_first(&hosts->host_dues)) != NULL && due->at_ns <= now_ns)
		settle_host(hosts, LIST_OF(struct host_entry, due, due), now_ns);
	/* The next offer or hosts_room finds the probe due by itself. */
	while ((due = dues_first(&hosts->endpoint_dues)) != NULL && due->at_ns <= now_ns)
		dues_remove(&hosts->endpoint_dues, due);
}

/* The first host that is ready, at its end of the list afterwards. */
static struct delivery *start_first(struct hosts *hosts, uint64_t now_ns)
{
	struct link *first;
	while ((first = list_first(&hosts->ready)) != NULL) {
		struct host_entry *host = LIST_OF(struct host_entry, turn, first);
		if (addresses_look(&host->addresses, &host->host.place, hosts->options.stale_ns, now_ns) !=
		    ADDRESSES_KNOWN) {
			settle_host(hosts, host, now_ns); /* they have expired while it was ready */
			continue;
		}
		struct delivery *delivery = start(hosts, host);
		bucket_take(&host->bucket, host->host.policy->rate, now_ns);
		settle_host(hosts, host, now_ns);
		return delivery;
	}
	return NULL;
}

struct delivery *hosts_next(struct hosts *hosts, uint64_t now_ns)
{
	look_at_dues(hosts, now_ns);
	if (++hosts->calls >= CALLS_BETWEEN_LOOKS)
		look_at_names(hosts, now_ns);
	struct delivery *delivery = start_first(hosts, now_ns);
	if (delivery != NULL)
		return delivery;
	look_at_names(hosts, now_ns);
	return start_first(hosts, now_ns);
}

struct delivery *hosts_refused(struct hosts *hosts, int *result, enum guard_verdict *why, const char **reason,
                               uint64_t now_ns)
{
	struct link *first = list_first(&hosts->refusing);
	if (first == NULL)
		return NULL;
	struct host_entry *host = LIST_OF(struct host_entry, turn, first);
	struct delivery *delivery = start(hosts, host);
	*result = host->addresses.failed;
	*why = host->addresses.why;
	*reason = host->addresses.reason;
	settle_host(hosts, host, now_ns);
	return delivery;
}

/* An endpoint of a host that has more than its part while hardly anything is free, or NULL. Looks
 * at a few hosts a call, in turns. */
static struct endpoint_entry *crowding(struct hosts *hosts)
{
	if (free_deliveries(hosts) > hosts->options.deliveries / PRESSED_FREE)
		return NULL;
	for (unsigned looks = 0; looks < CROWDING_LOOKS && hosts->n_holding > 0; looks++) {
		struct link *first = list_first(&hosts->holding);
		struct host_entry *host = LIST_OF(struct host_entry, holding, first);
		struct link *endpoint = list_first(&host->endpoints);
		list_remove(first);
		list_push(&hosts->holding, first);
		if (host->host.held + host->host.started > part_of(hosts, hosts->n_holding) &&
		    endpoint != NULL)
			return LIST_OF(struct endpoint_entry, turn, endpoint);
	}
	return NULL;
}

struct delivery *hosts_overflow(struct hosts *hosts, uint64_t now_ns)
{
	struct link *first = list_first(&hosts->overflow);
	struct endpoint_entry *endpoint =
	        first != NULL ? LIST_OF(struct endpoint_entry, turn, first) : crowding(hosts);
	if (endpoint == NULL)
		return NULL;
	/* Of those that may start the newest, so that the others keep their places. */
	struct delivery *delivery = first != NULL ? endpoint->held.first : endpoint->held.last;
	held_remove(&endpoint->held, delivery);
	delivery->hosts_part = PART_ENDED;
	/* A probe that is parked for want of room is one still, until it is released. */
	delivery->probe = delivery->probe && first == NULL;
	count_held(hosts, endpoint->host, false);
	if (--endpoint->endpoint.held == 0) {
		list_remove(&endpoint->turn);
		settle_host(hosts, endpoint->host, now_ns);
	}
	return delivery;
}

/* ---- ends ---- */

static uint64_t chance(void)
{
	uint64_t bits = 0;
	/* Without it probes have no jitter, and nothing else depends on it. */
	if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits)
		return 1ull << 63;
	return bits;
}

bool hosts_ended(struct hosts *hosts, struct delivery *delivery, bool good, bool failed, bool gone,
                 uint64_t now_ns)
{
	struct endpoint_entry *endpoint = endpoint_of(delivery);
	struct circuit *circuit = &endpoint->endpoint.circuit;
	const struct policy *policy = delivery->policy;
	enum circuit_state before = circuit->state;
	bool opened = false;
	stop_counting(hosts, delivery);
	if (gone)
		circuit_gone(circuit, now_ns + policy->gone_ns);
	else if (good)
		circuit_good(circuit);
	else if (failed)
		opened = circuit_failed(circuit, &policy->circuit, delivery->probe, now_ns, chance());
	else if (delivery->probe)
		circuit_unprobe(circuit, now_ns);
	delivery->probe = false;
	hosts->counts.opened += opened;
	circuit_changed(hosts, endpoint, before, now_ns);
	settle_host(hosts, host_of(delivery), now_ns);
	return opened;
}

/* Out of the list that it is held in. */
static void unhold(struct hosts *hosts, struct delivery *delivery)
{
	struct host_entry *host = host_of(delivery);
	struct endpoint_entry *endpoint = endpoint_of(delivery);
	count_held(hosts, host, false);
	if (delivery->hosts_part == PART_REDIRECTED) {
		held_remove(&host->redirected, delivery);
	} else {
		held_remove(&endpoint->held, delivery);
		if (--endpoint->endpoint.held == 0)
			list_remove(&endpoint->turn);
	}
}

void hosts_release(struct hosts *hosts, struct delivery *delivery, uint64_t now_ns)
{
	struct host_entry *host = host_of(delivery);
	struct endpoint_entry *endpoint = endpoint_of(delivery);
	if (delivery->hosts_part == PART_NONE)
		return;
	if (delivery->hosts_part == PART_STARTED)
		stop_counting(hosts, delivery);
	else if (delivery->hosts_part != PART_ENDED)
		unhold(hosts, delivery);
	if (delivery->probe) {
		enum circuit_state before = endpoint->endpoint.circuit.state;
		circuit_unprobe(&endpoint->endpoint.circuit, now_ns);
		circuit_changed(hosts, endpoint, before, now_ns);
	}
	settle_host(hosts, host, now_ns);
	leave_host(hosts, delivery);
	if (--endpoint->endpoint.in_memory == 0)
		directory_regard_endpoint(&hosts->directory, endpoint);
	delivery->endpoint = NULL;
	delivery->probe = false;
	delivery->hosts_part = PART_NONE;
	hosts->in_memory--;
}

/* ---- told from outside ---- */

void hosts_close_circuit(struct hosts *hosts, const char *name, uint64_t now_ns)
{
	struct endpoint_entry *endpoint = directory_endpoint(&hosts->directory, name);
	if (endpoint == NULL)
		return;
	enum circuit_state before = endpoint->endpoint.circuit.state;
	circuit_good(&endpoint->endpoint.circuit);
	circuit_changed(hosts, endpoint, before, now_ns);
}

void hosts_set_gone(struct hosts *hosts, const char *name, uint64_t until_ns, uint64_t now_ns)
{
	struct endpoint_entry *endpoint = find_endpoint(hosts, name);
	if (endpoint == NULL)
		return;
	enum circuit_state before = endpoint->endpoint.circuit.state;
	circuit_gone(&endpoint->endpoint.circuit, until_ns);
	circuit_changed(hosts, endpoint, before, now_ns);
}

/* ---- looking ---- */

uint64_t hosts_due_ns(const struct hosts *hosts, uint64_t now_ns)
{
	const struct due *host = dues_first(&hosts->host_dues);
	const struct due *endpoint = dues_first(&hosts->endpoint_dues);
	uint64_t due_ns = UINT64_MAX;
	if (list_first(&hosts->ready) != NULL || list_first(&hosts->refusing) != NULL ||
	    list_first(&hosts->overflow) != NULL)
		return now_ns;
	if (host != NULL)
		due_ns = host->at_ns;
	if (endpoint != NULL && endpoint->at_ns < due_ns)
		due_ns = endpoint->at_ns;
	return due_ns;
}

const struct sender_place *hosts_moved(struct hosts *hosts)
{
	struct link *first = list_first(&hosts->moved);
	if (first == NULL)
		return NULL;
	list_remove(first);
	return &LIST_OF(struct host_entry, moved, first)->host.place;
}

struct hosts_counts hosts_counts(const struct hosts *hosts)
{
	struct hosts_counts counts = hosts->counts;
	counts.hosts = hosts->directory.n_hosts;
	counts.endpoints = hosts->directory.n_endpoints;
	return counts;
}

void hosts_each_open(const struct hosts *hosts, unsigned most, void (*each)(void *, const struct endpoint *),
                     void *argument)
{
	struct link *at = list_first(&hosts->unclosed);
	for (; at != NULL && most > 0; at = list_after(&hosts->unclosed, at), most--)
		each(argument, &LIST_OF(struct endpoint_entry, unclosed, at)->endpoint);
}
