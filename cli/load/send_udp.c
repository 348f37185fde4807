#include "cli/load/send_udp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/load/pace.h"
#include "base/clock.h"

#define BATCH        32u               /* messages in one system call */
#define SHORT_BATCH  8u                /* the same when several sockets take turns */
#define FULL_NS      (200 * NS_PER_US) /* pause when the kernel's buffer is full */
#define DEFAULT_PORT "4002"

struct sender {
	const struct generator *generator;
	const struct send_udp_settings *settings;
	int *socket;
	unsigned batch; /* messages in one system call */
	struct mmsghdr message[BATCH];
	struct iovec part[BATCH];
	/* one UDP_SEGMENT control message per message */
	union {
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control[BATCH];
	uint32_t n[BATCH]; /* datagrams in each message */
};

int send_udp_address(const char *text, struct sockaddr_storage *address, socklen_t *bytes, const char **why)
{
	char host[256];
	const char *port = DEFAULT_PORT, *colon = strrchr(text, ':');
	if (strlen(text) >= sizeof host) {
		*why = "longer than any address";
		return -EINVAL;
	}
	memcpy(host, text, strlen(text) + 1);
	if (text[0] == '[') {
		char *end = strchr(host, ']');
		if (end == NULL || (end[1] != 0 && end[1] != ':')) {
			*why = "an IPv6 address with a port is written [::1]:4002";
			return -EINVAL;
		}
		port = end[1] == ':' ? text + (end + 2 - host) : DEFAULT_PORT;
		*end = 0;
		memmove(host, host + 1, strlen(host));
	} else if (colon != NULL && strchr(text, ':') == colon) {
		host[colon - text] = 0;
		port = colon + 1;
	}
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found;
	int result = getaddrinfo(host[0] != 0 ? host : "127.0.0.1", port, &hints, &found);
	if (result != 0) {
		*why = gai_strerror(result);
		return -EINVAL;
	}
	memcpy(address, found->ai_addr, found->ai_addrlen);
	*bytes = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* On loopback every source gets its own address besides its own port: 127.0.0.1, 127.0.0.2 ... */
static int bind_source(int fd, const struct sockaddr_storage *to, uint32_t index)
{
	struct sockaddr_in from;
	memcpy(&from, to, sizeof from);
	if (to->ss_family != AF_INET || ntohl(from.sin_addr.s_addr) >> 24 != 127)
		return 0;
	from.sin_port = 0;
	from.sin_addr.s_addr = htonl(0x7f000001u + index % 254);
	return bind(fd, (struct sockaddr *)&from, sizeof from) < 0 ? -errno : 0;
}

static int open_source(const struct sockaddr_storage *to, socklen_t bytes, uint32_t index)
{
	int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int result = bind_source(fd, to, index);
	if (result == 0 && connect(fd, (const struct sockaddr *)to, bytes) < 0)
		result = -errno;
	if (result < 0) {
		close(fd);
		return result;
	}
	return fd;
}

static void prepare(struct sender *sender)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct msghdr *header = &sender->message[i].msg_hdr;
		*header = (struct msghdr){.msg_iov = &sender->part[i],
		                          .msg_iovlen = 1,
		                          .msg_control = sender->control[i].bytes,
		                          .msg_controllen = sizeof sender->control[i].bytes};
		struct cmsghdr *control = CMSG_FIRSTHDR(header);
		control->cmsg_level = SOL_UDP;
		control->cmsg_type = UDP_SEGMENT;
		control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
	}
}

/* Fills messages with up to `most` datagrams from position; returns how many messages. */
static unsigned fill(struct sender *sender, uint64_t position, uint64_t most)
{
	unsigned i = 0;
	while (i < sender->batch && most > 0) {
		const uint8_t *data;
		uint16_t length;
		uint32_t limit = most < sender->settings->gso ? (uint32_t)most : sender->settings->gso;
		uint32_t n = generator_run(sender->generator, position, limit, &data, &length);
		if (length == 0)
			n = 1; /* an empty datagram cannot be cut into segments */
		else if (n > GENERATOR_DATAGRAM_MAX / length)
			n = GENERATOR_DATAGRAM_MAX / length;
		struct msghdr *header = &sender->message[i].msg_hdr;
		header->msg_controllen = n > 1 ? sizeof sender->control[i].bytes : 0;
		memcpy(CMSG_DATA(&sender->control[i].align), &length, sizeof length);
		sender->part[i] = (struct iovec){(void *)data, (size_t)n * length};
		sender->n[i++] = n;
		position += n;
		most -= n;
	}
	return i;
}

/* Sends once; returns the number of datagrams sent. Counts transient errors; stores others in
 * result->error. */
static uint64_t send_once(struct sender *sender, int fd, unsigned n, struct send_udp_result *result)
{
	int sent = sendmmsg(fd, sender->message, n, 0);
	if (sent < 0) {
		if (errno == ECONNREFUSED)
			result->refused++;
		else if (errno == ENOBUFS || errno == EAGAIN || errno == ENOMEM)
			result->busy++;
		else if (errno != EINTR)
			result->error = -errno;
		if (errno == ENOBUFS)
			nanosleep(&(struct timespec){.tv_nsec = FULL_NS}, NULL);
		return 0;
	}
	uint64_t datagrams = 0;
	for (int i = 0; i < sent; i++)
		datagrams += sender->n[i];
	return datagrams;
}

/* The number left to send, limited so that every source gets its turn when there are enough. */
static uint64_t left(const struct send_udp_settings *settings, uint64_t sent)
{
	uint64_t n = settings->count - sent, turn = settings->count / settings->sources;
	return n <= turn ? n : turn == 0 ? 1 : turn;
}

static void run(struct sender *sender, struct send_udp_result *result, const volatile bool *stop)
{
	const struct send_udp_settings *settings = sender->settings;
	uint64_t begun = clock_monotonic_ns();
	uint64_t end =
	        settings->duration_ns > UINT64_MAX - begun ? UINT64_MAX : begun + settings->duration_ns;
	struct pace pace = {.rate = settings->rate, .start_ns = begun, .end_ns = end};
	uint32_t source = 0;
	while (!*stop && result->error == 0 && result->sent < settings->count && clock_monotonic_ns() < end) {
		uint64_t most = pace_allowed(&pace, result->sent, left(settings, result->sent));
		if (most == 0)
			continue;
		unsigned n = fill(sender, result->sent, most);
		result->sent += send_once(sender, sender->socket[source], n, result);
		source = source + 1 < settings->sources ? source + 1 : 0;
	}
	result->elapsed_ns = clock_monotonic_ns() - begun;
}

/* sendmmsg does not report an error after its first message. The socket still holds it after the
 * last one. */
static int pending_error(int fd)
{
	int error = 0;
	socklen_t bytes = sizeof error;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 ? error : errno;
}

struct send_udp_result send_udp_run(const struct generator *generator, const struct sockaddr_storage *address,
                                    socklen_t bytes, const struct send_udp_settings *settings,
                                    const volatile bool *stop)
{
	struct send_udp_result result = {0};
	struct sender *sender = calloc(1, sizeof *sender);
	int *sockets = calloc(settings->sources, sizeof *sockets);
	uint32_t opened = 0;
	if (sender == NULL || sockets == NULL) {
		result.error = -ENOMEM;
		goto out;
	}
	*sender = (struct sender){.generator = generator,
	                          .settings = settings,
	                          .socket = sockets,
	                          .batch = settings->sources == 1 ? BATCH : SHORT_BATCH};
	prepare(sender);
	for (; opened < settings->sources; opened++) {
		sockets[opened] = open_source(address, bytes, opened);
		if (sockets[opened] < 0) {
			result.error = sockets[opened];
			goto out;
		}
	}
	run(sender, &result, stop);
	for (uint32_t i = 0; i < opened; i++)
		result.refused += pending_error(sockets[i]) == ECONNREFUSED;
out:
	for (uint32_t i = 0; i < opened; i++)
		close(sockets[i]);
	free(sockets);
	free(sender);
	return result;
}
