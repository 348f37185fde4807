/* A lane as a stage fills it: the records of one batch after the stream's tail, unseen until the
 * batch is committed, and what the ledger will say of the batch.
 *
 *     lane_room --> fill --> lane_keep ...   counts ...     --lanes_commit: one redo note--> readers see all of it
 *                              '--lane_mark ... lane_back: as if it had never been
 *
 * SIGKILL at any instruction: before the note is published nothing has happened; after it
 * everything has (the next life applies the note). A lane without a writer fills memory of the
 * caller's, for a stage that runs alone.
 */
#ifndef SHM_LANE_H
#define SHM_LANE_H

#include "shm/ledger.h"
#include "shm/redo.h"
#include "shm/topic.h"

struct lane {
	struct topic_writer *writer; /* NULL: base is the caller's memory */
	char *base;                  /* where the batch's records begin */
	size_t used;                 /* bytes of records in this batch */
	size_t room;                 /* bytes from base on that are reserved */
	size_t most;                 /* bytes that can ever be reserved */
	/* Of this batch, not yet in the ledger: */
	uint64_t records;
	uint64_t received;
	uint64_t dropped;
	uint64_t refused;
	uint64_t rejected[LEDGER_REASON_COUNT];
};

/* Words that one lane may put into a note: reasons, received, dropped, refused, records, tail. With
 * the others that a batch adds they must fit REDO_WORDS_MAX (a static assertion where the batch is
 * declared). */
#define LANE_NOTE_WORDS (LEDGER_REASON_COUNT + 5u)

/* A place to go back to. */
struct lane_mark {
	size_t used;
	uint64_t records;
};

/* Makes the lane write to a stream. */
void lane_stream(struct lane *lane, struct topic_writer *writer);

/* Makes the lane write into memory of `bytes` bytes, aligned to 8. */
void lane_memory(struct lane *lane, void *memory, size_t bytes);

/* Makes room for `bytes` more: the slow path of lane_room. Asking again before the commit gives the
 * same place, so the batch only grows. False when a required group is in the way, or the lane is
 * too small. */
bool lane_extend(struct lane *lane, size_t bytes);

/* Bytes that the lane can hold in all: anything longer never fits, however often the batch is
 * committed in between. */
size_t lane_capacity(const struct lane *lane);

/* True when the batch and `bytes` more can be written now, if the batch is committed whenever there
 * is no room: lane_room then never fails for the first record of a batch, unless that is longer
 * than lane->most. */
bool lane_permits(struct lane *lane, size_t bytes);

/* Where the next record of `bytes` bytes goes (record_bytes of its length; a multiple of
 * RECORD_ALIGN), or NULL. */
static inline char *lane_room(struct lane *lane, size_t bytes)
{
	if (__builtin_expect(lane->used + bytes > lane->room, 0) && !lane_extend(lane, bytes))
		return NULL;
	return lane->base + lane->used;
}

/* The record at the place that lane_room gave is whole: it is in the batch. */
static inline void lane_keep(struct lane *lane, size_t bytes)
{
	lane->used += bytes;
	lane->records++;
}

static inline struct lane_mark lane_mark(const struct lane *lane)
{
	return (struct lane_mark){.used = lane->used, .records = lane->records};
}

/* Forgets the records kept since the mark. */
static inline void lane_back(struct lane *lane, struct lane_mark mark)
{
	lane->used = mark.used;
	lane->records = mark.records;
}

/* Commits n lanes, all of streams, with one redo note and wakes their readers. Region 1 + i of redo
 * is lane i's stream_shared; the note may already hold words of the caller's. All lanes are empty
 * then. */
void lanes_commit(struct lane *lane, unsigned n, struct redo *redo);

/* Empties a lane without committing it, or one in memory whose records have been dealt with. */
void lane_reset(struct lane *lane);

#endif
