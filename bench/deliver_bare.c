#include "bench/deliver_bare.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define TEXT_MAX   1024

struct bare {
	int epoll, *fd;
	unsigned connections;
	const char *lines;
};

static void fail(const char *what)
{
	fprintf(stderr, "bench-deliver: the bare loop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_connection(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		fail("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

struct bare *bare_open(unsigned port, unsigned connections, const char *lines)
{
	struct bare *bare = calloc(1, sizeof *bare);
	if (bare == NULL || (bare->fd = calloc(connections, sizeof *bare->fd)) == NULL)
		fail("memory");
	bare->lines = lines;
	bare->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (; bare->connections < connections; bare->connections++) {
		int fd = bare->fd[bare->connections] = open_connection(port);
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
		if (epoll_ctl(bare->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
			fail("epoll");
	}
	return bare;
}

void bare_close(struct bare *bare)
{
	for (unsigned i = 0; i < bare->connections; i++)
		close(bare->fd[i]);
	close(bare->epoll);
	free(bare->fd);
	free(bare);
}

static void ask(const struct bare *bare, int fd, const char *path)
{
	char text[TEXT_MAX];
	int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", path,
	                 bare->lines);
	if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		fail("send");
}

unsigned bare_run(struct bare *bare, unsigned n, const char *(*path_of)(unsigned i))
{
	static const char good[] = "HTTP/1.1 200 ";
	struct epoll_event event[EVENTS_MAX];
	char text[TEXT_MAX];
	unsigned begun = 0, ended = 0, answered = 0;
	while (begun < n && begun < bare->connections) {
		ask(bare, bare->fd[begun], path_of(begun));
		begun++;
	}
	while (ended < n) {
		int ready = epoll_wait(bare->epoll, event, EVENTS_MAX, -1);
		for (int i = 0; i < ready; i++) {
			ssize_t got = recv(event[i].data.fd, text, sizeof text, 0);
			if (got < (ssize_t)sizeof good || memcmp(text + got - 4, "\r\n\r\n", 4) != 0)
				fail("recv");
			answered += memcmp(text, good, sizeof good - 1) == 0;
			ended++;
			if (begun < n)
				ask(bare, event[i].data.fd, path_of(begun++));
		}
	}
	return answered;
}
