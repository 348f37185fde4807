#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define END_PATIENCE_NS (5 * NS_PER_SEC)
#define END_LOOK_NS     (10 * NS_PER_MS)

void program_init(struct program *program, char **argv, enum program_acknowledge acknowledge)
{
	*program = (struct program){.argv = argv, .acknowledge = acknowledge, .input = -1, .output = -1};
}

static void explain(struct program *program, const char *text, ...) __attribute__((format(printf, 2, 3)));

static void explain(struct program *program, const char *text, ...)
{
	va_list list;
	va_start(list, text);
	vsnprintf(program->why, sizeof program->why, text, list);
	va_end(list);
}

static bool executable(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* Looks in the folders of PATH. Sets *denied when the file is there but may not be executed. */
static bool on_path(const char *name, bool *denied)
{
	const char *folders = getenv("PATH");
	char path[PATH_MAX];
	if (folders == NULL)
		folders = "/bin:/usr/bin";
	for (size_t n; *folders != 0; folders += n + (folders[n] == ':')) {
		n = strcspn(folders, ":");
		int length = snprintf(path, sizeof path, "%.*s/%s", n == 0 ? 1 : (int)n,
		                      n == 0 ? "." : folders, name);
		if (length >= (int)sizeof path)
			continue;
		if (executable(path))
			return true;
		*denied = *denied || access(path, F_OK) == 0;
	}
	return false;
}

int program_find(struct program *program)
{
	const char *name = program->argv[0];
	bool denied = false, found;
	if (strchr(name, '/') != NULL) {
		found = executable(name);
		denied = access(name, F_OK) == 0;
	} else {
		found = name[0] != 0 && on_path(name, &denied);
	}
	if (found)
		return 0;
	int result = denied ? -EACCES : -ENOENT;
	explain(program, "cannot start %s: %s", name, denied ? "not an executable file" : strerror(ENOENT));
	return result;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* In the child: becomes the program, or writes errno to `report`. Descriptors above 2 close at
 * exec. */
static void become(const struct program *program, int input, int output, int report, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL); /* millrace ignores it; the program gets the default */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	if (getppid() == parent && dup2(input, STDIN_FILENO) >= 0 &&
	    (output < 0 || dup2(output, STDOUT_FILENO) >= 0))
		execvp(program->argv[0], program->argv);
	int error = errno;
	ssize_t ignored = write(report, &error, sizeof error);
	(void)ignored;
	_exit(127);
}

/* The pipe closes at exec, and so tells whether the program was started. */
static int started(struct program *program, int report)
{
	int error = 0;
	ssize_t n;
	while ((n = read(report, &error, sizeof error)) < 0 && errno == EINTR)
		;
	if (n != sizeof error)
		return 0;
	waitpid(program->pid, NULL, 0);
	program->pid = 0;
	explain(program, "cannot start %s: %s", program->argv[0], strerror(error));
	return -ENOEXEC;
}

static int start(struct program *program)
{
	int input[2] = {-1, -1}, output[2] = {-1, -1}, report[2] = {-1, -1}, result = 0;
	bool line = program->acknowledge == PROGRAM_LINE;
	pid_t self = getpid();
	if (pipe2(input, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0 ||
	    (line && pipe2(output, O_CLOEXEC) < 0)) {
		result = -errno;
	} else {
		program->pid = fork();
		if (program->pid == 0)
			become(program, input[0], output[1], report[1], self);
		result = program->pid < 0 ? -errno : 0;
	}
	close_end(&input[0]);
	close_end(&output[1]);
	close_end(&report[1]);
	if (result == 0)
		result = started(program, report[0]);
	close_end(&report[0]);
	if (result != 0) {
		close_end(&input[1]);
		close_end(&output[0]);
		if (result != -ENOEXEC)
			explain(program, "cannot start %s: %s", program->argv[0], strerror(-result));
		program->pid = 0;
		return result;
	}
	program->input = input[1];
	program->output = output[0];
	return 0;
}

/* Waits for the program to end. Returns 0 when it exited with 0, otherwise -EAGAIN with the reason
 * in why. */
static int reap(struct program *program)
{
	int status;
	close_end(&program->input);
	close_end(&program->output);
	while (waitpid(program->pid, &status, 0) < 0 && errno == EINTR)
		;
	program->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		explain(program, "%s was killed by SIG%s", program->argv[0], sigabbrev_np(WTERMSIG(status)));
	else
		explain(program, "%s exited with %d", program->argv[0], WEXITSTATUS(status));
	return -EAGAIN;
}

/* Blocks. A program need not read all its input: only its exit status counts. */
static void write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, text, bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		text += n;
		bytes -= (size_t)n;
	}
}

static int deliver_by_exit(struct program *program, const char *text, size_t bytes)
{
	int result = start(program);
	if (result != 0)
		return result;
	write_all(program->input, text, bytes);
	return reap(program);
}

/* Ends a program that broke the protocol. */
static int give_up(struct program *program, const char *why)
{
	char name[64];
	snprintf(name, sizeof name, "%s", program->argv[0]);
	close_end(&program->input);
	close_end(&program->output);
	kill(program->pid, SIGTERM);
	program_end(program);
	explain(program, "%s %s", name, why);
	return -EAGAIN;
}

/* Its output ended before it acknowledged: it died, or closed its output. */
static int output_ended(struct program *program)
{
	program_end(program);
	if (program->why[0] == 0)
		explain(program, "%s ended without acknowledging the batch", program->argv[0]);
	return -EAGAIN;
}

/* Reads the output so far. Returns 1 for a whole acknowledgement, 0 for an incomplete one, or a
 * failure. */
static int read_line(struct program *program)
{
	char bytes[4096];
	ssize_t n = read(program->output, bytes, sizeof bytes);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return output_ended(program);
	const char *newline = memchr(bytes, '\n', (size_t)n);
	if (newline == NULL)
		return 0;
	if (newline != bytes + n - 1)
		return give_up(
		        program,
		        "acknowledged more than it was given (one line a batch, nothing else on its output)");
	return 1;
}

/* Writes as much as the pipe takes. False when the program has closed its input. */
static bool write_some(struct program *program, const char **text, size_t *bytes)
{
	ssize_t n = write(program->input, *text, *bytes);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	*text += n;
	*bytes -= (size_t)n;
	return true;
}

/* Writes the batch and reads until the line comes. Each may block until the other goes on, so it
 * polls both. A program that counts lines may acknowledge before it reads the empty one. */
static int exchange(struct program *program, const char *text, size_t bytes)
{
	bool acknowledged = false;
	while (bytes > 0 || !acknowledged) {
		struct pollfd fds[2] = {{.fd = acknowledged ? -1 : program->output, .events = POLLIN},
		                        {.fd = bytes > 0 ? program->input : -1, .events = POLLOUT}};
		if (poll(fds, 2, -1) < 0)
			continue; /* a signal: the batch is finished first */
		if (fds[1].revents != 0 && !write_some(program, &text, &bytes))
			bytes = 0; /* its output shows the result */
		int result = fds[0].revents != 0 ? read_line(program) : 0;
		if (result < 0)
			return result;
		if (result == 1 && bytes > 1)
			return give_up(program, "acknowledged before it had read the batch");
		acknowledged = acknowledged || result == 1;
	}
	return 0;
}

static int deliver_by_line(struct program *program, const char *text, size_t bytes)
{
	program->why[0] = 0;
	if (program->pid != 0) {
		struct pollfd output = {.fd = program->output, .events = POLLIN};
		if (poll(&output, 1, 0) == 1 && (output.revents & POLLIN) != 0) {
			char byte;
			if (read(program->output, &byte, 1) == 1)
				return give_up(program,
				               "wrote a line when there was no batch to acknowledge");
		}
		if (output.revents != 0)
			return output_ended(program);
	} else {
		int result = start(program);
		if (result != 0)
			return result;
		fcntl(program->input, F_SETFL, O_NONBLOCK);
	}
	return exchange(program, text, bytes);
}

int program_deliver(struct program *program, const char *text, size_t bytes)
{
	return program->acknowledge == PROGRAM_LINE ? deliver_by_line(program, text, bytes)
	                                            : deliver_by_exit(program, text, bytes);
}

void program_end(struct program *program)
{
	if (program->pid == 0)
		return;
	close_end(&program->input);
	uint64_t begun = clock_monotonic_ns();
	siginfo_t ended;
	for (int signals = 0;;) {
		ended.si_pid = 0;
		if (waitid(P_PID, (id_t)program->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    ended.si_pid != 0)
			break;
		uint64_t waited = clock_monotonic_ns() - begun;
		if (signals == 0 && waited > END_PATIENCE_NS) {
			kill(program->pid, SIGTERM);
			signals = 1;
		} else if (signals == 1 && waited > 2 * END_PATIENCE_NS) {
			kill(program->pid, SIGKILL);
			signals = 2;
		}
		nanosleep(&(struct timespec){.tv_nsec = END_LOOK_NS}, NULL);
	}
	(void)reap(program);
}
