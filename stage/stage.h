/* A stage: one process, one loop, and the functions that the loop calls (struct stage_ops).
 *
 *     init --> [ poll ... poll --(nothing done)--> idle ]* --> fini
 *                  \_ tick, about every 100 ms _/
 *
 *   init  takes what the last life of this role left, attaches, allocates. After it the stage allocates no more per record.
 *   poll  one bounded batch; true when it did something.
 *   tick  slow work: metrics, time-outs, retries; at least every 100 ms while there is work, every 500 ms otherwise.
 *   idle  waits for work, at most timeout_ns; what it waits for is all that stages differ in.
 *   fini  flushes and leaves. Not called after a crash: the next init copes.
 *
 * Those five make a stage. The others are optional: `drained` while it drains, `alone`, `check` and
 * `memory_max` for the command line.
 *
 * SIGTERM (from the supervisor, or from the kernel when the supervisor died) sets `draining`: the
 * stage takes in no more, and the loop ends when poll finds nothing left and `drained` agrees. The
 * signal ends a wait in the kernel with EINTR; one that comes just before the wait is seen when the
 * wait ends, 500 ms later at most. SIGINT and SIGHUP are ignored: the supervisor decides.
 *
 * SIGUSR1 sets `requested`: somebody wishes what this kind of stage offers (a sink finishes what it
 * has open). A stage looks at the flag in poll or tick and clears it before it acts; one that does
 * not look ignores the signal. A signal that comes before the stage is ready is kept for it.
 *
 * A stage's main.c is:
 *
 *     int main(int argc, char **argv) { return stage_main(argc, argv, &tally_stage); }
 *
 * Command line of every stage:
 *
 *     tally --instance NAME --role ROLE [--socket FD]...   as the supervisor starts it: joins the instance
 *           [--frames FD:QUEUE:COUNT]... [--gate FD]       AF_XDP sockets with what they have, and the map of their gates
 *     tally --input FILE [--output FILE] [--set KEY=VALUE] alone: FILE is what it would read, for debugging
 *     tally --check SECTION < config.yaml                  could it start with this configuration? (file.h)
 *     tally --help | --version
 *
 * With --instance it is one process of that role for as long as it holds the lock of <role>.role;
 * it waits 5 s for a predecessor that is just dying.
 *
 * The configuration of a running instance is <directory>/config.yaml; the stage's own secrets lie
 * beside that folder (config_read_secrets), which it is let into until its sandbox is in force.
 */
#ifndef STAGE_STAGE_H
#define STAGE_STAGE_H

#include "shm/instance.h"
#include "base/clock.h"
#include "config/config.h"
#include "stage/control.h"
#include "stage/notify.h"
#include "stage/file.h"
#include "stage/ports.h"

#define STAGE_SOCKETS_MAX 16u
#define STAGE_FRAMES_MAX  16u
#define STAGE_TICK_NS     100000000ull /* while there is work */
#define STAGE_IDLE_NS     500000000ull /* between ticks while there is none */

/* A bound AF_XDP socket that was handed down. In the order of the slices in the private segment
 * (shm/frames.h). */
struct stage_frames {
	int socket;     /* FD */
	unsigned queue; /* of the interface: index of its gate */
	unsigned count; /* of frames, and of the entries of its fill ring and of its RX ring */
};

struct stage {
	const struct stage_ops *ops;
	const char *role;         /* "tally.0" */
	unsigned index;           /* the number after the role's last dot; 0 when it is a name */
	struct instance instance; /* attached */
	struct config *config;
	struct segment control_segment;
	struct control *control;
	int role_lock;
	uint64_t log_counted;          /* of log_dropped, in the control block already */
	uint64_t refused_counted;      /* of sandbox_refused, the same */
	int socket[STAGE_SOCKETS_MAX]; /* handed down, bound, non-blocking */
	unsigned n_sockets;
	struct stage_frames frames[STAGE_FRAMES_MAX];
	unsigned n_frames;
	int holder; /* connection to who handed them (handed.h); -1: the supervisor, or nobody */
	int gate;   /* map of struct frames_gate (shm/frames_gate.h); -1: none, then n_frames is 0 */
	volatile bool draining;  /* set by SIGTERM */
	volatile bool requested; /* set by SIGUSR1, cleared by the stage */
	uint64_t reloads;        /* of the control block, that the sandbox has been looked at for */
	bool outdated;           /* its sandbox is: it ends, for a life with another (sandbox.h) */
	bool out_of_place;       /* because of a folder that it writes in */
	/* the instance's folder is gone: what is taken in now can be lost (loop.h) */
	bool lost;
	uint64_t now_ns; /* CLOCK_MONOTONIC, read once per turn of the loop */
	/* set by a poll that did something and would find nothing if it were called at once: the
	 * loop goes on with idle; cleared before each poll */
	bool rest;
	void *own;                 /* the stage's own state, made by init */
	struct ports *ports;       /* set by init: the loop has them follow the instance's page */
	int not_followed;          /* -errno of the last ports_follow, 0 when all is followed */
	struct sandbox *sandbox;   /* sandbox.h */
	struct stage_files *files; /* that its options name (file.h); NULL: none */
};

struct stage_ops {
	const char *name; /* "tally" */
	const char *help; /* what it does, for --help */
	const struct metric_description *metrics;
	unsigned n_metrics;
	/* Before the sandbox, which makes the folders that options name: refuses to start where one
	 * that is missing must be put back. Starts no thread, keeps nothing. 0 or -errno with the
	 * reason in error. NULL: there is no such folder. */
	int (*before)(const struct stage *stage, struct shm_error *error);
	/* 0 or -errno with the reason in error */
	int (*init)(struct stage *stage, struct shm_error *error);
	bool (*poll)(struct stage *stage);
	void (*tick)(struct stage *stage);
	void (*idle)(struct stage *stage, uint64_t timeout_ns);
	/* while draining, after a poll that did nothing: may the loop end? NULL: yes */
	bool (*drained)(struct stage *stage);
	void (*fini)(struct stage *stage);
	/* The stage alone: reads input (a stream) and writes what it makes of it. Returns the exit
	 * status. NULL: it has none. */
	int (*alone)(const struct config *config, FILE *input, FILE *output);
	/* --check: tries what init opens besides the files, and makes and changes nothing, also
	 * while another process of the role runs. Returns 0, or -errno with "KEY: WHAT" in
	 * error. NULL: it opens nothing else. */
	int (*check)(const struct config *config, const char *section, struct shm_error *error);
	/* Bytes of ordinary memory that a process can come to hold when all its limits are reached;
	 * --check prints it. NULL: nothing worth mentioning. */
	uint64_t (*memory_max)(const struct config *config, const char *section);
	const struct stage_file *files; /* one for each FILE option of its section */
	unsigned n_files;
	/* Where its options begin in the configuration, when it has no row in the flow table (a
	 * test's stage). NULL: its name. */
	const char *section;
};

/* Says that the stage is alive, for init, drained and fini when they take long: the loop says it
 * between polls. */
static inline void stage_heartbeat(struct stage *stage)
{
	uint64_t now_ns = clock_monotonic_ns();
	atomic_store_explicit(&stage->control->heartbeat_ns, now_ns, memory_order_relaxed);
	notify_beat(now_ns);
}

/* The entry of a list of listeners ("ingest.udp") that the stage serves. Roles are numbered through
 * the entries: entry 0 has the first `processes` of them, entry 1 the next. Returns 0, or -EINVAL
 * with the reason when there is none. */
int stage_listener(const struct stage *stage, const char *section, size_t *entry, struct shm_error *error);

/* The part of the configuration that the stage depends on: "enrich", "ingest.http[0]". Returns 0 or
 * -EINVAL with the reason, as stage_listener. */
int stage_section(const struct stage *stage, char *section, size_t size, struct shm_error *error);

/* The whole life of a stage process. Returns its exit status: 0 drained, 1 could not start (one
 * line said why), 2 usage, 3 ended because the instance's folder was gone, 4 ended because its
 * sandbox was outdated: it is to be started again. */
int stage_main(int argc, char **argv, const struct stage_ops *ops);

#endif
