#include "sink/tally/hour.h"

#include <errno.h>
#include <string.h>

#include "sink/tally/space.h"

#define SLOT_BITS_MIN 10u
#define SLOT_BITS_MAX 31u

/* ---- memory ---- */

static size_t slots_bytes(unsigned bits)
{
	return ((size_t)1 << bits) * sizeof(struct hour_slot);
}

static size_t head_bytes(const struct hour_limits *limits)
{
	return ((size_t)limits->accounts + 1) * sizeof(uint32_t);
}

static size_t total_bytes(const struct hour_limits *limits)
{
	return ((size_t)limits->metrics + 1) * sizeof(uint32_t);
}

static size_t dirty_bytes(const struct hour_limits *limits)
{
	return ((size_t)limits->accounts / 64 + 1) * sizeof(uint64_t);
}

/* Each minute may leave its last chunk unfilled. */
static uint64_t chunks_for(const struct hour_limits *limits, uint64_t cells)
{
	uint64_t totals = ((uint64_t)limits->metrics + 1) * HOUR_SLOTS;
	return (cells + totals) / HOUR_CHUNK + 1 + HOUR_SLOTS;
}

static size_t cells_bytes(uint64_t chunks)
{
	return chunks * HOUR_CHUNK * sizeof(struct hour_cell);
}

static bool reserve_minute(struct hour *hour, struct hour_minute *minute)
{
	minute->slot_bits = SLOT_BITS_MIN;
	minute->slot = space_reserve(slots_bytes(SLOT_BITS_MIN));
	minute->head = space_reserve(head_bytes(&hour->limits));
	minute->total = space_reserve(total_bytes(&hour->limits));
	minute->dirty = space_reserve(dirty_bytes(&hour->limits));
	return minute->slot != NULL && minute->head != NULL && minute->total != NULL && minute->dirty != NULL;
}

int hour_init(struct hour *hour, const struct hour_limits *limits, uint64_t stored, uint64_t seed)
{
	uint64_t cells = limits->cells > stored ? limits->cells : stored;
	uint64_t chunks = chunks_for(limits, cells);
	*hour = (struct hour){.limits = *limits, .room = cells, .n_chunks = (uint32_t)chunks};
	if (cells > HOUR_CELLS_MAX || chunks * HOUR_CHUNK > UINT32_MAX)
		return -EINVAL;
	if (!space_secrets(hour->secret, HOUR_SECRETS, seed))
		return -EIO;
	for (unsigned i = 1; i < HOUR_SECRETS; i++)
		hour->secret[i] |= 1;
	hour->cell = space_reserve_large(cells_bytes(chunks));
	hour->chunk_next = space_reserve(chunks * sizeof(uint32_t));
	bool all = hour->cell != NULL && hour->chunk_next != NULL;
	for (unsigned i = 0; i < HOUR_SLOTS; i++)
		all = reserve_minute(hour, &hour->minute[i]) && all;
	if (all)
		return 0;
	hour_fini(hour);
	return -ENOMEM;
}

void hour_fini(struct hour *hour)
{
	for (unsigned i = 0; i < HOUR_SLOTS; i++) {
		struct hour_minute *minute = &hour->minute[i];
		space_release(minute->slot, slots_bytes(minute->slot_bits));
		space_release(minute->head, head_bytes(&hour->limits));
		space_release(minute->total, total_bytes(&hour->limits));
		space_release(minute->dirty, dirty_bytes(&hour->limits));
	}
	space_release(hour->cell, cells_bytes(hour->n_chunks));
	space_release(hour->chunk_next, hour->n_chunks * sizeof(uint32_t));
	*hour = (struct hour){0};
}

uint64_t hour_bytes_max(const struct hour_limits *limits)
{
	uint64_t chunks = chunks_for(limits, limits->cells);
	/* A table has at most three slots a cell; while one doubles its old one is there too. */
	uint64_t slots = limits->cells * 3 * sizeof(struct hour_slot) * 3 / 2 +
	                 HOUR_SLOTS * slots_bytes(SLOT_BITS_MIN);
	return cells_bytes(chunks) + chunks * sizeof(uint32_t) + slots +
	       HOUR_SLOTS * (head_bytes(limits) + total_bytes(limits) + dirty_bytes(limits));
}

/* ---- minutes ---- */

static void free_chunks(struct hour *hour, uint32_t first_plus)
{
	while (first_plus != 0) {
		uint32_t *next = &hour->chunk_next[first_plus - 1], after = *next;
		*next = hour->free_plus;
		hour->free_plus = first_plus;
		first_plus = after;
	}
}

/* An empty table of the smallest size; the large one, emptied, where there is no other. */
static void empty_slots(struct hour_minute *minute)
{
	struct hour_slot *small =
	        minute->slot_bits > SLOT_BITS_MIN ? space_reserve(slots_bytes(SLOT_BITS_MIN)) : NULL;
	if (small == NULL) {
		space_empty(minute->slot, slots_bytes(minute->slot_bits));
		return;
	}
	space_release(minute->slot, slots_bytes(minute->slot_bits));
	minute->slot = small;
	minute->slot_bits = SLOT_BITS_MIN;
}

static void forget(struct hour *hour, struct hour_minute *minute)
{
	if (minute->stored)
		hour->gone[hour->n_gone++] = minute->minute;
	free_chunks(hour, minute->chunk_plus);
	hour->cells -= minute->cells;
	hour->n_dirty -= minute->n_dirty;
	empty_slots(minute);
	space_empty(minute->head, head_bytes(&hour->limits));
	space_empty(minute->total, total_bytes(&hour->limits));
	space_empty(minute->dirty, dirty_bytes(&hour->limits));
	*minute = (struct hour_minute){
	        .slot = minute->slot,
	        .slot_bits = minute->slot_bits,
	        .head = minute->head,
	        .total = minute->total,
	        .dirty = minute->dirty,
	};
}

void hour_turn(struct hour *hour, uint32_t now)
{
	hour->now = now;
	for (unsigned i = 0; i < HOUR_SLOTS; i++) {
		struct hour_minute *minute = &hour->minute[i];
		if (minute->minute != 0 && minute->minute + HOUR_MINUTES <= now &&
		    hour->n_gone < HOUR_GONE_MAX)
			forget(hour, minute);
	}
}

/* Whatever lies at its place is of another hour. */
static struct hour_minute *begin(struct hour *hour, uint32_t number)
{
	struct hour_minute *minute = &hour->minute[number % HOUR_SLOTS];
	if (minute->minute != 0)
		forget(hour, minute);
	minute->minute = number;
	return minute;
}

struct hour_minute *hour_minute(struct hour *hour, uint32_t number)
{
	struct hour_minute *minute = &hour->minute[number % HOUR_SLOTS];
	if (hour->now == 0)
		hour->now = number;
	if (number == 0 || number + HOUR_MINUTES <= hour->now || number > hour->now + HOUR_AHEAD) {
		hour->outside++;
		return NULL;
	}
	return minute->minute == number ? minute : begin(hour, number);
}

/* ---- cells ---- */

/* A new cell of the minute + 1; there is room for every one that the limits allow. */
static uint32_t new_cell(struct hour *hour, struct hour_minute *minute, uint32_t account, uint32_t metric)
{
	if (minute->chunk_plus == 0 || minute->chunk_used == HOUR_CHUNK) {
		uint32_t chunk_plus = hour->free_plus;
		if (chunk_plus != 0)
			hour->free_plus = hour->chunk_next[chunk_plus - 1];
		else
			chunk_plus = ++hour->chunks_used;
		hour->chunk_next[chunk_plus - 1] = minute->chunk_plus;
		minute->chunk_plus = chunk_plus;
		minute->chunk_used = 0;
	}
	uint32_t cell_plus = (minute->chunk_plus - 1) * HOUR_CHUNK + minute->chunk_used++ + 1;
	hour->cell[cell_plus - 1] = (struct hour_cell){
	        .account = account,
	        .metric = metric,
	        .next_plus = minute->head[account],
	        .value = {.least = INT64_MAX, .greatest = INT64_MIN},
	};
	minute->head[account] = cell_plus;
	return cell_plus;
}

/* The slot of the pair, or the empty one where it belongs. */
static struct hour_slot *find_slot(const struct hour *hour, const struct hour_minute *minute,
                                   uint32_t account, uint32_t metric, uint32_t tag)
{
	size_t mask = ((size_t)1 << minute->slot_bits) - 1;
	for (size_t i = tag >> (32 - minute->slot_bits);; i = (i + 1) & mask) {
		struct hour_slot *slot = &minute->slot[i];
		if (slot->cell_plus == 0)
			return slot;
		const struct hour_cell *cell = &hour->cell[slot->cell_plus - 1];
		if (slot->tag == tag && cell->account == account && cell->metric == metric)
			return slot;
	}
}

/* Doubles the table at once. */
static bool grow(struct hour_minute *minute)
{
	unsigned bits = minute->slot_bits + 1;
	struct hour_slot *slot = bits > SLOT_BITS_MAX ? NULL : space_reserve_large(slots_bytes(bits));
	if (slot == NULL)
		return false;
	size_t mask = ((size_t)1 << bits) - 1;
	for (size_t i = 0; i <= mask / 2; i++) {
		if (minute->slot[i].cell_plus == 0)
			continue;
		size_t to = minute->slot[i].tag >> (32 - bits);
		while (slot[to].cell_plus != 0)
			to = (to + 1) & mask;
		slot[to] = minute->slot[i];
	}
	space_release(minute->slot, slots_bytes(minute->slot_bits));
	minute->slot = slot;
	minute->slot_bits = bits;
	return true;
}

/* Where there is no memory for a larger table this one goes on, fuller. */
static bool make_room(struct hour *hour, struct hour_minute *minute, uint64_t limit)
{
	uint64_t slots = 1ull << minute->slot_bits, wanted = minute->cells + 1;
	if (hour->cells >= limit)
		return false;
	return wanted * 3 <= 2 * slots || grow(minute) || wanted * 8 <= 7 * slots;
}

/* The cell of an account and a metric; NULL: it is a new one over the limit. */
static struct hour_cell *cell_of(struct hour *hour, struct hour_minute *minute, uint32_t account,
                                 uint32_t metric, uint32_t tag, uint64_t limit)
{
	struct hour_slot *slot = find_slot(hour, minute, account, metric, tag);
	if (slot->cell_plus != 0)
		return &hour->cell[slot->cell_plus - 1];
	if (!make_room(hour, minute, limit))
		return NULL;
	slot = find_slot(hour, minute, account, metric, tag);
	*slot = (struct hour_slot){.tag = tag, .cell_plus = new_cell(hour, minute, account, metric)};
	minute->cells++;
	hour->cells++;
	return &hour->cell[slot->cell_plus - 1];
}

static struct hour_cell *total_of(struct hour *hour, struct hour_minute *minute, uint32_t metric)
{
	if (minute->total[metric] == 0)
		minute->total[metric] = new_cell(hour, minute, HOUR_ALL, metric);
	return &hour->cell[minute->total[metric] - 1];
}

static void mark(struct hour *hour, struct hour_minute *minute, uint32_t account)
{
	uint64_t *word = &minute->dirty[account / 64], bit = 1ull << account % 64;
	bool more = (*word & bit) == 0;
	minute->n_dirty += more;
	hour->n_dirty += more;
	*word |= bit;
}

static void count(struct hour_value *value, int64_t number)
{
	value->count++;
	value->sum += number;
	if (number < value->least)
		value->least = number;
	if (number > value->greatest)
		value->greatest = number;
}

void hour_add(struct hour *hour, struct hour_minute *minute, uint32_t account, uint32_t metric, uint32_t tag,
              int64_t value)
{
	struct hour_cell *cell = account == HOUR_NOBODY
	                                 ? NULL
	                                 : cell_of(hour, minute, account, metric, tag, hour->limits.cells);
	count(&total_of(hour, minute, metric)->value, value);
	mark(hour, minute, HOUR_ALL);
	if (cell == NULL) {
		minute->beyond++;
		return;
	}
	count(&cell->value, value);
	mark(hour, minute, account);
}

const struct hour_value *hour_find(const struct hour *hour, uint32_t number, uint32_t account,
                                   uint32_t metric)
{
	const struct hour_minute *minute = &hour->minute[number % HOUR_SLOTS];
	if (minute->minute != number || account > hour->limits.accounts || metric > hour->limits.metrics)
		return NULL;
	uint32_t cell_plus = account == HOUR_ALL ? minute->total[metric]
	                                         : find_slot(hour, minute, account, metric,
	                                                     hour_tag(hour, account, metric))
	                                                   ->cell_plus;
	return cell_plus == 0 ? NULL : &hour->cell[cell_plus - 1].value;
}

/* ---- loading ---- */

static struct hour_minute *stored_minute(struct hour *hour, uint32_t number)
{
	struct hour_minute *minute = &hour->minute[number % HOUR_SLOTS];
	if (number == 0 || (minute->minute != 0 && minute->minute != number))
		return NULL;
	minute->minute = number;
	minute->stored = true;
	return minute;
}

int hour_restore(struct hour *hour, uint32_t number, uint32_t account, uint32_t metric,
                 const struct hour_value *value)
{
	struct hour_minute *minute = stored_minute(hour, number);
	if (minute == NULL || account > hour->limits.accounts || metric > hour->limits.metrics)
		return -EINVAL;
	if (hour_find(hour, number, account, metric) != NULL)
		return -EEXIST;
	struct hour_cell *cell = account == HOUR_ALL ? total_of(hour, minute, metric)
	                                             : cell_of(hour, minute, account, metric,
	                                                       hour_tag(hour, account, metric), hour->room);
	if (cell == NULL)
		return -ENOSPC;
	cell->value = *value;
	return 0;
}

int hour_restore_beyond(struct hour *hour, uint32_t number, uint64_t beyond)
{
	struct hour_minute *minute = stored_minute(hour, number);
	if (minute == NULL)
		return -EINVAL;
	minute->beyond = beyond;
	return 0;
}

/* ---- committing ---- */

int64_t hour_next_dirty(const struct hour *hour, const struct hour_minute *minute, uint32_t from)
{
	for (uint64_t word = from / 64; word * 64 <= hour->limits.accounts; word++) {
		uint64_t bits = minute->dirty[word];
		if (word == from / 64)
			bits &= UINT64_MAX << from % 64;
		if (bits != 0)
			return (int64_t)(word * 64 + (uint64_t)__builtin_ctzll(bits));
	}
	return -1;
}

uint64_t hour_beyond(const struct hour *hour)
{
	uint64_t beyond = 0;
	for (unsigned i = 0; i < HOUR_SLOTS; i++)
		beyond += hour->minute[i].beyond;
	return beyond;
}

void hour_clean(struct hour *hour)
{
	for (unsigned i = 0; i < HOUR_SLOTS; i++)
		if (hour->minute[i].n_dirty != 0) {
			memset(hour->minute[i].dirty, 0, dirty_bytes(&hour->limits));
			hour->minute[i].n_dirty = 0;
		}
	hour->n_dirty = 0;
	hour->n_gone = 0;
}
