/* A line's way into the journal, for those who bring line after line (inline). It sees the inside
 * of the journal; those who bring lines call journal_append_object alone.
 *
 *     lane    ... | record, {"text":"..."} | ...      other processes may write here
 *                          | copied once; what is looked at is what was copied
 *                          v
 *     object  ... raw lines {"text":"..."}\n <-- live->at
 */
#ifndef SINK_OBJECTS_JOURNAL_LINE_H
#define SINK_OBJECTS_JOURNAL_LINE_H

#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "sink/objects/journal_inside.h"

#define JOURNAL_AHEAD_BYTES 256u

/* The line lies at live->at. */
static inline void journal_end_line(struct journal_live *live, size_t bytes)
{
	live->at[bytes] = '\n';
	live->at += bytes + 1;
	live->room -= (uint32_t)bytes + 1;
	live->open_bytes += bytes + 1;
	/* The object's next line may be thousands of other objects' lines away: by then the place
	 * for it has come. Its first line of the cache is the one just written, or comes with the
	 * last line's. */
	for (size_t i = SHM_LINE; i < JOURNAL_AHEAD_BYTES; i += SHM_LINE)
		__builtin_prefetch(live->at + i, 1);
}

static inline void journal_count_line(struct journal *journal, journal_object object, size_t bytes,
                                      uint64_t now_ns)
{
	struct journal_live *live = &journal->live[object];
	journal->waiting_bytes += bytes + 1;
	live->lines++;
	live->touched_ns = now_ns;
	if (__builtin_expect(!live->dirty, 0)) {
		live->dirty = true;
		journal->dirty[journal->n_dirty++] = object;
		journal_keys_touch(journal, object);
	}
}

/* Sixteen bytes, wherever they lie. */
typedef unsigned char journal_sixteen __attribute__((vector_size(16)));
struct journal_sixteen_at {
	journal_sixteen bytes;
} __attribute__((packed, may_alias));

/* Byte by byte the lesser one. */
static inline journal_sixteen journal_lesser(journal_sixteen a, journal_sixteen b)
{
#if defined(__x86_64__)
	return (journal_sixteen)_mm_min_epu8((__m128i)a, (__m128i)b);
#else
	journal_sixteen less = (journal_sixteen)(a < b);
	return (a & less) | (b & ~less);
#endif
}

/* What is looked at in a copy. It is not loaded from there: that would wait for the stores. */
struct journal_copied {
	journal_sixteen least; /* byte by byte, of all that were copied */
	journal_sixteen first, last;
};

/* Copies sixteen bytes, and returns them: what lies in `from` may change meanwhile, so it is loaded
 * once (volatile), and what is stored is what is looked at. */
static inline journal_sixteen journal_copy_16(struct journal_copied *copied, char *to, const char *from)
{
	journal_sixteen bytes = ((const volatile struct journal_sixteen_at *)(const void *)from)->bytes;
	((struct journal_sixteen_at *)(void *)to)->bytes = bytes;
	copied->least = journal_lesser(copied->least, bytes);
	return bytes;
}

/* Returns the first sixteen; the last ones are in copied. */
static inline journal_sixteen journal_copy_64(struct journal_copied *copied, char *to, const char *from)
{
	journal_sixteen first = journal_copy_16(copied, to, from);
	(void)journal_copy_16(copied, to + 16, from + 16);
	(void)journal_copy_16(copied, to + 32, from + 32);
	copied->last = journal_copy_16(copied, to + 48, from + 48);
	return first;
}

static inline size_t journal_least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Copies n bytes, 16 at least. True when they are `{...}` and none is a newline or below, as tabs
 * are. Where the last step overlaps the one before its bytes replace those, but never the first.
 * Lines are of all lengths: a loop would end where the processor does not expect it, so the usual
 * ones take as many steps whatever their length is. */
static inline bool journal_copy_object(char *to, const char *from, size_t n)
{
	struct journal_copied copied = {.least = (journal_sixteen){0} + UINT8_MAX};
	uint64_t half[2];
	if (__builtin_expect(n > 64 && n <= 192, 1)) {
		size_t last = n - 64, middle = journal_least(64, last);
		copied.first = journal_copy_64(&copied, to, from);
		(void)journal_copy_64(&copied, to + middle, from + middle);
		(void)journal_copy_64(&copied, to + last, from + last);
	} else {
		copied.first = copied.last = journal_copy_16(&copied, to, from);
		for (size_t at = 0; at < n - 16;) {
			at = journal_least(at + 16, n - 16);
			copied.last = journal_copy_16(&copied, to + at, from + at);
		}
	}
	journal_sixteen low = (journal_sixteen)(copied.least <= '\n');
	memcpy(half, &low, sizeof half);
	return (half[0] | half[1]) == 0 && copied.first[0] == '{' && copied.last[15] == '}';
}

/* As journal_append, for one JSON object out of memory that other processes may write: what is
 * looked at is the copy. False, and nothing has changed, when that is no `{...}` on one line, or
 * has a tab, or does not fit without more blocks: then it takes the long way, over record_copy. */
static inline bool journal_append_object(struct journal *journal, journal_object object, const void *line,
                                         size_t bytes, uint64_t now_ns)
{
	struct journal_live *live = &journal->live[object];
	if (bytes < sizeof(journal_sixteen) || bytes >= live->room)
		return false;
	/* Beyond the object's length nothing says anything yet. */
	if (!journal_copy_object(live->at, line, bytes))
		return false;
	journal_end_line(live, bytes);
	journal_count_line(journal, object, bytes, now_ns);
	return true;
}

#endif
