#include "shm/claim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLAIM_WAIT_MS 2000u
#define BUSY_TRIES    100u /* a millisecond apart */

/* ---- is there a reader? ---- */

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

/* ---- the claim ---- */

static const struct stream_group *group_of(const struct claim *claim, int index)
{
	return claim->group[index].body;
}

static uint32_t state_of(const struct claim *claim, int index)
{
	return atomic_load_explicit(&group_of(claim, index)->state, memory_order_acquire);
}

void claim_end(struct claim *claim)
{
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++)
		segment_detach(&claim->group[i]);
	if (claim->lock >= 0)
		close(claim->lock);
}

static int lock_claim(struct claim *claim, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int owner = 0;
	const char *directory = claim->instance->directory;
	snprintf(name, sizeof name, "%s.claim", claim->topic);
	claim->lock = instance_lock(directory, name, CLAIM_WAIT_MS, &owner);
	if (claim->lock >= 0)
		return 0;
	if (claim->lock == -EWOULDBLOCK)
		shm_explain(error, "%s/%s: cannot lock (process %d holds it): %s", directory, name, owner,
		            strerror(-claim->lock));
	else
		shm_explain(error, "%s/%s: cannot lock: %s", directory, name, strerror(-claim->lock));
	return claim->lock;
}

int claim_begin(struct claim *claim, const struct instance *instance, const char *topic, bool lock,
                struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result = topic_find(instance, topic, error);
	if (result < 0)
		return result;
	*claim = (struct claim){.instance = instance, .topic = topic, .lock = -1};
	result = 0;
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++)
		result = segment_attach(&claim->group[i], instance->directory,
		                        instance_group_name(name, topic, i), SEGMENT_GROUP, SEGMENT_READ,
		                        error);
	if (result == 0 && lock)
		result = lock_claim(claim, error);
	if (result != 0)
		claim_end(claim);
	return result;
}

/* The page of one group, to write. */
static int open_group(const struct claim *claim, int index, struct segment *group, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	*group = (struct segment){0};
	return segment_attach(group, claim->instance->directory,
	                      instance_group_name(name, claim->topic, (unsigned)index), SEGMENT_GROUP,
	                      SEGMENT_WRITE, error);
}

static void free_group(struct stream_group *group)
{
	atomic_store_explicit(&group->state, GROUP_FREE, memory_order_release);
	atomic_store_explicit(&group->pid, 0, memory_order_relaxed);
	memset(group->name, 0, sizeof group->name);
}

/* An optional group whose reader died; whoever may not write it leaves it for another. */
static void free_dead(const struct claim *claim, int index)
{
	struct segment group;
	struct shm_error ignored;
	if (claim->lock < 0 || has_live_reader(claim->instance, claim->topic, (unsigned)index, 0) != 0 ||
	    open_group(claim, index, &group, &ignored) != 0)
		return;
	free_group(group.body);
	segment_detach(&group);
}

/* The group of this name, or -1. Optional groups whose readers died are freed on the way. */
static int find_group(const struct claim *claim, const char *name)
{
	int found = -1;
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++) {
		if (state_of(claim, i) == GROUP_OPTIONAL)
			free_dead(claim, i);
		if (state_of(claim, i) != GROUP_FREE &&
		    strncmp(group_of(claim, i)->name, name, SHM_NAME_MAX) == 0)
			found = i;
	}
	return found;
}

/* Skips a free group whose last reader has not left it completely. */
static int find_free(const struct claim *claim, struct shm_error *error)
{
	int failed = 0;
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++) {
		if (state_of(claim, i) != GROUP_FREE)
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
static int refuse_busy(const struct claim *claim, int index, const char *name, int busy,
                       struct shm_error *error)
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

static bool is_configured(const struct claim *claim, int index)
{
	return atomic_load_explicit(&group_of(claim, index)->configured, memory_order_relaxed) != 0;
}

/* Whether the claimer may have the group at all: stages have theirs, outside programs the
 * others. */
static int check_owner(const struct claim *claim, int index, const char *name,
                       const struct topic_reader *reader, struct shm_error *error)
{
	bool stage = reader->stage;
	bool configured = index >= 0 && is_configured(claim, index);
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
int claim_choose(const struct claim *claim, const char *name, struct topic_reader *reader,
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
	uint32_t state = state_of(claim, index);
	if (state != (uint32_t)kind && !(state == GROUP_LAPSED && kind == GROUP_REQUIRED)) {
		shm_explain(error, "group \"%s\" of topic \"%s\" exists as %s group", name, claim->topic,
		            kind == GROUP_OPTIONAL ? "a required" : "an optional");
		return -EINVAL;
	}
	return index;
}

/* Maps the chosen group's page and locks its reader's file. A stage, which claims without a lock,
 * looks again: the group may have been freed since. */
int claim_take(struct topic_reader *reader, const struct claim *claim, int index, const char *name,
               struct shm_error *error)
{
	char file[SEGMENT_NAME_MAX];
	int result = open_group(claim, index, &reader->group_segment, error);
	if (result != 0)
		return result;
	reader->lock =
	        instance_hold(claim->instance->directory,
	                      topic_reader_file(file, claim->topic, (unsigned)index, reader->share.index));
	if (reader->lock < 0)
		result = refuse_busy(claim, index, name, reader->lock, error);
	else if (claim->lock < 0)
		result = check_owner(claim, find_group(claim, name) == index ? index : -1, name, reader,
		                     error);
	if (result != 0)
		segment_detach(&reader->group_segment);
	reader->group_index = (unsigned)index;
	reader->group = reader->group_segment.body;
	return result;
}

/* ---- groups that nobody reads ---- */

static void lapse_group(struct stream_group *group)
{
	atomic_store_explicit(&group->state, GROUP_LAPSED, memory_order_release);
}

static void retire_group(struct stream_group *group)
{
	atomic_store_explicit(&group->configured, 0, memory_order_relaxed);
	free_group(group);
}

/* With the reader's file locked: no reader comes meanwhile. */
static int change_unread(const struct claim *claim, int index, const char *name,
                         void (*change)(struct stream_group *group), struct shm_error *error)
{
	char file[SEGMENT_NAME_MAX];
	struct segment group = {0};
	const char *directory = claim->instance->directory;
	int lock = instance_hold(directory, topic_reader_file(file, claim->topic, (unsigned)index, 0));
	if (lock < 0)
		return refuse_busy(claim, index, name, lock, error);
	int result = open_group(claim, index, &group, error);
	if (result == 0)
		change(group.body);
	segment_detach(&group);
	close(lock);
	return result;
}

/* Changes a group that nobody reads: a stage's, or an outside program's; of this state alone when
 * that is not GROUP_FREE. */
static int change_group(const struct instance *instance, const char *topic, const char *name, bool stage,
                        enum group_state state, void (*change)(struct stream_group *group),
                        struct shm_error *error)
{
	struct claim claim;
	int result = claim_begin(&claim, instance, topic, true, error);
	if (result != 0)
		return result;
	int index = find_group(&claim, name), busy = 0;
	if (index < 0 || (stage && !is_configured(&claim, index)) ||
	    (state != GROUP_FREE && state_of(&claim, index) != (uint32_t)state)) {
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
		result = change_unread(&claim, index, name, change, error);
	}
	claim_end(&claim);
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
