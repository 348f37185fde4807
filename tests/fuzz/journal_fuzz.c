/* Any words put over those of a good journal. It must be refused with a reason, or be used up like
 * any other: no block and no place is lost, nothing leads out of the segment. A patch has eleven
 * bytes: area, index, value. */
#include "sink/objects/journal_inside.h"
#include "tests/fixture/journal.h"
#include "tests/fuzz/fuzz.h"

#define PATCH_BYTES 11u
#define BODY_BYTES  (10u * 53 * 1024)

static struct {
	struct journal_body body;
	char *whole;
	struct area {
		size_t at, bytes, word_bytes;
	} area[8]; /* what says something */
} f;

static size_t place_of(const void *at)
{
	return (size_t)((const char *)at - f.body.memory);
}

static void make(void)
{
	struct journal_bounds bounds = {.open_most = 32u * 1024, .packed_most = 33u * 1024};
	must(journal_body_make(&f.body, BODY_BYTES, bounds) == 0);
	must(journal_body_live(&f.body) == 0);
	journal_body_fill(&f.body);
	const struct journal *journal = f.body.journal;
	f.area[0] = (struct area){0, JOURNAL_HEAD_BYTES, 8};
	for (unsigned i = 0; i < 4; i++)
		f.area[1 + i] = (struct area){place_of(&journal->place[i]),
		                              offsetof(struct journal_place, key) + 16, 8};
	f.area[5] = (struct area){place_of(journal->next), journal->n_blocks * sizeof(uint32_t), 4};
	for (unsigned i = 0; i < 2; i++)
		f.area[6 + i] = (struct area){
		        place_of(journal_block(journal, (uint32_t)journal->place[i].parts_first)),
		        4 * sizeof(struct journal_entry), 8};
	journal_body_leave(&f.body);
	f.whole = fuzz_copy(f.body.memory, f.body.bytes);
}

static void put(const uint8_t *patch)
{
	const struct area *area = &f.area[patch[0] % 8];
	uint16_t index;
	memcpy(&index, patch + 1, sizeof index);
	size_t at = index % (area->bytes / area->word_bytes) * area->word_bytes;
	memcpy(f.body.memory + area->at + at, patch + 3, area->word_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (f.whole == NULL)
		make();
	memcpy(f.body.memory, f.whole, f.body.bytes);
	for (; bytes >= PATCH_BYTES; data += PATCH_BYTES, bytes -= PATCH_BYTES)
		put(data);
	f.body.error.text[0] = '\0';
	if (journal_body_live(&f.body) != 0) {
		must(f.body.error.text[0] != '\0'); /* the reason */
		return 0;
	}
	(void)journal_body_digest(&f.body);
	journal_body_use_up(&f.body);
	journal_body_leave(&f.body);
	return 0;
}
