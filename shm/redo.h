/* A redo note: several words that change together although their writer may be killed between any
 * two stores.
 *
 *     empty --add, add, ...--> filled --redo_publish--> published --redo_apply--> empty
 *                                |                          |
 *                      killed: nothing happened     killed: the next life applies it again
 *
 * The note holds absolute values, so applying it twice does no harm. It lies in the writer's own
 * segment (SEGMENT_PRIVATE). Words are named by region and offset, because the next life maps them
 * elsewhere. Publishing is the commit point: one release store.
 */
#ifndef SHM_REDO_H
#define SHM_REDO_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Enough for the greatest batch there is, 64 receive buffers and two lanes, even when the ledger
 * has all the reasons that it has room for; so a new reason does not change the layout of notes. */
#define REDO_WORDS_MAX   128u
#define REDO_REGIONS_MAX 8u

struct redo_note {
	_Atomic uint32_t published; /* 1 from redo_publish until all words are stored */
	uint32_t n;                 /* words in use */
	struct redo_word {
		uint32_t region;
		uint32_t offset; /* bytes from the region's base */
		uint64_t value;
	} word[REDO_WORDS_MAX];
};

/* A note and where its regions lie in this life. The order of regions is part of the shared
 * layout. */
struct redo {
	struct redo_note *note;
	char *base[REDO_REGIONS_MAX];
};

/* Adds "*target becomes value"; target lies in region. The caller sees to it that no word is added
 * twice. */
static inline void redo_add(struct redo *redo, unsigned region, const _Atomic uint64_t *target,
                            uint64_t value)
{
	struct redo_note *note = redo->note;
	assert(note->n < REDO_WORDS_MAX && region < REDO_REGIONS_MAX);
	note->word[note->n++] =
	        (struct redo_word){.region = region,
	                           .offset = (uint32_t)((const char *)target - redo->base[region]),
	                           .value = value};
}

/* From here on the words will be stored, by this life or the next. */
static inline void redo_publish(struct redo *redo)
{
	atomic_store_explicit(&redo->note->published, 1, memory_order_release);
}

/* Stores all words (release, in the order they were added) and empties the note. */
static inline void redo_apply(struct redo *redo)
{
	struct redo_note *note = redo->note;
	for (uint32_t i = 0; i < note->n; i++) {
		_Atomic uint64_t *target =
		        (_Atomic uint64_t *)(void *)(redo->base[note->word[i].region] + note->word[i].offset);
		atomic_store_explicit(target, note->word[i].value, memory_order_release);
	}
	atomic_store_explicit(&note->published, 0, memory_order_release);
	/* A release store lets later plain stores move up before it; a death between the two would
	 * then find a published, empty note. */
	atomic_signal_fence(memory_order_seq_cst);
	note->n = 0;
}

/* What a new life does first. Returns true when the last one had published and not finished. */
static inline bool redo_recover(struct redo *redo)
{
	bool published = atomic_load_explicit(&redo->note->published, memory_order_acquire) == 1;
	if (published)
		redo_apply(redo);
	redo->note->n = 0;
	return published;
}

#endif
