/* A topic: one kind of event, one lane per writer, up to 16 reader groups.
 *
 *     ingest-udp.0 --> lane 0 --.--> group "tally"  (required: the writers wait for it or drop)
 *     ingest-udp.1 --> lane 1 --+--> group "tap.812" (optional: may be overrun, sees what it missed)
 *
 * A reader takes whole batches, lane after lane in turn, and sleeps on the tails of all lanes. A
 * group is claimed by name and belongs to one process at a time. A required group remains when its
 * process ends (that is the point: the next process goes on at its cursor) until it is forgotten;
 * an optional one goes with it.
 *
 * Who writes what: a lane its writer, a group's page its reader, and nothing else is written. A
 * stage takes the group that the configuration made for it by locking its reader's file, and maps
 * its page alone writable. A program that is no stage looks for its group, or for a free one, under
 * the lock `<topic>.claim`, with all pages mapped read-only, and then maps that one.
 */
#ifndef SHM_TOPIC_H
#define SHM_TOPIC_H

#include "shm/instance.h"
#include "shm/sleep.h"

/* ---- writing ---- */

struct topic_writer {
	struct stream_writer stream;
	struct segment group[STREAM_GROUPS_MAX];
	uint32_t woken[STREAM_GROUPS_MAX]; /* the last sleep of each group that was ended */
	unsigned topic, lane;
	int lock; /* of an outside lane; -1 for a role's, whose lock the stage holds */
};

/* Index of the topic, or -ENOENT with the names there are in error. */
int topic_find(const struct instance *instance, const char *topic, struct shm_error *error);

/* Attaches to the lane of `topic` whose role is `role`. -ENOENT when there is none; otherwise as
 * segment_attach. */
int topic_writer_attach(struct topic_writer *writer, const struct instance *instance, const char *topic,
                        const char *role, struct shm_error *error);

/* Attaches to the first lane of `topic` that is meant for outside programs and that none holds.
 * -EBUSY when all are held. The lane goes on where its last writer left it. */
int topic_writer_attach_outside(struct topic_writer *writer, const struct instance *instance,
                                const char *topic, struct shm_error *error);

void topic_writer_detach(struct topic_writer *writer);

/* Wakes the sleeping readers of the lane; after each stream_commit, or once after several. A full
 * fence and a look at a word of each group; the kernel is asked once for each sleep. */
static inline void topic_ring(struct topic_writer *writer)
{
	bool wake = false;
	/* Pairs with the fence of sleep_begin: it sees the tail, or this sees the sleeper. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		uint32_t asleep = atomic_load_explicit(&writer->stream.group[i]->asleep[writer->lane],
		                                       memory_order_relaxed);
		if ((asleep & 1) == 0 || asleep == writer->woken[i])
			continue;
		writer->woken[i] = asleep;
		wake = true;
	}
	if (__builtin_expect(wake, 0))
		sleep_wake(sleep_low_half(&writer->stream.shared->tail));
}

/* ---- reading ---- */

/* Which lanes of a group a process reads: those whose number leaves `index` when divided by n. */
struct topic_share {
	unsigned index, n;
};

struct topic_reader {
	struct stream_reader lane[STREAM_LANES_MAX];
	struct stream_reader replaced[STREAM_LANES_MAX]; /* of lanes that have another file by now */
	unsigned n_lanes, n_replaced;
	unsigned next_lane;           /* whose turn it is */
	struct segment group_segment; /* writable; all zero for an onlooker */
	struct stream_group *group;   /* in it, or an onlooker's own */
	const struct instance *instance;
	unsigned topic;
	unsigned group_index;
	struct topic_share share; /* lanes of others are all zero */
	bool stage;               /* claims for a stage */
	bool makes;               /* makes the stage's group: for the supervisor */
	bool optional;
	bool made; /* the group did not exist before */
	int lock;  /* says that the group has a live reader; dies with the process */
	/* the lanes that it has, noted before the last look */
	struct sleep_word word[STREAM_LANES_MAX];
	unsigned n_words;
};

/* Claims the group `name` of `topic` for a program that is no stage, and attaches to all its lanes.
 *
 *   GROUP_REQUIRED  the group is made when it does not exist (start says where it begins) and is taken up at its cursors
 *                   when it does (start is ignored).
 *   GROUP_OPTIONAL  a group of this name with a live reader is -EBUSY; one left by a dead reader is made again.
 *
 * Returns 0; -ENOENT no such topic (error lists those there are); -EPERM the group belongs to a
 * stage of the configuration, whether that runs or not; -EBUSY the group has a live reader (error
 * names its pid); -ENOSPC all groups of the topic are in use; -EINVAL the name
 * (segment_name_valid), or an existing group of the other kind; otherwise as segment_attach. The
 * instance must stay attached longer than the reader. */
int topic_reader_attach(struct topic_reader *reader, const struct instance *instance, const char *topic,
                        const char *name, enum group_state kind, enum stream_start start,
                        struct shm_error *error);

/* The same for a stage: takes a group that the configuration made for it (-ENOENT when it made none
 * of this name, -EPERM when an outside program made it). Several processes may read the group
 * together, each its share of the lanes: each lane has a cursor of its own. The caller sees to it
 * that all that run at a time have the same n; {.n = 1} is all lanes. */
int topic_reader_attach_stage(struct topic_reader *reader, const struct instance *instance, const char *topic,
                              const char *name, struct topic_share share, struct shm_error *error);

/* An onlooker: an optional reader without a group, which writes nothing that others have mapped.
 * Nobody sees it, and no writer wakes it: for a process that looks now and then. Otherwise as
 * topic_reader_attach. */
int topic_reader_attach_unseen(struct topic_reader *reader, const struct instance *instance,
                               const char *topic, enum stream_start start, struct shm_error *error);

/* For the supervisor: the group is required no longer, because nobody has read it for too long
 * (GROUP_LAPSED). The next topic_reader_attach as GROUP_REQUIRED makes it required again: it goes
 * on at its cursors, or at the oldest record there is, and counts what it missed. Returns 0;
 * -ENOENT no such required group; -EPERM it belongs to a stage; -EBUSY it has a live reader. */
int topic_group_lapse(const struct instance *instance, const char *topic, const char *name,
                      struct shm_error *error);

#define TOPIC_SHARES_MAX STREAM_LANES_MAX

/* The file that the reader of a share of a group holds locked; share 0 is also that of a reader of
 * all lanes. file has SEGMENT_NAME_MAX bytes and is returned. */
char *topic_reader_file(char *file, const char *topic, unsigned group, unsigned share);

/* Whether a process reads the group, or any share of it: as instance_locked. */
int topic_has_reader(const char *directory, const char *topic, unsigned group);

/* Moves the group's lanes whose bits are set to the tail or to the oldest record there is, which
 * for a required group is the oldest that writers are not permitted to overwrite. Its counts there
 * begin again. For a reader that has the group to itself. If it is killed in between, the next
 * reader finishes the step. */
void topic_reader_restart(struct topic_reader *reader, uint32_t lanes, enum stream_start start);

/* For a stage's reader, when the instance has another page (instance_follow): attaches to the lanes
 * that have come, and again to one whose file was replaced in the moment in which the reader
 * attached (an empty one). Other lanes that it has, what was passed in them, and cursors stay as
 * they are. Returns 0 or -errno as stream_reader_map; what could not be attached is tried by the
 * next call. */
int topic_reader_follow(struct topic_reader *reader, struct shm_error *error);

/* Leaves. A required group stays with its cursors; an optional one is freed. Nothing for a reader
 * that is all zero. */
void topic_reader_detach(struct topic_reader *reader);

/* Frees a required group that has no reader: the writers no longer wait for it. -EBUSY while it has
 * a live reader, -ENOENT, -EPERM for the groups that the configuration made (they belong to
 * stages). */
int topic_group_forget(const struct instance *instance, const char *topic, const char *name,
                       struct shm_error *error);

/* For the supervisor, when the configuration of a running instance changes: makes the required
 * group of a stage in a topic that is there already. It begins with what is written from now on.
 * Does nothing when there is one. -EPERM when an outside program has a group of this name. */
int topic_group_configure(const struct instance *instance, const char *topic, const char *name,
                          struct shm_error *error);

/* And frees one that no stage is to read any more. -ENOENT when there is none that was made for a
 * stage, -EBUSY while it has a reader. */
int topic_group_retire(const struct instance *instance, const char *topic, const char *name,
                       struct shm_error *error);

/* Group `index` of the topic, when it was made for a stage: writes its name and returns true. */
bool topic_group_configured(const char *directory, const char *topic, unsigned index,
                            char name[SHM_NAME_MAX]);

/* True when the topic has a required group of this name, with or without a reader. */
bool topic_has_required(const struct instance *instance, const char *topic, const char *name);

/* Looks at the lanes in turn, once each, and gives the first batch found; *lane is its lane.
 * Returns false when all are empty. Process it, then stream_advance(&reader->lane[*lane], ...) or
 * stream_pass. */
bool topic_peek(struct topic_reader *reader, unsigned *lane, struct record_batch *batch);

/* Sleeps until a writer has committed since the last topic_peek that returned false, at most
 * timeout_ns. True when one has. */
bool topic_wait(struct topic_reader *reader, uint64_t timeout_ns);

/* The words that topic_wait sleeps on, as the last topic_peek that returned false has noted them:
 * for a process that sleeps on further ones. At most STREAM_LANES_MAX; returns how many. */
unsigned topic_reader_words(const struct topic_reader *reader, struct sleep_word *word);

/* ---- creating; supervisor only ---- */

/* Creates the group segments of a topic. required names those that exist from the start
 * (GROUP_REQUIRED, all cursors 0), n_required of them; the others are free. */
int topic_groups_create(const char *directory, const char *topic, uint64_t generation,
                        const char *const *required, unsigned n_required, struct shm_error *error);

#endif
