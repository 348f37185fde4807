#include "supervisor/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "supervisor/capabilities.h"

#define PATIENCE_NS  (360 * NS_PER_SEC) /* where stage_timeout is 0 */
#define OUTPUT_BYTES 16384u             /* of one process that are read */
#define LOOK_MS      20                 /* between two looks at one that is waited for */

/* What is asked now; NULL: the supervisor's program. */
static const struct plan_role *asked(const struct trial *trial)
{
	return trial->next > trial->plan->n_roles ? NULL : &trial->plan->role[trial->next - 1];
}

static void program_path(const struct trial *trial, char path[PATH_MAX])
{
	if (asked(trial) == NULL)
		snprintf(path, PATH_MAX, "%s", trial->supervisor);
	else
		snprintf(path, PATH_MAX, "%s/%s", trial->libexec, asked(trial)->page.program);
}

static const char *section_of(const struct trial *trial)
{
	return asked(trial) == NULL ? "supervisor" : asked(trial)->section;
}

static const struct users_kind *user_of_asked(const struct trial *trial)
{
	return asked(trial) == NULL ? NULL : users_of(trial->users, asked(trial)->page.program);
}

static void find(struct trial *trial, enum trial_finding finding, const char *text)
{
	char with_user[PATH_MAX + 300];
	const struct users_kind *kind = user_of_asked(trial);
	trial->refused += finding == TRIAL_REFUSED ? 1 : 0;
	trial->without += finding == TRIAL_WITHOUT ? 1 : 0;
	/* Whoever started this may be permitted what the stage's user is not, or the other way
	 * round. */
	if (kind != NULL &&
	    (finding == TRIAL_REFUSED || finding == TRIAL_WITHOUT || finding == TRIAL_DENIED)) {
		snprintf(with_user, sizeof with_user, "%s (the stage runs as %s)", text, kind->name);
		text = with_user;
	}
	trial->say(trial->argument, asked(trial), finding, text);
}

static void find_failed(struct trial *trial, const char *what, const char *why)
{
	char path[PATH_MAX], text[PATH_MAX + 200];
	program_path(trial, path);
	snprintf(text, sizeof text, "%s: %s --check %s%s", section_of(trial), path, what, why);
	find(trial, TRIAL_REFUSED, text);
}

/* ---- which ---- */

static void note_named(void *argument, const char *key, const char *path)
{
	(void)key;
	*(bool *)argument |= path[0] != '\0';
}

/* Processes of one section read the same files; the first of them is asked. */
static bool wanted(const struct trial *trial, unsigned index)
{
	const struct plan_role *role = &trial->plan->role[index];
	if (trial->only != NULL && strcmp(trial->only, role->section) != 0)
		return false;
	for (unsigned i = 0; i < index; i++)
		if (strcmp(trial->plan->role[i].section, role->section) == 0)
			return false;
	bool named = false;
	if (trial->named_only)
		config_each_file(trial->config, role->section, note_named, &named);
	return named || !trial->named_only;
}

/* ---- one process ---- */

/* In the child. */
static void become(const struct trial *trial, const char *path, int input, pid_t parent)
{
	char layout[24];
	const char *argv[] = {path, "--check", section_of(trial), NULL, layout, NULL};
	sigset_t none;
	snprintf(layout, sizeof layout, "%016llx", (unsigned long long)trial->layout);
	if (trial->layout != 0)
		argv[3] = "--layout";
	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	if (dup2(input, STDIN_FILENO) < 0 || dup2(trial->output, STDOUT_FILENO) < 0 ||
	    (asked(trial) != NULL && users_become(trial->users, asked(trial)->page.program) != 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || capabilities_shed() != 0)
		_exit(126);
	sigprocmask(SIG_SETMASK, &none, NULL);
	(void)unsetenv("MILLRACE_INSTANCE"); /* the configuration names the instance that is meant */
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* The configuration as a file in memory, with the secrets that the process would have; -errno. */
static int write_input(const struct trial *trial)
{
	const char *section = asked(trial) == NULL ? NULL : asked(trial)->section;
	int fd = memfd_create("millrace-check", MFD_CLOEXEC),
	    copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = copy < 0 ? NULL : fdopen(copy, "w");
	int result = out == NULL ? -errno : config_write(trial->config, section, out);
	if (out != NULL && fclose(out) != 0 && result == 0)
		result = -errno;
	else if (out == NULL && copy >= 0)
		close(copy);
	if (result == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return result;
}

static int start(struct trial *trial)
{
	char path[PATH_MAX];
	program_path(trial, path);
	if (access(path, X_OK) != 0)
		return -errno;
	int input = write_input(trial), result = input < 0 ? input : 0;
	trial->output = result == 0 ? memfd_create("millrace-findings", MFD_CLOEXEC) : -1;
	if (result == 0 && trial->output < 0)
		result = -errno;
	pid_t parent = getpid(), pid = result == 0 ? fork() : -1;
	if (pid == 0)
		become(trial, path, input, parent);
	if (result == 0 && pid < 0)
		result = -errno;
	if (input >= 0)
		close(input);
	if (result != 0 && trial->output >= 0)
		close(trial->output);
	trial->pid = result == 0 ? pid : 0;
	return result;
}

/* It may cite the file. */
static void make_printable(char *line)
{
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcmp(text + n - m, end) == 0;
}

/* Where a service manager starts the stages, as their users and in their sandboxes, this process
 * can become neither: what it is not permitted says nothing of them. */
static enum trial_finding judge(const struct trial *trial, enum trial_finding finding, const char *text)
{
	bool other = user_of_asked(trial) != NULL && !trial->users->starts;
	bool denied = ends_with(text, strerror(EACCES)) || ends_with(text, strerror(EROFS));
	return other && denied && finding != TRIAL_MISSING && finding != TRIAL_UNSEEN ? TRIAL_DENIED
	                                                                              : finding;
}

static void take_line(struct trial *trial, char *line)
{
	static const char *const words[] = {[TRIAL_REFUSED] = "refused ",
	                                    [TRIAL_WITHOUT] = "without ",
	                                    [TRIAL_MISSING] = "missing ",
	                                    [TRIAL_LAYOUT] = "layout ",
	                                    [TRIAL_UNSEEN] = "unseen "};
	make_printable(line);
	if (strncmp(line, "memory ", 7) == 0 && trial->memory != NULL)
		trial->memory(trial->argument, asked(trial), strtoull(line + 7, NULL, 10));
	for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
		if (strncmp(line, words[i], strlen(words[i])) == 0)
			find(trial, judge(trial, (enum trial_finding)i, line + strlen(words[i])),
			     line + strlen(words[i]));
}

static void read_output(struct trial *trial)
{
	char text[OUTPUT_BYTES], *rest = text;
	ssize_t n = pread(trial->output, text, sizeof text - 1, 0);
	text[n < 0 ? 0 : n] = '\0';
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		take_line(trial, line);
}

/* ---- all ---- */

void trial_begin(struct trial *trial, const struct config *config, const struct plan *plan,
                 const char *libexec, bool named_only, trial_say *say, void *argument)
{
	uint64_t patience_ns = config_ns(config, "stage_timeout");
	*trial = (struct trial){.config = config,
	                        .plan = plan,
	                        .libexec = libexec,
	                        .named_only = named_only,
	                        .say = say,
	                        .argument = argument,
	                        .output = -1,
	                        .patience_ns = patience_ns == 0 ? PATIENCE_NS : patience_ns * START_TIMEOUTS};
}

bool trial_go_on(struct trial *trial, uint64_t now_ns)
{
	if (trial->pid != 0) {
		if (now_ns >= trial->deadline_ns)
			(void)kill(trial->pid, SIGKILL);
		return true;
	}
	while (trial->next < trial->plan->n_roles + (trial->supervisor != NULL ? 1 : 0)) {
		unsigned index = trial->next++;
		if (index < trial->plan->n_roles && !wanted(trial, index))
			continue;
		int result = start(trial);
		trial->deadline_ns = now_ns + trial->patience_ns;
		if (result == 0)
			return true;
		find_failed(trial, "cannot be run: ", strerror(-result));
	}
	return false;
}

void trial_ended(struct trial *trial, int status)
{
	char number[16];
	trial->pid = 0;
	read_output(trial);
	close(trial->output);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		find_failed(
		        trial,
		        "was killed: it took longer than a start may (six times stage_timeout), or somebody ended it",
		        "");
	} else if (WIFSIGNALED(status)) {
		find_failed(trial, "died of SIG", sigabbrev_np(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) != 0) {
		snprintf(number, sizeof number, "%d", WEXITSTATUS(status));
		find_failed(trial, "ended with exit status ", number);
	}
}

bool trial_among(struct trial *trial, struct children *children, uint64_t now_ns, uint64_t *due_ns)
{
	if (children->guest.ended) {
		children->guest.pid = 0;
		children->guest.ended = false;
		trial_ended(trial, children->guest.status);
	}
	if (!trial_go_on(trial, now_ns))
		return false;
	children->guest.pid = trial->pid;
	*due_ns = now_ns < trial->deadline_ns ? trial->deadline_ns : UINT64_MAX; /* SIGCHLD comes */
	return true;
}

void trial_run(struct trial *trial)
{
	struct pollfd end = {.fd = -1, .events = POLLIN};
	while (trial_go_on(trial, clock_monotonic_ns())) {
		int status;
		if (end.fd < 0)
			end.fd = pidfd_open(trial->pid, 0);
		(void)poll(&end, 1, LOOK_MS);
		pid_t ended = waitpid(trial->pid, &status, WNOHANG);
		if (ended == trial->pid) {
			trial_ended(trial, status);
			if (end.fd >= 0)
				close(end.fd);
			end.fd = -1;
		} else if (ended < 0 && errno != EINTR) {
			abort(); /* no other code waits for it */
		}
	}
}

void trial_stop(struct trial *trial)
{
	if (trial->pid == 0)
		return;
	(void)kill(trial->pid, SIGKILL);
	(void)waitpid(trial->pid, NULL, 0);
	close(trial->output);
	trial->pid = 0;
}
