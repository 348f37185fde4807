/* Children: one process per role, started, watched, started again.
 *
 *                    .------------------- starts again --------------------.
 *                    v                                                     |
 *     DOWN --start--> STARTING --state RUNNING--> UP --death--> (delay 0?) WAITING
 *       ^                | death                   |
 *       |                '-----------------------> |
 *       '------------- ended after children_stop --'
 *
 * The first death is answered at once. A role that keeps dying within QUICK_DEATH_NS of its start
 * waits restart_backoff, then twice as long each time, up to restart_backoff_max; its control block
 * says `throttled` meanwhile. A life longer than GOOD_LIFE_NS forgets that.
 *
 * What the dead had claimed in queues is repaired at once (queues.h), but for a role that takes
 * from them: its next life finishes what it had taken, if it comes soon. Nobody waits for the dead
 * longer than CLAIMS_KEPT_NS and one start: when the next life is to begin later, or never, or the
 * last one died before it ran, the messages are given back for others to take. The rest the next
 * life repairs.
 *
 * children_stop asks a role to end (SIGTERM, once it runs). One that dies of something else on the
 * way is started up to STOP_TRIES times more, so that it can finish what it had taken in.
 *
 * A role that another process asked to end (exit status 0, or SIGTERM before it could handle it)
 * did not die: SIGTERM may have gone to the whole process group, or to all of a service, and the
 * supervisor gets its own in a moment. The role waits UNASKED_PAUSE_NS before it is started again.
 * After children_ending it is DOWN, and the drain or the reload starts it once more if it has left
 * something (children_finish).
 */
#ifndef SUPERVISOR_CHILDREN_H
#define SUPERVISOR_CHILDREN_H

#include <sys/types.h>

#include "supervisor/plan.h"
#include "supervisor/users.h"
#include "base/clock.h"
#include "stage/control.h"

#define QUICK_DEATH_NS   (2 * NS_PER_SEC)
#define GOOD_LIFE_NS     (10 * NS_PER_SEC)
#define STOP_TRIES       3u
#define START_TIMEOUTS   6u /* a start may last this many stage_timeouts: it may read a large database */
#define UNASKED_PAUSE_NS (200 * NS_PER_MS)
#define CLAIMS_KEPT_NS   NS_PER_SEC

enum child_phase { CHILD_DOWN, CHILD_STARTING, CHILD_UP, CHILD_WAITING };

/* What a role gets besides its sockets to take packets of an interface (packets.h). */
struct child_packets {
	struct stage_frames frames[STAGE_FRAMES_MAX];
	unsigned n;
	int gate;                                   /* descriptor of the map; -1: there is none */
	unsigned long long *open[STAGE_FRAMES_MAX]; /* the word of each queue's gate */
};

struct child {
	struct plan_role role;
	struct segment control_segment;
	struct control *control; /* the supervisor's words of it are written here */
	int socket[STAGE_SOCKETS_MAX];
	unsigned n_sockets;
	struct child_packets packets;
	enum child_phase phase;
	bool stopping;          /* children_stop was called */
	bool asked;             /* SIGTERM was sent to this life */
	bool killed;            /* SIGKILL was sent to this life by children_kill */
	bool unasked;           /* WAITING or DOWN: another process's SIGTERM ended its last life */
	bool claims;            /* WAITING: what its last life had taken from queues is for the next */
	bool changing;          /* a new configuration changes or removes it (reload.h) */
	unsigned stop_tries;    /* lives begun since then */
	bool finished;          /* it got one more life to finish (children_finish) */
	pid_t pid;              /* while STARTING or UP */
	uint64_t started_ns;    /* CLOCK_MONOTONIC */
	uint64_t restart_at_ns; /* while WAITING */
	unsigned quick_deaths;  /* in a row */
};

struct children {
	struct child child[INSTANCE_ROLES_MAX];
	unsigned n;
	char directory[128]; /* of the segments */
	char instance[SHM_NAME_MAX];
	char libexec[256];         /* where the programs are */
	const struct users *users; /* as whom they are started (users_become); NULL: as this one */
	uint64_t backoff_ns, backoff_max_ns;
	uint64_t stage_timeout_ns; /* 0: heartbeats are not watched */
	bool ending;               /* children_ending was called */
	bool start_none;           /* children_start_none was called */
	struct {
		pid_t pid;  /* 0: none */
		bool ended; /* children_step has reaped it */
		int status; /* wait status */
	} guest;            /* a process of the supervisor's that is no stage (reload.h) */
};

/* The folder of the stage programs: $MILLRACE_LIBEXEC, or that of the running program. Returns 0 or
 * -errno. */
int children_find_libexec(struct children *children, struct shm_error *error);

/* 0 when the program of the role can be executed, also by the user as which it is started,
 * otherwise -errno with the path in error. */
int children_check_program(const struct children *children, const char *program, struct shm_error *error);

/* From now on nothing is started again: a role that is dead is DOWN. */
void children_start_none(struct children *children);

/* Adds a role, DOWN; its control segment exists. fd, n of them, are its sockets. Returns 0 or
 * -errno with the reason. */
int children_add(struct children *children, const struct plan_role *role, const int *fd, unsigned n,
                 struct shm_error *error);

/* Hands these to the last role that was added, too. Their gates are closed whenever it dies: what
 * comes while it does not live goes to its sockets. */
void children_hand_packets(struct children *children, const struct child_packets *packets);

/* Removes a role that is DOWN. */
void children_remove(struct children *children, unsigned index);

/* Index of a role, or -1. */
int children_index(const struct children *children, const char *role);

/* Starts a role that is DOWN. What fails counts as a death. */
void children_start(struct children *children, unsigned index, uint64_t now_ns);

/* Asks a role to end; nothing to do when it is DOWN. */
void children_stop(struct children *children, unsigned index, uint64_t now_ns);

/* Another life, in order, for a role that children_stop or children_kill has brought DOWN: on the
 * program that is there now. Counts as a restart; earlier quick deaths are forgotten. */
void children_start_again(struct children *children, unsigned index, uint64_t now_ns);

/* The process is this role's, and already a child of this one: another program ran in it when it
 * was started (handover.h). The role is DOWN. */
void children_adopt(struct children *children, unsigned index, pid_t pid, uint64_t now_ns);

/* All is about to end: a role that another process ends, now or later, is not started again. */
void children_ending(struct children *children);

/* One more life for a role that is DOWN, which is asked to end as soon as it runs. */
void children_finish(struct children *children, unsigned index, uint64_t now_ns);

/* SIGKILL for a role that is not DOWN, once, and no new life. */
void children_kill(struct children *children, unsigned index);

/* Reaps the dead and answers deaths, notices which roles have come up, starts those that are due,
 * kills those whose heartbeat stopped. Call it when SIGCHLD came and when children_due says. */
void children_step(struct children *children, uint64_t now_ns);

/* When children_step has something to do next (CLOCK_MONOTONIC ns; UINT64_MAX: nothing is due). Ask
 * last in a turn: each start and each stop changes it. */
uint64_t children_due(const struct children *children, uint64_t now_ns);

/* Whether all roles of a rank (or all: rank -1) are UP, are DOWN. */
bool children_all(const struct children *children, int rank, enum child_phase phase);

void children_fini(struct children *children);

#endif
