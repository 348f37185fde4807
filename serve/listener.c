#include "serve/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "serve/server.h"

#define ACCEPTS 16 /* in one turn of the loop */

int listener_init(struct listeners *listeners, const struct config *config, uv_loop_t *loop,
                  struct server *server, struct shm_error *error)
{
	size_t n = config_count(config, "serve.listen");
	memset(listeners, 0, sizeof *listeners);
	listeners->loop = loop;
	listeners->server = server;
	listeners->backlog = (int)config_u64(config, "serve.backlog");
	if (n > LISTENERS_MAX) {
		shm_explain(error, "serve.listen: at most %u addresses", LISTENERS_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		listeners->listener[listeners->n++] = (struct listener){
		        .all = listeners, .text = config_item(config, i, "serve.listen"), .fd = -1};
	return 0;
}

/* ---- taking connections ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = poll->data;
	(void)events;
	for (int i = 0; status == 0 && i < ACCEPTS; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return; /* none is left, or none can be had: the loop comes back */
		server_take(listener->all->server, fd);
	}
}

static int watch(struct listener *listener)
{
	int result = uv_poll_init(listener->all->loop, &listener->poll, listener->fd);
	if (result != 0)
		return result;
	listener->poll.data = listener;
	listener->polled = true;
	return uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

/* ---- binding ---- */

/* A socket file that nobody listens on is what a dead life left. */
static void remove_stale(const struct sockaddr_storage *address, socklen_t length)
{
	const char *path = ((const struct sockaddr_un *)address)->sun_path;
	struct stat about;
	if (lstat(path, &about) != 0 || !S_ISSOCK(about.st_mode))
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)address, length) != 0 && errno == ECONNREFUSED)
		(void)unlink(path);
	close(fd);
}

static int bind_socket(int fd, const struct sockaddr_storage *address, socklen_t length, int backlog)
{
	const int on = 1, off = 0;
	if (address->ss_family != AF_UNIX && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	                                      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0))
		return -errno;
	if (address->ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)address, length) != 0 || listen(fd, backlog) != 0)
		return -errno;
	return 0;
}

static int open_one(struct listener *listener)
{
	struct sockaddr_storage address;
	socklen_t length;
	int result = address_parse_stream(&address, &length, listener->text);
	if (result != 0)
		return result;
	if (address.ss_family == AF_UNIX)
		remove_stale(&address, length);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	result = bind_socket(fd, &address, length, listener->all->backlog);
	length = sizeof address;
	if (result == 0 && getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		result = -errno;
	listener->fd = fd;
	if (result == 0)
		result = watch(listener);
	if (result != 0 && !listener->polled) {
		close(fd);
		listener->fd = -1;
	}
	if (result == 0)
		address_format(listener->bound, &address);
	return result;
}

bool listener_open(struct listeners *listeners)
{
	bool changed = false;
	for (unsigned i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->listener[i];
		if (listener->fd >= 0)
			continue;
		int result = open_one(listener);
		if (result == 0) {
			listeners->n_bound++;
			log_info("listening", "address=%s", listener->bound);
		} else if (result != listener->failed) {
			log_error("cannot listen, tries again every second", "address=%s reason=\"%s\"",
			          listener->text, strerror(-result));
		}
		changed |= result == 0 || result != listener->failed;
		listener->failed = result;
	}
	return changed;
}

void listener_note(const struct listeners *listeners, char *text, size_t size)
{
	size_t n = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < listeners->n && n < size; i++) {
		const struct listener *listener = &listeners->listener[i];
		if (listener->fd >= 0)
			n += (size_t)snprintf(text + n, size - n, "%s%s", n > 0 ? ", " : "", listener->bound);
		else
			n += (size_t)snprintf(text + n, size - n, "%s%s: %s", n > 0 ? ", " : "",
			                      listener->text, strerror(-listener->failed));
	}
}

void listener_close(struct listeners *listeners)
{
	for (unsigned i = 0; i < listeners->n; i++) {
		struct listener *listener = &listeners->listener[i];
		if (listener->polled)
			uv_close((uv_handle_t *)&listener->poll, NULL);
		listener->polled = false;
		if (listener->fd < 0)
			continue;
		close(listener->fd);
		listener->fd = -1;
		if (strncmp(listener->bound, "unix:", 5) == 0)
			(void)unlink(listener->bound + 5);
	}
	listeners->n = listeners->n_bound = 0;
}

bool listener_is_loopback(const char *text)
{
	struct sockaddr_storage address;
	socklen_t length;
	if (address_parse_stream(&address, &length, text) != 0)
		return false;
	if (address.ss_family == AF_UNIX)
		return true;
	if (address.ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == 127;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)&address)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}
