/* Objects that take lines: found by the caller's hash, by their key, by their last line.
 *
 *     by_hash   what the caller calls a key in this life; one hash an object, the last that found it
 *     by_key    a hash of our own, because objects of an earlier life have none of the caller's
 *     older <--> newer   a list through live[]
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "sink/objects/journal_inside.h"

/* ---- tables ---- */

static uint64_t slots_for(uint64_t n_objects)
{
	uint64_t slots = 16;
	while (slots < 2 * n_objects)
		slots *= 2;
	return slots;
}

uint64_t journal_table_bytes(uint64_t n_objects)
{
	return slots_for(n_objects) * sizeof(struct journal_found);
}

static bool table_open(struct journal_table *table, uint64_t n_objects)
{
	uint64_t slots = slots_for(n_objects);
	table->entry = malloc(slots * sizeof *table->entry);
	table->mask = slots - 1;
	for (uint64_t i = 0; table->entry != NULL && i < slots; i++)
		table->entry[i] = (struct journal_found){.object = JOURNAL_NONE};
	return table->entry != NULL;
}

/* The caller's hash may be a poor one: its lower bits all the same. */
static uint64_t home_of(const struct journal_table *table, uint64_t hash)
{
	return (hash * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & table->mask;
}

static void table_add(struct journal_table *table, uint64_t hash, journal_object object)
{
	uint64_t i = home_of(table, hash);
	while (table->entry[i].object != JOURNAL_NONE)
		i = (i + 1) & table->mask;
	table->entry[i] = (struct journal_found){.hash = hash, .object = object};
}

/* Moves those up that would no longer be reached (Knuth, The Art of Computer Programming, volume 3,
 * section 6.4, algorithm R). */
static void table_remove(struct journal_table *table, uint64_t hash, journal_object object)
{
	uint64_t hole = home_of(table, hash);
	while (table->entry[hole].object != object)
		hole = (hole + 1) & table->mask;
	for (uint64_t i = (hole + 1) & table->mask; table->entry[i].object != JOURNAL_NONE;
	     i = (i + 1) & table->mask) {
		uint64_t home = home_of(table, table->entry[i].hash);
		if (((i - home) & table->mask) < ((i - hole) & table->mask))
			continue;
		table->entry[hole] = table->entry[i];
		hole = i;
	}
	table->entry[hole].object = JOURNAL_NONE;
}

static bool key_is(const struct journal *journal, journal_object object, const char *key, size_t key_bytes)
{
	const struct journal_place *place = &journal->place[object];
	return journal_state_of(place).key_bytes == key_bytes && memcmp(place->key, key, key_bytes) == 0;
}

/* key NULL: whichever has the hash. */
static journal_object table_find(const struct journal *journal, const struct journal_table *table,
                                 uint64_t hash, const char *key, size_t key_bytes)
{
	for (uint64_t i = home_of(table, hash); table->entry[i].object != JOURNAL_NONE;
	     i = (i + 1) & table->mask) {
		const struct journal_found *found = &table->entry[i];
		if (found->hash == hash &&
		    (key == NULL || key_is(journal, (journal_object)found->object, key, key_bytes)))
			return (journal_object)found->object;
	}
	return JOURNAL_NONE;
}

/* ---- our own hash ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Sixteen bytes at a time, multiplied and folded. */
static uint64_t hash_key(const struct journal *journal, const char *key, size_t key_bytes)
{
	const uint64_t *secret = journal->secret;
	uint64_t hash = secret[0] ^ key_bytes;
	for (size_t at = 0; at < key_bytes; at += 16) {
		uint64_t word[2] = {0, 0};
		memcpy(word, key + at, key_bytes - at < 16 ? key_bytes - at : 16);
		hash = mix(word[0] ^ secret[1] ^ hash, word[1] ^ secret[2]);
	}
	return mix(hash ^ secret[3], secret[1] | 1);
}

journal_object journal_keys_find(const struct journal *journal, const char *key, size_t key_bytes)
{
	return table_find(journal, &journal->by_key, hash_key(journal, key, key_bytes), key, key_bytes);
}

journal_object journal_find(struct journal *journal, uint64_t hash, const char *key, size_t key_bytes)
{
	journal_object object = table_find(journal, &journal->by_hash, hash, key, key_bytes);
	if (object != JOURNAL_NONE || key == NULL)
		return object;
	object = journal_keys_find(journal, key, key_bytes);
	if (object == JOURNAL_NONE)
		return JOURNAL_NONE;
	struct journal_live *live = &journal->live[object];
	if (live->bound)
		table_remove(&journal->by_hash, live->hash, object);
	live->bound = true;
	live->hash = hash;
	table_add(&journal->by_hash, hash, object);
	return object;
}

/* ---- by the last line ---- */

static void list_remove(struct journal *journal, struct journal_live *live)
{
	if (live->older != JOURNAL_NONE)
		journal->live[live->older].newer = live->newer;
	else
		journal->oldest = live->newer;
	if (live->newer != JOURNAL_NONE)
		journal->live[live->newer].older = live->older;
	else
		journal->newest = live->older;
}

static void list_add(struct journal *journal, journal_object object)
{
	struct journal_live *live = &journal->live[object];
	live->older = journal->newest;
	live->newer = JOURNAL_NONE;
	if (journal->newest != JOURNAL_NONE)
		journal->live[journal->newest].newer = object;
	else
		journal->oldest = object;
	journal->newest = object;
}

void journal_keys_touch(struct journal *journal, journal_object object)
{
	if (journal->newest == object)
		return;
	list_remove(journal, &journal->live[object]);
	list_add(journal, object);
}

journal_object journal_oldest(const struct journal *journal)
{
	return journal->oldest;
}

uint64_t journal_closings(const struct journal *journal)
{
	return journal->closings;
}

/* ---- all of them ---- */

int journal_keys_open(struct journal *journal)
{
	journal->oldest = journal->newest = JOURNAL_NONE;
	if (getrandom(journal->secret, sizeof journal->secret, 0) != sizeof journal->secret)
		return -EIO;
	if (table_open(&journal->by_hash, journal->n_objects) &&
	    table_open(&journal->by_key, journal->n_objects))
		return 0;
	return -ENOMEM;
}

void journal_keys_close(struct journal *journal)
{
	free(journal->by_hash.entry);
	free(journal->by_key.entry);
}

void journal_keys_add(struct journal *journal, journal_object object)
{
	struct journal_live *live = &journal->live[object];
	const struct journal_place *place = &journal->place[object];
	live->key_hash = hash_key(journal, place->key, journal_state_of(place).key_bytes);
	table_add(&journal->by_key, live->key_hash, object);
	if (live->bound)
		table_add(&journal->by_hash, live->hash, object);
	list_add(journal, object);
}

void journal_keys_remove(struct journal *journal, journal_object object)
{
	struct journal_live *live = &journal->live[object];
	table_remove(&journal->by_key, live->key_hash, object);
	if (live->bound)
		table_remove(&journal->by_hash, live->hash, object);
	list_remove(journal, live);
	journal->closings++;
}
