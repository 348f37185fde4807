/* Users of an instance: one for each kind of stage, so that a stage that is taken over can write
 * what is its own and nothing else.
 *
 *     millrace            owns the instance: its folder, its segments; outside programs (tap, consume) run as it
 *     millrace-KIND       runs the stages of a kind (column `user` of flow/flow.def); has a group of its own name
 *     group millrace          all of them: may look at the instance
 *     group millrace-queues   kinds that put into queues or take from them, and millrace
 *     group millrace-data     kinds that write below data_dir (SANDBOX_DATA, stage/sandbox.def), and millrace
 *
 * millrace is a member of every group, so a process that runs as it can give a file to any of them
 * without a capability. owners.h says who owns which file.
 *
 * The option `users`. auto: they are in force where
 *
 *     root starts an instance    and all of them exist: stages are started as them, the supervisor stays root
 *     millrace makes segments    for a service manager, which starts the stages (managed.h), and is a member of all groups
 *
 * Otherwise, and with off, all is one user's, as it always was.
 */
#ifndef SUPERVISOR_USERS_H
#define SUPERVISOR_USERS_H

#include <sys/types.h>

#include "config/config.h"
#include "flow/flow.h"
#include "shm/segment.h"

#define USERS_OWNER      "millrace"
#define USERS_QUEUES     "millrace-queues"
#define USERS_DATA       "millrace-data"
#define USERS_KINDS_MAX  8u
#define USERS_GROUPS_MAX 32u /* of one user */
#define USERS_NAME_MAX   40u

/* A kind of stage and its user. */
struct users_kind {
	const char *kind;          /* "ingest" */
	char name[USERS_NAME_MAX]; /* "millrace-ingest" */
	char home[256];
	uid_t uid;
	gid_t gid;
	bool queues, data; /* it is a member of these groups */
	/* further groups: those above, and what the system's administrator has added */
	gid_t group[USERS_GROUPS_MAX];
	int n_groups;
};

struct users {
	bool in_force; /* files have owners of their own */
	bool starts;   /* and stages are started as their users */
	uid_t owner;
	gid_t group, queues, data;
	struct users_kind kind[USERS_KINDS_MAX];
	unsigned n_kinds;
	char missing[USERS_NAME_MAX]; /* not in force: the first that there is not; "" when that is not why */
};

/* Looks them up, and decides whether they are in force by the configuration's option `users` (NULL:
 * auto) and by who this process is. managed: it makes segments for a service manager. */
void users_find(struct users *users, const struct config *config, bool managed);

/* Says in the log how stages run, and as root without the users how to make them. */
void users_announce(const struct users *users, const struct config *config);

/* The kind that a program's stages are; NULL: it has none, or the users are not in force. */
const struct users_kind *users_of(const struct users *users, const char *program);

/* True when it is the user that owns instances, whether or not the users are in force. */
bool users_is_owner(uid_t uid);

/* Whose the files of stages may be: of root, of the owner, or of a kind. */
bool users_has(const struct users *users, uid_t uid);

/* In a child, before execve: becomes the user, with its groups, its home and a umask of 0007, for
 * good. What the kernel forgets when a process changes its user (PR_SET_PDEATHSIG) is to be set
 * after it. Does nothing where stages are not started as users (users NULL is fine), or the program
 * has none. Returns 0 or -errno; then the child has to end. */
int users_become(const struct users *users, const char *program);

/* Asks as the user of the program, in a child of its own, whether it has the access (access(2)).
 * Returns 0 or -errno; 0 where stages are not started as users. */
int users_try(const struct users *users, const char *program, const char *path, int access);

#endif
