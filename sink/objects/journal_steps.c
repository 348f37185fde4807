/* Steps of the journal: each whole or not at all, whenever the process is killed. */
#include <string.h>

#include "sink/objects/journal_inside.h"

#define FILL_BLOCKS 32u /* of room at a time */

static struct journal_live *ready(const struct journal *journal, journal_object object)
{
	journal_require(object < journal->n_objects && journal->live[object].used && journal->n_dirty == 0 &&
	                journal->redo->note->n == 0);
	return &journal->live[object];
}

static void note(struct journal *journal, const _Atomic uint64_t *word, uint64_t value)
{
	redo_add(journal->redo, 0, word, value);
}

static void apply(struct journal *journal)
{
	redo_publish(journal->redo);
	redo_apply(journal->redo);
}

/* ---- members ---- */

void journal_fill(struct journal *journal, journal_object object, struct journal_filling *filling)
{
	(void)ready(journal, object);
	*filling = (struct journal_filling){
	        .journal = journal, .object = object, .first = JOURNAL_NONE, .last = JOURNAL_NONE};
}

/* Blocks in a row, as many as can be had at once: a packer stops at the end of each piece. What the
 * member does not come to is given back. */
void *journal_fill_room(void *argument, size_t *bytes)
{
	struct journal_filling *filling = argument;
	struct journal *journal = filling->journal;
	uint64_t used = journal_load(&journal->place[filling->object].packed.bytes) % JOURNAL_BLOCK_BYTES;
	/* It goes on where the member before it ends. */
	uint32_t last =
	        filling->first != JOURNAL_NONE ? filling->last : journal->live[filling->object].packed_last;
	char *room = NULL;
	*bytes = 0;
	if (filling->bytes == 0 && used != 0) {
		*bytes = JOURNAL_BLOCK_BYTES - used;
		room = journal_block(journal, last) + used;
	}
	for (unsigned i = 0; i < FILL_BLOCKS && journal->n_free > JOURNAL_LIST_BLOCKS; i++) {
		if (room != NULL && !journal_can_follow(journal, last + 1))
			break;
		uint32_t block = journal_take(journal, last);
		if (filling->first == JOURNAL_NONE)
			filling->first = block;
		else
			journal->next[filling->last] = block;
		if (room == NULL)
			room = journal_block(journal, block);
		filling->last = last = block;
		*bytes += JOURNAL_BLOCK_BYTES;
	}
	filling->bytes += *bytes;
	return room;
}

static uint64_t filling_blocks(const struct journal_filling *filling)
{
	return filling->bytes / JOURNAL_BLOCK_BYTES; /* the rest of the member before is less than one */
}

void journal_fill_drop(struct journal_filling *filling)
{
	journal_give_chain(filling->journal, filling->first, filling_blocks(filling));
	*filling = (struct journal_filling){.journal = filling->journal,
	                                    .object = filling->object,
	                                    .first = JOURNAL_NONE,
	                                    .last = JOURNAL_NONE};
}

/* Gives back the blocks that the member did not come to. Returns its last one, which is that of the
 * member before when it took none. */
static uint32_t trim(struct journal *journal, struct journal_filling *filling, uint64_t before,
                     uint64_t after)
{
	uint64_t n = journal_blocks(after) - journal_blocks(before), given = filling_blocks(filling);
	uint32_t last = journal->live[filling->object].packed_last, block = filling->first;
	for (uint64_t i = 0; i < n; i++) {
		last = block;
		block = journal->next[block];
	}
	if (given > n)
		journal_give_chain(journal, block, given - n);
	return last;
}

void journal_packed(struct journal *journal, journal_object object, struct journal_filling *filling,
                    uint64_t packed_bytes)
{
	struct journal_live *live = ready(journal, object);
	struct journal_place *place = &journal->place[object];
	struct journal_packed *packed = &place->packed;
	struct journal_slot *slot = &place->slot[live->slot];
	uint64_t before = journal_load(&packed->bytes), after = before + packed_bytes;
	journal_require(filling->journal == journal && filling->object == object && live->open_bytes > 0 &&
	                packed_bytes > 0 && packed_bytes <= filling->bytes);
	uint32_t last = trim(journal, filling, before, after);
	/* Says nothing before the length does: beyond the last block of the chain. */
	if (before != 0 && last != live->packed_last)
		journal->next[live->packed_last] = filling->first;
	if (before == 0) {
		note(journal, &packed->first, filling->first);
		note(journal, &packed->first_epoch, live->open_epoch);
	}
	note(journal, &packed->bytes, after);
	note(journal, &packed->lines, live->lines);
	note(journal, &packed->raw_bytes, journal_load(&packed->raw_bytes) + live->open_bytes);
	note(journal, &packed->last_epoch, journal_load(&slot->epoch));
	note(journal, &slot->open_bytes, 0);
	apply(journal);
	journal_give_chain(journal, live->open_first, journal_blocks(live->open_bytes));
	journal->waiting_bytes += packed_bytes - live->open_bytes;
	live->packed_last = last;
	live->open_bytes = 0;
	live->open_last = JOURNAL_NONE;
	live->room = 0;
}

/* ---- parts ---- */

/* Where the entry of the next part goes, NULL when there is no block for it. It is in no list
 * before n_parts says so. */
static struct journal_entry *next_entry(struct journal *journal, journal_object object, uint32_t n,
                                        uint32_t *block)
{
	struct journal_live *live = &journal->live[object];
	*block = live->parts_last;
	if (n % JOURNAL_ENTRIES == 0) {
		if (journal->n_free == 0)
			return NULL;
		*block = journal_take_single(journal);
		if (n != 0)
			journal->next[live->parts_last] = *block;
	}
	struct journal_entry *list = (void *)journal_block(journal, *block);
	return &list[n % JOURNAL_ENTRIES];
}

uint32_t journal_cut(struct journal *journal, journal_object object)
{
	struct journal_live *live = ready(journal, object);
	struct journal_place *place = &journal->place[object];
	struct journal_packed *packed = &place->packed;
	uint32_t n = (uint32_t)journal_load(&place->n_parts), block;
	uint64_t bytes = journal_load(&packed->bytes);
	if (bytes == 0 || n == JOURNAL_PARTS_MAX)
		return 0;
	struct journal_entry *entry = next_entry(journal, object, n, &block);
	if (entry == NULL)
		return 0;
	*entry = (struct journal_entry){.state = journal_load(&packed->first),
	                                .bytes = bytes,
	                                .raw_bytes = journal_load(&packed->raw_bytes) - live->parts_raw_bytes,
	                                .lines = journal_load(&packed->lines) - live->parts_lines,
	                                .first_epoch = journal_load(&packed->first_epoch),
	                                .last_epoch = journal_load(&packed->last_epoch)};
	if (n == 0)
		note(journal, &place->parts_first, block);
	note(journal, &place->n_parts, n + 1);
	note(journal, &packed->bytes, 0);
	apply(journal);
	live->parts_last = block;
	live->parts_raw_bytes += entry->raw_bytes;
	live->parts_lines += entry->lines;
	live->cut_bytes += bytes;
	live->packed_last = JOURNAL_NONE;
	return n + 1;
}

/* The part's bytes are somewhere else now. */
static void leave_blocks(struct journal *journal, struct journal_entry *entry, uint64_t state)
{
	uint32_t block = (uint32_t)journal_load(&entry->state);
	journal_store(&entry->state, state | JOURNAL_NONE);
	if (block == JOURNAL_NONE)
		return;
	journal_give_chain(journal, block, journal_blocks(entry->bytes));
	journal->waiting_bytes -= entry->bytes;
}

static struct journal_entry *cut_entry(struct journal *journal, journal_object object, uint32_t number)
{
	journal_require(number > 0 && number <= journal_load(&journal->place[object].n_parts));
	struct journal_entry *entry = journal_entry(journal, object, number);
	journal_require((journal_load(&entry->state) & JOURNAL_ENTRY_CONFIRMED) == 0);
	return entry;
}

void journal_confirm(struct journal *journal, journal_object object, uint32_t number, const char *etag)
{
	struct journal_live *live = ready(journal, object);
	size_t etag_bytes = strlen(etag);
	journal_require(etag_bytes < JOURNAL_ETAG_MAX &&
	                journal_state_of(&journal->place[object]).phase == JOURNAL_UPLOADING);
	struct journal_entry *entry = cut_entry(journal, object, number);
	memcpy(entry->etag, etag, etag_bytes + 1);
	leave_blocks(journal, entry, JOURNAL_ENTRY_CONFIRMED);
	live->n_confirmed++;
	live->sent_bytes += entry->bytes;
	live->cut_bytes -= entry->bytes;
}

void journal_spooled(struct journal *journal, journal_object object, uint32_t number)
{
	(void)ready(journal, object);
	struct journal_entry *entry = cut_entry(journal, object, number);
	leave_blocks(journal, entry, JOURNAL_ENTRY_SPOOLED);
}

/* ---- what the object is ---- */

static void set_state(struct journal *journal, journal_object object, struct journal_state state)
{
	journal_store(&journal->place[object].state, journal_state_make(state));
}

void journal_set_name(struct journal *journal, journal_object object, const char *name, size_t bytes)
{
	(void)ready(journal, object);
	struct journal_place *place = &journal->place[object];
	struct journal_state state = journal_state_of(place);
	journal_require(bytes > 0 && bytes <= JOURNAL_KEY_MAX && state.phase <= JOURNAL_NAMED);
	state.phase = JOURNAL_OPEN;
	state.name_bytes = 0;
	set_state(journal, object, state);
	memcpy(place->name, name, bytes);
	place->name[bytes] = '\0';
	state.phase = JOURNAL_NAMED;
	state.name_bytes = (uint16_t)bytes;
	set_state(journal, object, state);
}

void journal_set_upload(struct journal *journal, journal_object object, const char *upload, size_t bytes)
{
	(void)ready(journal, object);
	struct journal_place *place = &journal->place[object];
	struct journal_state state = journal_state_of(place);
	journal_require(bytes > 0 && bytes <= JOURNAL_UPLOAD_MAX && state.phase >= JOURNAL_NAMED);
	state.phase = JOURNAL_NAMED;
	state.upload_bytes = 0;
	set_state(journal, object, state);
	memcpy(place->upload, upload, bytes);
	place->upload[bytes] = '\0';
	state.phase = JOURNAL_UPLOADING;
	state.upload_bytes = (uint16_t)bytes;
	set_state(journal, object, state);
}

void journal_set_word(struct journal *journal, journal_object object, unsigned word, uint64_t value)
{
	(void)ready(journal, object);
	journal_require(word < 4);
	journal_store(&journal->place[object].word[word], value);
}

void journal_finish(struct journal *journal, journal_object object)
{
	struct journal_live *live = ready(journal, object);
	struct journal_state state = journal_state_of(&journal->place[object]);
	if (state.finishing)
		return;
	state.finishing = true;
	set_state(journal, object, state);
	journal_keys_remove(journal, object);
	live->room = 0;
	journal->n_finishing++;
}

void journal_remove(struct journal *journal, journal_object object)
{
	struct journal_live *live = ready(journal, object);
	struct journal_place *place = &journal->place[object];
	uint32_t n = (uint32_t)journal_load(&place->n_parts);
	if (!journal_state_of(place).finishing)
		journal_keys_remove(journal, object);
	else
		journal->n_finishing--;
	journal_store(&place->state, 0);
	for (uint32_t i = 1; i <= n; i++) {
		const struct journal_entry *entry = journal_entry(journal, object, i);
		uint32_t block = (uint32_t)journal_load(&entry->state);
		if (block == JOURNAL_NONE)
			continue;
		journal_give_chain(journal, block, journal_blocks(entry->bytes));
		journal->waiting_bytes -= entry->bytes;
	}
	uint64_t packed = journal_load(&place->packed.bytes);
	journal_give_chain(journal, (uint32_t)journal_load(&place->parts_first),
	                   journal_blocks(n * sizeof(struct journal_entry)));
	journal_give_chain(journal, (uint32_t)journal_load(&place->packed.first), journal_blocks(packed));
	journal_give_chain(journal, live->open_first, journal_blocks(live->open_bytes));
	journal->waiting_bytes -= packed + live->open_bytes;
	live->used = false;
	journal->free_object[journal->n_free_objects++] = object;
}
