/* Addresses seen, by /28 network: (application, network) -> which of its 16 hosts.
 *
 *     key = application index << 28 | address >> 4          hosts = 16 bits, bit i: address & 15 == i was seen
 *
 *     while it grows:      moved already                 not yet
 *     old table      |.................|=========================|      each key is in exactly one of the two:
 *                                      ^ frontier                       home in old < frontier ? new : old
 *     new table      |==================================|.........................................................|
 *                                                       ^ pages after this have never been touched
 *
 * Open addressing with linear probing, at most two thirds full. A key's home is its hash scaled to
 * the table's size, so a table in slot order is in hash order too. Growing therefore walks the old
 * table from the left and fills the new one from the left, a few slots for each record counted:
 * nothing stalls, and since pages of the old table are given back as they are passed, both together
 * never hold more than the new one alone will.
 *
 * Keys come from the network, often many in a row, perhaps chosen with care. So the hash is keyed
 * with four secret words, drawn when the table is made: multiply, shift the upper half down, three
 * times over. (One folded multiplication is not enough: with some secrets, consecutive networks
 * fell into runs of a thousand full slots.) One thread.
 */
#ifndef SINK_TALLY_NETWORKS_H
#define SINK_TALLY_NETWORKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETWORKS_HOST_BITS 4u
#define NETWORKS_KEY_SHIFT (32u - NETWORKS_HOST_BITS)
#define NETWORKS_SECRETS   4u
#define NETWORKS_PROBE_MAX 1024u /* slots looked at for one key; expected are 2 */

/* 12 bytes: what is kept for a network. Empty when hosts is 0. */
struct network {
	uint32_t key_low, key_high;
	uint16_t hosts;
	uint16_t dirty; /* on the owner's list of what a commit must write */
};

struct networks {
	struct network *slot;
	uint64_t n_slots;
	struct network *old; /* NULL when not growing */
	uint64_t n_old, frontier;
	uint64_t given_back; /* bytes of old */
	uint64_t n;          /* networks in both tables */
	uint64_t max_slots;
	uint64_t secret[NETWORKS_SECRETS];
};

static inline uint64_t networks_key(uint32_t application, uint32_t ip)
{
	return (uint64_t)application << NETWORKS_KEY_SHIFT | ip >> NETWORKS_HOST_BITS;
}

static inline uint64_t network_key(const struct network *network)
{
	return (uint64_t)network->key_high << 32 | network->key_low;
}

/* All secrets but the first are odd (networks_init sees to that), so no two keys have the same
 * hash. */
static inline uint64_t networks_hash(const struct networks *networks, uint64_t key)
{
	const uint64_t *secret = networks->secret;
	uint64_t hash = (key ^ secret[0]) * secret[1];
	hash = (hash ^ hash >> 32) * secret[2];
	return (hash ^ hash >> 32) * secret[3];
}

static inline uint64_t networks_home(uint64_t hash, uint64_t n_slots)
{
	return (uint64_t)((unsigned __int128)hash * n_slots >> 64);
}

/* Where the search for a hash begins. */
static inline struct network *networks_start(const struct networks *networks, uint64_t hash)
{
	if (__builtin_expect(networks->old != NULL, 0)) {
		uint64_t home = networks_home(hash, networks->n_old);
		if (home >= networks->frontier)
			return networks->old + home;
	}
	return networks->slot + networks_home(hash, networks->n_slots);
}

/* Makes an empty table for at most max networks, with room for expected ones before it first grows.
 * Returns 0 or -ENOMEM. */
int networks_init(struct networks *networks, uint64_t max, uint64_t expected,
                  const uint64_t secret[NETWORKS_SECRETS]);

void networks_fini(struct networks *networks);

/* Empty again; the present table stays, its memory goes. */
void networks_forget(struct networks *networks);

/* The slot that holds key, or the empty slot (hosts == 0) where it belongs: then the caller may set
 * its key and hosts and must call networks_added. NULL when neither is within NETWORKS_PROBE_MAX
 * (treat as full). Valid until the next call of networks_added or networks_step. */
static inline struct network *networks_at(const struct networks *networks, uint64_t key, uint64_t hash)
{
	struct network *at = networks_start(networks, hash);
	for (unsigned i = 0; i < NETWORKS_PROBE_MAX; i++, at++)
		if (at->hosts == 0 || network_key(at) == key)
			return at;
	return NULL;
}

/* An empty slot was filled: counts it, and begins to grow when it is time. */
void networks_added(struct networks *networks);

/* Moves what `records` records must pay for while the table grows; does nothing otherwise. To be
 * called for all records. */
void networks_step(struct networks *networks, uint64_t records);

/* Bytes that a table for max networks can come to hold. */
uint64_t networks_bytes_max(uint64_t max);

#endif
