#include "sink/objects/journal_inside.h"

void journal_give_chain(struct journal *journal, uint32_t first, uint64_t n)
{
	for (uint32_t block = first; n > 0; n--) {
		journal_give(journal, block);
		block = journal->next[block];
	}
}

unsigned journal_pieces(const struct journal *journal, uint32_t first, uint64_t bytes, unsigned from,
                        struct iovec *piece, unsigned n)
{
	uint64_t all = journal_blocks(bytes);
	uint32_t block = first;
	for (uint64_t i = 0; i < all && i < (uint64_t)from + n; i++) {
		uint64_t left = bytes - i * JOURNAL_BLOCK_BYTES;
		if (i >= from)
			piece[i - from] = (struct iovec){
			        .iov_base = journal_block(journal, block),
			        .iov_len = left < JOURNAL_BLOCK_BYTES ? left : JOURNAL_BLOCK_BYTES};
		if (i + 1 < all)
			block = journal->next[block];
	}
	return (unsigned)all;
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
