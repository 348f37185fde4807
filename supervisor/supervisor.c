#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"
#include "base/log.h"
#include "stage/sandbox.h"
#include "supervisor/capabilities.h"
#include "supervisor/drain.h"
#include "supervisor/handover.h"
#include "supervisor/home.h"
#include "supervisor/in_force.h"
#include "supervisor/orphans.h"
#include "supervisor/owners.h"
#include "supervisor/queues.h"
#include "supervisor/reload.h"
#include "supervisor/renew.h"

/* ---- configuration ---- */

struct config *supervisor_load(const struct supervisor *supervisor, char **errors)
{
	const struct supervisor_options *options = &supervisor->options;
	const char **sets = calloc(options->n_sets + 1, sizeof *sets);
	char instance[128];
	size_t n = options->n_sets;
	if (sets == NULL)
		abort();
	if (n != 0)
		memcpy(sets, options->sets, n * sizeof *sets);
	if (options->instance != NULL) {
		snprintf(instance, sizeof instance, "instance=%s", options->instance);
		sets[n++] = instance;
	}
	struct config *config = config_load_to_start(options->config_file, sets, n, errors);
	free(sets);
	/* The stages and the commands that read config.yaml may run in another folder. */
	if (config != NULL && config_make_absolute(config, supervisor->cwd, errors) != 0) {
		config_free(config);
		config = NULL;
	}
	return config;
}

void supervisor_take_options(struct supervisor *supervisor, const struct config *config)
{
	log_init_words("supervisor", config_string(config, "log.level"), config_string(config, "log.format"));
	supervisor->children.backoff_ns = config_ns(config, "restart_backoff");
	supervisor->children.backoff_max_ns = config_ns(config, "restart_backoff_max");
	supervisor->children.stage_timeout_ns = config_ns(config, "stage_timeout");
	supervisor->watch.reminder_ns = config_ns(config, "full_reminder");
}

int supervisor_write_in_force(const struct supervisor *supervisor, struct shm_error *error)
{
	const struct segments *segments = &supervisor->segments;
	int result = in_force_write(supervisor->plan, supervisor->config, error);
	return result == 0
	               ? owners_of_files(&supervisor->users, segments->directory, segments->page.body, error)
	               : result;
}

int supervisor_put_in_force(struct supervisor *supervisor, struct shm_error *error)
{
	int result = segments_apply(&supervisor->segments, supervisor->plan, error);
	return result == 0 ? supervisor_write_in_force(supervisor, error) : result;
}

/* ---- start ---- */

int supervisor_add_children(struct supervisor *supervisor, struct shm_error *error)
{
	const struct plan *plan = supervisor->plan;
	struct child_packets handed;
	int fd[STAGE_SOCKETS_MAX], result = 0;
	packets_apply(supervisor->packets, supervisor->config, plan, &supervisor->sockets,
	              &supervisor->children);
	for (unsigned i = 0; result == 0 && i < plan->n_roles; i++) {
		int index = children_index(&supervisor->children, plan->role[i].page.name);
		if (index >= 0) {
			/* Its entry may have another place in its list by now. */
			supervisor->children.child[index].role = plan->role[i];
			continue;
		}
		unsigned n = sockets_of(&supervisor->sockets, &plan->role[i], fd);
		result = children_add(&supervisor->children, &plan->role[i], fd, n, error);
		packets_of(supervisor->packets, plan->role[i].page.name, &handed);
		if (result == 0)
			children_hand_packets(&supervisor->children, &handed);
	}
	return result;
}

static void block_signals(struct supervisor *supervisor)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
	sigset_t set;
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* a closed terminal must not end us */
	/* It is for stages. A child has this, too, until it blocks the signal: nothing dies of
	 * it. */
	signal(SIGUSR1, SIG_IGN);
	supervisor->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (supervisor->signals < 0)
		abort();
}

static int check_programs(struct supervisor *supervisor, struct shm_error *error)
{
	const struct plan *plan = supervisor->plan;
	int result = children_find_libexec(&supervisor->children, error);
	for (unsigned i = 0; result == 0 && i < plan->n_roles; i++)
		result = children_check_program(&supervisor->children, plan->role[i].page.program, error);
	return result;
}

/* Takes over what an earlier life left, or finds nothing; then all that can fail without having
 * made anything. */
static int look_around(struct supervisor *supervisor, struct shm_error *error)
{
	struct segments *segments = &supervisor->segments;
	int result = segments_look(segments, supervisor->plan->directory, error);
	supervisor->fresh = result == 0 && !segments->adopted;
	segments->managed = supervisor->options.managed;
	if (result == 0 && segments->adopted && !supervisor->options.managed && segments->old->managed != 0) {
		shm_explain(
		        error,
		        "a service manager runs the instance in %s: systemctl stop millrace.target, or choose another name with --instance",
		        segments->directory);
		result = -EBUSY;
	}
	if (result == 0 && supervisor->handover != NULL && supervisor->handover->in_place) {
		result = segments->adopted ? plan_merge(supervisor->plan, segments->old, error) : -ENOENT;
	} else if (result == 0 && segments->adopted) {
		log_info("taking over segments that are there", "directory=%s", segments->directory);
		result = orphans_wait(segments->directory, segments->old,
		                      config_ns(supervisor->config, "drain_timeout"), supervisor->signals,
		                      &supervisor->reload_wanted, error);
		if (result == -EINTR)
			shm_explain(error, "asked to end while waiting for stages of the last supervisor");
		if (result == 0)
			result = plan_merge(supervisor->plan, segments->old, error);
	}
	if (result == 0)
		result = segments_check_room(segments, supervisor->plan, error);
	if (result == 0)
		result = home_make_data_dir(config_string(supervisor->config, "data_dir"), error);
	if (result == 0)
		result = owners_of_data(&supervisor->users, supervisor->config, error);
	if (result == 0 && !supervisor->options.managed)
		result = sockets_open(&supervisor->sockets, supervisor->plan, error);
	return result;
}

static void say_refused(const char *why)
{
	char text[600];
	snprintf(text, sizeof text, "millrace: %s\n", why);
	log_text(STDERR_FILENO, text);
}

static void say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text)
{
	(void)argument;
	(void)role;
	if (finding == TRIAL_REFUSED)
		say_refused(text);
	else if (finding == TRIAL_UNSEEN)
		log_info("a credential is its stage's alone", "reason=\"%s\"", text);
	else
		log_warn(finding == TRIAL_DENIED ? "only the stage can tell whether it may use a file"
		                                 : "a file is missing or unusable; going on without it",
		         "reason=\"%s\"", text);
}

/* The files that the configuration names are tried before anything is made; all else the start
 * itself tries. Where stages are users of their own, data_dir is theirs before they are asked. */
static int try_files(struct supervisor *supervisor, struct shm_error *error)
{
	if (supervisor->handover != NULL)
		return 0;
	trial_begin(&supervisor->trial, supervisor->config, supervisor->plan, supervisor->children.libexec,
	            true, say_finding, NULL);
	supervisor->trial.users = &supervisor->users;
	trial_run(&supervisor->trial);
	shm_explain(error, "files that the configuration names cannot be used: see above");
	return supervisor->trial.refused == 0 ? 0 : -EINVAL;
}

static int make_all(struct supervisor *supervisor, struct shm_error *error)
{
	struct children *children = &supervisor->children;
	bool in_place = supervisor->handover != NULL && supervisor->handover->in_place;
	int result = in_place ? 0 : queues_repair_all(&supervisor->segments, error);
	if (result == 0)
		result = owners_of_folder(&supervisor->users, supervisor->plan->directory, error);
	if (result == 0)
		result = supervisor_put_in_force(supervisor, error);
	if (result == 0 && (result = requests_open(supervisor->plan->directory)) != 0)
		shm_explain(error, "%s/" REQUEST_FILE ": %s", supervisor->plan->directory, strerror(-result));
	snprintf(children->directory, sizeof children->directory, "%s", supervisor->plan->directory);
	snprintf(children->instance, sizeof children->instance, "%s", supervisor->plan->instance);
	if (result == 0 && !supervisor->options.managed)
		result = supervisor_add_children(supervisor, error);
	if (result == 0)
		handover_adopt(supervisor, clock_monotonic_ns());
	return result;
}

/* Stages that go on while the supervisor becomes another program stay the users that they are. That
 * is not for the configuration in the instance's folder to say: its owner could make them root. */
static int find_users(struct supervisor *supervisor, bool in_place, char **errors)
{
	struct users *users = &supervisor->users;
	users_find(users, in_place ? NULL : supervisor->config, supervisor->options.managed);
	if (in_place && !supervisor->handover->users)
		users->in_force = users->starts = false;
	if (in_place && supervisor->handover->users && !users->in_force) {
		if (asprintf(errors, "millrace: the stages' users are gone: there is no %s\n",
		             users->missing) < 0)
			abort();
		return -ENOENT;
	}
	supervisor->children.users = users;
	return 0;
}

static int load_and_plan(struct supervisor *supervisor)
{
	char *errors = NULL;
	const char *note;
	/* In place: what is in force stays in force; the next reload reads what it was made from.
	 */
	bool in_place = supervisor->handover != NULL && supervisor->handover->in_place;
	supervisor->config = in_place
	                             ? config_load_instance(supervisor->handover->directory, NULL, 0, &errors)
	                             : supervisor_load(supervisor, &errors);
	if (supervisor->config != NULL)
		supervisor->plan = plan_make(supervisor->config, &errors);
	int result = supervisor->plan == NULL ? -EINVAL : 0;
	if (result == 0 && in_place)
		result = in_force_read_secrets(supervisor->plan, supervisor->config, &errors);
	if (result == 0)
		result = find_users(supervisor, in_place, &errors);
	if (result == 0) {
		sandbox_hide(supervisor->config);
		supervisor_take_options(supervisor, supervisor->config);
		users_announce(&supervisor->users, supervisor->config);
		if (!in_place && config_secret_by_set(supervisor->config))
			log_warn(
			        "a secret is on the command line, which every user of this machine can see; a file is the place for it",
			        NULL);
		for (size_t i = 0; (note = config_environment_note(supervisor->config, i)) != NULL; i++)
			log_info("environment", "variable=%s", note);
		return 0;
	}
	log_text(STDERR_FILENO, errors == NULL ? "" : errors);
	free(errors);
	return SUPERVISOR_CANNOT_START;
}

void supervisor_announce_packets(const struct supervisor *supervisor)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	if (out == NULL)
		abort();
	packets_print(supervisor->packets, out);
	if (fclose(out) == 0 && bytes != 0)
		log_text(home_output(supervisor), text);
	free(text);
}

void supervisor_close_unused(struct supervisor *supervisor)
{
	sockets_close_unused(&supervisor->sockets);
	sockets_forget_drops(&supervisor->sockets, supervisor->plan->directory);
}

static int lock_home(struct supervisor *supervisor, struct shm_error *error)
{
	const char *directory = supervisor->plan->directory;
	if (supervisor->handover != NULL && supervisor->handover->in_place)
		return 0; /* handed over, and the folder is held since then */
	int result =
	        home_lock(directory, &supervisor->users, &supervisor->lock, &supervisor->made_root, error);
	return result == 0 ? home_guard(directory, &supervisor->guard, error) : result;
}

/* Takes what is passed and handed over, before anything else is opened. */
static int take_handed(struct supervisor *supervisor, struct shm_error *error)
{
	ssize_t n = readlink("/proc/self/exe", supervisor->program, sizeof supervisor->program - 1);
	supervisor->program[n < 0 ? 0 : n] = '\0';
	requests_init(&supervisor->requests);
	(void)sockets_take_passed(&supervisor->sockets);
	int result = handover_take(supervisor, error);
	if (result == 0 && supervisor->handover != NULL && supervisor->handover->in_place)
		result = home_hold(supervisor->handover->directory, error);
	return result;
}

int supervisor_init(struct supervisor *supervisor, const struct supervisor_options *options)
{
	struct shm_error error = {""};
	memset(supervisor, 0, sizeof *supervisor);
	supervisor->options = *options;
	capabilities_lower();
	supervisor->packets = packets_create();
	supervisor->lock = supervisor->guard = supervisor->signals = -1;
	if (getcwd(supervisor->cwd, sizeof supervisor->cwd) == NULL)
		snprintf(supervisor->cwd, sizeof supervisor->cwd, "/");
	int result = take_handed(supervisor, &error);
	block_signals(supervisor); /* before anything that takes time: SIGHUP must not end a start */
	if (result == 0 && load_and_plan(supervisor) != 0)
		return SUPERVISOR_CANNOT_START;
	if (result == 0)
		result = check_programs(supervisor, &error);
	if (result == 0 && !supervisor->users.in_force && try_files(supervisor, &error) != 0)
		return SUPERVISOR_CANNOT_START;
	if (result == 0)
		result = lock_home(supervisor, &error);
	if (result == 0)
		result = look_around(supervisor, &error);
	if (result == 0 && supervisor->users.in_force)
		result = try_files(supervisor, &error);
	if (result == 0)
		result = make_all(supervisor, &error);
	if (result == 0) {
		supervisor_close_unused(supervisor);
		return 0;
	}
	say_refused(error.text);
	if (supervisor->fresh) {
		(void)segments_remove(&supervisor->segments);
		home_remove_root(supervisor->plan->directory, supervisor->made_root);
	}
	return SUPERVISOR_CANNOT_START;
}

void supervisor_fini(struct supervisor *supervisor)
{
	reload_give_up(supervisor);
	requests_finish(&supervisor->requests, "the supervisor has ended: see its log");
	free(supervisor->handover);
	children_fini(&supervisor->children);
	packets_destroy(supervisor->packets);
	sockets_close(&supervisor->sockets);
	watch_close(&supervisor->watch);
	segments_fini(&supervisor->segments);
	plan_free(supervisor->plan);
	config_free(supervisor->config);
	plan_free(supervisor->next_plan);
	config_free(supervisor->next_config);
	if (supervisor->signals >= 0)
		close(supervisor->signals);
	if (supervisor->guard >= 0)
		close(supervisor->guard);
	if (supervisor->lock >= 0)
		close(supervisor->lock);
}

/* ---- the phases ---- */

static void start_rank(struct supervisor *supervisor, uint64_t now_ns)
{
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n; i++)
		if ((int)children->child[i].role.rank == supervisor->rank &&
		    children->child[i].phase == CHILD_DOWN)
			children_start(children, i, now_ns);
	supervisor->rank_deadline_ns = now_ns + START_PATIENCE_NS;
}

void supervisor_begin_start(struct supervisor *supervisor, uint64_t now_ns)
{
	watch_open(&supervisor->watch, supervisor->segments.directory, supervisor->plan->instance,
	           supervisor->segments.old);
	supervisor->phase = SUPERVISOR_STARTING;
	supervisor->rank = (int)flow_ranks() - 1;
	start_rank(supervisor, now_ns);
}

static void say_ready(struct supervisor *supervisor)
{
	const struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].phase != CHILD_UP)
			log_error("a stage does not come up", "role=%s", children->child[i].role.page.name);
	if (!supervisor->announced)
		log_text(home_output(supervisor),
		         children_all(children, -1, CHILD_UP)
		                 ? "ready\n"
		                 : "not all stages run yet: see the log and millrace stat\n");
	supervisor->announced = true;
	log_info(children_all(children, -1, CHILD_UP) ? "all stages run" : "some stages do not run",
	         "roles=%u", children->n);
}

static uint64_t start_step(struct supervisor *supervisor, uint64_t now_ns)
{
	while (children_all(&supervisor->children, supervisor->rank, CHILD_UP) ||
	       now_ns >= supervisor->rank_deadline_ns) {
		if (supervisor->rank == 0) {
			supervisor->phase = SUPERVISOR_UP;
			say_ready(supervisor);
			renew_finish_started(supervisor);
			return UINT64_MAX;
		}
		supervisor->rank--;
		start_rank(supervisor, now_ns);
	}
	return supervisor->rank_deadline_ns;
}

static void take_signals(struct supervisor *supervisor, uint64_t now_ns)
{
	struct signalfd_siginfo info;
	while (read(supervisor->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			supervisor->home_look_ns =
			        /* that may be why it died, and nothing is started in a folder that
			         * is gone */
			        0;
		if (info.ssi_signo == SIGHUP)
			supervisor->reload_wanted = true;
		if (info.ssi_signo == SIGUSR2)
			supervisor->request_wanted = true;
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			drain_begin(supervisor, now_ns);
	}
}

void supervisor_look_at_home(struct supervisor *supervisor, uint64_t now_ns)
{
	char missing[SEGMENT_NAME_MAX];
	if (supervisor->lost || now_ns < supervisor->home_look_ns)
		return;
	supervisor->home_look_ns = now_ns + HOME_LOOK_NS;
	packets_look(supervisor->packets);
	if (home_in_place(supervisor, missing))
		return;
	log_error(
	        "the instance's folder was removed or changed while it ran: no more is taken, the instance ends",
	        "directory=%s missing=%s hint=\"logind removes the shared memory of users who have logged out: RemoveIPC=no in logind.conf, or a system user\"",
	        supervisor->plan->directory, missing);
	supervisor->lost = true;
	children_start_none(&supervisor->children);
	if (supervisor->phase != SUPERVISOR_DRAINING)
		drain_begin(supervisor, now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void count_log(struct supervisor *supervisor)
{
	uint64_t dropped = log_dropped();
	segments_count(&supervisor->segments, SUPERVISOR_log_lines_dropped,
	               dropped - supervisor->log_counted);
	supervisor->log_counted = dropped;
}

/* One turn. Returns true when all has ended. */
static bool turn(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	uint64_t next_ns = UINT64_MAX;
	take_signals(supervisor, now_ns);
	supervisor_look_at_home(supervisor, now_ns);
	children_step(&supervisor->children, now_ns);
	if (supervisor->phase == SUPERVISOR_STARTING)
		next_ns = start_step(supervisor, now_ns);
	if (supervisor->phase == SUPERVISOR_UP && supervisor->reload_wanted)
		reload_begin(supervisor, now_ns);
	if (supervisor->phase == SUPERVISOR_UP && supervisor->request_wanted)
		renew_begin(supervisor, now_ns);
	if (supervisor->phase == SUPERVISOR_RENEWING)
		renew_step(supervisor, now_ns, &next_ns);
	if (supervisor->phase == SUPERVISOR_CHECKING)
		reload_check(supervisor, now_ns, &next_ns);
	if (supervisor->phase == SUPERVISOR_RELOADING)
		reload_step(supervisor, now_ns, &next_ns);
	if (supervisor->phase == SUPERVISOR_DRAINING && drain_step(supervisor, now_ns, &next_ns))
		return true;
	*due_ns = earlier(children_due(&supervisor->children, now_ns), next_ns);
	if (!supervisor->lost)
		*due_ns = earlier(*due_ns, supervisor->home_look_ns);
	if (supervisor->phase != SUPERVISOR_DRAINING) {
		*due_ns = earlier(*due_ns, watch_step(&supervisor->watch, supervisor->config, now_ns));
		segments_count(&supervisor->segments, SUPERVISOR_lapsed_groups, supervisor->watch.lapsed);
		supervisor->watch.lapsed = 0;
	}
	return false;
}

static int after_drain(struct supervisor *supervisor)
{
	int status = drain_finish(supervisor);
	return supervisor->renew.drains ? renew_after_drain(supervisor, status) : status;
}

int supervisor_run(struct supervisor *supervisor)
{
	if (supervisor->handover != NULL && supervisor->handover->in_place) {
		supervisor->announced = true; /* by the program before */
	} else {
		home_announce(supervisor);
		supervisor_announce_packets(supervisor);
	}
	supervisor_begin_start(supervisor, clock_monotonic_ns());
	for (;;) {
		uint64_t due_ns, now_ns = clock_monotonic_ns();
		if (turn(supervisor, now_ns, &due_ns))
			return after_drain(supervisor);
		count_log(supervisor);
		uint64_t wait_ns = due_ns <= now_ns ? 0 : due_ns - now_ns;
		struct timespec wait = {.tv_sec = (time_t)(wait_ns / NS_PER_SEC),
		                        .tv_nsec = (long)(wait_ns % NS_PER_SEC)};
		struct pollfd signals = {.fd = supervisor->signals, .events = POLLIN};
		(void)ppoll(&signals, 1, due_ns == UINT64_MAX ? NULL : &wait, NULL);
	}
}
