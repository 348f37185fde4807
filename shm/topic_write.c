#include "shm/topic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int attach(struct topic_writer *writer, const struct instance *instance, unsigned topic, unsigned lane,
                  int lock, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct instance_topic *about = &instance->page->topic[topic];
	*writer = (struct topic_writer){.bells = instance->bells, .topic = topic, .lane = lane, .lock = lock};
	int result = stream_writer_attach(&writer->stream, instance->directory,
	                                  instance_lane_name(name, about->name, lane), lane, error);
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++) {
		result = segment_attach(&writer->group[i], instance->directory,
		                        instance_group_name(name, about->name, i), SEGMENT_GROUP,
		                        SEGMENT_READ, error);
		if (result == 0)
			stream_writer_group(&writer->stream, i, writer->group[i].body);
	}
	if (result != 0)
		topic_writer_detach(writer);
	return result;
}

int topic_writer_attach(struct topic_writer *writer, const struct instance *instance, const char *topic,
                        const char *role, struct shm_error *error)
{
	int index = topic_find(instance, topic, error);
	if (index < 0)
		return index;
	const struct instance_topic *about = &instance->page->topic[index];
	for (unsigned lane = 0; lane < about->n_lanes; lane++)
		if (strcmp(about->lane_role[lane], role) == 0)
			return attach(writer, instance, (unsigned)index, lane, -1, error);
	shm_explain(error, "topic \"%s\" has no lane for the role \"%s\"", topic, role);
	return -ENOENT;
}

/* An outside program has no redo note: what its last life had received beyond what it wrote
 * vanished with it. */
static void settle_ledger(struct topic_writer *writer)
{
	struct ledger *ledger = &writer->stream.shared->ledger;
	uint64_t sum = writer->stream.records + atomic_load_explicit(&ledger->dropped, memory_order_relaxed) +
	               atomic_load_explicit(&ledger->refused, memory_order_relaxed);
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		sum += atomic_load_explicit(&ledger->rejected[i], memory_order_relaxed);
	atomic_store_explicit(&ledger->received, sum, memory_order_relaxed);
}

int topic_writer_attach_outside(struct topic_writer *writer, const struct instance *instance,
                                const char *topic, struct shm_error *error)
{
	char file[SEGMENT_NAME_MAX];
	unsigned n_outside = 0;
	int index = topic_find(instance, topic, error);
	if (index < 0)
		return index;
	const struct instance_topic *about = &instance->page->topic[index];
	for (unsigned lane = 0; lane < about->n_lanes; lane++) {
		if (about->lane_role[lane][0] != '\0')
			continue;
		n_outside++;
		snprintf(file, sizeof file, "%s.writer.%u", topic, lane);
		int lock = instance_hold(instance->directory, file);
		if (lock == -EWOULDBLOCK)
			continue;
		if (lock < 0) {
			shm_explain(error, "%s/%s: %s", instance->directory, file, strerror(-lock));
			return lock;
		}
		int result = attach(writer, instance, (unsigned)index, lane, lock, error);
		if (result == 0)
			settle_ledger(writer);
		return result;
	}
	shm_explain(
	        error,
	        "topic \"%s\": all %u lanes for outside programs are in use; raise topics.%s.outside_lanes",
	        topic, n_outside, topic);
	return -EBUSY;
}

void topic_writer_detach(struct topic_writer *writer)
{
	if (writer->lock >= 0)
		close(writer->lock);
	stream_writer_detach(&writer->stream);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		segment_detach(&writer->group[i]);
	memset(writer, 0, sizeof *writer);
	writer->lock = -1;
}
