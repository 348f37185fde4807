/* Segments of an instance: made, taken over, changed, removed. The one place that creates them.
 *
 *     nothing there ------------> create all, publish the page last
 *     left by an earlier life ---> what has data keeps its place; what is new is added; then the page, when it differs, is
 *                                 written anew and renamed over the old one, whose `replaced` becomes 1: a process
 *                                 that still has that one mapped takes the new one (instance_follow) or attaches anew
 *
 * A file that the page in force does not name does not exist: it was left by a supervisor that died
 * half-way, and is replaced.
 */
#ifndef SUPERVISOR_SEGMENTS_H
#define SUPERVISOR_SEGMENTS_H

#include "shm/topic.h"
#include "stage/supervisor_metrics.h"
#include "supervisor/plan.h"

struct segments {
	char directory[128];
	uint64_t generation;
	bool adopted;                       /* they were there before this process */
	struct instance_page *old;          /* copy of the page in force; NULL: none */
	struct segment page;                /* the page in force, writable; zero before segments_apply */
	bool managed;                       /* a service manager runs the roles: the page says so */
	uint64_t given_up, dropped_buffers; /* by segments_apply, not yet in its metrics */
};

/* Looks at what is in the directory. Returns 0, also when nothing is there (old is NULL then);
 * -EPROTO when it was made by another build, with the remedy in error; other -errno. */
int segments_look(struct segments *segments, const char *directory, struct shm_error *error);

/* Whether the file system has room for what segments_apply would create. Returns 0, or -ENOSPC with
 * the numbers and the remedy. The plan has been merged with segments->old. */
int segments_check_room(const struct segments *segments, const struct plan *plan, struct shm_error *error);

/* Makes the directory's segments what the plan (merged with segments->old) says, and publishes it.
 * A lane whose size differs is replaced when it is empty and no process is attached; otherwise it
 * stays as it is, with a warning. The stages that the change touches must not run. What a role that
 * is no longer there has left in its private memory is dropped and counted, the memory freed.
 * Returns 0, or -errno with the reason: segments that were in force still are. */
int segments_apply(struct segments *segments, const struct plan *plan, struct shm_error *error);

/* Tells all processes that are attached that the instance is about to end. */
void segments_set_draining(struct segments *segments);

/* Tells them that the memory is given up: what segments_waiting finds after this is all that will
 * ever be there (life.h). */
void segments_set_ended(struct segments *segments);

/* metric += n in the page in force; does nothing before there is one. */
void segments_count(struct segments *segments, enum supervisor_metric metric, uint64_t n);

/* Records that the slowest required groups have not read, over all lanes, and messages in queues;
 * text (NULL: not wanted) is told each such lane and group, and queue: "ip lane 0 group tally: 812
 * records". */
uint64_t segments_waiting(const struct segments *segments, FILE *text);

/* Roles, also those that the configuration no longer has, whose last life did not end in order and
 * whose private memory may hold what they had received and not written. Each is logged. Returns how
 * many. */
unsigned segments_unfinished(const struct segments *segments);

/* Did the role's last life end in order, so that nothing waits in its private memory? */
bool segments_role_is_clean(const struct segments *segments, const char *role);

/* 0 when the segment belongs to the same instance as the page in force, otherwise -errno with the
 * reason and the remedy. */
int segments_check_generation(const struct segments *segments, const char *name, enum segment_kind kind,
                              struct shm_error *error);

/* Removes every file of the instance, the page first and the lock last, its folder of secrets
 * (in_force.h), then the directory. Returns 0 or -errno. */
int segments_remove(struct segments *segments);

/* Unmaps and frees. */
void segments_fini(struct segments *segments);

#endif
