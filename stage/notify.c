#include "stage/notify.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static int notify_fd = -1;
static bool notify_running;
static uint64_t notify_every_ns; /* 0: there is no watchdog */
static uint64_t notify_last_ns;

static void say(const char *text, int flags)
{
	if (notify_fd >= 0)
		(void)send(notify_fd, text, strlen(text), MSG_NOSIGNAL | flags);
}

static void say_status(const char *word, const char *status)
{
	char text[256];
	snprintf(text, sizeof text, "%s=1\nSTATUS=%s", word, status);
	say(text, 0);
}

void notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"),
	           *pid = getenv("WATCHDOG_PID");
	const struct timeval patience = {.tv_sec = 1};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t bytes = path == NULL ? 0 : strlen(path);
	if (bytes > 1 && bytes < sizeof to.sun_path && (path[0] == '/' || path[0] == '@')) {
		memcpy(to.sun_path, path, bytes);
		if (path[0] == '@') /* an abstract name */
			to.sun_path[0] = '\0';
		notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		(void)setsockopt(notify_fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
		if (notify_fd >= 0 && connect(notify_fd, (struct sockaddr *)&to, length) != 0) {
			close(notify_fd);
			notify_fd = -1;
		}
	}
	if (usec != NULL && (pid == NULL || strtoul(pid, NULL, 10) == (unsigned long)getpid()))
		notify_every_ns = strtoull(usec, NULL, 10) * 1000 / 3;
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
}

void notify_ready(const char *status)
{
	notify_running = true;
	say_status("READY", status);
}

void notify_stopping(const char *status)
{
	say_status("STOPPING", status);
}

void notify_beat(uint64_t now_ns)
{
	char text[64];
	uint64_t every_ns = notify_running ? notify_every_ns : NS_PER_SEC;
	if (notify_fd < 0 || every_ns == 0 || now_ns - notify_last_ns < every_ns)
		return;
	notify_last_ns = now_ns;
	if (notify_running) {
		say("WATCHDOG=1", MSG_DONTWAIT);
		return;
	}
	snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%llu",
	         (unsigned long long)(NOTIFY_EXTEND_NS / 1000));
	say(text, MSG_DONTWAIT);
}
