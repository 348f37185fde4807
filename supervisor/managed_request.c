#include "supervisor/managed_request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "shm/folder.h"
#include "stage/sandbox.h"
#include "supervisor/change.h"
#include "supervisor/home.h"
#include "supervisor/in_force.h"
#include "supervisor/maker.h"
#include "supervisor/queues.h"
#include "supervisor/reload.h"
#include "supervisor/renew.h"

#define LOOK_NS (20 * NS_PER_MS)

/* ---- the end of it ---- */

/* Says why, to the asker and in the log. */
static int refuse(struct supervisor *supervisor, const char *why)
{
	if (supervisor->requests.answer < 0)
		log_error("not done", "reason=\"%s\"", why);
	requests_finish(&supervisor->requests, why);
	return SUPERVISOR_CANNOT_START;
}

static int finish(struct supervisor *supervisor)
{
	requests_finish(&supervisor->requests, NULL);
	return 0;
}

/* ---- what is in force ---- */

/* The configuration of the folder, with all secrets, and its plan. */
static bool load_in_force(struct supervisor *supervisor, const char *directory)
{
	char *errors = NULL;
	supervisor->config = config_load_instance(directory, NULL, 0, &errors);
	if (supervisor->config != NULL) {
		supervisor->plan = plan_make(supervisor->config, &errors);
		users_find(&supervisor->users, supervisor->config, true);
	}
	bool whole = supervisor->plan != NULL &&
	             in_force_read_secrets(supervisor->plan, supervisor->config, &errors) == 0;
	if (whole)
		sandbox_hide(supervisor->config);
	else
		(void)refuse(supervisor, errors == NULL ? "no configuration is in force" : errors);
	free(errors);
	return whole;
}

/* And the page. */
static bool look(struct supervisor *supervisor, const char *directory)
{
	struct segments *segments = &supervisor->segments;
	struct shm_error error = {""};
	int result = segments_look(segments, directory, &error);
	segments->managed = true;
	if (result == 0 && !segments->adopted)
		shm_explain(&error, "%s: there are no segments", directory);
	else if (result == 0 && segments->old->managed == 0)
		shm_explain(&error, "%s: no service manager runs it", directory);
	else if (result == 0 && segments->old->draining != 0)
		shm_explain(&error, "%s: the instance drains", directory);
	else if (result == 0 && !load_in_force(supervisor, directory))
		return false;
	else if (result == 0)
		(void)plan_merge(supervisor->plan, segments->old, &error);
	if (error.text[0] != '\0')
		(void)refuse(supervisor, error.text);
	return error.text[0] == '\0';
}

/* ---- reload: what forbids it ---- */

static bool same_addresses(const struct plan *now, int a, const struct plan *next, int b)
{
	if (a < 0 || b < 0)
		return a < 0 && b < 0;
	const struct plan_listener *one = &now->listener[a], *other = &next->listener[b];
	if (one->n_addresses != other->n_addresses)
		return false;
	for (unsigned i = 0; i < one->n_addresses; i++)
		if (strcmp(now->address[one->first_address + i].text,
		           next->address[other->first_address + i].text) != 0)
			return false;
	return true;
}

/* The service manager has bound them; the stage would not start with others. */
static void check_sockets(struct supervisor *supervisor)
{
	const struct plan *now = supervisor->plan, *next = supervisor->next_plan;
	char why[REQUEST_LINE_MAX];
	for (unsigned i = 0; i < now->n_roles; i++) {
		const struct plan_role *role = &now->role[i];
		int index = plan_role_index(next, role->page.name);
		if (index < 0 || same_addresses(now, role->listener, next, next->role[index].listener))
			continue;
		snprintf(
		        why, sizeof why,
		        "%s.listen: the sockets of %s are the service manager's: change them in its .socket unit, too, and restart millrace.target",
		        next->role[index].section, role->page.name);
		log_error("configuration rejected, everything goes on as before", "error=\"%s\"", why);
		requests_tell(&supervisor->requests, "%s", why);
		supervisor->reload_refused++;
	}
}

/* Everything that can fail without having changed anything. */
static bool check_next(struct supervisor *supervisor)
{
	supervisor->reload_refused = 0;
	if (!reload_prepare(supervisor))
		return false;
	check_sockets(supervisor);
	trial_begin(&supervisor->trial, supervisor->next_config, supervisor->next_plan,
	            supervisor->children.libexec, false, reload_say_finding, supervisor);
	supervisor->trial.users = &supervisor->users;
	trial_run(&supervisor->trial);
	return supervisor->reload_refused == 0;
}

/* ---- reload: the roles that end ---- */

/* Those of the plan in force that begin again or end for good, in the order of the flow. */
struct ending {
	const struct plan_role *role[INSTANCE_ROLES_MAX];
	unsigned n;
};

static void choose_ending(struct supervisor *supervisor, struct ending *ending)
{
	const struct plan *plan = supervisor->plan;
	ending->n = 0;
	for (unsigned rank = 0; rank < flow_ranks(); rank++)
		for (unsigned i = 0; i < plan->n_roles; i++) {
			const struct plan_role *role = &plan->role[i];
			const char *name = role->page.name;
			if (role->rank != rank || !change_of_role(supervisor, role))
				continue;
			ending->role[ending->n++] = role;
			reload_say_role(supervisor, name);
			requests_step(&supervisor->requests,
			              plan_role_index(supervisor->next_plan, name) < 0 ? MANAGED_END
			                                                               : MANAGED_STOP,
			              name);
		}
}

static const char *first_alive(const struct supervisor *supervisor, const struct ending *ending)
{
	for (unsigned i = 0; i < ending->n; i++)
		if (control_alive(supervisor->segments.directory, ending->role[i]->page.name, NULL) != 0)
			return ending->role[i]->page.name;
	return NULL;
}

/* As long as somebody waits for the answer he ends them; the service manager bounds it all
 * (TimeoutStartSec=). Otherwise as long as a drain may take. */
static bool wait_for_ends(struct supervisor *supervisor, const struct ending *ending)
{
	const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
	const char *directory = supervisor->segments.directory, *role;
	bool asked = supervisor->requests.answer >= 0;
	uint64_t until_ns = clock_monotonic_ns() + config_ns(supervisor->config, "drain_timeout");
	if (!asked && first_alive(supervisor, ending) != NULL)
		log_warn("waiting for roles that must end first",
		         "first=%s hint=\"millrace reload, as root, stops and starts their units\"",
		         first_alive(supervisor, ending));
	while ((role = first_alive(supervisor, ending)) != NULL) {
		bool goes_on = asked ? instance_locked(directory, REQUEST_FILE, NULL) != 0
		                     : clock_monotonic_ns() < until_ns;
		if (!goes_on) {
			log_error("a role has not ended", "role=%s", role);
			requests_tell(&supervisor->requests, "%s: has not ended", role);
			return false;
		}
		(void)nanosleep(&pause, NULL);
	}
	return true;
}

/* What a role has left that no life of its would take up must not be lost: it lives once more, with
 * what is in force, and ends in order. */
static bool nothing_left(struct supervisor *supervisor, const struct ending *ending)
{
	bool good = true;
	for (unsigned i = 0; i < ending->n; i++) {
		const struct plan_role *role = ending->role[i];
		if (!change_ends_role(supervisor, role->page.name))
			continue;
		queues_repair(supervisor->segments.directory, role);
		if (role->private_bytes == 0 ||
		    segments_role_is_clean(&supervisor->segments, role->page.name))
			continue;
		log_error("a role did not end in order: it starts again, and takes up what it left",
		          "role=%s", role->page.name);
		requests_tell(&supervisor->requests,
		              "%s: did not end in order; it takes up what it left: try again after that",
		              role->page.name);
		good = false;
	}
	return good;
}

/* ---- reload: the roles that begin ---- */

static void say_beginning(struct supervisor *supervisor, const struct ending *ending)
{
	for (unsigned i = ending->n; i-- > 0;)
		requests_step(&supervisor->requests, MANAGED_START, ending->role[i]->page.name);
}

static bool is_ending(const struct ending *ending, const char *role)
{
	for (unsigned i = 0; i < ending->n; i++)
		if (strcmp(ending->role[i]->page.name, role) == 0)
			return true;
	return false;
}

static bool takes_packets(const struct plan *plan, const char *role)
{
	int index = plan_role_index(plan, role);
	return index >= 0 && plan->role[index].listener >= 0 &&
	       plan->listener[plan->role[index].listener].interface[0] != '\0';
}

/* Any role of the plan. */
static bool any_takes_packets(const struct plan *plan)
{
	bool any = false;
	for (unsigned i = 0; i < plan->n_roles; i++)
		any |= takes_packets(plan, plan->role[i].page.name);
	return any;
}

/* Before the roles begin: whose sockets are the holder's. */
static void say_packets(struct supervisor *supervisor, const struct ending *ending)
{
	const struct plan *plan = supervisor->plan, *before = supervisor->next_plan;
	bool changed = false;
	for (unsigned i = 0; i < plan->n_roles; i++) {
		const char *role = plan->role[i].page.name;
		changed |= takes_packets(plan, role) &&
		           (plan_role_index(before, role) < 0 || is_ending(ending, role));
	}
	for (unsigned i = 0; i < ending->n; i++)
		changed |= takes_packets(before, ending->role[i]->page.name);
	if (changed)
		requests_step(&supervisor->requests, MANAGED_PACKETS, "");
	else if (any_takes_packets(plan))
		requests_step(&supervisor->requests, MANAGED_LOOK, "");
}

/* After reload_enforce: `next` is what was in force. */
static void say_begun(struct supervisor *supervisor, const struct ending *ending)
{
	const struct plan *plan = supervisor->plan;
	for (int rank = (int)flow_ranks() - 1; rank >= 0; rank--)
		for (unsigned i = 0; i < plan->n_roles; i++) {
			const char *role = plan->role[i].page.name;
			bool is_new = plan_role_index(supervisor->next_plan, role) < 0;
			if ((int)plan->role[i].rank != rank || (!is_new && !is_ending(ending, role)))
				continue;
			if (is_new)
				log_info("the role is new", "role=%s", role);
			requests_step(&supervisor->requests, is_new ? MANAGED_NEW : MANAGED_START, role);
		}
}

/* Stages that stay follow the page and read their files again. */
static void ask_to_read_files(struct supervisor *supervisor)
{
	const struct plan *plan = supervisor->plan;
	for (unsigned i = 0; i < plan->n_roles; i++) {
		char name[SEGMENT_NAME_MAX];
		struct segment segment = {0};
		struct shm_error error = {""};
		if (segment_attach(&segment, supervisor->segments.directory,
		                   instance_stage_name(name, plan->role[i].page.name), SEGMENT_STAGE,
		                   SEGMENT_WRITE, &error) == 0)
			ledger_add(&((struct control *)segment.body)->reloads, 1);
		else
			log_warn("a stage is not told to read its files again", "error=\"%s\"", error.text);
		segment_detach(&segment);
	}
}

static int reload(struct supervisor *supervisor, const char *directory)
{
	struct ending ending;
	if (!look(supervisor, directory))
		return SUPERVISOR_CANNOT_START;
	log_info("reading the configuration again", NULL);
	if (!check_next(supervisor))
		return refuse(supervisor, RELOAD_REFUSED);
	choose_ending(supervisor, &ending);
	if (ending.n != 0)
		requests_step(&supervisor->requests, MANAGED_GO, "");
	if (!wait_for_ends(supervisor, &ending) || !nothing_left(supervisor, &ending)) {
		say_beginning(supervisor, &ending);
		return refuse(supervisor, "everything goes on as before");
	}
	if (!reload_enforce(supervisor)) {
		say_beginning(supervisor, &ending);
		return refuse(supervisor, RELOAD_FAILED);
	}
	say_packets(supervisor, &ending);
	say_begun(supervisor, &ending);
	ask_to_read_files(supervisor);
	log_info("configuration taken", "roles_ended=%u", ending.n);
	if (ending.n == 0)
		requests_tell(&supervisor->requests, RELOAD_NO_CHANGE);
	return finish(supervisor);
}

/* ---- restart, upgrade ---- */

/* Another layout: all is made anew, from the file. */
static bool load_anew(struct supervisor *supervisor)
{
	char *errors = NULL;
	supervisor->config = supervisor_load(supervisor, &errors);
	if (supervisor->config != NULL)
		supervisor->plan = plan_make(supervisor->config, &errors);
	if (supervisor->plan == NULL)
		(void)refuse(supervisor, errors == NULL ? "no configuration" : errors);
	free(errors);
	return supervisor->plan != NULL;
}

static int renew(struct supervisor *supervisor, const char *directory, const char *text)
{
	uint64_t layout = segment_layout_of(directory, "instance"), ours = segment_layout_hash();
	struct renew *renew = &supervisor->renew;
	bool anew = layout != ours && strcmp(text, "upgrade") == 0;
	if (!(anew ? load_anew(supervisor) : load_in_force(supervisor, directory)) ||
	    !renew_prepare(supervisor, text, anew ? ours : layout))
		return SUPERVISOR_CANNOT_START;
	trial_run(&supervisor->trial);
	if (renew_verdict(renew) != NULL)
		return refuse(supervisor, renew_verdict(renew));
	if (renew->other_layout) /* programs of several builds */
		return refuse(supervisor,
		              "nothing was ended: the programs that are installed are of different builds");
	if (anew) {
		requests_say(
		        &supervisor->requests,
		        "the layout of shared memory changes: all stages drain, then everything is made anew");
		requests_step(&supervisor->requests, MANAGED_MAKE, "");
	}
	if (!anew && renew->upgrade && any_takes_packets(supervisor->plan))
		requests_step(&supervisor->requests, MANAGED_PACKETS, "");
	for (unsigned i = 0; i < renew->n; i++)
		requests_step(&supervisor->requests, anew ? MANAGED_START : MANAGED_RESTART, renew->role[i]);
	return finish(supervisor);
}

/* ---- what is asked ---- */

static int answer(struct supervisor *supervisor, const char *directory)
{
	char text[REQUEST_TEXT_MAX];
	struct shm_error error = {""};
	bool made_root;
	if (!requests_take(&supervisor->requests, directory, text))
		snprintf(text, sizeof text, "reload");
	if (!maker_is_kept(directory))
		return refuse(supervisor, "no service manager runs the instance");
	if (home_lock(directory, NULL, &supervisor->lock, &made_root, &error) != 0 ||
	    children_find_libexec(&supervisor->children, &error) != 0)
		return refuse(supervisor, error.text);
	return strcmp(text, "reload") == 0 ? reload(supervisor, directory)
	                                   : renew(supervisor, directory, text);
}

int managed_request(const char *directory, struct supervisor *supervisor,
                    const struct supervisor_options *options)
{
	struct shm_error error = {""};
	memset(supervisor, 0, sizeof *supervisor);
	supervisor->options = *options;
	supervisor->options.managed = true;
	supervisor->lock = supervisor->guard = supervisor->signals = -1;
	requests_init(&supervisor->requests);
	if (getcwd(supervisor->cwd, sizeof supervisor->cwd) == NULL)
		snprintf(supervisor->cwd, sizeof supervisor->cwd, "/");
	int status = home_hold(directory, &error) == 0 ? answer(supervisor, directory)
	                                               : refuse(supervisor, error.text);
	supervisor_fini(supervisor);
	return status;
}
