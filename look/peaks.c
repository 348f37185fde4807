#include "look/peaks.h"

#include <string.h>

/* A new minute begins with nothing; the one before is kept when it was the last. */
static void turn(struct peaks *peaks, uint64_t now_ns)
{
	uint64_t window = now_ns / PEAKS_WINDOW_NS;
	if (window == peaks->window)
		return;
	bool next = window == peaks->window + 1;
	peaks->window = window;
	for (unsigned i = 0; i < INSTANCE_TOPICS_MAX; i++)
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++) {
			struct peaks_group *group = &peaks->group[i][k];
			memset(group->most[window % 2], 0, sizeof group->most[0]);
			if (!next)
				memset(group->most[(window + 1) % 2], 0, sizeof group->most[0]);
		}
}

/* False when it has no marks: free, or a tap's. */
static bool same_group(struct peaks_group *marks, const struct stream_group *group)
{
	char name[SHM_NAME_MAX] = "";
	uint32_t state = atomic_load_explicit(&group->state, memory_order_acquire);
	if (state == GROUP_REQUIRED || state == GROUP_LAPSED)
		memcpy(name, group->name, sizeof name - 1);
	if (strcmp(marks->name, name) != 0) {
		memset(marks, 0, sizeof *marks);
		memcpy(marks->name, name, sizeof name);
	}
	return name[0] != '\0';
}

static void sample_lane(struct peaks_group *marks, unsigned window, const struct stream_group *group,
                        unsigned lane, const struct stream_shared *shared)
{
	/* The cursor first: then what waits looks a little too much, never negative. */
	uint64_t position = atomic_load_explicit(&group->cursor[lane].position, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
	uint64_t waiting = tail > position ? tail - position : 0;
	if (waiting > shared->size_bytes)
		waiting = shared->size_bytes;
	if (waiting > marks->most[window][lane])
		marks->most[window][lane] = waiting;
}

void peaks_sample(struct peaks *peaks, const struct snapshot_source *source, uint64_t now_ns)
{
	if (source->page.header == NULL)
		return;
	uint64_t generation = source->page.header->generation;
	if (generation != peaks->generation)
		*peaks = (struct peaks){.generation = generation};
	turn(peaks, now_ns);
	for (unsigned i = 0; i < INSTANCE_TOPICS_MAX; i++)
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++) {
			const struct stream_group *group = source->group[i][k].body;
			if (source->group[i][k].header == NULL || !same_group(&peaks->group[i][k], group))
				continue;
			for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++)
				if (source->lane[i][lane] != NULL)
					sample_lane(&peaks->group[i][k], peaks->window % 2, group, lane,
					            source->lane[i][lane]);
		}
}

uint64_t peaks_of(const struct peaks *peaks, const struct snapshot *snapshot, unsigned topic, unsigned lane,
                  const struct snapshot_group *group)
{
	uint64_t most = group->waiting_bytes;
	for (unsigned k = 0; k < STREAM_GROUPS_MAX && snapshot->generation == peaks->generation; k++) {
		const struct peaks_group *marks = &peaks->group[topic][k];
		if (strcmp(marks->name, group->name) != 0)
			continue;
		for (unsigned window = 0; window < 2; window++)
			if (marks->most[window][lane] > most)
				most = marks->most[window][lane];
	}
	return most;
}
