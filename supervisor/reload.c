#include "supervisor/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "supervisor/drain.h"
#include "supervisor/home.h"

/* ---- what is asked ---- */

static void log_refused(const char *why)
{
	log_error("configuration rejected, everything goes on as before", "error=\"%s\"", why);
}

static void log_errors(char *errors)
{
	char *rest = errors;
	for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
		if (*line != '\0')
			log_refused(line);
	free(errors);
}

/* True, having said so, when a key changed that a running instance cannot change. */
static bool fixed_key_changed(const struct supervisor *supervisor, const struct config *next)
{
	static const char *const fixed[] = {"instance", "data_dir", "sandbox"};
	bool changed = false;
	for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		if (config_same(supervisor->config, next, fixed[i]))
			continue;
		log_error("configuration rejected: this key needs a restart of the supervisor",
		          "key=%s now=\"%s\" asked=\"%s\"", fixed[i],
		          config_string(supervisor->config, "%s", fixed[i]),
		          config_string(next, "%s", fixed[i]));
		changed = true;
	}
	return changed;
}

static void forget_next(struct supervisor *supervisor)
{
	config_free(supervisor->next_config);
	plan_free(supervisor->next_plan);
	supervisor->next_config = NULL;
	supervisor->next_plan = NULL;
}

/* Loads and plans what is new. On failure there is no next plan. */
static bool prepare(struct supervisor *supervisor)
{
	char *errors = NULL;
	struct shm_error error = {""};
	struct config *config = supervisor_load(supervisor, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	int result = plan == NULL ? -EINVAL : 0;
	log_errors(errors);
	if (result == 0 && fixed_key_changed(supervisor, config))
		result = -EINVAL;
	if (result == 0 && ((result = plan_merge(plan, supervisor->segments.old, &error)) != 0 ||
	                    (result = segments_check_room(&supervisor->segments, plan, &error)) != 0))
		log_refused(error.text);
	for (unsigned i = 0; result == 0 && i < plan->n_roles; i++)
		if ((result = children_check_program(&supervisor->children, plan->role[i].page.program,
		                                     &error)) != 0)
			log_refused(error.text);
	supervisor->next_config = config;
	supervisor->next_plan = plan;
	if (result != 0)
		forget_next(supervisor);
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

/* Merged topics keep their indexes, so the page in force, the plan and the next plan have the same
 * topic in the same place. Lanes that come are no change for a reader: it follows the page; a topic
 * that comes, or comes back, is one. */
static bool topics_changed(const struct supervisor *supervisor, const char *role)
{
	const struct instance_page *old = supervisor->segments.old;
	const struct plan *next = supervisor->next_plan, *now = supervisor->plan;
	for (unsigned i = 0; i < next->n_topics; i++) {
		const struct plan_topic *topic = &next->topic[i];
		if (!plan_writes(topic, role) && !plan_reads(topic, role))
			continue;
		if (i >= old->n_topics || old->topic[i].size_bytes != topic->page.size_bytes ||
		    old->topic[i].when_full != topic->page.when_full)
			return true;
		if (plan_reads(topic, role) && (i >= now->n_topics || !plan_reads(&now->topic[i], role)))
			return true;
	}
	return false;
}

/* The same of the queues that it uses, and of its name there. */
static bool queues_changed(const struct supervisor *supervisor, const struct plan_role *now,
                           const struct plan_role *role)
{
	const struct instance_page *old = supervisor->segments.old;
	const struct plan *next = supervisor->next_plan;
	if (now->n_queues != role->n_queues || (role->n_queues != 0 && now->number != role->number))
		return true;
	for (unsigned i = 0; i < role->n_queues; i++) {
		int index = plan_queue_index(next, role->queue[i]);
		if (strcmp(now->queue[i], role->queue[i]) != 0 || index < 0 ||
		    (unsigned)index >= old->n_queues ||
		    old->queue[index].slots != next->queue[index].page.slots ||
		    old->queue[index].slot_bytes != next->queue[index].page.slot_bytes)
			return true;
	}
	return false;
}

static bool other_options_changed(const struct supervisor *supervisor, const struct flow_stage *stage)
{
	for (FLOW_EACH(option, stage->other_options))
		if (!config_same(supervisor->config, supervisor->next_config, *option))
			return true;
	return false;
}

/* All but its sockets, which are compared once the next ones are open; they change with the
 * section. */
static bool settings_changed(const struct supervisor *supervisor, const struct child *child)
{
	const char *name = child->role.page.name;
	int index = plan_role_index(supervisor->next_plan, name);
	if (index < 0)
		return true;
	const struct plan_role *role = &supervisor->next_plan->role[index];
	/* A role that is named after its entry goes with it to another place in the list. */
	bool moved = role->stage->kinds == NULL && strcmp(role->section, child->role.section) != 0;
	return moved || role->process != child->role.process ||
	       role->private_bytes != child->role.private_bytes ||
	       !config_same_entry(supervisor->config, child->role.section, supervisor->next_config,
	                          role->section) ||
	       other_options_changed(supervisor, role->stage) || topics_changed(supervisor, name) ||
	       queues_changed(supervisor, &child->role, role);
}

static bool role_changed(const struct supervisor *supervisor, const struct child *child)
{
	int index = plan_role_index(supervisor->next_plan, child->role.page.name);
	if (index < 0)
		return true;
	const struct plan_role *role = &supervisor->next_plan->role[index];
	return settings_changed(supervisor, child) || !same_sockets(supervisor, child, role) ||
	       packets_changed(supervisor->packets, supervisor->next_plan, role);
}

/* Whether all processes of the section go on as they are: then nothing of theirs depends on what
 * is tried. */
static bool section_stays(const struct supervisor *supervisor, const char *section)
{
	const struct plan *next = supervisor->next_plan;
	for (unsigned i = 0; i < next->n_roles; i++) {
		if (strcmp(next->role[i].section, section) != 0)
			continue;
		int index = children_index(&supervisor->children, next->role[i].page.name);
		if (index < 0 || settings_changed(supervisor, &supervisor->children.child[index]))
			return false;
	}
	return true;
}

/* A finding refuses the reload if a process is to start with it. A process that goes on keeps what
 * is in force of each of its files and reads the good ones again; it must not block what is meant
 * for others. */
static void say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text)
{
	struct supervisor *supervisor = argument;
	if (finding == TRIAL_MISSING) {
		log_warn("a file is not there yet", "reason=\"%s\"", text);
	} else if (section_stays(supervisor, role->section)) {
		log_warn("a stage could not restart with the new files; it keeps those in force",
		         "reason=\"%s\"", text);
	} else {
		log_refused(text);
		supervisor->reload_refused++;
	}
}

static unsigned mark_changed(struct supervisor *supervisor)
{
	struct children *children = &supervisor->children;
	unsigned n = 0;
	for (unsigned i = 0; i < children->n; i++) {
		struct child *child = &children->child[i];
		child->changing = role_changed(supervisor, child);
		if (child->changing)
			log_info("the role changes", "role=%s next=%s", child->role.page.name,
			         plan_role_index(supervisor->next_plan, child->role.page.name) < 0
			                 ? "end"
			                 : "restart");
		n += child->changing ? 1 : 0;
	}
	return n;
}

static unsigned new_roles(const struct supervisor *supervisor)
{
	unsigned n = 0;
	for (unsigned i = 0; i < supervisor->next_plan->n_roles; i++)
		n += children_index(&supervisor->children, supervisor->next_plan->role[i].page.name) < 0 ? 1
		                                                                                         : 0;
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

static int put_in_force(struct supervisor *supervisor, struct shm_error *error)
{
	int result = segments_apply(&supervisor->segments, supervisor->plan, error);
	return result == 0 ? supervisor_write_config(supervisor, supervisor->config, error) : result;
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
	swap(supervisor);
	if (put_in_force(supervisor, &error) != 0) {
		log_error("the new configuration cannot be put in force, back to the one before",
		          "error=\"%s\"", error.text);
		swap(supervisor);
		if (sockets_open(&supervisor->sockets, supervisor->plan, &error) != 0 ||
		    put_in_force(supervisor, &error) != 0)
			log_error("cannot restore the previous configuration completely", "error=\"%s\"",
			          error.text);
	}
	forget_next(supervisor);
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
	if (!prepare(supervisor))
		return;
	supervisor->phase = SUPERVISOR_CHECKING;
	supervisor->reload_refused = 0;
	trial_begin(&supervisor->trial, supervisor->next_config, supervisor->next_plan,
	            supervisor->children.libexec, false, say_finding, supervisor);
	uint64_t due_ns;
	reload_check(supervisor, now_ns, &due_ns);
}

/* All that could be tried is good. The sockets are opened last, as no stage serves them yet. */
static void begin_change(struct supervisor *supervisor, uint64_t now_ns)
{
	struct shm_error error = {""};
	supervisor->sockets_before = supervisor->sockets;
	if (sockets_open(&supervisor->sockets, supervisor->next_plan, &error) != 0) {
		log_refused(error.text);
		forget_next(supervisor);
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
	forget_next(supervisor);
	ask_to_read_files(supervisor);
	supervisor_take_options(supervisor, supervisor->config);
	supervisor_close_unused(supervisor);
	if (supervisor_add_children(supervisor, &error) != 0) /* none is new: the others follow */
		log_error("a role cannot be added", "error=\"%s\"", error.text);
	if (supervisor_write_config(supervisor, supervisor->config, &error) != 0)
		log_error("the configuration file of the instance is not renewed", "error=\"%s\"",
		          error.text);
	log_info("configuration taken, no stage changes", NULL);
}

void reload_check(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	if (trial_among(&supervisor->trial, &supervisor->children, now_ns, due_ns))
		return;
	*due_ns = now_ns;
	supervisor->phase = SUPERVISOR_UP;
	if (supervisor->reload_refused == 0)
		begin_change(supervisor, now_ns);
	else
		forget_next(supervisor);
}

void reload_give_up(struct supervisor *supervisor)
{
	if (supervisor->phase != SUPERVISOR_CHECKING)
		return;
	trial_stop(&supervisor->trial);
	supervisor->children.guest.pid = 0;
	forget_next(supervisor);
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

/* True when no life of the role under the next plan takes up what this one has left. */
static bool is_last_life(const struct supervisor *supervisor, const char *role)
{
	const struct plan *next = supervisor->next_plan, *now = supervisor->plan;
	if (plan_role_index(next, role) < 0)
		return true;
	for (unsigned i = 0; i < next->n_topics; i++)
		if (plan_writes(&next->topic[i], role) !=
		    (i < now->n_topics && plan_writes(&now->topic[i], role)))
			return true;
	return false;
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
		    !is_last_life(supervisor, child->role.page.name) || !drain_has_left(supervisor, child))
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
