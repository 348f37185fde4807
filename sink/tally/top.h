/* A list of the keys that occurred most: counts of at most `capacity` keys, of an unbounded set.
 *
 *     add(key) -- there is a counter for it ---> count + 1
 *              -- none, and a counter is free -> count 1, error 0
 *              -- none, and none is free ------> the smallest counter becomes the key's,
 *                                                error = what it was, count = that + 1
 *
 * Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements
 * in data streams", ICDT 2005). The true number n of a key that has a counter is within count -
 * error <= n <= count; a key without one occurred at most top_smallest times; every key that
 * occurred more than total / capacity times has one. The sum of all counts is the total. While
 * fewer keys than capacity occurred every count is exact and every error 0.
 *
 *     counters in groups of equal count (a doubly linked list, smallest first):
 *     an addition of 1 moves a counter to the group beside it
 *
 * A list that takes in another (top_merge), or is loaded with more capacity than it was stored
 * with, has counters free and yet keys that it has forgotten. What such a key can have occurred at
 * most is its floor: a key that gets a free counter starts with count and error that much higher.
 * The three bounds of a count hold as before, the sum of all counts may then differ from the total.
 *
 * Keys come from the network: the table of keys is hashed with a secret (base/siphash.h). A key is
 * bytes, at most TOP_KEY_MAX of them; a longer one is cut there, at the end of a character where it
 * is UTF-8, and so may fall together with others. The empty key is one.
 *
 * A counter has a number, below capacity, that stays; it is the row's in the database
 * (top_store.h). What changed since the last commit is known by number. One thread.
 */
#ifndef SINK_TALLY_TOP_H
#define SINK_TALLY_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_KEY_MAX      200u
#define TOP_CAPACITY_MAX (1u << 24)

struct top; /* opaque */

struct top_counter {
	const char *key; /* no final 0; stays until the next top_add, top_merge */
	uint32_t key_bytes;
	uint64_t count, error;
};

/* An empty list; 1 <= capacity <= TOP_CAPACITY_MAX. Memory is address space, taken as it is needed.
 * seed: 0 draws the secret from the kernel (always, but in tests). NULL when there is no memory. */
struct top *top_new(uint32_t capacity, uint64_t seed);

/* NULL does nothing. */
void top_free(struct top *top);

/* Bytes that a list of this capacity can come to hold. */
uint64_t top_bytes_max(uint32_t capacity);

/* The key occurred n more times; 0 does nothing. It lies in memory that nobody else writes.
 * Constant time for n = 1; for more, the groups in between are passed. */
void top_add(struct top *top, const char *key, size_t bytes, uint64_t n);

/* Adds all of another list, of any capacity: counts, errors and totals add up. A key that only one
 * of the two has may have occurred in the other when that is full, so the other's smallest count is
 * added to both its count and its error (Agarwal et al., "Mergeable summaries", PODS 2012); from
 * then on the counts add up to more than the total. Of more keys than capacity the largest stay.
 * Sorts: 10,000 counters take a few milliseconds. */
void top_merge(struct top *top, const struct top *other);

/* Counters in use; the total of all additions; what a key without a counter can have occurred at
 * most: the smallest count once all are in use, the floor before (0 in a list of its own). */
uint32_t top_used(const struct top *top);
uint64_t top_total(const struct top *top);
uint64_t top_smallest(const struct top *top);

/* Counter i of those in use. */
struct top_counter top_at(const struct top *top, uint32_t i);

/* The counter of a key; false: it has none. */
bool top_find(const struct top *top, const char *key, size_t bytes, struct top_counter *counter);

/* How far the farthest key lies from where its hash puts it, in places of the table. */
uint32_t top_farthest(const struct top *top);

/* ---- loading and committing ---- */

/* The next counter as it was stored, by number, before anything is added. Returns 0; -EINVAL for
 * one that cannot be (count 0, error >= count, a key that is there or too long); -ENOSPC. */
int top_restore(struct top *top, const char *key, size_t bytes, uint64_t count, uint64_t error);
/* After all counters, also after none: the total, and what top_smallest was when they were stored.
 * Only then may the list be used. Returns 0; -EINVAL when a count is below smallest. */
int top_restore_end(struct top *top, uint64_t total, uint64_t smallest);

/* The first changed counter whose number is at least from; -1: none. */
int64_t top_next_dirty(const struct top *top, uint32_t from);
/* How many have changed. */
uint32_t top_dirty(const struct top *top);
/* All that is changed has been stored. */
void top_clean(struct top *top);

#endif
