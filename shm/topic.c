#include "shm/topic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLAIM_WAIT_MS 2000u
#define BUSY_TRIES    100u /* a millisecond apart */

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

char *topic_reader_file(char *file, const char *topic, unsigned index, unsigned share)
{
	int n = snprintf(file, SEGMENT_NAME_MAX, "%s.reader.%u", topic, index);
	if (share != 0)
		snprintf(file + n, SEGMENT_NAME_MAX - (size_t)n, ".%u", share);
	return file;
}

/* As instance_locked: not 0 when there is a reader, or when that cannot be told. */
static int has_live_reader(const struct instance *instance, const char *topic, unsigned index, unsigned share)
{
	char file[SEGMENT_NAME_MAX];
	return instance_locked(instance->directory, topic_reader_file(file, topic, index, share), NULL);
}

int topic_has_reader(const char *directory, const char *topic, unsigned group)
{
	char file[SEGMENT_NAME_MAX];
	int held = 0;
	for (unsigned share = 0; held == 0 && share < TOPIC_SHARES_MAX; share++)
		held = instance_locked(directory, topic_reader_file(file, topic, group, share), NULL);
	return held;
}

/* The same for a process that wants to be the reader. A reader that was killed while it started a
 * program leaves its lock with the child until the child reaches exec: a short time, worth waiting
 * for. */
static int stays_busy(const struct instance *instance, const char *topic, unsigned index, unsigned share)
{
	int busy;
	for (unsigned tries = 0; (busy = has_live_reader(instance, topic, index, share)) > 0; tries++) {
		if (tries == BUSY_TRIES)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return busy;
}

/* All groups of one topic, mapped and locked against other claimers. */
struct claim {
	const struct instance *instance;
	const char *topic;
	unsigned topic_index;
	int lock;
	struct segment group[STREAM_GROUPS_MAX];
};

static struct stream_group *group_of(struct claim *claim, int index)
{
	return claim->group[index].body;
}

/* Unlocks and unmaps all groups but `keep` (-1: all). */
static void end_claim(struct claim *claim, int keep)
{
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++)
		if (i != keep)
			segment_detach(&claim->group[i]);
	if (claim->lock >= 0)
		close(claim->lock);
}

static int begin_claim(struct claim *claim, const struct instance *instance, const char *topic,
                       struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int owner = 0;
	int index = topic_find(instance, topic, error);
	if (index < 0)
		return index;
	*claim = (struct claim){
	        .instance = instance, .topic = topic, .topic_index = (unsigned)index, .lock = -1};
	int result = 0;
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++)
		result = segment_attach(&claim->group[i], instance->directory,
		                        instance_group_name(name, topic, i), SEGMENT_GROUP, SEGMENT_WRITE,
		                        error);
	if (result == 0) {
		snprintf(name, sizeof name, "%s.claim", topic);
		claim->lock = instance_lock(instance->directory, name, CLAIM_WAIT_MS, &owner);
		if (claim->lock < 0) {
			result = claim->lock;
			if (result == -EWOULDBLOCK)
				shm_explain(error, "%s/%s: cannot lock (process %d holds it): %s",
				            instance->directory, name, owner, strerror(-result));
			else
				shm_explain(error, "%s/%s: cannot lock: %s", instance->directory, name,
				            strerror(-result));
		}
	}
	if (result != 0)
		end_claim(claim, -1);
	return result;
}

static void free_group(struct claim *claim, int index)
{
	struct stream_group *group = group_of(claim, index);
	atomic_fetch_and(&claim->instance->bells->active[claim->topic_index].groups, ~(1ull << index));
	atomic_store_explicit(&group->state, GROUP_FREE, memory_order_release);
	atomic_store_explicit(&group->pid, 0, memory_order_relaxed);
	memset(group->name, 0, sizeof group->name);
}

/* The group of this name, or -1. Optional groups whose readers died are freed on the way. */
static int find_group(struct claim *claim, const char *name)
{
	int found = -1;
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++) {
		struct stream_group *group = group_of(claim, i);
		uint32_t state = atomic_load_explicit(&group->state, memory_order_acquire);
		if (state == GROUP_OPTIONAL &&
		    has_live_reader(claim->instance, claim->topic, (unsigned)i, 0) == 0)
			free_group(claim, i);
		else if (state != GROUP_FREE && strncmp(group->name, name, SHM_NAME_MAX) == 0)
			found = i;
	}
	return found;
}

/* Skips a free group whose last reader has not left it completely. */
static int find_free(struct claim *claim, struct shm_error *error)
{
	int failed = 0;
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++) {
		if (atomic_load_explicit(&group_of(claim, i)->state, memory_order_acquire) != GROUP_FREE)
			continue;
		int busy = has_live_reader(claim->instance, claim->topic, (unsigned)i, 0);
		if (busy == 0)
			return i;
		failed = busy < 0 ? busy : failed;
	}
	if (failed != 0) {
		shm_explain(error, "topic \"%s\": cannot tell whether a group is free: %s", claim->topic,
		            strerror(-failed));
		return failed;
	}
	shm_explain(
	        error,
	        "topic \"%s\": all %u reader groups are in use; end a tap, or free a group with: millrace consume %s --group NAME --forget",
	        claim->topic, STREAM_GROUPS_MAX, claim->topic);
	return -ENOSPC;
}

/* busy: as has_live_reader or instance_hold say it. */
static int refuse_busy(struct claim *claim, int index, const char *name, int busy, struct shm_error *error)
{
	if (busy < 0 && busy != -EWOULDBLOCK) {
		shm_explain(error, "group \"%s\" of topic \"%s\": cannot tell whether it has a reader: %s",
		            name, claim->topic, strerror(-busy));
		return busy;
	}
	shm_explain(
	        error,
	        "group \"%s\" of topic \"%s\" is being read by process %u; a group has one reader at a time",
	        name, claim->topic, atomic_load_explicit(&group_of(claim, index)->pid, memory_order_relaxed));
	return -EBUSY;
}

/* Whether the claimer may have the group at all: stages have theirs, outside programs the
 * others. */
static int check_owner(struct claim *claim, int index, const char *name, const struct topic_reader *reader,
                       struct shm_error *error)
{
	bool stage = reader->stage;
	bool configured = index >= 0 && atomic_load_explicit(&group_of(claim, index)->configured,
	                                                     memory_order_relaxed) != 0;
	if (index < 0 && reader->makes)
		return 0;
	if (stage && index < 0) {
		shm_explain(error, "topic \"%s\" has no group \"%s\": the configuration in force made none",
		            claim->topic, name);
		return -ENOENT;
	}
	if (stage == configured)
		return 0;
	if (stage)
		shm_explain(
		        error,
		        "group \"%s\" of topic \"%s\" was made by an outside program; free it with: millrace consume %s --group %s --forget",
		        name, claim->topic, claim->topic, name);
	else
		shm_explain(
		        error,
		        "group \"%s\" of topic \"%s\" belongs to a stage of the configuration; take another name",
		        name, claim->topic);
	return -EPERM;
}

/* The group to use: an existing one without a reader, or a free one (reader->made). Returns its
 * index or -errno. */
static int choose_group(struct claim *claim, const char *name, struct topic_reader *reader,
                        struct shm_error *error)
{
	enum group_state kind = reader->optional ? GROUP_OPTIONAL : GROUP_REQUIRED;
	int index = find_group(claim, name);
	int result = check_owner(claim, index, name, reader, error);
	reader->made = index < 0;
	if (result != 0)
		return result;
	if (index < 0)
		return find_free(claim, error);
	int busy = stays_busy(claim->instance, claim->topic, (unsigned)index, reader->share.index);
	if (busy != 0)
		return refuse_busy(claim, index, name, busy, error);
	uint32_t state = atomic_load_explicit(&group_of(claim, index)->state, memory_order_relaxed);
	if (state != (uint32_t)kind && !(state == GROUP_LAPSED && kind == GROUP_REQUIRED)) {
		shm_explain(error, "group \"%s\" of topic \"%s\" exists as %s group", name, claim->topic,
		            kind == GROUP_OPTIONAL ? "a required" : "an optional");
		return -EINVAL;
	}
	return index;
}

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
	memset(group, 0, sizeof *group);
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
	int result = begin_claim(&claim, reader->instance, topic, error);
	if (result != 0)
		return result;
	int index = choose_group(&claim, name, reader, error);
	result = index < 0 ? index : 0;
	if (result == 0) {
		char file[SEGMENT_NAME_MAX];
		reader->lock =
		        instance_hold(reader->instance->directory,
		                      topic_reader_file(file, topic, (unsigned)index, reader->share.index));
		if (reader->lock < 0)
			result = refuse_busy(&claim, index, name, reader->lock, error);
	}
	if (result == 0) {
		reader->group_index = (unsigned)index;
		reader->group_segment = claim.group[index];
		reader->group = claim.group[index].body;
		reader->bell = &reader->instance->bells->group[reader->topic][index];
		if (reader->made)
			make_group(reader, name, start);
		else
			restore_group(reader);
		atomic_store_explicit(&reader->group->pid, (uint32_t)getpid(), memory_order_release);
	}
	end_claim(&claim, result == 0 ? index : -1);
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
	atomic_fetch_or(&reader->instance->bells->active[reader->topic].groups, 1ull << reader->group_index);
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
 * nothing that was passed lies in it. */
static int follow_lane(struct topic_reader *reader, unsigned i, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct instance *instance = reader->instance;
	instance_lane_name(name, instance->page->topic[reader->topic].name, i);
	struct stream_reader before = reader->lane[i];
	if (before.shared == NULL || stream_in_place(&before.file, instance->directory, name))
		return 0;
	int result = map_lane(reader, i, error);
	if (result != 0) {
		reader->lane[i] = before;
		return result;
	}
	stream_reader_detach(&before);
	stream_reader_begin(&reader->lane[i], &reader->group->cursor[i], STREAM_FROM_CURSOR);
	return 0;
}

/* Writers of a new lane heed the group's cursor in it from the start: it has been in the group's
 * segment since that was made. */
int topic_reader_follow(struct topic_reader *reader, struct shm_error *error)
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

void topic_reader_detach(struct topic_reader *reader)
{
	if (reader->instance == NULL)
		return;
	if (reader->optional) {
		/* No other process changes a group that has a live reader, so giving it up does not
		 * need the claim's lock. */
		atomic_fetch_and(&reader->instance->bells->active[reader->topic].groups,
		                 ~(1ull << reader->group_index));
		atomic_store_explicit(&reader->group->state, GROUP_FREE, memory_order_release);
	}
	/* Of the processes that share a group, the last to attach is named. */
	uint32_t own = (uint32_t)getpid();
	atomic_compare_exchange_strong(&reader->group->pid, &own, 0);
	struct segment group = reader->group_segment;
	leave(reader);
	segment_detach(&group);
}

static bool is_configured(struct claim *claim, int index)
{
	return atomic_load_explicit(&group_of(claim, index)->configured, memory_order_relaxed) != 0;
}

static void lapse_group(struct claim *claim, int index)
{
	atomic_store_explicit(&group_of(claim, index)->state, GROUP_LAPSED, memory_order_release);
}

static void retire_group(struct claim *claim, int index)
{
	atomic_store_explicit(&group_of(claim, index)->configured, 0, memory_order_relaxed);
	free_group(claim, index);
}

/* Changes a group that nobody reads: a stage's, or an outside program's; of this state alone when
 * that is not GROUP_FREE. */
static int change_group(const struct instance *instance, const char *topic, const char *name, bool stage,
                        enum group_state state, void (*change)(struct claim *claim, int index),
                        struct shm_error *error)
{
	struct claim claim;
	int result = begin_claim(&claim, instance, topic, error);
	if (result != 0)
		return result;
	int index = find_group(&claim, name), busy = 0;
	if (index < 0 || (stage && !is_configured(&claim, index)) ||
	    (state != GROUP_FREE && atomic_load_explicit(&group_of(&claim, index)->state,
	                                                 memory_order_relaxed) != (uint32_t)state)) {
		result = -ENOENT;
		shm_explain(error, "topic \"%s\" has no %sgroup \"%s\"%s", topic,
		            state == GROUP_REQUIRED ? "required " : "", name, stage ? " of a stage" : "");
	} else if (!stage && is_configured(&claim, index)) {
		result = -EPERM;
		shm_explain(error, "group \"%s\" of topic \"%s\" belongs to a stage of the configuration",
		            name, topic);
	} else if ((busy = topic_has_reader(instance->directory, topic, (unsigned)index)) != 0) {
		result = refuse_busy(&claim, index, name, busy, error);
	} else {
		change(&claim, index);
	}
	end_claim(&claim, -1);
	return result;
}

int topic_group_forget(const struct instance *instance, const char *topic, const char *name,
                       struct shm_error *error)
{
	return change_group(instance, topic, name, false, GROUP_FREE, free_group, error);
}

int topic_group_retire(const struct instance *instance, const char *topic, const char *name,
                       struct shm_error *error)
{
	return change_group(instance, topic, name, true, GROUP_FREE, retire_group, error);
}

int topic_group_lapse(const struct instance *instance, const char *topic, const char *name,
                      struct shm_error *error)
{
	return change_group(instance, topic, name, false, GROUP_REQUIRED, lapse_group, error);
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

bool topic_peek(struct topic_reader *reader, unsigned *lane, struct record_batch *batch)
{
	if (look(reader, lane, batch))
		return true;
	/* The bell is read only when there seems to be nothing, so that a busy reader leaves its
	 * line to the writers; what was committed before the reading is found by the second look,
	 * what comes after it rings. */
	reader->seen = bell_value(reader->bell);
	return look(reader, lane, batch);
}

bool topic_wait(struct topic_reader *reader, uint64_t timeout_ns)
{
	return bell_wait(reader->bell, reader->seen, timeout_ns);
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
