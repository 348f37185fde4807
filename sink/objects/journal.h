/* The journal: what is not safe in the store yet. It is the sink's private segment, so it survives
 * the process (kill -9), and the cursors of the lanes pass what it holds.
 *
 *     +------------------+----------------------+-------+--------------------------------+
 *     | head, redo note  | places for objects   | links | blocks of JOURNAL_BLOCK_BYTES  |
 *     +------------------+----------------------+-------+--------------------------------+
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
 * sense (foreign, other layout, a chain that runs in a circle or shares a block) is refused with
 * the place, never guessed at, and left as it is.
 *
 * Room can always be made. Lines are refused while as few blocks are free as the packing of the
 * longest open member may take, and one for a list of parts. So when the journal is full of raw
 * lines one more member can be packed, and cut; once that part (or whole object) is in the store at
 * least as many blocks are free as before. Packing may take a block more than it frees (bytes that
 * do not compress): when journal_fill_room gives nothing, what is packed has to be sent first, and
 * there is some.
 *
 * One thread. Nothing is allocated after journal_open. What is not as the comments demand (a step
 * while lines are uncommitted, a part that is not there) is our own bug: abort.
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
#define JOURNAL_PARTS_MAX   10000u              /* of one object, S3's limit */
#define JOURNAL_BYTES_MAX   (UINT64_C(1) << 32) /* of a journal: words in a redo note have 32-bit offsets */

/* Lanes whose cursors one commit may have (ports_note): a redo note has REDO_WORDS_MAX words, one
 * of them is the journal's. Whoever passes records of more lanes commits in between. */
#define JOURNAL_COMMIT_LANES ((REDO_WORDS_MAX - 1) / STREAM_SETTLE_WORDS)

/* How far an object has got. In this order; none is skipped but UPLOADING, which an object that
 * fits one request does without. */
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

/* What a look at an object says. Pointers lead into the journal; what they show stays until the
 * object is removed or that string is replaced. */
struct journal_view {
	enum journal_phase phase;
	bool finishing;  /* decided: it takes no more lines and is to be completed */
	const char *key; /* what its lines' template gave */
	size_t key_bytes;
	const char *name; /* what it is called in the store; "" before JOURNAL_NAMED; 0-ended */
	size_t name_bytes;
	const char *upload; /* "" before JOURNAL_UPLOADING; 0-ended */
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
	bool spooled;                /* its bytes lie in the spool, not in blocks */
};

/* ---- opening ---- */

/* What members come to. */
struct journal_bounds {
	/* Raw bytes of an open member: journal_append refuses what would make it longer. Those
	 * after which the caller packs it (the option `member`), and its longest line. */
	uint64_t open_most;
	uint64_t packed_most; /* what such a member may take when it is packed (pack_most) */
};

/* The least size of a journal with these bounds: room for one open member besides what lines may
 * not have. */
uint64_t journal_tails_least(const struct journal_bounds *bounds);

/* Bytes of ordinary memory that a journal of this size takes. */
uint64_t journal_memory(uint64_t tails);

/* Takes up the journal in the role's private segment, whose body is as long as the option `tails`
 * says (made zeroed by the supervisor; the first life lays it out: a place for an object for each
 * three blocks) and sets note and region 0 of redo, so that ports_open recovers it together with
 * the cursors. In this order: journal_attach, ports_open, journal_open. redo stays as long as the
 * journal. Returns 0 or -errno with the reason and *journal NULL: -EPROTO when another build laid
 * it out; -EINVAL when it is too small or larger than JOURNAL_BYTES_MAX; otherwise as
 * segment_attach. */
int journal_attach(struct journal **journal, struct redo *redo, const struct instance *instance,
                   const char *role, struct shm_error *error);

/* The same over memory that the caller has, aligned to pages: for tests, and below
 * journal_attach. */
int journal_over(struct journal **journal, struct redo *redo, void *body, size_t body_bytes,
                 struct shm_error *error);

/* After ports_open (redo_recover, where there are no ports): walks all objects and checks them,
 * then drops what was not committed. Returns 0; -EPROTO with the place in error, and nothing has
 * changed; -EINVAL when the bounds ask for more blocks than there are; -ENOMEM. After a failure
 * only journal_close. An object of an earlier life with larger bounds keeps room for its
 * packing. */
int journal_open(struct journal *journal, const struct journal_bounds *bounds, struct shm_error *error);

/* All of it in ordinary memory, new and empty: for a stage that runs alone and for benchmarks. */
int journal_open_memory(struct journal **journal, uint64_t tails, const struct journal_bounds *bounds,
                        struct shm_error *error);

/* Leaves it as a kill would. NULL is allowed. */
void journal_close(struct journal *journal);

/* ---- looking ---- */

void journal_look(const struct journal *journal, journal_object object, struct journal_view *view);

/* for (o = journal_next(j, JOURNAL_NONE); o != JOURNAL_NONE; o = journal_next(j, o)) */
journal_object journal_next(const struct journal *journal, journal_object object);

/* The object that takes lines of this key, or JOURNAL_NONE. hash: any number made from the key, the
 * same each time within one life (template_hash). Quick when the object was last found or added
 * under this hash; otherwise the key is looked for, and found from then on under this hash. key
 * NULL: by the hash alone, which spares making the key; JOURNAL_NONE then means that the key has to
 * be asked for. */
journal_object journal_find(struct journal *journal, uint64_t hash, const char *key, size_t key_bytes);

/* Changes when an object ceases to take lines: while it is the same, an object that took lines of a
 * key still does. Lines and commits of objects that have some do not change it. */
uint64_t journal_closings(const struct journal *journal);

/* The object that got a line longest ago and is not finishing; JOURNAL_NONE when there is none.
 * Objects with lines in the same commit are in the order of their first line there. */
journal_object journal_oldest(const struct journal *journal);

struct journal_counts {
	uint64_t blocks, free_blocks;
	uint64_t kept_blocks; /* lines may not have these */
	uint64_t objects, free_objects;
	uint64_t finishing;
	uint64_t waiting_bytes; /* raw, packed and cut, in blocks */
	uint64_t epoch;
};
void journal_count(const struct journal *journal, struct journal_counts *counts);

/* Part `number` of an object; false when there is none. */
bool journal_part(const struct journal *journal, journal_object object, uint32_t number,
                  struct journal_part *part);

/* The bytes of a cut part, or of the members that are in no part yet (number 0), or the committed
 * raw lines of the open member (journal_raw): as pieces in order, at most n from piece `from` on.
 * Blocks that are neighbours are one piece. Returns how many there are in all. They stay until the
 * part is confirmed or spooled (the members: cut; the raw lines: packed). */
unsigned journal_bytes(const struct journal *journal, journal_object object, uint32_t number, unsigned from,
                       struct iovec *piece, unsigned n);
unsigned journal_raw(const struct journal *journal, journal_object object, unsigned from, struct iovec *piece,
                     unsigned n);

/* ---- lines ---- */

/* A new object that takes lines of this key, of which there is none (journal_find). The commit
 * drops it when it got no line. token: JOURNAL_TOKEN_BYTES. key: 1 to JOURNAL_KEY_MAX bytes.
 * JOURNAL_NONE when there is no place for one more or no block that lines may have. */
journal_object journal_add(struct journal *journal, uint64_t hash, const char *key, size_t key_bytes,
                           const char *token, uint16_t topic, uint16_t lane, uint64_t position,
                           uint64_t now_ns);

/* Appends one line and a newline to the object's raw lines; it is not finishing. False, and nothing
 * has changed, when the lines may have no more blocks, or the open member would come to more than
 * bounds.open_most. Then: commit; pack the object if it has open bytes; if it has none and some
 * blocks are free the line is too long for this journal; otherwise finish the oldest. For a JSON
 * object out of a lane there is a shorter way (journal_line.h). */
bool journal_append(struct journal *journal, journal_object object, const void *line, size_t bytes,
                    uint64_t now_ns);

/* Commits the lines since the last commit together with what the redo note holds already
 * (ports_note, of at most JOURNAL_COMMIT_LANES lanes): one note, published and applied by
 * ports_commit. ports NULL: there are none. */
void journal_commit(struct journal *journal, const struct ports *ports);

/* True when lines (or new objects) wait for a commit. */
bool journal_uncommitted(const struct journal *journal);

/* ---- steps; only when nothing is uncommitted ---- */

/* Room for a member of the object: the rest of the block in which its last member ends, then blocks
 * that are nobody's yet (pack_room with this as its argument). The first piece may be as short as
 * one byte. One at a time; until journal_packed or journal_fill_drop nothing else is done to the
 * journal. */
struct journal_filling {
	struct journal *journal;
	journal_object object;
	uint32_t first, last; /* blocks that were taken for it */
	uint64_t bytes;       /* of room given so far */
};
void journal_fill(struct journal *journal, journal_object object, struct journal_filling *filling);
/* NULL when there are no more blocks: drop it, and send what is packed first. */
void *journal_fill_room(void *filling, size_t *bytes);
void journal_fill_drop(struct journal_filling *filling); /* its blocks are free again */

/* The object's raw lines, of which there are some, have become the member in filling, packed bytes
 * long (1 to what room was given), which stands after its other members. */
void journal_packed(struct journal *journal, journal_object object, struct journal_filling *filling,
                    uint64_t packed);

/* The members that are in no part yet become the next part. Returns its number, or 0 when there are
 * none, or no block for the list of parts, or JOURNAL_PARTS_MAX is reached. */
uint32_t journal_cut(struct journal *journal, journal_object object);

/* Part number is safe in the store; its blocks are free. etag: at most JOURNAL_ETAG_MAX - 1
 * bytes. */
void journal_confirm(struct journal *journal, journal_object object, uint32_t number, const char *etag);

/* The bytes of the cut part lie in the spool now; its blocks are free. */
void journal_spooled(struct journal *journal, journal_object object, uint32_t number);

/* Name, at most JOURNAL_KEY_MAX bytes: JOURNAL_OPEN becomes JOURNAL_NAMED. A name may be replaced
 * (the store had an object of another's there) while no upload is begun; killed in between it has
 * none and is JOURNAL_OPEN. */
void journal_set_name(struct journal *journal, journal_object object, const char *name, size_t bytes);

/* Upload id, at most JOURNAL_UPLOAD_MAX bytes: JOURNAL_NAMED becomes JOURNAL_UPLOADING. It may be
 * replaced when the store has lost the upload; killed in between it has none and is JOURNAL_NAMED.
 * The bytes of parts that were confirmed are gone: which of them no upload has any more is for the
 * caller to write down (journal_set_word). */
void journal_set_upload(struct journal *journal, journal_object object, const char *upload, size_t bytes);
void journal_set_word(struct journal *journal, journal_object object, unsigned word, uint64_t value);

/* The decision: no more lines, it is to be completed. The next line of its key makes another
 * object. */
void journal_finish(struct journal *journal, journal_object object);

/* The object is complete in the store, or given up: its place and blocks are free. */
void journal_remove(struct journal *journal, journal_object object);

#endif
