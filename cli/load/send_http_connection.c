#include "cli/load/send_http_connection.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/load/send_http.h"

/* ---- the target ---- */

#define DEFAULT_PORT "8080"
#define URL_PORT     "80"

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static int unix_target(const char *path, struct send_http_target *target, const char **why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t bytes = strlen(path);
	if (bytes == 0 || bytes >= sizeof address.sun_path)
		return refuse(why, "the path of a Unix socket has 1 to 107 bytes");
	memcpy(address.sun_path, path, bytes);
	memcpy(&target->address, &address, sizeof address);
	target->address_bytes = sizeof address;
	snprintf(target->host, sizeof target->host, "localhost");
	return 0;
}

static bool is_port(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	return isdigit((unsigned char)text[0]) && *end == '\0' && number >= 1 && number <= UINT16_MAX;
}

/* Splits "host", "host:port", "[::1]" and "[::1]:port" into host and port. Without a port, port
 * keeps its default. */
static int split(char *text, char **host, char **port, const char **why)
{
	char *colon = strrchr(text, ':');
	*host = text;
	if (text[0] == '[') {
		char *end = strchr(text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return refuse(why, "an IPv6 address is written [::1] or [::1]:8080");
		*host = text + 1;
		if (end[1] == ':')
			*port = end + 2;
		*end = '\0';
	} else if (colon != NULL && strchr(text, ':') == colon) {
		*colon = '\0';
		*port = colon + 1;
	} else if (colon != NULL) {
		return refuse(why, "an IPv6 address is written [::1] or [::1]:8080");
	}
	if (!is_port(*port))
		return refuse(why, "a port is a number from 1 to 65535");
	if (**host == '\0')
		*host = (char *)(uintptr_t) "127.0.0.1";
	return 0;
}

static bool answers(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool result = fd >= 0 && connect(fd, info->ai_addr, info->ai_addrlen) == 0;
	if (fd >= 0)
		close(fd);
	return result;
}

static int look_up(const char *host, const char *port, struct send_http_target *target, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
	int result = getaddrinfo(host, port, &hints, &found);
	if (result != 0)
		return refuse(why, gai_strerror(result));
	const struct addrinfo *chosen = found;
	for (const struct addrinfo *info = found; found->ai_next != NULL && info != NULL;
	     info = info->ai_next)
		if (answers(info)) {
			chosen = info;
			break;
		}
	memcpy(&target->address, chosen->ai_addr, chosen->ai_addrlen);
	target->address_bytes = chosen->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int send_http_target(const char *text, struct send_http_target *target, const char **why)
{
	char copy[sizeof target->host], *host, *port = (char *)(uintptr_t)DEFAULT_PORT;
	memset(target, 0, sizeof *target);
	if (strncmp(text, "unix:", 5) == 0)
		return unix_target(text + 5, target, why);
	if (strncasecmp(text, "https://", 8) == 0)
		return refuse(why, "this client has no TLS; send to the server that the proxy forwards to");
	if (strncasecmp(text, "http://", 7) == 0) {
		text += 7;
		port = (char *)(uintptr_t)URL_PORT;
	}
	size_t authority = strcspn(text, "/?#"), path = strlen(text + authority);
	if (strpbrk(text, "?# \r\n\t") != NULL || path >= sizeof target->prefix)
		return refuse(why, "a query, a fragment or white space has no place here");
	if (authority >= sizeof copy)
		return refuse(why, "the host's name is too long");
	memcpy(copy, text, authority);
	copy[authority] = '\0';
	memcpy(target->host, copy, authority + 1);
	memcpy(target->prefix, text + authority, path + 1);
	if (path > 0 && target->prefix[path - 1] == '/')
		target->prefix[path - 1] = '\0';
	int error = split(copy, &host, &port, why);
	if (error == 0)
		error = look_up(host, port, target, why);
	if (error == 0 && (target->host[0] == '\0' || target->host[0] == ':'))
		snprintf(target->host, sizeof target->host, "localhost");
	return error;
}

/* ---- a connection ---- */

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

/* Returns the number of bytes that the socket took, 0 when it is full, or -errno. */
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
