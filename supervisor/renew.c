#include "supervisor/renew.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/drain.h"
#include "supervisor/handover.h"
#include "supervisor/reload.h"

#define DEATHS_ENOUGH 3u /* of its new life, in a row: it will not come up */
#define TIMEOUT_TEXT  "it was killed after drain_timeout; its new life takes up what it left"

/* ---- which roles ---- */

/* "tally.0", or a stage: "ingest-http", which is the program of its roles. */
static bool is_meant(const struct plan_role *role, const char *what)
{
	return strcmp(role->page.name, what) == 0 || strcmp(role->page.program, what) == 0;
}

/* In the order of a start. */
static void choose(struct supervisor *supervisor, const char *what)
{
	struct renew *renew = &supervisor->renew;
	const struct plan *plan = supervisor->plan;
	for (int rank = (int)flow_ranks() - 1; rank >= 0; rank--)
		for (unsigned i = 0; i < plan->n_roles; i++) {
			const struct plan_role *role = &plan->role[i];
			bool runs = supervisor->options.managed ||
			            children_index(&supervisor->children, role->page.name) >= 0;
			if ((int)role->rank != rank || !runs || (what != NULL && !is_meant(role, what)))
				continue;
			memcpy(renew->role[renew->n++], role->page.name, SHM_NAME_MAX);
		}
}

static void say_unknown(struct supervisor *supervisor, const char *what)
{
	char text[REQUEST_LINE_MAX];
	int n = snprintf(text, sizeof text, "the instance has no stage and no role \"%s\"; its roles:", what);
	for (unsigned i = 0; i < supervisor->plan->n_roles && n < (int)sizeof text; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, " %s", supervisor->plan->role[i].page.name);
	requests_finish(&supervisor->requests, text);
}

/* ---- trying ---- */

static void say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text)
{
	struct supervisor *supervisor = argument;
	struct renew *renew = &supervisor->renew;
	const char *program = role == NULL ? "supervisor" : role->page.program;
	if (finding == TRIAL_LAYOUT) {
		requests_say(&supervisor->requests, "%s: %s", program, text);
		renew->other_layout = true;
	} else if (finding == TRIAL_REFUSED) {
		requests_say(&supervisor->requests, "%s: cannot start: %s", program, text);
		renew->refused++;
	} else if (finding != TRIAL_UNSEEN) {
		requests_say(&supervisor->requests, "%s: warning: %s", program, text);
	}
}

bool renew_prepare(struct supervisor *supervisor, const char *text, uint64_t layout)
{
	struct renew *renew = &supervisor->renew;
	struct trial *trial = &supervisor->trial;
	bool restart = strncmp(text, "restart ", 8) == 0;
	if (!restart && strcmp(text, "upgrade") != 0) {
		requests_finish(&supervisor->requests,
		                "this supervisor does not know that; it knows restart, upgrade and reload");
		return false;
	}
	*renew = (struct renew){.upgrade = !restart};
	choose(supervisor, restart ? text + 8 : NULL);
	if (restart && renew->n == 0) {
		say_unknown(supervisor, text + 8);
		return false;
	}
	trial_begin(trial, supervisor->config, supervisor->plan, supervisor->children.libexec, false,
	            say_finding, supervisor);
	trial->users = &supervisor->users;
	trial->layout = layout;
	if (restart) {
		/* All roles that are meant have one program; the first's section speaks for it. */
		int index = plan_role_index(supervisor->plan, renew->role[0]);
		trial->only = supervisor->plan->role[index].section;
	}
	return true;
}

const char *renew_verdict(const struct renew *renew)
{
	if (renew->refused != 0)
		return "nothing was ended: the programs that are installed cannot start";
	if (renew->other_layout && !renew->upgrade)
		return "nothing was ended: the program is of another layout; millrace upgrade drains and makes everything anew";
	return NULL;
}

void renew_begin(struct supervisor *supervisor, uint64_t now_ns)
{
	char text[REQUEST_TEXT_MAX];
	supervisor->request_wanted = false;
	if (!requests_take(&supervisor->requests, supervisor->plan->directory, text))
		return;
	supervisor->reload_asked = strcmp(text, "reload") == 0;
	if (supervisor->reload_asked) {
		reload_begin(supervisor, now_ns);
		return;
	}
	if (!renew_prepare(supervisor, text, segment_layout_hash()))
		return;
	if (supervisor->renew.upgrade)
		supervisor->trial.supervisor = supervisor->program;
	supervisor->phase = SUPERVISOR_RENEWING;
}

/* ---- the end of it ---- */

static void finish(struct supervisor *supervisor, const char *why)
{
	supervisor->phase = SUPERVISOR_UP;
	requests_finish(&supervisor->requests, why);
}

void renew_give_up(struct supervisor *supervisor)
{
	if (supervisor->phase == SUPERVISOR_RENEWING && supervisor->renew.step == RENEW_TRYING) {
		trial_stop(&supervisor->trial);
		supervisor->children.guest.pid = 0;
	}
	supervisor->renew.drains = false;
	requests_finish(&supervisor->requests, "the instance has been asked to end");
}

static void begin_drain(struct supervisor *supervisor, uint64_t now_ns)
{
	requests_say(&supervisor->requests, "%s: all stages drain, then everything is made anew",
	             supervisor->renew.other_layout ? "the layout of shared memory changes"
	                                            : "packets are taken from an interface");
	supervisor->renew.drains = true;
	drain_begin(supervisor, now_ns);
}

static bool takes_packets(const struct children *children)
{
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].packets.n != 0)
			return true;
	return false;
}

/* The stages have been renewed. */
static void renew_self(struct supervisor *supervisor, uint64_t now_ns)
{
	char why[160];
	if (takes_packets(&supervisor->children)) {
		begin_drain(supervisor, now_ns);
		return;
	}
	int result = handover_exec(supervisor, true);
	snprintf(why, sizeof why, "the supervisor stays as it is: its new program cannot be started: %s",
	         strerror(-result));
	finish(supervisor, why);
}

int renew_after_drain(struct supervisor *supervisor, int status)
{
	char why[200];
	if (status != SUPERVISOR_DRAINED && (status != SUPERVISOR_LEFT || supervisor->renew.other_layout)) {
		requests_finish(
		        &supervisor->requests,
		        "not everything was drained, so the segments were kept and the instance has ended; only programs of the old build can read them: see its log");
		return status;
	}
	int result = handover_exec(supervisor, false);
	snprintf(why, sizeof why,
	         "the instance has ended: the supervisor's new program cannot be started: %s",
	         strerror(-result));
	requests_finish(&supervisor->requests, why);
	return SUPERVISOR_CANNOT_START;
}

void renew_finish_started(struct supervisor *supervisor)
{
	if (supervisor->requests.answer < 0)
		return;
	bool all = children_all(&supervisor->children, -1, CHILD_UP);
	if (!supervisor->reload_asked)
		requests_say(&supervisor->requests, "supervisor: process %d goes on as version %s, %llu ms",
		             (int)getpid(), MILLRACE_VERSION,
		             (unsigned long long)((clock_monotonic_ns() - supervisor->renew.step_begun_ns) /
		                                  NS_PER_MS));
	requests_finish(&supervisor->requests, all ? NULL : "not all stages run: see millrace stat");
}

/* ---- role by role ---- */

static void stop_next(struct supervisor *supervisor, uint64_t now_ns)
{
	struct renew *renew = &supervisor->renew;
	int index = children_index(&supervisor->children, renew->role[renew->next]);
	renew->step = RENEW_STOPPING;
	renew->step_begun_ns = now_ns;
	renew->deadline_ns = now_ns + config_ns(supervisor->config, "drain_timeout");
	renew->old_pid = supervisor->children.child[index].pid;
	children_stop(&supervisor->children, (unsigned)index, now_ns);
}

static void go_on(struct supervisor *supervisor, uint64_t now_ns)
{
	struct renew *renew = &supervisor->renew;
	if (renew->next < renew->n)
		stop_next(supervisor, now_ns);
	else if (renew->upgrade)
		renew_self(supervisor, now_ns);
	else
		finish(supervisor, NULL);
}

static void step_trying(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	struct renew *renew = &supervisor->renew;
	if (trial_among(&supervisor->trial, &supervisor->children, now_ns, due_ns))
		return;
	*due_ns = now_ns;
	if (renew_verdict(renew) != NULL)
		finish(supervisor, renew_verdict(renew));
	else if (renew->other_layout)
		begin_drain(supervisor, now_ns);
	else
		go_on(supervisor, now_ns);
}

static void step_stopping(struct supervisor *supervisor, unsigned index, uint64_t now_ns, uint64_t *due_ns)
{
	struct renew *renew = &supervisor->renew;
	struct children *children = &supervisor->children;
	if (children->child[index].phase != CHILD_DOWN && now_ns >= renew->deadline_ns && !renew->killed) {
		children_kill(children, index);
		renew->killed = true;
		requests_say(&supervisor->requests, "%s: %s", renew->role[renew->next], TIMEOUT_TEXT);
	}
	if (children->child[index].phase != CHILD_DOWN) {
		*due_ns = renew->killed ? UINT64_MAX : renew->deadline_ns; /* SIGCHLD comes */
		return;
	}
	children_start_again(children, index, now_ns);
	renew->step = RENEW_STARTING;
	renew->deadline_ns = now_ns + START_PATIENCE_NS;
	*due_ns = now_ns;
}

static void step_starting(struct supervisor *supervisor, unsigned index, uint64_t now_ns, uint64_t *due_ns)
{
	struct renew *renew = &supervisor->renew;
	const struct child *child = &supervisor->children.child[index];
	char why[160];
	if (child->phase == CHILD_UP) {
		requests_say(&supervisor->requests, "%s: process %d -> %d, %llu ms", renew->role[renew->next],
		             (int)renew->old_pid, (int)child->pid,
		             (unsigned long long)((now_ns - renew->step_begun_ns) / NS_PER_MS));
		renew->next++;
		renew->killed = false;
		go_on(supervisor, now_ns);
		*due_ns = now_ns;
	} else if (now_ns >= renew->deadline_ns || child->quick_deaths >= DEATHS_ENOUGH) {
		snprintf(
		        why, sizeof why,
		        "%s does not come up again: see the log and millrace stat; the roles after it were left as they are",
		        renew->role[renew->next]);
		finish(supervisor, why);
	} else {
		*due_ns = renew->deadline_ns;
	}
}

void renew_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	struct renew *renew = &supervisor->renew;
	if (renew->step == RENEW_TRYING) {
		step_trying(supervisor, now_ns, due_ns);
		return;
	}
	unsigned index = (unsigned)children_index(&supervisor->children, renew->role[renew->next]);
	if (renew->step == RENEW_STOPPING)
		step_stopping(supervisor, index, now_ns, due_ns);
	else
		step_starting(supervisor, index, now_ns, due_ns);
}
