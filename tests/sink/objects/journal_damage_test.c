/* Journals that make no sense: each is refused with the place and left as it is; none is trusted so
 * far that it leads out of the segment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink/objects/journal_inside.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/journal.h"

#define MEMBER     (32u * 1024)
#define BODY_BYTES (10u * 53 * 1024)
#define N_RANDOM   20000u

static const struct journal_bounds bounds = {.open_most = MEMBER, .packed_most = MEMBER + 64};

/* A journal with objects in every state; whole is how it is before the damage. */
static struct {
	struct journal_body body;
	char *whole;
	struct journal_head *head;
	struct journal_place *a, *b, *c; /* by key */
	struct journal_slot *slot_a, *slot_c;
	struct journal_entry *parts_a, *parts_b;
	uint32_t *next;
	unsigned n_blocks; /* undamaged */
	size_t meta_bytes; /* from the beginning to the blocks */
	char *blocks;
} d;

static struct journal_slot *slot_in_force(struct journal_place *place)
{
	uint64_t epoch = d.head->epoch;
	return place->slot[0].epoch > epoch || place->slot[1].epoch > place->slot[0].epoch ? &place->slot[1]
	                                                                                   : &place->slot[0];
}

static int set_up(void **state)
{
	(void)state;
	if (journal_body_make(&d.body, BODY_BYTES, bounds) != 0 || journal_body_live(&d.body) != 0)
		return -1;
	journal_body_fill(&d.body);
	struct journal *journal = d.body.journal;
	d.head = journal->head;
	d.a = &journal->place[journal_find(journal, 'a', NULL, 0)];
	d.c = &journal->place[journal_find(journal, 'c', NULL, 0)];
	d.b = &journal->place[1];
	d.slot_a = slot_in_force(d.a);
	d.slot_c = slot_in_force(d.c);
	d.parts_a = (void *)journal_block(journal, (uint32_t)d.a->parts_first);
	d.parts_b = (void *)journal_block(journal, (uint32_t)d.b->parts_first);
	d.next = journal->next;
	d.n_blocks = (unsigned)d.head->n_blocks;
	d.blocks = journal->block;
	d.meta_bytes = (size_t)(journal->block - d.body.memory);
	journal_body_leave(&d.body);
	d.whole = malloc(d.body.bytes);
	if (d.whole == NULL)
		return -1;
	memcpy(d.whole, d.body.memory, d.body.bytes);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(d.whole);
	journal_body_remove(&d.body);
	return 0;
}

static void repair(void)
{
	journal_body_leave(&d.body);
	memcpy(d.body.memory, d.whole, d.body.bytes);
}

/* Does the damage, which must be refused with this text, and repairs it. */
#define REFUSED(expected, ...)                                                               \
	do {                                                                                 \
		char *damaged = malloc(d.body.bytes);                                        \
		__VA_ARGS__;                                                                 \
		assert_non_null(damaged);                                                    \
		memcpy(damaged, d.body.memory, d.body.bytes);                                \
		assert_int_equal(journal_body_live(&d.body), -EPROTO);                       \
		if (strstr(d.body.error.text, expected) == NULL)                             \
			fail_msg("\"%s\" does not say \"%s\"", d.body.error.text, expected); \
		assert_memory_equal(damaged, d.body.memory, d.body.bytes);                   \
		free(damaged);                                                               \
		repair();                                                                    \
	} while (0)

static void a_whole_one_is_opened(void **state)
{
	(void)state;
	assert_int_equal(journal_body_live(&d.body), 0);
	(void)journal_body_digest(&d.body);
	journal_body_use_up(&d.body);
	repair();
}

static void another_layout_and_other_numbers_are_refused(void **state)
{
	(void)state;
	REFUSED("another build", d.head->about.layout++);
	REFUSED("another build", d.head->about.n++);
	REFUSED("another build", d.head->n_blocks--);
	REFUSED("another build", d.head->about.layout = PRIVATE_LAYOUT);
	REFUSED("not empty", d.head->about.layout = 0);
	REFUSED("commit ", d.head->epoch = UINT64_MAX);
}

static void a_note_that_leads_elsewhere_is_refused(void **state)
{
	(void)state;
	struct redo_note *note = &d.head->note;
	REFUSED("redo note 2", note->published = 2);
	REFUSED("redo note 1 of 129", note->published = 1; note->n = REDO_WORDS_MAX + 1);
	REFUSED("word 0 at 8 of region 0", note->published = 1; note->n = 1;
	        note->word[0] = ((struct redo_word){.region = 0, .offset = 8}));
	REFUSED("word 0", note->published = 1; note->n = 1;
	        note->word[0] = ((struct redo_word){.region = 0, .offset = (uint32_t)d.meta_bytes}));
	REFUSED("word 0", note->published = 1; note->n = 1;
	        note->word[0] = ((struct redo_word){.region = 0, .offset = JOURNAL_HEAD_BYTES + 4}));
	REFUSED("word 0", note->published = 1; note->n = 1;
	        note->word[0] = ((struct redo_word){.region = 1, .offset = 8192}));
	REFUSED("word 1", note->published = 1; note->n = 2;
	        note->word[0] = ((struct redo_word){.region = 1, .offset = 0});
	        note->word[1] = ((struct redo_word){.region = REDO_REGIONS_MAX, .offset = 0}));
}

static void a_state_that_cannot_be_is_refused(void **state)
{
	(void)state;
	REFUSED("object 0: state", d.a->state = (d.a->state & ~UINT64_C(0xff)) | 4);
	REFUSED("object 0: state", d.a->state |= 1 << 9);
	REFUSED("object 0: state", d.a->state &= ~UINT64_C(0xff));
	REFUSED("key, name", d.a->state &= ~(UINT64_C(0xffff) << 16));
	REFUSED("key, name", d.a->state |= UINT64_C(0xffff) << 16);
	REFUSED("key, name", d.a->state |= UINT64_C(0xffff) << 48);
	REFUSED("phase 3 with", d.a->state &= ~(UINT64_C(0xffff) << 32));
	REFUSED("object 1: phase 3 with", d.b->state = (d.b->state & ~UINT64_C(0xff)) | 3);
	REFUSED("object 1: phase 1 with", d.b->state = (d.b->state & ~UINT64_C(0xff)) | 1);
	REFUSED("has no end", d.a->key[1] = 'x');
	REFUSED("has no end", d.a->name[9] = 'x');
	REFUSED("has no end", d.a->upload[11] = 'x');
	REFUSED("no commit", d.b->slot[0].epoch = d.b->slot[1].epoch = 0);
	REFUSED("another takes lines of its key", d.c->key[0] = 'a');
}

static void a_slot_that_cannot_be_is_refused(void **state)
{
	(void)state;
	REFUSED("slot of commit", d.slot_a->epoch = d.head->epoch + 2);
	REFUSED("slot of commit", d.head->epoch -= 2);
	REFUSED("slot of commit", d.a->slot[0].epoch = d.a->slot[1].epoch = 3);
	REFUSED("open member", d.slot_a->open_epoch = d.head->epoch + 1);
	REFUSED("open member: 26 lines in 0 bytes", d.slot_a->open_bytes = 0);
	REFUSED("open member", d.slot_a->lines = d.slot_a->open_bytes + 1000);
	REFUSED("members", d.slot_a->lines = 8);
}

static void a_chain_that_leads_elsewhere_is_refused(void **state)
{
	(void)state;
	uint32_t first = (uint32_t)d.slot_a->open_first, n = (uint32_t)d.head->n_blocks;
	REFUSED("open member: block 70 of", d.slot_a->open_first = n + (70 - n));
	REFUSED("open member: block", d.next[first] = UINT32_MAX);
	REFUSED("belongs to object 0 already", d.next[first] = first); /* a circle */
	REFUSED("belongs to object 0 already", d.next[first] = (uint32_t)d.a->packed.first);
	REFUSED("object 2: open member: block", d.slot_c->open_first = first);
	REFUSED("more than the blocks hold", d.slot_a->open_bytes = UINT64_MAX);
	REFUSED("more than the blocks hold", d.a->packed.bytes = UINT64_MAX);
	REFUSED("members: block", d.a->packed.first = UINT64_MAX);
	REFUSED("members: block", d.a->packed.first = d.a->parts_first);
	REFUSED("list of parts: block", d.a->parts_first = UINT64_C(1) << 32);
	REFUSED("part 2: block", d.parts_a[1].state = n);
	REFUSED("part 1: block", d.next[d.parts_b[0].state] = (uint32_t)d.parts_b[0].state);
	REFUSED("part 2: 562949953421312 bytes, more", d.parts_a[1].bytes = UINT64_C(1) << 49);
}

static void members_and_parts_that_cannot_be_are_refused(void **state)
{
	(void)state;
	REFUSED("10001 parts", d.a->n_parts = JOURNAL_PARTS_MAX + 1);
	REFUSED("part 4", d.a->n_parts = 4); /* that place in the list was never used */
	REFUSED("part 1: state", d.parts_a[0].state |= UINT64_C(1) << 34);
	REFUSED("part 1: state", d.parts_a[0].state &= ~JOURNAL_ENTRY_CONFIRMED);
	REFUSED("part 1: state", d.parts_a[0].state = JOURNAL_ENTRY_CONFIRMED | 3);
	REFUSED("part 3: state", d.parts_a[2].state = JOURNAL_ENTRY_SPOOLED);
	REFUSED("part 2: 0 bytes", d.parts_a[1].bytes = 0);
	REFUSED("part 2: ", d.parts_a[1].raw_bytes = UINT64_MAX);
	REFUSED("part 2: ", d.parts_a[1].lines = d.parts_a[1].raw_bytes + 1);
	REFUSED("part 2: commits", d.parts_a[1].first_epoch = 7);
	REFUSED("part 2: commits", d.parts_a[1].last_epoch = 7);
	REFUSED("its ETag has no end", memset(d.parts_a[0].etag, 'x', JOURNAL_ETAG_MAX));
	REFUSED("members", d.parts_a[1].lines++; d.a->packed.lines = 1);
	REFUSED("members", d.a->packed.raw_bytes = 1);
	REFUSED("members", d.a->packed.bytes = 0);
	REFUSED("members: commits", d.a->packed.first_epoch = 9);
	REFUSED("parts are in the store, and it has no name",
	        d.parts_b[0].state = JOURNAL_ENTRY_CONFIRMED | JOURNAL_NONE;
	        d.b->state = (d.b->state & ~(UINT64_C(0xffff) << 32 | 0xff)) | JOURNAL_OPEN);
}

/* ---- anything ---- */

static uint64_t any_value(uint64_t old)
{
	switch (draw_below(6)) {
	case 0:
		return draw();
	case 1:
		return old ^ UINT64_C(1) << draw_below(64);
	case 2:
		return old + 1 - 2 * draw_below(2);
	case 3:
		return draw_below(d.n_blocks + 2);
	case 4:
		return draw_below(70000);
	default:
		return UINT64_C(1) << draw_below(64);
	}
}

/* A word that says something: of the head, a place, a link, or a list of parts. */
static uint64_t *any_word(void)
{
	unsigned places = (unsigned)((char *)d.next - (char *)d.a);
	size_t at;
	switch (draw_below(8)) {
	case 0:
		at = draw_below(JOURNAL_HEAD_BYTES);
		break;
	case 1:
	case 2:
		return (uint64_t *)(void *)((draw_one_in(2) ? (char *)d.parts_a : (char *)d.parts_b) +
		                            draw_below(4 * sizeof(struct journal_entry)) / 8 * 8);
	case 3:
		at = (size_t)((char *)d.next - d.body.memory) + draw_below(d.n_blocks * 4);
		break;
	case 4:
		at = JOURNAL_HEAD_BYTES + draw_below(places);
		break;
	default: /* the numbers of one of the four */
		at = JOURNAL_HEAD_BYTES + draw_below(4) * sizeof(struct journal_place) +
		     draw_below(offsetof(struct journal_place, key));
	}
	return (uint64_t *)(void *)(d.body.memory + at / 8 * 8);
}

static void random_damage_is_refused_or_leads_nowhere(void **state)
{
	(void)state;
	unsigned refused = 0;
	draw_init(20261127);
	for (unsigned i = 0; i < N_RANDOM; i++) {
		for (unsigned n = 1 + draw_below(3); n > 0; n--) {
			uint64_t *word = any_word();
			*word = any_value(*word);
		}
		int result = journal_body_live(&d.body);
		assert_true(result == 0 || (result == -EPROTO && d.body.error.text[0] != '\0'));
		refused += result != 0 ? 1 : 0;
		if (result == 0) {
			(void)journal_body_digest(&d.body);
			journal_body_use_up(&d.body);
		}
		repair();
	}
	print_message("%u of %u refused\n", refused, N_RANDOM);
	assert_true(refused > N_RANDOM / 8 && refused < N_RANDOM);
}

int main(void)
{
	alarm(180);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_whole_one_is_opened),
	        cmocka_unit_test(another_layout_and_other_numbers_are_refused),
	        cmocka_unit_test(a_note_that_leads_elsewhere_is_refused),
	        cmocka_unit_test(a_state_that_cannot_be_is_refused),
	        cmocka_unit_test(a_slot_that_cannot_be_is_refused),
	        cmocka_unit_test(a_chain_that_leads_elsewhere_is_refused),
	        cmocka_unit_test(members_and_parts_that_cannot_be_are_refused),
	        cmocka_unit_test(random_damage_is_refused_or_leads_nowhere),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
