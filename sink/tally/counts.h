/* Counts in memory: for each application how many messages, and which addresses.
 *
 *     sha --hash--> index table --> application[i]  (one cache line: sha, count, addresses kept, truncated)
 *                  (tag, i + 1)          |
 *                                        '-- (i, ip >> 4) --hash--> networks: 16 bits, the hosts seen (networks.h)
 *
 * Records are added a run at a time: first all shas of the run are hashed and their places fetched
 * from memory, then the applications and networks, then they are counted. So a run waits for memory
 * about once, not four times a record.
 *
 * Limits. Every message is counted. Over `applications`: in `beyond`, without its sha. Over
 * `addresses_per_application` or `addresses`: in its application's count, which is marked
 * truncated, without its address. Memory is bounded by the limits (counts_bytes_max) and taken as
 * it is needed.
 *
 * What changed since the last commit is known: a bitmap of applications, a list of networks. The
 * list is bounded; when counts_full says so, a commit must succeed before more is added.
 *
 * Shas come from the network and need not be hashes of anything. The table's hash is keyed with
 * secret words drawn at start: NH (Black et al., UMAC, CRYPTO 1999) to 128 bits, then folded and
 * mixed to 64; shas chosen without knowing the words fall as random ones do. One thread.
 */
#ifndef SINK_TALLY_COUNTS_H
#define SINK_TALLY_COUNTS_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"
#include "sink/tally/networks.h"

#define COUNTS_RUN                32u /* records added at once, at most */
#define COUNTS_SHA_BYTES          32u
#define COUNTS_DIRTY_NETWORKS_MAX 131072u /* between two commits */
#define COUNTS_APPLICATIONS_MAX   (1u << 30)
#define COUNTS_SECRETS            7u

struct counts_limits {
	uint64_t applications, addresses_per_application, addresses;
};

struct counts_application {
	alignas(64) uint8_t sha[COUNTS_SHA_BYTES];
	uint64_t count;
	uint32_t addresses; /* kept */
	bool truncated;     /* an address was not kept */
	bool dirty;
};
_Static_assert(sizeof(struct counts_application) == 64, "an application fills one line");

struct counts_slot {
	uint32_t tag;        /* upper half of the hash; its upper bits are the home */
	uint32_t index_plus; /* 0: empty */
};

struct counts {
	struct counts_application *application; /* address space for all, pages as they are used */
	uint64_t n_applications;
	struct counts_slot *slot;
	unsigned slot_shift; /* home = tag >> slot_shift */
	struct networks networks;
	uint64_t addresses; /* kept in all */
	uint64_t beyond;    /* messages of applications over the limit */
	uint64_t n_truncated;
	bool beyond_dirty;
	uint64_t *dirty_application; /* bitmap */
	uint64_t n_dirty_applications;
	uint64_t *dirty_network; /* keys, COUNTS_DIRTY_NETWORKS_MAX + COUNTS_RUN */
	uint64_t n_dirty_networks;
	struct counts_limits limits;
	uint64_t capacity; /* of application[] */
	uint64_t secret[COUNTS_SECRETS];
};

/* What is there already, from the database: room is made for it even when the limits are lower
 * now. */
struct counts_expected {
	uint64_t applications, networks;
};

/* Makes empty counts. seed: 0 draws the secret words from the kernel (always, but in tests).
 * Returns 0; -ENOMEM; -EINVAL when limits.applications is over COUNTS_APPLICATIONS_MAX. */
int counts_init(struct counts *counts, const struct counts_limits *limits,
                const struct counts_expected *expected, uint64_t seed);

void counts_fini(struct counts *counts);

/* Forgets all: applications, networks, what was to be committed. Memory goes, limits stay. */
void counts_forget(struct counts *counts);

/* Counts n events, n at most COUNTS_RUN. They are looked at more than once: no other process may
 * write to them. */
void counts_add(struct counts *counts, const struct event_ip *const *event, unsigned n);

/* True when the list of changed networks has no room for another run: commit first. */
static inline bool counts_full(const struct counts *counts)
{
	return counts->n_dirty_networks >= COUNTS_DIRTY_NETWORKS_MAX;
}

/* Rows that a commit would write. */
static inline uint64_t counts_dirty_rows(const struct counts *counts)
{
	return counts->n_dirty_applications + counts->n_dirty_networks + counts->beyond_dirty;
}

/* The application of this sha, or NULL. */
const struct counts_application *counts_find(const struct counts *counts,
                                             const uint8_t sha[COUNTS_SHA_BYTES]);

/* Hosts seen in the network of this address, a bit each; 0 for none. */
unsigned counts_hosts(const struct counts *counts, const struct counts_application *application, uint32_t ip);

/* ---- loading: what was stored, before anything is added ---- */

/* The next application, in the order of their indexes. Returns 0; -EEXIST for a sha that is there
 * already; -ENOSPC when there are more than was expected. */
int counts_restore_application(struct counts *counts, const uint8_t sha[COUNTS_SHA_BYTES], uint64_t count,
                               bool truncated);

/* A network of an application restored before. Returns 0; -EINVAL for an unknown application, for
 * hosts 0 or a network that is there already; -ENOSPC as above. */
int counts_restore_network(struct counts *counts, uint64_t key, unsigned hosts);

/* ---- committing ---- */

/* The first changed application whose index is at least `from`, or -1. Its row's number is index +
 * 1. */
int64_t counts_next_dirty(const struct counts *counts, uint64_t from);

/* Sorts the changed networks by key, so that they are written in the order of the table. */
void counts_sort_dirty(struct counts *counts);

/* Hosts of changed network i, counted from 0; *key is set. */
unsigned counts_dirty_hosts(const struct counts *counts, uint64_t i, uint64_t *key);

/* All that is changed has been stored. */
void counts_clean(struct counts *counts);

/* Bytes that counts with these limits can come to hold. */
uint64_t counts_bytes_max(const struct counts_limits *limits);

#endif
