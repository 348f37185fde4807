/* A snapshot of all figures that an instance has in shared memory.
 *
 *     /dev/shm/millrace/<instance>/ --snapshot_open--> mapped read-only --snapshot_take--> struct snapshot (plain numbers)
 *
 * It creates, locks and writes nothing, and delays no stage. Stages may start and die meanwhile: a
 * snapshot leaves out missing parts. It reads lanes while their writers work, and each lane until
 * two readings in a row agree (a few tries). So a lane's ledger adds up when its writer pauses
 * between two batches for a few microseconds.
 *
 * The age of the oldest event that waits for a group is in the event: it is copied out of the
 * lane's file at the group's cursor, and counts when the writer cannot have overwritten it by then
 * (the argument of optional readers in shm/stream.h). A group that moves on meanwhile had it to
 * read when the snapshot began.
 *
 * The numbers of one lane agree with each other. Those of different lanes are a few microseconds
 * apart.
 */
#ifndef LOOK_SNAPSHOT_H
#define LOOK_SNAPSHOT_H

#include "shm/instance.h"
#include "shm/queue.h"
#include "stage/control.h"
#include "stage/supervisor_metrics.h"

/* A metric of a stage. For a histogram, value is the number of values counted. */
struct snapshot_metric {
	struct metric_description about; /* its texts end with 0 */
	uint64_t value;
	uint64_t sum; /* of a histogram's values */
	uint64_t bucket[METRIC_BOUNDS_MAX +
	                1]; /* values up to each bound, not up to the one before; last: above all */
};

struct snapshot_stage {
	char name[SHM_NAME_MAX]; /* role: "tally.0" */
	char program[SHM_NAME_MAX];
	bool present; /* it has a control block; otherwise only name and program are set */
	bool alive;   /* some process holds the role's lock */
	uint32_t pid; /* of that process, or of the last one */
	enum stage_state state;
	bool throttled; /* its next start is delayed */
	uint64_t restarts;
	int64_t last_exit;   /* wait status, -1 before any */
	uint64_t started_ns; /* CLOCK_REALTIME */
	uint64_t heartbeat_age_ns;
	char note[CONTROL_NOTE_BYTES]; /* a line for people, printable ASCII; "" when it has none */
	unsigned n_files;
	struct control_file file[CONTROL_FILES_MAX]; /* named by its options */
	unsigned n_metrics;
	struct snapshot_metric metric[METRICS_MAX];
};

struct snapshot_group {
	char name[SHM_NAME_MAX];
	bool required;
	bool lapsed;         /* was required, and nobody read it for too long (topic_group_lapse) */
	bool configured;     /* a stage's */
	uint32_t reader_pid; /* 0: it has no reader now */
	uint64_t read_records, missed_records;
	uint64_t waiting_records, waiting_bytes;
	uint64_t damaged;
	/* since the oldest event that waits in the lane arrived in the instance; 0 when none waits,
	 * SNAPSHOT_NO_AGE when it does not say (an outside program's, or overwritten meanwhile) */
	uint64_t oldest_age_ns;
};

#define SNAPSHOT_NO_AGE UINT64_MAX

/* The ledger as plain numbers: of a lane, or the sum over a topic's lanes. */
struct snapshot_ledger {
	uint64_t received, kernel_dropped, dropped, refused, written;
	uint64_t rejected[LEDGER_REASON_COUNT];
};

struct snapshot_lane {
	char role[SHM_NAME_MAX]; /* its writer; "": an outside program; "-": no longer any */
	bool present;
	uint64_t size_bytes, written_records, written_bytes;
	struct snapshot_ledger ledger;
	unsigned n_groups;
	struct snapshot_group group[STREAM_GROUPS_MAX];
};

struct snapshot_topic {
	char name[SHM_NAME_MAX];
	enum when_full when_full;
	unsigned n_lanes;
	struct snapshot_lane lane[STREAM_LANES_MAX];
	struct snapshot_ledger ledger;
};

struct snapshot_queue {
	char name[SHM_NAME_MAX];
	bool present;
	uint64_t slot_bytes;
	struct queue_counts counts;
};

struct snapshot {
	uint64_t generation;
	uint64_t taken_ns;   /* CLOCK_MONOTONIC */
	uint64_t created_ns; /* CLOCK_REALTIME, of the instance */
	uint32_t supervisor_pid;
	bool supervisor_alive;
	bool managed; /* a service manager runs the roles; there is no supervisor, and none is missed */
	struct snapshot_metric supervisor_metric[SUPERVISOR_METRIC_COUNT];
	bool draining;
	unsigned n_stages, n_topics, n_queues;
	struct snapshot_stage stage[INSTANCE_ROLES_MAX];
	struct snapshot_topic topic[INSTANCE_TOPICS_MAX];
	struct snapshot_queue queue[INSTANCE_QUEUES_MAX];
};

/* An instance, mapped for reading. The fields are private. */
struct snapshot_source {
	char name[SHM_NAME_MAX];
	char directory[128];
	/* of the instance page's file: another file is another life of the instance */
	uint64_t device, inode;
	struct segment page;
	struct segment stage[INSTANCE_ROLES_MAX];
	struct segment group[INSTANCE_TOPICS_MAX][STREAM_GROUPS_MAX];
	struct queue queue[INSTANCE_QUEUES_MAX];
	/* kept open: closing it would drop a lock that this process may hold on it */
	int role_file[INSTANCE_ROLES_MAX];
	int supervisor_file;
	const struct stream_shared *lane[INSTANCE_TOPICS_MAX][STREAM_LANES_MAX];
};

/* Maps the instance. Returns 0; -ENOENT when it is not running; otherwise as segment_attach, with
 * the reason in error. The struct is large: do not put it on the stack. */
int snapshot_open(struct snapshot_source *source, const char *instance, struct shm_error *error);

/* Takes a snapshot. Follows an instance that was ended and started again. Returns 0, or as
 * snapshot_open when the instance has gone. struct snapshot takes some megabytes: allocate it. */
int snapshot_take(struct snapshot_source *source, struct snapshot *snapshot, struct shm_error *error);

void snapshot_close(struct snapshot_source *source);

/* Is there somebody who starts again what dies? */
static inline bool snapshot_supervised(const struct snapshot *snapshot)
{
	return snapshot->supervisor_alive || snapshot->managed;
}

/* The stage's metric of this name, or NULL. */
const struct snapshot_metric *snapshot_metric_find(const struct snapshot_stage *stage, const char *name);

/* True when a required group reads the topic. If none does, new events overwrite old ones and
 * writers never wait. */
bool snapshot_kept(const struct snapshot_topic *topic);

/* The group of an outside program that has no reader and so leaves the topic's writers little or no
 * room. NULL when there is none. */
const struct snapshot_group *snapshot_forgotten(const struct snapshot_topic *topic);

/* received == sum of rejected + dropped + refused + written. */
bool snapshot_balanced(const struct snapshot_ledger *ledger);

/* Sum of rejected over all reasons. */
uint64_t snapshot_rejected(const struct snapshot_ledger *ledger);

/* The first bucket of a histogram up to which `percent` (0 to 100) of its values are counted. The
 * bucket at n_bounds has no upper bound. */
unsigned snapshot_percentile(const struct snapshot_metric *metric, double percent);

/* "running", "starting" ... as stage_state_name; "dead": it did not end, but no live process holds
 * its lock; "throttled": dead, and its next start is delayed because it died too often; "none":
 * never started. */
const char *snapshot_state(const struct snapshot_stage *stage);

#endif
