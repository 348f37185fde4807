#include "sink/objects/journal_inside.h"

/* ---- free blocks ---- */

static uint64_t groups_for(uint64_t n_blocks)
{
	return (n_blocks + JOURNAL_GROUP_BLOCKS - 1) / JOURNAL_GROUP_BLOCKS;
}

static uint64_t rows_for(uint64_t n_blocks)
{
	return (groups_for(n_blocks) + JOURNAL_ROW_GROUPS - 1) / JOURNAL_ROW_GROUPS;
}

#define ALL_FREE ((UINT64_C(1) << JOURNAL_GROUP_BLOCKS) - 1)

uint64_t journal_free_bytes(uint64_t n_blocks)
{
	return groups_for(n_blocks) * (sizeof(uint64_t) + 3 * sizeof(uint32_t)) +
	       rows_for(n_blocks) * (sizeof(uint8_t) + 2 * sizeof(uint32_t));
}

bool journal_free_open(struct journal *journal)
{
	uint64_t groups = groups_for(journal->n_blocks), rows = rows_for(journal->n_blocks);
	struct journal_free *all = &journal->free;
	all->mask = calloc(groups, sizeof *all->mask);
	all->row_whole = calloc(rows, sizeof *all->row_whole);
	all->whole.item = malloc(groups * sizeof(uint32_t));
	all->some.item = malloc(groups * sizeof(uint32_t));
	all->whole.at = all->some.at = malloc(groups * sizeof(uint32_t));
	all->rows.item = malloc(rows * sizeof(uint32_t));
	all->rows.at = malloc(rows * sizeof(uint32_t));
	return all->mask != NULL && all->row_whole != NULL && all->whole.item != NULL &&
	       all->some.item != NULL && all->some.at != NULL && all->rows.item != NULL &&
	       all->rows.at != NULL;
}

void journal_free_close(struct journal *journal)
{
	struct journal_free *all = &journal->free;
	free(all->mask);
	free(all->row_whole);
	free(all->whole.item);
	free(all->some.item);
	free(all->some.at);
	free(all->rows.item);
	free(all->rows.at);
}

static void push(struct journal_stack *stack, uint32_t item)
{
	stack->at[item] = stack->n;
	stack->item[stack->n++] = item;
}

static void drop(struct journal_stack *stack, uint32_t item)
{
	uint32_t last = stack->item[--stack->n];
	stack->item[stack->at[item]] = last;
	stack->at[last] = stack->at[item];
}

static void set_whole(struct journal_free *all, uint32_t group, bool whole)
{
	uint32_t row = group / JOURNAL_ROW_GROUPS;
	if (!whole) {
		drop(&all->whole, group);
		if (all->row_whole[row]-- == JOURNAL_ROW_GROUPS)
			drop(&all->rows, row);
	} else {
		push(&all->whole, group);
		if (++all->row_whole[row] == JOURNAL_ROW_GROUPS)
			push(&all->rows, row);
	}
}

static void set_mask(struct journal_free *all, uint32_t group, uint64_t mask)
{
	uint64_t before = all->mask[group];
	all->mask[group] = mask;
	if (before == ALL_FREE)
		set_whole(all, group, false);
	else if (before != 0 && (mask == 0 || mask == ALL_FREE))
		drop(&all->some, group);
	if (mask == ALL_FREE)
		set_whole(all, group, true);
	else if (mask != 0 && (before == 0 || before == ALL_FREE))
		push(&all->some, group);
}

static uint64_t bit_of(uint32_t block)
{
	return UINT64_C(1) << block % JOURNAL_GROUP_BLOCKS;
}

bool journal_can_follow(const struct journal *journal, uint32_t block)
{
	const struct journal_free *all = &journal->free;
	uint32_t group = block / JOURNAL_GROUP_BLOCKS;
	if (block >= journal->n_blocks) /* JOURNAL_NONE + 1 is block 0 */
		return false;
	if (block % JOURNAL_GROUP_BLOCKS != 0)
		return (all->mask[group] & bit_of(block)) != 0;
	return group % JOURNAL_ROW_GROUPS != 0
	               ? all->mask[group] == ALL_FREE
	               : all->row_whole[group / JOURNAL_ROW_GROUPS] == JOURNAL_ROW_GROUPS;
}

static uint32_t last_of(const struct journal_stack *stack)
{
	return stack->item[stack->n - 1];
}

/* Where a chain begins: in a row that is free, otherwise in a group that is, otherwise anywhere. */
static uint32_t begin_at(const struct journal_free *all)
{
	if (all->rows.n != 0)
		return last_of(&all->rows) * JOURNAL_ROW_GROUPS;
	return last_of(all->whole.n != 0 ? &all->whole : &all->some);
}

static uint32_t take_block(struct journal *journal, uint32_t block)
{
	uint32_t group = block / JOURNAL_GROUP_BLOCKS;
	set_mask(&journal->free, group, journal->free.mask[group] & ~bit_of(block));
	journal->n_free--;
	return block;
}

uint32_t journal_take(struct journal *journal, uint32_t after)
{
	if (after != JOURNAL_NONE && journal_can_follow(journal, after + 1))
		return take_block(journal, after + 1);
	uint32_t group = begin_at(&journal->free);
	return take_block(journal, group * JOURNAL_GROUP_BLOCKS +
	                                   (uint32_t)__builtin_ctzll(journal->free.mask[group]));
}

uint32_t journal_take_single(struct journal *journal)
{
	const struct journal_free *all = &journal->free;
	uint32_t group = last_of(all->some.n != 0 ? &all->some : &all->whole);
	return take_block(journal,
	                  group * JOURNAL_GROUP_BLOCKS + 63 - (uint32_t)__builtin_clzll(all->mask[group]));
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
