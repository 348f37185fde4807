/* The sandbox of a stage: what a process may still do once its own code can no longer be trusted.
 *
 *     configuration --\
 *     sandbox.def -----+--> sandbox_enter --> init --> sandbox_close --> [ poll ... sandbox_tick ]
 *     (a row a stage) /     no new privileges,          system calls
 *                           no capability, no dump,
 *                           paths, ports, signals
 *
 * Paths, ports and signals (Landlock, landlock.h) and capabilities belong to a thread and those
 * that it starts, and init starts threads. So they are taken away before init, which then opens
 * what it needs by the same rules as the loop does later: a rule that is too narrow shows at the
 * start. The filter of system calls (calls.h) is put on all threads at once, after init: setting
 * up a ring of io_uring, for one, is refused from then on, and before init to a stage that has no
 * SANDBOX_RING. The rings themselves are restricted to a few operations when they are made
 * (ingest/uring.h).
 *
 * What a stage may open:
 *
 *     read    what every program reads (/usr, the time zone, certificates of authorities), the files that its options
 *             name: the folder with all in it, for a file that is replaced by another; only the file
 *             when it lies in a folder such as /etc or /tmp that is everybody's; the instance's folder, not that of its
 *             secrets beside it (instance.h), which it has read before
 *     write   what its role writes in the instance's folder, file by file (written.h); data_dir or further folders
 *             where its row says so
 *
 * The option `sandbox`: auto takes what the kernel has, and says what it lacks; on refuses to start
 * when anything is missing; off takes nothing away. A build with a sanitizer keeps paths, system
 * calls and dumps whatever the option says, because the sanitizer's own work at the end of the
 * process (it traces it, and starts another program) would be refused.
 *
 * A refused system call fails with EPERM, and is counted (metric refused_calls) and logged by name;
 * of a stage with SANDBOX_QUIET (kafka) it only fails.
 * A refused path fails with EACCES, as one without permission does.
 *
 * Landlock's rules are about files and folders, not about names. When what a rule is about was
 * replaced by another of its name (a folder that was made anew, /etc/resolv.conf), the stage ends,
 * and its next life gets rules for what is there now. For the files of options that is so at a
 * reload, before which the supervisor has tried them: a broken one must not end a stage that has a
 * good one.
 */
#ifndef STAGE_SANDBOX_H
#define STAGE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/instance.h"
#include "config/config.h"

/* What a row of sandbox.def can grant besides what every stage has. */
enum sandbox_grant {
	SANDBOX_THREADS = 1 << 0, /* start further threads */
	SANDBOX_CHANGE = 1 << 1,  /* make, rename, remove, cut and sync files */
	SANDBOX_SERVE = 1 << 2,   /* use sockets that it was handed: accept, receive, answer */
	SANDBOX_CONNECT = 1 << 3, /* make sockets and connect them; everything of SERVE */
	SANDBOX_LISTEN = 1 << 4,  /* bind sockets of its own */
	SANDBOX_RING = 1 << 5,    /* use rings of io_uring that stand */
	SANDBOX_CODE = 1 << 6, /* make memory executable: a compiler of expressions, libraries loaded later */
	SANDBOX_MEMORY = 1 << 7,  /* make sealed files in memory */
	SANDBOX_LOOK_UP = 1 << 8, /* read the files of the resolver in /etc */
	SANDBOX_DATA = 1 << 9,    /* write below data_dir */
	SANDBOX_PROC = 1 << 10,   /* read /proc: what other processes cost */
	SANDBOX_SECRET = 1 << 11, /* it holds keys: no core dump, no tracing by its own user */
	/* A library's threads block every signal: a refused call fails there without being
	 * counted. */
	SANDBOX_QUIET = 1 << 12,
};

/* A row of sandbox.def. Keys are in the stage's section; "endpoints[].sign" is each of a list. A
 * stage without a row is granted nothing besides the files that its options name. */
struct sandbox_row {
	const char *stage; /* "deliver" */
	unsigned grants;   /* enum sandbox_grant */
	/* Options of the types STRING and PATH that name files, and variables of the environment
	 * that name a file or a URL. */
	const char *const *read, *const *environment;
	/* Variables of the environment that its process is given besides everybody's; "AWS_*" is
	 * all that begin so (supervisor/environment.h) */
	const char *const *variables;
	/* LISTs of NAME=VALUE, and FILEs with one a line, in which a VALUE that begins with "/"
	 * names a file */
	const char *const *values;
	const char *const *home; /* folders in the home of its user, to read */
	/* Options that name folders, made when they are missing, with all that is in them; a
	 * relative path lies in data_dir. One that must not be made anew: stage_ops.before. */
	const char *const *change;
	/* what it makes in data_dir besides; "tally.*" is all that begin so */
	const char *const *data;
	const char *const *change_beside; /* options that name a file: the folder that it is in */
	const char *const *bind;          /* LISTs of addresses: their ports can be bound */
	/* Options and LISTs of URLs. With any, other ports than theirs and those of DNS, HTTP and
	 * HTTPS cannot be connected to. */
	const char *const *connect;
};

/* The row of a stage, or NULL. Row i in the order of the table, NULL after the last. */
const struct sandbox_row *sandbox_find(const char *stage);
const struct sandbox_row *sandbox_row(unsigned i);

/* Parts of a sandbox, as the gauge `sandbox` shows them. */
enum sandbox_part {
	SANDBOX_PRIVILEGES = 1,   /* no new privileges */
	SANDBOX_CAPABILITIES = 2, /* no capability */
	SANDBOX_CALLS = 4,        /* system calls */
	SANDBOX_PATHS = 8,        /* paths */
	SANDBOX_PORTS = 16,       /* TCP ports */
	SANDBOX_SIGNALS = 32,     /* signals to other processes */
	SANDBOX_ALL = 63,
};

struct sandbox; /* opaque */
struct stage_ops;

/* Where it is: the role in its instance. */
struct sandbox_place {
	const struct instance_page *page;
	const char *directory; /* of the instance */
	const char *role;
};

/* Takes paths, ports, signals and capabilities from this thread, by the configuration's option
 * `sandbox` and the stage's row. section is the stage's ("sinks[2]"). Before any other thread is
 * there. Returns 0 with *sandbox set; -errno with the reason in error, then nothing or a part has
 * been taken: end. */
int sandbox_enter(struct sandbox **sandbox, const struct stage_ops *stage, const struct config *config,
                  const char *section, const struct sandbox_place *place, struct shm_error *error);

/* Takes system calls, from all threads, and logs what is in force and what is missing. There is no
 * way back. Returns 0 or -errno with the reason. */
int sandbox_close(struct sandbox *sandbox, const char *role, struct shm_error *error);

/* What is in force: bits of enum sandbox_part. */
unsigned sandbox_in_force(const struct sandbox *sandbox);

/* Calls that were refused so far; logs each kind of call once. For tick, and before the end. */
uint64_t sandbox_refused(struct sandbox *sandbox);

/* Whether something that a rule is about was replaced: then what it was is in path, and whether the
 * stage writes there in *written. Files of options, and the folders that they are in, are looked at
 * when the supervisor has asked for a reload, having tried them. About ten stat(2). */
bool sandbox_outdated(const struct sandbox *sandbox, bool reloaded, const char **path, bool *written);

/* Only what a process loses that asks whether a stage could start (--check): its capabilities, so
 * that it is refused what the stage would be, and what sandbox_hide takes. */
void sandbox_check(const struct config *config);

/* Of a process that holds secrets and is no stage: no core dump, and other processes of its user
 * cannot look into it (ptrace, /proc/PID/environ, ...). By the option `sandbox`. */
void sandbox_hide(const struct config *config);

/* Frees; what was taken stays taken. NULL is fine. */
void sandbox_free(struct sandbox *sandbox);

#endif
