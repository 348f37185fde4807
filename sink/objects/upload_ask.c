#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sink/objects/name.h"
#include "sink/objects/upload_inside.h"

#define SUFFIX_BYTES 200u
#define OLDEST       64u    /* objects of the spool that are asked for before all others */
#define GONE_ETAG    "gone" /* of a part that the spool has lost, which the object is without */

/* ---- names ---- */

uint64_t upload_name_hash(const char *name, size_t bytes)
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
unsigned upload_attempt_of(const struct journal_view *view)
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
size_t upload_current_name(const struct upload *upload, const struct journal_view *view,
                           char name[JOURNAL_KEY_MAX])
{
	if (view->words[WORD_FLAGS] >> LATE_SHIFT != 0)
		return make_name(upload, view, upload_attempt_of(view), name);
	memcpy(name, view->name, view->name_bytes);
	return view->name_bytes;
}

void upload_hold(struct upload *upload, journal_object object, uint64_t until_ns, const char *reason)
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
bool upload_take_name(struct upload *upload, journal_object object, const struct journal_view *view,
                      unsigned attempt, uint64_t now_ns)
{
	char name[JOURNAL_KEY_MAX];
	size_t n = make_name(upload, view, attempt, name);
	if (n == 0) {
		upload_hold(upload, object, now_ns + INVALID_NS,
		            "a key is too long for a name in this store");
		return false;
	}
	if (attempt == 0 && is_named(upload, object, upload_name_hash(name, n)))
		return upload_take_name(upload, object, view, 1, now_ns);
	if (view->phase == JOURNAL_UPLOADING) {
		uint64_t first = view->words[WORD_FLAGS] & 0xffffffu << ATTEMPT_SHIFT;
		journal_set_word(upload->journal, object, WORD_FLAGS,
		                 (uint64_t)attempt << LATE_SHIFT | first);
	} else {
		journal_set_word(upload->journal, object, WORD_FLAGS, (uint64_t)attempt << ATTEMPT_SHIFT);
		journal_set_name(upload->journal, object, name, n);
	}
	upload->slot[object].name_hash = upload_name_hash(name, n);
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
	size_t name_bytes = upload_current_name(upload, view, job->name);
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

/* All pieces of a part, or of what is in no part; spooled: its bytes, when they lie in the spool.
 * False without memory. */
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

/* The spool has lost a part, of whose object nothing is under way: the object goes on without
 * it. */
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
		upload_forget(upload, object);
		return;
	}
	/* Those after it that were answered were sent to where they are not any more. */
	upload_forget_early(upload, object);
	journal_confirm(upload->journal, object, number, GONE_ETAG);
	if (upload->options->spool != NULL)
		spool_drop(upload->options->spool, object, number);
}

bool upload_is_gone(const struct journal_part *part)
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
uint64_t upload_parts_bytes(const struct upload *upload, journal_object object, uint64_t from, uint64_t to)
{
	struct journal_part part;
	uint64_t bytes = 0;
	for (uint64_t i = from; i < to; i++)
		if (journal_part(upload->journal, object, (uint32_t)i, &part) && !upload_is_gone(&part))
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
	job->request.safe =
	        upload_parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_confirmed + 1ull);
	job->request.offset =
	        job->request.safe + upload_parts_bytes(upload, object, view->n_confirmed + 1ull, number);
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
		if (upload_is_gone(&part))
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
	if (upload_parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_parts + 1ull) == 0) {
		upload_forget(upload, object); /* the spool has lost all that was left of it */
		return true;
	}
	upload->counts.retries += (view->words[WORD_FLAGS] & FLAG_SENT) != 0;
	set_flag(upload, object, view, FLAG_SENT);
	fill_job(upload, job, object, view, STORE_FINISH);
	return list_parts(upload, job, object, view) && send(upload, job);
}

bool upload_is_under_way(const struct upload *upload, journal_object object, uint32_t number)
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
		if (upload_is_under_way(upload, object, number))
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
	bool small = upload_is_small(upload, view);
	if (view->phase == JOURNAL_OPEN) {
		unsigned attempt = upload->options->suffix_always ? 1 : 0;
		/* PUT itself finds out whether the name is free. */
		if (attempt == 0 && !small)
			return send_find(upload, job, object, view, false);
		if (!upload_take_name(upload, object, view, attempt, now_ns))
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
	if (!upload_wants_store(&view) || slot->alone || slot->hold_until_ns > now_ns ||
	    (upload->options->spool != NULL && spool_busy(upload->options->spool, object)))
		return true; /* an answer, the clock or the spool brings it back */
	if (view.finishing &&
	    (view.open_bytes != 0 || (view.packed_bytes != 0 && !upload_is_small(upload, &view)))) {
		upload_add_local(upload, object);
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
	if (view.n_confirmed < view.n_parts || !upload_wants_store(&view))
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

bool upload_work_remotely(struct upload *upload, uint64_t now_ns)
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
		(void)upload_row_pop(&upload->remote);
		upload->slot[object].remote = false;
		worked = true;
	}
	return worked;
}
