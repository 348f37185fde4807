/* How often a hash was seen lately, roughly: a count-min sketch of 4-bit counters that are halved
 * now and then.
 *
 *     hash --> one block of 64 bytes (one cache line): 4 rows of 32 counters; one counter in each row
 *     estimate = the least of the four; at most SKETCH_MOST, never less than what was added since the last halving but one
 *
 * As TinyLFU has it (G. Einziger, R. Friedman, B. Manes, TinyLFU: A Highly Efficient Cache
 * Admission Policy, ACM Transactions on Storage 13(4), 2017; the sketch: G. Cormode, S.
 * Muthukrishnan, 2005): after ten additions for each entry of the cache all counters are halved, so
 * that what was popular once is forgotten. The rows within one line are Caffeine's
 * (https://github.com/ben-manes/caffeine).
 */
#ifndef ENRICH_AGENT_SKETCH_H
#define ENRICH_AGENT_SKETCH_H

#include <stdint.h>

#define SKETCH_MOST  15u
#define SKETCH_WORDS 8u /* of a block: two for each row */

struct sketch {
	uint64_t (*block)[SKETCH_WORDS];
	uint32_t n_blocks; /* a power of two */
	uint32_t additions, period;
	uint64_t halvings;
};

/* Blocks for so many entries: 16 counters each. */
uint32_t sketch_blocks(uint32_t entries);

/* block: sketch_blocks(entries) of them, zero, aligned to a cache line, the caller's. */
void sketch_init(struct sketch *sketch, uint64_t (*block)[SKETCH_WORDS], uint32_t entries);

void sketch_add(struct sketch *sketch, uint64_t hash);

unsigned sketch_estimate(const struct sketch *sketch, uint64_t hash);

#endif
