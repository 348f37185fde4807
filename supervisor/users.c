#include "supervisor/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/log.h"
#include "stage/sandbox.h"

#define ENTRY_BYTES  16384u /* of one entry of the databases of users and groups */
#define STAGES_UMASK 0007

/* ---- looking up ---- */

static bool find_user(const char *name, uid_t *uid, gid_t *gid, char *home, size_t home_size)
{
	char room[ENTRY_BYTES];
	struct passwd entry, *found = NULL;
	if (getpwnam_r(name, &entry, room, sizeof room, &found) != 0 || found == NULL)
		return false;
	*uid = entry.pw_uid;
	*gid = entry.pw_gid;
	if (home != NULL)
		snprintf(home, home_size, "%s", entry.pw_dir);
	return true;
}

static bool find_group(const char *name, gid_t *gid)
{
	char room[ENTRY_BYTES];
	struct group entry, *found = NULL;
	if (getgrnam_r(name, &entry, room, sizeof room, &found) != 0 || found == NULL)
		return false;
	*gid = entry.gr_gid;
	return true;
}

static bool is_missing(struct users *users, const char *name)
{
	snprintf(users->missing, sizeof users->missing, "%s", name);
	return false;
}

static bool in(const gid_t *group, int n, gid_t gid)
{
	for (int i = 0; i < n; i++)
		if (group[i] == gid)
			return true;
	return false;
}

static void join(struct users_kind *kind, gid_t gid)
{
	if (!in(kind->group, kind->n_groups, gid) && kind->n_groups < (int)USERS_GROUPS_MAX)
		kind->group[kind->n_groups++] = gid;
}

/* Membership as the tables say it, whether or not the database of groups does. */
static void join_groups(const struct users *users, struct users_kind *kind)
{
	kind->n_groups = USERS_GROUPS_MAX;
	if (getgrouplist(kind->name, kind->gid, kind->group, &kind->n_groups) < 0)
		kind->n_groups = 0; /* more than there is room for: those that it needs */
	join(kind, kind->gid);
	join(kind, users->group);
	if (kind->queues)
		join(kind, users->queues);
	if (kind->data)
		join(kind, users->data);
}

static bool find_kind(struct users *users, struct users_kind *kind)
{
	gid_t group;
	if (!find_user(kind->name, &kind->uid, &kind->gid, kind->home, sizeof kind->home) ||
	    !find_group(kind->name, &group))
		return is_missing(users, kind->name);
	kind->gid = group;
	join_groups(users, kind);
	return true;
}

/* The kinds of the flow table. */
static void list_kinds(struct users *users)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++) {
		unsigned k = 0;
		while (k < users->n_kinds && strcmp(users->kind[k].kind, stages[i].user) != 0)
			k++;
		if (k == USERS_KINDS_MAX)
			abort(); /* the table has more than there is room for */
		struct users_kind *kind = &users->kind[k];
		const struct sandbox_row *row = sandbox_find(stages[i].name);
		if (k == users->n_kinds) {
			users->n_kinds++;
			kind->kind = stages[i].user;
			snprintf(kind->name, sizeof kind->name, USERS_OWNER "-%s", stages[i].user);
		}
		kind->queues |= stages[i].puts != NULL || stages[i].takes != NULL;
		kind->data |= row != NULL && (row->grants & SANDBOX_DATA) != 0;
	}
}

static bool find_all(struct users *users)
{
	gid_t group;
	if (!find_user(USERS_OWNER, &users->owner, &group, NULL, 0) ||
	    !find_group(USERS_OWNER, &users->group))
		return is_missing(users, USERS_OWNER);
	if (!find_group(USERS_QUEUES, &users->queues))
		return is_missing(users, USERS_QUEUES);
	if (!find_group(USERS_DATA, &users->data))
		return is_missing(users, USERS_DATA);
	for (unsigned i = 0; i < users->n_kinds; i++)
		if (!find_kind(users, &users->kind[i]))
			return false;
	return true;
}

/* ---- whether they are in force ---- */

/* What changing users, giving files away and reaching them afterwards takes; a container may leave
 * root without. */
static bool may_all(void)
{
	static const unsigned needed[] = {CAP_SETUID, CAP_SETGID,       CAP_CHOWN,
	                                  CAP_FOWNER, CAP_DAC_OVERRIDE, CAP_KILL};
	struct capability_sets sets;
	if (geteuid() != 0 || capability_get(&sets) != 0)
		return false;
	for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
		if ((sets.word[needed[i] / 32].effective & (1u << needed[i] % 32)) == 0)
			return false;
	return true;
}

static bool is_member_of_all(const struct users *users)
{
	gid_t group[256];
	int n = getgroups(sizeof group / sizeof *group - 1, group);
	if (n < 0)
		return false;
	group[n++] = getegid();
	bool all = in(group, n, users->group) && in(group, n, users->queues) && in(group, n, users->data);
	for (unsigned i = 0; i < users->n_kinds; i++)
		all = all && in(group, n, users->kind[i].gid);
	return all;
}

void users_find(struct users *users, const struct config *config, bool managed)
{
	*users = (struct users){.in_force = false};
	if (geteuid() != 0 && !managed)
		return;
	list_kinds(users);
	bool off = config != NULL && strcmp(config_string(config, "users"), "off") == 0;
	if (!find_all(users) || off)
		return;
	users->starts = may_all();
	users->in_force = users->starts || (managed && geteuid() == users->owner && is_member_of_all(users));
}

void users_announce(const struct users *users, const struct config *config)
{
	if (users->starts)
		log_info("stages run as their own users", "owner=" USERS_OWNER " users=" USERS_OWNER "-KIND");
	else if (users->in_force)
		log_info("files of stages belong to the groups of their users", "owner=" USERS_OWNER);
	else if (geteuid() == 0 && users->missing[0] != '\0')
		log_info(
		        "stages run as root: without users of their own each can write what the others have",
		        "missing=%s hint=\"systemd-sysusers conf/systemd/millrace.sysusers makes them; the next start uses them\"",
		        users->missing);
	else if (geteuid() == 0 && strcmp(config_string(config, "users"), "off") == 0)
		log_info("stages run as root", "users=off");
	else if (geteuid() == 0)
		log_info("stages run as root: this process may not change users",
		         "needed=\"CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_KILL\"");
}

/* ---- who is who ---- */

const struct users_kind *users_of(const struct users *users, const char *program)
{
	const struct flow_stage *stage = flow_stage_find(program);
	if (users == NULL || !users->in_force || stage == NULL)
		return NULL;
	for (unsigned i = 0; i < users->n_kinds; i++)
		if (strcmp(users->kind[i].kind, stage->user) == 0)
			return &users->kind[i];
	return NULL;
}

bool users_is_owner(uid_t uid)
{
	uid_t owner;
	gid_t group;
	return find_user(USERS_OWNER, &owner, &group, NULL, 0) && owner == uid;
}

bool users_has(const struct users *users, uid_t uid)
{
	bool found = uid == 0 || uid == users->owner;
	for (unsigned i = 0; i < users->n_kinds; i++)
		found |= users->kind[i].uid == uid;
	return found;
}

/* ---- becoming one ---- */

/* Also what a process could go back to: the saved ones. */
static bool is_for_good(const struct users_kind *kind)
{
	uid_t uid[3];
	gid_t gid[3];
	return getresuid(&uid[0], &uid[1], &uid[2]) == 0 && getresgid(&gid[0], &gid[1], &gid[2]) == 0 &&
	       uid[0] == kind->uid && uid[1] == kind->uid && uid[2] == kind->uid && gid[0] == kind->gid &&
	       gid[1] == kind->gid && gid[2] == kind->gid;
}

int users_become(const struct users *users, const char *program)
{
	const struct users_kind *kind = users_of(users, program);
	if (kind == NULL || !users->starts)
		return 0;
	if (setgroups((size_t)kind->n_groups, kind->group) != 0 ||
	    setresgid(kind->gid, kind->gid, kind->gid) != 0 ||
	    setresuid(kind->uid, kind->uid, kind->uid) != 0)
		return -errno;
	if (!is_for_good(kind))
		return -EPERM;
	umask(STAGES_UMASK);
	if (setenv("HOME", kind->home, 1) != 0 || setenv("USER", kind->name, 1) != 0 ||
	    setenv("LOGNAME", kind->name, 1) != 0)
		return -errno;
	return 0;
}

int users_try(const struct users *users, const char *program, const char *path, int wanted)
{
	int status;
	if (users_of(users, program) == NULL || !users->starts)
		return 0;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int result = users_become(users, program);
		_exit(result != 0 ? -result : access(path, wanted) == 0 ? 0 : errno);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}
