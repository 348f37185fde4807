#include "cli/load/send_http_connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch(const struct send_http_connection *connection, int epoll, uint32_t index, int operation,
                 bool write)
{
	struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.u32 = index};
	return epoll_ctl(epoll, operation, connection->fd, &event) < 0 ? -errno : 0;
}

int send_http_connection_open(struct send_http_connection *connection,
                              const struct send_http_settings *settings, int epoll, uint32_t index)
{
	int family = settings->address.ss_family, error;
	connection->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		return -errno;
	if (family != AF_UNIX)
		setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (connect(connection->fd, (const struct sockaddr *)&settings->address, settings->address_bytes) <
	            0 &&
	    errno != EINPROGRESS) {
		error = -errno;
	} else {
		error = watch(connection, epoll, index, EPOLL_CTL_ADD, true);
	}
	if (error != 0) {
		close(connection->fd);
		connection->fd = -1;
		return error;
	}
	connection->state = SEND_HTTP_CONNECTING;
	return 0;
}

int send_http_connection_opened(struct send_http_connection *connection, int epoll, uint32_t index)
{
	int error = 0;
	socklen_t bytes = sizeof error;
	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
		return -errno;
	if (error != 0)
		return -error;
	connection->state = SEND_HTTP_OPEN;
	connection->finishing = connection->want_write = false;
	connection->oldest = 0;
	send_http_answer_begin(&connection->answer, false);
	return watch(connection, epoll, index, EPOLL_CTL_MOD, false);
}

void send_http_connection_close(struct send_http_connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->state = SEND_HTTP_DOWN;
	connection->want_write = false;
	free(connection->rest);
	connection->rest = NULL;
	connection->rest_at = connection->rest_bytes = connection->rest_room = 0;
}

/* Returns how many bytes the socket took, 0 when it is full, or -errno. */
static ssize_t send_some(int fd, const char *data, size_t bytes)
{
	ssize_t n;
	do
		n = send(fd, data, bytes, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
	return n;
}

static int keep(struct send_http_connection *connection, const char *data, size_t bytes)
{
	if (connection->rest_bytes + bytes > connection->rest_room) {
		size_t room = connection->rest_bytes + bytes;
		char *larger = realloc(connection->rest, room);
		if (larger == NULL)
			return -ENOMEM;
		connection->rest = larger;
		connection->rest_room = room;
	}
	memcpy(connection->rest + connection->rest_bytes, data, bytes);
	connection->rest_bytes += bytes;
	return 0;
}

static int send_rest(struct send_http_connection *connection)
{
	while (connection->rest_at < connection->rest_bytes) {
		ssize_t n = send_some(connection->fd, connection->rest + connection->rest_at,
		                      connection->rest_bytes - connection->rest_at);
		if (n <= 0)
			return (int)n;
		connection->rest_at += (size_t)n;
	}
	connection->rest_at = connection->rest_bytes = 0;
	return 0;
}

int send_http_connection_send(struct send_http_connection *connection, int epoll, uint32_t index,
                              const char *data, size_t bytes)
{
	int error = send_rest(connection);
	while (error == 0 && connection->rest_bytes == 0 && bytes > 0) {
		ssize_t n = send_some(connection->fd, data, bytes);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		data += n;
		bytes -= (size_t)n;
	}
	if (error == 0 && bytes > 0)
		error = keep(connection, data, bytes);
	bool want = connection->rest_bytes > 0;
	if (error == 0 && want != connection->want_write) {
		connection->want_write = want;
		error = watch(connection, epoll, index, EPOLL_CTL_MOD, want);
	}
	return error;
}
