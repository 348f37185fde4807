/* Names of accounts and of metrics as small numbers: 0, 1, 2, ... in the order in which they came.
 *
 *     name --hash--> slot (tag, where) --> number, bytes, first_ms, text   one after another, never moved
 *                                              ^
 *                                  where[number]
 *
 * A name is bytes, at most NAMES_BYTES_MAX of them. There are at most `limit` names, and none is
 * ever forgotten: the number is the row's in the database, less one. What is longer or over the
 * limit has no number; the caller counts it without its name.
 *
 * Names come from the network, so the hash is keyed with secret words drawn at start, as that of
 * counts.h is: NH (Black et al., UMAC, CRYPTO 1999) over the text and its length, folded and mixed.
 * The caller copies a name out of shared memory first (names_key_set): a text that changes between
 * hash and comparison would lie at a place where it is not found again.
 *
 * A run of names waits for memory about once: names_hash, then names_fetch_slot for all, then
 * names_fetch_text for all, then names_take. One thread.
 */
#ifndef SINK_TALLY_NAMES_H
#define SINK_TALLY_NAMES_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NAMES_BYTES_MAX 200u
#define NAMES_LIMIT_MAX (1u << 27)

#define NAMES_TEXT_ROOM ((NAMES_BYTES_MAX + 15) / 16 * 16)
#define NAMES_SECRETS   (NAMES_TEXT_ROOM / 8 + 4)

/* A name in memory of the caller's own; 0 from its end to the next multiple of 16. */
struct names_key {
	alignas(8) char text[NAMES_TEXT_ROOM];
	uint32_t bytes;
	uint32_t tag; /* of the hash: names_hash sets it */
};

struct names_text {
	uint32_t number, bytes;
	int64_t first_ms; /* the caller's (known.h), beside the text because it is looked at with it */
	char text[];      /* 0 from its end to the next multiple of 8 */
};

struct names_slot {
	uint32_t tag;
	uint32_t where_plus; /* in units of 8 bytes of text; 0: empty */
};

struct names {
	struct names_slot *slot;
	unsigned slot_bits;
	char *text;      /* struct names_text, one after another; address space for all */
	uint64_t used;   /* of text, in units of 8 bytes */
	uint32_t *where; /* by number, in units of 8 bytes */
	uint64_t n, capacity;
	uint64_t secret[NAMES_SECRETS];
};

/* Makes room for at most `limit` names, more when `expected` are stored already. seed: 0 draws the
 * secret words from the kernel (always, but in tests). Returns 0; -ENOMEM; -EIO; -EINVAL when one
 * of both is over NAMES_LIMIT_MAX. */
int names_init(struct names *names, uint64_t limit, uint64_t expected, uint64_t seed);

void names_fini(struct names *names);

/* Bytes that names with this limit can come to hold. */
uint64_t names_bytes_max(uint64_t limit);

/* Copies a name. False, with key undefined: it is too long to be one. */
static inline bool names_key_set(struct names_key *key, const void *text, size_t bytes)
{
	if (bytes > NAMES_BYTES_MAX)
		return false;
	size_t last = bytes & ~(size_t)15;
	if (last < NAMES_TEXT_ROOM)
		memset(key->text + last, 0, 16);
	memcpy(key->text, text, bytes);
	key->bytes = (uint32_t)bytes;
	return true;
}

/* Sets the key's tag. */
void names_hash(const struct names *names, struct names_key *key);

static inline struct names_slot *names_home(const struct names *names, uint32_t tag)
{
	return names->slot + (tag >> (32 - names->slot_bits));
}

static inline void names_fetch_slot(const struct names *names, const struct names_key *key)
{
	__builtin_prefetch(names_home(names, key->tag));
}

static inline void names_fetch_text(const struct names *names, const struct names_key *key)
{
	const struct names_slot *slot = names_home(names, key->tag);
	const struct names_slot *end = names->slot + ((size_t)1 << names->slot_bits);
	while (slot < end && slot->where_plus != 0 && slot->tag != key->tag)
		slot++;
	if (slot < end && slot->where_plus != 0)
		__builtin_prefetch(names->text + (uint64_t)(slot->where_plus - 1) * 8);
}

/* A hashed name; a new one gets the next number and first_ms 0, when there is room for another
 * (names->n goes up); NULL when there is not. */
struct names_text *names_take(struct names *names, const struct names_key *key);

/* The name of a number; its text has no final 0. */
static inline struct names_text *names_at(const struct names *names, uint64_t number)
{
	return (struct names_text *)(void *)(names->text + (uint64_t)names->where[number] * 8);
}

#endif
