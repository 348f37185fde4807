#include "supervisor/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "shm/topic.h"
#include "supervisor/lane_file.h"

#define ROOM_LEAST (64u * 1024u) /* with less than that a batch may find no room */

/* ---- mapping ---- */

static void unmap_topic(struct watch_topic *topic)
{
	for (unsigned i = 0; i < topic->n_lanes; i++)
		stream_head_unmap(topic->lane[i].shared);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		segment_detach(&topic->group_segment[i]);
}

static void map_topic(struct watch *watch, struct watch_topic *topic, const struct instance_topic *about)
{
	char name[SEGMENT_NAME_MAX];
	struct shm_error ignored;
	int missing;
	memcpy(topic->name, about->name, sizeof topic->name);
	topic->n_lanes = about->n_lanes;
	for (unsigned i = 0; i < STREAM_LANES_MAX; i++) {
		topic->lane[i] = (struct watch_lane){0};
		if (i < about->n_lanes)
			topic->lane[i].shared =
			        stream_head_map(watch->directory, instance_lane_name(name, about->name, i),
			                        SEGMENT_READ, &missing, &ignored);
	}
	memset(topic->group_segment, 0, sizeof topic->group_segment);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++)
		(void)segment_attach(&topic->group_segment[i], watch->directory,
		                     instance_group_name(name, about->name, i), SEGMENT_GROUP, SEGMENT_READ,
		                     &ignored);
}

void watch_open(struct watch *watch, const char *directory, const char *instance,
                const struct instance_page *page)
{
	struct watch *before = malloc(sizeof *before);
	if (before == NULL)
		abort();
	watch_close(watch);
	*before = *watch;
	*watch = (struct watch){.reminder_ns = before->reminder_ns, .n_topics = page->n_topics};
	snprintf(watch->directory, sizeof watch->directory, "%s", directory);
	snprintf(watch->instance, sizeof watch->instance, "%s", instance);
	for (unsigned i = 0; i < page->n_topics; i++) {
		for (unsigned k = 0; k < before->n_topics; k++)
			if (strcmp(before->topic[k].name, page->topic[i].name) == 0)
				watch->topic[i] = before->topic[k];
		map_topic(watch, &watch->topic[i], &page->topic[i]);
	}
	free(before);
}

void watch_close(struct watch *watch)
{
	for (unsigned i = 0; i < watch->n_topics; i++)
		unmap_topic(&watch->topic[i]);
}

/* ---- looking ---- */

/* What a look finds at a topic. */
struct finding {
	int holder;       /* the group that is furthest behind, -1: no group keeps the topic */
	double full;      /* of a lane, of that group */
	uint64_t records; /* that wait for it, all lanes */
	/* a lane has no room, and neither its tail nor its slowest cursor moved since the last
	 * look */
	bool stuck;
	uint64_t dropped, refused;
};

static const struct stream_group *required_group(const struct watch_topic *topic, unsigned i)
{
	const struct stream_group *group = topic->group_segment[i].body;
	return group != NULL && atomic_load_explicit(&group->state, memory_order_acquire) == GROUP_REQUIRED
	               ? group
	               : NULL;
}

/* Nobody reads it, and no stage will. */
static bool unread(const struct watch_topic *topic, int group)
{
	return topic->group[group].name[0] != '\0' && !topic->group[group].live;
}

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t no_room_bytes(uint64_t size)
{
	uint64_t room = size / 16 > ROOM_LEAST ? size / 16 : ROOM_LEAST;
	return size - (room < size / 4 ? room : size / 4);
}

static void look_at_lane(const struct watch_topic *topic, unsigned i, struct watch_lane *lane,
                         struct finding *finding)
{
	const struct stream_shared *shared = lane->shared;
	uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
	const struct stream_group *group_of[STREAM_GROUPS_MAX];
	finding->dropped += load(&shared->ledger.dropped);
	finding->refused += load(&shared->ledger.refused);
	for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++) {
		const struct stream_group *group = group_of[k] = required_group(topic, k);
		if (group == NULL)
			continue;
		uint64_t position = load(&group->cursor[i].position);
		double full = tail > position ? (double)(tail - position) / (double)shared->size_bytes : 0;
		if (finding->holder < 0 || full > finding->full ||
		    (full == finding->full && unread(topic, (int)k) && !unread(topic, finding->holder))) {
			finding->holder = (int)k;
			finding->full = full;
		}
	}
	uint64_t slowest = stream_slowest(group_of, i, tail).position;
	finding->stuck |= topic->looked && tail == lane->tail && slowest == lane->slowest &&
	                  tail - slowest >= no_room_bytes(shared->size_bytes);
	lane->tail = tail;
	lane->slowest = slowest;
}

static struct finding look(struct watch_topic *topic)
{
	struct finding finding = {.holder = -1};
	for (unsigned i = 0; i < topic->n_lanes; i++)
		if (topic->lane[i].shared != NULL)
			look_at_lane(topic, i, &topic->lane[i], &finding);
	for (unsigned i = 0; finding.holder >= 0 && i < topic->n_lanes; i++) {
		const struct stream_group *group = topic->group_segment[finding.holder].body;
		const struct stream_shared *shared = topic->lane[i].shared;
		uint64_t written = shared == NULL ? 0 : load(&shared->records);
		uint64_t read = load(&group->cursor[i].records);
		finding.records += written > read ? written - read : 0;
	}
	return finding;
}

/* Notes which readers come and go. Groups of stages are left out: `stat` tells how a stage does. */
static void look_at_readers(const struct watch *watch, struct watch_topic *topic, uint64_t now_ns)
{
	uint64_t real_ns = clock_real_ns();
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		const struct stream_group *group = required_group(topic, i);
		struct watch_group *known = &topic->group[i];
		if (group == NULL || atomic_load_explicit(&group->configured, memory_order_relaxed) != 0) {
			*known = (struct watch_group){0};
			continue;
		}
		bool live = lane_file_has_reader(watch->directory, topic->name, i);
		if (strncmp(known->name, group->name, sizeof known->name) != 0) {
			*known = (struct watch_group){
			        .before = !live && !topic->looked, .since_ns = real_ns, .idle_ns = now_ns};
			memcpy(known->name, group->name, sizeof known->name - 1);
		}
		if (live) {
			known->before = false;
			known->since_ns = real_ns;
			known->idle_ns = now_ns;
		}
		known->live = live;
	}
}

/* ---- saying ---- */

static const char *date(char text[32], uint64_t real_ns)
{
	time_t seconds = (time_t)(real_ns / NS_PER_SEC);
	struct tm utc;
	gmtime_r(&seconds, &utc);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
	return text;
}

static void say_unread(const struct watch *watch, const struct watch_topic *topic,
                       const struct finding *finding)
{
	const struct watch_group *group = &topic->group[finding->holder];
	bool named = strcmp(watch->instance, "default") != 0;
	char since[32];
	log_warn(
	        "a topic is full: its writers wait for a group that nobody reads",
	        "topic=%s group=%s no_reader_since=%s%s waiting_records=%llu dropped=%llu refused=%llu remedy=\"start its reader again, or free the group: millrace consume %s --group %s "
	        "--forget%s%s\"",
	        topic->name, group->name, group->before ? "before_" : "", date(since, group->since_ns),
	        (unsigned long long)finding->records,
	        (unsigned long long)(finding->dropped - topic->dropped_before),
	        (unsigned long long)(finding->refused - topic->refused_before), topic->name, group->name,
	        named ? " --instance " : "", named ? watch->instance : "");
}

static void say_slow(const struct watch_topic *topic, const struct finding *finding)
{
	const struct stream_group *group = topic->group_segment[finding->holder].body;
	bool stage = atomic_load_explicit(&group->configured, memory_order_relaxed) != 0;
	const char *text = finding->full < 0.5 ? "a topic was full for a moment"
	                   : stage             ? "a topic is full: its writers wait for a stage"
	                                       : "a topic is full: its writers wait for a reader";
	log_warn(text,
	         "topic=%s group=%s reader=%u waiting_records=%llu dropped=%llu refused=%llu remedy=\"%s\"",
	         topic->name, topic->holder, atomic_load_explicit(&group->pid, memory_order_relaxed),
	         (unsigned long long)finding->records,
	         (unsigned long long)(finding->dropped - topic->dropped_before),
	         (unsigned long long)(finding->refused - topic->refused_before),
	         stage ? "millrace stat shows what the stage does; a larger topic outlasts a longer burst"
	               : "a faster reader; a larger topic outlasts a longer burst");
}

static void say_full(const struct watch *watch, struct watch_topic *topic, const struct finding *finding,
                     uint64_t now_ns)
{
	const struct stream_group *group = topic->group_segment[finding->holder].body;
	topic->said_ns = now_ns;
	memcpy(topic->holder, group->name, sizeof topic->holder - 1);
	if (unread(topic, finding->holder))
		say_unread(watch, topic, finding);
	else
		say_slow(topic, finding);
}

static void say_clear(struct watch_topic *topic, const struct finding *finding, uint64_t now_ns)
{
	topic->full = false;
	log_info("a topic has room again", "topic=%s group=%s seconds=%llu dropped=%llu refused=%llu",
	         topic->name, topic->holder, (unsigned long long)((now_ns - topic->begun_ns) / NS_PER_SEC),
	         (unsigned long long)(finding->dropped - topic->dropped_before),
	         (unsigned long long)(finding->refused - topic->refused_before));
}

/* ---- lapsing ---- */

static uint64_t lag_bytes(const struct watch_topic *topic, const struct stream_group *group)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < topic->n_lanes; i++) {
		uint64_t position = load(&group->cursor[i].position);
		if (topic->lane[i].shared != NULL && topic->lane[i].tail > position)
			bytes += topic->lane[i].tail - position;
	}
	return bytes;
}

/* A reader that comes in this moment is in time: then the group stays as it is. */
static void lapse(struct watch *watch, struct watch_topic *topic, unsigned i, const char *limit,
                  uint64_t waiting_bytes)
{
	struct watch_group *known = &topic->group[i];
	struct instance instance;
	struct shm_error error;
	char since[32];
	if (instance_attach(&instance, watch->instance, SEGMENT_WRITE, &error) != 0)
		return; /* the folder is going: others see to that */
	int result = topic_group_lapse(&instance, topic->name, known->name, &error);
	instance_detach(&instance);
	if (result != 0)
		return;
	watch->lapsed++;
	log_warn(
	        "a group lapsed: nobody reads it, and its topic waits for it no longer; a reader that comes back misses what is overwritten by then",
	        "topic=%s group=%s limit=topics.%s.%s no_reader_since=%s%s waiting_bytes=%llu", topic->name,
	        known->name, topic->name, limit, known->before ? "before_" : "", date(since, known->since_ns),
	        (unsigned long long)waiting_bytes);
	*known = (struct watch_group){0};
}

static void lapse_unread(struct watch *watch, struct watch_topic *topic, const struct config *config,
                         uint64_t now_ns)
{
	uint64_t max_idle_ns = config_ns(config, "topics.%s.max_idle", topic->name);
	uint64_t max_lag_bytes = config_u64(config, "topics.%s.max_lag", topic->name);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		const struct stream_group *group = required_group(topic, i);
		if (group == NULL || !unread(topic, (int)i))
			continue;
		uint64_t lag = lag_bytes(topic, group);
		if (max_idle_ns != 0 && now_ns - topic->group[i].idle_ns >= max_idle_ns)
			lapse(watch, topic, i, "max_idle", lag);
		else if (max_lag_bytes != 0 && lag >= max_lag_bytes)
			lapse(watch, topic, i, "max_lag", lag);
	}
}

/* ---- the whole ---- */

/* A topic is full: is there something to say? */
static bool is_news(const struct watch *watch, const struct watch_topic *topic, const struct finding *finding,
                    bool begun, uint64_t now_ns)
{
	if (finding->holder < 0)
		return false;
	if (begun || now_ns - topic->said_ns >= watch->reminder_ns)
		return true;
	const struct stream_group *group = topic->group_segment[finding->holder].body;
	return finding->full >= 0.5 && unread(topic, finding->holder) &&
	       strncmp(topic->holder, group->name, sizeof topic->holder - 1) != 0;
}

static void step_topic(const struct watch *watch, struct watch_topic *topic, uint64_t now_ns)
{
	look_at_readers(watch, topic, now_ns);
	struct finding finding = look(topic);
	bool lost = topic->looked && (finding.dropped != topic->dropped || finding.refused != topic->refused);
	bool held = finding.holder >= 0 && (lost || finding.stuck);
	bool begins = held && !topic->full;
	if (begins) {
		topic->full = true;
		topic->begun_ns = now_ns;
		topic->dropped_before = topic->dropped;
		topic->refused_before = topic->refused;
	}
	if (held)
		topic->held_ns = now_ns;
	if (topic->full && finding.full < 0.5 && now_ns - topic->held_ns >= WATCH_CLEAR_NS)
		say_clear(topic, &finding, now_ns);
	else if (topic->full && is_news(watch, topic, &finding, begins, now_ns))
		say_full(watch, topic, &finding, now_ns);
	topic->dropped = finding.dropped;
	topic->refused = finding.refused;
	topic->looked = true;
}

uint64_t watch_step(struct watch *watch, const struct config *config, uint64_t now_ns)
{
	if (now_ns < watch->next_ns)
		return watch->next_ns;
	watch->next_ns = now_ns + WATCH_LOOK_NS;
	for (unsigned i = 0; i < watch->n_topics; i++) {
		step_topic(watch, &watch->topic[i], now_ns);
		lapse_unread(watch, &watch->topic[i], config, now_ns);
	}
	return watch->next_ns;
}
