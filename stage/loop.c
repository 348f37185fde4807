#include "stage/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "stage/handed.h"
#include "stage/notify.h"
#include "stage/sandbox.h"

/* A stage that drains has nobody to wait for but the stages before it; it looks often. */
#define DRAIN_WAIT_NS (10 * NS_PER_MS)

/* So long a stage drains whose sandbox is outdated. */
#define OUTDATED_NS NS_PER_SEC

void loop_watch_parent(struct loop_parent *parent)
{
	*parent = (struct loop_parent){.pid = getppid()};
	prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* The kernel's signal does not come when the parent died before prctl: then the parent is another
 * one, or, when it died even before getppid, the supervisor that the page names does not live. */
bool loop_parent_gone(const struct loop_parent *parent, const struct instance_page *page)
{
	uint32_t supervisor = atomic_load_explicit(&page->supervisor_pid, memory_order_relaxed);
	if (getppid() != parent->pid || supervisor != parent->supervisor)
		return true;
	return supervisor != 0 && (pid_t)supervisor != parent->pid && kill((pid_t)supervisor, 0) != 0 &&
	       errno == ESRCH;
}

static struct stage *signalled;

static void on_term(int signal)
{
	(void)signal;
	signalled->draining = true;
}

static void on_request(int signal)
{
	(void)signal;
	signalled->requested = true;
}

void loop_signals(struct stage *stage)
{
	struct sigaction term = {.sa_handler = on_term}, ignore = {.sa_handler = SIG_IGN};
	struct sigaction request = {.sa_handler = on_request, .sa_flags = SA_RESTART};
	sigset_t set;
	signalled = stage;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGUSR1, &request, NULL);
	/* Whoever forked this process may have had SIGTERM blocked. The supervisor blocks SIGUSR1
	 * for us, so that one that comes before the handler waits for it. */
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Nothing can be started again, and a later process finds nothing of what is written now. What has
 * sockets takes in no more. What only reads goes on with the memory that it has mapped: the
 * supervisor tells it when nothing more comes (SIGTERM, in the order of the flow). */
static void lose(struct stage *stage, const char *why)
{
	bool alone = atomic_load_explicit(&stage->instance.page->supervisor_pid, memory_order_relaxed) == 0;
	log_error("the instance's folder was removed or changed while the stage ran", "role=%s reason=\"%s\"",
	          stage->role, why);
	stage->lost = true;
	if (stage->n_sockets != 0 || alone)
		stage->draining = true;
}

/* Lanes that came with another page are attached to. What fails may pass, and is tried again; it is
 * said once. */
static void follow_page(struct stage *stage)
{
	struct shm_error error = {""};
	int result = stage->ports == NULL ? 0 : ports_follow(stage->ports, &error);
	if (result == -EAGAIN)
		return;
	if (result != 0 && result != stage->not_followed)
		log_error("cannot follow the instance's new page", "role=%s reason=\"%s\"", stage->role,
		          error.text);
	stage->not_followed = result;
}

/* A reload that left this stage alone may have put another page in place: what is told from now on
 * is told there. */
static void look_at_instance(struct stage *stage)
{
	struct shm_error error = {""};
	if (stage->lost)
		return;
	int result = instance_follow(&stage->instance, &error);
	if (result == 0)
		follow_page(stage);
	else if (result == -ENOENT || result == -ENOTDIR || result == -ESTALE)
		lose(stage, error.text); /* anything else may pass: the next tick tries again */
}

void loop_count(struct stage *stage)
{
	unsigned first = control_stage_word(stage->ops->metrics, stage->ops->n_metrics);
	uint64_t refused = sandbox_refused(stage->sandbox), dropped = log_dropped();
	metric_set(stage->control, first + STAGE_sandbox, sandbox_in_force(stage->sandbox));
	metric_add(stage->control, first + STAGE_refused_calls, refused - stage->refused_counted);
	metric_add(stage->control, first + STAGE_log_lines_dropped, dropped - stage->log_counted);
	stage->refused_counted = refused;
	stage->log_counted = dropped;
}

/* Rules of the sandbox are about what was there at the start; only another life gets others. */
static void look_at_sandbox(struct stage *stage)
{
	const char *path;
	bool written;
	uint64_t reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	bool reloaded = reloads != stage->reloads;
	stage->reloads = reloads;
	if (stage->draining || !sandbox_outdated(stage->sandbox, reloaded, &path, &written))
		return;
	log_info("a file or folder of the sandbox was replaced: the stage starts again",
	         "role=%s path=\"%s\"", stage->role, path);
	stage->draining = stage->outdated = true;
	stage->out_of_place = written;
}

static void tick(struct stage *stage, const struct loop_parent *parent)
{
	stage_heartbeat(stage);
	look_at_instance(stage);
	loop_count(stage);
	look_at_sandbox(stage);
	if (!stage->draining && handed_gone(stage)) {
		log_warn("other packets are handed: the stage starts again", "role=%s", stage->role);
		stage->draining = stage->outdated = true;
	}
	if (!stage->draining && loop_parent_gone(parent, stage->instance.page)) {
		log_warn("the supervisor is gone", "role=%s", stage->role);
		stage->draining = true;
	}
	if (!stage->outdated)
		stage_files_tick(stage);
	if (stage->ops->tick != NULL)
		stage->ops->tick(stage);
}

static void begin_draining(struct stage *stage)
{
	look_at_instance(stage); /* whether the whole instance drains stands in the page in force */
	atomic_store_explicit(&stage->control->state, STAGE_DRAINING, memory_order_release);
	log_info("draining", "role=%s", stage->role);
	notify_stopping("draining");
}

/* The supervisor ends a stage that does not drain in time. One that has outlived it ends by itself:
 * what it could not make safe stays in shared memory, for whoever takes that up. */
static bool out_of_patience(const struct stage *stage, const struct loop_parent *parent, uint64_t since_ns)
{
	if (stage->outdated && stage->now_ns - since_ns >= OUTDATED_NS)
		return true;
	if (!loop_parent_gone(parent, stage->instance.page) ||
	    stage->now_ns - since_ns < config_ns(stage->config, "drain_timeout"))
		return false;
	log_error(
	        "not drained within drain_timeout, and the supervisor is gone: what is left is for the next",
	        "role=%s", stage->role);
	return true;
}

void loop_run(struct stage *stage, const struct loop_parent *parent)
{
	const struct stage_ops *ops = stage->ops;
	uint64_t ticked_ns = 0, drain_ns = 0;
	bool worked = false, announced = false; /* worked: since the last tick */
	for (;;) {
		stage->now_ns = clock_monotonic_ns();
		if (stage->now_ns - ticked_ns >= STAGE_TICK_NS) {
			tick(stage, parent);
			ticked_ns = stage->now_ns;
			worked = false;
		}
		if (stage->out_of_place) /* what it writes to takes nothing any more */
			return;
		bool draining =
		        stage->draining; /* before poll: what poll then does not find is not to come */
		if (draining && !announced) {
			begin_draining(stage);
			announced = true;
			drain_ns = stage->now_ns;
		}
		stage->rest = false;
		bool any = ops->poll(stage);
		worked |= any;
		if (any && (draining || !stage->rest))
			continue;
		if (draining &&
		    (ops->drained == NULL || ops->drained(stage) || out_of_patience(stage, parent, drain_ns)))
			return;
		uint64_t wait_ns = STAGE_IDLE_NS;
		if (draining)
			wait_ns = DRAIN_WAIT_NS;
		else if (worked)
			wait_ns = STAGE_TICK_NS - (stage->now_ns - ticked_ns);
		/* The flag may have been set since it was read: look again as late as possible. */
		if (draining || !stage->draining)
			ops->idle(stage, wait_ns);
	}
}
