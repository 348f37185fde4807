/* The flow: which stages there are, what each reads, takes, writes and puts, and what carries it.
 *
 *     flow.def                 one row a stage            .--> supervisor: roles, topics, queues, groups, bytes, order of start and drain
 *     topics.def               one row a topic or queue   +--> a stage's own inputs and outputs
 *     ingest/udp/formats.def   one row a UDP format       +--> millrace check, tap; the documents; the include rules; which tables are built in
 *
 * A topic carries events from every writer to every group: each process that writes it has a lane.
 * A queue carries work from any process that puts to any one process that takes.
 */
#ifndef FLOW_FLOW_H
#define FLOW_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "shm/instance.h"

/* How many processes a stage has. */
enum flow_processes {
	/* For each entry of the configured list `section` as many as its option `processes` says,
	 * given sockets that receive datagrams. */
	FLOW_DATAGRAMS,
	FLOW_CONNECTIONS, /* The same with sockets that take connections. */
	FLOW_ONE,         /* One, while something that it reads or takes exists. */
	/* One, while the option `listen` of its section names an address. It binds its sockets
	 * itself, for it takes in nothing that could be lost; it starts before all others and ends
	 * after them, so that it shows them coming and going. */
	FLOW_LISTENS,
	/* The same, as many as the option `processes` of its section says. They share the lanes
	 * of what they read. */
	FLOW_SHARED,
	/* One for each entry of the list `section`, whose option `topics` says what it reads. Of a
	 * row with `kinds` only for entries of these kinds: several rows then share the list. */
	FLOW_ENTRIES,
};

/* What a stage writes when an entry's option `format` has this value. */
struct flow_format {
	const char *name;
	const char *const *writes;
};

/* Lists of names end with NULL; a list that is NULL is empty. */
struct flow_stage {
	const char *name;    /* of its roles without their numbers, or the names of their entries */
	const char *folder;  /* in the tree */
	const char *program; /* in libexec/millrace */
	/* kind of system user that its processes run as where such users are in force: "ingest" is
	 * millrace-ingest (supervisor/users.h) */
	const char *user;
	enum flow_processes processes;
	const char *section;               /* where its options lie: "ingest.udp", "tally" */
	const char *const *reads;          /* topics, as a required group (flow_group) */
	const char *const *takes;          /* queues that it takes from */
	const char *const *writes;         /* topics, whatever the format */
	const char *const *puts;           /* queues that it puts into */
	const struct flow_format *formats; /* ends with a name of NULL; NULL: it has no option `format` */
	/* Options outside of its section that it reads, too: a reload that changes one restarts
	 * it. */
	const char *const *other_options;
	/* Values of the option `kind` of the entries that it serves. Each entry then has a name,
	 * and its role is "<stage>.<name>". NULL: all entries, numbered by their places. */
	const char *const *kinds;
	/* Body of the private segment of each process, which its next life takes up: private_bytes,
	 * and private_each_bytes for each of the option private_count of its section, and as many
	 * bytes as its option private_size says. 0: none. */
	uint64_t private_bytes;
	const char *private_count;
	uint64_t private_each_bytes;
	const char *private_size;
	/* And the frames of an entry whose option `backend` is xdp (shm/frames.h): of its options
	 * frames and frame_bytes. */
	bool private_frames;
	/* The stage whose processes may ask errands of it (stage/errand.h), and write what they ask
	 * into a segment of their own; NULL: it takes none. */
	const char *errands;
};

/* All stages in flow order; *n is set to their number. */
const struct flow_stage *flow_stages(size_t *n);

/* The stage of that name, or NULL. */
const struct flow_stage *flow_stage_find(const char *name);

/* The stage of a role ("ingest-udp.3", "objects.logs"), or NULL. */
const struct flow_stage *flow_stage_of_role(const char *role);

/* Whether entry i of the stage's list, a row of FLOW_ENTRIES, is one that it serves. */
bool flow_serves(const struct flow_stage *stage, const struct config *config, size_t i);

/* The entry of the stage's list that a role of FLOW_ENTRIES serves; -1 when the configuration has
 * none. */
long flow_entry(const struct flow_stage *stage, const struct config *config, const char *role);

/* Topic i that a process reads whose section is this one ("tally", "sink.objects[1]"), or NULL
 * after the last. */
const char *flow_reads(const struct flow_stage *stage, const struct config *config, const char *section,
                       size_t i);

/* Topics that a process writes, NULL-ended. format: the value of its entry's option `format`, NULL
 * or "" when the stage has none. */
const char *const *flow_writes(const struct flow_stage *stage, const char *format);

/* The required group as which the processes of the stage read: the stage's name, for all processes
 * share the lanes; of FLOW_ENTRIES the role's name, for each reads everything, or the name of the
 * entry where entries have one. Writes it to group and returns it. */
const char *flow_group(const struct flow_stage *stage, const char *role, char group[SHM_NAME_MAX]);

/* Place in the order of start and drain: 0 takes in from outside; of any other stage 1 more than
 * the highest of those that write what it reads or takes. Stages start from the highest down and
 * drain from 0 up. */
unsigned flow_rank(const struct flow_stage *stage);

/* One more than the highest rank. */
unsigned flow_ranks(void);

/* A topic or queue that needs no line in the configuration. */
struct flow_topic {
	const char *name;
	uint16_t type; /* enum event_type of its records */
	bool queue;
	const char *when_full; /* "drop" or "refuse"; "" of a queue */
	const char *help;
};

/* All of them; *n is set to their number. */
const struct flow_topic *flow_topics(size_t *n);

/* enum event_type of the records of a topic or queue; EVENT_NONE: any, for an outside program
 * writes them. */
uint16_t flow_topic_type(const char *topic);

/* for (FLOW_EACH(topic, stage->writes)) puts(*topic); */
#define FLOW_EACH(at, list)             \
	const char *const *at = (list); \
	at != NULL &&at[0] != NULL;     \
	at++

#endif
