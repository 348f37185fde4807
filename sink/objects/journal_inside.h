/* Inside the journal: what lies in the segment, and what one life keeps beside it in ordinary
 * memory. For the journal's own files alone.
 *
 *     segment                                          ordinary memory, made by journal_open
 *     head: epoch of the last commit, redo note        free blocks, free places
 *     place[i]: state, strings, slots, chains          live[i]: where the next byte goes, counts
 *     next[b]: the block after b in its chain          by_hash, by_key: objects that take lines
 *     block[b]                                         oldest .. newest: the same, by their last line
 *
 * A chain is a first block and a number of bytes; all its blocks but the last are full, so the
 * number says where it ends, and next[] of the last one says nothing.
 *
 * What is stored in which order:
 *
 *     commit   slot[other] of each object with new lines, its epoch last; then one note: head's epoch
 *              and the cursors. A slot is in force when its epoch is the greatest that head's is not
 *              before. Opening clears those after it, or the next commit would bring them to life.
 *     step     what is new is written where nothing refers to it yet; then either one word is stored
 *              (a state), or several by a note
 *     new      a place whose state is 0 is filled, the state is stored last; without a slot in force
 *              opening drops it
 */
#ifndef SINK_OBJECTS_JOURNAL_INSIDE_H
#define SINK_OBJECTS_JOURNAL_INSIDE_H

#include <stdlib.h>

#include "sink/objects/journal.h"

/* ---- in the segment ---- */

/* As of one commit. */
struct journal_slot {
	alignas(SHM_LINE) _Atomic uint64_t epoch; /* 0: never written; stored last */
	_Atomic uint64_t open_bytes;              /* raw lines of the open member */
	uint64_t open_first;                      /* their first block, when there are some */
	uint64_t open_epoch;                      /* the commit that has the first of them */
	uint64_t lines;                           /* all that the object took */
	uint64_t touched_ns;
};

/* The members that are in no part yet. */
struct journal_packed {
	_Atomic uint64_t first, bytes;            /* the chain */
	_Atomic uint64_t lines, raw_bytes;        /* of the object up to their end, parts included */
	_Atomic uint64_t first_epoch, last_epoch; /* commits of which they have lines */
};

#define JOURNAL_STRING_BYTES 1032u /* the longest with a final 0, whole words */
_Static_assert(JOURNAL_KEY_MAX < JOURNAL_STRING_BYTES && JOURNAL_UPLOAD_MAX < JOURNAL_STRING_BYTES,
               "a string fits with its 0");

struct journal_place {
	alignas(SHM_LINE) _Atomic uint64_t state; /* journal_state_make; 0: free */
	uint64_t opened_ns;
	uint64_t first_position;
	uint16_t first_topic, first_lane;
	char token[JOURNAL_TOKEN_BYTES];
	_Atomic uint64_t word[4];
	struct journal_packed packed;
	_Atomic uint64_t parts_first, n_parts; /* blocks of struct journal_entry */
	struct journal_slot slot[2];
	char key[JOURNAL_STRING_BYTES];
	char name[JOURNAL_STRING_BYTES];
	char upload[JOURNAL_STRING_BYTES];
};

/* A part in the list of parts. */
struct journal_entry {
	/* first block | JOURNAL_ENTRY_*; the block is JOURNAL_NONE when there is none */
	_Atomic uint64_t state;
	uint64_t bytes, raw_bytes, lines;
	uint64_t first_epoch, last_epoch;
	char etag[JOURNAL_ETAG_MAX]; /* says nothing unless it is confirmed */
};
#define JOURNAL_ENTRY_CONFIRMED (UINT64_C(1) << 32)
#define JOURNAL_ENTRY_SPOOLED   (UINT64_C(1) << 33)
#define JOURNAL_ENTRIES         (JOURNAL_BLOCK_BYTES / sizeof(struct journal_entry)) /* of one block */
_Static_assert(JOURNAL_BLOCK_BYTES % sizeof(struct journal_entry) == 0, "a list of parts fills its blocks");

struct journal_head {
	/* its layout 0: never used; otherwise JOURNAL_LAYOUT, stored last by the first life. Its
	 * marks are the states of the places. */
	struct private_buffers about;
	uint64_t n_blocks;
	alignas(SHM_LINE) _Atomic uint64_t epoch; /* of the last commit */
	alignas(SHM_LINE) struct redo_note note;
};
#define JOURNAL_HEAD_BYTES 4096u
_Static_assert(sizeof(struct journal_head) <= JOURNAL_HEAD_BYTES, "the head fits its page");

/* Changes with the layout and with what its words mean. */
#define JOURNAL_FORM 1ull
#define JOURNAL_LAYOUT                                                                    \
	(PRIVATE_KIND_JOURNAL | JOURNAL_FORM << 44 | sizeof(struct journal_place) << 24 | \
	 sizeof(struct redo_note))

/* A state in one word, which is what makes a change of it one step. */
struct journal_state {
	uint8_t phase; /* enum journal_phase */
	bool finishing;
	uint16_t key_bytes, name_bytes, upload_bytes;
};

static inline uint64_t journal_state_make(struct journal_state state)
{
	return (uint64_t)state.phase | (uint64_t)state.finishing << 8 | (uint64_t)state.key_bytes << 16 |
	       (uint64_t)state.name_bytes << 32 | (uint64_t)state.upload_bytes << 48;
}

static inline struct journal_state journal_state_from(uint64_t word)
{
	return (struct journal_state){.phase = (uint8_t)word,
	                              .finishing = (word >> 8 & 1) != 0,
	                              .key_bytes = (uint16_t)(word >> 16),
	                              .name_bytes = (uint16_t)(word >> 32),
	                              .upload_bytes = (uint16_t)(word >> 48)};
}

static inline struct journal_state journal_state_of(const struct journal_place *place)
{
	return journal_state_from(atomic_load_explicit(&place->state, memory_order_relaxed));
}

/* ---- in ordinary memory ---- */

/* An object in this life. The first line is what a line of input needs. */
struct journal_live {
	alignas(SHM_LINE) char *at; /* where its next raw byte goes */
	uint32_t room;              /* bytes from there on that it may have without asking */
	bool dirty;                 /* it is in journal->dirty */
	bool used;
	uint8_t slot; /* the one in force */
	uint64_t open_bytes, lines, touched_ns;
	uint32_t open_first, open_last; /* blocks */
	uint32_t older, newer;          /* among those that take lines */
	uint64_t open_epoch;
	/* ---- */
	uint64_t hash, key_hash;
	bool bound;                       /* it is in by_hash, under hash */
	uint32_t packed_last, parts_last; /* blocks */
	uint32_t n_confirmed;
	uint64_t sent_bytes, cut_bytes;
	uint64_t parts_lines, parts_raw_bytes;
};

/* Open addressing with linear probing, at most half full: as many objects as there are places. */
struct journal_table {
	uint64_t mask;
	struct journal_found {
		uint64_t hash;
		uint64_t object; /* JOURNAL_NONE: empty */
	} * entry;
};

/* Which blocks are free: by groups of neighbours, and by rows of neighbouring groups. A chain that
 * begins gets a row of which all are free, while there is one, otherwise a group, and goes on in
 * it: so its blocks lie in a row most of the time, and are read and written as one piece. */
struct journal_free {
	uint64_t *mask;     /* of a group: bit i is set when its block i is free */
	uint8_t *row_whole; /* of a row: groups of which all are free */
	struct journal_stack {
		uint32_t *item, n;
		uint32_t *at; /* where a group or row is in its stack; some and whole share theirs */
	} some, whole, rows;  /* groups: some free; all free. Rows: all free */
};
#define JOURNAL_GROUP_BLOCKS 32u
#define JOURNAL_ROW_GROUPS   4u

struct journal {
	struct journal_head *head;
	struct journal_place *place;
	uint32_t *next;
	char *block;
	uint32_t n_objects, n_blocks;
	struct redo *redo;
	struct journal_bounds bounds;
	uint32_t kept; /* lines are refused when they would leave fewer free blocks */
	uint32_t n_free, n_free_objects, n_dirty, n_finishing;
	uint32_t oldest, newest;
	uint64_t closings; /* journal_closings */
	uint64_t waiting_bytes;
	struct journal_live *live;
	struct journal_free free;
	uint32_t *free_object, *dirty; /* stacks */
	struct journal_table by_hash, by_key;
	uint64_t secret[4]; /* of the hash of keys, which come from the network */
	struct segment segment;
	void *memory; /* of a journal in ordinary memory */
	size_t memory_bytes;
	struct redo own_redo;
};

/* Our own bug when it does not hold. */
static inline void journal_require(bool holds)
{
	if (!holds)
		abort();
}

/* Stores the word that makes a step happen: all before it, nothing after it. The fence keeps the
 * compiler from moving later stores (to blocks that this frees) up before it. */
static inline void journal_store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

static inline uint64_t journal_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- blocks (journal_blocks.c) ---- */

static inline char *journal_block(const struct journal *journal, uint32_t block)
{
	return journal->block + (size_t)block * JOURNAL_BLOCK_BYTES;
}

/* Blocks of a chain of so many bytes. */
static inline uint64_t journal_blocks(uint64_t bytes)
{
	return bytes / JOURNAL_BLOCK_BYTES + (bytes % JOURNAL_BLOCK_BYTES != 0);
}

/* Left by packing, for a list of parts. */
#define JOURNAL_LIST_BLOCKS 1u

/* Bytes of ordinary memory for that many blocks. */
uint64_t journal_free_bytes(uint64_t n_blocks);

/* None is free yet. Returns false without memory. */
bool journal_free_open(struct journal *journal);
void journal_free_close(struct journal *journal);

/* A block, of which there is one: the neighbour of `after` where it can be had, the last one of the
 * chain (JOURNAL_NONE: it begins). */
uint32_t journal_take(struct journal *journal, uint32_t after);

/* Whether the block may be taken as the next of the chain that ends right before it: it is free,
 * and not the first of a group or row that another chain has begun. */
bool journal_can_follow(const struct journal *journal, uint32_t block);

/* A block, of which there is one, that is a chain of its own: where it is in no other's way. */
uint32_t journal_take_single(struct journal *journal);

void journal_give(struct journal *journal, uint32_t block);

/* Frees a chain of n blocks. */
void journal_give_chain(struct journal *journal, uint32_t first, uint64_t n);

/* The bytes of a chain as pieces, as journal_bytes. */
unsigned journal_pieces(const struct journal *journal, uint32_t first, uint64_t bytes, unsigned from,
                        struct iovec *piece, unsigned n);

/* Part `number` of an object, from 1 to n_parts. */
struct journal_entry *journal_entry(const struct journal *journal, journal_object object, uint32_t number);

/* ---- objects that take lines (journal_keys.c) ---- */

/* Bytes of one table for that many objects. */
uint64_t journal_table_bytes(uint64_t n_objects);

/* Allocates both tables and draws the secret. Returns 0, -ENOMEM, or -EIO (getrandom). */
int journal_keys_open(struct journal *journal);
void journal_keys_close(struct journal *journal);

/* Another that has this key, or JOURNAL_NONE. */
journal_object journal_keys_find(const struct journal *journal, const char *key, size_t key_bytes);

/* The object takes lines from here on; it is the newest. */
void journal_keys_add(struct journal *journal, journal_object object);

/* It takes none any more. */
void journal_keys_remove(struct journal *journal, journal_object object);

/* It has got a line. */
void journal_keys_touch(struct journal *journal, journal_object object);

/* ---- opening (journal_check.c) ---- */

/* Walks all objects, changes nothing in the segment, and fills live of those that are in force; the
 * others stay unused. owner[b] becomes the object that has block b, JOURNAL_NONE when none has.
 * Returns 0, or -EPROTO with the place. */
int journal_check(struct journal *journal, uint32_t *owner, struct shm_error *error);

/* Checks a published note before it is applied: its words lie where notes may store. */
int journal_check_note(const struct journal *journal, struct shm_error *error);

#endif
