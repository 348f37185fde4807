/* Address space that costs memory as it is used, and the secret words of hash tables: what the
 * tables of this folder have in common. */
#ifndef SINK_TALLY_SPACE_H
#define SINK_TALLY_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>

#define SPACE_LARGE (4u << 20)

/* Zeroes; NULL when there is no address space. */
static inline void *space_reserve(size_t bytes)
{
	void *at =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

/* The same for a table of which any entry may be wanted next: in large pages where the kernel has
 * them, so that few entries wait for a page's address. */
static inline void *space_reserve_large(size_t bytes)
{
	void *at = space_reserve(bytes);
	if (at != NULL && bytes >= SPACE_LARGE)
		(void)madvise(at, bytes, MADV_HUGEPAGE);
	return at;
}

/* NULL does nothing. */
static inline void space_release(void *at, size_t bytes)
{
	if (at != NULL)
		munmap(at, bytes);
}

/* Gives the memory back and keeps the addresses: zeroes again. at: where a page begins. */
static inline void space_empty(void *at, size_t bytes)
{
	(void)madvise(at, bytes, MADV_DONTNEED);
}

/* Words that nobody else knows. seed: for tests, the same words each time (splitmix64). */
static inline bool space_secrets(uint64_t *word, unsigned n, uint64_t seed)
{
	if (seed == 0)
		return getrandom(word, n * sizeof *word, 0) == (ssize_t)(n * sizeof *word);
	for (unsigned i = 0; i < n; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15ull;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		word[i] = z ^ z >> 31;
	}
	return true;
}

#endif
