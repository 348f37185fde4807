#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sink/objects/upload_inside.h"

#define HOLD_NS       (2 * NS_PER_SEC) /* before an upload is looked for again */
#define MISSING_TRIES 3u               /* times in a row that an upload must not be there to be lost */

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
		if (upload_is_gone(&part))
			continue;
		confirmed.bytes = part.bytes;
		memcpy(confirmed.etag, part.etag, sizeof confirmed.etag);
		index_confirmed(index, view.token, &confirmed);
	}
}

void upload_write_index(struct upload *upload, uint64_t now_ns)
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
void upload_handle_recovered(void *argument, const struct recover_end *end)
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

void upload_forget(struct upload *upload, journal_object object)
{
	struct slot *slot = &upload->slot[object];
	index_forget(upload, object);
	drop_spooled(upload, object);
	upload->flushing -= slot->flush;
	journal_remove(upload->journal, object);
	*slot = (struct slot){
	        .local = slot->local, .remote = slot->remote, .cut = slot->cut, .removed = true};
}

static void count_time(struct upload_counts *counts, uint64_t opened_ns, uint64_t now_ns)
{
	static const uint64_t bound[] = {OBJECT_TIMES_MS};
	uint64_t ms = clock_since_ns(opened_ns, now_ns) / NS_PER_MS;
	counts->object_ms[0] += ms;
	counts->object_ms[1 + metric_bucket(bound, sizeof bound / sizeof bound[0], ms)]++;
}

static void complete(struct upload *upload, journal_object object, uint64_t bytes)
{
	struct journal_view view;
	journal_look(upload->journal, object, &view);
	upload->counts.objects++;
	upload->counts.object_bytes += bytes;
	upload->counts.last_object_ns = clock_real_ns();
	count_time(&upload->counts, view.opened_ns, upload->counts.last_object_ns);
	upload_forget(upload, object);
}

/* What is confirmed is gone. What the journal still has of the object goes into another upload,
 * under another name: parts keep their numbers, those up to WORD_LOST are left out. */
void upload_lose(struct upload *upload, journal_object object, const struct journal_view *view,
                 const char *reason, uint64_t now_ns)
{
	struct slot *slot = &upload->slot[object];
	uint64_t bytes =
	        upload_parts_bytes(upload, object, view->words[WORD_LOST] + 1, view->n_confirmed + 1ull);
	log_error("an upload is lost: the store knows neither it nor its object",
	          "key=\"%.*s\" upload=\"%s\" bytes=%llu reason=\"%s\"", (int)view->key_bytes, view->key,
	          view->upload, (unsigned long long)bytes, reason);
	upload->counts.abandoned++;
	upload->options->abandoned(upload->options->argument, view, bytes, reason);
	if (view->finishing && view->n_confirmed == view->n_parts && view->packed_bytes == 0 &&
	    view->open_bytes == 0) {
		upload_forget(upload, object);
		return;
	}
	journal_set_word(upload->journal, object, WORD_LOST, view->n_confirmed);
	if (upload_take_name(upload, object, view, upload_attempt_of(view) + 1, now_ns))
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
	upload_lose(upload, object, view, reason, now_ns);
}

/* What became of a PUT or FINISH. */
static void handle_settled(struct upload *upload, struct job *job, const struct journal_view *view,
                           uint64_t now_ns)
{
	const struct store_request *request = &job->request;
	struct slot *slot = &upload->slot[job->object];
	bool small = upload_is_small(upload, view);
	uint64_t bytes = small ? view->packed_bytes + view->cut_bytes
	                       : upload_parts_bytes(upload, job->object, view->words[WORD_LOST] + 1,
	                                            view->n_parts + 1ull);
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
		upload_hold(upload, job->object, now_ns + INVALID_NS,
		            "an object has our token and another size");
		return;
	}
	slot->settle = false;
	if (small || upload->traits->late_name)
		(void)upload_take_name(upload, job->object, view, upload_attempt_of(view) + 1, now_ns);
	else
		upload_lose(upload, job->object, view, "another object has the name", now_ns);
}

static void handle_find(struct upload *upload, struct job *job, const struct journal_view *view,
                        uint64_t now_ns)
{
	if (job->request.result != 0 && job->request.result != -ENOENT)
		return;
	if (job->settle)
		handle_settled(upload, job, view, now_ns);
	else
		(void)upload_take_name(upload, job->object, view, job->request.result == 0 ? 1 : 0, now_ns);
}

static void handle_created(struct upload *upload, struct job *job, const struct journal_view *view,
                           uint64_t now_ns)
{
	const struct store_request *request = &job->request;
	if (request->result == -ENOENT || request->result == -EEXIST) /* no answer to CREATE */
		upload_hold(upload, job->object, now_ns + HOLD_NS, request->reason);
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

void upload_forget_early(struct upload *upload, journal_object object)
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

void upload_take_answer(struct upload *upload, struct store_request *request, uint64_t now_ns)
{
	struct job *job = request->owner;
	struct journal_view view = {0};
	judge(upload, request, now_ns);
	if (request->owner == upload->recover) {
		upload->n_busy--;
		recover_answer(upload->recover, request, now_ns);
		upload->counts.left = recover_left(upload->recover);
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
		upload_add_cut(upload, job->object); /* while it was under way it was passed over */
	if (request->action != STORE_PART)
		slot->alone = false;
	journal_look(upload->journal, job->object, &view);
	if (request->result == -EINVAL)
		upload_hold(upload, job->object, now_ns + INVALID_NS, request->reason);
	else if (request->action == STORE_PART)
		handle_part(upload, job, &view);
	else if (request->action == STORE_CREATE)
		handle_created(upload, job, &view, now_ns);
	else if (request->action == STORE_FIND)
		handle_find(upload, job, &view, now_ns);
	else
		handle_finished(upload, job);
	if (slot->settle || slot->recreate || slot->removed)
		upload_forget_early(upload, job->object);
	free(request->found);
	free(job->part);
	job->part = NULL;
	if (!slot->removed)
		upload_add_remote(upload, job->object);
}
