/* The journal: what is not safe in the store yet. It is the sink's private segment, so it survives
 * the process (kill -9), and the cursors of the lanes pass what it holds.
 *
 *     +------+-----------+---------------------+------------------------------------------+
 *     | head | redo note | objects (fixed size) | blocks of JOURNAL_BLOCK_BYTES            |
 *     +------+-----------+---------------------+------------------------------------------+
 *
 *     an object:    parts  1 confirmed | 2 confirmed | 3 cut, being sent | members | raw lines of the open member
 *                   '- ETag, bytes; no blocks any more      '- blocks       '- blocks  '- blocks
 *
 *     journal_append    a line to an object's raw lines                       --.
 *     journal_commit    all lines since the last time, and the cursors: one redo note   <- law 2
 *     journal_packed    raw lines --> a member                                --.
 *     journal_cut       members --> part n, whose number and bytes never change |   each one step:
 *     journal_confirm   part n is in the store under this ETag                  |   whole or not at all
 *     journal_set       name, upload id, token, decision                      --'
 *     journal_remove    the object is complete in the store
 *
 * Lines that were appended and not committed are as if they had never been when the process dies:
 * each object has its raw length twice, each with the number of the commit (epoch) that it belongs
 * to; the head has the number of the last commit. So one commit covers any number of objects with a
 * note of a few words. A step changes its words through the redo note too, and what it refers to
 * (blocks, strings) is written before.
 *
 * Which blocks are free is not written down: opening walks all objects. A journal that makes no
 * sense (foreign, other layout, a chain that runs in a circle or shares a block) is refused with the
 * place, never guessed at.
 *
 * One thread. Nothing is allocated after journal_open.
 */
#ifndef SINK_OBJECTS_JOURNAL_H
#define SINK_OBJECTS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "stage/ports.h"

#define JOURNAL_BLOCK_BYTES 16384u
#define JOURNAL_KEY_MAX     1024u /* bytes of an object's key or name, S3's limit; no final 0 */
#define JOURNAL_UPLOAD_MAX  1024u /* of an upload id */
#define JOURNAL_TOKEN_BYTES 32u   /* hexadecimal digits */
#define JOURNAL_ETAG_MAX    80u
#define JOURNAL_PARTS_MAX   10000u /* of one object, S3's limit */

/* How far an object has got. In this order; none is skipped but UPLOADING, which an object that fits
 * one request does without. */
enum journal_phase {
	JOURNAL_FREE,
	JOURNAL_OPEN,      /* collects lines; the store knows nothing of it */
	JOURNAL_NAMED,     /* its name is fixed, and its token: from here on the store may know it */
	JOURNAL_UPLOADING, /* the upload's id is known */
};

struct journal; /* opaque */

/* One object. Indexes are stable for its whole life and over lives of the process. */
typedef uint32_t journal_object;
#define JOURNAL_NONE UINT32_MAX

/* What a look at an object says. Pointers lead into the journal and stay until the next call that
 * changes the object. */
struct journal_view {
	enum journal_phase phase;
	bool finishing;  /* decided: it takes no more lines and is to be completed */
	const char *key; /* what its lines' template gave */
	size_t key_bytes;
	const char *name; /* what it is called in the store; "" before JOURNAL_NAMED */
	size_t name_bytes;
	const char *upload; /* "" before JOURNAL_UPLOADING */
	size_t upload_bytes;
	const char *token;         /* JOURNAL_TOKEN_BYTES; the object's own for its whole life */
	uint64_t opened_ns;        /* CLOCK_REALTIME, of its first line */
	uint64_t touched_ns;       /* of its last line */
	uint64_t lines, raw_bytes; /* of all that it took, not committed ones included */
	uint64_t open_bytes;       /* raw, in the open member */
	uint64_t packed_bytes;     /* members that are in no part yet */
	uint64_t sent_bytes;       /* in confirmed parts */
	uint64_t cut_bytes;        /* in parts that are cut and not confirmed */
	uint32_t n_parts, n_confirmed;
	/* of its first line: with them its name is one that no other object has */
	uint16_t first_topic, first_lane;
	uint64_t first_position;
	uint64_t words[4]; /* the user's own (journal_set): a file's inode, the number of an attempt */
};

enum journal_part_state { JOURNAL_CUT = 1, JOURNAL_CONFIRMED };

struct journal_part {
	uint32_t number; /* from 1 on, without gaps */
	uint32_t state;  /* enum journal_part_state */
	uint64_t bytes, raw_bytes, lines;
	/* the first and the last commit of which it has lines */
	uint64_t first_epoch, last_epoch;
	char etag[JOURNAL_ETAG_MAX]; /* what the store said, 0-ended; "" until confirmed */
	uint32_t block;              /* its first; JOURNAL_NONE once confirmed or spooled */
	uint32_t spooled;            /* 1: its bytes lie in the spool, not in blocks */
};

/* ---- opening ---- */

/* Takes up the journal in the role's private segment, whose body is as long as the option `tails`
 * says (made zeroed by the supervisor; the first life lays it out: a place for one object for each
 * four blocks, the rest are blocks) and sets note and region 0 of redo, so that ports_open recovers it together with the
 * cursors. In this order: journal_attach, ports_open, journal_open. Returns 0 or -errno with the
 * reason: -EPROTO when another build laid it out; otherwise as segment_attach. */
int journal_attach(struct journal **journal, struct redo *redo, const struct instance *instance,
                   const char *role, struct shm_error *error);

/* After ports_open: drops what was not committed, walks all objects, checks them. Returns 0, or
 * -EPROTO with the place in error. */
int journal_open(struct journal *journal, struct shm_error *error);

/* The same in ordinary memory, for a stage that runs alone and for benchmarks. */
int journal_open_memory(struct journal **journal, uint64_t tails, struct shm_error *error);

void journal_close(struct journal *journal);

/* ---- looking ---- */

void journal_look(const struct journal *journal, journal_object object, struct journal_view *view);

/* for (o = journal_next(j, JOURNAL_NONE); o != JOURNAL_NONE; o = journal_next(j, o)) */
journal_object journal_next(const struct journal *journal, journal_object object);

/* The object that takes lines of this key, or JOURNAL_NONE. hash: any number made from the key, the
 * same each time within one life (template_hash). */
journal_object journal_find(const struct journal *journal, uint64_t hash, const char *key, size_t key_bytes);

/* The object that got a line longest ago and is not finishing; JOURNAL_NONE when there is none. */
journal_object journal_oldest(const struct journal *journal);

struct journal_counts {
	uint64_t blocks, free_blocks;
	uint64_t objects, free_objects;
	uint64_t finishing;
	uint64_t waiting_bytes; /* raw, packed and cut, in blocks */
	uint64_t epoch;
};
void journal_count(const struct journal *journal, struct journal_counts *counts);

/* Part `number` of an object; false when there is none. */
bool journal_part(const struct journal *journal, journal_object object, uint32_t number,
                  struct journal_part *part);

/* The bytes of a cut part, or of the members that are in no part yet (number 0), or the committed raw
 * lines of the open member (journal_raw): as pieces in order, at most n from piece `from` on.
 * Returns how many there are in all. They stay until the part is confirmed or spooled (the members:
 * cut; the raw lines: packed). */
unsigned journal_bytes(const struct journal *journal, journal_object object, uint32_t number, unsigned from,
                       struct iovec *piece, unsigned n);
unsigned journal_raw(const struct journal *journal, journal_object object, unsigned from, struct iovec *piece,
                     unsigned n);

/* ---- lines ---- */

/* A new object that takes lines of this key; it is dropped when nothing is committed for it.
 * token: JOURNAL_TOKEN_BYTES. JOURNAL_NONE when there is no place for one more or no block. */
journal_object journal_add(struct journal *journal, uint64_t hash, const char *key, size_t key_bytes,
                           const char *token, uint16_t topic, uint16_t lane, uint64_t position,
                           uint64_t now_ns);

/* Appends one line and a newline to the object's raw lines. False when there are not enough blocks:
 * nothing has changed. */
bool journal_append(struct journal *journal, journal_object object, const void *line, size_t bytes,
                    uint64_t now_ns);

/* Commits the lines since the last commit together with what the redo note holds already
 * (ports_note). Calls ports_commit; ports NULL: of a journal in ordinary memory. */
void journal_commit(struct journal *journal, const struct ports *ports);

/* ---- steps; only when nothing is uncommitted ---- */

/* Room for a member of the object, in blocks that are not its own yet (pack_room with this as its
 * argument). */
struct journal_filling {
	struct journal *journal;
	uint32_t first, last; /* blocks */
	uint64_t bytes;
};
void journal_fill(struct journal *journal, struct journal_filling *filling);
void *journal_fill_room(void *filling, size_t *bytes);
void journal_fill_drop(struct journal_filling *filling); /* its blocks are free again */

/* The object's raw lines have become the member in filling (packed bytes long), which stands after
 * its other members. */
void journal_packed(struct journal *journal, journal_object object, struct journal_filling *filling,
                    uint64_t packed);

/* The members that are in no part yet become the next part. Returns its number, or 0 when there are
 * none, or no block for the list of parts, or JOURNAL_PARTS_MAX is reached. */
uint32_t journal_cut(struct journal *journal, journal_object object);

/* Part number is safe in the store; its blocks are free. */
void journal_confirm(struct journal *journal, journal_object object, uint32_t number, const char *etag);

/* The bytes of the cut part lie in the spool now; its blocks are free. */
void journal_spooled(struct journal *journal, journal_object object, uint32_t number);

/* Name, upload id, phase. A step back from JOURNAL_UPLOADING to JOURNAL_NAMED (the store has lost
 * the upload: all confirmed parts are needed again) is not possible: their bytes are gone. */
void journal_set_name(struct journal *journal, journal_object object, const char *name, size_t bytes);
void journal_set_upload(struct journal *journal, journal_object object, const char *upload, size_t bytes);
void journal_set_word(struct journal *journal, journal_object object, unsigned word, uint64_t value);

/* The decision: no more lines, it is to be completed. The next line of its key makes another
 * object. */
void journal_finish(struct journal *journal, journal_object object);

/* The object is complete in the store, or given up: its place and blocks are free. */
void journal_remove(struct journal *journal, journal_object object);

#endif
