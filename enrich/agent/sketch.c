#include "enrich/agent/sketch.h"

#define ROWS              4u
#define ENTRIES_A_BLOCK   8u /* 128 counters */
#define ADDITIONS_A_ENTRY 10u
#define HALF_MASK         0x7777777777777777ull

uint32_t sketch_blocks(uint32_t entries)
{
	uint32_t blocks = 1;
	while (blocks < (entries + ENTRIES_A_BLOCK - 1) / ENTRIES_A_BLOCK)
		blocks *= 2;
	return blocks;
}

void sketch_init(struct sketch *sketch, uint64_t (*block)[SKETCH_WORDS], uint32_t entries)
{
	*sketch = (struct sketch){
	        .block = block, .n_blocks = sketch_blocks(entries), .period = ADDITIONS_A_ENTRY * entries};
}

/* The block comes from the hash's upper half, the counters from its lower: 5 bits for each row. */
static uint64_t *block_of(const struct sketch *sketch, uint64_t hash)
{
	return sketch->block[(uint32_t)(hash >> 32) & (sketch->n_blocks - 1)];
}

static void place(uint64_t hash, unsigned row, unsigned *word, unsigned *shift)
{
	unsigned counter = (unsigned)(hash >> (5 * row)) & 31;
	*word = 2 * row + counter / 16;
	*shift = counter % 16 * 4;
}

static void halve(struct sketch *sketch)
{
	for (uint32_t i = 0; i < sketch->n_blocks; i++)
		for (unsigned word = 0; word < SKETCH_WORDS; word++)
			sketch->block[i][word] = sketch->block[i][word] >> 1 & HALF_MASK;
	sketch->additions /= 2;
	sketch->halvings++;
}

void sketch_add(struct sketch *sketch, uint64_t hash)
{
	uint64_t *block = block_of(sketch, hash);
	uint32_t added = 0;
	for (unsigned row = 0; row < ROWS; row++) {
		unsigned word, shift;
		place(hash, row, &word, &shift);
		if ((block[word] >> shift & 15) < SKETCH_MOST) {
			block[word] += 1ull << shift;
			added = 1;
		}
	}
	sketch->additions += added;
	if (sketch->additions >= sketch->period)
		halve(sketch);
}

unsigned sketch_estimate(const struct sketch *sketch, uint64_t hash)
{
	const uint64_t *block = block_of(sketch, hash);
	unsigned least = SKETCH_MOST;
	for (unsigned row = 0; row < ROWS; row++) {
		unsigned word, shift;
		place(hash, row, &word, &shift);
		unsigned count = (unsigned)(block[word] >> shift & 15);
		least = count < least ? count : least;
	}
	return least;
}
