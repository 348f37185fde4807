/* Uploads, from inside: what the files of the state machine share. upload.h has the picture.
 *
 *     upload.c          opening, the loop's calls, the clock, pressure
 *     upload_local.c    in memory: members, parts, the decision to finish, what goes into the spool
 *     upload_ask.c      names; requests; what is asked of the store next for an object
 *     upload_answer.c   what an answer changes; the index, and what was left before a reboot
 */
#ifndef SINK_OBJECTS_UPLOAD_INSIDE_H
#define SINK_OBJECTS_UPLOAD_INSIDE_H

#include "base/clock.h"
#include "sink/objects/gate.h"
#include "sink/objects/recover.h"
#include "sink/objects/spool.h"
#include "sink/objects/upload.h"

#define RELIEF_NS  (50 * NS_PER_MS)
#define INVALID_NS (30 * NS_PER_SEC) /* before a refused request is sent again */

/* The words of an object that are ours (store.h has the others). */
enum { WORD_FLAGS = STORE_WORDS, WORD_LOST };
#define FLAG_SENT     1u /* PUT or FINISH may have been sent under this name */
#define FLAG_CREATED  2u /* CREATE may have been sent under this name */
#define ATTEMPT_SHIFT 8u /* the number of the name in the journal (name.h), 24 bits */
#define LATE_SHIFT \
	32u /* 0, or the number of the name that is meant instead: an upload's stays in the journal */

/* One request. */
struct job {
	struct store_request request;
	journal_object object;
	bool busy, settle; /* settle: of FIND, what it is for */
	uint32_t spooled;  /* the part whose bytes are the spool's; 0: none */
	struct iovec *piece;
	unsigned room; /* pieces */
	struct store_part *part;
	char name[JOURNAL_KEY_MAX + 1], upload[JOURNAL_UPLOAD_MAX + 1], token[JOURNAL_TOKEN_BYTES + 1];
};

/* What this life knows of an object; all zero of one that has nothing to do. */
struct slot {
	uint64_t name_hash;      /* 0: it has no name yet */
	uint64_t hold_until_ns;  /* nothing is asked of the store before */
	uint32_t sent;           /* the highest part that was sent */
	uint16_t under_way;      /* requests */
	uint8_t missing;         /* times in a row that the store knew neither upload nor object */
	bool alone;              /* one of the requests is not of a part: no other may go */
	bool settle;             /* FIND has to tell what became of it */
	bool gone;               /* the store said that it does not know the upload */
	bool unknown;            /* a PUT or FINISH had no certain answer: an object may be ours */
	bool recreate;           /* it needs another upload */
	bool flush;              /* upload_finish_all waits for it */
	bool removed;            /* it may still stand in a row */
	bool local, remote, cut; /* it is in that line */
};

/* Objects that have something to do, each once. */
struct row {
	journal_object *object;
	uint32_t size, first, n;
};

/* A part that was answered before one with a lower number. */
struct early {
	journal_object object;
	uint32_t number; /* 0: free */
	char etag[JOURNAL_ETAG_MAX];
};

struct upload {
	const struct upload_options *options;
	struct journal *journal;
	struct pack *pack;
	const struct store_ops *ops;
	struct store *store;
	const struct store_traits *traits;
	struct gate gate;
	uint64_t member_bytes, part_bytes, finish_bytes, finish_after_ns;
	struct slot *slot; /* one for each object */
	uint32_t n_slots;
	struct row local, remote; /* to be packed and cut; to be asked of the store */
	struct row cut;           /* may have parts for the spool */
	struct job *job;
	struct job probe;
	struct early *early;
	unsigned n_jobs, n_busy;
	struct recover *recover; /* NULL: nothing is left from before a reboot */
	uint64_t flushing, relieved_ns, cut_ns, invalid_until_ns;
	char invalid[256];
	struct upload_counts counts;
};

/* ---- upload_local.c ---- */

/* The first of the row, taken off it. */
journal_object upload_row_pop(struct row *row);

/* The object has something to do in memory; to ask of the store; parts for the spool. Each once. */
void upload_add_local(struct upload *upload, journal_object object);
void upload_add_remote(struct upload *upload, journal_object object);
void upload_add_cut(struct upload *upload, journal_object object);

/* The raw lines of the object become a member. Returns 0, or -ENOSPC: too few blocks. */
int upload_pack_lines(struct upload *upload, journal_object object, const struct journal_view *view);

/* A whole object that goes as one request. */
bool upload_is_small(const struct upload *upload, const struct journal_view *view);

/* Decides that the object takes no more lines. */
void upload_finish_object(struct upload *upload, journal_object object);

/* Whether there is something to ask of the store. */
bool upload_wants_store(const struct journal_view *view);

/* Whether the spool should take what memory does not hold. */
bool upload_wants_spool(const struct upload *upload);

/* Finishes or cuts objects before their time, so that the spool can take them. True when it did
 * something. */
bool upload_cut_early(struct upload *upload, uint64_t now_ns);

/* What is to be done in memory, and for the spool. True when something was done. */
bool upload_work_locally(struct upload *upload);
bool upload_work_on_spool(struct upload *upload, uint64_t now_ns);

/* ---- upload_ask.c ---- */

/* Never 0. */
uint64_t upload_name_hash(const char *name, size_t bytes);

/* The number of the name that the object has. */
unsigned upload_attempt_of(const struct journal_view *view);

/* What the object is called; returns its length, 0 before it is named. */
size_t upload_current_name(const struct upload *upload, const struct journal_view *view,
                           char name[JOURNAL_KEY_MAX]);

/* Nothing is asked for the object before until_ns; reason: what `failing` says, or NULL. */
void upload_hold(struct upload *upload, journal_object object, uint64_t until_ns, const char *reason);

/* Writes down the name of that number. False when there is none. */
bool upload_take_name(struct upload *upload, journal_object object, const struct journal_view *view,
                      unsigned attempt, uint64_t now_ns);

/* A part that the spool has lost: the object is without it. */
bool upload_is_gone(const struct journal_part *part);

/* Bytes of the parts from `from` to before `to`. */
uint64_t upload_parts_bytes(const struct upload *upload, journal_object object, uint64_t from, uint64_t to);

/* Whether the part is being sent, or answered before one with a lower number. */
bool upload_is_under_way(const struct upload *upload, journal_object object, uint32_t number);

/* Asks the store for what stands in the row. True when something was started. */
bool upload_work_remotely(struct upload *upload, uint64_t now_ns);

/* ---- upload_answer.c ---- */

/* The object is complete or lost: its place is free. */
void upload_forget(struct upload *upload, journal_object object);

/* Answers that came before those of lower parts do not count. */
void upload_forget_early(struct upload *upload, journal_object object);

/* Writes the index anew. */
void upload_write_index(struct upload *upload, uint64_t now_ns);

/* What became of an upload that was left open before a reboot (recover_told). */
void upload_handle_recovered(void *argument, const struct recover_end *end);

/* What is confirmed is gone; what the journal has goes into another upload. */
void upload_lose(struct upload *upload, journal_object object, const struct journal_view *view,
                 const char *reason, uint64_t now_ns);

/* A request has ended: what it says of the store, and what it changes of the object. */
void upload_take_answer(struct upload *upload, struct store_request *request, uint64_t now_ns);

#endif
