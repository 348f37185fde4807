#include "bench/objects_receiver.h"

#include <errno.h>
#include <stdbool.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/turns.h"

#define CONNECTIONS 64u
#define HEAD_MAX    16384u

struct connection {
	int fd; /* -1: none */
	char head[HEAD_MAX + 1];
	size_t n;
	unsigned long long body; /* bytes that still come */
	char method;             /* 'G', 'H', 'P', 'U' (PUT) */
	char answer[600];
};

static struct connection connection[CONNECTIONS];
static char sink[1 << 20];

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"

static void make_answer(struct connection *c)
{
	const char *body = "";
	const char *line = c->head;
	char *end = strchr(c->head, '\r');
	*end = '\0';
	bool none = strncmp(line, "HEAD ", 5) == 0;
	if (strncmp(line, "POST ", 5) == 0 && strstr(line, "uploadId=") != NULL)
		body = XML
		        "<CompleteMultipartUploadResult><ETag>\"0\"</ETag></CompleteMultipartUploadResult>";
	else if (strncmp(line, "POST ", 5) == 0)
		body = XML
		        "<InitiateMultipartUploadResult><UploadId>bench</UploadId></InitiateMultipartUploadResult>";
	else if (strncmp(line, "GET ", 4) == 0)
		body = XML "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
	snprintf(c->answer, sizeof c->answer, "HTTP/1.1 %s\r\nETag: \"0\"\r\nContent-Length: %zu\r\n\r\n%s",
	         none ? "404 Not Found" : "200 OK", strlen(body), body);
	*end = '\r';
}

static void drop(struct connection *c)
{
	close(c->fd);
	c->fd = -1;
}

static void answer(struct connection *c)
{
	size_t n = strlen(c->answer);
	c->n = 0;
	if (send(c->fd, c->answer, n, MSG_NOSIGNAL) != (ssize_t)n)
		drop(c);
}

static void read_head(struct connection *c)
{
	ssize_t got = recv(c->fd, c->head + c->n, HEAD_MAX - c->n, 0);
	if (got <= 0) {
		drop(c);
		return;
	}
	c->n += (size_t)got;
	c->head[c->n] = '\0';
	char *end = strstr(c->head, "\r\n\r\n");
	if (end == NULL) {
		if (c->n == HEAD_MAX)
			drop(c);
		return;
	}
	const char *length = strcasestr(c->head, "\r\nContent-Length:");
	size_t here = c->n - (size_t)(end + 4 - c->head);
	c->body = length != NULL && length < end ? strtoull(length + 17, NULL, 10) : 0;
	c->body -= here < c->body ? here : c->body;
	make_answer(c);
	if (strcasestr(c->head, "\r\nExpect: 100-continue") != NULL && c->body > 0 &&
	    send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) != 25) {
		drop(c);
		return;
	}
	if (c->body == 0)
		answer(c);
}

static void read_body(struct connection *c)
{
	ssize_t got = recv(c->fd, sink, c->body < sizeof sink ? c->body : sizeof sink, 0);
	if (got <= 0) {
		drop(c);
		return;
	}
	c->body -= (unsigned long long)got;
	if (c->body == 0)
		answer(c);
}

static void take(int listener)
{
	int fd = accept(listener, NULL, NULL), on = 1;
	for (unsigned i = 0; i < CONNECTIONS && fd >= 0; i++) {
		if (connection[i].fd >= 0)
			continue;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		connection[i].fd = fd;
		connection[i].n = 0;
		connection[i].body = 0;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void serve(int listener)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		connection[i].fd = -1;
	for (;;) {
		struct pollfd fd[CONNECTIONS + 1];
		for (unsigned i = 0; i < CONNECTIONS; i++)
			fd[i] = (struct pollfd){.fd = connection[i].fd, .events = POLLIN};
		fd[CONNECTIONS] = (struct pollfd){.fd = listener, .events = POLLIN};
		if (poll(fd, CONNECTIONS + 1, -1) < 0)
			continue;
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			if (fd[i].fd < 0 || fd[i].revents == 0)
				continue;
			if (connection[i].body > 0)
				read_body(&connection[i]);
			else
				read_head(&connection[i]);
		}
		if (fd[CONNECTIONS].revents != 0)
			take(listener);
	}
}

int objects_receiver_start(struct objects_receiver *receiver)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
	    listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return -errno;
	receiver->port = ntohs(address.sin_port);
	receiver->pid = turns_fork(SIGKILL);
	if (receiver->pid == 0)
		serve(listener);
	int error = receiver->pid < 0 ? -errno : 0;
	close(listener);
	return error;
}

void objects_receiver_stop(struct objects_receiver *receiver)
{
	kill(receiver->pid, SIGKILL);
	waitpid(receiver->pid, NULL, 0);
}
