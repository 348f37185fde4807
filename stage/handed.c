#include "stage/handed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "flow/flow.h"

#define PATIENCE_S 10

struct answer {
	char text[HANDED_TEXT_MAX];
	int fd[HANDED_FRAMES_MAX];
	unsigned n;
};

static bool wants_packets(const struct stage *stage)
{
	const struct flow_stage *row = flow_stage_find(stage->ops->name);
	struct shm_error ignored;
	size_t entry;
	return row != NULL && row->processes == FLOW_DATAGRAMS && stage->n_frames == 0 &&
	       stage_listener(stage, row->section, &entry, &ignored) == 0 &&
	       strcmp(config_string(stage->config, "%s[%zu].backend", row->section, entry), "xdp") == 0;
}

/* The descriptor, or -errno. */
static int reach(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	if (strlen(path) >= sizeof to.sun_path)
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	int result = -errno;
	close(fd);
	return result;
}

static int ask(int fd, const char *role, struct answer *answer)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof answer->fd)];
	struct iovec text = {answer->text, sizeof answer->text - 1};
	struct msghdr message = {
	        .msg_iov = &text, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	if (send(fd, role, strlen(role), MSG_NOSIGNAL) < 0)
		return -errno;
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return n == 0 ? -ECONNRESET : -errno;
	answer->text[n] = '\0';
	for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one != NULL; one = CMSG_NXTHDR(&message, one)) {
		if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
			continue;
		answer->n = (unsigned)((one->cmsg_len - CMSG_LEN(0)) / sizeof answer->fd[0]);
		memcpy(answer->fd, CMSG_DATA(one), answer->n * sizeof answer->fd[0]);
	}
	return 0;
}

/* "QUEUE:COUNT ...", one descriptor for each and one more. "none" has no descriptors. */
static bool understand(struct stage *stage, const struct answer *answer)
{
	const char *rest = answer->text;
	unsigned n = 0;
	while (answer->n > 0 && n < answer->n - 1) {
		char *end;
		unsigned long queue = strtoul(rest, &end, 10);
		if (end == rest || *end != ':')
			return false;
		rest = end + 1;
		unsigned long count = strtoul(rest, &end, 10);
		if (end == rest || (*end != ' ' && *end != '\0'))
			return false;
		rest = end;
		stage->frames[n] = (struct stage_frames){
		        .socket = answer->fd[n], .queue = (unsigned)queue, .count = (unsigned)count};
		n++;
	}
	stage->n_frames = n;
	stage->gate = n == 0 ? -1 : answer->fd[n];
	return n > 0 ? *rest == '\0' : strcmp(answer->text, "none") == 0;
}

int handed_take(struct stage *stage, struct shm_error *error)
{
	struct answer answer = {.n = 0};
	const char *path = getenv(HANDED_VARIABLE);
	stage->holder = -1;
	if (path == NULL || *path == '\0' || !wants_packets(stage))
		return 0;
	int fd = reach(path), result = fd < 0 ? fd : ask(fd, stage->role, &answer);
	if (result == 0 && !understand(stage, &answer)) {
		shm_explain(error, "%s: what %s answers cannot be understood", stage->role, path);
		result = -EPROTO;
	}
	if (result == 0)
		stage->holder = fd;
	else if (fd >= 0)
		close(fd);
	if (result == -EPROTO)
		return result;
	if (stage->n_frames == 0)
		log_warn("packets are not taken from the interface: the ordinary sockets serve",
		         "role=%s reason=\"%s\"", stage->role,
		         result == 0 ? "the log of millrace-packets.service has it" : strerror(-result));
	return 0;
}

bool handed_gone(const struct stage *stage)
{
	char byte;
	return stage->holder >= 0 && recv(stage->holder, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}
