/* The plan: what a configuration asks for, worked out before anything is created.
 *
 *     configuration --plan_make--> plan --plan_merge--> plan that fits what an earlier life left --> segments, sockets, children
 *                                   |
 *                                   '--> plan_print (millrace check): every segment with its exact bytes
 *
 * The stages come from the flow table (flow/flow.h). A topic exists when a role or an outside lane
 * writes it, a queue when a role puts into it. A stage that reads or takes exists when something
 * that it reads or takes does.
 *
 * The plan touches nothing: no file, no socket.
 */
#ifndef SUPERVISOR_PLAN_H
#define SUPERVISOR_PLAN_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

#include "shm/instance.h"
#include "base/address.h"
#include "config/config.h"
#include "flow/flow.h"
#include "stage/stage.h"

#define PLAN_REQUIRED_MAX  8u
#define PLAN_ADDRESSES_MAX 128u
/* Said of a topic that no required group reads. Its writers never wait, so "accepted" does not mean
 * that a reader will see it. */
#define PLAN_NOBODY_KEEPS "nobody keeps this topic: with no required group, new events overwrite old ones"
#define PLAN_RETIRED_LANE \
	"-" /* lane_role of an outside lane that the configuration no longer has: no program may take it */

/* What the sockets of a listener are for. */
enum plan_sockets {
	PLAN_DATAGRAMS,  /* UDP */
	PLAN_CONNECTIONS /* TCP and Unix sockets that listen */
};

/* One address of one listener. */
struct plan_address {
	char text[ADDRESS_TEXT_MAX]; /* as configured */
	struct sockaddr_storage address;
	socklen_t length;
	enum plan_sockets sockets;
};

/* One entry of ingest.udp or ingest.http. */
struct plan_listener {
	char section[32]; /* "ingest.udp[0]" */
	char protocol[8]; /* "udp", "http" */
	char format[16];  /* "" when the list has none */
	/* "metric, track.raw": topics and queues of its roles, for people */
	char writes[6 * SHM_NAME_MAX];
	enum plan_sockets sockets;
	unsigned processes;
	uint64_t receive_buffer_bytes; /* PLAN_DATAGRAMS */
	/* that packets are taken from (packets.h); "": none, then the next three say nothing */
	char interface[16];
	unsigned frames, frame_bytes;        /* of each process */
	char queues[64];                     /* as configured, for people */
	unsigned backlog;                    /* PLAN_CONNECTIONS */
	unsigned first_address, n_addresses; /* in plan.address */
};

struct plan_topic {
	struct instance_topic page;
	char required[PLAN_REQUIRED_MAX][SHM_NAME_MAX];
	unsigned n_required;
	/* lane that an earlier life left and this configuration does not have */
	bool retired[STREAM_LANES_MAX];
};

struct plan_queue {
	struct instance_queue page;
	bool retired; /* left by an earlier life; no role of this configuration uses it */
};

struct plan_role {
	struct instance_role page;
	/* under which it claims slots of queues (queue.h): its index in the page + 1 */
	unsigned number;
	const struct flow_stage *stage;
	unsigned rank;          /* in the flow (flow_rank) */
	char section[48];       /* "ingest.udp[0]", "tally" */
	int listener;           /* index into plan.listener, or -1 */
	unsigned process;       /* number among the listener's */
	uint64_t private_bytes; /* 0: no private segment */
	unsigned n_queues;
	char queue[INSTANCE_QUEUES_MAX][SHM_NAME_MAX]; /* that it puts into or takes from */
};

struct plan {
	char instance[SHM_NAME_MAX];
	char directory[128]; /* of the segments */
	unsigned n_topics, n_queues, n_roles, n_listeners, n_addresses;
	struct plan_topic topic[INSTANCE_TOPICS_MAX];
	struct plan_queue queue[INSTANCE_QUEUES_MAX];
	struct plan_role role[INSTANCE_ROLES_MAX];
	struct plan_listener listener[INSTANCE_ROLES_MAX];
	struct plan_address address[PLAN_ADDRESSES_MAX];
};

/* Works out the plan. Returns it (plan_free), or NULL with every error, one a line, in *errors
 * (malloced, the caller frees it). Lane sizes are rounded up to powers of two. */
struct plan *plan_make(const struct config *config, char **errors);

void plan_free(struct plan *plan);

/* Fits the plan to what an earlier life left, so that nothing that has data changes its place:
 * topics, lanes and queues that were there keep their indexes, new ones follow, those that the
 * configuration no longer has stay, retired. A retired lane is taken up again when its role comes
 * back. Roles keep their indexes as far as there still are so many roles. Returns 0, or -ENOSPC
 * with the reason when the tables overflow; then the plan is of no more use. */
int plan_merge(struct plan *plan, const struct instance_page *old, struct shm_error *error);

/* The instance page of the plan. draining, supervisor_pid and created_ns are left alone. */
void plan_fill_page(const struct plan *plan, struct instance_page *page);

/* True when the page says what the plan says. */
bool plan_fits_page(const struct plan *plan, const struct instance_page *page);

/* Calls each once for every segment file, with the bytes that it takes. */
void plan_each_segment(const struct plan *plan,
                       void (*each)(void *argument, const char *name, uint64_t file_bytes), void *argument);

/* Sum over all segments. */
uint64_t plan_bytes(const struct plan *plan);

/* Lists stages, listeners, topics, queues, segments and the sum, for people. */
void plan_print(const struct plan *plan, FILE *out);

/* Draws the flow, for people: what comes in at the left, each stage with its number of processes,
 * each topic with its lanes and the groups that keep it, each queue and what takes from it. "-->"
 * is a topic, "==>" a queue. */
void plan_print_flow(const struct plan *plan, FILE *out);

/* The same as a graph in the DOT language of Graphviz. */
void plan_print_dot(const struct plan *plan, FILE *out);

/* One line about a listener at an address, without a line feed: "udp 127.0.0.1:4002 ipevent ->
 * ip". */
void plan_print_listener(const struct plan_listener *listener, const char *address, FILE *out);

/* One line about a queue. */
void plan_print_queue(const struct plan_queue *queue, FILE *out);

/* Index of the role, of the topic, of the queue by name, or -1. */
int plan_role_index(const struct plan *plan, const char *name);
int plan_topic_index(const struct plan *plan, const char *name);
int plan_queue_index(const struct plan *plan, const char *name);

/* True when the role ("tally.0") writes the topic, is its required group. */
bool plan_writes(const struct plan_topic *topic, const char *role);
bool plan_reads(const struct plan_topic *topic, const char *role);

/* "64 MiB" where it is whole, otherwise "70123520 bytes". buffer has 32 bytes and is returned. */
char *plan_size_text(char *buffer, uint64_t bytes);

#endif
