#include "stage/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "flow/flow.h"

struct ports_wanted ports_declared(const struct instance *instance, const char *role, const char *format)
{
	struct ports_wanted wanted = {.instance = instance, .role = role};
	const struct flow_stage *stage = flow_stage_of_role(role);
	if (stage == NULL)
		return wanted;
	flow_group(stage, role, wanted.group);
	wanted.reads = stage->reads;
	wanted.writes = flow_writes(stage, format);
	wanted.takes = stage->takes;
	wanted.puts = stage->puts;
	return wanted;
}

/* ---- attaching ---- */

static unsigned names(const char *const *list)
{
	unsigned n = 0;
	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

static int count_wanted(struct ports *ports, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	ports->n_reads = names(wanted->reads);
	ports->n_writes = names(wanted->writes);
	ports->n_takes = names(wanted->takes);
	ports->n_queues = ports->n_takes + names(wanted->puts);
	unsigned regions = wanted->redo == NULL ? 0 : 1 + ports->n_writes + ports->n_reads;
	if (ports->n_reads <= PORTS_READS_MAX && ports->n_writes <= PORTS_WRITES_MAX &&
	    ports->n_queues <= PORTS_QUEUES_MAX && regions <= REDO_REGIONS_MAX)
		return 0;
	shm_explain(
	        error,
	        "%s: %u topics to read, %u to write, %u queues; one stage has at most %u, %u and %u, and %u topics in one redo note",
	        wanted->role, ports->n_reads, ports->n_writes, ports->n_queues, PORTS_READS_MAX,
	        PORTS_WRITES_MAX, PORTS_QUEUES_MAX, REDO_REGIONS_MAX - 1);
	return -EINVAL;
}

static int attach_private(struct ports *ports, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	if (wanted->redo == NULL || wanted->redo->note != NULL)
		return 0;
	return private_attach(&ports->private_segment, wanted->redo, wanted->instance, wanted->role, error);
}

/* By the topic, whose place in the list may be another one in the next life. */
static void name_region(const struct ports *ports, unsigned region, const char *kind, const char *topic,
                        void *base, size_t bytes)
{
	struct redo *redo = ports->wanted.redo;
	if (redo == NULL)
		return;
	redo->base[region] = base;
	redo->bytes[region] = bytes;
	redo->name[region] = redo_name(kind, topic);
}

static int attach_writer(struct ports *ports, unsigned i, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	struct topic_writer *writer = &ports->writer[i];
	int result = topic_writer_attach(writer, wanted->instance, wanted->writes[i], wanted->role, error);
	if (result != 0)
		return result;
	lane_stream(&wanted->lane[i], writer);
	name_region(ports, 1 + i, "lane", wanted->writes[i], writer->stream.shared,
	            sizeof *writer->stream.shared);
	return 0;
}

static int attach_reader(struct ports *ports, unsigned i, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	struct topic_share share = wanted->share;
	if (share.n == 0)
		share = (struct topic_share){.n = 1};
	int result = topic_reader_attach_stage(&ports->reader[i], wanted->instance, wanted->reads[i],
	                                       wanted->group, share, error);
	if (result == 0)
		name_region(ports, 1 + ports->n_writes + i, "group", wanted->reads[i], ports->reader[i].group,
		            sizeof *ports->reader[i].group);
	return result;
}

static int attach_topics(struct ports *ports, struct shm_error *error)
{
	int result = 0;
	for (unsigned i = 0; result == 0 && i < ports->n_writes; i++)
		result = attach_writer(ports, i, error);
	for (unsigned i = 0; result == 0 && i < ports->n_reads; i++)
		result = attach_reader(ports, i, error);
	return result;
}

static void detach_writer(struct ports *ports, unsigned i)
{
	if (ports->writer[i].stream.shared == NULL)
		return;
	topic_writer_detach(&ports->writer[i]);
	ports->wanted.lane[i] = (struct lane){0};
}

static void detach_topics(struct ports *ports)
{
	for (unsigned i = 0; i < ports->n_reads; i++)
		topic_reader_detach(&ports->reader[i]);
	for (unsigned i = 0; i < ports->n_writes; i++)
		detach_writer(ports, i);
}

/* Readers and writers have copied words that the note may change, so they are attached anew after
 * it. */
static int recover(struct ports *ports, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	int result = wanted->redo == NULL ? 0 : redo_recover(wanted->redo);
	if (result < 0)
		shm_explain(error,
		            "%s: the redo note of the last life is damaged; end the instance in order first",
		            wanted->role);
	if (result <= 0)
		return result;
	if (wanted->control != NULL)
		metric_add(wanted->control, wanted->recovered_notes, 1);
	detach_topics(ports);
	return attach_topics(ports, error);
}

/* ---- queues ---- */

static const char *queue_name(const struct ports *ports, unsigned i)
{
	return i < ports->n_takes ? ports->wanted.takes[i] : ports->wanted.puts[i - ports->n_takes];
}

/* A former life may have died between claim and commit, or while it worked on what it had taken.
 * Where the stage takes that up, queue_resume does both. */
static void finish_claims(struct ports *ports, unsigned i)
{
	for (unsigned k = 0; ports->wanted.takes_up && k < ports->n_takes; k++)
		if (strcmp(ports->wanted.takes[k], queue_name(ports, i)) == 0)
			return;
	struct queue_repaired repaired = queue_repair(&ports->wanted.queue[i], ports->role_number);
	ports->given_back += repaired.given_back;
	ports->dropped += repaired.dropped;
}

static int attach_queue(struct ports *ports, unsigned i, struct shm_error *error)
{
	const struct instance *instance = ports->wanted.instance;
	const char *name = queue_name(ports, i);
	char file[SEGMENT_NAME_MAX];
	int index = instance_queue_index(instance, name);
	int role = instance_role_index(instance, ports->wanted.role);
	if (index < 0 || role < 0) {
		shm_explain(error, "the instance has no queue \"%s\" for %s", name, ports->wanted.role);
		return -ENOENT;
	}
	struct queue *queue = &ports->wanted.queue[i];
	ports->role_number = (unsigned)role + 1;
	int result = queue_attach(queue, instance->directory, instance_queue_name(file, name), SEGMENT_WRITE,
	                          ports->role_number, error);
	if (result != 0) {
		*queue = (struct queue){0};
		return result;
	}
	return 0;
}

/* Where the last life had decided to publish what it was filling. The word is set back when that
 * has been done in all queues. */
static void publish_decided(struct ports *ports)
{
	_Atomic uint64_t *decided = private_decided(&ports->private_segment);
	if (decided == NULL || atomic_load_explicit(decided, memory_order_acquire) == 0)
		return;
	for (unsigned i = ports->n_takes; i < ports->n_queues; i++)
		ports->published += queue_commit_filled(&ports->wanted.queue[i], ports->role_number);
	atomic_store_explicit(decided, 0, memory_order_release);
}

static int attach_queues(struct ports *ports, struct shm_error *error)
{
	int result = 0;
	for (unsigned i = 0; result == 0 && i < ports->n_queues; i++)
		result = attach_queue(ports, i, error);
	if (result != 0)
		return result;
	publish_decided(ports);
	for (unsigned i = 0; i < ports->n_queues; i++)
		finish_claims(ports, i);
	return 0;
}

int ports_put_all(struct ports *ports, struct queue *queue, const struct queue_slot *slot, uint32_t n)
{
	_Atomic uint64_t *decided = private_decided(&ports->private_segment);
	return queue_commit_all(queue, slot, n, decided != NULL ? decided : &ports->undecided);
}

/* ---- open, close ---- */

int ports_open(struct ports *ports, const struct ports_wanted *wanted, struct shm_error *error)
{
	*ports = (struct ports){.wanted = *wanted, .page = wanted->instance->page};
	if (wanted->reads == NULL)
		ports->wanted.reads = ports->wanted.listed;
	wanted = &ports->wanted;
	int result = count_wanted(ports, error);
	if (result != 0) {
		*ports = (struct ports){0};
		return result;
	}
	for (unsigned i = 0; i < ports->n_queues; i++)
		wanted->queue[i] = (struct queue){0};
	result = attach_private(ports, error);
	if (result == 0)
		result = attach_topics(ports, error);
	if (result == 0)
		result = recover(ports, error);
	if (result == 0)
		result = attach_queues(ports, error);
	if (result != 0)
		ports_close(ports);
	return result;
}

void ports_close(struct ports *ports)
{
	detach_topics(ports);
	for (unsigned i = 0; i < ports->n_queues; i++) {
		if (ports->wanted.queue[i].segment.body != NULL)
			queue_detach(&ports->wanted.queue[i]);
		ports->wanted.queue[i] = (struct queue){0};
	}
	if (ports->private_segment.body != NULL) {
		segment_detach(&ports->private_segment);
		ports->wanted.redo->note = NULL;
	}
	*ports = (struct ports){0};
}

/* ---- another page ---- */

static int stale(struct shm_error *error, const char *kind, const char *name)
{
	shm_explain(error, "%s \"%s\" is another one by now; it can be used by a new life only", kind, name);
	return -ESTALE;
}

static int follow_reader(struct ports *ports, unsigned i, struct shm_error *error)
{
	struct topic_reader *reader = &ports->reader[i];
	const char *topic = ports->wanted.reads[i];
	if (instance_topic_index(ports->wanted.instance, topic) != (int)reader->topic)
		return stale(error, "topic", topic);
	return topic_reader_follow(reader, error);
}

/* The lane of the role in the page that is in force, or -1. */
static int lane_of(const struct instance_topic *topic, const char *role)
{
	for (unsigned lane = 0; lane < topic->n_lanes; lane++)
		if (strcmp(topic->lane_role[lane], role) == 0)
			return (int)lane;
	return -1;
}

static int follow_writer(struct ports *ports, unsigned i, struct shm_error *error)
{
	const struct ports_wanted *wanted = &ports->wanted;
	struct topic_writer *writer = &ports->writer[i];
	int topic = instance_topic_index(wanted->instance, wanted->writes[i]);
	const struct instance_topic *page = topic < 0 ? NULL : &wanted->instance->page->topic[topic];
	int lane = page == NULL ? -1 : lane_of(page, wanted->role);
	if (lane < 0)
		return stale(error, "topic", wanted->writes[i]);
	char name[SEGMENT_NAME_MAX];
	instance_lane_name(name, wanted->writes[i], (unsigned)lane);
	if (topic == (int)writer->topic && lane == (int)writer->lane &&
	    stream_in_place(&writer->stream.file, wanted->instance->directory, name))
		return 0;
	if (wanted->lane[i].received != 0 || wanted->lane[i].used != 0)
		return -EAGAIN; /* a batch is being filled: the next tick */
	struct topic_writer before = *writer;
	int result = attach_writer(ports, i, error);
	if (result == 0)
		topic_writer_detach(&before);
	else
		*writer = before;
	return result;
}

static int follow_queue(struct ports *ports, unsigned i, struct shm_error *error)
{
	const struct instance *instance = ports->wanted.instance;
	const struct queue *queue = &ports->wanted.queue[i];
	int index = instance_queue_index(instance, queue_name(ports, i));
	int role = instance_role_index(instance, ports->wanted.role);
	const struct instance_queue *page = index < 0 ? NULL : &instance->page->queue[index];
	if (page == NULL || role + 1 != (int)ports->role_number || page->slots != queue->slots ||
	    page->slot_bytes != queue->slot_bytes)
		return stale(error, "queue", queue_name(ports, i));
	return 0;
}

typedef int follow_one(struct ports *ports, unsigned i, struct shm_error *error);

/* The first failure is told, those after it are not in its way. -EAGAIN is none. */
static int follow_all(struct ports *ports, follow_one *follow, unsigned n, int result,
                      struct shm_error *error)
{
	for (unsigned i = 0; i < n; i++) {
		struct shm_error why = {""};
		int one = follow(ports, i, &why);
		if (one == 0 || (result != 0 && result != -EAGAIN))
			continue;
		result = one;
		*error = why;
	}
	return result;
}

int ports_follow(struct ports *ports, struct shm_error *error)
{
	const struct instance *instance = ports->wanted.instance;
	if (instance == NULL || instance->page == ports->page)
		return 0;
	int result = follow_all(ports, follow_reader, ports->n_reads, 0, error);
	result = follow_all(ports, follow_writer, ports->n_writes, result, error);
	result = follow_all(ports, follow_queue, ports->n_queues, result, error);
	/* Where it failed no page compares equal: one that comes later may lie where the last one
	 * did that was followed. */
	ports->page = result == 0 ? instance->page : NULL;
	return result;
}

/* ---- by name ---- */

static unsigned place_of(const char *const *list, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return i;
	abort();
}

struct topic_reader *ports_reader(struct ports *ports, const char *topic)
{
	return &ports->reader[place_of(ports->wanted.reads, ports->n_reads, topic)];
}

struct topic_writer *ports_writer(struct ports *ports, const char *topic)
{
	return &ports->writer[place_of(ports->wanted.writes, ports->n_writes, topic)];
}

unsigned ports_words(const struct ports *ports, struct sleep_word *word)
{
	unsigned n = 0;
	for (unsigned i = 0; i < ports->n_reads; i++)
		n += topic_reader_words(&ports->reader[i], &word[n]);
	return n;
}

struct queue *ports_queue(struct ports *ports, const char *queue)
{
	for (unsigned i = 0; i < ports->n_queues; i++)
		if (strcmp(queue_name(ports, i), queue) == 0)
			return &ports->wanted.queue[i];
	abort();
}

bool ports_take_up(struct ports *ports, const char *queue, struct queue_slot *slot)
{
	unsigned i = place_of(ports->wanted.takes, ports->n_takes, queue);
	return queue_resume(&ports->wanted.queue[i], &ports->resume[i], slot);
}
