/* A small instance for tests, made as the supervisor makes one: topics with lanes and groups, queues, bells, the instance page.
 *
 *     struct test_topic topics[] = {{"ip", 1 << 20, 1, {"writer.0"}, "tally"}};
 *     instance_make(place.directory, topics, 1, &error);
 *     instance_make_queues(place.directory, topics, 1, (struct test_queue[]){{"postback", 64, 1024}}, 1, &error);
 *     instance_attach(&instance, "test", SEGMENT_READ, &error);
 */
#ifndef TESTS_INSTANCE_PLACE_H
#define TESTS_INSTANCE_PLACE_H

#include "shm/queue.h"
#include "shm/topic.h"
#include "tests/shm_place.h"

struct test_topic {
	const char *name;
	uint64_t size_bytes;
	unsigned n_lanes;
	const char *lane_role[4];
	const char *required; /* the group that exists from the start, or NULL */
};

struct test_queue {
	const char *name;
	uint64_t slots, slot_bytes;
};

struct test_topics {
	const struct test_topic *topic;
	unsigned n;
	const struct test_queue *queue;
	unsigned n_queues;
};

static void fill_test_page(void *body, void *argument)
{
	struct instance_page *page = body;
	const struct test_topics *topics = argument;
	page->n_topics = topics->n;
	for (unsigned i = 0; i < topics->n; i++) {
		struct instance_topic *topic = &page->topic[i];
		snprintf(topic->name, sizeof topic->name, "%s", topics->topic[i].name);
		topic->size_bytes = topics->topic[i].size_bytes;
		topic->n_lanes = topics->topic[i].n_lanes;
		for (unsigned k = 0; k < topic->n_lanes; k++)
			snprintf(topic->lane_role[k], SHM_NAME_MAX, "%s", topics->topic[i].lane_role[k]);
	}
	page->n_queues = topics->n_queues;
	for (unsigned i = 0; i < topics->n_queues; i++) {
		snprintf(page->queue[i].name, SHM_NAME_MAX, "%s", topics->queue[i].name);
		page->queue[i].slots = topics->queue[i].slots;
		page->queue[i].slot_bytes = topics->queue[i].slot_bytes;
	}
}

static inline int instance_make_queues(const char *directory, const struct test_topic *topic, unsigned n,
                                       const struct test_queue *queue, unsigned n_queues, struct shm_error *error)
{
	struct test_topics topics = {topic, n, queue, n_queues};
	char name[SEGMENT_NAME_MAX];
	int result = segment_create(directory, "bells", SEGMENT_BELLS, 7, sizeof(struct bells_page), NULL, NULL, error);
	for (unsigned i = 0; result == 0 && i < n; i++) {
		for (unsigned k = 0; result == 0 && k < topic[i].n_lanes; k++)
			result = stream_create(directory, instance_lane_name(name, topic[i].name, k), 7, topic[i].size_bytes, error);
		if (result == 0)
			result = topic_groups_create(directory, topic[i].name, 7, &topic[i].required, topic[i].required != NULL,
			                             error);
	}
	for (unsigned i = 0; result == 0 && i < n_queues; i++)
		result = queue_create(directory, instance_queue_name(name, queue[i].name), 7, queue[i].slots, queue[i].slot_bytes,
		                      error);
	if (result == 0)
		result = segment_create(directory, "instance", SEGMENT_INSTANCE, 7, sizeof(struct instance_page), fill_test_page,
		                        &topics, error);
	return result;
}

static inline int instance_make(const char *directory, const struct test_topic *topic, unsigned n, struct shm_error *error)
{
	return instance_make_queues(directory, topic, n, NULL, 0, error);
}

#endif
