#include "supervisor/groups.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "shm/topic.h"

static bool is_retired(const struct plan_topic *topic)
{
	for (unsigned lane = 0; lane < topic->page.n_lanes; lane++)
		if (!topic->retired[lane])
			return false;
	return true;
}

static bool wants(const struct plan_topic *topic, const char *group)
{
	for (unsigned i = 0; i < topic->n_required; i++)
		if (strcmp(topic->required[i], group) == 0)
			return true;
	return false;
}

static bool has(const struct plan *plan, const struct plan_topic *topic, const char *group)
{
	char name[SHM_NAME_MAX];
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		if (topic_group_configured(plan->directory, topic->page.name, i, name) &&
		    strcmp(name, group) == 0)
			return true;
	return false;
}

/* Bytes that wait for the group in the lanes of the page in force. */
static uint64_t waiting_bytes(const struct instance *instance, const char *topic, unsigned index)
{
	char name[SEGMENT_NAME_MAX];
	struct segment segment = {0};
	struct shm_error ignored;
	uint64_t bytes = 0;
	int result, place = instance_topic_index(instance, topic);
	if (place < 0 ||
	    segment_attach(&segment, instance->directory, instance_group_name(name, topic, index),
	                   SEGMENT_GROUP, SEGMENT_READ, &ignored) != 0)
		return 0;
	const struct stream_group *group = segment.body;
	for (unsigned i = 0; i < instance->page->topic[place].n_lanes; i++) {
		struct stream_shared *head =
		        stream_head_map(instance->directory, instance_lane_name(name, topic, i), SEGMENT_READ,
		                        &result, &ignored);
		uint64_t position = atomic_load_explicit(&group->cursor[i].position, memory_order_relaxed);
		uint64_t tail = head == NULL ? 0 : atomic_load_explicit(&head->tail, memory_order_relaxed);
		bytes += tail > position ? tail - position : 0;
		stream_head_unmap(head);
	}
	segment_detach(&segment);
	return bytes;
}

static void retire(const struct instance *instance, const char *topic, unsigned index, const char *group)
{
	struct shm_error error = {""};
	uint64_t waiting = waiting_bytes(instance, topic, index);
	int result = topic_group_retire(instance, topic, group, &error);
	if (result != 0)
		log_warn("a group that the configuration no longer has is kept",
		         "topic=%s group=%s reason=\"%s\"", topic, group, error.text);
	else if (waiting != 0)
		log_warn("a group that the configuration no longer has is given up: it had not read all",
		         "topic=%s group=%s waiting_bytes=%llu", topic, group, (unsigned long long)waiting);
	else
		log_info("a group that the configuration no longer has is freed", "topic=%s group=%s", topic,
		         group);
}

static int fit(const struct plan *plan, const struct plan_topic *topic, const struct instance *instance,
               struct shm_error *error)
{
	const char *name = topic->page.name;
	char group[SHM_NAME_MAX];
	int result = 0;
	/* What can fail comes first: then nothing is given up. */
	for (unsigned i = 0; result == 0 && i < topic->n_required; i++)
		if (!has(plan, topic, topic->required[i]))
			result = topic_group_configure(instance, name, topic->required[i], error);
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++)
		if (topic_group_configured(plan->directory, name, i, group) && !wants(topic, group))
			retire(instance, name, i, group);
	return result;
}

/* Most often nothing is to be done, and nothing need be attached. */
static bool fits(const struct plan *plan, const struct plan_topic *topic)
{
	char group[SHM_NAME_MAX];
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		if (topic_group_configured(plan->directory, topic->page.name, i, group) &&
		    !wants(topic, group))
			return false;
	for (unsigned i = 0; i < topic->n_required; i++)
		if (!has(plan, topic, topic->required[i]))
			return false;
	return true;
}

int groups_apply(const struct plan *plan, const struct plan_topic *topic, struct shm_error *error)
{
	struct instance instance;
	if (is_retired(topic) || fits(plan, topic))
		return 0;
	int result = instance_attach(&instance, plan->instance, SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	result = fit(plan, topic, &instance, error);
	instance_detach(&instance);
	return result;
}
