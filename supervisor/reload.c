#include "supervisor/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "supervisor/change.h"
#include "supervisor/drain.h"
#include "supervisor/home.h"

/* ---- what is asked ---- */

static void refuse(struct supervisor *supervisor, const char *why)
{
	log_error("configuration rejected, everything goes on as before", "error=\"%s\"", why);
	requests_tell(&supervisor->requests, "%s", why);
}

static void refuse_all(struct supervisor *supervisor, char *errors)
{
	char *rest = errors;
	for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
		if (*line != '\0')
			refuse(supervisor, line);
	free(errors);
}

/* True, having said so, when a key changed that a running instance cannot change. */
static bool fixed_key_changed(struct supervisor *supervisor, const struct config *next)
{
	static const char *const fixed[] = {"instance", "data_dir", "sandbox", "users"};
	bool changed = false;
	for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		if (config_same(supervisor->config, next, fixed[i]))
			continue;
		const char *now = config_string(supervisor->config, "%s", fixed[i]);
		const char *asked = config_string(next, "%s", fixed[i]);
		log_error("configuration rejected: this key needs a restart of the instance",
		          "key=%s now=\"%s\" asked=\"%s\"", fixed[i], now, asked);
		requests_tell(&supervisor->requests,
		              "%s: changes when the instance is ended and started again (now %s, asked %s)",
		              fixed[i], now, asked);
		changed = true;
	}
	return changed;
}

void reload_forget(struct supervisor *supervisor)
{
	config_free(supervisor->next_config);
	plan_free(supervisor->next_plan);
	supervisor->next_config = NULL;
	supervisor->next_plan = NULL;
}

bool reload_prepare(struct supervisor *supervisor)
{
	char *errors = NULL;
	struct shm_error error = {""};
	struct config *config = supervisor_load(supervisor, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	int result = plan == NULL ? -EINVAL : 0;
	refuse_all(supervisor, errors);
	if (result == 0 && fixed_key_changed(supervisor, config))
		result = -EINVAL;
	if (result == 0 && ((result = plan_merge(plan, supervisor->segments.old, &error)) != 0 ||
	                    (result = segments_check_room(&supervisor->segments, plan, &error)) != 0))
		refuse(supervisor, error.text);
	for (unsigned i = 0; result == 0 && i < plan->n_roles; i++)
		if ((result = children_check_program(&supervisor->children, plan->role[i].page.program,
		                                     &error)) != 0)
			refuse(supervisor, error.text);
	supervisor->next_config = config;
	supervisor->next_plan = plan;
	if (result != 0)
		reload_forget(supervisor);
	return result == 0;
}

/* ---- what changes ---- */

static bool same_sockets(const struct supervisor *supervisor, const struct child *child,
                         const struct plan_role *role)
{
	int fd[STAGE_SOCKETS_MAX];
	unsigned n = sockets_of(&supervisor->sockets, role, fd);
	return n == child->n_sockets && memcmp(fd, child->socket, n * sizeof fd[0]) == 0;
}

static bool role_changed(const struct supervisor *supervisor, const struct child *child)
{
	int index = plan_role_index(supervisor->next_plan, child->role.page.name);
	if (index < 0)
		return true;
	const struct plan_role *role = &supervisor->next_plan->role[index];
	return change_of_role(supervisor, &child->role) || !same_sockets(supervisor, child, role) ||
	       packets_changed(supervisor->packets, supervisor->next_plan, role);
}

/* A finding refuses the reload if a process is to start with it. A process that goes on keeps what
 * is in force of each of its files and reads the good ones again; it must not block what is meant
 * for others. */
void reload_say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text)
{
	struct supervisor *supervisor = argument;
	if (finding == TRIAL_MISSING) {
		log_warn("a file is not there yet", "reason=\"%s\"", text);
		requests_tell(&supervisor->requests, "warning: not there yet: %s", text);
	} else if (finding == TRIAL_UNSEEN) {
		log_info("a credential is its stage's alone", "reason=\"%s\"", text);
	} else if (finding == TRIAL_DENIED) {
		log_warn("only the stage can tell whether it may use a file", "reason=\"%s\"", text);
		requests_tell(&supervisor->requests, "warning: only the stage can tell: %s", text);
	} else if (!change_of_section(supervisor, role->section)) {
		log_warn("a stage could not restart with the new files; it keeps those in force",
		         "reason=\"%s\"", text);
		requests_tell(&supervisor->requests, "warning: %s; what is in force stays", text);
	} else {
		refuse(supervisor, text);
		supervisor->reload_refused++;
	}
}

void reload_say_role(struct supervisor *supervisor, const char *role)
{
	bool goes = plan_role_index(supervisor->next_plan, role) < 0;
	log_info("the role changes", "role=%s next=%s", role, goes ? "end" : "restart");
	requests_tell(&supervisor->requests, goes ? "%s: ends" : "%s: starts again", role);
}

static unsigned mark_changed(struct supervisor *supervisor)
{
	struct children *children = &supervisor->children;
	unsigned n = 0;
	for (unsigned i = 0; i < children->n; i++) {
		struct child *child = &children->child[i];
		child->changing = role_changed(supervisor, child);
		if (child->changing)
			reload_say_role(supervisor, child->role.page.name);
		n += child->changing ? 1 : 0;
	}
	return n;
}

static unsigned new_roles(struct supervisor *supervisor)
{
	unsigned n = 0;
	for (unsigned i = 0; i < supervisor->next_plan->n_roles; i++) {
		const char *role = supervisor->next_plan->role[i].page.name;
		if (children_index(&supervisor->children, role) >= 0)
			continue;
		requests_tell(&supervisor->requests, "%s: is new", role);
		n++;
	}
	return n;
}

/* ---- the change ---- */

/* The next configuration and plan are in force from here on; the old ones become the next. */
static void swap(struct supervisor *supervisor)
{
	struct config *config = supervisor->config;
	struct plan *plan = supervisor->plan;
	supervisor->config = supervisor->next_config;
	supervisor->plan = supervisor->next_plan;
	supervisor->next_config = config;
	supervisor->next_plan = plan;
}

/* Stages that stay read the files that their options name again. */
static void ask_to_read_files(struct supervisor *supervisor)
{
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n; i++)
		ledger_add(&children->child[i].control->reloads, 1);
}

bool reload_enforce(struct supervisor *supervisor)
{
	struct shm_error error = {""};
	swap(supervisor);
	if (supervisor_put_in_force(supervisor, &error) == 0)
		return true;
	log_error("the new configuration cannot be put in force, back to the one before", "error=\"%s\"",
	          error.text);
	requests_tell(&supervisor->requests, "%s", error.text);
	swap(supervisor);
	if ((!supervisor->options.managed &&
	     sockets_open(&supervisor->sockets, supervisor->plan, &error) != 0) ||
	    supervisor_put_in_force(supervisor, &error) != 0)
		log_error("cannot restore the previous configuration completely", "error=\"%s\"", error.text);
	return false;
}

/* The stages that had to stop have stopped. A failure from here on leads back to the configuration
 * before. */
static void apply(struct supervisor *supervisor, uint64_t now_ns)
{
	struct shm_error error = {""};
	struct children *children = &supervisor->children;
	for (unsigned i = children->n; i-- > 0;)
		if (children->child[i].changing)
			children_remove(children, i);
	if (!reload_enforce(supervisor))
		requests_finish(&supervisor->requests, RELOAD_FAILED);
	reload_forget(supervisor);
	ask_to_read_files(supervisor);
	supervisor_take_options(supervisor, supervisor->config);
	supervisor_close_unused(supervisor);
	if (supervisor_add_children(supervisor, &error) != 0)
		log_error("a role cannot be added", "error=\"%s\"", error.text);
	home_announce_listeners(supervisor, &supervisor->sockets_before);
	supervisor_announce_packets(supervisor);
	supervisor_begin_start(supervisor, now_ns);
}

void reload_begin(struct supervisor *supervisor, uint64_t now_ns)
{
	supervisor->reload_wanted = false;
	log_info("reading the configuration again", NULL);
	if (!reload_prepare(supervisor)) {
		requests_finish(&supervisor->requests, RELOAD_REFUSED);
		return;
	}
	supervisor->phase = SUPERVISOR_CHECKING;
	supervisor->reload_refused = 0;
	trial_begin(&supervisor->trial, supervisor->next_config, supervisor->next_plan,
	            supervisor->children.libexec, false, reload_say_finding, supervisor);
	supervisor->trial.users = &supervisor->users;
	uint64_t due_ns;
	reload_check(supervisor, now_ns, &due_ns);
}

/* All that could be tried is good. The sockets are opened last, as no stage serves them yet. */
static void begin_change(struct supervisor *supervisor, uint64_t now_ns)
{
	struct shm_error error = {""};
	supervisor->sockets_before = supervisor->sockets;
	if (sockets_open(&supervisor->sockets, supervisor->next_plan, &error) != 0) {
		refuse(supervisor, error.text);
		reload_forget(supervisor);
		requests_finish(&supervisor->requests, RELOAD_REFUSED);
		return;
	}
	unsigned changed = mark_changed(supervisor), added = new_roles(supervisor);
	if (changed + added != 0 || !plan_fits_page(supervisor->next_plan, supervisor->segments.old)) {
		sockets_quiet(&supervisor->sockets, false);
		supervisor->phase = SUPERVISOR_RELOADING;
		supervisor->rank = 0;
		supervisor->drain_deadline_ns = now_ns + config_ns(supervisor->config, "drain_timeout");
		return;
	}
	swap(supervisor);
	reload_forget(supervisor);
	ask_to_read_files(supervisor);
	supervisor_take_options(supervisor, supervisor->config);
	supervisor_close_unused(supervisor);
	if (supervisor_add_children(supervisor, &error) != 0) /* none is new: the others follow */
		log_error("a role cannot be added", "error=\"%s\"", error.text);
	if (supervisor_write_in_force(supervisor, &error) != 0)
		log_error("the configuration file of the instance is not renewed", "error=\"%s\"",
		          error.text);
	log_info("configuration taken, no stage changes", NULL);
	requests_tell(&supervisor->requests, RELOAD_NO_CHANGE);
	requests_finish(&supervisor->requests, NULL);
}

void reload_check(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	if (trial_among(&supervisor->trial, &supervisor->children, now_ns, due_ns))
		return;
	*due_ns = now_ns;
	supervisor->phase = SUPERVISOR_UP;
	if (supervisor->reload_refused == 0) {
		begin_change(supervisor, now_ns);
		return;
	}
	reload_forget(supervisor);
	requests_finish(&supervisor->requests, RELOAD_REFUSED);
}

void reload_give_up(struct supervisor *supervisor)
{
	if (supervisor->phase != SUPERVISOR_CHECKING)
		return;
	trial_stop(&supervisor->trial);
	supervisor->children.guest.pid = 0;
	reload_forget(supervisor);
	supervisor->phase = SUPERVISOR_UP;
}

static bool rank_is_down(const struct children *children, int rank)
{
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].changing && (int)children->child[i].role.rank == rank &&
		    children->child[i].phase != CHILD_DOWN)
			return false;
	return true;
}

/* A role that could not end in time gets one more life, while everything is still as it knew it.
 * Returns true when one does. */
static bool finish_rank(struct supervisor *supervisor, uint64_t now_ns)
{
	struct children *children = &supervisor->children;
	bool any = false;
	for (unsigned i = 0; i < children->n; i++) {
		struct child *child = &children->child[i];
		if (!child->changing || (int)child->role.rank != supervisor->rank || child->finished ||
		    !change_ends_role(supervisor, child->role.page.name) ||
		    !drain_has_left(supervisor, child))
			continue;
		children_finish(children, i, now_ns);
		any = true;
	}
	return any;
}

static void each_changing(struct supervisor *supervisor, uint64_t now_ns, bool in_time)
{
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n; i++) {
		struct child *child = &children->child[i];
		if (!child->changing || (int)child->role.rank != supervisor->rank)
			continue;
		if (in_time)
			children_stop(children, i, now_ns);
		else
			children_kill(children, i);
	}
}

void reload_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	struct children *children = &supervisor->children;
	while (supervisor->rank < (int)flow_ranks()) {
		*due_ns = supervisor->drain_deadline_ns;
		each_changing(supervisor, now_ns, true);
		if (!rank_is_down(children, supervisor->rank)) {
			if (now_ns < supervisor->drain_deadline_ns)
				return;
			each_changing(supervisor, now_ns, false);
			*due_ns = UINT64_MAX; /* SIGCHLD comes */
			if (!rank_is_down(children, supervisor->rank))
				return;
		}
		if (finish_rank(supervisor, now_ns))
			supervisor->drain_deadline_ns =
			        now_ns + config_ns(supervisor->config, "drain_timeout");
		else
			supervisor->rank++;
	}
	apply(supervisor, now_ns);
	*due_ns = now_ns;
}
