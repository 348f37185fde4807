#include "shm/stream_lane.h"

#include <string.h>
#include <sys/mman.h>

#define INTENT_STEP (64ul * 1024)
/* Leave to write is taken for an eighth of the size at a time: seven eighths are there for
 * newcomers. */
#define LIMIT_STEPS 8u

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

/* Records before the tail, counted from the last waypoint whose records are all still there. */
static uint64_t recount(const struct stream_writer *writer, uint64_t size)
{
	const struct stream_shared *shared = writer->shared;
	uint64_t stored = atomic_load_explicit(&shared->records, memory_order_relaxed);
	struct stream_place place;
	uint64_t n;
	if (!stream_waypoint_before(shared, stream_oldest_position(shared, size), writer->tail, UINT64_MAX,
	                            &place) ||
	    !stream_count_records(writer->data, writer->mask, place.position, writer->tail, &n))
		return stored;
	return place.records + n;
}

int stream_writer_attach(struct stream_writer *writer, const char *directory, const char *name, unsigned lane,
                         struct shm_error *error)
{
	size_t mapped_bytes;
	int result;
	char *base = stream_map_lane(directory, name, PROT_READ | PROT_WRITE, &mapped_bytes, &result, error);
	if (base == NULL)
		return result;
	struct stream_shared *shared = stream_shared_of(base);
	uint64_t size = shared->size_bytes;
	*writer = (struct stream_writer){
	        .shared = shared,
	        .data = base + STREAM_DATA_OFFSET,
	        .mask = size - 1,
	        .tail = atomic_load_explicit(&shared->tail, memory_order_relaxed),
	        .intent = atomic_load_explicit(&shared->intent, memory_order_relaxed),
	        .waypoint_shift = (unsigned)__builtin_ctzll(size / (STREAM_WAYPOINTS / 2)),
	        .lane = lane,
	        .mapped_bytes = mapped_bytes,
	};
	writer->records = recount(writer, size);
	writer->next_waypoint = ((writer->tail >> writer->waypoint_shift) + 1) << writer->waypoint_shift;
	atomic_store_explicit(&shared->records, writer->records, memory_order_relaxed);
	return 0;
}

void stream_writer_group(struct stream_writer *writer, unsigned index, const struct stream_group *group)
{
	writer->group[index] = group;
	writer->limit = 0; /* it is asked first of all */
}

void stream_writer_detach(struct stream_writer *writer)
{
	if (writer->shared != NULL)
		munmap(writer->data - STREAM_DATA_OFFSET, writer->mapped_bytes);
	memset(writer, 0, sizeof *writer);
}

/* The first position that may not be written: size bytes after the slowest required group. */
static uint64_t ask_groups(const struct stream_writer *writer)
{
	uint64_t slowest = writer->tail;
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		const struct stream_group *group = writer->group[i];
		if (group == NULL ||
		    atomic_load_explicit(&group->state, memory_order_acquire) != GROUP_REQUIRED)
			continue;
		/* acquire: what the reader read happened before we overwrite it (stream_advance
		 * releases) */
		uint64_t position =
		        atomic_load_explicit(&group->cursor[writer->lane].position, memory_order_acquire);
		if (position < slowest)
			slowest = position;
	}
	return slowest + writer->mask + 1;
}

/* Takes leave to write up to `end` and a step further: says so, and looks again. False when a
 * required group is in the way. */
static bool take_more(struct stream_writer *writer, uint64_t end)
{
	uint64_t step = (writer->mask + 1) / LIMIT_STEPS, permitted = ask_groups(writer);
	if (end > permitted)
		return false;
	uint64_t wanted = end + step < permitted ? end + step : permitted;
	atomic_store_explicit(&writer->shared->limit, wanted, memory_order_release);
	/* Pairs with the fence in stream_reader_join: we see its cursor, or it sees this limit. */
	atomic_thread_fence(memory_order_seq_cst);
	permitted = ask_groups(writer);
	writer->limit = permitted < wanted ? permitted : wanted;
	if (writer->limit != wanted)
		atomic_store_explicit(&writer->shared->limit, writer->limit, memory_order_release);
	return end <= writer->limit;
}

bool stream_permit(struct stream_writer *writer, size_t bytes)
{
	uint64_t end = writer->tail + bytes;
	return end <= writer->limit || take_more(writer, end);
}

void *stream_reserve_slow(struct stream_writer *writer, size_t bytes)
{
	uint64_t size = writer->mask + 1;
	uint64_t end = writer->tail + bytes;
	if (bytes > size / 2 || (end > writer->limit && !take_more(writer, end)))
		return NULL;
	if (end > writer->intent) {
		uint64_t step = size / 16 < INTENT_STEP ? size / 16 : INTENT_STEP;
		uint64_t intent = end + step < writer->limit ? end + step : writer->limit;
		writer->intent = intent;
		/* Before the first byte is overwritten: optional readers look at it after they have
		 * copied. */
		atomic_store_explicit(&writer->shared->intent, intent, memory_order_relaxed);
		atomic_thread_fence(memory_order_release);
	}
	return writer->data + (writer->tail & writer->mask);
}
