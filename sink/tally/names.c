#include "sink/tally/names.h"

#include <errno.h>

#include "sink/tally/space.h"

#define SLOT_BITS_MIN 10u
#define UNIT          8u

/* ---- memory ---- */

static size_t slots_bytes(unsigned bits)
{
	return ((size_t)1 << bits) * sizeof(struct names_slot);
}

static size_t text_bytes(uint64_t capacity)
{
	return capacity * (sizeof(struct names_text) + (NAMES_BYTES_MAX + UNIT - 1) / UNIT * UNIT);
}

static size_t where_bytes(uint64_t capacity)
{
	return (capacity + 1) * sizeof(uint32_t);
}

/* Bits of a table that n names fill to two thirds at most. */
static unsigned bits_for(uint64_t n)
{
	unsigned bits = SLOT_BITS_MIN;
	while (n * 3 > 2ull << bits)
		bits++;
	return bits;
}

int names_init(struct names *names, uint64_t limit, uint64_t expected, uint64_t seed)
{
	*names = (struct names){0};
	if (limit > NAMES_LIMIT_MAX || expected > NAMES_LIMIT_MAX)
		return -EINVAL;
	if (!space_secrets(names->secret, NAMES_SECRETS, seed))
		return -EIO;
	names->capacity = limit > expected ? limit : expected;
	names->slot_bits = bits_for(expected);
	names->slot = space_reserve(slots_bytes(names->slot_bits));
	names->text = space_reserve(text_bytes(names->capacity) + UNIT);
	names->where = space_reserve(where_bytes(names->capacity));
	if (names->slot != NULL && names->text != NULL && names->where != NULL)
		return 0;
	names_fini(names);
	return -ENOMEM;
}

void names_fini(struct names *names)
{
	space_release(names->slot, slots_bytes(names->slot_bits));
	space_release(names->text, text_bytes(names->capacity) + UNIT);
	space_release(names->where, where_bytes(names->capacity));
	*names = (struct names){0};
}

uint64_t names_bytes_max(uint64_t limit)
{
	unsigned bits = bits_for(limit);
	/* While the table doubles, the old one, half as large, is there too. */
	return text_bytes(limit) + where_bytes(limit) + slots_bytes(bits) + slots_bytes(bits - 1);
}

/* ---- finding ---- */

static uint64_t word_at(const char *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof word);
	return word;
}

void names_hash(const struct names *names, struct names_key *key)
{
	const uint64_t *secret = names->secret + 4;
	unsigned __int128 sum = (unsigned __int128)(key->bytes + 1ull) * (names->secret[0] | 1);
	for (unsigned at = 0; at < key->bytes; at += 16, secret += 2)
		sum += (unsigned __int128)(word_at(key->text + at) + secret[0]) *
		       (word_at(key->text + at + 8) + secret[1]);
	unsigned __int128 product = (unsigned __int128)((uint64_t)sum ^ names->secret[1]) *
	                            ((uint64_t)(sum >> 64) ^ names->secret[2]);
	uint64_t hash = (uint64_t)product ^ (uint64_t)(product >> 64);
	key->tag = (uint32_t)((hash ^ hash >> 32) * (names->secret[3] | 1) >> 32);
}

static bool same(const struct names_text *text, const struct names_key *key)
{
	if (text->bytes != key->bytes)
		return false;
	for (unsigned at = 0; at < key->bytes; at += UNIT)
		if (word_at(text->text + at) != word_at(key->text + at))
			return false;
	return true;
}

/* The slot of the name, or the empty one where it belongs. */
static struct names_slot *find_slot(const struct names *names, const struct names_key *key)
{
	size_t mask = ((size_t)1 << names->slot_bits) - 1;
	size_t i = key->tag >> (32 - names->slot_bits);
	for (;; i = (i + 1) & mask) {
		struct names_slot *slot = &names->slot[i];
		if (slot->where_plus == 0)
			return slot;
		const char *at = names->text + (uint64_t)(slot->where_plus - 1) * UNIT;
		if (slot->tag == key->tag && same((const struct names_text *)(const void *)at, key))
			return slot;
	}
}

static struct names_text *text_of(const struct names *names, const struct names_slot *slot)
{
	return (struct names_text *)(void *)(names->text + (uint64_t)(slot->where_plus - 1) * UNIT);
}

/* ---- adding ---- */

/* Doubles the table at once. */
static bool grow(struct names *names)
{
	unsigned bits = names->slot_bits + 1;
	struct names_slot *slot = bits > 31 ? NULL : space_reserve(slots_bytes(bits));
	if (slot == NULL)
		return false;
	size_t mask = ((size_t)1 << bits) - 1;
	for (size_t i = 0; i <= mask / 2; i++) {
		if (names->slot[i].where_plus == 0)
			continue;
		size_t to = names->slot[i].tag >> (32 - bits);
		while (slot[to].where_plus != 0)
			to = (to + 1) & mask;
		slot[to] = names->slot[i];
	}
	space_release(names->slot, slots_bytes(names->slot_bits));
	names->slot = slot;
	names->slot_bits = bits;
	return true;
}

/* Room for another name. Where there is no memory for a larger table this one goes on, fuller. */
static bool make_room(struct names *names)
{
	uint64_t slots = 1ull << names->slot_bits;
	if (names->n >= names->capacity)
		return false;
	return (names->n + 1) * 3 <= 2 * slots || grow(names) || (names->n + 1) * 8 <= 7 * slots;
}

struct names_text *names_take(struct names *names, const struct names_key *key)
{
	struct names_slot *slot = find_slot(names, key);
	if (slot->where_plus != 0)
		return text_of(names, slot);
	if (!make_room(names))
		return NULL;
	slot = find_slot(names, key);
	*slot = (struct names_slot){.tag = key->tag, .where_plus = (uint32_t)names->used + 1};
	struct names_text *text = text_of(names, slot);
	size_t units = (key->bytes + UNIT - 1) / UNIT;
	text->number = (uint32_t)names->n;
	text->bytes = key->bytes;
	memcpy(text->text, key->text, units * UNIT);
	names->where[names->n++] = (uint32_t)names->used;
	names->used += sizeof *text / UNIT + units;
	return text;
}
