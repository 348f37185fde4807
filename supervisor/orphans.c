#include "supervisor/orphans.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "stage/control.h"
#include "base/log.h"

#define LOOK_MS 20
#define KILL_GRACE_NS \
	(5 * NS_PER_SEC) /* after SIGKILL: the kernel tears down, io_uring's part asynchronously */

/* The first role that has a live process, or one of which that cannot be told (*failed: why;
 * otherwise 0), or NULL. */
static const char *find_live(const char *directory, const struct instance_page *page, int *pid, int *failed)
{
	for (unsigned i = 0; i < page->n_roles; i++) {
		int alive = control_alive(directory, page->role[i].name, pid);
		*failed = alive < 0 ? -alive : 0;
		if (alive != 0)
			return page->role[i].name;
	}
	return NULL;
}

static int kill_live(const char *directory, const struct instance_page *page)
{
	int n = 0, pid;
	for (unsigned i = 0; i < page->n_roles; i++) {
		if (control_alive(directory, page->role[i].name, &pid) <= 0 || pid <= 0)
			continue;
		log_warn("a stage of the last supervisor has not ended: killed", "role=%s stage_pid=%d",
		         page->role[i].name, pid);
		n += kill(pid, SIGKILL) == 0 ? 1 : 0;
	}
	return n;
}

static int explain(const char *role, int pid, int failed, struct shm_error *error)
{
	if (failed != 0)
		shm_explain(error, "cannot tell whether a process of the last supervisor has the role %s: %s",
		            role, strerror(failed));
	else
		shm_explain(error, "%s: process %d of the last supervisor has the role and cannot be ended",
		            role, pid);
	return failed != 0 ? -failed : -EBUSY;
}

static bool end_asked(int signal_fd, bool *reload)
{
	struct signalfd_siginfo info;
	bool end = false;
	while (read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		end |= info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
		*reload |= info.ssi_signo == SIGHUP;
	}
	return end;
}

int orphans_wait(const char *directory, const struct instance_page *page, uint64_t timeout_ns, int signal_fd,
                 bool *reload, struct shm_error *error)
{
	uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
	const char *role;
	int pid, failed;
	bool said = false, killed = false;
	while ((role = find_live(directory, page, &pid, &failed)) != NULL) {
		if (!said && failed == 0)
			log_info("waiting for stages of the last supervisor to end", "role=%s stage_pid=%d",
			         role, pid);
		said |= failed == 0;
		if (clock_monotonic_ns() >= deadline_ns) {
			if (killed)
				return explain(role, pid, failed, error);
			(void)kill_live(directory, page);
			killed = true;
			deadline_ns = clock_monotonic_ns() + KILL_GRACE_NS;
		}
		struct pollfd signals = {.fd = signal_fd, .events = POLLIN};
		if (poll(&signals, 1, LOOK_MS) > 0 && end_asked(signal_fd, reload))
			return -EINTR;
	}
	return 0;
}
