/* A trial: before anything depends on a configuration, or on other programs, each stage of the plan
 * is asked whether it could start with it.
 *
 *     for each section:  PROGRAM --check SECTION [--layout HASH] < configuration   --> findings (stage/file.h) --> say
 *
 * The stage's own program reads the files, so what is tried is what will be done, and a hostile
 * file can hurt no other process. One program at a time, each killed at its deadline.
 *
 *     trial_begin --> trial_go_on --(it runs)--> wait for its end --> trial_ended --> trial_go_on --> ... --(false)--> refused, without
 */
#ifndef SUPERVISOR_TRIAL_H
#define SUPERVISOR_TRIAL_H

#include <sys/types.h>

#include "supervisor/children.h"
#include "supervisor/plan.h"

enum trial_finding {
	TRIAL_REFUSED, /* a stage cannot start */
	TRIAL_WITHOUT, /* it would do without what is in a broken file */
	TRIAL_MISSING, /* a file is not there yet that may come later */
	TRIAL_LAYOUT,  /* it was built for another layout of shared memory (trial.layout) */
	TRIAL_UNSEEN,  /* a credential is not here: taken as good */
	/* this process may not look; the stage's user, which it cannot become, perhaps may */
	TRIAL_DENIED
};

/* role is one of those that the section is for; NULL: the supervisor's own program. */
typedef void trial_say(void *argument, const struct plan_role *role, enum trial_finding finding,
                       const char *text);

/* A process of the section can come to hold so many bytes of ordinary memory. */
typedef void trial_memory(void *argument, const struct plan_role *role, uint64_t bytes);

struct trial {
	const struct config *config;
	const struct plan *plan;
	const char *libexec; /* folder of the programs */
	bool named_only;     /* ask only where an option names a file */
	trial_say *say;
	/* not of interest unless set after trial_begin */
	trial_memory *memory;
	uint64_t layout;           /* segment_layout_hash() of the segments that they would attach */
	const char *only;          /* ask the program of this section alone */
	const char *supervisor;    /* path of the program that would follow this one: ask it, too */
	const struct users *users; /* ask each stage as its user (users_become) */
	void *argument;
	unsigned next; /* role */
	pid_t pid;     /* of the process that is being waited for; 0: none */
	int output;    /* what it prints */
	uint64_t deadline_ns, patience_ns;
	unsigned refused, without; /* findings so far */
};

/* Begins; config, plan, libexec and argument must live as long as the trial. named_only: for a
 * start, which is itself the trial of all that is not named; say is called for each finding, text
 * being "KEY: WHAT". */
void trial_begin(struct trial *trial, const struct config *config, const struct plan *plan,
                 const char *libexec, bool named_only, trial_say *say, void *argument);

/* Starts the next process, or kills one that is past its deadline (CLOCK_MONOTONIC). Returns true
 * while there is one to wait for. */
bool trial_go_on(struct trial *trial, uint64_t now_ns);

/* The process trial->pid has ended with this wait status. */
void trial_ended(struct trial *trial, int status);

/* The same for a process that has children: notes the end of the trial's among them. Returns true
 * while there is something to wait for, until *due_ns at the latest. */
bool trial_among(struct trial *trial, struct children *children, uint64_t now_ns, uint64_t *due_ns);

/* All of it, waiting. */
void trial_run(struct trial *trial);

/* Gives up: kills the process that runs, and waits for it. */
void trial_stop(struct trial *trial);

#endif
