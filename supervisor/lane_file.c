#include "supervisor/lane_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/topic.h"
#include "shm/folder.h"
#include "shm/instance.h"

static void look_at_group(const struct stream_group *group, unsigned lane, bool live,
                          struct lane_file_state *state)
{
	if (atomic_load_explicit(&group->state, memory_order_acquire) != GROUP_REQUIRED)
		return;
	uint64_t position = atomic_load_explicit(&group->cursor[lane].position, memory_order_acquire);
	bool outside = atomic_load_explicit(&group->configured, memory_order_relaxed) == 0;
	bool waits = outside && position < state->tail;
	state->required_live |= live;
	state->outside_waits |= waits;
	state->outside_reads |= waits && live;
}

/* Which group is furthest behind, and by how much. */
static void look_at_slowest(const struct stream_group *const group[STREAM_GROUPS_MAX], unsigned lane,
                            uint64_t records, struct lane_file_state *state)
{
	struct stream_slowest slowest = stream_slowest(group, lane, state->tail);
	if (slowest.group < 0)
		return;
	uint64_t read =
	        atomic_load_explicit(&group[slowest.group]->cursor[lane].records, memory_order_relaxed);
	memcpy(state->slowest, group[slowest.group]->name, sizeof state->slowest);
	state->slowest[sizeof state->slowest - 1] = '\0';
	state->waiting_bytes = state->tail - slowest.position;
	state->waiting_records = records > read ? records - read : 0;
}

int lane_file_look(const char *directory, const char *topic, unsigned lane, struct lane_file_state *state,
                   struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result;
	struct stream_shared *shared = stream_head_map(directory, instance_lane_name(name, topic, lane),
	                                               SEGMENT_READ, &result, error);
	if (shared == NULL)
		return result;
	*state = (struct lane_file_state){
	        .size_bytes = shared->size_bytes,
	        .tail = atomic_load_explicit(&shared->tail, memory_order_acquire),
	};
	uint64_t records = atomic_load_explicit(&shared->records, memory_order_relaxed);
	stream_head_unmap(shared);
	struct segment segment[STREAM_GROUPS_MAX] = {0};
	const struct stream_group *group[STREAM_GROUPS_MAX] = {NULL};
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++) {
		result = segment_attach(&segment[i], directory, instance_group_name(name, topic, i),
		                        SEGMENT_GROUP, SEGMENT_READ, error);
		group[i] = segment[i].body;
		if (result == 0)
			look_at_group(group[i], lane, lane_file_has_reader(directory, topic, i), state);
	}
	if (result == 0)
		look_at_slowest(group, lane, records, state);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		segment_detach(&segment[i]);
	return result;
}

bool lane_file_has_reader(const char *directory, const char *topic, unsigned group)
{
	/* a group of which it cannot be told counts as alive */
	return topic_has_reader(directory, topic, group) != 0;
}

bool lane_file_has_writer(const char *directory, const char *topic, unsigned lane)
{
	char file[SEGMENT_NAME_MAX];
	snprintf(file, sizeof file, "%s.writer.%u", topic, lane);
	return instance_locked(directory, file, NULL) != 0;
}

/* Gives the successor the place of `old`: it goes on at the same position, and everything before
 * that counts as overwritten. */
static int inherit(const char *next, const char *name, const struct stream_shared *old,
                   struct shm_error *error)
{
	int result;
	struct stream_shared *shared = stream_head_map(next, name, SEGMENT_WRITE, &result, error);
	if (shared == NULL)
		return result;
	uint64_t tail = atomic_load_explicit(&old->tail, memory_order_acquire);
	atomic_store(&shared->records, atomic_load(&old->records));
	/* Readers look for waypoints from a sixteenth behind the oldest position on
	 * (shm/stream.c); ours must be there. */
	uint64_t margin = shared->size_bytes / 16, size = shared->size_bytes;
	uint64_t intent = tail == 0 ? 0 : tail > margin ? tail + size - margin : tail + size;
	atomic_store(&shared->intent, intent);
	atomic_store(&shared->limit, intent);
	memcpy(&shared->ledger, &old->ledger, sizeof shared->ledger);
	atomic_store_explicit(&shared->tail, tail, memory_order_release);
	stream_head_unmap(shared);
	/* Readers find no record before this waypoint. */
	struct stream_writer writer;
	result = stream_writer_attach(&writer, next, name, 0, error);
	if (result == 0) {
		stream_leave_waypoint(&writer);
		stream_writer_detach(&writer);
	}
	return result;
}

int lane_file_resize(const char *directory, const char *topic, unsigned lane, uint64_t size_bytes,
                     struct shm_error *error)
{
	char next[FOLDER_PATH_MAX], name[SEGMENT_NAME_MAX];
	int result;
	instance_lane_name(name, topic, lane);
	snprintf(next, sizeof next, "%s/" NEXT_DIRECTORY, directory);
	struct stream_shared *old = stream_head_map(directory, name, SEGMENT_READ, &result, error);
	if (old == NULL)
		return result;
	/* the header lies before the words, in the same mapping */
	const struct segment_header *header = (const void *)((const char *)old - SEGMENT_HEADER_BYTES);
	result = folder_make(next);
	if (result == -EEXIST)
		result = 0;
	if (result != 0)
		shm_explain(error, "%s: cannot create: %s", next, strerror(-result));
	(void)folder_unlink(next, name); /* left by a supervisor that died here */
	if (result == 0)
		result = stream_create(next, name, header->generation, size_bytes, error);
	if (result == 0)
		result = inherit(next, name, old, error);
	if (result == 0) {
		result = folder_rename(next, name, directory, name);
		if (result != 0)
			shm_explain(error, "%s/%s: cannot rename: %s", next, name, strerror(-result));
	}
	stream_head_unmap(old);
	(void)folder_unlink(next, name);
	(void)folder_remove(next);
	return result;
}
