#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "sink/objects/journal_line.h"

#define AHEAD_OBJECTS  8u
#define BLOCKS_A_PLACE 3u /* one for raw lines, one for members, one for a list of parts */
#define LAST_PIECE     1u /* a packer may ask for room once more when it has filled the last byte */

_Static_assert(JOURNAL_COMMIT_LANES >= 31, "the cursors of 31 lanes and the epoch fit a note");

/* ---- sizes ---- */

static size_t whole_pages(uint64_t bytes)
{
	return (bytes + 4095) / 4096 * 4096;
}

static uint64_t places_for(uint64_t body_bytes)
{
	uint64_t each =
	        sizeof(struct journal_place) + BLOCKS_A_PLACE * (JOURNAL_BLOCK_BYTES + sizeof(uint32_t));
	return body_bytes < JOURNAL_HEAD_BYTES + 4096 ? 0 : (body_bytes - JOURNAL_HEAD_BYTES - 4096) / each;
}

static uint64_t blocks_for(uint64_t body_bytes)
{
	uint64_t places = places_for(body_bytes);
	if (places == 0)
		return 0;
	return (body_bytes - JOURNAL_HEAD_BYTES - 4096 - places * sizeof(struct journal_place)) /
	       (JOURNAL_BLOCK_BYTES + sizeof(uint32_t));
}

/* Blocks that lines may not have, when members are so many times as long as the bounds say. */
static uint64_t kept_for(const struct journal_bounds *bounds, uint64_t times)
{
	return journal_blocks(bounds->packed_most) * times + LAST_PIECE + JOURNAL_LIST_BLOCKS;
}

uint64_t journal_tails_least(const struct journal_bounds *bounds)
{
	uint64_t blocks = journal_blocks(bounds->open_most) + kept_for(bounds, 1);
	uint64_t places = blocks / BLOCKS_A_PLACE + 1;
	return JOURNAL_HEAD_BYTES + 4096 +
	       places * (sizeof(struct journal_place) +
	                 BLOCKS_A_PLACE * (JOURNAL_BLOCK_BYTES + sizeof(uint32_t)));
}

uint64_t journal_memory(uint64_t tails)
{
	uint64_t places = places_for(tails), blocks = blocks_for(tails);
	return sizeof(struct journal) + places * (sizeof(struct journal_live) + 2 * sizeof(uint32_t)) +
	       2 * journal_table_bytes(places) + blocks * sizeof(uint32_t) + journal_free_bytes(blocks);
}

/* ---- attaching ---- */

static int refuse_layout(const struct journal *journal, uint64_t layout, struct shm_error *error)
{
	const struct journal_head *head = journal->head;
	shm_explain(error,
	            "journal: laid out by another build (layout %" PRIx64 " with %" PRIu64
	            " objects and %" PRIu64 " blocks, this program has %" PRIx64 " with %" PRIu32
	            " and %" PRIu32 "); drain the instance with its own build first",
	            layout, head->about.n, head->n_blocks, (uint64_t)JOURNAL_LAYOUT, journal->n_objects,
	            journal->n_blocks);
	return -EPROTO;
}

/* The body is zero. The layout is stored last: a life killed before this lays it out again. */
static int lay_out(struct journal *journal, struct shm_error *error)
{
	struct journal_head *head = journal->head;
	bool empty = journal_load(&head->epoch) == 0 && head->note.n == 0 &&
	             atomic_load_explicit(&head->note.published, memory_order_relaxed) == 0;
	for (uint32_t i = 0; empty && i < journal->n_objects; i++)
		empty = journal_load(&journal->place[i].state) == 0;
	if (!empty) {
		shm_explain(error, "journal: it has no layout and yet it is not empty");
		return -EPROTO;
	}
	head->about.n = journal->n_objects;
	head->about.mark_bytes = (uint64_t)((char *)&journal->place[0].state - (char *)head);
	head->about.stride_bytes = sizeof(struct journal_place);
	head->n_blocks = journal->n_blocks;
	journal_store(&head->about.layout, JOURNAL_LAYOUT);
	return 0;
}

int journal_over(struct journal **made, struct redo *redo, void *body, size_t body_bytes,
                 struct shm_error *error)
{
	*made = NULL;
	uint64_t n_objects = places_for(body_bytes), n_blocks = blocks_for(body_bytes);
	if (n_objects == 0 || body_bytes > JOURNAL_BYTES_MAX) {
		shm_explain(error,
		            "journal: %zu bytes; it has room for one object at least and %" PRIu64
		            " bytes at most",
		            body_bytes, (uint64_t)JOURNAL_BYTES_MAX);
		return -EINVAL;
	}
	struct journal *journal = malloc(sizeof *journal);
	if (journal == NULL) {
		shm_explain(error, "journal: no memory");
		return -ENOMEM;
	}
	char *base = body;
	size_t links = JOURNAL_HEAD_BYTES + n_objects * sizeof(struct journal_place);
	*journal = (struct journal){.head = body,
	                            .place = (void *)(base + JOURNAL_HEAD_BYTES),
	                            .next = (void *)(base + links),
	                            .block = base + whole_pages(links + n_blocks * sizeof(uint32_t)),
	                            .n_objects = (uint32_t)n_objects,
	                            .n_blocks = (uint32_t)n_blocks,
	                            .redo = redo};
	struct journal_head *head = body;
	uint64_t layout = atomic_load_explicit(&head->about.layout, memory_order_acquire);
	int result = 0;
	if (layout == 0)
		result = lay_out(journal, error);
	else if (layout != JOURNAL_LAYOUT || head->about.n != n_objects || head->n_blocks != n_blocks)
		result = refuse_layout(journal, layout, error);
	else
		result = journal_check_note(journal, error);
	if (result != 0) {
		free(journal);
		return result;
	}
	redo->note = &head->note;
	redo->base[0] = body;
	redo->bytes[0] = body_bytes;
	*made = journal;
	return 0;
}

int journal_attach(struct journal **journal, struct redo *redo, const struct instance *instance,
                   const char *role, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	struct segment segment = {0};
	*journal = NULL;
	int result = segment_attach(&segment, instance->directory, instance_private_name(name, role),
	                            SEGMENT_PRIVATE, SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	result = journal_over(journal, redo, segment.body, segment.body_bytes, error);
	if (result == 0)
		(*journal)->segment = segment;
	else
		segment_detach(&segment);
	return result;
}

void journal_close(struct journal *journal)
{
	if (journal == NULL)
		return;
	journal_keys_close(journal);
	free(journal->live);
	journal_free_close(journal);
	free(journal->free_object);
	free(journal->dirty);
	if (journal->redo != &journal->own_redo)
		journal->redo->note = NULL;
	segment_detach(&journal->segment);
	if (journal->memory != NULL)
		munmap(journal->memory, journal->memory_bytes);
	free(journal);
}

/* ---- opening ---- */

static int allocate(struct journal *journal, uint32_t **owner)
{
	uint64_t n_objects = journal->n_objects, n_blocks = journal->n_blocks;
	journal->live = aligned_alloc(SHM_LINE, n_objects * sizeof *journal->live);
	journal->free_object = malloc(n_objects * sizeof(uint32_t));
	journal->dirty = malloc(n_objects * sizeof(uint32_t));
	*owner = malloc(n_blocks * sizeof(uint32_t));
	if (!journal_free_open(journal) || journal->live == NULL || journal->free_object == NULL ||
	    journal->dirty == NULL || *owner == NULL)
		return -ENOMEM;
	memset(journal->live, 0, n_objects * sizeof *journal->live);
	return journal_keys_open(journal);
}

/* How many times the bounds' member the longest open one is: more than once when an earlier life
 * had larger bounds. */
static uint64_t longest_open(const struct journal *journal)
{
	uint64_t longest = 0;
	for (uint32_t i = 0; i < journal->n_objects; i++)
		if (journal->live[i].open_bytes > longest)
			longest = journal->live[i].open_bytes;
	return longest == 0 ? 1 : (longest - 1) / journal->bounds.open_most + 1;
}

static int check_bounds(const struct journal *journal, struct shm_error *error)
{
	const struct journal_bounds *bounds = &journal->bounds;
	if (bounds->open_most != 0 && bounds->open_most <= JOURNAL_BYTES_MAX &&
	    bounds->packed_most <= JOURNAL_BYTES_MAX &&
	    journal_blocks(bounds->open_most) + kept_for(bounds, 1) <= journal->n_blocks)
		return 0;
	shm_explain(error,
	            "journal: %" PRIu32 " blocks of %u bytes are too few for a member of %" PRIu64
	            " bytes, packed %" PRIu64,
	            journal->n_blocks, JOURNAL_BLOCK_BYTES, bounds->open_most, bounds->packed_most);
	return -EINVAL;
}

/* The room that the line after the last has. */
static void find_room(const struct journal *journal, struct journal_live *live)
{
	uint64_t used = live->open_bytes % JOURNAL_BLOCK_BYTES, most = journal->bounds.open_most;
	live->room = 0;
	if (used == 0 || live->open_bytes >= most)
		return;
	uint64_t room = JOURNAL_BLOCK_BYTES - used;
	live->at = journal_block(journal, live->open_last) + used;
	live->room = (uint32_t)(room < most - live->open_bytes ? room : most - live->open_bytes);
}

static int older_first(const void *a, const void *b, void *argument)
{
	const struct journal_live *live = argument;
	uint64_t x = live[*(const uint32_t *)a].touched_ns, y = live[*(const uint32_t *)b].touched_ns;
	return x < y ? -1 : x > y;
}

/* All that take lines, in the order of their last. Returns the index of one that another has the
 * key of, or JOURNAL_NONE. */
static journal_object find_keys(struct journal *journal)
{
	uint32_t *list = journal->dirty, n = 0; /* nothing is dirty yet */
	for (uint32_t i = 0; i < journal->n_objects; i++)
		if (journal->live[i].used && !journal_state_of(&journal->place[i]).finishing)
			list[n++] = i;
	qsort_r(list, n, sizeof *list, older_first, journal->live);
	for (uint32_t i = 0; i < n; i++) {
		const struct journal_place *place = &journal->place[list[i]];
		if (journal_keys_find(journal, place->key, journal_state_of(place).key_bytes) != JOURNAL_NONE)
			return list[i];
		journal_keys_add(journal, list[i]);
	}
	return JOURNAL_NONE;
}

/* What was not committed is as if it had never been; each store may be repeated. */
static void drop_uncommitted(struct journal *journal)
{
	uint64_t epoch = journal_load(&journal->head->epoch);
	for (uint32_t i = journal->n_objects; i-- > 0;) {
		struct journal_place *place = &journal->place[i];
		for (unsigned k = 0; k < 2; k++)
			if (journal_load(&place->slot[k].epoch) > epoch)
				journal_store(&place->slot[k].epoch, 0);
		if (!journal->live[i].used) {
			journal_store(&place->state, 0);
			journal->free_object[journal->n_free_objects++] = i;
		} else if (journal_state_of(place).finishing) {
			journal->n_finishing++;
		}
	}
}

int journal_open(struct journal *journal, const struct journal_bounds *bounds, struct shm_error *error)
{
	uint32_t *owner = NULL;
	journal->bounds = *bounds;
	journal_require(atomic_load_explicit(&journal->head->note.published, memory_order_relaxed) == 0);
	int result = check_bounds(journal, error);
	if (result == 0 && (result = allocate(journal, &owner)) != 0)
		shm_explain(error, "journal: no memory, or no random numbers (%s)", strerror(-result));
	if (result == 0)
		result = journal_check(journal, owner, error);
	journal_object twice = result == 0 ? find_keys(journal) : JOURNAL_NONE;
	if (twice != JOURNAL_NONE) {
		shm_explain(error, "journal: object %" PRIu32 ": another takes lines of its key", twice);
		result = -EPROTO;
	}
	if (result == 0) {
		drop_uncommitted(journal);
		for (uint32_t block = journal->n_blocks; block-- > 0;)
			if (owner[block] == JOURNAL_NONE)
				journal_give(journal, block);
		for (uint32_t i = 0; i < journal->n_objects; i++)
			if (!journal_state_of(&journal->place[i]).finishing)
				find_room(journal, &journal->live[i]);
		uint64_t kept = kept_for(bounds, longest_open(journal));
		journal->kept = (uint32_t)(kept < journal->n_blocks ? kept : journal->n_blocks);
	}
	free(owner);
	return result;
}

int journal_open_memory(struct journal **made, uint64_t tails, const struct journal_bounds *bounds,
                        struct shm_error *error)
{
	*made = NULL;
	size_t bytes = whole_pages(tails);
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		shm_explain(error, "journal: %zu bytes: %s", bytes, strerror(errno));
		return -errno;
	}
	struct redo redo = {0};
	struct journal *journal;
	int result = journal_over(&journal, &redo, memory, bytes, error);
	if (result != 0) {
		munmap(memory, bytes);
		return result;
	}
	journal->memory = memory;
	journal->memory_bytes = bytes;
	journal->own_redo = redo;
	journal->redo = &journal->own_redo;
	result = journal_open(journal, bounds, error);
	if (result != 0)
		journal_close(journal);
	else
		*made = journal;
	return result;
}

/* ---- looking ---- */

static struct journal_live *used(const struct journal *journal, journal_object object)
{
	journal_require(object < journal->n_objects && journal->live[object].used);
	return &journal->live[object];
}

void journal_look(const struct journal *journal, journal_object object, struct journal_view *view)
{
	const struct journal_live *live = used(journal, object);
	const struct journal_place *place = &journal->place[object];
	struct journal_state state = journal_state_of(place);
	*view = (struct journal_view){
	        .phase = state.phase,
	        .finishing = state.finishing,
	        .key = place->key,
	        .key_bytes = state.key_bytes,
	        .name = state.name_bytes == 0 ? "" : place->name,
	        .name_bytes = state.name_bytes,
	        .upload = state.upload_bytes == 0 ? "" : place->upload,
	        .upload_bytes = state.upload_bytes,
	        .token = place->token,
	        .opened_ns = place->opened_ns,
	        .touched_ns = live->touched_ns,
	        .lines = live->lines,
	        .raw_bytes = journal_load(&place->packed.raw_bytes) + live->open_bytes,
	        .open_bytes = live->open_bytes,
	        .packed_bytes = journal_load(&place->packed.bytes),
	        .sent_bytes = live->sent_bytes,
	        .cut_bytes = live->cut_bytes,
	        .n_parts = (uint32_t)journal_load(&place->n_parts),
	        .n_confirmed = live->n_confirmed,
	        .first_topic = place->first_topic,
	        .first_lane = place->first_lane,
	        .first_position = place->first_position,
	};
	for (unsigned i = 0; i < 4; i++)
		view->words[i] = journal_load(&place->word[i]);
}

journal_object journal_next(const struct journal *journal, journal_object object)
{
	for (uint32_t i = object == JOURNAL_NONE ? 0 : object + 1; i < journal->n_objects; i++)
		if (journal->live[i].used)
			return i;
	return JOURNAL_NONE;
}

void journal_count(const struct journal *journal, struct journal_counts *counts)
{
	*counts = (struct journal_counts){.blocks = journal->n_blocks,
	                                  .free_blocks = journal->n_free,
	                                  .kept_blocks = journal->kept,
	                                  .objects = journal->n_objects,
	                                  .free_objects = journal->n_free_objects,
	                                  .finishing = journal->n_finishing,
	                                  .waiting_bytes = journal->waiting_bytes,
	                                  .epoch = journal_load(&journal->head->epoch)};
}

bool journal_part(const struct journal *journal, journal_object object, uint32_t number,
                  struct journal_part *part)
{
	(void)used(journal, object);
	if (number == 0 || number > journal_load(&journal->place[object].n_parts))
		return false;
	const struct journal_entry *entry = journal_entry(journal, object, number);
	uint64_t state = journal_load(&entry->state);
	bool confirmed = (state & JOURNAL_ENTRY_CONFIRMED) != 0;
	*part = (struct journal_part){.number = number,
	                              .state = confirmed ? JOURNAL_CONFIRMED : JOURNAL_CUT,
	                              .bytes = entry->bytes,
	                              .raw_bytes = entry->raw_bytes,
	                              .lines = entry->lines,
	                              .first_epoch = entry->first_epoch,
	                              .last_epoch = entry->last_epoch,
	                              .spooled = (state & JOURNAL_ENTRY_SPOOLED) != 0};
	if (confirmed)
		memcpy(part->etag, entry->etag, sizeof part->etag);
	return true;
}

unsigned journal_bytes(const struct journal *journal, journal_object object, uint32_t number, unsigned from,
                       struct iovec *piece, unsigned n)
{
	(void)used(journal, object);
	const struct journal_place *place = &journal->place[object];
	if (number == 0)
		return journal_pieces(journal, (uint32_t)journal_load(&place->packed.first),
		                      journal_load(&place->packed.bytes), from, piece, n);
	journal_require(number <= journal_load(&place->n_parts));
	const struct journal_entry *entry = journal_entry(journal, object, number);
	uint32_t block = (uint32_t)journal_load(&entry->state);
	return block == JOURNAL_NONE ? 0 : journal_pieces(journal, block, entry->bytes, from, piece, n);
}

unsigned journal_raw(const struct journal *journal, journal_object object, unsigned from, struct iovec *piece,
                     unsigned n)
{
	const struct journal_live *live = used(journal, object);
	const struct journal_slot *slot = &journal->place[object].slot[live->slot];
	if (journal_load(&slot->epoch) == 0) /* added, not committed */
		return 0;
	return journal_pieces(journal, (uint32_t)slot->open_first, journal_load(&slot->open_bytes), from,
	                      piece, n);
}

/* ---- lines ---- */

journal_object journal_add(struct journal *journal, uint64_t hash, const char *key, size_t key_bytes,
                           const char *token, uint16_t topic, uint16_t lane, uint64_t position,
                           uint64_t now_ns)
{
	journal_require(key_bytes > 0 && key_bytes <= JOURNAL_KEY_MAX &&
	                journal_keys_find(journal, key, key_bytes) == JOURNAL_NONE);
	if (journal->n_free_objects == 0 || journal->n_free <= journal->kept)
		return JOURNAL_NONE;
	journal_object object = journal->free_object[--journal->n_free_objects];
	struct journal_place *place = &journal->place[object];
	/* Its state is 0 until all is there. The slots come first: those of the last object here
	 * must not be taken for this one's. */
	journal_store(&place->slot[0].epoch, 0);
	journal_store(&place->slot[1].epoch, 0);
	place->opened_ns = now_ns;
	place->first_position = position;
	place->first_topic = topic;
	place->first_lane = lane;
	memcpy(place->token, token, JOURNAL_TOKEN_BYTES);
	memcpy(place->key, key, key_bytes);
	place->key[key_bytes] = '\0';
	for (unsigned i = 0; i < 4; i++)
		journal_store(&place->word[i], 0);
	memset(&place->packed, 0, sizeof place->packed);
	journal_store(&place->parts_first, 0);
	journal_store(&place->n_parts, 0);
	journal_store(&place->state, journal_state_make((struct journal_state){
	                                     .phase = JOURNAL_OPEN, .key_bytes = (uint16_t)key_bytes}));
	journal->live[object] = (struct journal_live){.used = true,
	                                              .dirty = true,
	                                              .touched_ns = now_ns,
	                                              .open_last = JOURNAL_NONE,
	                                              .packed_last = JOURNAL_NONE,
	                                              .parts_last = JOURNAL_NONE,
	                                              .hash = hash,
	                                              .bound = true};
	journal->dirty[journal->n_dirty++] = object;
	journal_keys_add(journal, object);
	return object;
}

/* A line that does not fit the block: as many blocks as it needs, or none. */
static bool extend(struct journal *journal, struct journal_live *live, const char *line, size_t bytes)
{
	uint64_t used_bytes = live->open_bytes % JOURNAL_BLOCK_BYTES,
	         left = used_bytes == 0 ? 0 : JOURNAL_BLOCK_BYTES - used_bytes,
	         needed = bytes < left ? 0 : journal_blocks(bytes + 1 - left);
	if (bytes >= journal->bounds.open_most || live->open_bytes + bytes + 1 > journal->bounds.open_most ||
	    journal->n_free < journal->kept + needed)
		return false;
	journal_require(!journal_state_of(&journal->place[live - journal->live]).finishing);
	uint64_t end = live->open_bytes + bytes + 1, at = 0;
	if (live->open_bytes == 0)
		live->open_epoch = journal_load(&journal->head->epoch) + 1;
	while (live->open_bytes < end) {
		uint64_t in_block = live->open_bytes % JOURNAL_BLOCK_BYTES;
		if (in_block == 0) {
			uint32_t block =
			        journal_take(journal, live->open_bytes == 0 ? JOURNAL_NONE : live->open_last);
			/* Beyond the committed length, as the bytes are. */
			*(live->open_bytes == 0 ? &live->open_first : &journal->next[live->open_last]) =
			        block;
			live->open_last = block;
		}
		uint64_t n = JOURNAL_BLOCK_BYTES - in_block;
		char *to = journal_block(journal, live->open_last) + in_block;
		if (n > end - live->open_bytes)
			n = end - live->open_bytes;
		live->open_bytes += n;
		memcpy(to, line + at, live->open_bytes == end ? n - 1 : n);
		if (live->open_bytes == end)
			to[n - 1] = '\n';
		at += n;
	}
	find_room(journal, live);
	return true;
}

bool journal_append(struct journal *journal, journal_object object, const void *line, size_t bytes,
                    uint64_t now_ns)
{
	struct journal_live *live = &journal->live[object];
	if (__builtin_expect(bytes < live->room, 1)) {
		memcpy(live->at, line, bytes);
		journal_end_line(live, bytes);
	} else if (!extend(journal, live, line, bytes)) {
		return false;
	}
	journal_count_line(journal, object, bytes, now_ns);
	return true;
}

static void drop_added(struct journal *journal, journal_object object)
{
	journal_keys_remove(journal, object);
	journal_store(&journal->place[object].state, 0);
	journal->live[object].used = false;
	journal->free_object[journal->n_free_objects++] = object;
}

/* The slot that is not in force; it will be when the head has this epoch. */
static void fill_slot(struct journal *journal, journal_object object, uint64_t epoch)
{
	struct journal_live *live = &journal->live[object];
	live->slot ^= 1;
	struct journal_slot *slot = &journal->place[object].slot[live->slot];
	atomic_store_explicit(&slot->open_bytes, live->open_bytes, memory_order_relaxed);
	slot->open_first = live->open_first;
	slot->open_epoch = live->open_epoch;
	slot->lines = live->lines;
	slot->touched_ns = live->touched_ns;
	journal_store(&slot->epoch, epoch);
}

/* With many keys each slot is a miss; those to come are fetched at the same time. */
static void fetch_slots(const struct journal *journal, journal_object object)
{
	__builtin_prefetch(&journal->place[object].slot[0], 1);
	__builtin_prefetch(&journal->place[object].slot[1], 1);
}

void journal_commit(struct journal *journal, const struct ports *ports)
{
	uint64_t epoch = journal_load(&journal->head->epoch) + 1;
	for (uint32_t i = 0; i < journal->n_dirty; i++) {
		struct journal_live *live = &journal->live[journal->dirty[i]];
		if (i + AHEAD_OBJECTS < journal->n_dirty)
			fetch_slots(journal, journal->dirty[i + AHEAD_OBJECTS]);
		live->dirty = false;
		if (live->lines == 0)
			drop_added(journal, journal->dirty[i]);
		else
			fill_slot(journal, journal->dirty[i], epoch);
	}
	journal->n_dirty = 0;
	redo_add(journal->redo, 0, &journal->head->epoch, epoch);
	if (ports != NULL) {
		ports_commit(ports);
	} else {
		redo_publish(journal->redo);
		redo_apply(journal->redo);
	}
}

bool journal_uncommitted(const struct journal *journal)
{
	return journal->n_dirty != 0;
}
