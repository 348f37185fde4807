/* What opening makes of a segment: each object is believed only as far as it makes sense. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sink/objects/journal_inside.h"

/* Of one object or part; 10,000 of them can be added up. */
#define JOURNAL_RAW_MAX (UINT64_C(1) << 50)

struct checking {
	struct journal *journal;
	uint32_t *owner;
	uint64_t epoch;
	struct shm_error *error;
	journal_object object;
};

/* The first argument after the format is the object. */
#define refuse(c, ...) (shm_explain((c)->error, "journal: object %" PRIu32 ": " __VA_ARGS__), -EPROTO)

/* ---- chains ---- */

/* Walks a chain and makes its blocks the object's. Sets *last, JOURNAL_NONE for an empty one. */
static int check_chain(struct checking *c, const char *what, uint64_t first, uint64_t bytes, uint32_t *last)
{
	const struct journal *journal = c->journal;
	uint64_t n = journal_blocks(bytes), block = first;
	*last = JOURNAL_NONE;
	if (n > journal->n_blocks)
		return refuse(c, "%s: %" PRIu64 " bytes, more than the blocks hold", c->object, what, bytes);
	for (uint64_t i = 0; i < n; i++) {
		if (block >= journal->n_blocks)
			return refuse(c, "%s: block %" PRIu64 " of %" PRIu32, c->object, what, block,
			              journal->n_blocks);
		if (c->owner[block] != JOURNAL_NONE)
			return refuse(c, "%s: block %" PRIu64 " belongs to object %" PRIu32 " already",
			              c->object, what, block, c->owner[block]);
		c->owner[block] = c->object;
		*last = (uint32_t)block;
		block = journal->next[block];
	}
	return 0;
}

/* ---- parts ---- */

static int check_entry(struct checking *c, uint32_t number, const struct journal_entry *entry)
{
	struct journal_live *live = &c->journal->live[c->object];
	uint64_t state = journal_load(&entry->state);
	uint32_t block = (uint32_t)state, last;
	bool confirmed = (state & JOURNAL_ENTRY_CONFIRMED) != 0,
	     spooled = (state & JOURNAL_ENTRY_SPOOLED) != 0;
	if (state >> 34 != 0 || (confirmed || spooled) != (block == JOURNAL_NONE))
		return refuse(c, "part %" PRIu32 ": state %" PRIx64, c->object, number, state);
	if (entry->bytes == 0 || entry->bytes > JOURNAL_RAW_MAX || entry->raw_bytes > JOURNAL_RAW_MAX ||
	    entry->lines > entry->raw_bytes)
		return refuse(c, "part %" PRIu32 ": %" PRIu64 " bytes of %" PRIu64 " lines in %" PRIu64,
		              c->object, number, entry->bytes, entry->lines, entry->raw_bytes);
	if (entry->first_epoch > entry->last_epoch || entry->last_epoch > c->epoch)
		return refuse(c, "part %" PRIu32 ": commits %" PRIu64 " to %" PRIu64 " of %" PRIu64,
		              c->object, number, entry->first_epoch, entry->last_epoch, c->epoch);
	if (confirmed && memchr(entry->etag, 0, sizeof entry->etag) == NULL)
		return refuse(c, "part %" PRIu32 ": its ETag has no end", c->object, number);
	live->parts_lines += entry->lines;
	live->parts_raw_bytes += entry->raw_bytes;
	live->n_confirmed += confirmed ? 1 : 0;
	*(confirmed ? &live->sent_bytes : &live->cut_bytes) += entry->bytes;
	if (confirmed || spooled)
		return 0;
	char what[32];
	snprintf(what, sizeof what, "part %" PRIu32, number);
	c->journal->waiting_bytes += entry->bytes;
	return check_chain(c, what, block, entry->bytes, &last);
}

static int check_parts(struct checking *c)
{
	struct journal *journal = c->journal;
	const struct journal_place *place = &journal->place[c->object];
	struct journal_live *live = &journal->live[c->object];
	uint64_t n = journal_load(&place->n_parts), block = journal_load(&place->parts_first);
	if (n > JOURNAL_PARTS_MAX)
		return refuse(c, "%" PRIu64 " parts, at most %u are possible", c->object, n,
		              JOURNAL_PARTS_MAX);
	int result =
	        check_chain(c, "list of parts", block, n * sizeof(struct journal_entry), &live->parts_last);
	for (uint32_t i = 0; result == 0 && i < n; i++) {
		if (i != 0 && i % JOURNAL_ENTRIES == 0)
			block = journal->next[block];
		struct journal_entry *list = (void *)journal_block(journal, (uint32_t)block);
		result = check_entry(c, i + 1, &list[i % JOURNAL_ENTRIES]);
	}
	return result;
}

/* ---- lines ---- */

static int check_packed(struct checking *c)
{
	const struct journal_packed *packed = &c->journal->place[c->object].packed;
	struct journal_live *live = &c->journal->live[c->object];
	uint64_t bytes = journal_load(&packed->bytes), lines = journal_load(&packed->lines),
	         raw_bytes = journal_load(&packed->raw_bytes), first = journal_load(&packed->first_epoch),
	         last = journal_load(&packed->last_epoch);
	if (lines < live->parts_lines || raw_bytes < live->parts_raw_bytes || raw_bytes > JOURNAL_RAW_MAX ||
	    lines > live->lines || lines > raw_bytes ||
	    (bytes == 0 && (lines != live->parts_lines || raw_bytes != live->parts_raw_bytes)))
		return refuse(c,
		              "members: %" PRIu64 " bytes, lines up to %" PRIu64 " in %" PRIu64
		              ", the parts have %" PRIu64 " in %" PRIu64 ", the object %" PRIu64,
		              c->object, bytes, lines, raw_bytes, live->parts_lines, live->parts_raw_bytes,
		              live->lines);
	if (bytes != 0 && (first > last || last > c->epoch))
		return refuse(c, "members: commits %" PRIu64 " to %" PRIu64 " of %" PRIu64, c->object, first,
		              last, c->epoch);
	c->journal->waiting_bytes += bytes;
	return check_chain(c, "members", journal_load(&packed->first), bytes, &live->packed_last);
}

static int check_open(struct checking *c, const struct journal_slot *slot)
{
	const struct journal_place *place = &c->journal->place[c->object];
	struct journal_live *live = &c->journal->live[c->object];
	uint64_t bytes = journal_load(&slot->open_bytes),
	         lines = slot->lines - journal_load(&place->packed.lines);
	if ((bytes == 0) != (lines == 0) || lines > bytes)
		return refuse(c, "open member: %" PRIu64 " lines in %" PRIu64 " bytes", c->object, lines,
		              bytes);
	if (bytes != 0 && slot->open_epoch > journal_load(&slot->epoch))
		return refuse(c, "open member: commit %" PRIu64 " of %" PRIu64, c->object, slot->open_epoch,
		              journal_load(&slot->epoch));
	live->open_bytes = bytes;
	live->open_first = (uint32_t)slot->open_first;
	live->open_epoch = slot->open_epoch;
	c->journal->waiting_bytes += bytes;
	return check_chain(c, "open member", slot->open_first, bytes, &live->open_last);
}

/* ---- objects ---- */

static bool ends(const char *string, size_t bytes)
{
	return string[bytes] == '\0';
}

static int check_state(struct checking *c, uint64_t word)
{
	const struct journal_place *place = &c->journal->place[c->object];
	struct journal_state state = journal_state_of(place);
	if (state.phase < JOURNAL_OPEN || state.phase > JOURNAL_UPLOADING ||
	    journal_state_make(state) != word)
		return refuse(c, "state %" PRIx64, c->object, word);
	if (state.key_bytes == 0 || state.key_bytes > JOURNAL_KEY_MAX || state.name_bytes > JOURNAL_KEY_MAX ||
	    state.upload_bytes > JOURNAL_UPLOAD_MAX)
		return refuse(c, "key, name and upload id of %u, %u and %u bytes", c->object, state.key_bytes,
		              state.name_bytes, state.upload_bytes);
	if ((state.name_bytes != 0) != (state.phase >= JOURNAL_NAMED) ||
	    (state.upload_bytes != 0) != (state.phase >= JOURNAL_UPLOADING))
		return refuse(c, "phase %u with a name of %u bytes and an upload id of %u", c->object,
		              state.phase, state.name_bytes, state.upload_bytes);
	if (!ends(place->key, state.key_bytes) ||
	    (state.name_bytes != 0 && !ends(place->name, state.name_bytes)) ||
	    (state.upload_bytes != 0 && !ends(place->upload, state.upload_bytes)))
		return refuse(c, "key, name or upload id has no end", c->object);
	return 0;
}

/* The slot in force; NULL with *result 0 when there is none. */
static const struct journal_slot *choose_slot(struct checking *c, int *result)
{
	const struct journal_place *place = &c->journal->place[c->object];
	struct journal_live *live = &c->journal->live[c->object];
	const struct journal_slot *slot = NULL;
	uint64_t best = 0;
	*result = 0;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t epoch = journal_load(&place->slot[i].epoch);
		if (epoch > c->epoch + 1 || (epoch != 0 && epoch == best)) {
			*result = refuse(c, "slot of commit %" PRIu64 ", the last one was %" PRIu64,
			                 c->object, epoch, c->epoch);
			return NULL;
		}
		if (epoch <= best || epoch > c->epoch)
			continue;
		best = epoch;
		slot = &place->slot[i];
		live->slot = (uint8_t)i;
	}
	return slot;
}

static int check_object(struct checking *c)
{
	const struct journal_place *place = &c->journal->place[c->object];
	struct journal_live *live = &c->journal->live[c->object];
	uint64_t word = journal_load(&place->state);
	if (word == 0)
		return 0;
	int result = check_state(c, word);
	if (result != 0)
		return result;
	const struct journal_slot *slot = choose_slot(c, &result);
	if (result != 0)
		return result;
	struct journal_state state = journal_state_of(place);
	if (slot == NULL) { /* added and not committed */
		if (state.phase == JOURNAL_OPEN && !state.finishing)
			return 0;
		return refuse(c, "phase %u and no commit", c->object, state.phase);
	}
	live->used = true;
	live->lines = slot->lines;
	live->touched_ns = slot->touched_ns;
	if ((result = check_parts(c)) != 0 || (result = check_packed(c)) != 0)
		return result;
	if (live->n_confirmed != 0 && state.phase < JOURNAL_NAMED)
		return refuse(c, "%" PRIu32 " parts are in the store, and it has no name", c->object,
		              live->n_confirmed);
	return check_open(c, slot);
}

int journal_check(struct journal *journal, uint32_t *owner, struct shm_error *error)
{
	struct checking c = {.journal = journal,
	                     .owner = owner,
	                     .epoch = journal_load(&journal->head->epoch),
	                     .error = error};
	if (c.epoch >= UINT64_MAX / 2) {
		shm_explain(error, "journal: commit %" PRIu64 " cannot be", c.epoch);
		return -EPROTO;
	}
	for (uint32_t i = 0; i < journal->n_blocks; i++)
		owner[i] = JOURNAL_NONE;
	int result = 0;
	for (c.object = 0; result == 0 && c.object < journal->n_objects; c.object++)
		result = check_object(&c);
	return result;
}

/* ---- the note ---- */

int journal_check_note(const struct journal *journal, struct shm_error *error)
{
	const struct redo_note *note = &journal->head->note;
	uint64_t places = (uint64_t)((const char *)journal->place - (const char *)journal->head),
	         places_end = places + (uint64_t)journal->n_objects * sizeof(struct journal_place),
	         epoch = offsetof(struct journal_head, epoch);
	uint32_t published = atomic_load_explicit(&note->published, memory_order_relaxed), n = note->n;
	if (published > 1 || n > REDO_WORDS_MAX) {
		shm_explain(error, "journal: redo note %" PRIu32 " of %" PRIu32 " words", published, n);
		return -EPROTO;
	}
	for (uint32_t i = 0; published == 1 && i < n; i++) {
		uint32_t region = note->word[i].region;
		uint64_t offset = note->word[i].offset;
		bool own = offset == epoch || (offset >= places && offset < places_end);
		bool group = offset <= sizeof(struct stream_group) - sizeof(uint64_t);
		if (offset % sizeof(uint64_t) != 0 || region >= REDO_REGIONS_MAX ||
		    !(region == 0 ? own : group)) {
			shm_explain(error,
			            "journal: redo note: word %" PRIu32 " at %" PRIu64 " of region %" PRIu32,
			            i, offset, region);
			return -EPROTO;
		}
	}
	return 0;
}
