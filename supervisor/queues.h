/* Queues from outside: what is in one, giving an empty one another size, and what the dead had
 * claimed.
 *
 *     slots:  free   filling   ready   taken
 *                       |                 |
 *                       v  queues_repair  v      the role that claimed it is dead
 *                      free             ready
 *                  or ready, where the role had decided to publish all (queue_commit_all)
 *
 * The slots' words alone are read and written, and the laps before messages; a message is never
 * looked at.
 */
#ifndef SUPERVISOR_QUEUES_H
#define SUPERVISOR_QUEUES_H

#include "shm/queue.h"
#include "supervisor/segments.h"

struct queue_state {
	uint64_t slot_bytes;
	struct queue_counts counts;
};

/* Looks at a queue. Returns 0, or -errno with the reason. */
int queues_look(const char *directory, const char *queue, struct queue_state *state, struct shm_error *error);

/* Makes the plan's queue number `index`, or gives the one that is there the size that the plan
 * says: only when it is empty, for its messages stay where they are; otherwise it keeps its size,
 * with a warning. Roles that use the queue must not run when its size changes. Returns 0, or -errno
 * with the reason; then what was there still is. */
int queues_apply(const struct segments *segments, const struct plan *plan, unsigned index,
                 struct shm_error *error);

/* Messages that no stage has dealt with, in all queues of the page in force; text (NULL: not
 * wanted) is told each queue that has some: "queue postback: 12 messages". */
uint64_t queues_waiting(const struct segments *segments, FILE *text);

/* What a role's dead process had claimed: slots that it was filling are free again, or published
 * where it had decided so, messages that it had taken are ready again, and sleepers are woken. The
 * role must have no live process. Logs what it found. */
void queues_repair(const char *directory, const struct plan_role *role);

/* The same for all roles that ever were, on all queues of the page in force, when no stage lives.
 * Returns 0, or -errno with the reason. */
int queues_repair_all(const struct segments *segments, struct shm_error *error);

#endif
