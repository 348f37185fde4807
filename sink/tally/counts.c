#include "sink/tally/counts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/tally/space.h"

#define SLOT_BITS_MIN 10u
#define PROBE_MAX     1024u
#define FETCH_AHEAD   8u
#define NO_INDEX      UINT64_MAX

/* ---- memory ---- */

static size_t slots_bytes(unsigned bits)
{
	return (((size_t)1 << bits) + PROBE_MAX) * sizeof(struct counts_slot);
}

static size_t bitmap_bytes(uint64_t applications)
{
	return (applications / 64 + 1) * sizeof(uint64_t);
}

static size_t list_bytes(void)
{
	return (COUNTS_DIRTY_NETWORKS_MAX + COUNTS_RUN) * sizeof(uint64_t);
}

/* Bits of a table that holds n applications, at most two thirds full. */
static unsigned slot_bits(uint64_t n)
{
	unsigned bits = SLOT_BITS_MIN;
	while (n * 3 > 2ull << bits)
		bits++;
	return bits;
}

static unsigned present_bits(const struct counts *counts)
{
	return 32 - counts->slot_shift;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int counts_init(struct counts *counts, const struct counts_limits *limits,
                const struct counts_expected *expected, uint64_t seed)
{
	uint64_t secret[COUNTS_SECRETS + NETWORKS_SECRETS];
	if (limits->applications > COUNTS_APPLICATIONS_MAX ||
	    expected->applications > COUNTS_APPLICATIONS_MAX)
		return -EINVAL;
	if (!space_secrets(secret, COUNTS_SECRETS + NETWORKS_SECRETS, seed))
		return -EIO;
	unsigned bits = slot_bits(expected->applications);
	*counts = (struct counts){
	        .limits = *limits,
	        .capacity = larger(limits->applications, expected->applications),
	        .slot_shift = 32 - bits,
	};
	if (limits->addresses_per_application > UINT32_MAX)
		counts->limits.addresses_per_application = UINT32_MAX;
	memcpy(counts->secret, secret, sizeof counts->secret);
	counts->application = space_reserve((counts->capacity + 1) * sizeof *counts->application);
	counts->dirty_application = space_reserve(bitmap_bytes(counts->capacity));
	counts->dirty_network = space_reserve(list_bytes());
	counts->slot = space_reserve(slots_bytes(bits));
	int result = networks_init(&counts->networks, larger(limits->addresses, expected->networks),
	                           expected->networks, secret + COUNTS_SECRETS);
	if (result == 0 && (counts->application == NULL || counts->dirty_application == NULL ||
	                    counts->dirty_network == NULL || counts->slot == NULL))
		result = -ENOMEM;
	if (result != 0)
		counts_fini(counts);
	return result;
}

void counts_fini(struct counts *counts)
{
	space_release(counts->application, (counts->capacity + 1) * sizeof *counts->application);
	space_release(counts->dirty_application, bitmap_bytes(counts->capacity));
	space_release(counts->dirty_network, list_bytes());
	space_release(counts->slot, slots_bytes(present_bits(counts)));
	networks_fini(&counts->networks);
	*counts = (struct counts){0};
}

void counts_forget(struct counts *counts)
{
	space_empty(counts->application, (counts->capacity + 1) * sizeof *counts->application);
	space_empty(counts->dirty_application, bitmap_bytes(counts->capacity));
	space_empty(counts->slot, slots_bytes(present_bits(counts)));
	networks_forget(&counts->networks);
	counts->n_applications = counts->n_truncated = counts->addresses = counts->beyond = 0;
	counts->n_dirty_applications = counts->n_dirty_networks = 0;
	counts->beyond_dirty = false;
}

uint64_t counts_bytes_max(const struct counts_limits *limits)
{
	unsigned bits = slot_bits(limits->applications);
	/* While the index table doubles, the old one, half as large, is there too. */
	return (limits->applications + 1) * sizeof(struct counts_application) +
	       bitmap_bytes(limits->applications) + slots_bytes(bits) + slots_bytes(bits - 1) + list_bytes() +
	       networks_bytes_max(limits->addresses);
}

/* ---- finding applications ---- */

static uint64_t load_word(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof word);
	return word;
}

/* NH over the four words; its 128 bits multiplied and folded; the upper half, which is the tag,
 * mixed once more. */
static uint64_t hash_sha(const struct counts *counts, const uint8_t *sha)
{
	const uint64_t *secret = counts->secret;
	unsigned __int128 sum =
	        (unsigned __int128)(load_word(sha) + secret[0]) * (load_word(sha + 8) + secret[1]) +
	        (unsigned __int128)(load_word(sha + 16) + secret[2]) * (load_word(sha + 24) + secret[3]);
	unsigned __int128 product =
	        (unsigned __int128)((uint64_t)sum ^ secret[4]) * ((uint64_t)(sum >> 64) ^ secret[5]);
	uint64_t hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	return (hash ^ hash >> 32) * (secret[6] | 1);
}

static bool same_sha(const uint8_t *a, const uint8_t *b)
{
	return ((load_word(a) ^ load_word(b)) | (load_word(a + 8) ^ load_word(b + 8)) |
	        (load_word(a + 16) ^ load_word(b + 16)) | (load_word(a + 24) ^ load_word(b + 24))) == 0;
}

static struct counts_slot *home_of(const struct counts *counts, uint32_t tag)
{
	return counts->slot + (tag >> counts->slot_shift);
}

/* The first application with this tag: nearly always the right one, and known without looking at
 * it. */
static uint64_t guess(const struct counts *counts, uint32_t tag)
{
	const struct counts_slot *slot = home_of(counts, tag);
	for (unsigned i = 0; i < PROBE_MAX && slot[i].index_plus != 0; i++)
		if (slot[i].tag == tag)
			return slot[i].index_plus - 1;
	return NO_INDEX;
}

/* Index of the application, or NO_INDEX with *empty set to where it belongs, NULL when there is no
 * such place. */
static uint64_t find(const struct counts *counts, const uint8_t *sha, uint32_t tag,
                     struct counts_slot **empty)
{
	struct counts_slot *slot = home_of(counts, tag);
	*empty = NULL;
	for (unsigned i = 0; i < PROBE_MAX; i++) {
		if (slot[i].index_plus == 0) {
			*empty = &slot[i];
			return NO_INDEX;
		}
		if (slot[i].tag == tag && same_sha(counts->application[slot[i].index_plus - 1].sha, sha))
			return slot[i].index_plus - 1;
	}
	return NO_INDEX;
}

/* Doubles the index table at once, from left to right (homes keep their order). 3 ms at 100,000
 * applications, 25 ms at 700,000: a hundredth of what the database takes for so many new ones.
 * Without memory the present table goes on, fuller. */
static void grow_slots(struct counts *counts)
{
	unsigned bits = present_bits(counts);
	struct counts_slot *old = counts->slot;
	struct counts_slot *slot = space_reserve(slots_bytes(bits + 1));
	if (slot == NULL)
		return;
	counts->slot = slot;
	counts->slot_shift--;
	for (size_t i = 0; i < ((size_t)1 << bits) + PROBE_MAX; i++) {
		if (old[i].index_plus == 0)
			continue;
		struct counts_slot *to = home_of(counts, old[i].tag);
		struct counts_slot *end = to + PROBE_MAX;
		while (to < end && to->index_plus != 0)
			to++;
		if (to ==
		    /* a chain this long in a table a third full: the next life draws other
		     * secrets */
		    end) {
			fprintf(stderr, "tally: no place for an application in a larger table\n");
			abort();
		}
		*to = old[i];
	}
	space_release(old, slots_bytes(bits));
}

static uint64_t add_application(struct counts *counts, const uint8_t *sha, uint32_t tag,
                                struct counts_slot *empty)
{
	uint64_t index = counts->n_applications++;
	memcpy(counts->application[index].sha, sha, COUNTS_SHA_BYTES);
	*empty = (struct counts_slot){.tag = tag, .index_plus = (uint32_t)index + 1};
	if (counts->n_applications * 3 > 2ull << present_bits(counts))
		grow_slots(counts);
	return index;
}

/* ---- counting ---- */

static void mark_application(struct counts *counts, uint64_t index)
{
	counts->application[index].dirty = true;
	counts->dirty_application[index / 64] |= 1ull << index % 64;
	counts->n_dirty_applications++;
}

/* One more address of the application: false when a limit forbids it. */
static bool take_address(struct counts *counts, struct counts_application *application)
{
	if (application->addresses >= counts->limits.addresses_per_application ||
	    counts->addresses >= counts->limits.addresses)
		return false;
	application->addresses++;
	counts->addresses++;
	return true;
}

static void truncate_application(struct counts *counts, struct counts_application *application)
{
	counts->n_truncated += !application->truncated;
	application->truncated = true;
}

static void add_address(struct counts *counts, struct counts_application *application, uint64_t key,
                        uint64_t hash, uint32_t ip)
{
	unsigned host = 1u << (ip & ((1u << NETWORKS_HOST_BITS) - 1));
	struct network *network = networks_at(&counts->networks, key, hash);
	if (network != NULL && (network->hosts & host) != 0)
		return;
	if (network == NULL || !take_address(counts, application)) {
		truncate_application(counts, application);
		return;
	}
	bool is_new = network->hosts == 0;
	if (!network->dirty)
		counts->dirty_network[counts->n_dirty_networks++] = key;
	*network = (struct network){
	        .key_low = (uint32_t)key,
	        .key_high = (uint32_t)(key >> 32),
	        .hosts = (uint16_t)(network->hosts | host),
	        .dirty = 1,
	};
	if (is_new)
		networks_added(&counts->networks);
}

/* What is known of an event before it is counted. */
struct look {
	uint32_t tag;
	uint64_t index; /* guessed */
	uint64_t key, network_hash;
};

static void count_one(struct counts *counts, struct look *look, const struct event_ip *event)
{
	if (look->index == NO_INDEX || !same_sha(counts->application[look->index].sha, event->sha)) {
		struct counts_slot *empty;
		look->index = find(counts, event->sha, look->tag, &empty);
		if (look->index == NO_INDEX) {
			if (empty == NULL || counts->n_applications >= counts->limits.applications) {
				counts->beyond++;
				counts->beyond_dirty = true;
				return;
			}
			look->index = add_application(counts, event->sha, look->tag, empty);
		}
		look->key = networks_key((uint32_t)look->index, event->ip);
		look->network_hash = networks_hash(&counts->networks, look->key);
	}
	struct counts_application *application = &counts->application[look->index];
	application->count++;
	if (!application->dirty)
		mark_application(counts, look->index);
	add_address(counts, application, look->key, look->network_hash, event->ip);
}

void counts_add(struct counts *counts, const struct event_ip *const *event, unsigned n)
{
	struct look look[COUNTS_RUN];
	for (unsigned i = 0; i < n; i++) {
		look[i].tag = (uint32_t)(hash_sha(counts, event[i]->sha) >> 32);
		__builtin_prefetch(home_of(counts, look[i].tag));
	}
	for (unsigned i = 0; i < n; i++) {
		look[i].index = guess(counts, look[i].tag);
		if (look[i].index == NO_INDEX)
			continue;
		__builtin_prefetch(&counts->application[look[i].index], 1);
		look[i].key = networks_key((uint32_t)look[i].index, event[i]->ip);
		look[i].network_hash = networks_hash(&counts->networks, look[i].key);
		__builtin_prefetch(networks_start(&counts->networks, look[i].network_hash), 1);
	}
	for (unsigned i = 0; i < n; i++)
		count_one(counts, &look[i], event[i]);
	networks_step(&counts->networks, n);
}

const struct counts_application *counts_find(const struct counts *counts, const uint8_t sha[COUNTS_SHA_BYTES])
{
	struct counts_slot *empty;
	uint64_t index = find(counts, sha, (uint32_t)(hash_sha(counts, sha) >> 32), &empty);
	return index == NO_INDEX ? NULL : &counts->application[index];
}

unsigned counts_hosts(const struct counts *counts, const struct counts_application *application, uint32_t ip)
{
	uint64_t key = networks_key((uint32_t)(application - counts->application), ip);
	const struct network *network =
	        networks_at(&counts->networks, key, networks_hash(&counts->networks, key));
	return network == NULL ? 0 : network->hosts;
}

/* ---- loading ---- */

int counts_restore_application(struct counts *counts, const uint8_t sha[COUNTS_SHA_BYTES], uint64_t count,
                               bool truncated)
{
	uint32_t tag = (uint32_t)(hash_sha(counts, sha) >> 32);
	struct counts_slot *empty;
	if (find(counts, sha, tag, &empty) != NO_INDEX)
		return -EEXIST;
	if (empty == NULL || counts->n_applications >= counts->capacity)
		return -ENOSPC;
	struct counts_application *application =
	        &counts->application[add_application(counts, sha, tag, empty)];
	application->count = count;
	application->truncated = truncated;
	counts->n_truncated += truncated;
	return 0;
}

int counts_restore_network(struct counts *counts, uint64_t key, unsigned hosts)
{
	uint64_t index = key >> NETWORKS_KEY_SHIFT;
	if (index >= counts->n_applications || hosts == 0 || hosts > UINT16_MAX)
		return -EINVAL;
	struct network *network = networks_at(&counts->networks, key, networks_hash(&counts->networks, key));
	if (network == NULL)
		return -ENOSPC;
	if (network->hosts != 0)
		return -EINVAL;
	*network = (struct network){
	        .key_low = (uint32_t)key, .key_high = (uint32_t)(key >> 32), .hosts = (uint16_t)hosts};
	networks_added(&counts->networks);
	networks_step(&counts->networks, 1);
	unsigned addresses = (unsigned)__builtin_popcount(hosts);
	counts->application[index].addresses += addresses;
	counts->addresses += addresses;
	return 0;
}

/* ---- committing ---- */

int64_t counts_next_dirty(const struct counts *counts, uint64_t from)
{
	for (uint64_t word = from / 64; word * 64 < counts->n_applications; word++) {
		uint64_t bits = counts->dirty_application[word];
		if (word == from / 64)
			bits &= UINT64_MAX << from % 64;
		if (bits != 0)
			return (int64_t)(word * 64 + (uint64_t)__builtin_ctzll(bits));
	}
	return -1;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void counts_sort_dirty(struct counts *counts)
{
	qsort(counts->dirty_network, counts->n_dirty_networks, sizeof *counts->dirty_network, compare_keys);
}

/* Sorted keys lie anywhere in the table: those that come next are fetched meanwhile. */
static struct network *dirty_network(const struct counts *counts, uint64_t i)
{
	const struct networks *networks = &counts->networks;
	uint64_t key = counts->dirty_network[i];
	if (i + FETCH_AHEAD < counts->n_dirty_networks)
		__builtin_prefetch(networks_start(
		        networks, networks_hash(networks, counts->dirty_network[i + FETCH_AHEAD])));
	return networks_at(networks, key, networks_hash(networks, key));
}

unsigned counts_dirty_hosts(const struct counts *counts, uint64_t i, uint64_t *key)
{
	*key = counts->dirty_network[i];
	return dirty_network(counts, i)->hosts;
}

void counts_clean(struct counts *counts)
{
	for (int64_t i = -1; (i = counts_next_dirty(counts, (uint64_t)(i + 1))) >= 0;)
		counts->application[i].dirty = false;
	memset(counts->dirty_application, 0, bitmap_bytes(counts->n_applications));
	for (uint64_t i = 0; i < counts->n_dirty_networks; i++)
		dirty_network(counts, i)->dirty = 0;
	counts->n_dirty_applications = 0;
	counts->n_dirty_networks = 0;
	counts->beyond_dirty = false;
}
