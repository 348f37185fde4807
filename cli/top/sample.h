/* One look at an instance and at its processes: a snapshot (look/snapshot.h), and what that does
 * not tell.
 */
#ifndef CLI_TOP_SAMPLE_H
#define CLI_TOP_SAMPLE_H

#include "look/process.h"
#include "look/snapshot.h"

struct sample {
	struct snapshot snapshot;
	uint64_t real_ns; /* CLOCK_REALTIME */
	struct process_cost supervisor;
	struct process_cost stage[INSTANCE_ROLES_MAX]; /* of snapshot.stage[i], if it lives */
};

/* As snapshot_take. The struct takes some megabytes: allocate it. */
int sample_take(struct snapshot_source *source, struct sample *sample, struct shm_error *error);

#endif
