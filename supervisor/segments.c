#include "supervisor/segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/drops.h"
#include "shm/folder.h"
#include "shm/private.h"
#include "base/clock.h"
#include "stage/errand.h"
#include "base/log.h"
#include "supervisor/groups.h"
#include "supervisor/in_force.h"
#include "supervisor/lane_file.h"
#include "supervisor/queues.h"

/* ---- what is there ---- */

static int read_header(const char *directory, const char *name, enum segment_kind kind,
                       struct segment_header *header, struct shm_error *error)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = folder_open(directory, name, O_RDONLY, 0);
	if (fd < 0) {
		shm_explain(error, "%s: %s", path, strerror(-fd));
		return fd;
	}
	int result = segment_check(fd, path, kind, header, error);
	close(fd);
	return result;
}

static void copy_page(struct segments *segments, const struct instance_page *page)
{
	if (segments->old == NULL)
		segments->old = malloc(sizeof *segments->old);
	if (segments->old == NULL || page == NULL) /* no memory; no page is our own bug */
		abort();
	memcpy(segments->old, page, sizeof *page);
}

int segments_look(struct segments *segments, const char *directory, struct shm_error *error)
{
	memset(segments, 0, sizeof *segments);
	snprintf(segments->directory, sizeof segments->directory, "%s", directory);
	struct segment page = {0};
	int result = segment_attach(&page, directory, "instance", SEGMENT_INSTANCE, SEGMENT_READ, error);
	if (result == -ENOENT)
		return 0;
	if (result != 0)
		return result;
	segments->adopted = true;
	segments->generation = page.header->generation;
	copy_page(segments, page.body);
	segment_detach(&page);
	return 0;
}

/* ---- room ---- */

struct room {
	const char *directory;
	uint64_t needed_bytes;
};

static void add_missing(void *argument, const char *name, uint64_t file_bytes)
{
	struct room *room = argument;
	struct stat status;
	if (folder_stat(room->directory, name, &status) != 0 || (uint64_t)status.st_size < file_bytes)
		room->needed_bytes += file_bytes;
}

int segments_check_room(const struct segments *segments, const struct plan *plan, struct shm_error *error)
{
	struct room room = {.directory = segments->directory};
	struct statvfs free_room;
	plan_each_segment(plan, add_missing, &room);
	if (statvfs(segments->directory, &free_room) != 0) {
		int failed = -errno;
		shm_explain(error, "%s: %s", segments->directory, strerror(-failed));
		return failed;
	}
	uint64_t free_bytes = (uint64_t)free_room.f_bavail * free_room.f_frsize;
	if (free_room.f_blocks == 0 ||
	    room.needed_bytes <= free_bytes) /* no blocks: a tmpfs without a limit */
		return 0;
	shm_explain(
	        error,
	        "%s: the segments need %llu bytes, the file system has %llu free; ask for less (topics.*.size, queues.*.slots, ingest.udp[].buffers, "
	        "processes of the listeners; millrace check lists all) or enlarge it: sudo mount -o remount,size=N /dev/shm",
	        segments->directory, (unsigned long long)room.needed_bytes, (unsigned long long)free_bytes);
	return -ENOSPC;
}

/* ---- lanes and groups ---- */

static const struct instance_topic *old_topic(const struct segments *segments, unsigned index)
{
	return segments->old != NULL && index < segments->old->n_topics ? &segments->old->topic[index] : NULL;
}

int segments_check_generation(const struct segments *segments, const char *name, enum segment_kind kind,
                              struct shm_error *error)
{
	struct segment_header header = {0};
	int result = read_header(segments->directory, name, kind, &header, error);
	if (result == 0 && header.generation != segments->generation) {
		shm_explain(error, "%s/%s: belongs to another run of this instance", segments->directory,
		            name);
		result = -EPROTO;
	}
	if (result != 0) {
		size_t used = strlen(error->text);
		snprintf(error->text + used, sizeof error->text - used,
		         "; the segments left behind are damaged: remove %s when its data is not needed",
		         segments->directory);
	}
	return result;
}

bool segments_role_is_clean(const struct segments *segments, const char *role)
{
	char name[SEGMENT_NAME_MAX];
	struct segment control = {0};
	struct shm_error ignored;
	if (segment_attach(&control, segments->directory, instance_stage_name(name, role), SEGMENT_STAGE,
	                   SEGMENT_READ, &ignored) != 0)
		return false;
	uint32_t state =
	        atomic_load_explicit(&((const struct control *)control.body)->state, memory_order_acquire);
	segment_detach(&control);
	return state == STAGE_NONE || state == STAGE_ENDED;
}

/* A lane that was there gets the size that the plan says, when that harms no process. A retired one
 * that is empty shrinks. */
static int fit_lane(const struct segments *segments, const struct plan_topic *topic, unsigned lane,
                    const char *role, struct shm_error *error)
{
	struct lane_file_state state;
	const char *name = topic->page.name;
	int result = lane_file_look(segments->directory, name, lane, &state, error);
	if (result != 0)
		return result;
	uint64_t wanted = topic->retired[lane] ? STREAM_SIZE_MIN : topic->page.size_bytes;
	if (topic->retired[lane] && state.waiting_records != 0)
		log_warn("a lane that the configuration no longer has is kept: it has records waiting",
		         "topic=%s lane=%u role=%s group=%s waiting_records=%llu", name, lane, role,
		         state.slowest, (unsigned long long)state.waiting_records);
	if (wanted == state.size_bytes)
		return 0;
	bool outside = *role == '\0' || strcmp(role, PLAN_RETIRED_LANE) == 0;
	const char *reason = NULL;
	if (state.waiting_bytes != 0)
		reason = "it has records waiting";
	else if (outside)
		reason = "an outside program may be attached to it";
	else if (state.required_live)
		reason = "a required group has a live reader";
	else if (!segments_role_is_clean(segments, role))
		reason = "its writer did not end in order and may have something to finish";
	if (reason == NULL)
		return lane_file_resize(segments->directory, name, lane, wanted, error);
	if (!topic->retired[lane])
		log_warn("a lane keeps its size until the next start",
		         "topic=%s lane=%u size_bytes=%llu wanted_bytes=%llu reason=\"%s\"", name, lane,
		         (unsigned long long)state.size_bytes, (unsigned long long)wanted, reason);
	return 0;
}

static int apply_lane(const struct segments *segments, const struct plan_topic *topic, unsigned lane,
                      const struct instance_topic *old, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	instance_lane_name(name, topic->page.name, lane);
	if (old == NULL || lane >= old->n_lanes) {
		(void)segment_destroy(segments->directory, name);
		return stream_create(segments->directory, name, segments->generation, topic->page.size_bytes,
		                     error);
	}
	int result = segments_check_generation(segments, name, SEGMENT_LANE, error);
	return result == 0 ? fit_lane(segments, topic, lane, old->lane_role[lane], error) : result;
}

static int apply_groups(const struct segments *segments, const struct plan *plan,
                        const struct plan_topic *topic, bool there, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result = 0;
	for (unsigned i = 0; result == 0 && i < STREAM_GROUPS_MAX; i++) {
		instance_group_name(name, topic->page.name, i);
		if (there)
			result = segments_check_generation(segments, name, SEGMENT_GROUP, error);
		else
			(void)segment_destroy(segments->directory, name);
	}
	if (there || result != 0)
		return result != 0 ? result : groups_apply(plan, topic, error);
	const char *required[PLAN_REQUIRED_MAX];
	for (unsigned i = 0; i < topic->n_required; i++)
		required[i] = topic->required[i];
	return topic_groups_create(segments->directory, topic->page.name, segments->generation, required,
	                           topic->n_required, error);
}

static int apply_topic(const struct segments *segments, const struct plan *plan, unsigned index,
                       struct shm_error *error)
{
	const struct plan_topic *topic = &plan->topic[index];
	const struct instance_topic *old = old_topic(segments, index);
	int result = apply_groups(segments, plan, topic, old != NULL, error);
	for (unsigned lane = 0; result == 0 && lane < topic->page.n_lanes; lane++)
		result = apply_lane(segments, topic, lane, old, error);
	return result;
}

/* ---- roles ---- */

static void fill_control(void *body, void *argument)
{
	(void)argument;
	atomic_store(&((struct control *)body)->last_exit, -1);
}

/* True when the role writes the same lanes as in the page in force: its redo note names them. */
static bool same_lanes(const struct segments *segments, const struct plan *plan, const char *role)
{
	for (unsigned i = 0; i < plan->n_topics; i++) {
		const struct instance_topic *now = &plan->topic[i].page, *old = old_topic(segments, i);
		for (unsigned lane = 0; lane < now->n_lanes; lane++) {
			bool writes =
			        strcmp(now->lane_role[lane], role) == 0 && !plan->topic[i].retired[lane];
			bool wrote =
			        old != NULL && lane < old->n_lanes && strcmp(old->lane_role[lane], role) == 0;
			if (writes != wrote)
				return false;
		}
	}
	return true;
}

/* What the last life of the role had received and not written is lost; nothing of it stays. */
static void drop_private(struct segments *segments, const char *role, const char *why)
{
	char name[SEGMENT_NAME_MAX];
	struct segment private = {0};
	struct shm_error ignored;
	instance_private_name(name, role);
	if (!segments_role_is_clean(segments, role)) {
		uint64_t filled = 0;
		if (segment_attach(&private, segments->directory, name, SEGMENT_PRIVATE, SEGMENT_READ,
		                   &ignored) == 0)
			filled = private_filled(&private);
		segment_detach(&private);
		log_warn("received but unwritten events of a role are dropped",
		         "role=%s buffers=%llu why=\"%s\"", role, (unsigned long long)filled, why);
		segments->given_up++;
		segments->dropped_buffers += filled;
	}
	(void)segment_destroy(segments->directory, name);
}

static int apply_private(struct segments *segments, const struct plan *plan, const struct plan_role *role,
                         struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	struct segment_header header = {0};
	instance_private_name(name, role->page.name);
	size_t wanted_bytes = segment_file_bytes(role->private_bytes);
	bool there = segments->old != NULL &&
	             read_header(segments->directory, name, SEGMENT_PRIVATE, &header, error) == 0 &&
	             header.generation == segments->generation;
	bool lanes = same_lanes(segments, plan, role->page.name);
	if (there && header.size_bytes == wanted_bytes && lanes)
		return 0;
	if (there && !segments_role_is_clean(segments, role->page.name)) {
		if (lanes) {
			log_warn(
			        "the private memory keeps its size until the next start: the last life did not end in order",
			        "role=%s size_bytes=%llu wanted_bytes=%zu", role->page.name,
			        (unsigned long long)header.size_bytes, wanted_bytes);
			return 0;
		}
		drop_private(segments, role->page.name, "it writes other topics now");
	}
	(void)segment_destroy(segments->directory, name);
	return segment_create(segments->directory, name, SEGMENT_PRIVATE, segments->generation,
	                      role->private_bytes, NULL, NULL, error);
}

/* Segments of the same generation stay with all that is in them. */
static int keep_or_create(const struct segments *segments, const char *name, enum segment_kind kind,
                          size_t body_bytes, void (*fill)(void *body, void *argument),
                          struct shm_error *error)
{
	struct segment_header header = {0};
	if (segments->old != NULL && read_header(segments->directory, name, kind, &header, error) == 0 &&
	    header.generation == segments->generation)
		return 0;
	(void)segment_destroy(segments->directory, name);
	return segment_create(segments->directory, name, kind, segments->generation, body_bytes, fill, NULL,
	                      error);
}

/* The private segment first: whether its owner ended well stands in the control segment. */
static int apply_role(struct segments *segments, const struct plan *plan, const struct plan_role *role,
                      struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result = role->private_bytes == 0 ? 0 : apply_private(segments, plan, role, error);
	if (result != 0)
		return result;
	result = keep_or_create(segments, instance_stage_name(name, role->page.name), SEGMENT_STAGE,
	                        sizeof(struct control), fill_control, error);
	if (result == 0 && role->stage->errands != NULL)
		result = keep_or_create(segments, instance_errand_name(name, role->page.name), SEGMENT_ERRAND,
		                        sizeof(struct errand_page), NULL, error);
	return result;
}

/* ---- the page ---- */

static void say_who_runs_it(const struct segments *segments, struct instance_page *page)
{
	atomic_store(&page->supervisor_pid, segments->managed ? 0 : (uint32_t)getpid());
	atomic_store(&page->managed, segments->managed ? 1 : 0);
}

struct new_page {
	const struct segments *segments;
	const struct plan *plan;
};

static void fill_page(void *body, void *argument)
{
	struct instance_page *page = body;
	const struct new_page *wanted = argument;
	plan_fill_page(wanted->plan, page);
	say_who_runs_it(wanted->segments, page);
	page->created_ns = clock_real_ns();
}

static void copy_metrics(const struct segment *page, const struct segment *before)
{
	struct instance_page *to = page->body;
	const struct instance_page *from = before->body;
	for (unsigned i = 0; from != NULL && i < INSTANCE_METRICS_MAX; i++)
		atomic_store_explicit(&to->supervisor_metric[i],
		                      atomic_load_explicit(&from->supervisor_metric[i], memory_order_relaxed),
		                      memory_order_relaxed);
}

/* Makes the page in a folder of its own, because a segment gets its name at creation, maps it, and
 * renames it into place: when it is in place nothing can fail any more. */
static int replace_page(const struct segments *segments, const struct plan *plan, struct segment *page,
                        struct shm_error *error)
{
	char next[FOLDER_PATH_MAX];
	struct new_page wanted = {segments, plan};
	snprintf(next, sizeof next, "%s/" NEXT_DIRECTORY, segments->directory);
	int result = folder_make(next);
	if (result != 0 && result != -EEXIST) {
		shm_explain(error, "%s: cannot create: %s", next, strerror(-result));
		return result;
	}
	(void)folder_unlink(next, "instance");
	result = segment_create(next, "instance", SEGMENT_INSTANCE, segments->generation,
	                        sizeof(struct instance_page), fill_page, &wanted, error);
	if (result == 0)
		result = segment_attach(page, next, "instance", SEGMENT_INSTANCE, SEGMENT_WRITE, error);
	if (result == 0) {
		result = folder_rename(next, "instance", segments->directory, "instance");
		if (result != 0) {
			shm_explain(error, "%s/instance: cannot rename: %s", next, strerror(-result));
			segment_detach(page);
		}
	}
	(void)folder_unlink(next, "instance");
	(void)folder_remove(next);
	return result;
}

void segments_set_draining(struct segments *segments)
{
	struct instance_page *page = segments->page.body;
	if (page != NULL)
		atomic_store_explicit(&page->draining, 1, memory_order_release);
}

void segments_set_ended(struct segments *segments)
{
	struct instance_page *page = segments->page.body;
	if (page != NULL)
		atomic_store_explicit(&page->ended, 1, memory_order_release);
	/* Pairs with the fence of life_committed. */
	atomic_thread_fence(memory_order_seq_cst);
}

static void set_replaced(const struct segment *page)
{
	if (page->body != NULL)
		atomic_store_explicit(&((struct instance_page *)page->body)->replaced, 1,
		                      memory_order_release);
}

static int publish(struct segments *segments, const struct plan *plan, struct shm_error *error)
{
	int result = 0;
	bool fits = segments->old != NULL && plan_fits_page(plan, segments->old);
	if (segments->old != NULL && segments->page.body == NULL)
		result = segment_attach(&segments->page, segments->directory, "instance", SEGMENT_INSTANCE,
		                        SEGMENT_WRITE, error);
	if (result == 0 && !fits) {
		struct segment page = {0};
		result = replace_page(segments, plan, &page, error);
		if (result == 0) {
			copy_metrics(&page, &segments->page);
			set_replaced(&segments->page);
			segment_detach(&segments->page);
			segments->page = page;
		}
	}
	if (result != 0)
		return result;
	struct instance_page *page = segments->page.body;
	say_who_runs_it(segments, page);
	atomic_store(&page->draining, 0);
	atomic_store(&page->ended, 0);
	copy_page(segments, page);
	return 0;
}

void segments_count(struct segments *segments, enum supervisor_metric metric, uint64_t n)
{
	struct instance_page *page = segments->page.body;
	if (page != NULL && n != 0)
		ledger_add(&page->supervisor_metric[metric], n);
}

/* ---- all of it ---- */

static void remove_files(const char *directory, bool keep_lock)
{
	DIR *folder = folder_list(directory);
	struct dirent *entry;
	char path[FOLDER_PATH_MAX];
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    (keep_lock && strcmp(entry->d_name, "lock") == 0))
			continue;
		if (strcmp(entry->d_name, NEXT_DIRECTORY) == 0) {
			snprintf(path, sizeof path, "%s/" NEXT_DIRECTORY, directory);
			remove_files(path, false);
			(void)folder_remove(path);
		} else {
			(void)folder_unlink(directory, entry->d_name);
		}
	}
	if (folder != NULL)
		closedir(folder);
}

static int create_first(struct segments *segments, struct shm_error *error)
{
	remove_files(segments->directory,
	             true); /* left by a life that died between its first file and its page */
	while (segments->generation == 0)
		if (getrandom(&segments->generation, sizeof segments->generation, 0) < 0 && errno != EINTR)
			segments->generation = clock_real_ns();
	return segment_create(segments->directory, "drops", SEGMENT_DROPS, segments->generation,
	                      sizeof(struct drops_page), NULL, NULL, error);
}

/* Cuts the name of a private segment's file down to its role; false for other files. */
static bool is_private(char *name)
{
	static const char suffix[] = ".private";
	size_t length = strlen(name);
	if (length < sizeof suffix || name[0] == '.' || strcmp(name + length - strlen(suffix), suffix) != 0)
		return false;
	name[length - strlen(suffix)] = '\0';
	return true;
}

/* Roles that the plan no longer has leave nothing that a later end would wait for. */
static void retire_roles(struct segments *segments, const struct plan *plan)
{
	struct dirent *entry;
	DIR *folder = folder_list(segments->directory);
	while (folder != NULL && (entry = readdir(folder)) != NULL)
		if (is_private(entry->d_name) && plan_role_index(plan, entry->d_name) < 0)
			drop_private(segments, entry->d_name, "the configuration no longer has it");
	if (folder != NULL)
		closedir(folder);
}

int segments_apply(struct segments *segments, const struct plan *plan, struct shm_error *error)
{
	int result = segments->old == NULL
	                     ? create_first(segments, error)
	                     : segments_check_generation(segments, "drops", SEGMENT_DROPS, error);
	for (unsigned i = 0; result == 0 && i < plan->n_topics; i++)
		result = apply_topic(segments, plan, i, error);
	for (unsigned i = 0; result == 0 && i < plan->n_queues; i++)
		result = queues_apply(segments, plan, i, error);
	for (unsigned i = 0; result == 0 && i < plan->n_roles; i++)
		result = apply_role(segments, plan, &plan->role[i], error);
	if (result == 0)
		result = publish(segments, plan, error);
	if (result == 0)
		retire_roles(segments, plan);
	segments_count(segments, SUPERVISOR_roles_given_up, segments->given_up);
	segments_count(segments, SUPERVISOR_dropped_buffers, segments->dropped_buffers);
	segments->given_up = segments->dropped_buffers = 0;
	return result;
}

uint64_t segments_waiting(const struct segments *segments, FILE *text)
{
	uint64_t waiting = queues_waiting(segments, text);
	for (unsigned i = 0; segments->old != NULL && i < segments->old->n_topics; i++) {
		const struct instance_topic *topic = &segments->old->topic[i];
		for (unsigned lane = 0; lane < topic->n_lanes; lane++) {
			struct lane_file_state state;
			struct shm_error error;
			if (lane_file_look(segments->directory, topic->name, lane, &state, &error) != 0 ||
			    state.waiting_bytes == 0)
				continue;
			/* a damaged count must not make waiting bytes look like nothing */
			waiting += state.waiting_records == 0 ? 1 : state.waiting_records;
			if (text != NULL)
				fprintf(text, "%s lane %u group %s: %llu records\n", topic->name, lane,
				        state.slowest, (unsigned long long)state.waiting_records);
		}
	}
	return waiting;
}

unsigned segments_unfinished(const struct segments *segments)
{
	struct dirent *entry;
	unsigned n = 0;
	DIR *folder = folder_list(segments->directory);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		if (!is_private(entry->d_name) || segments_role_is_clean(segments, entry->d_name))
			continue;
		log_warn("did not end in order: its next process goes on with the events it received",
		         "role=%s", entry->d_name);
		n++;
	}
	if (folder != NULL)
		closedir(folder);
	return n;
}

int segments_remove(struct segments *segments)
{
	segment_detach(&segments->page);
	(void)segment_destroy(segments->directory, "instance");
	remove_files(segments->directory, true);
	in_force_remove_secrets(segments->directory);
	(void)folder_unlink(segments->directory, "lock");
	return folder_remove(segments->directory);
}

void segments_fini(struct segments *segments)
{
	segment_detach(&segments->page);
	free(segments->old);
	segments->old = NULL;
}
