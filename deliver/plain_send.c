#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deliver/guard_entry.h"
#include "base/address.h"
#include "deliver/plain.h"
#include "deliver/sender_plain.h"

#define SCHEME       "http://"
#define HTTP_PORT    80u
#define HEAD_MORE    512u /* what a head has besides method, URL and headers: Host, lengths, ends of lines */
#define HEAD_AT_ONCE 4096u

/* ---- what can be sent ---- */

/* What stands between the scheme and the path when the URL names the place: host, host:port,
 * [host]:port. Its length; 0: it is another. */
static size_t authority_bytes(const char *text, const struct sender_place *place)
{
	size_t host = strlen(place->host), at = 0;
	bool brackets = strchr(place->host, ':') != NULL;
	unsigned long port = 0;
	if (brackets && text[at++] != '[')
		return 0;
	if (strncmp(text + at, place->host, host) != 0)
		return 0;
	at += host;
	if (brackets && text[at++] != ']')
		return 0;
	if (text[at] != ':')
		return place->port == HTTP_PORT ? at : 0;
	for (at++; text[at] >= '0' && text[at] <= '9' && port <= UINT16_MAX; at++)
		port = 10 * port + (unsigned long)(text[at] - '0');
	return port == place->port ? at : 0;
}

/* The path of the URL with its query, which may lack its slash. NULL: the URL is not for us. */
static const char *path_of(const struct sender_request *request)
{
	const struct sender_place *place = request->place;
	const char *url = request->url;
	if (strncmp(url, SCHEME, sizeof SCHEME - 1) != 0)
		return NULL;
	url += sizeof SCHEME - 1;
	size_t bytes = authority_bytes(url, place);
	if (bytes == 0 || (url[bytes] != '\0' && strchr("/?#", url[bytes]) == NULL))
		return NULL;
	return url + bytes;
}

static bool is_printable(const char *text)
{
	while (*text > ' ' && *text < 0x7f)
		text++;
	return *text == '\0';
}

static bool is_method(const char *method)
{
	size_t n = strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	/* CONNECT is another protocol, and what TRACE says is for nobody */
	return n > 0 && n < SENDER_METHOD_MAX && method[n] == '\0' && strcmp(method, "CONNECT") != 0 &&
	       strcmp(method, "TRACE") != 0;
}

bool sender_plain_can(const struct sender_request *request)
{
	const struct sender_place *place = request->place;
	const char *path = place->n > 0 && place->zone == 0 ? path_of(request) : NULL;
	/* a host that begins with a hyphen is refused (README.md), by libcurl's sender */
	if (path == NULL || !is_printable(path) || place->host[0] == '-' || !is_method(request->method))
		return false;
	for (unsigned i = 0; i < request->n_headers; i++) {
		const char *header = request->header[i];
		if (header[0] == ':' || strpbrk(header, "\r\n") != NULL || strchr(header, ':') == NULL)
			return false;
	}
	return true;
}

/* ---- the head ---- */

static char *add(char *to, const void *from, size_t bytes)
{
	return mempcpy(to, from, bytes);
}

static char *add_text(char *to, const char *text)
{
	return add(to, text, strlen(text));
}

static bool make_room(struct plain_sender *sender, size_t bytes)
{
	if (bytes <= sender->head_room)
		return true;
	char *larger = realloc(sender->head, bytes);
	if (larger == NULL)
		return false;
	sender->head = larger;
	sender->head_room = bytes;
	return true;
}

static char *add_host(char *to, const struct sender_place *place)
{
	bool brackets = strchr(place->host, ':') != NULL;
	to = add_text(to, " HTTP/1.1\r\nHost: ");
	to = add_text(to, brackets ? "[" : "");
	to = add_text(to, place->host);
	to = add_text(to, brackets ? "]" : "");
	if (place->port != HTTP_PORT)
		to += sprintf(to, ":%u", place->port);
	return add_text(to, "\r\n");
}

static bool has_body(const struct sender_request *request)
{
	return request->body != NULL || request->method[0] == 'P';
}

static size_t body_bytes(const struct sender_request *request)
{
	return request->body != NULL ? request->body_bytes : 0;
}

/* Into the sender's room. False: no memory. */
static bool write_head(struct plain_slot *slot)
{
	struct plain_sender *sender = slot->sender;
	const struct sender_request *request = slot->request;
	const char *path = path_of(request);
	size_t path_bytes = strcspn(path, "#"); /* a fragment stays here (RFC 9110, 7.1) */
	size_t room = path_bytes + sender->fields_bytes + HEAD_MORE;
	for (unsigned i = 0; i < request->n_headers; i++)
		room += strlen(request->header[i]) + 2;
	if (!make_room(sender, room > HEAD_AT_ONCE ? room : HEAD_AT_ONCE))
		return false;
	char *to = add_text(sender->head, request->method);
	to = add_text(to, path[0] == '/' ? " " : " /");
	to = add(to, path, path_bytes);
	to = add_host(to, request->place);
	to = add(to, sender->fields, sender->fields_bytes);
	for (unsigned i = 0; i < request->n_headers; i++) {
		to = add_text(to, request->header[i]);
		to = add_text(to, "\r\n");
	}
	if (has_body(request))
		to += sprintf(to, "Content-Length: %zu\r\n", body_bytes(request));
	to = add_text(to, "\r\n");
	slot->head_bytes = (size_t)(to - sender->head);
	return true;
}

/* ---- sending ---- */

/* What is left of head and body, in one call as a rule. 0: all is out; -EAGAIN; -errno. */
static int push(struct plain_slot *slot, const char *head)
{
	const struct sender_request *request = slot->request;
	size_t all = slot->head_bytes + body_bytes(request);
	while (slot->sent < all) {
		struct iovec part[2] = {0};
		struct msghdr message = {.msg_iov = part};
		size_t of_body = 0;
		if (slot->sent < slot->head_bytes)
			part[message.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)(head + slot->sent),
			                                            slot->head_bytes - slot->sent};
		else
			of_body = slot->sent - slot->head_bytes;
		if (all > slot->head_bytes)
			part[message.msg_iovlen++] =
			        (struct iovec){(void *)(uintptr_t)((const char *)request->body + of_body),
			                       body_bytes(request) - of_body};
		ssize_t n = sendmsg(slot->connection->fd, &message, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		slot->sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* The server takes no more: it may have answered before it went (RFC 9112, 9.5 and 9.6). */
static void send_failed(struct plain_slot *slot, int error)
{
	slot->sending = true; /* so the connection is not used again */
	slot->ended = true;
	if (slot->error == 0)
		slot->error = error;
	plain_hear(slot);
}

void plain_send_more(struct plain_slot *slot)
{
	int r = push(slot, slot->head);
	if (r == -EAGAIN)
		return;
	if (r != 0) {
		send_failed(slot, r);
		return;
	}
	slot->sending = false;
	if (slot->state == SENDER_WAITING)
		plain_due(slot, slot->request->first_byte_timeout_ns);
}

static bool vetted(struct plain_slot *slot)
{
	const struct sender_options *options = &slot->sender->options;
	const struct sender_request *request = slot->request;
	return options->vet(options->context, request->address, request->port, request->owner);
}

/* There is a connection. */
static void send_first(struct plain_slot *slot)
{
	struct plain_sender *sender = slot->sender;
	if (!vetted(slot)) {
		plain_finish(slot, -EACCES, SENDER_FORBIDDEN, false);
		return;
	}
	slot->state = SENDER_WAITING;
	slot->error = 0;
	plain_due(slot, slot->request->first_byte_timeout_ns);
	if (!write_head(slot)) {
		plain_finish(slot, -ENOMEM, strerror(ENOMEM), false);
		return;
	}
	int r = push(slot, sender->head);
	if (r == -EAGAIN) {
		plain_due(slot, slot->request->timeout_ns); /* the first byte has its time when all is out */
		slot->sending = true;
		slot->head = malloc(slot->head_bytes);
		if (slot->head == NULL) {
			plain_finish(slot, -ENOMEM, strerror(ENOMEM), false);
			return;
		}
		memcpy(slot->head, sender->head, slot->head_bytes);
	} else if (r != 0) {
		send_failed(slot, r);
	}
}

/* ---- connecting ---- */

/* The address that is tried as the k-th. */
static unsigned address_of(const struct plain_slot *slot, unsigned k)
{
	return k == 0 ? slot->first : k <= slot->first ? k - 1 : k;
}

static bool is_slow(const struct plain_slot *slot, unsigned k)
{
	return slot->slow >> address_of(slot, k) & 1;
}

/* The next address; false: all have been tried. */
static bool next_address(struct plain_slot *slot)
{
	unsigned n = slot->request->place->n;
	if (!slot->again) {
		if (slot->tried < n) {
			slot->tried++;
			return true;
		}
		slot->again = true;
		slot->tried = 0;
	}
	while (slot->tried < n)
		if (is_slow(slot, slot->tried++))
			return true;
	return false;
}

/* How long this address may take: see plain.h. */
static uint64_t patience_ns(const struct plain_slot *slot)
{
	const struct plain_sender *sender = slot->sender;
	unsigned n = slot->request->place->n, others = 0;
	uint64_t left_ns = slot->connect_ns > sender->now_ns ? slot->connect_ns - sender->now_ns : 0;
	if (!slot->again) {
		if (slot->tried == n && slot->slow == 0)
			return left_ns;
		return left_ns < PLAIN_PATIENCE_NS ? left_ns : PLAIN_PATIENCE_NS;
	}
	for (unsigned k = slot->tried; k < n; k++)
		others += is_slow(slot, k);
	return left_ns / (others + 1);
}

static int dial(const struct plain_sender *sender, struct kept_connection *connection)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} to = {.any.sa_family = AF_UNSPEC};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	                            .data.ptr = connection};
	socklen_t bytes = sizeof to.in6;
	int on = 1;
	if (address_is_mapped(connection->address)) {
		to.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(connection->port)};
		memcpy(&to.in.sin_addr, connection->address + 12, 4);
		bytes = sizeof to.in;
	} else {
		to.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(connection->port)};
		memcpy(&to.in6.sin6_addr, connection->address, 16);
	}
	int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	connection->fd = fd;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, &to.any, bytes) != 0 && errno != EINPROGRESS)
		return -errno;
	/* After connect: before, epoll would say that there is no connection. */
	return epoll_ctl(sender->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static void hang_up(struct plain_slot *slot)
{
	if (slot->connection != NULL)
		kept_close(slot->sender->kept, slot->connection);
	slot->connection = NULL;
}

/* No address took it. */
static void fail(struct plain_slot *slot)
{
	char why[128];
	int error = slot->error;
	if (error == 0) {
		plain_finish(slot, -ETIMEDOUT, sender_late(SENDER_CONNECTING), false);
		return;
	}
	snprintf(why, sizeof why, "cannot connect: %s", strerror(-error));
	/* what these two mean in a result is something else */
	if (error == -EACCES || error == -EINVAL)
		error = -EHOSTUNREACH;
	plain_finish(slot, error, why, false);
}

static void connect_next(struct plain_slot *slot)
{
	struct plain_sender *sender = slot->sender;
	struct sender_request *request = slot->request;
	while (next_address(slot)) {
		unsigned i = address_of(slot, slot->tried - 1);
		struct kept_connection *connection =
		        kept_connection(sender->kept, request->place, i, sender->now_ns);
		if (connection == NULL) {
			plain_finish(slot, -ENOMEM, strerror(ENOMEM), false);
			return;
		}
		connection->user = slot;
		slot->connection = connection;
		memcpy(request->address, connection->address, 16);
		request->port = connection->port;
		if (!vetted(slot)) {
			plain_finish(slot, -EACCES, SENDER_FORBIDDEN, false);
			return;
		}
		plain_due(slot, patience_ns(slot));
		int r = dial(sender, connection);
		if (r == 0)
			return;
		slot->error = r;
		hang_up(slot);
	}
	fail(slot);
}

static void remember_good(struct plain_slot *slot)
{
	const struct kept_connection *connection = slot->connection;
	unsigned i = connection->hash % PLAIN_GOOD;
	slot->sender->good[i].hash = connection->hash;
	memcpy(slot->sender->good[i].address, connection->address, 16);
}

/* The address that worked the last time, if the place still has it. */
static unsigned first_address(const struct plain_slot *slot)
{
	const struct sender_place *place = slot->request->place;
	const struct plain_sender *sender = slot->sender;
	uint64_t hash = kept_hash(sender->kept, place);
	unsigned at = hash % PLAIN_GOOD;
	for (unsigned i = 0; sender->good[at].hash == hash && i < place->n; i++)
		if (memcmp(place->address[i], sender->good[at].address, 16) == 0)
			return i;
	return 0;
}

void plain_connected(struct plain_slot *slot)
{
	int error = 0;
	socklen_t bytes = sizeof error;
	if (getsockopt(slot->connection->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0)
		error = errno;
	if (error != 0) {
		slot->error = -error;
		hang_up(slot);
		connect_next(slot);
		return;
	}
	slot->request->connect_us = plain_since(slot);
	if (slot->request->place->n > 1)
		remember_good(slot);
	send_first(slot);
}

void plain_connect_late(struct plain_slot *slot)
{
	slot->slow |= 1u << address_of(slot, slot->tried - 1);
	hang_up(slot);
	connect_next(slot);
}

void plain_begin(struct plain_slot *slot)
{
	struct plain_sender *sender = slot->sender;
	struct sender_request *request = slot->request;
	struct kept_connection *kept = kept_take(sender->kept, request->place, sender->now_ns);
	if (kept == NULL) {
		slot->first = request->place->n > 1 ? first_address(slot) : 0;
		connect_next(slot);
		return;
	}
	kept->user = slot;
	slot->connection = kept;
	request->reused = true;
	memcpy(request->address, kept->address, 16);
	request->port = kept->port;
	send_first(slot);
}
