#include "enrich/agent/keyed_hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

__extension__ typedef unsigned __int128 wide; /* a number, not a struct */

int keyed_hash_init(struct keyed_hash *hash)
{
	char *at = (char *)hash;
	size_t left = sizeof *hash;
	while (left > 0) {
		ssize_t n = getrandom(at, left, 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* splitmix64 (S. Vigna) */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void keyed_hash_init_seed(struct keyed_hash *hash, uint64_t seed)
{
	for (size_t i = 0; i < sizeof hash->key / sizeof *hash->key; i++)
		hash->key[i] = next(&seed);
	for (size_t i = 0; i < 8; i++)
		hash->mix[i / 2][i % 2] = next(&seed);
}

static uint64_t word(const char *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static wide mixed(const uint64_t mix[2], uint64_t value)
{
	return ((wide)mix[1] << 64 | mix[0]) * value;
}

uint64_t keyed_hash(const struct keyed_hash *hash, const char *text, size_t bytes)
{
	const uint64_t *key = hash->key;
	size_t whole = bytes / 16 * 16, rest = bytes - whole;
	wide sum = 0;
	for (size_t i = 0; i < whole; i += 16, key += 2)
		sum += (wide)(word(text + i) + key[0]) * (word(text + i + 8) + key[1]);
	if (rest > 0) {
		char last[16] = {0};
		memcpy(last, text + whole, rest);
		sum += (wide)(word(last) + key[0]) * (word(last + 8) + key[1]);
	}
	wide all = ((wide)hash->mix[0][1] << 64 | hash->mix[0][0]) + mixed(hash->mix[1], (uint64_t)sum) +
	           mixed(hash->mix[2], (uint64_t)(sum >> 64)) + mixed(hash->mix[3], bytes);
	return (uint64_t)(all >> 64);
}
