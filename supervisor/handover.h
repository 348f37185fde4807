/* Handover: the supervisor's process goes on in another program (execve(2)), which is a newer
 * build of it. What the kernel ties to the process stays: it is the parent of its stages, it holds
 * the instance's lock, and its sockets are open.
 *
 *     handover_exec:  state --> text in memory (memfd) --MILLRACE_HANDOVER=FD, execve--> handover_take --> sockets, lock, children
 *
 *     millrace-handover 1
 *     directory /dev/shm/millrace/default     with lock FD, guard FD, users 1, child ROLE PID: it goes on where it is
 *     socket FD KIND PROCESS PASSED BUFFER BACKLOG DEVICE INODE ADDRESS
 *     answer FD ID                            of the request that is being done
 *
 * Text, because the two programs may be of different builds; a word that the reader does not know
 * is skipped. In place: the new program loads the configuration in force (in_force.h) and finds
 * every role running; nothing is announced again. Otherwise it starts as ever, but with the
 * sockets.
 */
#ifndef SUPERVISOR_HANDOVER_H
#define SUPERVISOR_HANDOVER_H

#include "supervisor/supervisor.h"

#define HANDOVER_VARIABLE "MILLRACE_HANDOVER"

/* A role and its process. */
struct handover_child {
	char role[SHM_NAME_MAX];
	pid_t pid;
};

struct handover {
	bool in_place;
	char directory[128];
	struct handover_child child[INSTANCE_ROLES_MAX];
	unsigned n_children;
	bool users; /* they are started as users of their own (users.h) */
};

/* Becomes supervisor->program, with the arguments of this one. in_place: with lock and children,
 * otherwise without them, after they have ended. Returns only on failure, with -errno; then
 * everything is as it was. */
int handover_exec(struct supervisor *supervisor, bool in_place);

/* At the start: takes what another program handed over, if one did: sockets, answer, lock. The
 * children are in supervisor->handover. Returns 0, or -EPROTO with the reason. */
int handover_take(struct supervisor *supervisor, struct shm_error *error);

/* The roles that have been handed over, once they are in the table of children. */
void handover_adopt(struct supervisor *supervisor, uint64_t now_ns);

#endif
