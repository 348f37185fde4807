#include "ingest/http/outlet.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "flow/flow.h"

#define PREFETCHED_BYTES 256u

#define STAGE_NAME "ingest-http"

/* ---- joining ---- */

static void add_places(struct outlet *outlet, const char *const *names)
{
	for (FLOW_EACH(name, names))
		outlet->place[outlet->n_places++] =
		        (struct outlet_place){.name = *name, .type = flow_topic_type(*name)};
}

/* The stage's row of the flow table, which the ports go by too. */
static void take_row(struct outlet *outlet)
{
	const struct flow_stage *row = flow_stage_find(STAGE_NAME);
	memset(outlet, 0, sizeof *outlet);
	add_places(outlet, row->writes);
	outlet->n_topics = outlet->n_places;
	add_places(outlet, row->puts);
}

static unsigned n_queues(const struct outlet *outlet)
{
	return outlet->n_places - outlet->n_topics;
}

/* Ids go on from life to life. */
static void begin_ids(struct outlet *outlet, const struct instance *instance)
{
	uint64_t lives = atomic_load_explicit(&ports_private(&outlet->ports)->lives, memory_order_relaxed);
	outlet->id_high = instance->generation;
	outlet->id_low = lives << 40 | (uint64_t)outlet->ports.role_number << 56;
}

static int take_slots(struct outlet *outlet, struct shm_error *error)
{
	size_t most = 1;
	for (unsigned i = 0; i < n_queues(outlet); i++)
		if (outlet->queue[i].slots > most)
			most = outlet->queue[i].slots;
	outlet->slot = calloc(most, sizeof *outlet->slot);
	if (outlet->slot != NULL)
		return 0;
	shm_explain(error, "no memory");
	return -ENOMEM;
}

int outlet_open(struct outlet *outlet, const struct instance *instance, const char *role,
                struct control *control, unsigned recovered, struct shm_error *error)
{
	take_row(outlet);
	struct ports_wanted wanted = ports_declared(instance, role, NULL);
	wanted.lane = outlet->lane;
	wanted.queue = outlet->queue;
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
	for (unsigned i = 0; alone && i < outlet->n_topics; i++)
		free(outlet->lane[i].base);
	for (unsigned i = 0; alone && i < n_queues(outlet); i++)
		free(outlet->queue[i].shared);
	ports_close(&outlet->ports);
	free(outlet->slot);
	memset(outlet, 0, sizeof *outlet);
}

#define ALONE_SLOTS      1024u
#define ALONE_SLOT_BYTES 65536u

static bool make_queue(struct queue *queue)
{
	size_t bytes = queue_bytes(ALONE_SLOTS, ALONE_SLOT_BYTES);
	struct queue_shared *shared = aligned_alloc(SHM_LINE, bytes);
	if (shared == NULL)
		return false;
	memset(shared, 0, bytes);
	if (queue_init(shared, bytes, ALONE_SLOTS, ALONE_SLOT_BYTES) != 0 ||
	    queue_join(queue, shared, bytes, 1) != 0)
		abort();
	return true;
}

int outlet_open_alone(struct outlet *outlet, size_t bytes)
{
	struct shm_error error;
	take_row(outlet);
	bool made = true;
	for (unsigned i = 0; made && i < outlet->n_topics; i++) {
		char *memory = malloc(bytes);
		made = memory != NULL;
		if (made)
			lane_memory(&outlet->lane[i], memory, bytes);
	}
	for (unsigned i = 0; made && i < n_queues(outlet); i++)
		made = make_queue(&outlet->queue[i]);
	if (made && take_slots(outlet, &error) == 0)
		return 0;
	outlet_close(outlet);
	return -ENOMEM;
}

int outlet_find(const struct outlet *outlet, const char *name)
{
	for (unsigned i = 0; i < outlet->n_places; i++)
		if (strcmp(outlet->place[i].name, name) == 0)
			return (int)i;
	return -ENOENT;
}

/* ---- topics ---- */

void *outlet_room(struct outlet *outlet, unsigned place, size_t length, bool *never)
{
	struct lane *lane = &outlet->lane[place];
	size_t bytes = record_bytes((uint32_t)length);
	char *at = lane_room(lane, bytes);
	if (at != NULL)
		return record_put(at, outlet->place[place].type, (uint32_t)length);
	*never = !outlet->shut && bytes > lane->most;
	return NULL;
}

void outlet_shut(struct outlet *outlet)
{
	outlet->shut = true;
	for (unsigned i = 0; i < outlet->n_topics; i++)
		outlet->lane[i].room = outlet->lane[i].most = 0;
}

/* Byte by byte, not through a struct event_head: see record_put. */
static void put_head(const struct outlet *outlet, char *payload, const struct outlet_source *source)
{
	memcpy(payload, &outlet->arrival_ns, sizeof outlet->arrival_ns);
	memcpy(payload + offsetof(struct event_head, source), source->address, sizeof source->address);
	memcpy(payload + offsetof(struct event_head, source_port), &source->port, sizeof source->port);
}

void outlet_keep(struct outlet *outlet, unsigned place, size_t length, const struct outlet_source *source)
{
	struct lane *lane = &outlet->lane[place];
	char *payload = record_put(lane->base + lane->used, outlet->place[place].type, (uint32_t)length);
	put_head(outlet, payload, source);
	lane_keep(lane, record_bytes((uint32_t)length));
	lane->received++;
	/* The lane is larger than any cache: the memory is there by the time the next record is
	 * written. */
	for (size_t ahead = 0; ahead < PREFETCHED_BYTES; ahead += SHM_LINE)
		__builtin_prefetch(lane->base + lane->used + ahead, 1);
}

void *outlet_room_alone(struct outlet *outlet, unsigned place, size_t length, bool *never)
{
	struct lane *lane = &outlet->lane[place];
	void *room = outlet_room(outlet, place, length, never);
	if (room != NULL || *never || lane->used == 0 || lane->writer == NULL)
		return room;
	(void)outlet_commit(outlet);
	return outlet_room(outlet, place, length, never);
}

bool outlet_commit(struct outlet *outlet)
{
	bool any = false;
	for (unsigned i = 0; i < outlet->n_topics; i++)
		any = any || outlet->lane[i].received != 0;
	if (any)
		lanes_commit(outlet->lane, outlet->n_topics, &outlet->redo);
	return any;
}

/* ---- queues ---- */

static struct queue *queue_at(struct outlet *outlet, unsigned place)
{
	return &outlet->queue[place - outlet->n_topics];
}

uint64_t outlet_slots(const struct outlet *outlet, unsigned place)
{
	return outlet->queue[place - outlet->n_topics].slots;
}

size_t outlet_slot_bytes(const struct outlet *outlet, unsigned place)
{
	return outlet->queue[place - outlet->n_topics].slot_bytes;
}

bool outlet_claim(struct outlet *outlet, unsigned place, uint32_t n)
{
	struct queue *queue = queue_at(outlet, place);
	if (outlet->shut || !queue_has_room(queue, n))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (queue_reserve(queue, &outlet->slot[i]))
			continue;
		while (i-- > 0)
			(void)queue_cancel(queue, &outlet->slot[i]);
		return false;
	}
	return true;
}

void outlet_fill(struct outlet *outlet, uint32_t i, uint32_t length, const struct outlet_source *source)
{
	put_head(outlet, outlet->slot[i].data, source);
	outlet->slot[i].length = length;
}

void outlet_put(struct outlet *outlet, unsigned place, uint32_t n)
{
	(void)ports_put_all(&outlet->ports, queue_at(outlet, place), outlet->slot, n);
}

void outlet_next_id(struct outlet *outlet, uint64_t id[2])
{
	id[0] = outlet->id_high;
	id[1] = ++outlet->id_low;
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

/* A queue does not count what was taken: what came, from all processes, less what is there says
 * it. */
static void look_at_queue(struct outlet *outlet, unsigned place, uint64_t now_ns)
{
	struct outlet_pressure *pressure = &outlet->place[place].pressure;
	const struct queue *queue = queue_at(outlet, place);
	/* Counting reads every word: once a second is enough. */
	if (pressure->looked_ns != 0 && now_ns - pressure->looked_ns < NS_PER_SEC)
		return;
	struct queue_counts counts;
	queue_count(queue, &counts);
	uint64_t ready = counts.ready + counts.taken;
	look(pressure, counts.used > ready ? counts.used - ready : 0, ready, now_ns);
}

void outlet_look(struct outlet *outlet, uint64_t now_ns)
{
	for (unsigned i = 0; i < outlet->n_topics; i++) {
		if (outlet->lane[i].writer == NULL)
			continue;
		const struct stream_writer *stream = &outlet->lane[i].writer->stream;
		uint64_t slowest = slowest_position(stream);
		look(&outlet->place[i].pressure, slowest, stream->tail - slowest, now_ns);
	}
	for (unsigned i = outlet->n_topics; i < outlet->n_places; i++)
		look_at_queue(outlet, i, now_ns);
}

unsigned outlet_retry_after_s(const struct outlet *outlet, unsigned place)
{
	const struct outlet_pressure *pressure = &outlet->place[place].pressure;
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
	/* As good as full: less room than a long event needs. */
	return stream->tail - slowest_position(stream) > stream->mask - stream->mask / 64;
}

const char *outlet_obstacle(const struct outlet *outlet, const struct instance *instance,
                            char text[OUTLET_OBSTACLE_BYTES])
{
	if (atomic_load_explicit(&instance->page->draining, memory_order_relaxed) != 0)
		return "draining";
	for (unsigned i = 0; i < outlet->n_topics; i++) {
		const struct stream_writer *stream = &outlet->lane[i].writer->stream;
		const char *name = outlet->place[i].name;
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++)
			if (reader_is_dead(stream->group[k])) {
				snprintf(text, OUTLET_OBSTACLE_BYTES,
				         "reader \"%s\" of topic \"%s\" is not running",
				         stream->group[k]->name, name);
				return text;
			}
		if (is_full(&outlet->lane[i])) {
			snprintf(text, OUTLET_OBSTACLE_BYTES, "topic \"%s\" is full", name);
			return text;
		}
	}
	for (unsigned i = outlet->n_topics; i < outlet->n_places; i++) {
		const struct outlet_place *place = &outlet->place[i];
		if (place->pressure.backlog_bytes < outlet->queue[i - outlet->n_topics].slots)
			continue;
		snprintf(text, OUTLET_OBSTACLE_BYTES, "queue \"%s\" is full", place->name);
		return text;
	}
	return NULL;
}
