#include "enrich/agent/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "enrich/agent/keyed_hash.h"
#include "enrich/agent/sketch.h"

#define LINE              64u
#define NONE              UINT32_MAX
#define WINDOW_PERCENT    1u
#define PROTECTED_PERCENT 80u /* of the main part */

enum list { WINDOW, PROBATION, PROTECTED, FREE, LISTS };

/* Newest first, linked by slot number; rings through `head` would save a test and cost a slot. */
struct ends {
	uint32_t newest, oldest, n;
};

struct slot {
	uint64_t hash;
	uint32_t newer, older;
	uint16_t text_bytes;
	uint8_t list;
};

/* The table: open addressing, linear probing. */
struct place {
	uint32_t tag;  /* the hash's lower half */
	uint32_t slot; /* + 1; 0: empty */
};

struct agent_cache {
	uint32_t entries, window, protected;
	uint32_t mask; /* of places */
	struct slot *slot;
	struct place *place;
	char *data;   /* by slot: the answer, then the text */
	size_t bytes; /* of the mapping, which begins at the sketch's blocks */
	uint64_t (*block)[SKETCH_WORDS];
	struct ends ends[LISTS];
	struct agent_cache_counts counts;
	struct sketch sketch;
	struct keyed_hash key;
};

/* ---- memory: one mapping ---- */

struct layout {
	size_t blocks, slots, places, data, all; /* where each part begins */
	uint32_t n_places;
};

static size_t line_up(size_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

static struct layout layout_of(uint32_t entries)
{
	struct layout layout = {.n_places = 1};
	while (layout.n_places < 2 * entries)
		layout.n_places *= 2;
	layout.slots = (size_t)sketch_blocks(entries) * SKETCH_WORDS * sizeof(uint64_t);
	layout.places = layout.slots + line_up(entries * sizeof(struct slot));
	layout.data = layout.places + line_up(layout.n_places * sizeof(struct place));
	layout.all = layout.data + (size_t)entries * AGENT_CACHE_SLOT;
	return layout;
}

size_t agent_cache_bytes(uint32_t entries)
{
	return layout_of(entries).all + sizeof(struct agent_cache);
}

static bool map(struct agent_cache *cache)
{
	struct layout layout = layout_of(cache->entries);
	char *memory = mmap(NULL, layout.all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	cache->bytes = layout.all;
	cache->mask = layout.n_places - 1;
	cache->block = (uint64_t(*)[SKETCH_WORDS])(void *)(memory + layout.blocks);
	cache->slot = (struct slot *)(void *)(memory + layout.slots);
	cache->place = (struct place *)(void *)(memory + layout.places);
	cache->data = memory + layout.data;
	return true;
}

struct agent_cache *agent_cache_create(uint32_t entries, uint64_t seed)
{
	if (entries < AGENT_CACHE_ENTRIES_MIN || entries > AGENT_CACHE_ENTRIES_MAX) {
		errno = EINVAL;
		return NULL;
	}
	struct agent_cache *cache = calloc(1, sizeof *cache);
	if (!cache)
		return NULL;
	cache->entries = entries;
	cache->window = entries * WINDOW_PERCENT / 100 + 1;
	cache->protected = (entries - cache->window) * PROTECTED_PERCENT / 100;
	if (seed != 0)
		keyed_hash_init_seed(&cache->key, seed);
	int error = seed != 0 ? 0 : keyed_hash_init(&cache->key);
	if (error == 0 && !map(cache))
		error = -errno;
	if (error != 0) {
		free(cache);
		errno = -error;
		return NULL;
	}
	agent_cache_clear(cache);
	return cache;
}

void agent_cache_destroy(struct agent_cache *cache)
{
	if (!cache)
		return;
	munmap(cache->block, cache->bytes);
	free(cache);
}

/* ---- lists ---- */

static void unlink_slot(struct agent_cache *cache, uint32_t i)
{
	struct slot *slot = &cache->slot[i];
	struct ends *ends = &cache->ends[slot->list];
	if (slot->newer != NONE)
		cache->slot[slot->newer].older = slot->older;
	else
		ends->newest = slot->older;
	if (slot->older != NONE)
		cache->slot[slot->older].newer = slot->newer;
	else
		ends->oldest = slot->newer;
	ends->n--;
}

static void link_newest(struct agent_cache *cache, uint32_t i, enum list list)
{
	struct slot *slot = &cache->slot[i];
	struct ends *ends = &cache->ends[list];
	slot->list = (uint8_t)list;
	slot->newer = NONE;
	slot->older = ends->newest;
	if (ends->newest != NONE)
		cache->slot[ends->newest].newer = i;
	else
		ends->oldest = i;
	ends->newest = i;
	ends->n++;
}

static void move(struct agent_cache *cache, uint32_t i, enum list list)
{
	if (cache->ends[list].newest == i)
		return;
	unlink_slot(cache, i);
	link_newest(cache, i, list);
}

void agent_cache_clear(struct agent_cache *cache)
{
	memset(cache->block, 0, (size_t)sketch_blocks(cache->entries) * sizeof *cache->block);
	memset(cache->place, 0, ((size_t)cache->mask + 1) * sizeof *cache->place);
	sketch_init(&cache->sketch, cache->block, cache->entries);
	for (unsigned list = 0; list < LISTS; list++)
		cache->ends[list] = (struct ends){.newest = NONE, .oldest = NONE};
	for (uint32_t i = cache->entries; i-- > 0;)
		link_newest(cache, i, FREE);
	cache->counts.entries = 0;
}

/* ---- the table ---- */

static struct agent *answer_of(const struct agent_cache *cache, uint32_t i)
{
	return (struct agent *)(void *)(cache->data + (size_t)i * AGENT_CACHE_SLOT);
}

static char *text_of(const struct agent_cache *cache, uint32_t i)
{
	return (char *)answer_of(cache, i) + answer_of(cache, i)->used;
}

static bool holds(const struct agent_cache *cache, uint32_t i, const char *text, size_t bytes)
{
	return cache->slot[i].text_bytes == bytes && memcmp(text_of(cache, i), text, bytes) == 0;
}

/* The place of the agent, or the empty one where it would be. */
static struct place *find(const struct agent_cache *cache, uint64_t hash, const char *text, size_t bytes)
{
	for (uint32_t at = (uint32_t)hash & cache->mask;; at = (at + 1) & cache->mask) {
		struct place *place = &cache->place[at];
		if (place->slot == 0 ||
		    (place->tag == (uint32_t)hash && holds(cache, place->slot - 1, text, bytes)))
			return place;
	}
}

/* Empties the place of a slot; those after it move up when they may (D. Knuth, TAOCP 3, 6.4,
 * algorithm R). */
static void take_out(struct agent_cache *cache, uint32_t slot)
{
	uint32_t hole = (uint32_t)cache->slot[slot].hash & cache->mask;
	while (cache->place[hole].slot != slot + 1)
		hole = (hole + 1) & cache->mask;
	for (uint32_t at = (hole + 1) & cache->mask; cache->place[at].slot != 0;
	     at = (at + 1) & cache->mask) {
		uint32_t home = cache->place[at].tag & cache->mask;
		if (((at - home) & cache->mask) >= ((at - hole) & cache->mask)) {
			cache->place[hole] = cache->place[at];
			hole = at;
		}
	}
	cache->place[hole].slot = 0;
}

/* ---- get and put ---- */

static void touch(struct agent_cache *cache, uint32_t i)
{
	if (cache->slot[i].list == WINDOW) {
		move(cache, i, WINDOW);
		return;
	}
	move(cache, i, PROTECTED);
	if (cache->ends[PROTECTED].n > cache->protected)
		move(cache, cache->ends[PROTECTED].oldest, PROBATION);
}

const struct agent *agent_cache_get(struct agent_cache *cache, const char *text, size_t bytes)
{
	if (bytes > KEYED_HASH_MAX) {
		cache->counts.misses++;
		return NULL;
	}
	uint64_t hash = keyed_hash(&cache->key, text, bytes);
	sketch_add(&cache->sketch, hash);
	const struct place *place = find(cache, hash, text, bytes);
	if (place->slot == 0) {
		cache->counts.misses++;
		return NULL;
	}
	cache->counts.hits++;
	touch(cache, place->slot - 1);
	return answer_of(cache, place->slot - 1);
}

static void drop(struct agent_cache *cache, uint32_t i)
{
	take_out(cache, i);
	move(cache, i, FREE);
	cache->counts.entries--;
}

/* All slots are taken: either the window's oldest goes, or the main part's, whose place it
 * takes. */
static void make_room(struct agent_cache *cache)
{
	uint32_t candidate = cache->ends[WINDOW].oldest;
	uint32_t victim =
	        cache->ends[PROBATION].n > 0 ? cache->ends[PROBATION].oldest : cache->ends[PROTECTED].oldest;
	unsigned candidate_seen = sketch_estimate(&cache->sketch, cache->slot[candidate].hash);
	unsigned victim_seen = sketch_estimate(&cache->sketch, cache->slot[victim].hash);
	if (candidate_seen > victim_seen) {
		drop(cache, victim);
		move(cache, candidate, PROBATION);
		cache->counts.admitted++;
	} else {
		drop(cache, candidate);
		cache->counts.refused++;
	}
}

const struct agent *agent_cache_put(struct agent_cache *cache, const char *text, size_t bytes,
                                    const struct agent *agent)
{
	if (bytes > AGENT_CACHE_SLOT || agent->used + bytes > AGENT_CACHE_SLOT) {
		cache->counts.too_long++;
		return agent;
	}
	uint64_t hash = keyed_hash(&cache->key, text, bytes);
	const struct place *older = find(cache, hash, text, bytes);
	if (older->slot != 0)
		drop(cache, older->slot - 1);
	if (cache->ends[FREE].n == 0)
		make_room(cache);
	else if (cache->ends[WINDOW].n >= cache->window)
		move(cache, cache->ends[WINDOW].oldest, PROBATION);
	uint32_t i = cache->ends[FREE].newest;
	cache->slot[i].hash = hash;
	cache->slot[i].text_bytes = (uint16_t)bytes;
	memcpy(answer_of(cache, i), agent, agent->used);
	memcpy(text_of(cache, i), text, bytes);
	*find(cache, hash, text, bytes) = (struct place){.tag = (uint32_t)hash, .slot = i + 1};
	move(cache, i, WINDOW);
	cache->counts.entries++;
	return answer_of(cache, i);
}

const struct agent_cache_counts *agent_cache_counts(const struct agent_cache *cache)
{
	return &cache->counts;
}
