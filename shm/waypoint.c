#include "shm/waypoint.h"

void stream_leave_waypoint(struct stream_writer *writer)
{
	struct stream_waypoint *waypoint =
	        &writer->shared->waypoint[(writer->tail >> writer->waypoint_shift) % STREAM_WAYPOINTS];
	atomic_store_explicit(&waypoint->position, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&waypoint->records, writer->records, memory_order_relaxed);
	atomic_store_explicit(&waypoint->position, writer->tail, memory_order_release);
	writer->next_waypoint = ((writer->tail >> writer->waypoint_shift) + 1) << writer->waypoint_shift;
}

/* One waypoint as a consistent pair; false while its writer is changing it, and for one at a place
 * where no record can begin. */
static bool read_waypoint(const struct stream_waypoint *waypoint, struct stream_place *place)
{
	place->position = atomic_load_explicit(&waypoint->position, memory_order_acquire);
	place->records = atomic_load_explicit(&waypoint->records, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return place->position != 0 && place->position % RECORD_ALIGN == 0 &&
	       atomic_load_explicit(&waypoint->position, memory_order_relaxed) == place->position;
}

bool waypoint_after(const struct stream_shared *shared, uint64_t from, uint64_t to, struct stream_place *best)
{
	bool found = false;
	if (from == 0) {
		*best = (struct stream_place){0, 0};
		return true;
	}
	for (unsigned i = 0; i < STREAM_WAYPOINTS; i++) {
		struct stream_place place;
		if (!read_waypoint(&shared->waypoint[i], &place) || place.position < from ||
		    place.position > to)
			continue;
		if (!found || place.position < best->position)
			*best = place;
		found = true;
	}
	return found;
}

bool waypoint_before(const struct stream_shared *shared, uint64_t from, uint64_t to, uint64_t records,
                     struct stream_place *best)
{
	bool found = from == 0;
	if (found)
		*best = (struct stream_place){0, 0};
	for (unsigned i = 0; i < STREAM_WAYPOINTS; i++) {
		struct stream_place place;
		if (!read_waypoint(&shared->waypoint[i], &place) || place.position < from ||
		    place.position > to || place.records > records)
			continue;
		if (!found || place.position > best->position)
			*best = place;
		found = true;
	}
	return found;
}

bool waypoint_count(const char *data, uint64_t mask, uint64_t from, uint64_t to, uint64_t *records)
{
	struct record_batch batch = {.at = data + (from & mask), .end = data + (from & mask) + (to - from)};
	uint64_t n = 0;
	while (record_next(&batch) != NULL)
		n++;
	*records = n;
	return !batch.corrupt;
}

/* What the two words say. A batch apart when the writer is just between them, or died there. */
static struct stream_place stored_tail(const struct stream_shared *shared)
{
	for (unsigned tries = 0;; tries++) {
		uint64_t tail = stream_tail(shared);
		uint64_t records = atomic_load_explicit(&shared->records, memory_order_acquire);
		if (tries == 1000 ||
		    (stream_tail(shared) == tail &&
		     atomic_load_explicit(&shared->records, memory_order_relaxed) == records))
			return (struct stream_place){tail, records};
	}
}

struct stream_place waypoint_tail(const struct stream_shared *shared, const char *data, uint64_t size)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		struct stream_place waypoint;
		uint64_t n, tail = stream_tail(shared);
		if (!waypoint_before(shared, stream_oldest_position(shared, size), tail, UINT64_MAX,
		                     &waypoint) ||
		    tail - waypoint.position > size)
			break;
		bool whole = waypoint_count(data, size - 1, waypoint.position, tail, &n);
		/* What was counted was read before intent is; pairs with the fence in
		 * stream_reserve_slow. */
		atomic_thread_fence(memory_order_acquire);
		if (stream_oldest_position(shared, size) > waypoint.position)
			continue; /* a writer has gone round meanwhile */
		if (!whole)
			break;
		return (struct stream_place){tail, waypoint.records + n};
	}
	/* No waypoint, or damage after it: there is no better number than the stored one. */
	return stored_tail(shared);
}
