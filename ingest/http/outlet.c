#include "ingest/http/outlet.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define PREFETCHED_BYTES 256u

#define OUTLET_NAME(symbol, name) name,

static const char *const topic_names[] = {OUTLETS(OUTLET_NAME) NULL};

/* ---- joining ---- */

/* Ids of postbacks go on from life to life. */
static void begin_ids(struct outlet *outlet, const struct instance *instance)
{
	uint64_t lives = atomic_load_explicit(&ports_private(&outlet->ports)->lives, memory_order_relaxed);
	outlet->id_high = instance->generation;
	outlet->id_low = lives << 40 | (uint64_t)outlet->ports.role_number << 56;
}

static int take_slots(struct outlet *outlet, struct shm_error *error)
{
	outlet->slot = calloc(outlet->queue.slots, sizeof *outlet->slot);
	if (outlet->slot != NULL)
		return 0;
	shm_explain(error, "no memory");
	return -ENOMEM;
}

int outlet_open(struct outlet *outlet, const struct instance *instance, const char *role,
                struct control *control, unsigned recovered, struct shm_error *error)
{
	memset(outlet, 0, sizeof *outlet);
	struct ports_wanted wanted = ports_declared(instance, role, NULL);
	wanted.writes = topic_names; /* in the order of enum outlet_topic */
	wanted.lane = outlet->lane;
	wanted.queue = &outlet->queue;
	wanted.redo = &outlet->redo;
	wanted.control = control;
	wanted.recovered_notes = recovered;
	int result = ports_open(&outlet->ports, &wanted, error);
	if (result != 0)
		return result;
	result = take_slots(outlet, error);
	if (result != 0) {
		outlet_close(outlet);
		return result;
	}
	begin_ids(outlet, instance);
	return 0;
}

void outlet_close(struct outlet *outlet)
{
	bool alone = outlet->ports.wanted.instance == NULL;
	for (unsigned i = 0; alone && i < OUTLET_TOPICS; i++)
		free(outlet->lane[i].base);
	if (alone)
		free(outlet->queue.shared);
	ports_close(&outlet->ports);
	free(outlet->slot);
	memset(outlet, 0, sizeof *outlet);
}

#define ALONE_SLOTS      1024u
#define ALONE_SLOT_BYTES 65536u

int outlet_open_alone(struct outlet *outlet, size_t bytes)
{
	struct shm_error error;
	memset(outlet, 0, sizeof *outlet);
	for (unsigned i = 0; i < OUTLET_TOPICS; i++) {
		char *memory = malloc(bytes);
		if (memory == NULL)
			goto no_memory;
		lane_memory(&outlet->lane[i], memory, bytes);
	}
	size_t queue_size = queue_bytes(ALONE_SLOTS, ALONE_SLOT_BYTES);
	struct queue_shared *shared = aligned_alloc(SHM_LINE, queue_size);
	if (shared == NULL)
		goto no_memory;
	memset(shared, 0, queue_size);
	if (queue_init(shared, queue_size, ALONE_SLOTS, ALONE_SLOT_BYTES) != 0 ||
	    queue_join(&outlet->queue, shared, queue_size, 1) != 0)
		abort();
	if (take_slots(outlet, &error) == 0)
		return 0;
no_memory:
	outlet_close(outlet);
	return -ENOMEM;
}

/* ---- records ---- */

void *outlet_room(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length, bool *never)
{
	struct lane *lane = &outlet->lane[topic];
	size_t bytes = record_bytes((uint32_t)length);
	char *at = lane_room(lane, bytes);
	if (at != NULL)
		return record_put(at, type, (uint32_t)length);
	*never = !outlet->shut && bytes > lane->most;
	return NULL;
}

void outlet_shut(struct outlet *outlet)
{
	outlet->shut = true;
	for (unsigned i = 0; i < OUTLET_TOPICS; i++)
		outlet->lane[i].room = outlet->lane[i].most = 0;
}

void outlet_keep(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length,
                 const struct outlet_source *source)
{
	struct lane *lane = &outlet->lane[topic];
	char *payload = record_put(lane->base + lane->used, type, (uint32_t)length);
	/* Not by way of a struct event_head: see record_put. */
	memcpy(payload, &outlet->arrival_ns, sizeof outlet->arrival_ns);
	memcpy(payload + offsetof(struct event_head, source), source->address, sizeof source->address);
	memcpy(payload + offsetof(struct event_head, source_port), &source->port, sizeof source->port);
	lane_keep(lane, record_bytes((uint32_t)length));
	lane->received++;
	/* The lane is larger than any cache: by the time the next record is written there the
	 * memory has come. */
	for (size_t ahead = 0; ahead < PREFETCHED_BYTES; ahead += SHM_LINE)
		__builtin_prefetch(lane->base + lane->used + ahead, 1);
}

void *outlet_room_alone(struct outlet *outlet, enum outlet_topic topic, uint16_t type, size_t length,
                        bool *never)
{
	struct lane *lane = &outlet->lane[topic];
	void *room = outlet_room(outlet, topic, type, length, never);
	if (room != NULL || *never || lane->used == 0 || lane->writer == NULL)
		return room;
	(void)outlet_commit(outlet);
	return outlet_room(outlet, topic, type, length, never);
}

static bool anything(const struct lane *lane)
{
	return lane->received != 0;
}

bool outlet_commit(struct outlet *outlet)
{
	bool any = false;
	for (unsigned i = 0; i < OUTLET_TOPICS; i++)
		any = any || anything(&outlet->lane[i]);
	if (any)
		lanes_commit(outlet->lane, OUTLET_TOPICS, &outlet->redo);
	return any;
}

/* ---- postbacks ---- */

static bool claim_slots(struct outlet *outlet, uint32_t n)
{
	if (!queue_has_room(&outlet->queue, n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (queue_reserve(&outlet->queue, &outlet->slot[i]))
			continue;
		while (i-- > 0)
			(void)queue_cancel(&outlet->queue, &outlet->slot[i]);
		return false;
	}
	return true;
}

static void fill_slot(struct outlet *outlet, struct json_postback *postback,
                      const struct outlet_source *source, struct queue_slot *slot)
{
	uint32_t length = 0;
	(void)json_postback_next(postback, slot->data, &length);
	struct event_postback *event = slot->data;
	event->arrival_ns = outlet->arrival_ns;
	memcpy(event->source, source->address, sizeof event->source);
	event->source_port = source->port;
	event->id[0] = outlet->id_high;
	event->id[1] = ++outlet->id_low;
	slot->length = length;
}

enum outlet_result outlet_postbacks(struct outlet *outlet, struct json_postback *postback,
                                    const struct outlet_source *source, uint32_t *number)
{
	if (postback->n > outlet->queue.slots)
		return OUTLET_TOO_MANY;
	/* Looked at before anything is claimed: a copy goes through all elements. */
	struct json_postback look = *postback;
	for (*number = 1; *number <= postback->n; ++*number) {
		if (json_postback_room(&look) > outlet->queue.slot_bytes)
			return OUTLET_TOO_LARGE;
		json_postback_pass(&look);
	}
	if (outlet->shut || !claim_slots(outlet, postback->n))
		return OUTLET_FULL;
	for (uint32_t i = 0; i < postback->n; i++)
		fill_slot(outlet, postback, source, &outlet->slot[i]);
	for (uint32_t i = 0; i < postback->n; i++)
		(void)queue_commit(&outlet->queue, &outlet->slot[i], outlet->slot[i].length);
	return OUTLET_TAKEN;
}

/* ---- pressure ---- */

static uint64_t slowest_position(const struct stream_writer *stream)
{
	return stream_slowest(stream->group, stream->lane, stream->tail).position;
}

/* A second's weight is 1/e: a reader that stops is known within seconds. */
static void look(struct outlet_pressure *pressure, uint64_t read_bytes, uint64_t backlog_bytes,
                 uint64_t now_ns)
{
	double seconds = (double)(now_ns - pressure->looked_ns) / (double)NS_PER_SEC;
	if (pressure->looked_ns != 0 && seconds > 0) {
		uint64_t moved = read_bytes > pressure->read_bytes ? read_bytes - pressure->read_bytes : 0;
		double weight = seconds / (1 + seconds);
		pressure->bytes_per_s += weight * ((double)moved / seconds - pressure->bytes_per_s);
	}
	pressure->read_bytes = read_bytes;
	pressure->backlog_bytes = backlog_bytes;
	pressure->looked_ns = now_ns;
}

/* A queue keeps no count of what was taken; what is ready less what came since says it. */
static void look_at_queue(struct outlet *outlet, uint64_t now_ns)
{
	struct outlet_pressure *pressure = &outlet->pressure[OUTLET_QUEUE];
	/* Counting reads every word: once a second is enough. */
	if (pressure->looked_ns != 0 && now_ns - pressure->looked_ns < NS_PER_SEC)
		return;
	struct queue_counts counts;
	queue_count(&outlet->queue, &counts);
	uint64_t ready = counts.ready + counts.taken;
	uint64_t came = outlet->queue.reserve_position;
	look(pressure, came > ready ? came - ready : 0, ready, now_ns);
}

void outlet_look(struct outlet *outlet, uint64_t now_ns)
{
	for (unsigned i = 0; i < OUTLET_TOPICS; i++) {
		if (outlet->lane[i].writer == NULL)
			continue;
		const struct stream_writer *stream = &outlet->lane[i].writer->stream;
		uint64_t slowest = slowest_position(stream);
		look(&outlet->pressure[i], slowest, stream->tail - slowest, now_ns);
	}
	look_at_queue(outlet, now_ns);
}

unsigned outlet_retry_after_s(const struct outlet *outlet, enum outlet_topic place)
{
	const struct outlet_pressure *pressure = &outlet->pressure[place];
	double most = (double)outlet->retry_after_max_s;
	if (pressure->bytes_per_s < 1)
		return (unsigned)most;
	double seconds = (double)pressure->backlog_bytes / pressure->bytes_per_s;
	return seconds < 1 ? 1 : seconds > most ? (unsigned)most : (unsigned)(seconds + 0.999);
}

/* ---- readiness ---- */

static bool reader_is_dead(const struct stream_group *group)
{
	if (group == NULL || atomic_load_explicit(&group->state, memory_order_acquire) != GROUP_REQUIRED ||
	    atomic_load_explicit(&group->configured, memory_order_relaxed) == 0)
		return false;
	uint32_t pid = atomic_load_explicit(&group->pid, memory_order_relaxed);
	return pid == 0 || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

static bool is_full(const struct lane *lane)
{
	const struct stream_writer *stream = &lane->writer->stream;
	/* As good as full: less room than the longest usual event. */
	return stream->tail - slowest_position(stream) > stream->mask - stream->mask / 64;
}

const char *outlet_obstacle(const struct outlet *outlet, const struct instance *instance,
                            char text[OUTLET_OBSTACLE_BYTES])
{
	if (atomic_load_explicit(&instance->page->draining, memory_order_relaxed) != 0)
		return "draining";
	for (unsigned i = 0; i < OUTLET_TOPICS; i++) {
		const struct stream_writer *stream = &outlet->lane[i].writer->stream;
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++)
			if (reader_is_dead(stream->group[k])) {
				snprintf(text, OUTLET_OBSTACLE_BYTES,
				         "reader \"%s\" of topic \"%s\" is not running",
				         stream->group[k]->name, topic_names[i]);
				return text;
			}
		if (is_full(&outlet->lane[i])) {
			snprintf(text, OUTLET_OBSTACLE_BYTES, "topic \"%s\" is full", topic_names[i]);
			return text;
		}
	}
	if (outlet->pressure[OUTLET_QUEUE].backlog_bytes >= outlet->queue.slots) {
		snprintf(text, OUTLET_OBSTACLE_BYTES, "queue \"%s\" is full", OUTLET_QUEUE_NAME);
		return text;
	}
	return NULL;
}
