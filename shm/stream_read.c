#include "shm/stream_lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void move_to(struct stream_reader *reader, struct stream_place place)
{
	reader->position = place.position;
	reader->records = place.records;
}

/* The first waypoint from `from` on, or the tail. */
static struct stream_place place_from(const struct stream_reader *reader, uint64_t from)
{
	struct stream_place place;
	uint64_t tail = atomic_load_explicit(&reader->shared->tail, memory_order_acquire);
	if (!stream_waypoint_after(reader->shared, from, tail, &place))
		place = stream_read_tail(reader->shared, reader->data, reader->size);
	return place;
}

/* Goes on at the first waypoint from `from` on, or at the tail, and counts what lies between as
 * missed. */
static void skip_to(struct stream_reader *reader, uint64_t from)
{
	struct stream_place place = place_from(reader, from);
	if (place.records > reader->records)
		reader->missed += place.records - reader->records;
	else
		/* damage in the counts themselves: never run backwards */
		place.records = reader->records;
	move_to(reader, place);
}

/* The number of the record at the reader's position, worked out from the waypoint (or the tail)
 * after it: what lies in between is protected by the cursor. Needed after a death between the
 * cursor's two words. */
static void recount_cursor(struct stream_reader *reader)
{
	struct stream_place next = place_from(reader, reader->position);
	uint64_t n;
	if (next.position - reader->position <= reader->size &&
	    stream_count_records(reader->data, reader->size - 1, reader->position, next.position, &n) &&
	    n <= next.records)
		reader->records = next.records - n;
}

static void start_in(struct stream_reader *reader, struct stream_place place)
{
	move_to(reader, place);
	reader->missed = 0;
	atomic_store_explicit(&reader->cursor->first, place.records, memory_order_relaxed);
	stream_settle(reader);
}

static void start_at(struct stream_reader *reader, enum stream_start start)
{
	uint64_t oldest = UINT64_MAX;
	if (start == STREAM_FROM_OLDEST && !reader->optional)
		oldest = stream_oldest_kept(reader->shared, reader->size);
	else if (start == STREAM_FROM_OLDEST)
		oldest = stream_oldest_position(reader->shared, reader->size);
	/* A little later than the oldest: a writer at work, which does not wait for it, would be
	 * there at once. */
	if (start == STREAM_FROM_OLDEST && reader->optional && oldest != 0)
		oldest += reader->size / 16;
	start_in(reader, place_from(reader, oldest));
}

int stream_reader_map(struct stream_reader *reader, const char *directory, const char *name, bool optional,
                      struct shm_error *error)
{
	size_t mapped_bytes;
	int result;
	memset(reader, 0, sizeof *reader);
	char *base = stream_map_lane(directory, name, PROT_READ, &mapped_bytes, &result, error);
	if (base == NULL)
		return result;
	*reader = (struct stream_reader){
	        .shared = stream_shared_of(base),
	        .data = base + STREAM_DATA_OFFSET,
	        .size = stream_shared_of(base)->size_bytes,
	        .optional = optional,
	        .mapped_bytes = mapped_bytes,
	};
	if (optional) {
		reader->copy_bytes = STREAM_COPY_BYTES;
		reader->copy = malloc(reader->copy_bytes);
		if (reader->copy == NULL) {
			stream_reader_detach(reader);
			shm_explain(error, "%s: no memory for the reader's copy", name);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Goes on where the cursor of a required group is. */
static void take_up_cursor(struct stream_reader *reader)
{
	uint64_t tail = atomic_load_explicit(&reader->shared->tail, memory_order_acquire);
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
	if (reader->position > tail) {
		reader->damaged++;
		start_at(reader, STREAM_FROM_OLDEST);
	} else if (reader->position < oldest || tail - reader->position > reader->size) {
		skip_to(reader, oldest);
		stream_settle(reader);
	} else {
		recount_cursor(reader);
		stream_settle(reader);
	}
}

void stream_reader_begin(struct stream_reader *reader, struct stream_cursor *cursor, enum stream_start start)
{
	reader->cursor = cursor;
	reader->position = atomic_load_explicit(&cursor->position, memory_order_relaxed);
	reader->records = atomic_load_explicit(&cursor->records, memory_order_relaxed);
	reader->missed = atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
	reader->damaged = atomic_load_explicit(&cursor->damaged, memory_order_relaxed);
	if (start != STREAM_FROM_CURSOR)
		start_at(reader, start);
	else if (!reader->optional)
		take_up_cursor(reader);
}

void stream_reader_join(struct stream_reader *reader)
{
	if (reader->shared == NULL)
		return; /* a lane that another share reads */
	/* Between cursor and state, which the caller has stored, and limit; pairs with the fence in
	 * take_more. */
	atomic_thread_fence(memory_order_seq_cst);
	uint64_t oldest = stream_oldest_kept(reader->shared, reader->size);
	if (reader->position < oldest)
		start_in(reader, place_from(reader, oldest));
}

int stream_reader_attach(struct stream_reader *reader, const char *directory, const char *name,
                         struct stream_cursor *cursor, bool optional, enum stream_start start,
                         struct shm_error *error)
{
	int result = stream_reader_map(reader, directory, name, optional, error);
	if (result == 0)
		stream_reader_begin(reader, cursor, start);
	return result;
}

void stream_reader_detach(struct stream_reader *reader)
{
	if (reader->shared != NULL)
		munmap((char *)(uintptr_t)reader->data - STREAM_DATA_OFFSET, reader->mapped_bytes);
	free(reader->copy);
	memset(reader, 0, sizeof *reader);
}

/* The longest run of whole records in `bytes` copied ones, `available` lying before the tail. */
static size_t whole_records(const char *copy, size_t bytes, size_t available, bool *corrupt, size_t *needed)
{
	size_t at = 0;
	*needed = 0;
	while (at + sizeof(struct record) <= bytes) {
		struct record head;
		memcpy(&head, copy + at, sizeof head);
		size_t n = record_bytes(head.length);
		if (n > available - at) {
			*corrupt = true;
			break;
		}
		if (n > bytes - at) {
			*needed = n;
			break;
		}
		at += n;
	}
	return at;
}

/* One attempt at a checked copy. False when the writer overran it. */
static bool copy_once(struct stream_reader *reader, size_t available, size_t *bytes)
{
	*bytes = available < reader->copy_bytes ? available : reader->copy_bytes;
	memcpy(reader->copy, reader->data + (reader->position & (reader->size - 1)), *bytes);
	/* The copy is done before intent is read; pairs with the fence in stream_reserve_slow. */
	atomic_thread_fence(memory_order_acquire);
	return stream_oldest_position(reader->shared, reader->size) <= reader->position;
}

static bool peek_copy(struct stream_reader *reader, struct record_batch *batch)
{
	for (;;) {
		uint64_t tail = atomic_load_explicit(&reader->shared->tail, memory_order_acquire);
		uint64_t available = tail - reader->position;
		size_t bytes, needed;
		bool corrupt = false;
		if (available == 0)
			return false;
		if (available > reader->size || !copy_once(reader, available, &bytes)) {
			/* An eighth of the size ahead of the writer, or the next look would be too
			 * late as well. */
			skip_to(reader,
			        stream_oldest_position(reader->shared, reader->size) + reader->size / 8);
			stream_settle(reader);
			continue;
		}
		size_t whole = whole_records(reader->copy, bytes, available, &corrupt, &needed);
		if (whole == 0 && needed != 0) {
			char *larger = realloc(reader->copy, needed);
			if (larger == NULL)
				return false;
			reader->copy = larger;
			reader->copy_bytes = needed;
			continue;
		}
		*batch = (struct record_batch){.at = reader->copy,
		                               .end = reader->copy + whole,
		                               .position = reader->position,
		                               .corrupt = corrupt};
		return true;
	}
}

bool stream_peek(struct stream_reader *reader, struct record_batch *batch)
{
	if (reader->optional)
		return peek_copy(reader, batch);
	/* acquire: the records before the tail are whole (stream_commit releases) */
	uint64_t available =
	        atomic_load_explicit(&reader->shared->tail, memory_order_acquire) - reader->position;
	if (available == 0)
		return false;
	const char *at = reader->data + (reader->position & (reader->size - 1));
	*batch = (struct record_batch){.at = at, .end = at + available, .position = reader->position};
	if (available >
	    reader->size) { /* the tail itself is damaged, or the cursor was: take nothing from there */
		batch->end = at;
		batch->corrupt = true;
	}
	return true;
}

void stream_pass(struct stream_reader *reader, const struct record_batch *batch, uint64_t records)
{
	reader->position = batch->position;
	reader->records += records;
	if (batch->corrupt) {
		/* What a damaged length hid may have been overwritten, if it was the tail or the
		 * cursor that was damaged. */
		uint64_t next = reader->position + 1;
		uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
		reader->damaged++;
		skip_to(reader, next > oldest ? next : oldest);
	}
}

void stream_settle(struct stream_reader *reader)
{
	/* release: all reading before it is over; pairs with the acquire in ask_groups */
	atomic_store_explicit(&reader->cursor->position, reader->position, memory_order_release);
	atomic_store_explicit(&reader->cursor->records, reader->records, memory_order_relaxed);
	atomic_store_explicit(&reader->cursor->missed_records, reader->missed, memory_order_relaxed);
	atomic_store_explicit(&reader->cursor->damaged, reader->damaged, memory_order_relaxed);
}

void stream_settle_note(const struct stream_reader *reader, struct redo *redo, unsigned region)
{
	redo_add(redo, region, &reader->cursor->records, reader->records);
	redo_add(redo, region, &reader->cursor->missed_records, reader->missed);
	redo_add(redo, region, &reader->cursor->damaged, reader->damaged);
	redo_add(redo, region, &reader->cursor->position, reader->position);
}

void stream_advance(struct stream_reader *reader, const struct record_batch *batch, uint64_t records)
{
	stream_pass(reader, batch, records);
	stream_settle(reader);
}

int stream_reader_seek(struct stream_reader *reader, uint64_t position, uint64_t records)
{
	uint64_t tail = atomic_load_explicit(&reader->shared->tail, memory_order_acquire);
	if (position < reader->position || position > tail)
		return -EINVAL;
	move_to(reader, (struct stream_place){position, records});
	stream_settle(reader);
	return 0;
}

uint64_t stream_reader_rewind(struct stream_reader *reader, uint64_t records)
{
	struct stream_place tail = stream_read_tail(reader->shared, reader->data, reader->size), place;
	uint64_t target = tail.records > records ? tail.records - records : 0;
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
	if (oldest != 0)
		oldest += reader->size / 16;
	if (!stream_waypoint_before(reader->shared, oldest, tail.position, target, &place) &&
	    !stream_waypoint_after(reader->shared, oldest, tail.position, &place))
		place = tail;
	move_to(reader, place);
	struct record_batch batch;
	while (reader->records < target && stream_peek(reader, &batch)) {
		uint64_t n = 0;
		while (reader->records + n < target && record_next(&batch) != NULL)
			n++;
		stream_pass(reader, &batch, n);
	}
	reader->missed = 0;
	atomic_store_explicit(&reader->cursor->first, reader->records, memory_order_relaxed);
	stream_settle(reader);
	return stream_waiting_records(reader);
}

uint64_t stream_waiting_records(const struct stream_reader *reader)
{
	uint64_t written = atomic_load_explicit(&reader->shared->records, memory_order_relaxed);
	return written > reader->records ? written - reader->records : 0;
}

uint64_t stream_waiting_bytes(const struct stream_reader *reader)
{
	return atomic_load_explicit(&reader->shared->tail, memory_order_acquire) - reader->position;
}

/* ---- searching ---- */

/* Whether the record at a waypoint is still there and lies before what is searched. Of a required
 * group nothing is overwritten; what an optional one has read is of use only when it was not
 * overwritten meanwhile. */
static bool waypoint_is_before(const struct stream_reader *reader, struct stream_place place,
                               stream_before *before, void *argument)
{
	uint64_t copy[2];
	struct record head;
	memcpy(copy, reader->data + (place.position & (reader->size - 1)), sizeof copy);
	memcpy(&head, copy, sizeof head);
	if (!before(head.type, &copy[1], head.length, place.position, argument))
		return false;
	atomic_thread_fence(memory_order_acquire);
	return stream_oldest_position(reader->shared, reader->size) <= place.position;
}

/* To the last waypoint before what is searched. */
static void skip_by_waypoints(struct stream_reader *reader, stream_before *before, void *argument)
{
	uint64_t tail = atomic_load_explicit(&reader->shared->tail, memory_order_acquire);
	struct stream_place place;
	while (reader->position + 1 < tail &&
	       stream_waypoint_after(reader->shared, reader->position + 1, tail - 1, &place) &&
	       waypoint_is_before(reader, place, before, argument))
		move_to(reader, place);
}

void stream_reader_skip(struct stream_reader *reader, stream_before *before, void *argument)
{
	struct record_batch batch;
	bool found = false;
	skip_by_waypoints(reader, before, argument);
	while (!found && stream_peek(reader, &batch)) {
		uint64_t n = 0;
		struct record_batch ahead = batch;
		const struct record *record;
		while ((record = record_next(&ahead)) != NULL) {
			found = !before(ahead.type, record->payload, ahead.length, batch.position, argument);
			if (found)
				break;
			batch = ahead;
			n++;
		}
		batch.corrupt = !found && ahead.corrupt;
		stream_pass(reader, &batch, n);
	}
}

void stream_reader_settle_anew(struct stream_reader *reader)
{
	start_in(reader, (struct stream_place){reader->position, reader->records});
}

struct stream_bookmark stream_reader_bookmark(const struct stream_reader *reader)
{
	return (struct stream_bookmark){
	        .position = reader->position,
	        .records = reader->records,
	        .first = reader->cursor == NULL
	                         ? 0
	                         : atomic_load_explicit(&reader->cursor->first, memory_order_relaxed),
	        .missed = reader->missed,
	};
}

void stream_reader_return(struct stream_reader *reader, const struct stream_bookmark *bookmark)
{
	move_to(reader, (struct stream_place){bookmark->position, bookmark->records});
	reader->missed = bookmark->missed;
	atomic_store_explicit(&reader->cursor->first, bookmark->first, memory_order_relaxed);
	stream_settle(reader);
}
