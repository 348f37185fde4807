/* SipHash: a keyed hash of bytes that strangers choose (J.-P. Aumasson, D. J. Bernstein, SipHash: a
 * fast short-input PRF, INDOCRYPT 2012). Without the key nobody finds two inputs of one hash,
 * except by luck.
 *
 *     siphash_init(&hash, key, 1, 3);  siphash_add(&hash, bytes, n);  ...  siphash_end(&hash)
 *
 * SipHash-2-4 is the one of the paper; 1-3 is faster, and enough for a table in memory.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash {
	uint64_t v[4];
	uint64_t bytes;   /* so far */
	uint64_t pending; /* bytes % 8 of them, from the low end */
	unsigned each, last;
};

static inline uint64_t siphash_turn(uint64_t word, unsigned by)
{
	return word << by | word >> (64 - by);
}

static inline void siphash_rounds(uint64_t v[4], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = siphash_turn(v[1], 13) ^ v[0];
		v[3] = siphash_turn(v[3], 16) ^ v[2];
		v[0] = siphash_turn(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = siphash_turn(v[1], 17) ^ v[2];
		v[3] = siphash_turn(v[3], 21) ^ v[0];
		v[2] = siphash_turn(v[2], 32);
	}
}

static inline void siphash_word(struct siphash *hash, uint64_t word)
{
	hash->v[3] ^= word;
	siphash_rounds(hash->v, hash->each);
	hash->v[0] ^= word;
}

/* each: rounds for each word; last: rounds at the end. */
static inline void siphash_init(struct siphash *hash, const uint64_t key[2], unsigned each, unsigned last)
{
	*hash = (struct siphash){.v = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
	                               key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573},
	                         .each = each,
	                         .last = last};
}

/* The same bytes give the same hash in however many pieces they come. */
static inline void siphash_add(struct siphash *hash, const void *from, size_t n)
{
	const unsigned char *at = from;
	for (; n > 0; n--) {
		if (hash->bytes % 8 == 0)
			for (; n >= 8; n -= 8, at += 8, hash->bytes += 8) {
				uint64_t word;
				memcpy(&word, at, sizeof word);
				siphash_word(hash, word);
			}
		if (n == 0)
			break;
		hash->pending |= (uint64_t)*at++ << (hash->bytes % 8 * 8);
		if (++hash->bytes % 8 != 0)
			continue;
		siphash_word(hash, hash->pending);
		hash->pending = 0;
	}
}

static inline uint64_t siphash_end(struct siphash *hash)
{
	siphash_word(hash, hash->pending | hash->bytes << 56);
	hash->v[2] ^= 0xff;
	siphash_rounds(hash->v, hash->last);
	return hash->v[0] ^ hash->v[1] ^ hash->v[2] ^ hash->v[3];
}

#endif
