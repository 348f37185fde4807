#include "sink/tally/top.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "base/text.h"
#include "sink/tally/space.h"

#define NONE          UINT32_MAX
#define SLOT_BITS_MIN 4u
#define SEQUENCE_MAX  4u /* bytes of a character in UTF-8 */

/* Group 0 is both ends of the ring of groups; its count is 0, which no other has. */
#define ENDS 0u

/* Neighbours in a ring are touched at each addition: all counters lie close together, and keys
 * apart from them. */
struct counter {
	uint64_t count, error;
	uint32_t group;
	uint32_t before, after; /* the ring of the group's counters */
	uint32_t tag;           /* of the key's hash */
};
_Static_assert(sizeof(struct counter) == 32, "two in a line");

struct key {
	alignas(16) uint8_t bytes; /* a short one lies in one line */
	char text[TOP_KEY_MAX];
};
_Static_assert(TOP_KEY_MAX <= UINT8_MAX, "bytes holds it");

struct group {
	uint64_t count;
	uint32_t oldest;        /* the counter that has been in it longest */
	uint32_t before, after; /* groups of the next smaller and larger count; after alone when free */
};

/* Open addressing, at most half full; the tag's upper bits are the home. */
struct slot {
	uint32_t tag;
	uint32_t counter_plus; /* 0: empty */
};

struct top {
	uint32_t capacity, used;
	uint32_t groups;     /* the first that was never used */
	uint32_t free_group; /* one that was, ENDS: none */
	unsigned slot_bits;
	uint32_t n_dirty;
	uint64_t total, floor;
	uint64_t secret[2];
	struct counter *counter;
	struct key *key; /* of the counter of the same number */
	struct group *group;
	struct slot *slot;
	uint64_t *dirty;    /* bitmap */
	uint32_t *in_order; /* counters, while groups are made anew */
};

/* ---- memory ---- */

static unsigned bits_for(uint32_t capacity)
{
	unsigned bits = SLOT_BITS_MIN;
	while ((uint64_t)1 << bits < 2 * (uint64_t)capacity)
		bits++;
	return bits;
}

static size_t counters_bytes(uint32_t capacity)
{
	return capacity * sizeof(struct counter);
}

static size_t keys_bytes(uint32_t capacity)
{
	return capacity * sizeof(struct key);
}

/* One for each counter, the ends, and one that is made before another is given up. */
static size_t groups_bytes(uint32_t capacity)
{
	return ((size_t)capacity + 2) * sizeof(struct group);
}

static size_t slots_bytes(uint32_t capacity)
{
	return ((size_t)1 << bits_for(capacity)) * sizeof(struct slot);
}

static size_t bitmap_bytes(uint32_t capacity)
{
	return (capacity / 64u + 1) * sizeof(uint64_t);
}

static size_t order_bytes(uint32_t capacity)
{
	return capacity * sizeof(uint32_t);
}

static void forget_groups(struct top *top)
{
	top->group[ENDS] = (struct group){.oldest = NONE, .before = ENDS, .after = ENDS};
	top->groups = 1;
	top->free_group = ENDS;
}

struct top *top_new(uint32_t capacity, uint64_t seed)
{
	struct top *top = calloc(1, sizeof *top);
	if (top == NULL)
		return NULL;
	top->capacity = capacity;
	top->slot_bits = bits_for(capacity);
	top->counter = space_reserve(counters_bytes(capacity));
	top->key = space_reserve(keys_bytes(capacity));
	top->group = space_reserve(groups_bytes(capacity));
	top->slot = space_reserve(slots_bytes(capacity));
	top->dirty = space_reserve(bitmap_bytes(capacity));
	top->in_order = space_reserve(order_bytes(capacity));
	if (!space_secrets(top->secret, 2, seed))
		goto out;
	if (top->counter == NULL || top->key == NULL || top->group == NULL || top->slot == NULL ||
	    top->dirty == NULL || top->in_order == NULL)
		goto out;
	forget_groups(top);
	return top;
out:
	top_free(top);
	return NULL;
}

void top_free(struct top *top)
{
	if (top == NULL)
		return;
	space_release(top->counter, counters_bytes(top->capacity));
	space_release(top->key, keys_bytes(top->capacity));
	space_release(top->group, groups_bytes(top->capacity));
	space_release(top->slot, slots_bytes(top->capacity));
	space_release(top->dirty, bitmap_bytes(top->capacity));
	space_release(top->in_order, order_bytes(top->capacity));
	free(top);
}

uint64_t top_bytes_max(uint32_t capacity)
{
	return sizeof(struct top) + counters_bytes(capacity) + keys_bytes(capacity) + groups_bytes(capacity) +
	       slots_bytes(capacity) + bitmap_bytes(capacity) + order_bytes(capacity);
}

/* ---- the table of keys ---- */

/* A key that is too long ends with the last character that fits whole. What is no UTF-8 at the cut
 * is cut there. */
static size_t cut(const char *key, size_t bytes)
{
	if (bytes <= TOP_KEY_MAX)
		return bytes;
	for (size_t back = 1; back < SEQUENCE_MAX; back++) {
		const unsigned char *at = (const unsigned char *)key + TOP_KEY_MAX - back;
		if (text_sequence(at, bytes - (TOP_KEY_MAX - back)) > back)
			return TOP_KEY_MAX - back;
	}
	return TOP_KEY_MAX;
}

static uint32_t tag_of(const struct top *top, const char *key, size_t bytes)
{
	struct siphash hash;
	siphash_init(&hash, top->secret, 1, 3);
	siphash_add(&hash, key, bytes);
	return (uint32_t)(siphash_end(&hash) >> 32);
}

static uint32_t mask(const struct top *top)
{
	return ((uint32_t)1 << top->slot_bits) - 1;
}

static uint32_t home_of(const struct top *top, uint32_t tag)
{
	return tag >> (32 - top->slot_bits);
}

static bool is_key(const struct key *stored, const char *key, size_t bytes)
{
	return stored->bytes == bytes && memcmp(stored->text, key, bytes) == 0;
}

/* The key's counter, or NONE with *place set to its slot, which is empty. */
static uint32_t find(const struct top *top, const char *key, size_t bytes, uint32_t tag, uint32_t *place)
{
	uint32_t at = home_of(top, tag);
	for (; top->slot[at].counter_plus != 0; at = (at + 1) & mask(top)) {
		uint32_t i = top->slot[at].counter_plus - 1;
		if (top->slot[at].tag == tag && is_key(&top->key[i], key, bytes))
			return i;
	}
	*place = at;
	return NONE;
}

/* Takes the counter's key out of the table. What lies after it in the same run moves up, so that no
 * search ends before it (Knuth, TAOCP 3, 6.4, algorithm R). */
static void remove_key(struct top *top, uint32_t i)
{
	uint32_t hole = home_of(top, top->counter[i].tag);
	while (top->slot[hole].counter_plus != i + 1)
		hole = (hole + 1) & mask(top);
	for (uint32_t at = (hole + 1) & mask(top); top->slot[at].counter_plus != 0;
	     at = (at + 1) & mask(top)) {
		uint32_t from_home = (at - home_of(top, top->slot[at].tag)) & mask(top);
		if (from_home < ((at - hole) & mask(top)))
			continue;
		top->slot[hole] = top->slot[at];
		hole = at;
	}
	top->slot[hole] = (struct slot){0};
}

static void put_key(struct top *top, uint32_t i, const char *key, size_t bytes, uint32_t tag, uint32_t place)
{
	top->slot[place] = (struct slot){.tag = tag, .counter_plus = i + 1};
	top->counter[i].tag = tag;
	top->key[i].bytes = (uint8_t)bytes;
	memcpy(top->key[i].text, key, bytes);
}

/* The counter has another key from now on. */
static void replace_key(struct top *top, uint32_t i, const char *key, size_t bytes, uint32_t tag)
{
	uint32_t place;
	remove_key(top, i);
	(void)find(top, key, bytes, tag, &place); /* what moved up may have filled the one found before */
	put_key(top, i, key, bytes, tag, place);
}

/* ---- groups ---- */

static uint32_t make_group(struct top *top, uint32_t before, uint64_t count)
{
	uint32_t made = top->free_group;
	if (made != ENDS)
		top->free_group = top->group[made].after;
	else
		made = top->groups++;
	uint32_t after = top->group[before].after;
	top->group[made] = (struct group){.count = count, .oldest = NONE, .before = before, .after = after};
	top->group[before].after = made;
	top->group[after].before = made;
	return made;
}

/* The group of this count; its place is sought from one of smaller count, or the ends. */
static uint32_t group_of(struct top *top, uint32_t from, uint64_t count)
{
	for (;;) {
		uint32_t next = top->group[from].after;
		if (next == ENDS || top->group[next].count > count)
			return make_group(top, from, count);
		if (top->group[next].count == count)
			return next;
		from = next;
	}
}

static void join(struct top *top, uint32_t i, uint32_t group)
{
	struct counter *counter = &top->counter[i];
	uint32_t oldest = top->group[group].oldest;
	counter->group = group;
	if (oldest == NONE) {
		counter->before = counter->after = i;
		top->group[group].oldest = i;
		return;
	}
	counter->after = oldest;
	counter->before = top->counter[oldest].before;
	top->counter[counter->before].after = i;
	top->counter[oldest].before = i;
}

static void leave(struct top *top, uint32_t i)
{
	struct counter *counter = &top->counter[i];
	struct group *group = &top->group[counter->group];
	if (counter->after != i) {
		top->counter[counter->before].after = counter->after;
		top->counter[counter->after].before = counter->before;
		if (group->oldest == i)
			group->oldest = counter->after;
		return;
	}
	top->group[group->before].after = group->after;
	top->group[group->after].before = group->before;
	group->after = top->free_group;
	top->free_group = counter->group;
}

static void lift(struct top *top, uint32_t i, uint64_t n)
{
	struct counter *counter = &top->counter[i];
	struct group *group = &top->group[counter->group];
	counter->count += n;
	bool alone = counter->after == i;
	if (alone && (group->after == ENDS || top->group[group->after].count > counter->count)) {
		group->count = counter->count;
		return;
	}
	uint32_t to = group_of(top, counter->group, counter->count);
	leave(top, i);
	join(top, i, to);
}

static int compare_counts(const void *a, const void *b, void *argument)
{
	const struct counter *counter = argument;
	uint64_t x = counter[*(const uint32_t *)a].count, y = counter[*(const uint32_t *)b].count;
	return x < y ? -1 : x > y;
}

/* Counters 0 .. n-1 in in_order, by their counts. */
static void sort(struct top *top, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		top->in_order[i] = i;
	qsort_r(top->in_order, n, sizeof *top->in_order, compare_counts, top->counter);
}

/* All groups anew, from what the counters say. */
static void make_groups(struct top *top)
{
	forget_groups(top);
	sort(top, top->used);
	for (uint32_t n = 0; n < top->used; n++) {
		uint32_t i = top->in_order[n], largest = top->group[ENDS].before;
		uint64_t count = top->counter[i].count;
		if (largest == ENDS || top->group[largest].count != count)
			largest = make_group(top, largest, count);
		join(top, i, largest);
	}
}

/* ---- adding ---- */

static void mark(struct top *top, uint32_t i)
{
	uint64_t bit = (uint64_t)1 << i % 64;
	top->n_dirty += (top->dirty[i / 64] & bit) == 0;
	top->dirty[i / 64] |= bit;
}

void top_add(struct top *top, const char *key, size_t bytes, uint64_t n)
{
	if (n == 0)
		return;
	bytes = cut(key, bytes);
	uint32_t place, tag = tag_of(top, key, bytes);
	uint32_t i = find(top, key, bytes, tag, &place);
	top->total += n;
	if (i != NONE) {
		lift(top, i, n);
	} else if (top->used < top->capacity) {
		i = top->used++;
		put_key(top, i, key, bytes, tag, place);
		top->counter[i].count = top->floor + n;
		top->counter[i].error = top->floor;
		join(top, i, group_of(top, ENDS, top->floor + n));
	} else {
		i = top->group[top->group[ENDS].after].oldest;
		replace_key(top, i, key, bytes, tag);
		top->counter[i].error = top->counter[i].count;
		lift(top, i, n);
	}
	mark(top, i);
}

/* ---- merging ---- */

/* What the counters of top gain by other: the same key's counts, or other's smallest. */
static void gain(struct top *top, const struct top *other)
{
	uint64_t smallest = top_smallest(other);
	for (uint32_t i = 0; i < top->used; i++) {
		struct counter *counter = &top->counter[i];
		struct top_counter theirs = {.count = smallest, .error = smallest};
		(void)top_find(other, top->key[i].text, top->key[i].bytes, &theirs);
		counter->count += theirs.count;
		counter->error += theirs.error;
		mark(top, i);
	}
}

/* A key that only other has. *next: the smallest of the n counters in in_order that was not given
 * to another key. False: it is larger than this one, and so are all others. */
static bool take(struct top *top, const struct top_counter *theirs, uint64_t smallest, uint32_t *next,
                 uint32_t n)
{
	uint32_t place, i, tag = tag_of(top, theirs->key, theirs->key_bytes);
	uint64_t count = theirs->count + smallest;
	if (find(top, theirs->key, theirs->key_bytes, tag, &place) != NONE)
		return true;
	if (top->used < top->capacity) {
		i = top->used++;
		put_key(top, i, theirs->key, theirs->key_bytes, tag, place);
	} else if (*next < n && top->counter[top->in_order[*next]].count < count) {
		i = top->in_order[(*next)++];
		replace_key(top, i, theirs->key, theirs->key_bytes, tag);
	} else {
		return false;
	}
	top->counter[i].count = count;
	top->counter[i].error = theirs->error + smallest;
	mark(top, i);
	return true;
}

void top_merge(struct top *top, const struct top *other)
{
	uint64_t smallest = top_smallest(top), others = top_smallest(other);
	uint32_t n = top->used, next = 0;
	bool more = true;
	gain(top, other);
	sort(top, n);
	/* Theirs from the largest down: what was taken is never smaller than what comes. */
	for (uint32_t g = other->group[ENDS].before; more && g != ENDS; g = other->group[g].before) {
		uint32_t first = other->group[g].oldest, i = first;
		do {
			struct top_counter theirs = top_at(other, i);
			more = take(top, &theirs, smallest, &next, n);
			i = other->counter[i].after;
		} while (more && i != first);
	}
	top->total += other->total;
	top->floor = smallest + others;
	make_groups(top);
}

/* ---- looking ---- */

uint32_t top_used(const struct top *top)
{
	return top->used;
}

uint64_t top_total(const struct top *top)
{
	return top->total;
}

uint64_t top_smallest(const struct top *top)
{
	return top->used < top->capacity ? top->floor : top->group[top->group[ENDS].after].count;
}

struct top_counter top_at(const struct top *top, uint32_t i)
{
	const struct counter *counter = &top->counter[i];
	return (struct top_counter){
	        .key = top->key[i].text,
	        .key_bytes = top->key[i].bytes,
	        .count = counter->count,
	        .error = counter->error,
	};
}

bool top_find(const struct top *top, const char *key, size_t bytes, struct top_counter *counter)
{
	uint32_t place;
	bytes = cut(key, bytes);
	uint32_t i = find(top, key, bytes, tag_of(top, key, bytes), &place);
	if (i == NONE)
		return false;
	*counter = top_at(top, i);
	return true;
}

uint32_t top_farthest(const struct top *top)
{
	uint32_t farthest = 0;
	for (uint32_t at = 0; at <= mask(top); at++) {
		uint32_t far = (at - home_of(top, top->slot[at].tag)) & mask(top);
		if (top->slot[at].counter_plus != 0 && far > farthest)
			farthest = far;
	}
	return farthest;
}

/* ---- loading and committing ---- */

int top_restore(struct top *top, const char *key, size_t bytes, uint64_t count, uint64_t error)
{
	if (bytes > TOP_KEY_MAX || error >= count)
		return -EINVAL;
	if (top->used == top->capacity)
		return -ENOSPC;
	uint32_t place, tag = tag_of(top, key, bytes);
	if (find(top, key, bytes, tag, &place) != NONE)
		return -EINVAL;
	put_key(top, top->used, key, bytes, tag, place);
	top->counter[top->used].count = count;
	top->counter[top->used].error = error;
	top->used++;
	return 0;
}

int top_restore_end(struct top *top, uint64_t total, uint64_t smallest)
{
	for (uint32_t i = 0; i < top->used; i++)
		if (top->counter[i].count < smallest)
			return -EINVAL;
	top->total = total;
	top->floor = smallest;
	make_groups(top);
	return 0;
}

int64_t top_next_dirty(const struct top *top, uint32_t from)
{
	for (uint32_t word = from / 64; word * (uint64_t)64 < top->used; word++) {
		uint64_t bits = top->dirty[word];
		if (word == from / 64)
			bits &= UINT64_MAX << from % 64;
		if (bits != 0)
			return (int64_t)word * 64 + __builtin_ctzll(bits);
	}
	return -1;
}

uint32_t top_dirty(const struct top *top)
{
	return top->n_dirty;
}

void top_clean(struct top *top)
{
	memset(top->dirty, 0, bitmap_bytes(top->used));
	top->n_dirty = 0;
}
