#include <errno.h>

#include "sink/objects/upload_inside.h"

#define PIECES       64u /* of raw lines, at a time */
#define WORK_MEMBERS 4u  /* packed by one upload_work */

/* ---- rows of objects ---- */

static void row_push(struct row *row, journal_object object)
{
	row->object[(row->first + row->n++) % row->size] = object;
}

journal_object upload_row_pop(struct row *row)
{
	journal_object object = row->object[row->first];
	row->first = (row->first + 1) % row->size;
	row->n--;
	return object;
}

void upload_add_local(struct upload *upload, journal_object object)
{
	upload->slot[object].removed = false;
	if (upload->slot[object].local)
		return;
	upload->slot[object].local = true;
	row_push(&upload->local, object);
}

void upload_add_remote(struct upload *upload, journal_object object)
{
	upload->slot[object].removed = false;
	if (upload->slot[object].remote)
		return;
	upload->slot[object].remote = true;
	row_push(&upload->remote, object);
}

void upload_add_cut(struct upload *upload, journal_object object)
{
	if (upload->options->spool == NULL || upload->slot[object].cut)
		return;
	upload->slot[object].cut = true;
	row_push(&upload->cut, object);
}

void upload_touch(struct upload *upload, journal_object object)
{
	upload_add_local(upload, object);
}

/* ---- what is done in memory: members, parts, the decision to finish ---- */

int upload_pack_lines(struct upload *upload, journal_object object, const struct journal_view *view)
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
bool upload_is_small(const struct upload *upload, const struct journal_view *view)
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
	       (view->finishing && view->open_bytes == 0 && !upload_is_small(upload, view));
}

/* Packs, decides and cuts. Returns 0, or -ENOSPC when there are too few blocks: later. */
static int prepare(struct upload *upload, journal_object object, struct journal_view *view)
{
	journal_look(upload->journal, object, view);
	if (view->open_bytes != 0 && (view->finishing || view->open_bytes >= upload->member_bytes)) {
		int result = upload_pack_lines(upload, object, view);
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
		upload_add_cut(upload, object);
		journal_look(upload->journal, object, view);
	}
	return 0;
}

bool upload_wants_store(const struct journal_view *view)
{
	return view->phase != JOURNAL_FREE && (view->finishing || view->n_parts > view->n_confirmed);
}

/* False when nothing could be done. */
bool upload_work_locally(struct upload *upload)
{
	struct journal_view view;
	unsigned n = upload->local.n < WORK_MEMBERS ? upload->local.n : WORK_MEMBERS;
	bool worked = false;
	for (unsigned i = 0; i < n; i++) {
		journal_object object = upload_row_pop(&upload->local);
		upload->slot[object].local = false;
		if (upload->slot[object].removed)
			continue;
		if (prepare(upload, object, &view) != 0) {
			upload_add_local(upload, object);
			continue;
		}
		worked = true;
		if (upload_wants_store(&view))
			upload_add_remote(upload, object);
	}
	return worked;
}

/* ---- the spool ---- */

void upload_finish_object(struct upload *upload, journal_object object)
{
	journal_finish(upload->journal, object);
	upload_add_local(upload, object);
}

/* Room gets short: earlier when the store fails, for then nothing else makes any. */
bool upload_wants_spool(const struct upload *upload)
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
		    !upload_is_under_way(upload, object, number))
			return true;
	return false;
}

bool upload_work_on_spool(struct upload *upload, uint64_t now_ns)
{
	struct spool *spool = upload->options->spool;
	struct journal_part part;
	journal_object object;
	bool worked = false;
	if (spool == NULL)
		return false;
	while ((object = spool_next(spool, now_ns)) != JOURNAL_NONE) {
		upload_add_remote(upload, object);
		upload_add_cut(upload, object);
		worked = true;
	}
	for (uint32_t n = upload->cut.n; n > 0 && upload_wants_spool(upload) && spool_idle(spool); n--) {
		object = upload_row_pop(&upload->cut);
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
		upload_add_cut(upload, object);
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
bool upload_cut_early(struct upload *upload, uint64_t now_ns)
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
			upload_finish_object(upload, object);
			continue;
		}
		if (journal_cut(upload->journal, object) == 0)
			break;
		upload_add_cut(upload, object);
		upload_add_remote(upload, object);
	}
	return cut != 0;
}
