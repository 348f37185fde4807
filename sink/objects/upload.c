#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sink/objects/upload_inside.h"

/* ---- the whole ---- */

static void tell_failing(struct upload *upload, uint64_t now_ns, uint64_t real_ns)
{
	struct upload_counts *counts = &upload->counts;
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

bool upload_work(struct upload *upload, uint64_t now_ns)
{
	struct store_request *request;
	bool worked = false;
	while ((request = upload->ops->next(upload->store, now_ns)) != NULL) {
		upload_take_answer(upload, request, now_ns);
		worked = true;
	}
	if (worked)
		tell_failing(upload, now_ns, clock_real_ns());
	worked |= upload_work_on_spool(upload, now_ns);
	worked |= upload_work_locally(upload);
	worked |= upload_work_remotely(upload, now_ns);
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
			upload_finish_object(upload, object);
			view.finishing = true;
		}
		if (view.cut_bytes != 0 && upload->options->spool != NULL)
			upload_add_remote(upload, object); /* it may have found no place to be read to */
		if (slot->hold_until_ns != 0 && slot->hold_until_ns <= now_ns) {
			slot->hold_until_ns = 0;
			upload_add_remote(upload, object);
		}
		counts->open_objects++;
		counts->finishing += view.finishing;
		if (counts->oldest_ns == 0 || view.opened_ns < counts->oldest_ns)
			counts->oldest_ns = view.opened_ns;
	}
	if (upload->options->index != NULL && index_is_long(upload->options->index, now_ns))
		upload_write_index(upload, now_ns);
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
			upload_finish_object(upload, object);
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
		if (upload_pack_lines(upload, object, &view) != 0)
			break;
		upload_add_local(upload, object);
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
	if (upload_wants_spool(upload) && upload_cut_early(upload, now_ns))
		return true;
	/* What is small gives more room to nobody, neither in the spool nor in a store that
	 * fails. */
	if (upload->options->spool != NULL && upload->gate.failing_since_ns != 0 &&
	    counts.free_objects != 0 && spool_takes(upload->options->spool, 0, now_ns))
		return false;
	journal_object object = journal_oldest(upload->journal);
	if (object == JOURNAL_NONE || counts.finishing >= 4ull * upload->n_jobs)
		return false;
	upload_finish_object(upload, object);
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
			slot->name_hash = upload_name_hash(name, upload_current_name(upload, &view, name));
		slot->settle = slot->unknown = (view.words[WORD_FLAGS] & FLAG_SENT) != 0;
		/* a name was taken for another upload, which is not there yet (lose) */
		slot->recreate = view.phase == JOURNAL_UPLOADING && view.words[WORD_LOST] != 0 &&
		                 (view.words[WORD_FLAGS] & FLAG_CREATED) == 0;
		upload_add_local(upload, object);
		if (view.cut_bytes != 0)
			upload_add_cut(upload, object);
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
	upload_write_index(upload, clock_monotonic_ns());
	if (index_left(index, 0) == NULL)
		return 0;
	int result = recover_open(&upload->recover, index, upload->ops, upload->store,
	                          upload_handle_recovered, upload);
	if (result == 0)
		upload->counts.left = recover_left(upload->recover);
	return result;
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
