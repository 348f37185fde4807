/* Ports: the inputs and outputs of a stage, from its start to its end.
 *
 *     reads   topics, as a required group --.                .--> writes  a lane of each topic
 *     takes   queues ----------------------+-- the stage ---+
 *                                                            '--> puts    queues
 *
 *     ports_open:  attach --> finish what the last life had begun --> in use
 *                    |          a published redo note is applied, once, and counted; then all is attached anew
 *                    |          slots it was filling are freed, or published where it had decided to (ports_put_all);
 *                    |          messages it had taken are given back or handed out
 *                    '- on failure nothing is held
 *     ports_follow: the supervisor has put another instance page in place (SIGHUP): lanes that came are read too
 *     ports_close
 *
 * The names come from the stage's row in the flow table. Nothing else attaches, recovers or
 * attaches again. Lanes and queues lie in the stage's own memory, so that its hot path reaches them
 * without asking here.
 *
 * The redo note, where a stage commits by one, names its regions: 0 is the private segment, then
 * come the lanes in the order of `writes`, then the groups in the order of `reads`, each under its
 * topic's name, so that the next life may have others or another order. Regions after these are the
 * stage's own, by number.
 *
 *     records of an input --> lane_keep ... stream_pass; ports_note; ports_commit     exactly once: one note for all
 */
#ifndef STAGE_PORTS_H
#define STAGE_PORTS_H

#include "shm/lane.h"
#include "shm/private.h"
#include "shm/queue.h"
#include "shm/topic.h"
#include "config/config.h"
#include "stage/control.h"

#define PORTS_READS_MAX  INSTANCE_TOPICS_MAX
#define PORTS_WRITES_MAX (REDO_REGIONS_MAX - 1)
#define PORTS_QUEUES_MAX INSTANCE_QUEUES_MAX

/* What a stage wants. Lists of names end with NULL; a list of NULL is empty. All of it stays as it
 * is until ports_close. */
struct ports_wanted {
	const struct instance *instance;
	const char *role;         /* "enrich.0" */
	char group[SHM_NAME_MAX]; /* the name under which it reads */
	struct topic_share share; /* of the lanes that it reads; n = 0: all of them */
	/* Topics, at most PORTS_READS_MAX; NULL: those of `listed`, which ports_declare_listed
	 * fills from the configuration. */
	const char *const *reads;
	const char *listed[PORTS_READS_MAX + 1];
	const char *const *writes; /* topics, at most PORTS_WRITES_MAX */
	const char *const *takes;  /* queues; with `puts` at most PORTS_QUEUES_MAX */
	const char *const *puts;   /* queues */
	struct lane *lane;         /* as many as `writes`: lane i becomes that of topic i */
	struct queue *queue;       /* as many as `takes` and then `puts`, in this order */
	/* NULL: the stage commits without a note. One whose note is NULL gets that of the role's
	 * private segment; otherwise the stage has set note and region 0. */
	struct redo *redo;
	/* it finishes what its last life had taken (ports_take_up); else that is given back */
	bool takes_up;
	/* Notes of the last life that were applied are counted here; NULL: nowhere. */
	struct control *control;
	unsigned recovered_notes; /* the metric */
};

struct ports {
	struct ports_wanted wanted;
	const struct instance_page *page; /* that is followed; NULL: the last one is not */
	unsigned n_reads, n_writes, n_takes, n_queues;
	struct topic_reader reader[PORTS_READS_MAX];  /* of topic i of `reads` */
	struct topic_writer writer[PORTS_WRITES_MAX]; /* of topic i of `writes` */
	struct segment private_segment;               /* zero where the stage has its own */
	unsigned role_number;                         /* its claims in queues name it by this */
	uint32_t resume[PORTS_QUEUES_MAX];            /* how far ports_take_up has got */
	uint64_t given_back, dropped, published;      /* claims of the last life in queues */
	_Atomic uint64_t undecided; /* stands for `decided` where there is no private segment */
};

/* What the flow table declares for a role (flow.h): its group, topics and queues. The rest is for
 * the stage to set. format: the value of its entry's option `format`; NULL when it has none. A role
 * that the table does not have gets nothing. */
struct ports_wanted ports_declared(const struct instance *instance, const char *role, const char *format);

/* And reads, of these topics or, for a role of FLOW_ENTRIES, of those that its entry in the
 * configuration names, only those that the instance keeps for its group: a row, or an entry of the
 * embedded default, may name topics that nothing writes. config outlives the ports. */
void ports_declare_listed(struct ports_wanted *wanted, const struct config *config);

/* Attaches all and finishes what the last life of the role had begun. Returns 0, or -errno with the
 * reason in error, and then nothing is held: -ENOENT for what the instance does not have, -EBUSY
 * when another process reads the group (or this share of it), -EINVAL when more is wanted than
 * there is room for; otherwise as segment_attach. */
int ports_open(struct ports *ports, const struct ports_wanted *wanted, struct shm_error *error);

/* Leaves all. What is passed and not settled, and what lies uncommitted in lanes, is as if it had
 * never been. Also for ports that are all zero. */
void ports_close(struct ports *ports);

/* Between two polls, when the instance may have another page: attaches to lanes that came to the
 * topics that are read, and attaches a lane that is written anew when it is another one by now
 * (once its batch is committed). Costs one comparison while the page is the same. Positions, what
 * was passed, and cursors stay. Returns 0, or -errno with the reason, having done what could be
 * done; the next call tries again: -ESTALE when something has changed that only a new life can
 * follow, for which the supervisor starts the stage anew; -EAGAIN, when nothing failed, while a
 * batch in a lane that has to be attached anew is not committed. */
int ports_follow(struct ports *ports, struct shm_error *error);

/* By name; asking for one that was not wanted is our own bug: abort. */
struct topic_reader *ports_reader(struct ports *ports, const char *topic);
struct topic_writer *ports_writer(struct ports *ports, const char *topic);
/* What to sleep on until one of the topics has something new (sleep.h): the words of all readers.
 * Room for SLEEP_WORDS_MAX; returns how many. */
unsigned ports_words(const struct ports *ports, struct sleep_word *word);

struct queue *ports_queue(struct ports *ports, const char *queue);

/* Publishes the n filled slots of the queue, all of them or none, whenever this life may end
 * (queue_commit_all). The stage has no other slots claimed to fill. For ports that are all zero
 * too. Returns as queue_commit_all. */
int ports_put_all(struct ports *ports, struct queue *queue, const struct queue_slot *slot, uint32_t n);

/* Hands out, one a call, the messages of the queue that the last life had taken and not finished;
 * false after the last. Finish each with queue_done or queue_give_back. Before anything else is
 * taken from the queue, and only with takes_up. */
bool ports_take_up(struct ports *ports, const char *queue, struct queue_slot *slot);

/* The words of a private segment that holds the note and nothing else. */
static inline struct private_note *ports_private(const struct ports *ports)
{
	return ports->private_segment.body;
}

/* What was passed in a lane of topic i of `reads` goes into the note of the next commit. */
static inline void ports_note(const struct ports *ports, unsigned i, unsigned lane)
{
	stream_settle_note(&ports->reader[i].lane[lane], ports->wanted.redo, 1 + ports->n_writes + i);
}

/* Commits all lanes, with what the note holds already, as one; the ledger's words with them. */
static inline void ports_commit(const struct ports *ports)
{
	lanes_commit(ports->wanted.lane, ports->n_writes, ports->wanted.redo);
}

#endif
