/* The instance: attaching, what it has, forgetting groups. */
#include <errno.h>
#include <stdio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/handle.h"

static _Thread_local struct shm_error last_error;
static pthread_mutex_t claiming = PTHREAD_MUTEX_INITIALIZER;

struct shm_error *handle_error(void)
{
	return &last_error;
}

void handle_lock(void)
{
	pthread_mutex_lock(&claiming);
}

void handle_unlock(void)
{
	pthread_mutex_unlock(&claiming);
}

int handle_life(enum life life, struct shm_error *error)
{
	switch (life) {
	case LIFE_ENDED:
		shm_explain(error, "the instance has ended");
		return -EPIPE;
	case LIFE_REPLACED:
		shm_explain(error, "the configuration has changed: detach and attach again");
		return -ESTALE;
	case LIFE_SAME:
		break;
	}
	return 0;
}

const char *millrace_version(void)
{
	return MILLRACE_VERSION;
}

struct millrace *millrace_attach(const char *name, char *error, size_t error_bytes)
{
	struct millrace *millrace = calloc(1, sizeof *millrace);
	struct shm_error why = {.text = "no memory"};
	name = segment_instance(name != NULL && *name == '\0' ? NULL : name);
	if (millrace != NULL && instance_attach(&millrace->instance, name, SEGMENT_READ, &why) == 0)
		return millrace;
	if (error != NULL)
		snprintf(error, error_bytes, "%s", why.text);
	free(millrace);
	return NULL;
}

void millrace_detach(struct millrace *millrace)
{
	if (millrace == NULL)
		return;
	instance_detach(&millrace->instance);
	free(millrace);
}

const char *millrace_error(const struct millrace *millrace)
{
	(void)millrace;
	return last_error.text;
}

uint64_t millrace_generation(const struct millrace *millrace)
{
	return millrace->instance.generation;
}

/* ---- what there is ---- */

int millrace_topics(struct millrace *millrace,
                    int (*each)(void *argument, const struct millrace_topic *topic), void *argument)
{
	const struct instance_page *page = millrace->instance.page;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < page->n_topics; i++) {
		const struct instance_topic *about = &page->topic[i];
		struct millrace_topic topic = {.name = about->name,
		                               .lane_bytes = about->size_bytes,
		                               .lanes = about->n_lanes,
		                               .refuses = about->when_full == WHEN_FULL_REFUSE};
		for (unsigned lane = 0; lane < about->n_lanes; lane++)
			topic.outside_lanes += about->lane_role[lane][0] == '\0';
		result = each(argument, &topic);
	}
	return result;
}

/* Adds up one group's lanes. */
static void count_group(struct millrace_group *out, const struct stream_group *group,
                        struct stream_shared *const *lane, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct stream_cursor *cursor = &group->cursor[i];
		/* The cursor first: the writer is never seen before it. */
		uint64_t passed = atomic_load_explicit(&cursor->records, memory_order_acquire);
		uint64_t written = lane[i] == NULL
		                           ? passed
		                           : atomic_load_explicit(&lane[i]->records, memory_order_relaxed);
		out->read += stream_cursor_read(cursor);
		out->missed += atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
		out->waiting += written > passed ? written - passed : 0;
	}
}

static int show_group(const struct stream_group *group, struct stream_shared *const *lane, unsigned n,
                      int (*each)(void *argument, const struct millrace_group *group), void *argument)
{
	uint32_t state = atomic_load_explicit(&group->state, memory_order_acquire);
	char name[SHM_NAME_MAX];
	if (state == GROUP_FREE)
		return 0;
	memcpy(name, group->name, sizeof name);
	name[sizeof name - 1] = '\0';
	struct millrace_group out = {
	        .name = name,
	        .kind = state == GROUP_REQUIRED ? MILLRACE_REQUIRED
	                : state == GROUP_LAPSED ? MILLRACE_LAPSED
	                                        : MILLRACE_OPTIONAL,
	        .of_stage = atomic_load_explicit(&group->configured, memory_order_relaxed) != 0,
	        .reader_pid = (int)atomic_load_explicit(&group->pid, memory_order_relaxed),
	};
	count_group(&out, group, lane, n);
	return each(argument, &out);
}

int millrace_groups(struct millrace *millrace, const char *topic,
                    int (*each)(void *argument, const struct millrace_group *group), void *argument)
{
	const struct instance *instance = &millrace->instance;
	struct stream_shared *lane[STREAM_LANES_MAX] = {NULL};
	char name[SEGMENT_NAME_MAX];
	int index = topic_find(instance, topic, handle_error());
	if (index < 0)
		return index;
	unsigned n = instance->page->topic[index].n_lanes;
	int missing;
	for (unsigned i = 0; i < n; i++)
		lane[i] = stream_head_map(instance->directory, instance_lane_name(name, topic, i),
		                          SEGMENT_READ, &missing, handle_error());
	int result = 0;
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++) {
		struct segment segment = {0};
		result = segment_attach(&segment, instance->directory, instance_group_name(name, topic, i),
		                        SEGMENT_GROUP, SEGMENT_READ, handle_error());
		if (result == 0)
			result = show_group(segment.body, lane, n, each, argument);
		segment_detach(&segment);
	}
	for (unsigned i = 0; i < n; i++)
		stream_head_unmap(lane[i]);
	return result;
}

int millrace_forget(struct millrace *millrace, const char *topic, const char *group)
{
	handle_lock();
	int result = topic_group_forget(&millrace->instance, topic, group, handle_error());
	handle_unlock();
	return result;
}
