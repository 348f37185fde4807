/* Which object took the last line of a key, for logs whose key has numbers and times alone: a table
 * in front of template_hash and journal_find, which it saves.
 *
 *     client_id 7, timestamp 1764240000123 --> 7, day 20419 --> entry --> object, while nothing was closed since
 *
 * An entry that another has taken, or that is of before an object ceased to take lines
 * (journal_closings), says nothing: the long way finds the object, and the entry is made again.
 */
#ifndef SINK_OBJECTS_RECENT_H
#define SINK_OBJECTS_RECENT_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "event/event.h"
#include "event/template.h"
#include "sink/objects/journal.h"

#define RECENT_ENTRIES_MAX 16384u /* half a MiB; of more objects so many at most are remembered */

struct recent_entry {
	uint64_t number[TEMPLATE_MARKS_MAX];
	uint32_t unit;
	journal_object object;
	uint64_t closings; /* of the journal, and one */
};
_Static_assert(sizeof(struct recent_entry) == 32, "two are a line of the cache");

struct recent {
	struct template_marks marks;
	uint64_t mask[TEMPLATE_MARKS_MAX]; /* 0: there is no such number */
	uint64_t from_ms, span_ms, unit;   /* of the last event's time */
	uint64_t closings;
	struct recent_entry *entry; /* NULL: nothing is remembered */
	unsigned shift;
};

/* What an event has. */
struct recent_key {
	uint64_t number[TEMPLATE_MARKS_MAX], unit;
};

/* Bytes of the table for a journal of so many objects. */
static inline size_t recent_bytes(uint64_t n_objects)
{
	size_t entries = 16;
	while (entries < n_objects && entries < RECENT_ENTRIES_MAX)
		entries *= 2;
	return entries * sizeof(struct recent_entry);
}

/* Remembers nothing when the template's keys are made from more than marks say. Returns false
 * without memory. */
static inline bool recent_open(struct recent *recent, const struct template *template, uint64_t n_objects)
{
	size_t bytes = recent_bytes(n_objects);
	*recent = (struct recent){.shift = 64};
	if (!template_marks(template, EVENT_LOG, &recent->marks))
		return true;
	for (unsigned i = 0; i < recent->marks.n; i++)
		recent->mask[i] = UINT64_MAX;
	for (size_t n = bytes / sizeof(struct recent_entry); n > 1; n /= 2)
		recent->shift--;
	recent->entry = aligned_alloc(SHM_LINE, bytes);
	if (recent->entry != NULL)
		memset(recent->entry, 0, bytes);
	return recent->entry != NULL;
}

static inline void recent_close(struct recent *recent)
{
	free(recent->entry);
}

/* Before lines are taken: what was closed meanwhile is forgotten. */
static inline void recent_begin(struct recent *recent, const struct journal *journal)
{
	recent->closings = journal_closings(journal) + 1;
}

/* Times come in order, nearly: divided is once a day or hour. */
static inline uint64_t recent_unit(struct recent *recent, uint64_t time_ms)
{
	if (__builtin_expect(time_ms - recent->from_ms >= recent->span_ms, 0) && recent->marks.unit_ms != 0) {
		recent->unit = time_ms / recent->marks.unit_ms;
		recent->from_ms = recent->unit * recent->marks.unit_ms;
		recent->span_ms = recent->marks.unit_ms;
	}
	return recent->unit;
}

/* Eight bytes wherever they lie, loaded once: what others can write may change. */
static inline uint64_t recent_load(const void *at)
{
	struct eight {
		uint64_t word;
	} __attribute__((packed, may_alias));
	return ((const volatile struct eight *)at)->word;
}

/* Of the log's struct, which is as long as it must be; each of its words is loaded once at most. */
static inline struct recent_key recent_key(struct recent *recent, const void *log)
{
	struct recent_key key;
	for (unsigned i = 0; i < TEMPLATE_MARKS_MAX; i++)
		key.number[i] = recent_load((const char *)log + recent->marks.at[i]) & recent->mask[i];
	key.unit = recent_unit(recent,
	                       recent_load((const char *)log + offsetof(struct event_log, timestamp_ms)));
	return key;
}

static inline struct recent_entry *recent_place(const struct recent *recent, const struct recent_key *key)
{
	/* Whoever makes them meet in one entry makes the long way of them. */
	uint64_t mixed = (key->number[0] + 3 * key->number[1] + 5 * key->unit) * UINT64_C(0x9e3779b97f4a7c15);
	return &recent->entry[mixed >> recent->shift];
}

/* The object of the key, or JOURNAL_NONE. */
static inline journal_object recent_find(const struct recent *recent, const struct recent_key *key)
{
	const struct recent_entry *entry = recent_place(recent, key);
	return ((entry->number[0] ^ key->number[0]) | (entry->number[1] ^ key->number[1]) |
	        (entry->unit ^ key->unit) | (entry->closings ^ recent->closings)) == 0
	               ? entry->object
	               : JOURNAL_NONE;
}

static inline void recent_add(const struct recent *recent, const struct recent_key *key,
                              journal_object object)
{
	if (key->unit > UINT32_MAX) /* no time that a key can have; it is compared as a whole */
		return;
	*recent_place(recent, key) = (struct recent_entry){.number = {key->number[0], key->number[1]},
	                                                   .unit = (uint32_t)key->unit,
	                                                   .object = object,
	                                                   .closings = recent->closings};
}

#endif
