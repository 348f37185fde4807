/* The supervisor: one per instance. It makes the segments, owns the sockets, starts the stages and
 * watches them.
 *
 *     supervisor_init -> supervisor_run: [ wait for signals -> reap, restart, start, drain, reload ]* -> supervisor_fini
 *
 *     STARTING --all up (or START_PATIENCE_NS a rank)--> UP --SIGTERM, SIGINT--> DRAINING --> end
 *         ^                                              |
 *         '------- new plan applied --- RELOADING <--'--SIGHUP--> CHECKING: the stages are asked whether they could start
 *                                                    '--SIGUSR2--> RENEWING: stages, or all, go on in the installed programs (renew.h)
 *
 * It may die at any moment. Its stages get SIGTERM from the kernel, drain and end; the next
 * supervisor takes over the segments and goes on at the cursors. One thread; sleeps in poll(2) on a
 * signalfd.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "config/config.h"
#include "supervisor/children.h"
#include "supervisor/packets.h"
#include "supervisor/plan.h"
#include "supervisor/request.h"
#include "supervisor/segments.h"
#include "supervisor/sockets.h"
#include "supervisor/trial.h"
#include "supervisor/watch.h"

#define HOME_LOOK_NS NS_PER_SEC
#define START_PATIENCE_NS \
	(10 * NS_PER_SEC) /* how long one rank may take before the next is started all the same */

/* Exit statuses. */
enum supervisor_exit {
	SUPERVISOR_DRAINED = 0,
	SUPERVISOR_CANNOT_START = 1,
	SUPERVISOR_USAGE = 2,
	/* ended, but not everything was drained: the next start goes on from there */
	SUPERVISOR_LEFT = 3,
	SUPERVISOR_LOST = 4, /* its folder in shared memory was removed while it ran */
};

enum supervisor_phase {
	SUPERVISOR_STARTING,
	SUPERVISOR_UP,
	SUPERVISOR_CHECKING,
	SUPERVISOR_RELOADING,
	SUPERVISOR_RENEWING,
	SUPERVISOR_DRAINING
};

/* What the command line says; strings stay the caller's. */
struct supervisor_options {
	const char *config_file; /* NULL: the embedded default */
	const char *instance;    /* NULL: $MILLRACE_INSTANCE, then the configuration */
	const char **sets;       /* "KEY=VALUE" */
	size_t n_sets;
	char **argv;  /* all of it, for the next program */
	bool managed; /* a service manager has sockets and roles (managed.h) */
};

/* What a command has asked for (renew.h). */
struct renew {
	bool upgrade; /* all stages and the supervisor; otherwise some stages */
	enum { RENEW_TRYING, RENEW_STOPPING, RENEW_STARTING } step;
	char role[INSTANCE_ROLES_MAX][SHM_NAME_MAX]; /* in order */
	unsigned n, next;
	unsigned refused;  /* findings of the trial that forbid it */
	bool other_layout; /* the programs have another layout of shared memory */
	bool killed;       /* the role that is being stopped has been killed */
	bool drains;       /* DRAINING is for it: sockets stay as they are, and another program goes on */
	pid_t old_pid;
	uint64_t step_begun_ns, deadline_ns;
};

struct handover;

struct supervisor {
	struct supervisor_options options;
	char cwd[4096]; /* relative paths mean this one */
	struct config *config;
	struct plan *plan;
	struct users users;
	struct segments segments;
	struct sockets sockets;
	struct sockets sockets_before; /* as they were when the last SIGHUP came */
	struct packets *packets;       /* NULL before all else is made */
	struct children children;
	struct watch watch;
	int lock, guard, signals; /* descriptors; lock, guard: home.h */
	bool made_root;           /* this process created the folder that the instances are in */
	bool fresh; /* no earlier life left segments: what is there is this process's to remove */
	enum supervisor_phase phase;
	uint64_t log_counted; /* of log_dropped, in the page already */
	int rank;             /* STARTING: counts down; DRAINING: counts up */
	uint64_t rank_deadline_ns;
	bool announced; /* everything was up once */
	/* CHECKING, RELOADING */
	struct trial trial;
	unsigned reload_refused; /* findings of it that refuse the reload */
	struct config *next_config;
	struct plan *next_plan;
	bool reload_wanted;
	bool reload_asked; /* by a command, which waits for the end of it */
	/* RENEWING */
	struct requests requests;
	struct renew renew;
	bool request_wanted;       /* SIGUSR2 came */
	char program[4096];        /* path of the supervisor's program */
	struct handover *handover; /* NULL: this program was started, not handed anything */
	/* DRAINING */
	bool end_wanted, hurry;
	uint64_t drain_begun_ns;
	uint64_t drain_deadline_ns;
	bool killed;
	bool writers_stay; /* said that outside writers have not left */
	/* its folder */
	uint64_t home_look_ns; /* when to look again whether it is in place */
	bool lost;             /* it is not: nothing can be started or kept any more */
};

/* Loads the configuration of the command line (and of the environment), with absolute paths.
 * Returns it, or NULL with every error, one a line, in *errors (malloced). */
struct config *supervisor_load(const struct supervisor *supervisor, char **errors);

/* Everything up to the first fork. Returns 0 or SUPERVISOR_CANNOT_START, having said why; then
 * nothing that it made is left. */
int supervisor_init(struct supervisor *supervisor, const struct supervisor_options *options);

/* Runs until everything has ended. Returns the exit status. */
int supervisor_run(struct supervisor *supervisor);

void supervisor_fini(struct supervisor *supervisor);

/* Writes what the folder says of the configuration in force (in_force.h), and gives every file to
 * its owner. Returns 0 or -errno. */
int supervisor_write_in_force(const struct supervisor *supervisor, struct shm_error *error);

/* Makes the segments what the plan in force says, and the same. Returns 0 or -errno. */
int supervisor_put_in_force(struct supervisor *supervisor, struct shm_error *error);

/* Adds the roles of the plan that are not there yet to the children, with the sockets and the
 * packets that are theirs. Returns 0 or -errno. */
int supervisor_add_children(struct supervisor *supervisor, struct shm_error *error);

/* Says which packets are taken from which interfaces, and how. */
void supervisor_announce_packets(const struct supervisor *supervisor);

/* Closes the sockets that the plan in force does not have, and forgets what is kept of them. */
void supervisor_close_unused(struct supervisor *supervisor);

/* Takes options of the supervisor itself from the configuration. */
void supervisor_take_options(struct supervisor *supervisor, const struct config *config);

/* Looks, when it is time for it, whether the instance's folder is in place. When it is not: says
 * so, and begins a drain in which nothing is started again; stages finish with the memory that they
 * have mapped. */
void supervisor_look_at_home(struct supervisor *supervisor, uint64_t now_ns);

/* Enters STARTING: whatever is DOWN and not stopping starts, highest rank first. */
void supervisor_begin_start(struct supervisor *supervisor, uint64_t now_ns);

#endif
