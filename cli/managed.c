#include "cli/managed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "flow/flow.h"
#include "stage/control.h"
#include "supervisor/managed_request.h"

#define SEGMENTS_UNIT "millrace-segments.service"
#define PACKETS_UNIT  "millrace-packets.service"
#define UNIT_MAX      80u
#define LOOK_NS       (5 * NS_PER_MS)
#define BOOTED        "/run/systemd/system" /* sd_booted(3) */
#define WORDS_MAX     8u

/* ---- units ---- */

/* The stage whose role it is; *name is what follows the stage's name. */
static const struct flow_stage *stage_of(const char *role, const char **name)
{
	size_t n;
	const struct flow_stage *stage = flow_stages(&n);
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(stage[i].name);
		if (strncmp(role, stage[i].name, length) != 0 || role[length] != '.')
			continue;
		*name = role + length + 1;
		return &stage[i];
	}
	return NULL;
}

static const char *unit_of(const char *role, const char *kind, char unit[UNIT_MAX])
{
	const char *name = "";
	const struct flow_stage *stage = stage_of(role, &name);
	if (stage != NULL && stage->kinds != NULL)
		snprintf(unit, UNIT_MAX, "millrace-sink@%s.%s", name, kind);
	else if (stage != NULL && (stage->processes == FLOW_ONE || stage->processes == FLOW_LISTENS))
		snprintf(unit, UNIT_MAX, "millrace-%s.%s", stage->name, kind);
	else
		snprintf(unit, UNIT_MAX, "millrace-%s@%s.%s", stage == NULL ? role : stage->name, name, kind);
	return unit;
}

static bool has_socket(const char *role)
{
	const char *name;
	const struct flow_stage *stage = stage_of(role, &name);
	return stage != NULL && (stage->processes == FLOW_DATAGRAMS || stage->processes == FLOW_CONNECTIONS);
}

/* ---- systemctl ---- */

static const char *systemctl(void)
{
	const char *given = getenv(MANAGED_SYSTEMCTL);
	return given != NULL && *given != '\0' ? given : "systemctl";
}

/* Why it cannot be used; NULL: it can. */
static const char *systemctl_lacks(void)
{
	struct stat status;
	if (getenv(MANAGED_SYSTEMCTL) != NULL)
		return NULL;
	if (stat(BOOTED, &status) != 0)
		return "systemd does not run here";
	return geteuid() == 0 ? NULL : "only root may start and stop its units";
}

/* words end with NULL. Returns the process, or -errno. */
static pid_t begin(const char *const *words)
{
	const char *argv[WORDS_MAX + 2] = {systemctl()};
	for (unsigned i = 0; i < WORDS_MAX && words[i] != NULL; i++)
		argv[i + 1] = words[i];
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid != 0)
		return pid < 0 ? -errno : pid;
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "millrace: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Waits for its end. True when it is well. */
static bool end_well(pid_t pid)
{
	int status = -1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool run(const char *verb, const char *unit, const char *other)
{
	const char *const words[] = {verb, unit, other, NULL};
	return end_well(begin(words));
}

/* Without its remarks: that a socket could start the unit again, which links it has made. */
static bool run_quietly(const char *verb, const char *unit, const char *other)
{
	const char *const words[] = {"--quiet", verb, unit, other, NULL};
	return end_well(begin(words));
}

/* ---- what is to be done ---- */

enum verb { STOP, END, START, NEW, RESTART, MAKE, PACKETS, LOOK, VERBS };

static const char *const verb_word[VERBS] = {
        [STOP] = MANAGED_STOP,       [END] = MANAGED_END,         [START] = MANAGED_START,
        [NEW] = MANAGED_NEW,         [RESTART] = MANAGED_RESTART, [MAKE] = MANAGED_MAKE,
        [PACKETS] = MANAGED_PACKETS, [LOOK] = MANAGED_LOOK};

struct step {
	enum verb verb;
	char role[SHM_NAME_MAX];
};

struct work {
	const char *command;
	char directory[128];
	pid_t reload; /* systemctl; 0: it has ended */
	struct step step[3 * INSTANCE_ROLES_MAX];
	unsigned n;
	/* by the steps' roles: the process before */
	int old_pid[3 * INSTANCE_ROLES_MAX];
	bool stopped; /* MANAGED_GO came: roles have been ended */
	bool failed;
};

static int pid_of(const struct work *work, const char *role)
{
	int pid = 0;
	return control_alive(work->directory, role, &pid) > 0 ? pid : 0;
}

/* The first step of this role; at least one has it. */
static int old_pid(const struct work *work, const char *role)
{
	unsigned i = 0;
	while (i + 1 < work->n && strcmp(work->step[i].role, role) != 0)
		i++;
	return work->old_pid[i];
}

static void fail(struct work *work, const char *role, const char *what)
{
	char unit[UNIT_MAX];
	work->failed = true;
	(void)command_fail(work->command, "%s %s: systemctl status %s", role, what,
	                   unit_of(role, "service", unit));
}

/* In the order of the flow, as they were told. A socket that stays would start its role again, but
 * for a reload of the segments' unit, which starts wait for. */
static void stop_all(struct work *work)
{
	char unit[UNIT_MAX], socket[UNIT_MAX];
	work->stopped = true;
	for (unsigned i = 0; i < work->n; i++) {
		const struct step *step = &work->step[i];
		if (step->verb != STOP && step->verb != END)
			continue;
		bool socket_too = step->verb == END && has_socket(step->role);
		if (!run_quietly("stop", unit_of(step->role, "service", unit),
		                 socket_too ? unit_of(step->role, "socket", socket) : NULL))
			fail(work, step->role, "cannot be stopped");
	}
}

static void take_step(struct work *work, const char *line)
{
	size_t length = strcspn(line, " ");
	const char *role = line[length] == ' ' ? line + length + 1 : "";
	if (strcmp(line, MANAGED_GO) == 0) {
		stop_all(work);
		return;
	}
	for (unsigned verb = 0; verb < VERBS; verb++) {
		if (strlen(verb_word[verb]) != length || strncmp(line, verb_word[verb], length) != 0 ||
		    work->n == sizeof work->step / sizeof *work->step)
			continue;
		struct step *step = &work->step[work->n];
		step->verb = (enum verb)verb;
		snprintf(step->role, sizeof step->role, "%s", role);
		work->old_pid[work->n++] = *role == '\0' ? 0 : pid_of(work, role);
	}
}

/* ---- the answer ---- */

/* Prints what is said and does what is to be done at once, to the end of the answer. False, having
 * said why, when it failed. */
static bool follow(struct work *work, struct request *request, uint64_t until_ns)
{
	const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
	const volatile bool *stop = command_stop_on_signals();
	char line[REQUEST_LINE_MAX];
	for (;;) {
		if (work->reload > 0 && waitpid(work->reload, NULL, WNOHANG) == work->reload)
			work->reload = 0;
		request->ended = work->reload <= 0;
		switch (request_next(request, line)) {
		case REQUEST_SAYS:
			printf("%s\n", line);
			(void)fflush(stdout);
			continue;
		case REQUEST_STEP:
			take_step(work, line);
			if (work->failed)
				return false;
			continue;
		case REQUEST_DONE:
			return true;
		case REQUEST_FAILED:
			return command_fail(work->command, "%s", line) == 0;
		case REQUEST_GONE:
			return command_fail(work->command, "systemctl reload " SEGMENTS_UNIT
			                                   " has failed: journalctl -u " SEGMENTS_UNIT) == 0;
		case REQUEST_WAIT:
			break;
		}
		if (*stop || clock_monotonic_ns() >= until_ns)
			return command_fail(work->command, "given up; everything goes on as before") == 0;
		(void)nanosleep(&pause, NULL);
	}
}

/* ---- afterwards ---- */

static void say_runs(struct work *work, const char *role, uint64_t begun_ns)
{
	int before = old_pid(work, role), now = pid_of(work, role);
	unsigned long long ms = (clock_monotonic_ns() - begun_ns) / NS_PER_MS;
	if (before != 0)
		printf("%s: process %d -> %d, %llu ms\n", role, before, now, ms);
	else
		printf("%s: process %d, %llu ms\n", role, now, ms);
	(void)fflush(stdout);
}

static void bring_up(struct work *work, const struct step *step)
{
	char unit[UNIT_MAX], socket[UNIT_MAX];
	uint64_t begun_ns = clock_monotonic_ns();
	const char *other =
	        step->verb == NEW && has_socket(step->role) ? unit_of(step->role, "socket", socket) : NULL;
	(void)unit_of(step->role, "service", unit);
	if (step->verb == NEW && !run_quietly("enable", unit, other))
		fail(work, step->role, "cannot be enabled");
	if (other != NULL && !run("start", other, NULL))
		fail(work, step->role, "has no socket");
	if (run(step->verb == RESTART ? "restart" : "start", unit, NULL))
		say_runs(work, step->role, begun_ns);
	else
		fail(work, step->role, "does not come up");
}

/* Of a restart the roles after one that does not come up are left as they are. All others are
 * started, for they are down. */
static void begin_all(struct work *work, bool done)
{
	char unit[UNIT_MAX], socket[UNIT_MAX];
	for (unsigned i = 0; i < work->n; i++) {
		const struct step *step = &work->step[i];
		if (step->verb == MAKE && !run("restart", SEGMENTS_UNIT, NULL)) {
			work->failed = true;
			(void)command_fail(work->command,
			                   "the segments were not made anew: journalctl -u " SEGMENTS_UNIT);
			return;
		}
		if ((step->verb == PACKETS && !run_quietly("try-restart", PACKETS_UNIT, NULL)) ||
		    (step->verb == LOOK && !run_quietly("try-reload-or-restart", PACKETS_UNIT, NULL))) {
			work->failed = true;
			(void)command_fail(
			        work->command,
			        "packets are not taken from the interfaces: systemctl status " PACKETS_UNIT);
		}
		if (step->verb == RESTART && work->failed) {
			(void)command_fail(work->command, "the roles after it were left as they are");
			return;
		}
		if (step->verb == START || step->verb == NEW || step->verb == RESTART)
			bring_up(work, step);
		else if (step->verb == END && done)
			work->failed |= !run_quietly(
			        "disable", unit_of(step->role, "service", unit),
			        has_socket(step->role) ? unit_of(step->role, "socket", socket) : NULL);
	}
}

/* The answer broke off after roles had been ended: they begin again. */
static void begin_stopped(struct work *work)
{
	unsigned n = work->n;
	bool told = false;
	for (unsigned i = 0; i < n; i++)
		told |= work->step[i].verb == START || work->step[i].verb == NEW;
	for (unsigned i = n; !told && i-- > 0 && work->n < sizeof work->step / sizeof *work->step;) {
		if (work->step[i].verb != STOP && work->step[i].verb != END)
			continue;
		work->step[work->n] = work->step[i];
		work->step[work->n].verb = START;
		work->old_pid[work->n++] = work->old_pid[i];
	}
}

/* ---- by hand ---- */

/* The units that are restarted, readers first. */
static void print_restarts(const struct instance_page *page, const char *what)
{
	char unit[UNIT_MAX];
	for (int rank = (int)flow_ranks() - 1; rank >= 0; rank--)
		for (unsigned i = 0; i < page->n_roles; i++) {
			const char *role = page->role[i].name, *name;
			const struct flow_stage *stage = stage_of(role, &name);
			if (stage == NULL || (int)flow_rank(stage) != rank ||
			    (what != NULL && strcmp(what, role) != 0 &&
			     strcmp(what, page->role[i].program) != 0))
				continue;
			fprintf(stderr, "  systemctl restart %s\n", unit_of(role, "service", unit));
		}
}

static int say_commands(const char *command, const char *instance, const char *text, const char *lacks)
{
	struct instance attached;
	struct shm_error ignored;
	(void)command_fail(command, "a service manager runs instance \"%s\", and %s; as root:", instance,
	                   lacks);
	if (strcmp(text, "reload") == 0) {
		fprintf(stderr, "  millrace reload\n");
	} else if (instance_attach(&attached, instance, SEGMENT_READ, &ignored) == 0) {
		print_restarts(attached.page, strncmp(text, "restart ", 8) == 0 ? text + 8 : NULL);
		instance_detach(&attached);
	} else {
		fprintf(stderr, "  millrace %s\n", text);
	}
	return 1;
}

int managed_command(const char *command, struct request *request, const char *instance, const char *text,
                    uint64_t until_ns)
{
	const char *lacks = systemctl_lacks();
	static const char *const words[] = {"--quiet", "reload", SEGMENTS_UNIT, NULL};
	if (lacks != NULL) {
		request_end(request);
		return say_commands(command, instance, text, lacks);
	}
	struct work *work = calloc(1, sizeof *work);
	if (work == NULL)
		abort();
	work->command = command;
	snprintf(work->directory, sizeof work->directory, "%s", request->directory);
	/* The files of the units may be new, too. */
	bool done = strcmp(text, "upgrade") != 0 || run("daemon-reload", NULL, NULL);
	if (done) {
		work->reload = begin(words);
		done = follow(work, request, until_ns);
	}
	request_end(request); /* nobody waits for an answer any more */
	if (work->reload > 0)
		(void)end_well(work->reload);
	if (!done && work->stopped)
		begin_stopped(work);
	if (done || work->stopped)
		begin_all(work, done);
	int status = done && !work->failed ? 0 : 1;
	free(work);
	return status;
}
