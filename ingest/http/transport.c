#include "ingest/http/transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"

int transport_raise_limit(struct transport *transport, uint32_t others, struct shm_error *error)
{
	struct rlimit limit;
	uint32_t wanted = transport->settings.max_connections;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return -errno;
	if (limit.rlim_cur < limit.rlim_max && limit.rlim_cur < (rlim_t)wanted + others) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	if (limit.rlim_cur >= (rlim_t)wanted + others)
		return 0;
	if (limit.rlim_cur <= others) {
		shm_explain(error, "the limit of open files is %llu; at least %u are needed (ulimit -n)",
		            (unsigned long long)limit.rlim_cur, others + 1);
		return -EMFILE;
	}
	transport->settings.max_connections = (uint32_t)(limit.rlim_cur - others);
	transport->files = limit.rlim_cur;
	return 0;
}

void transport_failed(struct transport *transport, int error)
{
	transport->counts.failures++;
	if (error == transport->failed_errno)
		return;
	transport->failed_errno = error;
	log_warn("connections: the kernel refuses, trying again", "errno=%d reason=\"%s\"", error,
	         strerror(error));
}

static int check_settings(const struct transport *transport, struct shm_error *error)
{
	const struct transport_settings *settings = &transport->settings;
	if (transport->n_sockets > TRANSPORT_SOCKETS_MAX) {
		shm_explain(error, "%u listening sockets; at most %u", transport->n_sockets,
		            TRANSPORT_SOCKETS_MAX);
		return -EINVAL;
	}
	if (settings->buffers < TRANSPORT_BUFFERS_MIN || settings->buffers > TRANSPORT_BUFFERS_MAX ||
	    (settings->buffers & (settings->buffers - 1)) != 0) {
		shm_explain(error, "%u receive buffers; allowed is a power of two, %u to %u",
		            settings->buffers, TRANSPORT_BUFFERS_MIN, TRANSPORT_BUFFERS_MAX);
		return -EINVAL;
	}
	if (settings->max_connections == 0 || settings->buffer_bytes == 0) {
		shm_explain(error, "no connections, or buffers of no bytes");
		return -EINVAL;
	}
	return 0;
}

int transport_open(struct transport *transport, struct shm_error *error)
{
	enum transport_backend backend = transport->settings.backend;
	transport->own = NULL;
	transport->failed_errno = 0;
	transport->wanted = transport->settings.max_connections;
	transport->files = 0;
	transport->plain = false;
	transport->denied[0] = '\0';
	int result = check_settings(transport, error);
	if (result != 0)
		return result;
	transport->ops = backend == TRANSPORT_EPOLL ? &transport_epoll : &transport_uring;
	result = transport->ops->open(transport, error);
	if (result == 0 || backend != TRANSPORT_AUTO)
		return result;
	log_warn("io_uring not usable, taking epoll", "reason=\"%s\"", error->text);
	snprintf(transport->denied, sizeof transport->denied, "%.*s", (int)sizeof transport->denied - 1,
	         error->text);
	transport->ops = &transport_epoll;
	transport->settings.max_connections = transport->wanted;
	transport->files = 0;
	return transport->ops->open(transport, error);
}

void transport_tell(const struct transport *transport, char *text, size_t bytes)
{
	if (transport->denied[0] != '\0')
		snprintf(text, bytes, "epoll, no io_uring: %s", transport->denied);
	else if (transport->ops == &transport_epoll)
		snprintf(text, bytes, "epoll");
	else if (!transport->plain)
		snprintf(text, bytes, "io_uring");
	else
		snprintf(text, bytes, "io_uring, plain descriptors%s",
		         transport->settings.backend == TRANSPORT_URING_PLAIN ? "" : ": kernel before 6.14");
}

bool transport_poll(struct transport *transport)
{
	return transport->ops->poll(transport);
}

void transport_flush(struct transport *transport)
{
	transport->ops->flush(transport);
}

void transport_wait(struct transport *transport, uint64_t timeout_ns)
{
	transport->ops->wait(transport, timeout_ns, false);
}

void transport_rest(struct transport *transport, uint64_t timeout_ns)
{
	transport->ops->wait(transport, timeout_ns, true);
}

void transport_send(struct transport *transport, uint32_t slot, const char *data, size_t bytes)
{
	transport->ops->send(transport, slot, data, bytes);
}

void transport_pause(struct transport *transport, uint32_t slot)
{
	transport->ops->pause(transport, slot);
}

void transport_resume(struct transport *transport, uint32_t slot)
{
	transport->ops->resume(transport, slot);
}

void transport_close(struct transport *transport, uint32_t slot, bool linger)
{
	transport->ops->close(transport, slot, linger);
}

void transport_refuse(struct transport *transport)
{
	transport->ops->refuse(transport);
}

void transport_shut(struct transport *transport)
{
	transport->ops->shut(transport);
	transport->own = NULL;
}
