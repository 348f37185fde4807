/* A stream: one writer, any number of reader groups, records in order.
 *
 *                    cursor of group B (required)      tail          intent
 *                    |         cursor of group A       |             |
 *     positions  ----+---------+-----------------------+-------------+------->  only grow, 64 bits, bytes
 *                    |<---- may not be overwritten --->|<- writing ->|
 *                    |<--------------- at most size ---------------->|
 *
 *     lane file:   | segment header | writer's words, ledger, waypoints | data ......... |
 *     mapped as:                                                          | data ......... | data again |
 *
 * The data is mapped twice in a row, so a record that runs over the end is still contiguous. The
 * writer writes a batch into the space after tail and then moves tail once (release); a reader
 * takes all up to tail (acquire) and moves its cursor once. A writer killed half-way has moved
 * nothing.
 *
 * Required groups: the writer never overwrites what one of them has not passed; stream_reserve
 * returns NULL instead, and the caller drops or refuses, as its topic says. How far it may go
 * without asking again is public, so that a group can join while it writes (Dekker's argument: of
 * two processes that each write and then look, at least one sees the other):
 *
 *     writer, out of permission                        joiner
 *     limit = how far the groups let it go             cursor = where it wants to begin
 *     fence                                            state = GROUP_REQUIRED
 *     looks at the groups again                        fence
 *     one in the way: limit = what that one allows     reads limit and intent; cursor moves up to the later one - size
 *                                                      joined = 1
 *
 * Either the writer sees the cursor, or the joiner sees the limit that the writer has taken. The
 * writer takes permission for an eighth of the size at a time, because newcomers cannot have what
 * lies before limit - size. It announces in intent what it fills, in this life or the last; for all
 * beyond it asks again in each life. A limit may be taken back (nothing was written there), so it
 * says nothing to a group that has joined. The next reader of a group that has not joined (its
 * reader was killed before the last step) does that step. A required reader that finds its cursor
 * before intent - size nevertheless goes on at what is still there and counts what it skips.
 * tests/model/join.pml is this protocol, for spin.
 *
 * Optional groups may be overrun. They read through a private copy that is checked against `intent`
 * after copying (the sequence-lock argument of H. Boehm, "Can seqlocks get along with programming
 * language memory models?", MSPC 2012), so they never see torn records: when overrun they go on at
 * the next waypoint that is still there and count exactly what they missed.
 *
 * Waypoints are pairs (position of a record boundary, number of that record), left by the writer
 * about every 1/128 of the size. They let a reader start N records back, count what an overrun
 * cost, and step over damage; and let the writer's next life count its records again.
 *
 * Every word has one writer. Positions handed to readers are checked, never trusted.
 */
#ifndef SHM_STREAM_H
#define SHM_STREAM_H

#include "base/poison.h"
#include "shm/ledger.h"
#include "shm/record.h"
#include "shm/redo.h"
#include "shm/segment.h"

#define STREAM_WAYPOINTS  256u
#define STREAM_SIZE_MIN   (64u * 1024u)
#define STREAM_GROUPS_MAX 16u
#define STREAM_LANES_MAX  32u
#define STREAM_COPY_BYTES (256u * 1024u) /* what an optional reader takes at once */

struct stream_waypoint {
	_Atomic uint64_t position; /* bytes; 0 in an entry that was never set */
	_Atomic uint64_t records;  /* records before position */
};

/* Body of a lane segment before the data; written by the lane's writer, except `size_bytes`
 * (creator). */
struct stream_shared {
	alignas(SHM_LINE) uint64_t size_bytes; /* of the data: a power of two, whole pages */
	/* release: records before it are whole; acquire: stream_peek */
	alignas(SHM_LINE) _Atomic uint64_t tail;
	/* written, = those before tail once the writer is at rest */
	_Atomic uint64_t records;
	/* Read by groups that join and by optional readers, written when the writer takes more
	 * room. */
	alignas(SHM_LINE) _Atomic uint64_t intent; /* the writer may be writing up to here */
	/* it may go so far without asking required groups again; fences: see above */
	_Atomic uint64_t limit;
	struct ledger ledger;
	struct stream_waypoint waypoint[STREAM_WAYPOINTS];
};

/* Where the next record will begin. acquire: the records before it are whole. Readers take it from
 * here: a damaged one becomes a place where a record may begin. */
static inline uint64_t stream_tail(const struct stream_shared *shared)
{
	return atomic_load_explicit(&shared->tail, memory_order_acquire) & ~(uint64_t)(RECORD_ALIGN - 1);
}

/* A group's place in one lane; lies in the group's own segment, written by the group's reader
 * alone. */
struct stream_cursor {
	/* release: the effects of all records before it are safe; acquire: the writer */
	alignas(SHM_LINE) _Atomic uint64_t position;
	/* number of the record at position = records of the lane before it */
	_Atomic uint64_t records;
	_Atomic uint64_t first; /* that number where the group began */
	/* overrun (optional groups) or lost to damage; part of records - first */
	_Atomic uint64_t missed_records;
	_Atomic uint64_t damaged; /* how often a length was wrong */
};
_Static_assert(sizeof(struct stream_cursor) == SHM_LINE, "a cursor fills one line");

/* Records that the group has read in this lane: written = first + read + missed + waiting. */
static inline uint64_t stream_cursor_read(const struct stream_cursor *cursor)
{
	return atomic_load_explicit(&cursor->records, memory_order_relaxed) -
	       atomic_load_explicit(&cursor->first, memory_order_relaxed) -
	       atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
}

/* State of a group's segment. GROUP_LAPSED was required and had no reader for so long that its
 * writers wait for it no longer; it keeps its name and cursors, and is required again when a reader
 * comes back (topic_group_lapse). */
enum group_state { GROUP_FREE, GROUP_OPTIONAL, GROUP_REQUIRED, GROUP_LAPSED };

/* Body of a group segment, written by one process at a time: the group's reader, or who claims or
 * frees a group that has none. Everybody else maps it read-only. */
struct stream_group {
	alignas(SHM_LINE) _Atomic uint32_t state; /* enum group_state; release after all else is set */
	_Atomic uint32_t pid;                     /* of the present reader, 0 when none is attached */
	/* 1: made with the topic, for a stage; cannot be forgotten */
	_Atomic uint32_t configured;
	/* 1: writers keep what its cursors say; 0: its reader died before the last step */
	_Atomic uint32_t joined;
	char name[SHM_NAME_MAX];
	struct stream_cursor cursor[STREAM_LANES_MAX]; /* by lane */
	/* by lane: odd while its reader sleeps on the lane's tail (sleep.h), even while it is
	 * awake. They go on counting from reader to reader, also when the group gets another
	 * name. */
	_Atomic uint32_t asleep[STREAM_LANES_MAX];
};
_Static_assert(sizeof(struct stream_group) <= 4096, "a group fits one page");

/* Creates the lane file directory/name; size_bytes is a power of two of at least STREAM_SIZE_MIN.
 * Supervisor only. Errors as segment_create; -EINVAL for the size. */
int stream_create(const char *directory, const char *name, uint64_t generation, uint64_t size_bytes,
                  struct shm_error *error);

/* Bytes of the file that stream_create makes. */
size_t stream_file_bytes(uint64_t size_bytes);

/* The words of a lane without its data, to look at them (SEGMENT_READ) or for its creator. NULL
 * with *result (-errno) and error set. */
struct stream_shared *stream_head_map(const char *directory, const char *name, enum segment_access access,
                                      int *result, struct shm_error *error);

/* Copies bytes at a position out of the lane's file, for somebody who has only mapped its words;
 * directory/name is its file. False when they cannot be read, or the writer may have overwritten
 * them by now; then `to` holds nothing of use. What is copied was committed if position + bytes lay
 * before a tail that was read earlier (acquire). */
bool stream_head_read(const struct stream_shared *shared, const char *directory, const char *name,
                      uint64_t position, void *to, size_t bytes);

/* NULL is allowed. */
void stream_head_unmap(const struct stream_shared *shared);

/* ---- writing: one process per lane at a time (its role's lock sees to that, stage/control.h)
 * ---- */

/* A lane's file as it is mapped. */
struct stream_file {
	size_t mapped_bytes;
	uint64_t device, inode;
};

/* Whether the file that is mapped is still the one under the lane's name. One stat(2). */
bool stream_in_place(const struct stream_file *file, const char *directory, const char *name);

struct stream_writer {
	struct stream_shared *shared;
	char *data;    /* mapped twice, writable */
	uint64_t mask; /* size - 1 */
	uint64_t tail; /* own copy */
	/* permitted up to here; the cursors are asked for more only at that point. 0: not asked
	 * yet */
	uint64_t limit;
	uint64_t intent;        /* own copy */
	uint64_t records;       /* own copy */
	uint64_t next_waypoint; /* position from which the next one is due */
	unsigned waypoint_shift;
	unsigned lane;
#if MEMORY_POISON
	size_t open_bytes; /* reserved, the most: all of the data but these is poisoned */
#endif
	/* The topic's groups, mapped read-only; NULL entries are skipped. Set with
	 * stream_writer_group. */
	const struct stream_group *group[STREAM_GROUPS_MAX];
	struct stream_file file;
};

/* Number of the oldest record of which the lane can still give all bytes: a cursor before it has
 * lost what lies between. Counts from the waypoints, so it may be a little late. */
uint64_t stream_oldest_record(const struct stream_shared *shared);

/* Maps the lane for writing and counts its records again from the last waypoint (a life killed
 * between the two words of a commit leaves them one batch apart). lane is the index into
 * stream_group.cursor. Errors as segment_attach. */
int stream_writer_attach(struct stream_writer *writer, const char *directory, const char *name, unsigned lane,
                         struct shm_error *error);

/* Makes the writer heed a group (its segment's body, mapped for reading). A group whose state is
 * GROUP_REQUIRED holds it back. */
void stream_writer_group(struct stream_writer *writer, unsigned index, const struct stream_group *group);

/* The required group that is furthest behind in a lane. */
struct stream_slowest {
	uint64_t position; /* of its cursor, or of the tail when there is none or it is further */
	int group;         /* the first with that position; -1: no group is required */
};

/* group: the bodies of the topic's group segments, NULL entries are passed over; tail: the lane's.
 * acquire, so a writer may overwrite what lies before the position. */
struct stream_slowest stream_slowest(const struct stream_group *const group[STREAM_GROUPS_MAX], unsigned lane,
                                     uint64_t tail);

/* Unmaps. Uncommitted bytes vanish. */
void stream_writer_detach(struct stream_writer *writer);

/* The slow path of stream_reserve: asks the cursors. */
void *stream_reserve_slow(struct stream_writer *writer, size_t bytes);

/* Under AddressSanitizer the writer may touch what it has reserved and nothing else of the data. */
static inline void stream_open_data(struct stream_writer *writer, size_t bytes)
{
#if MEMORY_POISON
	memory_unpoison(writer->data + (writer->tail & writer->mask), bytes);
	if (bytes > writer->open_bytes)
		writer->open_bytes = bytes;
#else
	(void)writer, (void)bytes;
#endif
}

static inline void stream_close_data(struct stream_writer *writer)
{
#if MEMORY_POISON
	memory_poison(writer->data + (writer->tail & writer->mask), writer->open_bytes);
	writer->open_bytes = 0;
#else
	(void)writer;
#endif
}

/* Room for `bytes` (at most size / 2, a multiple of RECORD_ALIGN) after the last commit:
 * contiguous, to be filled with records. NULL when a required group is in the way: nothing has
 * changed, drop or try later. A second call before stream_commit returns the same place (so reserve
 * the most that the batch can need, and commit what it took). */
static inline void *stream_reserve(struct stream_writer *writer, size_t bytes)
{
	uint64_t end = writer->tail + bytes;
	if (__builtin_expect(end > writer->intent || end > writer->limit, 0))
		return stream_reserve_slow(writer, bytes);
	stream_open_data(writer, bytes);
	return writer->data + (writer->tail & writer->mask);
}

/* Whether `bytes` (at most the size) may be written after the last commit, in as many reservations
 * as that takes: what is permitted stays so. */
bool stream_permit(struct stream_writer *writer, size_t bytes);

/* Leaves a waypoint at the present tail. */
void stream_leave_waypoint(struct stream_writer *writer);

/* Publishes the first `bytes` of what was reserved, holding `records` whole records. Readers see
 * all of them or none. Wake its readers afterwards (topic_ring). */
static inline void stream_commit(struct stream_writer *writer, size_t bytes, uint64_t records)
{
	stream_close_data(writer);
	writer->tail += bytes;
	writer->records += records;
	atomic_store_explicit(&writer->shared->tail, writer->tail, memory_order_release);
	atomic_store_explicit(&writer->shared->records, writer->records, memory_order_relaxed);
	if (__builtin_expect(writer->tail >= writer->next_waypoint, 0))
		stream_leave_waypoint(writer);
}

/* ---- reading: one process per group and lane ---- */

struct stream_reader {
	const struct stream_shared *shared;
	const char *data; /* mapped twice, read-only */
	uint64_t size;
	/* own, writable; may lie in private memory (a tap) */
	struct stream_cursor *cursor;
	uint64_t position;        /* own copy of the cursor: the start of what stream_peek gives */
	uint64_t records;         /* number of the record at position */
	uint64_t missed, damaged; /* own copies of the cursor's counts, which move with it */
	bool optional;
#if MEMORY_POISON
	const char *fence; /* from here on fence_bytes are poisoned: what lies after the batch */
	size_t fence_bytes;
#endif
	char *copy; /* STREAM_COPY_BYTES, or as much as the longest record needs; optional groups only */
	size_t copy_bytes;
	struct stream_file file;
};

/* Where a reader begins whose cursor was never used. */
enum stream_start { STREAM_FROM_CURSOR, STREAM_FROM_TAIL, STREAM_FROM_OLDEST };

/* Maps the lane read-only, touching all of it, which may take a while. No other process knows of
 * the reader yet. optional: may be overrun, reads a copy. Errors as segment_attach, -ENOMEM; then
 * all is zero. */
int stream_reader_map(struct stream_reader *reader, const char *directory, const char *name, bool optional,
                      struct shm_error *error);

/* Takes up the cursor of a reader that was mapped. STREAM_FROM_CURSOR goes on where the cursor is,
 * or, when that was overwritten, at the next waypoint that is still there, and counts what it
 * missed; the others set it. A new required group makes its state GROUP_REQUIRED after this and
 * then calls stream_reader_join; so does the next reader of a group that has not joined. */
void stream_reader_begin(struct stream_reader *reader, struct stream_cursor *cursor, enum stream_start start);

/* The last step of joining, in each lane, after the group's state: moves up to where the writer is
 * not permitted to write, and begins there. A group that had read something (it lapsed, and its
 * reader is back) counts what it skips as missed. Does nothing for a lane that is not mapped. */
void stream_reader_join(struct stream_reader *reader);

/* Both at once: for optional readers, and for required groups that writers heed already. */
int stream_reader_attach(struct stream_reader *reader, const char *directory, const char *name,
                         struct stream_cursor *cursor, bool optional, enum stream_start start,
                         struct shm_error *error);

/* Moves the shared cursor to where the reader is; the group's counts begin again there. */
void stream_reader_settle_anew(struct stream_reader *reader);

/* Unmaps and frees; the cursor stays where it is. */
void stream_reader_detach(struct stream_reader *reader);

/* Where the reader stands in the lane's data: the next record, if there is one. */
static inline const char *stream_at(const struct stream_reader *reader)
{
	return reader->data + (reader->position & (reader->size - 1));
}

/* All records from the reader's position to the tail (an optional reader: as many as its copy
 * holds). Returns true when there is at least one byte. The batch is valid until stream_advance.
 * Peeking again without advancing gives the same records and perhaps more. */
bool stream_peek(struct stream_reader *reader, struct record_batch *batch);

/* The reader has processed everything before batch->at, `records` records. The cursor moves there
 * (release). When the batch met damage, the reader goes on at the next waypoint and the loss is
 * counted. */
void stream_advance(struct stream_reader *reader, const struct record_batch *batch, uint64_t records);

/* Like stream_advance, but the shared cursor stays: for a reader whose effects become safe later
 * (tally commits once a second). stream_peek goes on from here. */
void stream_pass(struct stream_reader *reader, const struct record_batch *batch, uint64_t records);

/* Moves the shared cursor to where stream_pass has got. */
void stream_settle(struct stream_reader *reader);

/* Where a reader had got, with its counts of that time: for one whose effects become safe later and
 * piece by piece (stage/settle.h). */
struct stream_mark {
	uint64_t position, records, missed, damaged;
};

struct stream_mark stream_mark(const struct stream_reader *reader);

/* Moves the shared cursor to a mark that stream_mark gave since the cursor moved last. The reader
 * stays where it is. */
void stream_settle_at(struct stream_reader *reader, const struct stream_mark *mark);

/* The reader goes back to the shared cursor: what was passed since is read again. */
void stream_unpass(struct stream_reader *reader);

/* Adds to a redo note what stream_settle would store, for a reader whose effect is committed by
 * that note: position and output together. region is the group's segment (struct stream_group). */
#define STREAM_SETTLE_WORDS 4u
void stream_settle_note(const struct stream_reader *reader, struct redo *redo, unsigned region);

/* Moves the reader and its shared cursor forward to a position that this group had reached before
 * (its own durable note of the cursor may be ahead of the shared one: killed between the two).
 * -EINVAL, and nothing moved, when position is before the cursor or after the tail. */
int stream_reader_seek(struct stream_reader *reader, uint64_t position, uint64_t records);

/* Records between the reader's position and the tail, and bytes. As of now; both grow while a
 * writer is at work. */
uint64_t stream_waiting_records(const struct stream_reader *reader);
uint64_t stream_waiting_bytes(const struct stream_reader *reader);

/* ---- searching (stream_search.c): moving a reader to another place of its lane ---- */

/* Moves a reader that has not read yet to `records` records before the tail, or to the oldest
 * record that is still there. Returns how many records lie before it now. Not for required
 * groups. */
uint64_t stream_reader_rewind(struct stream_reader *reader, uint64_t records);

/* True when a record lies before what is searched for. payload has `length` bytes. */
typedef bool stream_before(uint16_t type, const void *payload, uint32_t length, uint64_t position,
                           void *argument);

/* Moves on to the first record for which `before` is false, or to the tail. The records must be
 * sorted by it: true, then false. Waypoints let it skip most of them. The shared cursor stays;
 * stream_reader_settle_anew or stream_reader_return follows. */
void stream_reader_skip(struct stream_reader *reader, stream_before *before, void *argument);

/* What lies at a position of the lane. */
enum stream_found {
	STREAM_FOUND,       /* a record begins there */
	STREAM_OVERWRITTEN, /* the writer may have overwritten it, or there is no way to it any more */
	STREAM_NO_RECORD,   /* no record begins there */
	STREAM_NOT_YET,     /* nothing is written there yet */
};

/* Moves an optional reader to the record that begins at the position, whether it lies before or
 * after the reader: stream_peek then gives it first, or something else when it was overwritten
 * meanwhile (compare batch.position). reader->records is its number. Only with STREAM_FOUND is the
 * reader's place of use; its counts of what it missed are not. */
enum stream_found stream_reader_find(struct stream_reader *reader, uint64_t position);

/* A place to come back to, with the counts of that time. Only forwards: the shared cursor must be
 * at or before it. */
struct stream_bookmark {
	uint64_t position, records, first, missed;
};

struct stream_bookmark stream_reader_bookmark(const struct stream_reader *reader);
void stream_reader_return(struct stream_reader *reader, const struct stream_bookmark *bookmark);

#endif
