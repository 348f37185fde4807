#include "sink/objects/journal_inside.h"

/* ---- free blocks ---- */

static uint64_t groups_for(uint64_t n_blocks)
{
	return (n_blocks + JOURNAL_GROUP_BLOCKS - 1) / JOURNAL_GROUP_BLOCKS;
}

#define ALL_FREE ((UINT64_C(1) << JOURNAL_GROUP_BLOCKS) - 1)

uint64_t journal_free_bytes(uint64_t n_blocks)
{
	return groups_for(n_blocks) * (sizeof(uint64_t) + 3 * sizeof(uint32_t));
}

bool journal_free_open(struct journal *journal)
{
	uint64_t n = groups_for(journal->n_blocks);
	struct journal_free *all = &journal->free;
	all->mask = calloc(n, sizeof *all->mask);
	all->whole = malloc(n * sizeof *all->whole);
	all->some = malloc(n * sizeof *all->some);
	all->at = malloc(n * sizeof *all->at);
	return all->mask != NULL && all->whole != NULL && all->some != NULL && all->at != NULL;
}

void journal_free_close(struct journal *journal)
{
	free(journal->free.mask);
	free(journal->free.whole);
	free(journal->free.some);
	free(journal->free.at);
}

static void push(struct journal_free *all, uint32_t *stack, uint32_t *n, uint32_t group)
{
	all->at[group] = *n;
	stack[(*n)++] = group;
}

static void drop(struct journal_free *all, uint32_t *stack, uint32_t *n, uint32_t group)
{
	uint32_t last = stack[--*n];
	stack[all->at[group]] = last;
	all->at[last] = all->at[group];
}

static void set_mask(struct journal_free *all, uint32_t group, uint64_t mask)
{
	uint64_t before = all->mask[group];
	all->mask[group] = mask;
	if (before == ALL_FREE)
		drop(all, all->whole, &all->n_whole, group);
	else if (before != 0 && (mask == 0 || mask == ALL_FREE))
		drop(all, all->some, &all->n_some, group);
	if (mask == ALL_FREE)
		push(all, all->whole, &all->n_whole, group);
	else if (mask != 0 && (before == 0 || before == ALL_FREE))
		push(all, all->some, &all->n_some, group);
}

static uint64_t bit_of(uint32_t block)
{
	return UINT64_C(1) << block % JOURNAL_GROUP_BLOCKS;
}

/* Not the first of a group that another chain has begun. */
static bool can_follow(const struct journal *journal, uint32_t block)
{
	if (block >= journal->n_blocks) /* JOURNAL_NONE + 1 is block 0 */
		return false;
	uint64_t mask = journal->free.mask[block / JOURNAL_GROUP_BLOCKS];
	return block % JOURNAL_GROUP_BLOCKS != 0 ? (mask & bit_of(block)) != 0 : mask == ALL_FREE;
}

uint32_t journal_take(struct journal *journal, uint32_t after)
{
	struct journal_free *all = &journal->free;
	uint32_t block = after + 1;
	if (after == JOURNAL_NONE || !can_follow(journal, block)) {
		uint32_t group =
		        all->n_whole != 0 ? all->whole[all->n_whole - 1] : all->some[all->n_some - 1];
		block = group * JOURNAL_GROUP_BLOCKS + (uint32_t)__builtin_ctzll(all->mask[group]);
	}
	uint32_t group = block / JOURNAL_GROUP_BLOCKS;
	set_mask(all, group, all->mask[group] & ~bit_of(block));
	journal->n_free--;
	return block;
}

void journal_give(struct journal *journal, uint32_t block)
{
	uint32_t group = block / JOURNAL_GROUP_BLOCKS;
	set_mask(&journal->free, group, journal->free.mask[group] | bit_of(block));
	journal->n_free++;
}

void journal_give_chain(struct journal *journal, uint32_t first, uint64_t n)
{
	for (uint32_t block = first; n > 0; n--) {
		journal_give(journal, block);
		block = journal->next[block];
	}
}

/* ---- what lies in them ---- */

/* Blocks that are neighbours are one piece. */
unsigned journal_pieces(const struct journal *journal, uint32_t first, uint64_t bytes, unsigned from,
                        struct iovec *piece, unsigned n)
{
	unsigned all = 0;
	for (uint32_t block = first; bytes > 0; all++) {
		uint32_t start = block, last;
		uint64_t length = 0;
		do {
			uint64_t in_block = bytes < JOURNAL_BLOCK_BYTES ? bytes : JOURNAL_BLOCK_BYTES;
			length += in_block;
			bytes -= in_block;
			last = block;
			if (bytes > 0)
				block = journal->next[last];
		} while (bytes > 0 && block == last + 1);
		if (all >= from && all - from < n)
			piece[all - from] =
			        (struct iovec){.iov_base = journal_block(journal, start), .iov_len = length};
	}
	return all;
}

struct journal_entry *journal_entry(const struct journal *journal, journal_object object, uint32_t number)
{
	const struct journal_place *place = &journal->place[object];
	uint32_t index = number - 1;
	uint32_t block = (uint32_t)journal_load(&place->parts_first);
	if (index / JOURNAL_ENTRIES == (journal_load(&place->n_parts) - 1) / JOURNAL_ENTRIES)
		block = journal->live[object].parts_last;
	else
		for (uint32_t i = 0; i < index / JOURNAL_ENTRIES; i++)
			block = journal->next[block];
	struct journal_entry *list = (void *)journal_block(journal, block);
	return &list[index % JOURNAL_ENTRIES];
}
