/* Uploads: brings the objects of the journal into the store. For each object: decide, write the
 * decision down, act, confirm.
 *
 *     journal's phase   what is decided and written down, then asked of the store
 *
 *     OPEN              members are packed, parts are cut as they fill
 *       |                 FIND the key --> set_name: the key when nothing has it, otherwise with a suffix (name.h)
 *       v
 *     NAMED ----------- finished below part_min: "sent" --PUT--> done | EEXIST or lost --> SETTLE
 *       |                 "created" --CREATE--> set_upload
 *       v
 *     UPLOADING         PART n --> confirm(n), several at a time, each as often as need be
 *       |
 *       | finished, all confirmed: "sent"
 *       '----FINISH--> done | lost, or the store knows no such upload --> SETTLE
 *
 *     SETTLE            FIND the name:  our token and size --> done
 *                                       another's token    --> the next name, when the store lets us choose again
 *                                       nothing            --> PUT or FINISH again; the store has lost the upload --> LOST
 *     LOST              what is confirmed there is gone: told (abandoned); what the journal still has goes into another upload
 *     done              journal_remove
 *
 * A life that finds "sent" written down begins with SETTLE: the request may have been answered
 * after the last life's death. One that finds "created" asks CREATE with `again`. Nothing is ever
 * aborted.
 *
 * The store fails: no more requests until a time drawn between 0 and a bound that doubles (full
 * jitter; the store's own Retry-After, when that is longer), then one at a time until one works.
 * What a person must mend (-EACCES) is probed before anything else.
 *
 * One thread; nothing blocks. Call it when nothing in the journal is uncommitted.
 */
#ifndef SINK_OBJECTS_UPLOAD_H
#define SINK_OBJECTS_UPLOAD_H

#include "sink/objects/index.h"
#include "sink/objects/journal.h"
#include "sink/objects/object_times.h"
#include "sink/objects/pack.h"
#include "sink/objects/spool.h"
#include "sink/objects/store.h"
#include "stage/control.h"

struct upload; /* opaque */

struct upload_options {
	uint64_t part_bytes, member_bytes;
	uint64_t finish_after_ns, finish_bytes;
	uint64_t backoff_ns, backoff_max_ns; /* the first bound of a wait, and the last */
	bool suffix_always;                  /* no object gets its bare key as name */
	const char *type;                    /* media type of objects */
	/* Writes "INSTANCE-ID" of the object's first event, 0-ended. */
	void (*suffix)(void *argument, const struct journal_view *object, char *out, size_t size);
	struct spool *spool; /* NULL: none; it stays open until upload_close */
	/* An upload was lost for good; reason: the store's words. bytes: those that were confirmed.
	 * Or a part that was in the spool. */
	void (*abandoned)(void *argument, const struct journal_view *object, uint64_t bytes,
	                  const char *reason);
	void *argument;
	/* What the store may know, for after a reboot; what it has left is completed. NULL: none.
	 * It is closed by its owner, after upload_close. */
	struct index *index;
	uint64_t seed; /* of the jitter */
};

/* Since upload_open. */
struct upload_counts {
	uint64_t requests, retries; /* started; of these parts and finishes that were sent again */
	/* answers -EAGAIN; -EACCES; -EINPROGRESS; -EINVAL */
	uint64_t unavailable, refused, unknown, invalid;
	uint64_t members, raw_bytes, packed_bytes;
	uint64_t parts, part_bytes;     /* confirmed */
	uint64_t objects, object_bytes; /* finished */
	/* of these: the sum of their times, then the histogram's buckets */
	uint64_t object_ms[HISTOGRAM_WORDS(OBJECT_TIMES_MS)];
	uint64_t abandoned;
	uint64_t recovered; /* uploads left open by an earlier life of the machine, completed */
	/* ---- as of now ---- */
	uint64_t left;           /* such uploads that are not dealt with */
	uint64_t last_object_ns; /* CLOCK_REALTIME of the last one finished by this life; 0: none */
	uint64_t open_objects, finishing,
	        oldest_ns;         /* as of the last tick; CLOCK_REALTIME of the oldest line, 0: none */
	uint64_t failing_since_ns; /* CLOCK_REALTIME; 0: it does not fail */
	char reason[256];          /* "" while it does not fail */
};

/* options, journal, pack and store stay until upload_close. Returns 0 or -ENOMEM. */
int upload_open(struct upload **made, const struct upload_options *options, struct journal *journal,
                struct pack *pack, const struct store_ops *ops, struct store *store);

/* What is under way is forgotten; closes the store, which may still write from the journal until
 * then. */
void upload_close(struct upload *upload);

/* The object has something to do: its open member is full. */
void upload_touch(struct upload *upload, journal_object object);

/* Takes answers, and takes steps: at most a few members are packed. True when something was done.
 * now_ns: CLOCK_MONOTONIC. */
bool upload_work(struct upload *upload, uint64_t now_ns);

/* What the clock decides; real_ns: CLOCK_REALTIME. Walks all objects: a few times a second at
 * most. */
void upload_tick(struct upload *upload, uint64_t now_ns, uint64_t real_ns);

/* Every object that takes lines is finished from now on. */
void upload_finish_all(struct upload *upload);

/* Of those that upload_finish_all has finished: not yet complete. */
uint64_t upload_unfinished(const struct upload *upload);

/* Blocks or places for objects are short: nothing more may be read before upload_relieve. */
bool upload_short(const struct upload *upload);

/* When lines may have less than an eighth of the blocks: packs open members, then finishes the
 * object that got a line longest ago. True when it did something. */
bool upload_relieve(struct upload *upload, uint64_t now_ns);

/* As store_ops.wait; now_ns as for upload_work. */
unsigned upload_wait(struct upload *upload, struct store_wait *wait, unsigned n, uint64_t now_ns,
                     uint64_t *timeout_ns);

const struct upload_counts *upload_counts(const struct upload *upload);

/* Bytes of ordinary memory for a journal of so many objects. */
uint64_t upload_memory(uint64_t objects, unsigned requests, uint64_t part_bytes);

#endif
