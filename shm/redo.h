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
 *
 * The next life may have other regions, or the same in another order (the list of topics was
 * edited): so the note also says how its life called them. Words of a region that the next life
 * does not have are for something that nobody uses any more, and are dropped.
 *
 * A note that cannot be one of ours (more words than there is room for, a word that lies outside
 * its region) changes nothing: redo_recover refuses it.
 */
#ifndef SHM_REDO_H
#define SHM_REDO_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Enough for the greatest batch there is, 64 receive buffers and two lanes, even when the ledger
 * has all the reasons that it has room for; so a new reason does not change the layout of notes. */
#define REDO_WORDS_MAX   128u
#define REDO_REGIONS_MAX 8u

struct redo_note {
	_Atomic uint32_t published;      /* 1 from redo_publish until all words are stored */
	uint32_t n;                      /* words in use */
	uint64_t name[REDO_REGIONS_MAX]; /* redo.name of the life that fills it; while it is empty alone */
	struct redo_word {
		uint32_t region;
		uint32_t offset; /* bytes from the region's base */
		uint64_t value;
	} word[REDO_WORDS_MAX];
};

/* A note and where its regions lie in this life. A region has a name (redo_name), or 0: then its
 * number is part of the shared layout. */
struct redo {
	struct redo_note *note;
	char *base[REDO_REGIONS_MAX];
	size_t bytes[REDO_REGIONS_MAX]; /* of the region: no word of a note that was found lies beyond */
	uint64_t name[REDO_REGIONS_MAX];
};

/* The name of a region for what it is ("lane", "group") and of what: FNV-1a, never 0. */
static inline uint64_t redo_name(const char *kind, const char *of)
{
	uint64_t hash = 0xcbf29ce484222325;
	for (; *kind != '\0'; kind++)
		hash = (hash ^ (unsigned char)*kind) * 0x100000001b3;
	hash *= 0x100000001b3; /* a 0 between the two */
	for (; *of != '\0'; of++)
		hash = (hash ^ (unsigned char)*of) * 0x100000001b3;
	return hash != 0 ? hash : 1;
}

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

/* Stores all words whose region has a base (release, in the order they were added) and empties the
 * note. */
static inline void redo_store(struct redo_note *note, char *const base[REDO_REGIONS_MAX])
{
	for (uint32_t i = 0; i < note->n; i++) {
		char *region = base[note->word[i].region];
		if (region == NULL)
			continue;
		_Atomic uint64_t *target = (_Atomic uint64_t *)(void *)(region + note->word[i].offset);
		atomic_store_explicit(target, note->word[i].value, memory_order_release);
	}
	atomic_store_explicit(&note->published, 0, memory_order_release);
	/* A release store lets later plain stores move up before it; a death between the two would
	 * then find a published, empty note. */
	atomic_signal_fence(memory_order_seq_cst);
	note->n = 0;
}

static inline void redo_apply(struct redo *redo)
{
	redo_store(redo->note, redo->base);
}

/* Which region of this life was number i in the last one; REDO_REGIONS_MAX: none, it is not there
 * any more. */
static inline unsigned redo_region_now(const struct redo *redo, unsigned i)
{
	uint64_t name = redo->note->name[i];
	if (name == 0)
		return redo->name[i] == 0 ? i : REDO_REGIONS_MAX;
	unsigned k = 0;
	while (k < REDO_REGIONS_MAX && redo->name[k] != name)
		k++;
	return k;
}

/* Whether the last life can have written the note, as far as its bounds tell. */
static inline bool redo_is_sound(const struct redo *redo)
{
	const struct redo_note *note = redo->note;
	if (note->n > REDO_WORDS_MAX)
		return false;
	for (uint32_t i = 0; i < note->n; i++) {
		const struct redo_word *word = &note->word[i];
		if (word->region >= REDO_REGIONS_MAX || word->offset % sizeof(uint64_t) != 0)
			return false;
		unsigned now = redo_region_now(redo, word->region);
		if (now < REDO_REGIONS_MAX && redo->base[now] != NULL &&
		    (uint64_t)word->offset + sizeof(uint64_t) > redo->bytes[now])
			return false;
	}
	return true;
}

/* What a new life does first, with base, bytes and name set. Returns 1 when the last one had
 * published and not finished, 0 when there was nothing to do; -EPROTO when what it left is no note:
 * nothing has changed then. */
static inline int redo_recover(struct redo *redo)
{
	struct redo_note *note = redo->note;
	uint32_t published = atomic_load_explicit(&note->published, memory_order_acquire);
	if (published > 1 || (published == 1 && !redo_is_sound(redo)))
		return -EPROTO;
	if (published == 1) {
		char *base[REDO_REGIONS_MAX];
		for (unsigned i = 0; i < REDO_REGIONS_MAX; i++) {
			unsigned now = redo_region_now(redo, i);
			base[i] = now < REDO_REGIONS_MAX ? redo->base[now] : NULL;
		}
		redo_store(note, base);
	}
	note->n = 0;
	/* It is empty: whoever finds it with half of the names has no word to look up. */
	for (unsigned i = 0; i < REDO_REGIONS_MAX; i++)
		note->name[i] = redo->name[i];
	return (int)published;
}

#endif
