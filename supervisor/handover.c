#include "supervisor/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

#define FIRST_LINE "millrace-handover 1\n"
#define LINE_BYTES 512

/* ---- giving ---- */

static void keep_over_exec(int fd, bool keep)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void write_sockets(const struct sockets *sockets, FILE *out)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		const struct socket_entry *entry = &sockets->entry[i];
		fprintf(out, "socket %d %d %u %d %llu %u %llu %llu %s\n", entry->fd, (int)entry->kind,
		        entry->process, entry->passed ? 1 : 0,
		        (unsigned long long)entry->receive_buffer_bytes, entry->backlog,
		        (unsigned long long)entry->device, (unsigned long long)entry->inode, entry->text);
	}
}

static void write_place(const struct supervisor *supervisor, FILE *out)
{
	const struct children *children = &supervisor->children;
	fprintf(out, "directory %s\nlock %d\nguard %d\nmade_root %d\nusers %d\n", supervisor->plan->directory,
	        supervisor->lock, supervisor->guard, supervisor->made_root ? 1 : 0,
	        supervisor->users.in_force ? 1 : 0);
	for (unsigned i = 0; i < children->n; i++)
		if (children->child[i].pid > 0)
			fprintf(out, "child %s %d\n", children->child[i].role.page.name,
			        (int)children->child[i].pid);
}

/* Returns the descriptor of the text, or -errno. */
static int write_state(const struct supervisor *supervisor, bool in_place)
{
	int fd = memfd_create("millrace-handover", 0), copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = copy < 0 ? NULL : fdopen(copy, "w");
	int result = out == NULL ? -errno : 0;
	if (out != NULL) {
		fputs(FIRST_LINE, out);
		write_sockets(&supervisor->sockets, out);
		if (in_place)
			write_place(supervisor, out);
		if (supervisor->requests.answer >= 0)
			fprintf(out, "answer %d %s\n", supervisor->requests.answer, supervisor->requests.id);
		fprintf(out, "begun %llu\n", (unsigned long long)clock_monotonic_ns());
		result = fclose(out) == 0 ? 0 : -errno;
	} else if (copy >= 0) {
		close(copy);
	}
	if (result != 0 && fd >= 0)
		close(fd);
	return result == 0 ? fd : result;
}

static void keep_all(const struct supervisor *supervisor, bool in_place, bool keep)
{
	for (unsigned i = 0; i < supervisor->sockets.n; i++)
		keep_over_exec(supervisor->sockets.entry[i].fd, keep);
	keep_over_exec(supervisor->requests.answer, keep);
	if (in_place) {
		keep_over_exec(supervisor->lock, keep);
		keep_over_exec(supervisor->guard, keep);
	}
}

int handover_exec(struct supervisor *supervisor, bool in_place)
{
	char number[16];
	int fd = write_state(supervisor, in_place);
	if (fd < 0)
		return fd;
	snprintf(number, sizeof number, "%d", fd);
	(void)setenv(HANDOVER_VARIABLE, number, 1);
	keep_all(supervisor, in_place, true);
	log_info("going on in the program that is installed now", "path=%s", supervisor->program);
	/* Signals stay blocked meanwhile: what comes is for the new program. */
	execv(supervisor->program, supervisor->options.argv);
	int failed = errno;
	keep_all(supervisor, in_place, false);
	(void)unsetenv(HANDOVER_VARIABLE);
	close(fd);
	return -failed;
}

/* ---- taking ---- */

static bool take_socket(struct sockets *sockets, const char *line)
{
	struct socket_entry entry = {0};
	int kind, passed, at = 0;
	unsigned long long buffer, device, inode;
	if (sscanf(line, "socket %d %d %u %d %llu %u %llu %llu %n", &entry.fd, &kind, &entry.process, &passed,
	           &buffer, &entry.backlog, &device, &inode, &at) != 8 ||
	    at == 0 || strlen(line + at) >= sizeof entry.text || sockets->n == SOCKETS_MAX)
		return false;
	entry.bound_length = sizeof entry.bound;
	if (getsockname(entry.fd, (struct sockaddr *)&entry.bound, &entry.bound_length) != 0)
		return false;
	entry.kind = (enum plan_sockets)kind;
	entry.passed = passed != 0;
	entry.receive_buffer_bytes = buffer;
	entry.device = (dev_t)device;
	entry.inode = (ino_t)inode;
	snprintf(entry.text, sizeof entry.text, "%s", line + at);
	keep_over_exec(entry.fd, false);
	sockets->entry[sockets->n++] = entry;
	return true;
}

static bool take_child(struct handover *handover, const char *line)
{
	struct handover_child *child = &handover->child[handover->n_children];
	int pid;
	if (handover->n_children == INSTANCE_ROLES_MAX ||
	    sscanf(line, "child %31s %d", child->role, &pid) != 2)
		return false;
	child->pid = (pid_t)pid;
	handover->n_children++;
	return true;
}

static bool take_line(struct supervisor *supervisor, const char *line)
{
	struct handover *handover = supervisor->handover;
	unsigned long long begun;
	int made, users;
	if (strncmp(line, "socket ", 7) == 0)
		return take_socket(&supervisor->sockets, line);
	if (strncmp(line, "child ", 6) == 0)
		return take_child(handover, line);
	if (sscanf(line, "directory %127s", handover->directory) == 1)
		handover->in_place = true;
	else if (sscanf(line, "answer %d %39s", &supervisor->requests.answer, supervisor->requests.id) == 2)
		keep_over_exec(supervisor->requests.answer, false);
	else if (sscanf(line, "lock %d", &supervisor->lock) == 1)
		keep_over_exec(supervisor->lock, false);
	else if (sscanf(line, "guard %d", &supervisor->guard) == 1)
		keep_over_exec(supervisor->guard, false);
	else if (sscanf(line, "made_root %d", &made) == 1)
		supervisor->made_root = made != 0;
	else if (sscanf(line, "users %d", &users) == 1)
		handover->users = users != 0;
	else if (sscanf(line, "begun %llu", &begun) == 1)
		supervisor->renew.step_begun_ns = begun;
	return true;
}

int handover_take(struct supervisor *supervisor, struct shm_error *error)
{
	const char *number = getenv(HANDOVER_VARIABLE);
	char line[LINE_BYTES];
	if (number == NULL)
		return 0;
	FILE *in = fdopen((int)strtol(number, NULL, 10), "r");
	(void)unsetenv(HANDOVER_VARIABLE);
	bool good = in != NULL && fseek(in, 0, SEEK_SET) == 0 && fgets(line, sizeof line, in) != NULL &&
	            strcmp(line, FIRST_LINE) == 0;
	supervisor->handover = calloc(1, sizeof *supervisor->handover);
	if (supervisor->handover == NULL)
		abort();
	while (good && fgets(line, sizeof line, in) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		good = take_line(supervisor, line);
	}
	if (in != NULL)
		fclose(in);
	if (good)
		return 0;
	shm_explain(error, "%s: not what a supervisor hands over to another", HANDOVER_VARIABLE);
	return -EPROTO;
}

void handover_adopt(struct supervisor *supervisor, uint64_t now_ns)
{
	const struct handover *handover = supervisor->handover;
	for (unsigned i = 0; handover != NULL && i < handover->n_children; i++) {
		int index = children_index(&supervisor->children, handover->child[i].role);
		if (index >= 0)
			children_adopt(&supervisor->children, (unsigned)index, handover->child[i].pid,
			               now_ns);
	}
}
