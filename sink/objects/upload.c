#include "sink/objects/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/gate.h"
#include "sink/objects/name.h"
#include "sink/objects/recover.h"
#include "sink/objects/spool.h"

#define PIECES        64u /* of raw lines, at a time */
#define WORK_MEMBERS  4u  /* packed by one upload_work */
#define RELIEF_NS     (50 * NS_PER_MS)
#define HOLD_NS       (2 * NS_PER_SEC)  /* before an upload is looked for again */
#define INVALID_NS    (30 * NS_PER_SEC) /* before a refused request is sent again */
#define MISSING_TRIES 3u                /* times in a row that an upload must not be there to be lost */
#define SUFFIX_BYTES  200u
#define OLDEST        64u    /* objects of the spool that are asked for before all others */
#define GONE_ETAG     "gone" /* of a part that the spool has lost, which the object is without */

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

/* ---- rows of objects ---- */

static void row_push(struct row *row, journal_object object)
{
	row->object[(row->first + row->n++) % row->size] = object;
}

static journal_object row_pop(struct row *row)
{
	journal_object object = row->object[row->first];
	row->first = (row->first + 1) % row->size;
	row->n--;
	return object;
}

static void add_local(struct upload *upload, journal_object object)
{
	upload->slot[object].removed = false;
	if (upload->slot[object].local)
		return;
	upload->slot[object].local = true;
	row_push(&upload->local, object);
}

static void add_remote(struct upload *upload, journal_object object)
{
	upload->slot[object].removed = false;
	if (upload->slot[object].remote)
		return;
	upload->slot[object].remote = true;
	row_push(&upload->remote, object);
}

static void add_cut(struct upload *upload, journal_object object)
{
	if (upload->options->spool == NULL || upload->slot[object].cut)
		return;
	upload->slot[object].cut = true;
	row_push(&upload->cut, object);
}

void upload_touch(struct upload *upload, journal_object object)
{
	add_local(upload, object);
}

/* ---- what is done in memory: members, parts, the decision to finish ---- */

static int pack_lines(struct upload *upload, journal_object object, const struct journal_view *view)
{
	struct journal_filling filling;
	struct iovec piece[PIECES];
	uint64_t packed = 0;
	unsigned n, from = 0;
	int result = 0;
	journal_fill(upload->journal, object, &filling);
	pack_begin(upload->pack, journal_fill_room, &filling);
	do {
		n = journal_raw(upload->journal, object, from, piece, PIECES);
		for (unsigned i = 0; from + i < n && i < PIECES && result == 0; i++)
			result = pack_add(upload->pack, piece[i].iov_base, piece[i].iov_len);
		from += PIECES;
	} while (from < n && result == 0);
	if (result == 0)
		result = pack_end(upload->pack, &packed);
	if (result != 0) {
		journal_fill_drop(&filling);
		return result;
	}
	journal_packed(upload->journal, object, &filling, packed);
	upload->counts.members++;
	upload->counts.raw_bytes += view->open_bytes;
	upload->counts.packed_bytes += packed;
	return 0;
}

/* Full by its size, or by the number of parts that the store or the journal takes. */
static bool is_full(const struct upload *upload, const struct journal_view *view)
{
	uint64_t bytes = view->sent_bytes + view->cut_bytes + view->packed_bytes;
	uint32_t parts =
	        upload->traits->parts_max < JOURNAL_PARTS_MAX ? upload->traits->parts_max : JOURNAL_PARTS_MAX;
	return bytes >= upload->finish_bytes || view->n_parts + 1 >= parts;
}

/* A whole object that goes as one request; for the spool it may have become a part. */
static bool is_small(const struct upload *upload, const struct journal_view *view)
{
	return view->finishing && view->phase < JOURNAL_UPLOADING && view->open_bytes == 0 &&
	       (view->n_parts == 0 || (view->n_parts == 1 && view->packed_bytes == 0)) &&
	       view->packed_bytes + view->cut_bytes < upload->traits->part_min;
}

static bool must_cut(const struct upload *upload, const struct journal_view *view)
{
	if (view->packed_bytes == 0)
		return false;
	return view->packed_bytes >= upload->part_bytes ||
	       (view->finishing && view->open_bytes == 0 && !is_small(upload, view));
}

/* Packs, decides and cuts. Returns 0, or -ENOSPC when there are too few blocks: later. */
static int prepare(struct upload *upload, journal_object object, struct journal_view *view)
{
	journal_look(upload->journal, object, view);
	if (view->open_bytes != 0 && (view->finishing || view->open_bytes >= upload->member_bytes)) {
		int result = pack_lines(upload, object, view);
		if (result != 0)
			return result;
		journal_look(upload->journal, object, view);
	}
	if (!view->finishing && is_full(upload, view)) {
		journal_finish(upload->journal, object);
		return prepare(upload, object, view);
	}
	if (must_cut(upload, view)) {
		if (journal_cut(upload->journal, object) == 0)
			return -ENOSPC;
		add_cut(upload, object);
		journal_look(upload->journal, object, view);
	}
	return 0;
}

static bool wants_store(const struct journal_view *view)
{
	return view->phase != JOURNAL_FREE && (view->finishing || view->n_parts > view->n_confirmed);
}

/* False when nothing could be done. */
static bool work_locally(struct upload *upload)
{
	struct journal_view view;
	unsigned n = upload->local.n < WORK_MEMBERS ? upload->local.n : WORK_MEMBERS;
	bool worked = false;
	for (unsigned i = 0; i < n; i++) {
		journal_object object = row_pop(&upload->local);
		upload->slot[object].local = false;
		if (upload->slot[object].removed)
			continue;
		if (prepare(upload, object, &view) != 0) {
			add_local(upload, object);
			continue;
		}
		worked = true;
		if (wants_store(&view))
			add_remote(upload, object);
	}
	return worked;
}

/* ---- names ---- */

static uint64_t name_hash(const char *name, size_t bytes)
{
	uint64_t value = 0xcbf29ce484222325u;
	for (size_t i = 0; i < bytes; i++)
		value = (value ^ (unsigned char)name[i]) * 0x100000001b3u;
	return value == 0 ? 1 : value;
}

/* Whether another object that is not complete has the name: 2^-64 is a reason for a suffix, too. */
static bool is_named(const struct upload *upload, journal_object object, uint64_t hash)
{
	for (uint32_t i = 0; i < upload->n_slots; i++)
		if (i != object && upload->slot[i].name_hash == hash)
			return true;
	return false;
}

/* The number of the name that the object has. */
static unsigned attempt_of(const struct journal_view *view)
{
	uint64_t late = view->words[WORD_FLAGS] >> LATE_SHIFT;
	return (unsigned)(late != 0 ? late : view->words[WORD_FLAGS] >> ATTEMPT_SHIFT & 0xffffff);
}

static size_t make_name(const struct upload *upload, const struct journal_view *view, unsigned attempt,
                        char name[JOURNAL_KEY_MAX])
{
	char suffix[SUFFIX_BYTES];
	upload->options->suffix(upload->options->argument, view, suffix, sizeof suffix);
	return name_make(name, upload->traits, view->key, view->key_bytes, suffix, attempt);
}

/* What the object is called, or 0: "" before it is named. */
static size_t current_name(const struct upload *upload, const struct journal_view *view,
                           char name[JOURNAL_KEY_MAX])
{
	if (view->words[WORD_FLAGS] >> LATE_SHIFT != 0)
		return make_name(upload, view, attempt_of(view), name);
	memcpy(name, view->name, view->name_bytes);
	return view->name_bytes;
}

static void hold(struct upload *upload, journal_object object, uint64_t until_ns, const char *reason)
{
	upload->slot[object].hold_until_ns = until_ns;
	if (reason == NULL)
		return;
	if (until_ns > upload->invalid_until_ns)
		upload->invalid_until_ns = until_ns;
	if (strcmp(upload->invalid, reason) != 0)
		log_error("the store does not take an object, which is kept and tried again", "reason=\"%s\"",
		          reason);
	snprintf(upload->invalid, sizeof upload->invalid, "%s", reason);
}

/* Writes down the name of that number; nothing was sent under it. Returns false when there is none.
 * An upload has its name in the journal for its whole life, so then the number alone is written. */
static bool take_name(struct upload *upload, journal_object object, const struct journal_view *view,
                      unsigned attempt, uint64_t now_ns)
{
	char name[JOURNAL_KEY_MAX];
	size_t n = make_name(upload, view, attempt, name);
	if (n == 0) {
		hold(upload, object, now_ns + INVALID_NS, "a key is too long for a name in this store");
		return false;
	}
	if (attempt == 0 && is_named(upload, object, name_hash(name, n)))
		return take_name(upload, object, view, 1, now_ns);
	if (view->phase == JOURNAL_UPLOADING) {
		uint64_t first = view->words[WORD_FLAGS] & 0xffffffu << ATTEMPT_SHIFT;
		journal_set_word(upload->journal, object, WORD_FLAGS,
		                 (uint64_t)attempt << LATE_SHIFT | first);
	} else {
		journal_set_word(upload->journal, object, WORD_FLAGS, (uint64_t)attempt << ATTEMPT_SHIFT);
		journal_set_name(upload->journal, object, name, n);
	}
	upload->slot[object].name_hash = name_hash(name, n);
	upload->slot[object].unknown = false;
	return true;
}

static void set_flag(struct upload *upload, journal_object object, const struct journal_view *view,
                     uint64_t flag)
{
	if ((view->words[WORD_FLAGS] & flag) == 0)
		journal_set_word(upload->journal, object, WORD_FLAGS, view->words[WORD_FLAGS] | flag);
}

/* ---- requests ---- */

/* They are with the answers. */
static void forget(struct upload *upload, journal_object object);
static void forget_early(struct upload *upload, journal_object object);

static struct job *free_job(struct upload *upload)
{
	for (unsigned i = 0; i < upload->n_jobs; i++)
		if (!upload->job[i].busy)
			return &upload->job[i];
	return NULL;
}

static void fill_job(struct upload *upload, struct job *job, journal_object object,
                     const struct journal_view *view, enum store_action action)
{
	job->object = object;
	job->settle = false;
	size_t name_bytes = current_name(upload, view, job->name);
	job->name[name_bytes] = '\0';
	memcpy(job->upload, view->upload, view->upload_bytes);
	job->upload[view->upload_bytes] = '\0';
	memcpy(job->token, view->token, JOURNAL_TOKEN_BYTES);
	job->request = (struct store_request){
	        .action = action,
	        .owner = job,
	        .name = job->name,
	        .name_bytes = name_bytes,
	        .token = job->token,
	        .upload = job->upload,
	        .encoding = pack_encoding(upload->pack),
	        .type = upload->options->type,
	        .words = {view->words[0], view->words[1]},
	};
}

/* False when the store has too many under way. */
static bool send(struct upload *upload, struct job *job)
{
	struct slot *slot = &upload->slot[job->object];
	if (!upload->ops->start(upload->store, &job->request))
		return false;
	job->busy = true;
	upload->n_busy++;
	slot->under_way++;
	slot->alone = job->request.action != STORE_PART;
	upload->counts.requests++;
	return true;
}

static bool more_pieces(struct job *job, unsigned n)
{
	struct iovec *more = n > job->room ? reallocarray(job->piece, n, sizeof *more) : job->piece;
	if (more == NULL)
		return false;
	job->piece = more;
	job->room = n > job->room ? n : job->room;
	return true;
}

/* All pieces of a part, or of what is in no part; spooled: its bytes, when they lie in the spool. False
 * without memory. */
static bool list_pieces(struct upload *upload, struct job *job, uint32_t number, const void *spooled)
{
	struct journal_part part;
	unsigned n = spooled != NULL ? 1 : journal_bytes(upload->journal, job->object, number, 0, NULL, 0);
	if (!more_pieces(job, n))
		return false;
	if (spooled == NULL)
		n = journal_bytes(upload->journal, job->object, number, 0, job->piece, n);
	else if (journal_part(upload->journal, job->object, number, &part))
		job->piece[0] = (struct iovec){.iov_base = (void *)(uintptr_t)spooled, .iov_len = part.bytes};
	job->request.piece = job->piece;
	job->request.n_pieces = n;
	for (unsigned i = 0; i < n; i++)
		job->request.bytes += job->piece[i].iov_len;
	return true;
}

static bool send_find(struct upload *upload, struct job *job, journal_object object,
                      const struct journal_view *view, bool settle)
{
	fill_job(upload, job, object, view, STORE_FIND);
	job->settle = settle;
	if (!settle) {
		job->request.name_bytes =
		        name_make(job->name, upload->traits, view->key, view->key_bytes, "", 0);
		job->name[job->request.name_bytes] = '\0';
	}
	return send(upload, job);
}

/* The bytes of a cut part that lies in the spool; NULL of one in the journal. */
static enum spool_fetched fetch(struct upload *upload, journal_object object, uint32_t number,
                                uint64_t now_ns, const void **data, const char **reason)
{
	struct journal_part part;
	*data = NULL;
	*reason = "there is no spool";
	if (!journal_part(upload->journal, object, number, &part) || !part.spooled)
		return SPOOL_READY;
	if (upload->options->spool == NULL)
		return SPOOL_GONE;
	return spool_fetch(upload->options->spool, object, number, now_ns, data, reason);
}

/* As send, of what `fetch` gave. */
static bool send_spooled(struct upload *upload, struct job *job, uint32_t number, const void *data)
{
	if (!list_pieces(upload, job, number, data) || !send(upload, job))
		return false;
	if (data == NULL)
		return true;
	job->spooled = number;
	spool_use(upload->options->spool, job->object, number);
	return true;
}

/* The spool has lost a part, of whose object nothing is under way: the object goes on without it. */
static void lose_spooled(struct upload *upload, journal_object object, const struct journal_view *view,
                         uint32_t number, const char *reason)
{
	struct journal_part part;
	char words[200];
	if (!journal_part(upload->journal, object, number, &part))
		return;
	snprintf(words, sizeof words, "part %u was in the spool: %s", number, reason);
	log_error("a part in the spool is lost", "key=\"%.*s\" part=%u bytes=%llu reason=\"%s\"",
	          (int)view->key_bytes, view->key, number, (unsigned long long)part.bytes, reason);
	upload->counts.abandoned++;
	upload->options->abandoned(upload->options->argument, view, part.bytes, words);
	if (view->phase < JOURNAL_UPLOADING) { /* it is all of the object */
		forget(upload, object);
		return;
	}
	/* Those after it that were answered were sent to where they are not any more. */
	forget_early(upload, object);
	journal_confirm(upload->journal, object, number, GONE_ETAG);
	if (upload->options->spool != NULL)
		spool_drop(upload->options->spool, object, number);
}

static bool is_gone(const struct journal_part *part)
{
	return strcmp(part->etag, GONE_ETAG) == 0;
}

static bool send_put(struct upload *upload, struct job *job, journal_object object,
                     const struct journal_view *view, uint64_t now_ns)
{
	const void *data;
	const char *reason;
	enum spool_fetched fetched = fetch(upload, object, view->n_parts, now_ns, &data, &reason);
	if (fetched == SPOOL_GONE)
		lose_spooled(upload, object, view, view->n_parts, reason);
	if (fetched != SPOOL_READY)
		return true;
	set_flag(upload, object, view, FLAG_SENT);
	fill_job(upload, job, object, view, STORE_PUT);
	return send_spooled(upload, job, view->n_parts, data);
}

static bool send_create(struct upload *upload, struct job *job, journal_object object,
                        const struct journal_view *view)
{
	bool again = (view->words[WORD_FLAGS] & FLAG_CREATED) != 0;
	set_flag(upload, object, view, FLAG_CREATED);
	fill_job(upload, job, object, view, STORE_CREATE);
	job->request.again = again;
	return send(upload, job);
}

/* Bytes of the parts from `from` to before `to`. */
static uint64_t parts_bytes(const struct upload *upload, journal_object object, uint64_t from, uint64_t to)
{
	struct journal_part part;
	uint64_t bytes = 0;
	for (uint64_t i = from; i < to; i++)
		if (journal_part(upload->journal, object, (uint32_t)i, &part) && !is_gone(&part))
			bytes += part.bytes;
	return bytes;
}

static bool send_part(struct upload *upload, struct job *job, journal_object object,
                      const struct journal_view *view, uint32_t number, const void *data)
{
	struct slot *slot = &upload->slot[object];
	fill_job(upload, job, object, view, STORE_PART);
	job->request.number = number;
	/* parts are confirmed in order */
	job->request.safe = parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_confirmed + 1ull);
	job->request.offset =
	        job->request.safe + parts_bytes(upload, object, view->n_confirmed + 1ull, number);
	if (!send_spooled(upload, job, number, data))
		return false;
	upload->counts.retries += number <= slot->sent;
	if (number > slot->sent)
		slot->sent = number;
	return true;
}

/* The confirmed parts of the upload, as FINISH wants them. False without memory. */
static bool list_parts(struct upload *upload, struct job *job, journal_object object,
                       const struct journal_view *view)
{
	struct journal_part part;
	uint32_t n = 0, lost = (uint32_t)view->words[WORD_LOST];
	free(job->part);
	job->part = calloc(view->n_parts - lost, sizeof *job->part);
	if (job->part == NULL)
		return false;
	for (uint32_t number = lost + 1; number <= view->n_parts; number++) {
		if (!journal_part(upload->journal, object, number, &part))
			return false;
		if (is_gone(&part))
			continue;
		job->part[n].number = part.number;
		job->part[n].bytes = part.bytes;
		memcpy(job->part[n++].etag, part.etag, sizeof part.etag);
	}
	job->request.part = job->part;
	job->request.n_parts = n;
	return true;
}

static bool send_finish(struct upload *upload, struct job *job, journal_object object,
                        const struct journal_view *view)
{
	if (parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_parts + 1ull) == 0) {
		forget(upload, object); /* the spool has lost all that was left of it */
		return true;
	}
	upload->counts.retries += (view->words[WORD_FLAGS] & FLAG_SENT) != 0;
	set_flag(upload, object, view, FLAG_SENT);
	fill_job(upload, job, object, view, STORE_FINISH);
	return list_parts(upload, job, object, view) && send(upload, job);
}

static bool is_under_way(const struct upload *upload, journal_object object, uint32_t number)
{
	for (unsigned i = 0; i < upload->n_jobs; i++)
		if (upload->job[i].busy && upload->job[i].object == object &&
		    upload->job[i].request.number == number)
			return true;
	for (unsigned i = 0; i < upload->n_jobs; i++)
		if (upload->early[i].number == number && upload->early[i].object == object)
			return true;
	return false;
}

/* ---- what to do next with an object ---- */

/* Each returns false when a request could not be started: the object keeps its place in the row. */

/* A part is started when those before it are: one that the spool has lost must be known before. */
static bool send_parts(struct upload *upload, journal_object object, const struct journal_view *view,
                       uint64_t now_ns)
{
	const void *data;
	const char *reason;
	for (uint32_t number = view->n_confirmed + 1; number <= view->n_parts; number++) {
		if (is_under_way(upload, object, number))
			continue;
		struct job *job = free_job(upload);
		if (job == NULL || !gate_open(&upload->gate, upload->n_busy, now_ns))
			return false;
		enum spool_fetched fetched = fetch(upload, object, number, now_ns, &data, &reason);
		if (fetched == SPOOL_GONE && upload->slot[object].under_way == 0) {
			lose_spooled(upload, object, view, number, reason);
			continue;
		}
		if (fetched != SPOOL_READY)
			return true; /* the spool or an answer brings it back */
		if (!send_part(upload, job, object, view, number, data))
			return false;
	}
	return true;
}

static bool begin(struct upload *upload, struct job *job, journal_object object, struct journal_view *view,
                  uint64_t now_ns)
{
	bool small = is_small(upload, view);
	if (view->phase == JOURNAL_OPEN) {
		unsigned attempt = upload->options->suffix_always ? 1 : 0;
		/* PUT itself finds out whether the name is free. */
		if (attempt == 0 && !small)
			return send_find(upload, job, object, view, false);
		if (!take_name(upload, object, view, attempt, now_ns))
			return true;
		journal_look(upload->journal, object, view);
	}
	return small ? send_put(upload, job, object, view, now_ns) : send_create(upload, job, object, view);
}

static bool ask_store(struct upload *upload, journal_object object, uint64_t now_ns)
{
	struct slot *slot = &upload->slot[object];
	struct journal_view view;
	journal_look(upload->journal, object, &view);
	if (!wants_store(&view) || slot->alone || slot->hold_until_ns > now_ns ||
	    (upload->options->spool != NULL && spool_busy(upload->options->spool, object)))
		return true; /* an answer, the clock or the spool brings it back */
	if (view.finishing &&
	    (view.open_bytes != 0 || (view.packed_bytes != 0 && !is_small(upload, &view)))) {
		add_local(upload, object);
		return true;
	}
	struct job *job = free_job(upload);
	if (job == NULL || !gate_open(&upload->gate, upload->n_busy, now_ns))
		return false;
	if (slot->settle)
		return slot->under_way != 0 || send_find(upload, job, object, &view, true);
	if (slot->recreate)
		return slot->under_way != 0 || send_create(upload, job, object, &view);
	if (view.phase != JOURNAL_UPLOADING)
		return begin(upload, job, object, &view, now_ns);
	if (view.n_confirmed < view.n_parts && !send_parts(upload, object, &view, now_ns))
		return false;
	journal_look(upload->journal, object, &view);
	if (view.n_confirmed < view.n_parts || !wants_store(&view))
		return true;
	return slot->under_way != 0 || send_finish(upload, job, object, &view);
}

static bool send_probe(struct upload *upload, uint64_t now_ns)
{
	struct job *job = &upload->probe;
	if (job->busy || !gate_open(&upload->gate, upload->n_busy, now_ns))
		return false;
	job->request = (struct store_request){.action = STORE_PROBE, .owner = job};
	if (!upload->ops->start(upload->store, &job->request))
		return false;
	job->busy = true;
	upload->n_busy++;
	upload->counts.requests++;
	return true;
}

/* What was spooled first goes before all else. False when no more can be asked for now. */
static bool ask_for_oldest(struct upload *upload, uint64_t now_ns)
{
	journal_object object[OLDEST];
	unsigned n = spool_oldest(upload->options->spool, object, OLDEST);
	for (unsigned i = 0; i < n; i++)
		if (!ask_store(upload, object[i], now_ns))
			return false;
	return true;
}

static bool work_remotely(struct upload *upload, uint64_t now_ns)
{
	uint64_t requests = upload->counts.requests;
	if (!upload->gate.probed)
		return send_probe(upload, now_ns);
	if (upload->recover != NULL && gate_open(&upload->gate, upload->n_busy, now_ns) &&
	    recover_work(upload->recover, now_ns)) {
		upload->n_busy++;
		upload->counts.requests++;
	}
	if (upload->options->spool != NULL && gate_open(&upload->gate, upload->n_busy, now_ns) &&
	    !ask_for_oldest(upload, now_ns))
		return upload->counts.requests != requests;
	bool worked = upload->counts.requests != requests;
	for (uint32_t n = upload->remote.n; n > 0; n--) {
		journal_object object = upload->remote.object[upload->remote.first];
		if (!upload->slot[object].removed && !ask_store(upload, object, now_ns))
			break;
		(void)row_pop(&upload->remote);
		upload->slot[object].remote = false;
		worked = true;
	}
	return worked;
}

/* ---- the index ---- */

static void index_object(struct upload *upload, journal_object object)
{
	struct index *index = upload->options->index;
	struct journal_view view;
	struct journal_part part;
	journal_look(upload->journal, object, &view);
	if (index == NULL || view.phase != JOURNAL_UPLOADING)
		return;
	index_opened(index, &view, pack_encoding(upload->pack), upload->options->type);
	for (uint64_t i = view.words[WORD_LOST] + 1; i <= view.n_confirmed; i++) {
		struct store_part confirmed = {.number = (uint32_t)i};
		if (!journal_part(upload->journal, object, (uint32_t)i, &part))
			return;
		if (is_gone(&part))
			continue;
		confirmed.bytes = part.bytes;
		memcpy(confirmed.etag, part.etag, sizeof confirmed.etag);
		index_confirmed(index, view.token, &confirmed);
	}
}

static void write_index(struct upload *upload, uint64_t now_ns)
{
	index_begin(upload->options->index);
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object))
		index_object(upload, object);
	index_end(upload->options->index, now_ns);
}

static void index_part(struct upload *upload, journal_object object, const struct journal_part *part,
                       const char *etag)
{
	struct journal_view view;
	struct store_part confirmed = {.number = part->number, .bytes = part->bytes};
	if (upload->options->index == NULL)
		return;
	journal_look(upload->journal, object, &view);
	snprintf(confirmed.etag, sizeof confirmed.etag, "%s", etag);
	index_confirmed(upload->options->index, view.token, &confirmed);
}

static void index_forget(struct upload *upload, journal_object object)
{
	struct journal_view view;
	journal_look(upload->journal, object, &view);
	if (upload->options->index != NULL && view.phase == JOURNAL_UPLOADING)
		index_done(upload->options->index, view.token);
}

/* What became of an upload that was left open before a reboot. */
static void handle_recovered(void *argument, const struct recover_end *end)
{
	struct upload *upload = argument;
	struct journal_view view = index_view(end->entry);
	if (end->lost == NULL) {
		upload->counts.recovered++;
		upload->counts.last_object_ns = clock_real_ns();
		log_info("an upload that was open before the machine started is complete",
		         "key=\"%s\" bytes=%llu", end->entry->key, (unsigned long long)end->bytes);
		return;
	}
	log_error("an upload that was open before the machine started is lost",
	          "key=\"%s\" upload=\"%s\" bytes=%llu reason=\"%s\"", end->entry->key, end->entry->upload,
	          (unsigned long long)end->bytes, end->lost);
	upload->counts.abandoned++;
	upload->options->abandoned(upload->options->argument, &view, end->bytes, end->lost);
}

/* ---- answers ---- */

static void drop_spooled(struct upload *upload, journal_object object)
{
	struct journal_view view;
	struct journal_part part;
	if (upload->options->spool == NULL)
		return;
	journal_look(upload->journal, object, &view);
	for (uint32_t number = view.n_confirmed + 1; number <= view.n_parts; number++)
		if (journal_part(upload->journal, object, number, &part) && part.spooled)
			spool_drop(upload->options->spool, object, number);
}

static void forget(struct upload *upload, journal_object object)
{
	struct slot *slot = &upload->slot[object];
	index_forget(upload, object);
	drop_spooled(upload, object);
	upload->flushing -= slot->flush;
	journal_remove(upload->journal, object);
	*slot = (struct slot){
	        .local = slot->local, .remote = slot->remote, .cut = slot->cut, .removed = true};
}

static void complete(struct upload *upload, journal_object object, uint64_t bytes)
{
	upload->counts.objects++;
	upload->counts.object_bytes += bytes;
	upload->counts.last_object_ns = clock_real_ns();
	forget(upload, object);
}

/* What is confirmed is gone. What the journal still has of the object goes into another upload,
 * under another name: parts keep their numbers, those up to WORD_LOST are left out. */
static void lose(struct upload *upload, journal_object object, const struct journal_view *view,
                 const char *reason, uint64_t now_ns)
{
	struct slot *slot = &upload->slot[object];
	uint64_t bytes = parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_confirmed + 1ull);
	log_error("an upload is lost: the store knows neither it nor its object",
	          "key=\"%.*s\" upload=\"%s\" bytes=%llu reason=\"%s\"", (int)view->key_bytes, view->key,
	          view->upload, (unsigned long long)bytes, reason);
	upload->counts.abandoned++;
	upload->options->abandoned(upload->options->argument, view, bytes, reason);
	if (view->finishing && view->n_confirmed == view->n_parts && view->packed_bytes == 0 &&
	    view->open_bytes == 0) {
		forget(upload, object);
		return;
	}
	journal_set_word(upload->journal, object, WORD_LOST, view->n_confirmed);
	if (take_name(upload, object, view, attempt_of(view) + 1, now_ns))
		slot->recreate = true;
}

/* Neither the upload nor the object was found. */
static void handle_missing(struct upload *upload, journal_object object, const struct journal_view *view,
                           const char *reason, uint64_t now_ns)
{
	struct slot *slot = &upload->slot[object];
	slot->settle = false;
	if (!slot->gone)
		return; /* it was not done: again */
	slot->gone = false;
	if (view->n_confirmed == view->words[WORD_LOST]) {
		slot->recreate = true; /* all its bytes are here */
		return;
	}
	slot->missing++;
	slot->hold_until_ns = now_ns + HOLD_NS;
	if (slot->missing < MISSING_TRIES)
		return;
	slot->missing = 0;
	slot->hold_until_ns = 0;
	lose(upload, object, view, reason, now_ns);
}

/* What became of a PUT or FINISH. */
static void handle_settled(struct upload *upload, struct job *job, const struct journal_view *view,
                           uint64_t now_ns)
{
	const struct store_request *request = &job->request;
	struct slot *slot = &upload->slot[job->object];
	bool small = is_small(upload, view);
	uint64_t bytes =
	        small ? view->packed_bytes + view->cut_bytes
	              : parts_bytes(upload, job->object, view->words[WORD_LOST] + 1, view->n_parts + 1ull);
	if (request->result == -ENOENT) {
		handle_missing(upload, job->object, view, "it is not there", now_ns);
		return;
	}
	bool ours = upload->traits->keeps_token
	                    ? strncmp(request->token_found, view->token, JOURNAL_TOKEN_BYTES) == 0
	                    : slot->unknown && request->bytes_found == bytes;
	if (ours && request->bytes_found == bytes && view->finishing) {
		complete(upload, job->object, bytes);
		return;
	}
	if (ours) {
		hold(upload, job->object, now_ns + INVALID_NS, "an object has our token and another size");
		return;
	}
	slot->settle = false;
	if (small || upload->traits->late_name)
		(void)take_name(upload, job->object, view, attempt_of(view) + 1, now_ns);
	else
		lose(upload, job->object, view, "another object has the name", now_ns);
}

static void handle_find(struct upload *upload, struct job *job, const struct journal_view *view,
                        uint64_t now_ns)
{
	if (job->request.result != 0 && job->request.result != -ENOENT)
		return;
	if (job->settle)
		handle_settled(upload, job, view, now_ns);
	else
		(void)take_name(upload, job->object, view, job->request.result == 0 ? 1 : 0, now_ns);
}

static void handle_created(struct upload *upload, struct job *job, const struct journal_view *view,
                           uint64_t now_ns)
{
	const struct store_request *request = &job->request;
	if (request->result == -ENOENT || request->result == -EEXIST) /* no answer to CREATE */
		hold(upload, job->object, now_ns + HOLD_NS, request->reason);
	if (request->result != 0)
		return;
	for (unsigned i = 0; i < STORE_WORDS; i++)
		if (request->words[i] != view->words[i])
			journal_set_word(upload->journal, job->object, i, request->words[i]);
	journal_set_upload(upload->journal, job->object, request->upload_made, strlen(request->upload_made));
	index_object(upload, job->object);
	upload->slot[job->object].recreate = false;
}

/* Parts are confirmed in order, so that those confirmed are always the first ones. */
static void confirm(struct upload *upload, journal_object object, uint32_t number, const char *etag)
{
	struct journal_part part = {0};
	if (journal_part(upload->journal, object, number, &part)) {
		upload->counts.parts++;
		upload->counts.part_bytes += part.bytes;
		index_part(upload, object, &part, etag);
	}
	journal_confirm(upload->journal, object, number, etag);
	if (part.spooled)
		spool_drop(upload->options->spool, object, number);
	for (unsigned i = 0; i < upload->n_jobs; i++) {
		struct early *early = &upload->early[i];
		if (early->object != object || early->number != number + 1)
			continue;
		early->number = 0;
		confirm(upload, object, number + 1, early->etag);
		return;
	}
}

static void handle_part(struct upload *upload, struct job *job, const struct journal_view *view)
{
	const struct store_request *request = &job->request;
	struct slot *slot = &upload->slot[job->object];
	if (slot->settle || slot->recreate)
		return; /* of an upload that is in doubt nothing is confirmed */
	if (request->result == -ENOENT) {
		slot->settle = slot->gone = true;
		return;
	}
	if (request->result != 0)
		return;
	slot->missing = 0;
	if (request->number == view->n_confirmed + 1) {
		confirm(upload, job->object, request->number, request->etag);
		return;
	}
	/* without a place for it the part is sent again */
	for (unsigned i = 0; i < upload->n_jobs; i++) {
		struct early *early = &upload->early[i];
		if (early->number != 0)
			continue;
		*early = (struct early){.object = job->object, .number = request->number};
		memcpy(early->etag, request->etag, sizeof early->etag);
		return;
	}
}

static void forget_early(struct upload *upload, journal_object object)
{
	for (unsigned i = 0; i < upload->n_jobs; i++)
		if (upload->early[i].object == object)
			upload->early[i].number = 0;
}

static void handle_finished(struct upload *upload, struct job *job)
{
	struct slot *slot = &upload->slot[job->object];
	uint64_t bytes = job->request.bytes;
	for (uint32_t i = 0; i < job->request.n_parts; i++)
		bytes += job->request.part[i].bytes;
	switch (job->request.result) {
	case 0:
		complete(upload, job->object, bytes);
		return;
	case -ENOENT:
		slot->settle = slot->gone = slot->unknown = true;
		return;
	case -EINPROGRESS:
		slot->settle = slot->unknown = true;
		return;
	case -EEXIST:
		slot->settle = true;
		return;
	default:
		return;
	}
}

/* What the answer says of the store. */
static void judge(struct upload *upload, const struct store_request *request, uint64_t now_ns)
{
	bool probe = request->action == STORE_PROBE;
	switch (request->result) {
	case -EAGAIN:
		upload->counts.unavailable++;
		break;
	case -EACCES:
		upload->counts.refused++;
		break;
	case -EINPROGRESS:
		upload->counts.unknown++;
		break;
	case -EINVAL:
		upload->counts.invalid++;
		if (!probe)
			return;
		break;
	default:
		gate_worked(&upload->gate, probe, now_ns);
		return;
	}
	gate_failed(&upload->gate, request->result == -EINVAL ? -EACCES : request->result, probe,
	            request->reason, request->wait_ns, now_ns);
}

static void take_answer(struct upload *upload, struct store_request *request, uint64_t now_ns)
{
	struct job *job = request->owner;
	struct journal_view view = {0};
	judge(upload, request, now_ns);
	if (request->owner == upload->recover) {
		upload->n_busy--;
		recover_answer(upload->recover, request, now_ns);
		return;
	}
	job->busy = false;
	upload->n_busy--;
	if (job == &upload->probe)
		return;
	struct slot *slot = &upload->slot[job->object];
	slot->under_way--;
	if (job->spooled != 0)
		spool_free(upload->options->spool, job->object, job->spooled);
	job->spooled = 0;
	if (request->result != 0)
		add_cut(upload, job->object); /* while it was under way it was passed over */
	if (request->action != STORE_PART)
		slot->alone = false;
	journal_look(upload->journal, job->object, &view);
	if (request->result == -EINVAL)
		hold(upload, job->object, now_ns + INVALID_NS, request->reason);
	else if (request->action == STORE_PART)
		handle_part(upload, job, &view);
	else if (request->action == STORE_CREATE)
		handle_created(upload, job, &view, now_ns);
	else if (request->action == STORE_FIND)
		handle_find(upload, job, &view, now_ns);
	else
		handle_finished(upload, job);
	if (slot->settle || slot->recreate || slot->removed)
		forget_early(upload, job->object);
	free(request->found);
	free(job->part);
	job->part = NULL;
	if (!slot->removed)
		add_remote(upload, job->object);
}

static void tell_failing(struct upload *upload, uint64_t now_ns, uint64_t real_ns)
{
	struct upload_counts *counts = &upload->counts;
	if (upload->options->index != NULL && index_is_long(upload->options->index, now_ns))
		write_index(upload, now_ns);
	counts->left = upload->recover == NULL ? 0 : recover_left(upload->recover);
	if (now_ns >= upload->invalid_until_ns)
		upload->invalid[0] = '\0';
	const char *reason = upload->gate.failing_since_ns != 0 ? upload->gate.reason : upload->invalid;
	snprintf(counts->reason, sizeof counts->reason, "%s", reason);
	if (upload->gate.failing_since_ns != 0)
		counts->failing_since_ns = upload->gate.failing_since_ns;
	else if (reason[0] == '\0')
		counts->failing_since_ns = 0;
	else if (counts->failing_since_ns == 0)
		counts->failing_since_ns = real_ns;
}

/* ---- the spool ---- */

static void finish(struct upload *upload, journal_object object)
{
	journal_finish(upload->journal, object);
	add_local(upload, object);
}

/* Room gets short: earlier when the store fails, for then nothing else makes any. */
static bool wants_spool(const struct upload *upload)
{
	struct journal_counts counts;
	if (upload->options->spool == NULL)
		return false;
	journal_count(upload->journal, &counts);
	uint64_t part = upload->gate.failing_since_ns != 0 ? 4 : 16;
	return counts.free_blocks <= counts.kept_blocks + counts.blocks / part;
}

/* The first part that is in memory and not under way. False when there is none. */
static bool find_unsafe(const struct upload *upload, journal_object object, struct journal_part *part)
{
	struct journal_view view;
	journal_look(upload->journal, object, &view);
	for (uint32_t number = view.n_confirmed + 1; number <= view.n_parts; number++)
		if (journal_part(upload->journal, object, number, part) && !part->spooled &&
		    !is_under_way(upload, object, number))
			return true;
	return false;
}

static bool work_on_spool(struct upload *upload, uint64_t now_ns)
{
	struct spool *spool = upload->options->spool;
	struct journal_part part;
	journal_object object;
	bool worked = false;
	if (spool == NULL)
		return false;
	while ((object = spool_next(spool, now_ns)) != JOURNAL_NONE) {
		add_remote(upload, object);
		add_cut(upload, object);
		worked = true;
	}
	for (uint32_t n = upload->cut.n; n > 0 && wants_spool(upload) && spool_idle(spool); n--) {
		object = row_pop(&upload->cut);
		struct slot *slot = &upload->slot[object];
		slot->cut = false;
		if (slot->removed)
			continue;
		/* A request of another kind may have its bytes, or be its end. */
		bool later = slot->alone || spool_busy(spool, object);
		if (!later && !find_unsafe(upload, object, &part))
			continue;
		if (!later && spool_takes(spool, part.bytes, now_ns))
			worked |= spool_write(spool, object, part.number);
		add_cut(upload, object);
	}
	return worked;
}

/* What is in no part, and takes more memory than the list of parts that it would get. */
static bool is_worth_cutting(const struct upload *upload, journal_object object,
                             const struct journal_view *view)
{
	return view->packed_bytes > JOURNAL_BLOCK_BYTES && !upload->slot[object].alone &&
	       (!view->finishing || view->open_bytes == 0);
}

/* Makes parts for the spool of what is largest. A part below the store's least is an object's last:
 * such an object is finished first. True when it did something. */
static bool cut_early(struct upload *upload, uint64_t now_ns)
{
	struct journal_view view;
	struct journal_counts counts;
	uint64_t largest = 0, cut = 0;
	if (upload->cut.n > upload->n_jobs || !spool_takes(upload->options->spool, 0, now_ns) ||
	    now_ns - upload->cut_ns < RELIEF_NS)
		return false;
	upload->cut_ns = now_ns;
	journal_count(upload->journal, &counts);
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		journal_look(upload->journal, object, &view);
		if (is_worth_cutting(upload, object, &view) && view.packed_bytes > largest)
			largest = view.packed_bytes;
	}
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE);
	     object != JOURNAL_NONE && cut < counts.blocks / 16 * JOURNAL_BLOCK_BYTES;
	     object = journal_next(upload->journal, object)) {
		journal_look(upload->journal, object, &view);
		if (!is_worth_cutting(upload, object, &view) || view.packed_bytes < largest / 2)
			continue;
		cut += view.packed_bytes;
		if (!view.finishing &&
		    (view.packed_bytes < upload->traits->part_min || is_full(upload, &view))) {
			finish(upload, object);
			continue;
		}
		if (journal_cut(upload->journal, object) == 0)
			break;
		add_cut(upload, object);
		add_remote(upload, object);
	}
	return cut != 0;
}

bool upload_work(struct upload *upload, uint64_t now_ns)
{
	struct store_request *request;
	bool worked = false;
	while ((request = upload->ops->next(upload->store, now_ns)) != NULL) {
		take_answer(upload, request, now_ns);
		worked = true;
	}
	if (worked)
		tell_failing(upload, now_ns, clock_real_ns());
	worked |= work_on_spool(upload, now_ns);
	worked |= work_locally(upload);
	worked |= work_remotely(upload, now_ns);
	return worked;
}

/* ---- the clock, pressure, all at once ---- */

void upload_tick(struct upload *upload, uint64_t now_ns, uint64_t real_ns)
{
	struct upload_counts *counts = &upload->counts;
	struct journal_view view;
	counts->open_objects = counts->finishing = counts->oldest_ns = 0;
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		struct slot *slot = &upload->slot[object];
		journal_look(upload->journal, object, &view);
		if (!view.finishing && view.opened_ns < real_ns &&
		    real_ns - view.opened_ns >= upload->finish_after_ns) {
			finish(upload, object);
			view.finishing = true;
		}
		if (view.cut_bytes != 0 && upload->options->spool != NULL)
			add_remote(upload, object); /* it may have found no place to be read to */
		if (slot->hold_until_ns != 0 && slot->hold_until_ns <= now_ns) {
			slot->hold_until_ns = 0;
			add_remote(upload, object);
		}
		counts->open_objects++;
		counts->finishing += view.finishing;
		if (counts->oldest_ns == 0 || view.opened_ns < counts->oldest_ns)
			counts->oldest_ns = view.opened_ns;
	}
	tell_failing(upload, now_ns, real_ns);
}

void upload_finish_all(struct upload *upload)
{
	struct journal_view view;
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		struct slot *slot = &upload->slot[object];
		journal_look(upload->journal, object, &view);
		if (!view.finishing)
			finish(upload, object);
		upload->flushing += !slot->flush;
		slot->flush = true;
	}
}

uint64_t upload_unfinished(const struct upload *upload)
{
	return upload->flushing;
}

bool upload_short(const struct upload *upload)
{
	struct journal_counts counts;
	journal_count(upload->journal, &counts);
	return counts.free_blocks <= counts.kept_blocks || counts.free_objects == 0;
}

/* Packs what is worth it: lines that take two blocks or more. What does not compress may take a
 * block more than before, so it stops before it has used up what finished objects need. Returns how
 * many members it made. */
static unsigned pack_open_members(struct upload *upload)
{
	struct journal_view view;
	struct journal_counts counts;
	unsigned n = 0;
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		journal_look(upload->journal, object, &view);
		if (view.open_bytes < 2ull * JOURNAL_BLOCK_BYTES)
			continue;
		journal_count(upload->journal, &counts);
		if (counts.free_blocks < counts.kept_blocks)
			break;
		if (pack_lines(upload, object, &view) != 0)
			break;
		add_local(upload, object);
		n++;
	}
	return n;
}

bool upload_relieve(struct upload *upload, uint64_t now_ns)
{
	struct journal_counts counts;
	journal_count(upload->journal, &counts);
	if (counts.free_objects != 0 && counts.free_blocks > counts.kept_blocks + counts.blocks / 8)
		return false;
	if (now_ns - upload->relieved_ns >= RELIEF_NS) {
		upload->relieved_ns = now_ns;
		if (pack_open_members(upload) != 0)
			return true;
	}
	if (wants_spool(upload) && cut_early(upload, now_ns))
		return true;
	/* What is small gives more room to nobody, neither in the spool nor in a store that fails. */
	if (upload->options->spool != NULL && upload->gate.failing_since_ns != 0 &&
	    counts.free_objects != 0 && spool_takes(upload->options->spool, 0, now_ns))
		return false;
	journal_object object = journal_oldest(upload->journal);
	if (object == JOURNAL_NONE || counts.finishing >= 4ull * upload->n_jobs)
		return false;
	finish(upload, object);
	return true;
}

unsigned upload_wait(struct upload *upload, struct store_wait *wait, unsigned n, uint64_t now_ns,
                     uint64_t *timeout_ns)
{
	unsigned used = upload->ops->wait(upload->store, wait, n, timeout_ns);
	bool waiting = upload->remote.n != 0 || !upload->gate.probed;
	if (upload->options->spool != NULL && used < n) {
		struct spool_counts counts;
		spool_count(upload->options->spool, &counts);
		waiting |= counts.parts != 0;
		wait[used++] = spool_wait(upload->options->spool);
	}
	uint64_t until_ns = upload->gate.until_ns;
	if (waiting && until_ns > now_ns && until_ns - now_ns < *timeout_ns)
		*timeout_ns = until_ns - now_ns;
	return used;
}

const struct upload_counts *upload_counts(const struct upload *upload)
{
	return &upload->counts;
}

/* ---- opening ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void read_options(struct upload *upload, const struct upload_options *options)
{
	const struct store_traits *traits = upload->traits;
	upload->finish_bytes = least(options->finish_bytes, traits->object_max - traits->object_max / 64);
	upload->part_bytes = options->part_bytes > traits->part_min ? options->part_bytes : traits->part_min;
	upload->part_bytes = least(upload->part_bytes, traits->part_max / 2);
	upload->member_bytes = least(options->member_bytes, upload->finish_bytes);
	upload->finish_after_ns = options->finish_after_ns;
	if (traits->upload_max_ns != 0)
		upload->finish_after_ns = least(upload->finish_after_ns, traits->upload_max_ns);
	gate_init(&upload->gate, options->backoff_ns, options->backoff_max_ns, options->seed);
}

/* What the last life left goes on. */
static void take_up(struct upload *upload)
{
	struct journal_view view;
	char name[JOURNAL_KEY_MAX];
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		journal_look(upload->journal, object, &view);
		struct slot *slot = &upload->slot[object];
		if (view.phase >= JOURNAL_NAMED)
			slot->name_hash = name_hash(name, current_name(upload, &view, name));
		slot->settle = slot->unknown = (view.words[WORD_FLAGS] & FLAG_SENT) != 0;
		/* a name was taken for another upload, which is not there yet (lose) */
		slot->recreate = view.phase == JOURNAL_UPLOADING && view.words[WORD_LOST] != 0 &&
		                 (view.words[WORD_FLAGS] & FLAG_CREATED) == 0;
		add_local(upload, object);
		if (view.cut_bytes != 0)
			add_cut(upload, object);
	}
}

/* What the journal has is the journal's; the rest was left before a reboot. */
static int take_up_index(struct upload *upload)
{
	struct index *index = upload->options->index;
	struct journal_view view;
	if (index == NULL)
		return 0;
	for (journal_object object = journal_next(upload->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(upload->journal, object)) {
		journal_look(upload->journal, object, &view);
		index_drop_left(index, view.token);
	}
	write_index(upload, clock_monotonic_ns());
	if (index_left(index, 0) == NULL)
		return 0;
	return recover_open(&upload->recover, index, upload->ops, upload->store, handle_recovered, upload);
}

static bool allocate(struct upload *upload)
{
	upload->slot = calloc(upload->n_slots, sizeof *upload->slot);
	upload->job = calloc(upload->n_jobs, sizeof *upload->job);
	upload->early = calloc(upload->n_jobs, sizeof *upload->early);
	upload->local.size = upload->remote.size = upload->cut.size = upload->n_slots;
	upload->local.object = calloc(upload->n_slots, sizeof(journal_object));
	upload->remote.object = calloc(upload->n_slots, sizeof(journal_object));
	upload->cut.object = calloc(upload->n_slots, sizeof(journal_object));
	return upload->slot != NULL && upload->job != NULL && upload->early != NULL &&
	       upload->local.object != NULL && upload->remote.object != NULL && upload->cut.object != NULL;
}

static void free_all(struct upload *upload)
{
	recover_close(upload->recover);
	for (unsigned i = 0; upload->job != NULL && i < upload->n_jobs; i++) {
		free(upload->job[i].piece);
		free(upload->job[i].part);
	}
	free(upload->slot);
	free(upload->job);
	free(upload->early);
	free(upload->local.object);
	free(upload->remote.object);
	free(upload->cut.object);
	free(upload);
}

int upload_open(struct upload **made, const struct upload_options *options, struct journal *journal,
                struct pack *pack, const struct store_ops *ops, struct store *store)
{
	struct journal_counts counts;
	struct upload *upload = calloc(1, sizeof *upload);
	if (upload == NULL)
		return -ENOMEM;
	journal_count(journal, &counts);
	upload->options = options;
	upload->journal = journal;
	upload->pack = pack;
	upload->ops = ops;
	upload->store = store;
	upload->traits = ops->traits(store);
	upload->n_slots = (uint32_t)counts.objects;
	upload->n_jobs = upload->traits->requests;
	read_options(upload, options);
	if (!allocate(upload) || take_up_index(upload) != 0) {
		free_all(upload);
		return -ENOMEM;
	}
	take_up(upload);
	*made = upload;
	return 0;
}

void upload_close(struct upload *upload)
{
	upload->ops->close(upload->store); /* its requests point to ours */
	free_all(upload);
}

uint64_t upload_memory(uint64_t objects, unsigned requests, uint64_t part_bytes)
{
	uint64_t pieces = part_bytes / JOURNAL_BLOCK_BYTES + 64;
	return sizeof(struct upload) + objects * (sizeof(struct slot) + 3 * sizeof(journal_object)) +
	       requests * (sizeof(struct job) + sizeof(struct early) + pieces * sizeof(struct iovec)) +
	       JOURNAL_PARTS_MAX * sizeof(struct store_part);
}
