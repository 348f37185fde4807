#include "shm/claim.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int topic_find(const struct instance *instance, const char *topic, struct shm_error *error)
{
	int index = instance_topic_index(instance, topic);
	if (index >= 0)
		return index;
	char known[INSTANCE_TOPICS_MAX * (SHM_NAME_MAX + 1) + 1] = "";
	size_t used = 0;
	for (unsigned i = 0; i < instance->page->n_topics; i++)
		used += (size_t)snprintf(known + used, sizeof known - used, " %s",
		                         instance->page->topic[i].name);
	shm_explain(error, "topic \"%s\" does not exist; this instance has:%s", topic,
	            used == 0 ? " none" : known);
	return -ENOENT;
}

/* ---- writing ---- */

static int attach_writer(struct topic_writer *writer, const struct instance *instance, unsigned topic,
                         unsigned lane, int lock, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct instance_topic *about = &instance->page->topic[topic];
	*writer = (struct topic_writer){.topic = topic, .lane = lane, .lock = lock};
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
			return attach_writer(writer, instance, (unsigned)index, lane, -1, error);
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
		int result = attach_writer(writer, instance, (unsigned)index, lane, lock, error);
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

/* ---- claiming a group ---- */

static int map_lane(struct topic_reader *reader, unsigned lane, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct instance_topic *about = &reader->instance->page->topic[reader->topic];
	return stream_reader_map(&reader->lane[lane], reader->instance->directory,
	                         instance_lane_name(name, about->name, lane), reader->optional, error);
}

/* Maps the reader's lanes, before anything is claimed: that may take long. */
static int map_lanes(struct topic_reader *reader, struct shm_error *error)
{
	int result = 0;
	reader->n_lanes = reader->instance->page->topic[reader->topic].n_lanes;
	for (unsigned i = reader->share.index; result == 0 && i < reader->n_lanes; i += reader->share.n)
		result = map_lane(reader, i, error);
	return result;
}

static void begin_lanes(struct topic_reader *reader, enum stream_start start)
{
	for (unsigned i = reader->share.index; i < reader->n_lanes; i += reader->share.n)
		stream_reader_begin(&reader->lane[i], &reader->group->cursor[i], start);
}

static void join_writers(struct topic_reader *reader)
{
	for (unsigned i = 0; i < reader->n_lanes; i++)
		stream_reader_join(&reader->lane[i]);
	atomic_store_explicit(&reader->group->joined, 1, memory_order_release);
}

/* A new group: cursors first, then the state that makes writers heed them, then up to where they
 * were permitted to write by then. */
static void make_group(struct topic_reader *reader, const char *name, enum stream_start start)
{
	struct stream_group *group = reader->group;
	memset(group, 0, offsetof(struct stream_group, asleep));
	snprintf(group->name, sizeof group->name, "%s", name);
	atomic_store_explicit(&group->configured, reader->stage ? 1 : 0, memory_order_relaxed);
	begin_lanes(reader, start);
	atomic_store_explicit(&group->state, reader->optional ? GROUP_OPTIONAL : GROUP_REQUIRED,
	                      memory_order_release);
	if (!reader->optional)
		join_writers(reader);
}

/* A group that lapsed is required again: as a new group, but its cursors go on where they are, or
 * at the oldest record there is. */
static void restore_group(struct topic_reader *reader)
{
	struct stream_group *group = reader->group;
	if (atomic_load_explicit(&group->state, memory_order_relaxed) != GROUP_LAPSED)
		return;
	atomic_store_explicit(&group->joined, 0, memory_order_relaxed);
	begin_lanes(reader, STREAM_FROM_CURSOR);
	atomic_store_explicit(&group->state, GROUP_REQUIRED, memory_order_release);
	join_writers(reader);
}

static void leave(struct topic_reader *reader)
{
	for (unsigned i = 0; i < reader->n_lanes; i++)
		if (reader->lane[i].shared != NULL)
			stream_reader_detach(&reader->lane[i]);
	for (unsigned i = 0; i < reader->n_replaced; i++)
		stream_reader_detach(&reader->replaced[i]);
	if (reader->lock >= 0)
		close(reader->lock);
	memset(reader, 0, sizeof *reader);
}

/* Claims the group and, when it is new, makes it; the lanes are mapped. */
static int claim_group(struct topic_reader *reader, const char *name, enum stream_start start,
                       struct shm_error *error)
{
	struct claim claim;
	const char *topic = reader->instance->page->topic[reader->topic].name;
	int result = claim_begin(&claim, reader->instance, topic, !reader->stage || reader->makes, error);
	if (result != 0)
		return result;
	int index = claim_choose(&claim, name, reader, error);
	result = index < 0 ? index : claim_take(reader, &claim, index, name, error);
	if (result == 0) {
		if (reader->made)
			make_group(reader, name, start);
		else
			restore_group(reader);
		atomic_store_explicit(&reader->group->pid, (uint32_t)getpid(), memory_order_release);
	}
	claim_end(&claim);
	return result;
}

/* wanted: instance, kind and share; the rest is zero. */
static int attach_reader(struct topic_reader *reader, const struct topic_reader *wanted, const char *topic,
                         const char *name, enum stream_start start, struct shm_error *error)
{
	if (!segment_name_valid(name)) {
		shm_explain(error, "group \"%s\": a name has " SHM_NAME_RULE, name);
		return -EINVAL;
	}
	int topic_index = topic_find(wanted->instance, topic, error);
	if (topic_index < 0)
		return topic_index;
	*reader = *wanted;
	reader->topic = (unsigned)topic_index;
	reader->lock = -1;
	int result = map_lanes(reader, error);
	if (result == 0)
		result = claim_group(reader, name, start, error);
	if (result != 0) {
		leave(reader);
		return result;
	}
	/* The group existed before and writers heed it: its cursors stay where they are until they
	 * are read. */
	if (!reader->made) {
		begin_lanes(reader, STREAM_FROM_CURSOR);
		if (atomic_load_explicit(&reader->group->joined, memory_order_acquire) == 0)
			join_writers(reader);
	}
	return 0;
}

int topic_reader_attach(struct topic_reader *reader, const struct instance *instance, const char *topic,
                        const char *name, enum group_state kind, enum stream_start start,
                        struct shm_error *error)
{
	struct topic_reader wanted = {.instance = instance, .optional = kind == GROUP_OPTIONAL, .share.n = 1};
	return attach_reader(reader, &wanted, topic, name, start, error);
}

int topic_reader_attach_stage(struct topic_reader *reader, const struct instance *instance, const char *topic,
                              const char *name, struct topic_share share, struct shm_error *error)
{
	struct topic_reader wanted = {.instance = instance, .share = share, .stage = true};
	return attach_reader(reader, &wanted, topic, name, STREAM_FROM_CURSOR, error);
}

int topic_reader_attach_unseen(struct topic_reader *reader, const struct instance *instance,
                               const char *topic, enum stream_start start, struct shm_error *error)
{
	int index = topic_find(instance, topic, error);
	if (index < 0)
		return index;
	*reader = (struct topic_reader){
	        .instance = instance, .topic = (unsigned)index, .share.n = 1, .optional = true, .lock = -1};
	int result = map_lanes(reader, error);
	if (result == 0) {
		reader->group = aligned_alloc(alignof(struct stream_group), sizeof *reader->group);
		result = reader->group == NULL ? -ENOMEM : 0;
	}
	if (result != 0) {
		if (result == -ENOMEM)
			shm_explain(error, "topic \"%s\": %s", topic, strerror(ENOMEM));
		leave(reader);
		return result;
	}
	memset(reader->group, 0, sizeof *reader->group);
	begin_lanes(reader, start);
	return 0;
}

void topic_reader_restart(struct topic_reader *reader, uint32_t lanes, enum stream_start start)
{
	/* A cursor that goes back is that of a group that joins: until the last step it does not
	 * keep what it says. */
	if (!reader->optional) {
		atomic_store_explicit(&reader->group->joined, 0, memory_order_relaxed);
		atomic_thread_fence(memory_order_seq_cst);
	}
	for (unsigned i = 0; i < reader->n_lanes; i++)
		if ((lanes & 1u << i) != 0 && reader->lane[i].shared != NULL)
			stream_reader_begin(&reader->lane[i], &reader->group->cursor[i], start);
	if (!reader->optional)
		join_writers(reader);
}

/* A lane was replaced after this reader mapped it and before its lock was seen: it was empty, so
 * nothing that was passed lies in it. It stays mapped, because somebody may be about to sleep on
 * its tail; that happens to a lane once in the life of a reader. */
static int follow_lane(struct topic_reader *reader, unsigned i, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct instance *instance = reader->instance;
	instance_lane_name(name, instance->page->topic[reader->topic].name, i);
	struct stream_reader before = reader->lane[i];
	if (before.shared == NULL || stream_in_place(&before.file, instance->directory, name))
		return 0;
	int result = reader->n_replaced == STREAM_LANES_MAX ? -ESTALE : map_lane(reader, i, error);
	if (result != 0) {
		reader->lane[i] = before;
		return result;
	}
	reader->replaced[reader->n_replaced++] = before;
	stream_reader_begin(&reader->lane[i], &reader->group->cursor[i], STREAM_FROM_CURSOR);
	return 0;
}

static int follow_lanes(struct topic_reader *reader, struct shm_error *error)
{
	unsigned n_lanes = reader->instance->page->topic[reader->topic].n_lanes;
	for (unsigned i = 0; i < reader->n_lanes && i < n_lanes; i++) {
		int result = follow_lane(reader, i, error);
		if (result != 0)
			return result;
	}
	for (; reader->n_lanes < n_lanes; reader->n_lanes++) {
		unsigned i = reader->n_lanes;
		if (i % reader->share.n != reader->share.index)
			continue;
		int result = map_lane(reader, i, error);
		if (result != 0)
			return result;
		stream_reader_begin(&reader->lane[i], &reader->group->cursor[i], STREAM_FROM_CURSOR);
	}
	return 0;
}

/* Writers of a new lane heed the group's cursor in it from the start: it has been in the group's
 * segment since that was made. */
int topic_reader_follow(struct topic_reader *reader, struct shm_error *error)
{
	int result = follow_lanes(reader, error);
	/* The next topic_wait is back at once: what it would sleep on was noted before the new
	 * lanes were there. */
	for (unsigned i = 0; i < reader->n_words; i++)
		reader->word[i].seen ^= 1;
	return result;
}

void topic_reader_detach(struct topic_reader *reader)
{
	if (reader->instance == NULL)
		return;
	struct stream_group *group = reader->group;
	struct segment page = reader->group_segment;
	if (page.header == NULL) { /* an onlooker */
		leave(reader);
		free(group);
		return;
	}
	/* No other process changes a group that has a live reader, so giving it up does not need
	 * the claim's lock. */
	if (reader->optional)
		atomic_store_explicit(&group->state, GROUP_FREE, memory_order_release);
	/* Of the processes that share a group, the last to attach is named. */
	uint32_t own = (uint32_t)getpid();
	atomic_compare_exchange_strong(&group->pid, &own, 0);
	leave(reader);
	segment_detach(&page);
}

int topic_group_configure(const struct instance *instance, const char *topic, const char *name,
                          struct shm_error *error)
{
	struct topic_reader reader;
	const struct topic_reader wanted = {.instance = instance, .share.n = 1, .stage = true, .makes = true};
	int result = attach_reader(&reader, &wanted, topic, name, STREAM_FROM_TAIL, error);
	if (result == 0)
		topic_reader_detach(&reader);
	return result;
}

bool topic_group_configured(const char *directory, const char *topic, unsigned index, char name[SHM_NAME_MAX])
{
	char file[SEGMENT_NAME_MAX];
	struct segment segment = {0};
	struct shm_error ignored;
	if (segment_attach(&segment, directory, instance_group_name(file, topic, index), SEGMENT_GROUP,
	                   SEGMENT_READ, &ignored) != 0)
		return false;
	const struct stream_group *group = segment.body;
	bool configured = atomic_load_explicit(&group->state, memory_order_acquire) != GROUP_FREE &&
	                  atomic_load_explicit(&group->configured, memory_order_relaxed) != 0;
	if (configured)
		snprintf(name, SHM_NAME_MAX, "%.*s", (int)sizeof group->name - 1, group->name);
	segment_detach(&segment);
	return configured;
}

bool topic_has_required(const struct instance *instance, const char *topic, const char *name)
{
	bool found = false;
	for (unsigned i = 0; i < STREAM_GROUPS_MAX && !found; i++) {
		char file[SEGMENT_NAME_MAX];
		struct segment segment = {0};
		struct shm_error ignored;
		if (segment_attach(&segment, instance->directory, instance_group_name(file, topic, i),
		                   SEGMENT_GROUP, SEGMENT_READ, &ignored) != 0)
			continue;
		const struct stream_group *group = segment.body;
		uint32_t state = atomic_load_explicit(&group->state, memory_order_acquire);
		found = (state == GROUP_REQUIRED || state == GROUP_LAPSED) &&
		        strncmp(group->name, name, sizeof group->name) == 0;
		segment_detach(&segment);
	}
	return found;
}

/* ---- reading ---- */

static bool look(struct topic_reader *reader, unsigned *lane, struct record_batch *batch)
{
	for (unsigned tried = 0; tried < reader->n_lanes; tried++) {
		unsigned i = reader->next_lane;
		reader->next_lane = i + 1 == reader->n_lanes ? 0 : i + 1;
		if (reader->lane[i].shared != NULL && stream_peek(&reader->lane[i], batch)) {
			*lane = i;
			return true;
		}
	}
	return false;
}

static void note_tails(struct topic_reader *reader)
{
	unsigned n = 0;
	for (unsigned i = 0; i < reader->n_lanes; i++)
		if (reader->lane[i].shared != NULL)
			reader->word[n++] =
			        sleep_on_tail(&reader->lane[i].shared->tail, &reader->group->asleep[i]);
	sleep_note(reader->word, n);
	reader->n_words = n;
}

bool topic_peek(struct topic_reader *reader, unsigned *lane, struct record_batch *batch)
{
	if (look(reader, lane, batch))
		return true;
	/* What was committed before the tails are noted is found by the second look, what comes
	 * after it ends the sleep. */
	note_tails(reader);
	return look(reader, lane, batch);
}

unsigned topic_reader_words(const struct topic_reader *reader, struct sleep_word *word)
{
	memcpy(word, reader->word, reader->n_words * sizeof *word);
	return reader->n_words;
}

bool topic_wait(struct topic_reader *reader, uint64_t timeout_ns)
{
	return sleep_any(reader->word, reader->n_words, timeout_ns);
}

/* ---- creating ---- */

static void fill_group(void *body, void *argument)
{
	struct stream_group *group = body;
	const char *name = argument;
	if (name == NULL)
		return;
	snprintf(group->name, sizeof group->name, "%s", name);
	atomic_store_explicit(&group->configured, 1, memory_order_relaxed);
	atomic_store_explicit(&group->joined, 1, memory_order_relaxed); /* before any writer */
	atomic_store_explicit(&group->state, GROUP_REQUIRED, memory_order_release);
}

int topic_groups_create(const char *directory, const char *topic, uint64_t generation,
                        const char *const *required, unsigned n_required, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	if (n_required > STREAM_GROUPS_MAX) {
		shm_explain(error, "topic \"%s\": %u required groups, at most %u are allowed", topic,
		            n_required, STREAM_GROUPS_MAX);
		return -EINVAL;
	}
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		void *with_name = i < n_required ? (void *)(uintptr_t)required[i] : NULL;
		int result =
		        segment_create(directory, instance_group_name(name, topic, i), SEGMENT_GROUP,
		                       generation, sizeof(struct stream_group), fill_group, with_name, error);
		if (result != 0)
			return result;
	}
	return 0;
}
