#include "sink/tally/minutes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "sink/tally/space.h"

/* ---- memory ---- */

static uint32_t capacity_of(uint32_t endpoints)
{
	return endpoints * MINUTES_FULL > MINUTES_HELD ? endpoints * MINUTES_FULL : MINUTES_HELD;
}

static uint32_t chains_of(uint32_t capacity)
{
	uint32_t n = 1;
	while (n < capacity)
		n *= 2;
	return n;
}

/* All in one piece of address space: endpoints, minutes, chains. */
static size_t bytes_of(uint32_t capacity)
{
	return capacity * sizeof(struct minutes_endpoint) + MINUTES_HELD * sizeof(struct minute) +
	       chains_of(capacity) * sizeof(uint32_t);
}

uint64_t minutes_bytes_max(uint32_t endpoints)
{
	return bytes_of(capacity_of(endpoints));
}

int minutes_init(struct minutes *minutes, uint32_t endpoints, uint64_t seed)
{
	uint32_t capacity = capacity_of(endpoints), chains = chains_of(capacity);
	uint64_t key[2];
	if (!space_secrets(key, 2, seed))
		return -EIO;
	void *at = space_reserve(bytes_of(capacity));
	if (at == NULL)
		return -ENOMEM;
	*minutes = (struct minutes){
	        .endpoint = at,
	        .chain_mask = chains - 1,
	        .capacity = capacity,
	        .free = MINUTES_NONE,
	        .limit = endpoints,
	        .key = {key[0], key[1]},
	};
	minutes->minute = (struct minute *)(void *)(minutes->endpoint + capacity);
	minutes->chain = (uint32_t *)(void *)(minutes->minute + MINUTES_HELD);
	for (uint32_t i = 0; i < chains; i++)
		minutes->chain[i] = MINUTES_NONE;
	return 0;
}

void minutes_fini(struct minutes *minutes)
{
	space_release(minutes->endpoint, bytes_of(minutes->capacity));
	*minutes = (struct minutes){0};
}

static uint32_t free_endpoints(const struct minutes *minutes)
{
	return minutes->n_free + (minutes->capacity - minutes->n_taken);
}

static uint32_t take_endpoint(struct minutes *minutes)
{
	uint32_t i = minutes->free;
	if (i == MINUTES_NONE)
		return minutes->n_taken++;
	minutes->free = minutes->endpoint[i].next_of_minute;
	minutes->n_free--;
	return i;
}

static void give_endpoint(struct minutes *minutes, uint32_t i)
{
	struct minutes_endpoint *endpoint = &minutes->endpoint[i];
	uint32_t *at = &minutes->chain[endpoint->hash & minutes->chain_mask];
	while (*at != i)
		at = &minutes->endpoint[*at].next;
	*at = endpoint->next;
	endpoint->next_of_minute = minutes->free;
	minutes->free = i;
	minutes->n_free++;
}

/* ---- minutes ---- */

static bool clean(const struct minute *minute)
{
	return minute->used && minute->dirty == 0;
}

bool minutes_full(const struct minutes *minutes)
{
	bool minute = minutes->n_minutes < MINUTES_HELD;
	bool endpoint = free_endpoints(minutes) > 0;
	for (unsigned i = 0; i < MINUTES_HELD && !(minute && endpoint); i++)
		if (clean(&minutes->minute[i])) {
			minute = true;
			endpoint = endpoint || minutes->minute[i].held > 0;
		}
	return !(minute && endpoint);
}

static void drop_minute(struct minutes *minutes, struct minute *minute)
{
	for (uint32_t i = minute->first, next; i != MINUTES_NONE; i = next) {
		next = minutes->endpoint[i].next_of_minute;
		give_endpoint(minutes, i);
	}
	minute->used = false;
	minutes->n_minutes--;
}

/* The clean one that was longest not touched goes; of those with endpoints, when these are wanted.
 * Not called while full. */
static void make_room(struct minutes *minutes, bool endpoints)
{
	struct minute *oldest = NULL;
	for (unsigned i = 0; i < MINUTES_HELD; i++) {
		struct minute *minute = &minutes->minute[i];
		if (clean(minute) && (minute->held > 0 || !endpoints) &&
		    (oldest == NULL || minute->touched < oldest->touched))
			oldest = minute;
	}
	if (oldest == NULL)
		abort();
	drop_minute(minutes, oldest);
}

static void begin_minute(struct minute *minute, int64_t number)
{
	*minute = (struct minute){
	        .minute = number,
	        .first = MINUTES_NONE,
	        .used = true,
	        .other = {.next = MINUTES_NONE, .next_of_minute = MINUTES_NONE},
	};
}

static struct minute *find_minute(struct minutes *minutes, int64_t number)
{
	struct minute *unused = NULL;
	if (minutes->minute[minutes->last].used && minutes->minute[minutes->last].minute == number)
		return &minutes->minute[minutes->last];
	for (unsigned i = 0; i < MINUTES_HELD; i++) {
		struct minute *minute = &minutes->minute[i];
		if (minute->used && minute->minute == number) {
			minutes->last = i;
			return minute;
		}
		if (!minute->used)
			unused = minute;
	}
	if (unused == NULL) {
		make_room(minutes, false);
		return find_minute(minutes, number);
	}
	begin_minute(unused, number);
	minutes->n_minutes++;
	return unused;
}

/* ---- endpoints ---- */

static uint64_t hash_of(const struct minutes *minutes, int64_t minute, const char *text, size_t bytes)
{
	struct siphash hash;
	siphash_init(&hash, minutes->key, 1, 3);
	siphash_add(&hash, &minute, sizeof minute);
	siphash_add(&hash, text, bytes);
	return siphash_end(&hash);
}

static struct minutes_endpoint *find_endpoint(struct minutes *minutes, const struct minute *minute,
                                              uint64_t hash, const char *text, size_t bytes)
{
	for (uint32_t i = minutes->chain[hash & minutes->chain_mask]; i != MINUTES_NONE;
	     i = minutes->endpoint[i].next) {
		struct minutes_endpoint *endpoint = &minutes->endpoint[i];
		if (endpoint->hash == hash && &minutes->minute[endpoint->slot] == minute &&
		    endpoint->bytes == bytes && memcmp(endpoint->text, text, bytes) == 0)
			return endpoint;
	}
	return NULL;
}

static struct minutes_endpoint *add_endpoint(struct minutes *minutes, struct minute *minute, uint64_t hash,
                                             const char *text, size_t bytes)
{
	uint32_t i = take_endpoint(minutes);
	uint32_t *chain = &minutes->chain[hash & minutes->chain_mask];
	struct minutes_endpoint *endpoint = &minutes->endpoint[i];
	memset(endpoint->outcome, 0, sizeof endpoint->outcome);
	memcpy(endpoint->text, text, bytes);
	endpoint->bytes = (uint16_t)bytes;
	endpoint->slot = (uint8_t)(minute - minutes->minute);
	endpoint->whole = endpoint->entered = false;
	endpoint->hash = hash;
	endpoint->next = *chain;
	*chain = i;
	endpoint->next_of_minute = minute->first;
	minute->first = i;
	minute->held++;
	return endpoint;
}

/* ---- counting ---- */

static uint64_t add_within(uint64_t a, uint64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static void mark(struct minutes *minutes, struct minute *minute, struct minutes_cell *cell)
{
	if (cell->dirty)
		return;
	cell->dirty = true;
	minute->dirty++;
	minutes->dirty++;
}

static struct minutes_endpoint *endpoint_for(struct minutes *minutes, struct minute **minute, int64_t number,
                                             const char *text, size_t bytes)
{
	if (bytes == 0)
		return &(*minute)->other;
	uint64_t hash = hash_of(minutes, number, text, bytes);
	struct minutes_endpoint *endpoint = find_endpoint(minutes, *minute, hash, text, bytes);
	if (endpoint != NULL)
		return endpoint;
	if ((*minute)->held >= minutes->limit) {
		minutes->beyond++;
		return &(*minute)->other;
	}
	if (free_endpoints(minutes) == 0) {
		make_room(minutes, true);
		*minute = find_minute(minutes, number); /* it may have been the only one to go */
	}
	return add_endpoint(minutes, *minute, hash, text, bytes);
}

void minutes_add(struct minutes *minutes, int64_t number, const char *text, size_t bytes,
                 enum delivery_outcome outcome, uint32_t latency_us)
{
	if (bytes > MINUTES_ENDPOINT_MAX)
		bytes = MINUTES_ENDPOINT_MAX;
	struct minute *minute = find_minute(minutes, number);
	struct minutes_endpoint *endpoint = endpoint_for(minutes, &minute, number, text, bytes);
	struct minutes_cell *cell = &endpoint->outcome[outcome];
	cell->count++;
	cell->sum_us = add_within(cell->sum_us, latency_us);
	if (latency_us != 0)
		cell->bucket[latency_bucket(latency_us)]++;
	mark(minutes, minute, cell);
	minute->touched = ++minutes->clock;
}

/* ---- writing ---- */

bool minutes_put_stored(struct minutes_endpoint *stored, int64_t outcome, int64_t count, int64_t sum_us,
                        int64_t first, const void *latency, size_t bytes)
{
	if (outcome < 0 || outcome >= OUTCOME_COUNT || count <= 0 || sum_us < 0)
		return false;
	struct minutes_cell *cell = &stored->outcome[outcome];
	if (!latency_add(cell->bucket, first, latency, bytes))
		return false;
	cell->count = (uint64_t)count;
	cell->sum_us = (uint64_t)sum_us;
	stored->entered = true;
	return true;
}

static void merge_cell(struct minutes_cell *into, const struct minutes_cell *cell)
{
	into->count += cell->count;
	into->sum_us = add_within(into->sum_us, cell->sum_us);
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		into->bucket[i] += cell->bucket[i];
}

void minutes_make_whole(struct minutes_endpoint *endpoint, const struct minutes_endpoint *stored)
{
	for (unsigned outcome = 0; outcome < OUTCOME_COUNT; outcome++)
		merge_cell(&endpoint->outcome[outcome], &stored->outcome[outcome]);
	endpoint->entered = stored->entered;
	endpoint->whole = true;
}

/* The table has nothing of it, so all that it counts came since the last commit. */
static void fold(struct minutes *minutes, struct minute *minute, uint32_t i)
{
	struct minutes_endpoint *endpoint = &minutes->endpoint[i];
	for (unsigned outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
		struct minutes_cell *cell = &endpoint->outcome[outcome];
		if (!cell->dirty)
			continue;
		merge_cell(&minute->other.outcome[outcome], cell);
		mark(minutes, minute, &minute->other.outcome[outcome]);
		minutes->beyond += cell->count;
		minute->dirty--;
		minutes->dirty--;
	}
	give_endpoint(minutes, i);
	minute->held--;
}

void minutes_know(struct minute *minute, uint64_t endpoints)
{
	minute->entered = endpoints;
	minute->known = true;
}

void minutes_enter(struct minutes *minutes, struct minute *minute)
{
	uint32_t *at = &minute->first;
	while (*at != MINUTES_NONE) {
		uint32_t i = *at;
		struct minutes_endpoint *endpoint = &minutes->endpoint[i];
		if (!endpoint->entered && minute->entered >= minutes->limit) {
			*at = endpoint->next_of_minute;
			fold(minutes, minute, i);
			continue;
		}
		minute->entered += !endpoint->entered;
		endpoint->entered = true;
		at = &endpoint->next_of_minute;
	}
}

struct minutes_endpoint *minutes_next(struct minutes *minutes, struct minute *minute,
                                      struct minutes_endpoint *endpoint)
{
	if (endpoint == NULL)
		return &minute->other;
	uint32_t next = endpoint == &minute->other ? minute->first : endpoint->next_of_minute;
	return next == MINUTES_NONE ? NULL : &minutes->endpoint[next];
}

void minutes_clean(struct minutes *minutes)
{
	for (unsigned i = 0; i < MINUTES_HELD; i++) {
		struct minute *minute = &minutes->minute[i];
		if (!minute->used || minute->dirty == 0)
			continue;
		for (struct minutes_endpoint *endpoint = NULL;
		     (endpoint = minutes_next(minutes, minute, endpoint)) != NULL;)
			for (unsigned outcome = 0; outcome < OUTCOME_COUNT; outcome++)
				endpoint->outcome[outcome].dirty = false;
		minute->dirty = 0;
	}
	minutes->dirty = 0;
}

void minutes_forget(struct minutes *minutes, int64_t before)
{
	for (unsigned i = 0; i < MINUTES_HELD; i++)
		if (clean(&minutes->minute[i]) && minutes->minute[i].minute < before)
			drop_minute(minutes, &minutes->minute[i]);
}
