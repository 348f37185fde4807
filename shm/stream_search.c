/* Moving a reader to another place of its lane: by number, by position, by what the records say.
 * stream.h has the contract; this file is apart because it needs no order of stores: all that it
 * knows of the lane are waypoints and what stream_peek gives. */
#include <string.h>

#include "shm/waypoint.h"

/* On to the first record that begins at the position or after it, or has the number, as long as
 * there are some. */
static void walk_to(struct stream_reader *reader, uint64_t position, uint64_t number)
{
	struct record_batch batch;
	while (reader->position < position && reader->records < number && stream_peek(reader, &batch)) {
		uint64_t n = 0;
		while (batch.position < position && reader->records + n < number &&
		       record_next(&batch) != NULL)
			n++;
		stream_pass(reader, &batch, n);
	}
}

uint64_t stream_reader_rewind(struct stream_reader *reader, uint64_t records)
{
	stream_unfence(reader);
	struct stream_place tail = waypoint_tail(reader->shared, reader->data, reader->size), place;
	uint64_t target = tail.records > records ? tail.records - records : 0;
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
	if (oldest != 0)
		oldest += reader->size / 16;
	if (!waypoint_before(reader->shared, oldest, tail.position, target, &place) &&
	    !waypoint_after(reader->shared, oldest, tail.position, &place))
		place = tail;
	stream_move_to(reader, place);
	walk_to(reader, UINT64_MAX, target);
	stream_reader_settle_anew(reader);
	return stream_waiting_records(reader);
}

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
	stream_unfence(reader);
	uint64_t tail = stream_tail(reader->shared);
	struct stream_place place;
	while (reader->position + 1 < tail &&
	       waypoint_after(reader->shared, reader->position + 1, tail - 1, &place) &&
	       waypoint_is_before(reader, place, before, argument))
		stream_move_to(reader, place);
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

enum stream_found stream_reader_find(struct stream_reader *reader, uint64_t position)
{
	uint64_t tail = stream_tail(reader->shared);
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size), missed = reader->missed;
	struct stream_place place;
	if (position % RECORD_ALIGN != 0)
		return STREAM_NO_RECORD;
	if (position >= tail)
		return STREAM_NOT_YET;
	if (position < oldest || !waypoint_before(reader->shared, oldest, position, UINT64_MAX, &place))
		return STREAM_OVERWRITTEN;
	stream_move_to(reader, place);
	walk_to(reader, position, UINT64_MAX);
	if (reader->missed != missed)
		return STREAM_OVERWRITTEN;
	return reader->position == position ? STREAM_FOUND : STREAM_NO_RECORD;
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
	stream_move_to(reader, (struct stream_place){bookmark->position, bookmark->records});
	reader->missed = bookmark->missed;
	atomic_store_explicit(&reader->cursor->first, bookmark->first, memory_order_relaxed);
	stream_settle(reader);
}
