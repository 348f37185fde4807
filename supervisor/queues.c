#include "supervisor/queues.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"
#include "shm/private.h"
#include "base/log.h"
#include "supervisor/lane_file.h"

/* ---- mapping ---- */

/* A queue that this process looks at for a moment. queue_attach would touch all its memory. */
struct mapped {
	struct queue queue;
	char *at;
	size_t bytes;
};

static int join(struct mapped *mapped, const char *path, struct shm_error *error)
{
	int result =
	        queue_join(&mapped->queue, (struct queue_shared *)(void *)(mapped->at + SEGMENT_HEADER_BYTES),
	                   mapped->bytes - SEGMENT_HEADER_BYTES, 0);
	if (result != 0) {
		shm_explain(error, "%s: sizes of the queue do not fit together", path);
		munmap(mapped->at, mapped->bytes);
	}
	return result;
}

static int map(struct mapped *mapped, const char *directory, const char *name, struct shm_error *error)
{
	char path[300], file[SEGMENT_NAME_MAX];
	struct segment_header header;
	snprintf(path, sizeof path, "%s/%s", directory, instance_queue_name(file, name));
	int fd = folder_open(directory, file, O_RDWR, 0);
	if (fd < 0) {
		shm_explain(error, "%s: %s", path, strerror(-fd));
		return fd;
	}
	int result = segment_check(fd, path, SEGMENT_QUEUE, &header, error);
	if (result == 0) {
		mapped->bytes = header.size_bytes;
		mapped->at = mmap(NULL, mapped->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mapped->at == MAP_FAILED) {
			result = -errno;
			shm_explain(error, "%s: cannot map: %s", path, strerror(-result));
		}
	}
	close(fd);
	return result == 0 ? join(mapped, path, error) : result;
}

static void unmap(struct mapped *mapped)
{
	munmap(mapped->at, mapped->bytes);
}

int queues_look(const char *directory, const char *queue, struct queue_state *state, struct shm_error *error)
{
	struct mapped mapped = {0};
	int result = map(&mapped, directory, queue, error);
	if (result != 0)
		return result;
	state->slot_bytes = mapped.queue.slot_bytes;
	queue_count(&mapped.queue, &state->counts);
	unmap(&mapped);
	return 0;
}

/* ---- made and resized ---- */

/* Replaces an empty queue's file by one of the size that the plan says, in one rename. */
static int resize(const struct segments *segments, const struct instance_queue *wanted,
                  struct shm_error *error)
{
	char next[FOLDER_PATH_MAX], name[SEGMENT_NAME_MAX];
	instance_queue_name(name, wanted->name);
	snprintf(next, sizeof next, "%s/" NEXT_DIRECTORY, segments->directory);
	int result = folder_make(next);
	if (result != 0 && result != -EEXIST) {
		shm_explain(error, "%s: cannot create: %s", next, strerror(-result));
		return result;
	}
	(void)folder_unlink(next, name); /* left by a supervisor that died here */
	result = queue_create(next, name, segments->generation, wanted->slots, wanted->slot_bytes, error);
	if (result == 0) {
		result = folder_rename(next, name, segments->directory, name);
		if (result != 0)
			shm_explain(error, "%s/%s: cannot rename: %s", next, name, strerror(-result));
	}
	(void)folder_unlink(next, name);
	(void)folder_remove(next);
	return result;
}

static int fit(const struct segments *segments, const struct plan_queue *queue, struct shm_error *error)
{
	const struct instance_queue *wanted = &queue->page;
	struct queue_state state;
	int result = queues_look(segments->directory, wanted->name, &state, error);
	if (result != 0 || (state.counts.slots == wanted->slots && state.slot_bytes == wanted->slot_bytes))
		return result;
	if (state.counts.free == state.counts.slots)
		return resize(segments, wanted, error);
	if (queue->retired)
		log_warn("a queue that the configuration no longer has is kept: it has messages waiting",
		         "queue=%s messages=%llu", wanted->name,
		         (unsigned long long)(state.counts.ready + state.counts.taken));
	else
		log_warn("a queue keeps its size until the next start: it has messages waiting",
		         "queue=%s slots=%llu wanted_slots=%llu slot_bytes=%llu wanted_slot_bytes=%llu",
		         wanted->name, (unsigned long long)state.counts.slots,
		         (unsigned long long)wanted->slots, (unsigned long long)state.slot_bytes,
		         (unsigned long long)wanted->slot_bytes);
	return 0;
}

int queues_apply(const struct segments *segments, const struct plan *plan, unsigned index,
                 struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct plan_queue *queue = &plan->queue[index];
	const struct instance_queue *wanted = &queue->page;
	instance_queue_name(name, wanted->name);
	if (segments->old == NULL || index >= segments->old->n_queues) {
		(void)segment_destroy(segments->directory, name);
		return queue_create(segments->directory, name, segments->generation, wanted->slots,
		                    wanted->slot_bytes, error);
	}
	int result = segments_check_generation(segments, name, SEGMENT_QUEUE, error);
	return result == 0 ? fit(segments, queue, error) : result;
}

/* ---- what waits ---- */

uint64_t queues_waiting(const struct segments *segments, FILE *text)
{
	uint64_t waiting = 0;
	for (unsigned i = 0; segments->old != NULL && i < segments->old->n_queues; i++) {
		const char *name = segments->old->queue[i].name;
		struct queue_state state;
		struct shm_error error;
		if (queues_look(segments->directory, name, &state, &error) != 0)
			continue;
		uint64_t messages = state.counts.ready + state.counts.taken;
		waiting += messages;
		if (messages != 0 && text != NULL)
			fprintf(text, "queue %s: %llu messages\n", name, (unsigned long long)messages);
	}
	return waiting;
}

/* ---- what the dead had claimed ---- */

/* A role whose process is dead. */
struct dead {
	unsigned number;
	/* of one that puts into queues; zero: it never lived, or puts nothing */
	struct segment private;
	_Atomic uint64_t *decided; /* its word there, or NULL (private.h) */
};

static int open_dead(struct dead *dead, const char *directory, const char *role, unsigned number,
                     struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	const struct flow_stage *stage = flow_stage_of_role(role);
	*dead = (struct dead){.number = number};
	if (stage == NULL || stage->puts == NULL)
		return 0;
	int result = segment_attach(&dead->private, directory, instance_private_name(name, role),
	                            SEGMENT_PRIVATE, SEGMENT_WRITE, error);
	dead->decided = result == 0 ? private_decided(&dead->private) : NULL;
	return result == -ENOENT ? 0 : result;
}

static void close_dead(struct dead *dead)
{
	segment_detach(&dead->private);
}

/* When all queues are repaired that it puts into. */
static void forget_decision(const struct dead *dead)
{
	if (dead->decided != NULL && atomic_load_explicit(dead->decided, memory_order_relaxed) != 0)
		atomic_store_explicit(dead->decided, 0, memory_order_release);
}

static int repair(const char *directory, const char *name, const struct dead *dead, unsigned n_dead,
                  struct shm_error *error)
{
	struct mapped mapped = {0};
	struct queue_repaired sum = {0};
	uint64_t published = 0;
	int result = map(&mapped, directory, name, error);
	if (result != 0)
		return result;
	queue_use_bells(&mapped.queue);
	for (unsigned i = 0; i < n_dead; i++) {
		if (dead[i].decided != NULL &&
		    atomic_load_explicit(dead[i].decided, memory_order_acquire) != 0)
			published += queue_commit_filled(&mapped.queue, dead[i].number);
		struct queue_repaired repaired = queue_repair(&mapped.queue, dead[i].number);
		sum.dropped += repaired.dropped;
		sum.given_back += repaired.given_back;
	}
	unmap(&mapped);
	if (sum.dropped + sum.given_back + published != 0)
		log_info("messages claimed by dead processes are free again",
		         "queue=%s unfinished=%llu given_back=%llu published=%llu", name,
		         (unsigned long long)sum.dropped, (unsigned long long)sum.given_back,
		         (unsigned long long)published);
	return 0;
}

static int repair_role(const char *directory, const struct plan_role *role, struct shm_error *error)
{
	struct segment page = {0};
	struct dead dead;
	int result = open_dead(&dead, directory, role->page.name, role->number, error);
	if (result == 0)
		result = segment_attach(&page, directory, "instance", SEGMENT_INSTANCE, SEGMENT_READ, error);
	const struct instance_page *about = page.body;
	for (unsigned i = 0; result == 0 && i < about->n_queues; i++)
		for (unsigned k = 0; result == 0 && k < role->n_queues; k++)
			if (strcmp(role->queue[k], about->queue[i].name) == 0)
				result = repair(directory, role->queue[k], &dead, 1, error);
	if (result == 0)
		forget_decision(&dead);
	segment_detach(&page);
	close_dead(&dead);
	return result;
}

void queues_repair(const char *directory, const struct plan_role *role)
{
	struct shm_error error = {""};
	if (role->n_queues == 0)
		return;
	/* Its next life looks again; until then one slot of the queue is lost, no message. */
	if (repair_role(directory, role, &error) != 0)
		log_error("cannot free the messages that a dead role claimed", "role=%s error=\"%s\"",
		          role->page.name, error.text);
}

/* Numbers beyond those of the page are of roles that are no more. */
static int open_all(const struct segments *segments, struct dead *dead, struct shm_error *error)
{
	const struct instance_page *page = segments->old;
	int result = 0;
	for (unsigned i = 0; i < INSTANCE_ROLES_MAX; i++) {
		dead[i] = (struct dead){.number = i + 1};
		if (result == 0 && i < page->n_roles)
			result = open_dead(&dead[i], segments->directory, page->role[i].name, i + 1, error);
	}
	return result;
}

int queues_repair_all(const struct segments *segments, struct shm_error *error)
{
	char file[SEGMENT_NAME_MAX];
	struct dead dead[INSTANCE_ROLES_MAX];
	if (segments->old == NULL || segments->old->n_queues == 0)
		return 0;
	int result = open_all(segments, dead, error);
	for (unsigned i = 0; result == 0 && i < segments->old->n_queues; i++) {
		const char *name = segments->old->queue[i].name;
		result = segments_check_generation(segments, instance_queue_name(file, name), SEGMENT_QUEUE,
		                                   error);
		if (result == 0)
			result = repair(segments->directory, name, dead, INSTANCE_ROLES_MAX, error);
	}
	for (unsigned i = 0; i < INSTANCE_ROLES_MAX; i++) {
		if (result == 0)
			forget_decision(&dead[i]);
		close_dead(&dead[i]);
	}
	return result;
}
