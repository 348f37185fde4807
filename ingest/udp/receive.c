#include "ingest/udp/receive.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum receive_backend receive_backend_of(const char *name)
{
	if (strcmp(name, receive_uring.name) == 0)
		return RECEIVE_URING;
	return strcmp(name, receive_mmsg.name) == 0 ? RECEIVE_RECVMMSG : RECEIVE_AUTO;
}

static int switch_gro_on(const struct receive *receive, struct shm_error *error)
{
	for (unsigned i = 0; i < receive->n_sockets; i++) {
		int on = 1;
		if (setsockopt(receive->socket[i], SOL_UDP, UDP_GRO, &on, sizeof on) == 0 ||
		    errno == ENOPROTOOPT)
			continue;
		int failed = -errno;
		shm_explain(error, "socket %d: cannot switch UDP_GRO on: %s", receive->socket[i],
		            strerror(-failed));
		return failed;
	}
	return 0;
}

int receive_open(struct receive *receive, enum receive_backend backend, struct shm_error *error)
{
	int result = switch_gro_on(receive, error);
	if (result != 0)
		return result;
	receive->denied[0] = '\0';
	receive->ops = backend == RECEIVE_RECVMMSG ? &receive_mmsg : &receive_uring;
	result = receive->ops->open(receive, error);
	if (result == 0 || backend != RECEIVE_AUTO)
		return result;
	log_warn("io_uring not usable, taking recvmmsg", "reason=\"%s\"", error->text);
	snprintf(receive->denied, sizeof receive->denied, "%.*s", (int)sizeof receive->denied - 1,
	         error->text);
	receive->ops = &receive_mmsg;
	return receive->ops->open(receive, error);
}

bool receive_pending(const struct receive *receive)
{
	struct pollfd poll_fd[BUFFERS_SOCKETS_MAX];
	for (unsigned i = 0; i < receive->n_sockets; i++)
		poll_fd[i] = (struct pollfd){.fd = receive->socket[i], .events = POLLIN};
	if (poll(poll_fd, receive->n_sockets, 0) <= 0)
		return false;
	for (unsigned i = 0; i < receive->n_sockets; i++)
		if ((poll_fd[i].revents & POLLIN) != 0)
			return true;
	return false;
}

void receive_failed(struct receive *receive, int error)
{
	receive->counts.failures++;
	if (error == receive->failed_errno)
		return;
	receive->failed_errno = error;
	log_warn("receiving failed, trying again", "errno=%d reason=\"%s\"", error, strerror(error));
}

void receive_close(struct receive *receive)
{
	if (receive->ops != NULL)
		receive->ops->close(receive);
	receive->ops = NULL;
}
