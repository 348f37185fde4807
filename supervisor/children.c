#include "supervisor/children.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/program.h"
#include "supervisor/capabilities.h"
#include "supervisor/environment.h"
#include "supervisor/queues.h"

#define START_LOOK_NS     (3 * NS_PER_MS) /* between two looks at a stage that is starting */
#define HEARTBEAT_LOOK_NS NS_PER_SEC

/* ---- where the programs are ---- */

int children_find_libexec(struct children *children, struct shm_error *error)
{
	int result = program_libexec(children->libexec, sizeof children->libexec);
	if (result == -ENAMETOOLONG)
		shm_explain(error, "the path of the folder of the stages is too long; allowed: %zu bytes",
		            sizeof children->libexec - 1);
	else if (result != 0)
		shm_explain(error, "/proc/self/exe: %s; set MILLRACE_LIBEXEC to the folder of the stages",
		            strerror(-result));
	return result;
}

static void program_path(const struct children *children, const char *program, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", children->libexec, program);
}

int children_check_program(const struct children *children, const char *program, struct shm_error *error)
{
	char path[sizeof children->libexec + SHM_NAME_MAX + 1];
	program_path(children, program, path, sizeof path);
	const struct users_kind *kind = users_of(children->users, program);
	int failed = access(path, X_OK) == 0 ? 0 : -errno;
	if (failed != 0) {
		shm_explain(error, "%s: cannot be executed: %s", path, strerror(-failed));
		return failed;
	}
	if (kind != NULL)
		failed = users_try(children->users, program, path, X_OK);
	if (kind != NULL && failed != 0)
		shm_explain(
		        error,
		        "%s: the user %s cannot execute it: %s; chmod o+x the folders that it is in, or users: off",
		        path, kind->name, strerror(-failed));
	return failed;
}

/* ---- the table ---- */

int children_add(struct children *children, const struct plan_role *role, const int *fd, unsigned n,
                 struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	if (children->n == INSTANCE_ROLES_MAX) {
		shm_explain(error, "%s: more than %u roles", role->page.name, INSTANCE_ROLES_MAX);
		return -ENOSPC;
	}
	struct child *child = &children->child[children->n];
	memset(child, 0, sizeof *child);
	int result = segment_attach(&child->control_segment, children->directory,
	                            instance_stage_name(name, role->page.name), SEGMENT_STAGE, SEGMENT_WRITE,
	                            error);
	if (result != 0)
		return result;
	child->control = child->control_segment.body;
	child->role = *role;
	if (n > 0)
		memcpy(child->socket, fd, n * sizeof *fd);
	child->n_sockets = n;
	child->packets.gate = -1;
	children->n++;
	return 0;
}

void children_hand_packets(struct children *children, const struct child_packets *packets)
{
	children->child[children->n - 1].packets = *packets;
}

void children_remove(struct children *children, unsigned index)
{
	segment_detach(&children->child[index].control_segment);
	children->n--;
	memmove(&children->child[index], &children->child[index + 1],
	        (children->n - index) * sizeof children->child[0]);
}

int children_index(const struct children *children, const char *role)
{
	for (unsigned i = 0; i < children->n; i++)
		if (strcmp(children->child[i].role.page.name, role) == 0)
			return (int)i;
	return -1;
}

void children_fini(struct children *children)
{
	while (children->n != 0)
		children_remove(children, children->n - 1);
}

bool children_all(const struct children *children, int rank, enum child_phase phase)
{
	for (unsigned i = 0; i < children->n; i++)
		if ((rank < 0 || (int)children->child[i].role.rank == rank) &&
		    children->child[i].phase != phase)
			return false;
	return true;
}

/* ---- starting ---- */

/* Texts of arguments and the arguments. */
struct command_line {
	char number[STAGE_SOCKETS_MAX + STAGE_FRAMES_MAX + 1][36];
	unsigned n_numbers;
	const char *argv[2 * (STAGE_SOCKETS_MAX + STAGE_FRAMES_MAX) + 10];
	unsigned n;
};

/* Adds "option fd" or "option fd:queue:count"; the descriptor stays open in the stage. */
static void add_descriptor(struct command_line *line, const char *option, int fd,
                           const struct stage_frames *frames)
{
	char *number = line->number[line->n_numbers++];
	if (frames == NULL)
		snprintf(number, sizeof line->number[0], "%d", fd);
	else
		snprintf(number, sizeof line->number[0], "%d:%u:%u", fd, frames->queue, frames->count);
	line->argv[line->n++] = option;
	line->argv[line->n++] = number;
	(void)fcntl(fd, F_SETFD, 0);
}

/* In the child. It dies with the supervisor: the kernel sends SIGTERM, which drains it. Terminal
 * signals are for the supervisor alone. */
static void become_stage(const struct children *children, const struct child *child, pid_t supervisor)
{
	char path[sizeof children->libexec + SHM_NAME_MAX + 1];
	struct command_line line = {.n = 0};
	program_path(children, child->role.page.program, path, sizeof path);
	line.argv[line.n++] = path;
	line.argv[line.n++] = "--instance";
	line.argv[line.n++] = children->instance;
	line.argv[line.n++] = "--role";
	line.argv[line.n++] = child->role.page.name;
	for (unsigned i = 0; i < child->n_sockets; i++)
		add_descriptor(&line, "--socket", child->socket[i], NULL);
	for (unsigned i = 0; i < child->packets.n; i++)
		add_descriptor(&line, "--frames", child->packets.frames[i].socket, &child->packets.frames[i]);
	if (child->packets.n != 0)
		add_descriptor(&line, "--gate", child->packets.gate, NULL);
	line.argv[line.n] = NULL;
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_DFL);
	sigset_t kept;
	sigemptyset(&kept);
	sigaddset(&kept, SIGUSR1); /* a wish that comes before the stage can take it waits (loop.c) */
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		_exit(126);
	int result = users_become(children->users, child->role.page.program);
	if (result != 0) {
		log_error("cannot become the user of the stage", "path=%s error=\"%s\"", path,
		          strerror(-result));
		_exit(126);
	}
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
		_exit(126);
	if (getppid() != supervisor) /* it died before the line above */
		_exit(0);
	result = capabilities_shed();
	if (result != 0) {
		log_error("cannot give up capabilities", "path=%s error=\"%s\"", path, strerror(-result));
		_exit(126);
	}
	sigprocmask(SIG_SETMASK, &kept, NULL);
	char **environment = environment_of(child->role.page.program);
	if (environment != NULL)
		execve(path, (char *const *)(uintptr_t)line.argv, environment);
	log_error("cannot execute", "path=%s error=\"%s\"", path, strerror(errno));
	_exit(127);
}

static void wait_again(struct children *children, struct child *child, uint64_t now_ns);
static void settle_claims(const struct children *children, struct child *child, bool ran, uint64_t now_ns);

void children_start(struct children *children, unsigned index, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	pid_t supervisor = getpid();
	child->asked = child->unasked = child->killed = child->claims = false;
	child->started_ns = now_ns;
	atomic_store_explicit(&child->control->throttled, 0, memory_order_relaxed);
	child->pid = fork();
	if (child->pid == 0)
		become_stage(children, child, supervisor);
	if (child->pid < 0) {
		log_error("cannot start a process", "role=%s error=\"%s\"", child->role.page.name,
		          strerror(errno));
		wait_again(children, child, now_ns);
		settle_claims(children, child, false, now_ns);
		return;
	}
	child->phase = CHILD_STARTING;
	log_debug("started", "role=%s stage_pid=%d", child->role.page.name, (int)child->pid);
}

/* ---- death ---- */

static uint64_t backoff(const struct children *children, unsigned quick_deaths)
{
	if (quick_deaths < 2)
		return 0;
	unsigned doublings = quick_deaths - 2;
	uint64_t delay = children->backoff_ns;
	while (doublings-- > 0 && delay < children->backoff_max_ns)
		delay *= 2;
	return delay < children->backoff_max_ns ? delay : children->backoff_max_ns;
}

static void wait_again(struct children *children, struct child *child, uint64_t now_ns)
{
	uint64_t lived_ns = now_ns - child->started_ns;
	if (lived_ns > GOOD_LIFE_NS)
		child->quick_deaths = 0;
	else if (lived_ns < QUICK_DEATH_NS)
		child->quick_deaths++;
	uint64_t delay_ns = backoff(children, child->quick_deaths);
	child->phase = CHILD_WAITING;
	child->restart_at_ns = now_ns + delay_ns;
	atomic_store_explicit(&child->control->throttled, delay_ns == 0 ? 0 : 1, memory_order_relaxed);
}

static bool says_running(const struct child *child)
{
	return atomic_load_explicit(&child->control->state, memory_order_acquire) == STAGE_RUNNING &&
	       atomic_load_explicit(&child->control->pid, memory_order_relaxed) == (uint32_t)child->pid;
}

/* What it had claimed in queues: for its next life, or for others. ran: its last life was
 * running. */
static void settle_claims(const struct children *children, struct child *child, bool ran, uint64_t now_ns)
{
	bool soon = child->phase == CHILD_WAITING && child->restart_at_ns <= now_ns + CLAIMS_KEPT_NS;
	child->claims = ran && soon && child->role.stage->takes != NULL;
	if (!child->claims)
		queues_repair(children->directory, &child->role);
}

/* A dead role gets no next life. */
static void put_down(const struct children *children, struct child *child)
{
	child->phase = CHILD_DOWN;
	if (child->claims)
		queues_repair(children->directory, &child->role);
	child->claims = false;
}

static void log_death(const struct child *child, int status, const char *what)
{
	if (WIFSIGNALED(status))
		log_warn("stage died", "role=%s stage_pid=%d signal=%d next=\"%s\"", child->role.page.name,
		         (int)child->pid, WTERMSIG(status), what);
	else
		log_warn("stage died", "role=%s stage_pid=%d exit_status=%d next=\"%s\"",
		         child->role.page.name, (int)child->pid, WEXITSTATUS(status), what);
}

/* Logged when it is started again: until then everything may be about to end. */
static void handle_unasked_end(struct children *children, struct child *child, uint64_t now_ns)
{
	wait_again(children, child, now_ns);
	if (child->restart_at_ns < now_ns + UNASKED_PAUSE_NS)
		child->restart_at_ns = now_ns + UNASKED_PAUSE_NS;
	if (children->ending)
		child->phase = CHILD_DOWN;
	child->unasked = true;
	child->pid = 0;
}

static void answer_death(struct children *children, struct child *child, int status, uint64_t now_ns)
{
	bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	bool by_sigterm = ended || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	atomic_store_explicit(&child->control->last_exit, status, memory_order_relaxed);
	if (children->start_none || (child->stopping && (ended || child->stop_tries >= STOP_TRIES))) {
		if (!ended)
			log_death(child, status,
			          children->start_none ? "none, nothing is started any more"
			                               : "none, it has been told to end");
		child->phase = CHILD_DOWN;
		child->pid = 0;
		return;
	}
	if (!child->stopping && by_sigterm) {
		handle_unasked_end(children, child, now_ns);
		return;
	}
	wait_again(children, child, now_ns);
	if (child->stopping)
		child->restart_at_ns = now_ns;
	/* Of a crash loop the log has the deaths that are answered at once and that the role is
	 * throttled, not every later death. */
	bool at_once = child->restart_at_ns == now_ns;
	if (at_once || child->quick_deaths == 2)
		log_death(child, status, at_once ? "restart" : "restart after a while");
	if (!at_once && child->quick_deaths == 2)
		log_error("keeps dying soon after its start: throttled", "role=%s restart_backoff_ms=%llu",
		          child->role.page.name,
		          (unsigned long long)((child->restart_at_ns - now_ns) / NS_PER_MS));
	child->pid = 0;
}

static void handle_death(struct children *children, struct child *child, int status, uint64_t now_ns)
{
	bool ran = says_running(child);
	for (unsigned i = 0; i < child->packets.n; i++)
		__atomic_store_n(child->packets.open[i], 0, __ATOMIC_RELEASE);
	answer_death(children, child, status, now_ns);
	settle_claims(children, child, ran, now_ns);
}

static void bury(struct children *children, uint64_t now_ns)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == children->guest.pid) {
			children->guest.ended = true;
			children->guest.status = status;
		}
		for (unsigned i = 0; i < children->n; i++)
			if (children->child[i].pid == pid)
				handle_death(children, &children->child[i], status, now_ns);
	}
}

/* ---- stopping ---- */

void children_start_none(struct children *children)
{
	children->start_none = true;
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].phase == CHILD_WAITING)
			put_down(children, &children->child[i]);
}

void children_stop(struct children *children, unsigned index, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	if (child->stopping || child->phase == CHILD_DOWN)
		return;
	child->stopping = true;
	child->stop_tries = 0;
	if (child->phase == CHILD_UP) {
		child->asked = true;
		(void)kill(child->pid, SIGTERM);
	} else if (child->phase == CHILD_WAITING) {
		child->restart_at_ns = now_ns;
	}
}

void children_start_again(struct children *children, unsigned index, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	child->stopping = child->finished = false;
	child->stop_tries = child->quick_deaths = 0;
	ledger_add(&child->control->restarts, 1);
	children_start(children, index, now_ns);
}

void children_adopt(struct children *children, unsigned index, pid_t pid, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	child->pid = pid;
	child->started_ns = now_ns;
	child->phase = CHILD_STARTING; /* the next step finds out whether it runs */
}

void children_ending(struct children *children)
{
	children->ending = true;
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].phase == CHILD_WAITING && children->child[i].unasked)
			put_down(children, &children->child[i]);
}

void children_finish(struct children *children, unsigned index, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	log_info("has unfinished work: started once more", "role=%s", child->role.page.name);
	child->stopping = true;
	child->stop_tries = 0;
	child->finished = true;
	ledger_add(&child->control->restarts, 1);
	children_start(children, index, now_ns);
}

void children_kill(struct children *children, unsigned index)
{
	struct child *child = &children->child[index];
	child->stopping = true;
	child->stop_tries = STOP_TRIES;
	if (child->phase == CHILD_WAITING)
		put_down(children, child);
	if (child->phase == CHILD_DOWN || child->killed)
		return;
	child->killed = true;
	log_error("not ended in time: killed", "role=%s stage_pid=%d", child->role.page.name,
	          (int)child->pid);
	(void)kill(child->pid, SIGKILL);
}

/* ---- watching ---- */

static void check_heartbeat(const struct children *children, struct child *child, uint64_t now_ns)
{
	uint64_t allowed_ns = children->stage_timeout_ns;
	uint64_t beat_ns = atomic_load_explicit(&child->control->heartbeat_ns, memory_order_relaxed);
	if (child->phase == CHILD_STARTING || beat_ns < child->started_ns)
		allowed_ns *= START_TIMEOUTS;
	if (beat_ns < child->started_ns)
		beat_ns = child->started_ns;
	if (allowed_ns == 0 || now_ns < beat_ns || now_ns - beat_ns <= allowed_ns)
		return;
	log_error("no heartbeat: killed", "role=%s stage_pid=%d age_ms=%llu", child->role.page.name,
	          (int)child->pid, (unsigned long long)((now_ns - beat_ns) / NS_PER_MS));
	(void)kill(child->pid, SIGKILL);
}

static void step_one(struct children *children, unsigned index, uint64_t now_ns)
{
	struct child *child = &children->child[index];
	if (child->phase == CHILD_WAITING && child->restart_at_ns <= now_ns) {
		child->stop_tries += child->stopping ? 1 : 0;
		if (child->unasked)
			log_warn("ended by another process: restarted", "role=%s", child->role.page.name);
		ledger_add(&child->control->restarts, 1);
		children_start(children, index, now_ns);
	}
	if (child->phase == CHILD_STARTING && says_running(child)) {
		child->phase = CHILD_UP;
		log_info("stage runs", "role=%s stage_pid=%d", child->role.page.name, (int)child->pid);
		if (child->stopping) {
			child->asked = true;
			(void)kill(child->pid, SIGTERM);
		}
	}
	if (child->phase == CHILD_STARTING || child->phase == CHILD_UP)
		check_heartbeat(children, child, now_ns);
}

static uint64_t due_of(const struct children *children, const struct child *child, uint64_t now_ns)
{
	switch (child->phase) {
	case CHILD_WAITING:
		return child->restart_at_ns;
	case CHILD_STARTING:
		return now_ns + START_LOOK_NS;
	case CHILD_UP:
		return children->stage_timeout_ns == 0 ? UINT64_MAX : now_ns + HEARTBEAT_LOOK_NS;
	case CHILD_DOWN:
		break;
	}
	return UINT64_MAX;
}

void children_step(struct children *children, uint64_t now_ns)
{
	bury(children, now_ns);
	for (unsigned i = 0; i < children->n; i++)
		step_one(children, i, now_ns);
}

uint64_t children_due(const struct children *children, uint64_t now_ns)
{
	uint64_t due_ns = UINT64_MAX;
	for (unsigned i = 0; i < children->n; i++) {
		uint64_t next_ns = due_of(children, &children->child[i], now_ns);
		if (next_ns < due_ns)
			due_ns = next_ns;
	}
	return due_ns;
}
