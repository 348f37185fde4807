/* What tests of the HTTP transport share: three listening sockets, clients in the same thread, and a server that remembers what happened to each slot and
 * checks what must never happen (events of a slot that is not open, bytes that are not those sent, a second `closed`).
 *
 *     place_open(n, buffers, bytes);  fd = client_connect(TCP4);  slot = slot_of(fd);  until(side(slot)->received == 5);  place_close();
 *
 * Each test runs with both back-ends: BOTH(test) makes two of it. The bytes of a stream are made from its key, the client's port, so that
 * bytes of another connection, lost, doubled or moved ones are noticed.
 */
#ifndef TESTS_TRANSPORT_PLACE_H
#define TESTS_TRANSPORT_PLACE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ingest/http/transport.h"
#include "stage/clock.h"
#include "stage/log.h"

#define PLACE_SLOTS    4096u
#define PLACE_LIMIT_NS (30 * NS_PER_SEC) /* generous: only a test that hangs gets there */

#define BOTH(test)                                                                                                     \
	{#test " (io_uring)", test, use_uring, place_clean, NULL},                                                     \
	{                                                                                                              \
		#test " (epoll)", test, use_epoll, place_clean, NULL                                                   \
	}

enum { TCP4, TCP6, UNIX, PLACE_LISTENERS };

/* One slot, as the server sees it. */
struct side {
	bool open, closing;
	unsigned n_opened, n_closed, n_sent, n_ended, n_failed;
	unsigned listener;
	struct sockaddr_storage peer;
	uint64_t received; /* bytes of this connection */
	char *echo;        /* what has come and is not yet sent back */
	size_t echo_bytes, echo_room;
	char *sending;
};

struct place {
	struct transport transport;
	bool in_use;
	int listener[PLACE_LISTENERS];
	struct sockaddr_storage address[PLACE_LISTENERS];
	socklen_t address_bytes[PLACE_LISTENERS];
	struct side side[PLACE_SLOTS];
	unsigned n_open, n_opened, n_closed;
	bool echo, ignore; /* send back what comes; do not look at what comes */
	void (*on_received)(uint32_t slot, char *data, size_t bytes);
	void (*on_ended)(uint32_t slot);
};

static struct place place;
static enum transport_backend backend_under_test;
static uint64_t batch_wait_under_test; /* 0: nothing waits longer than it must */

static inline int use_uring(void **state)
{
	(void)state;
	backend_under_test = TRANSPORT_URING;
	return 0;
}

static inline int use_epoll(void **state)
{
	(void)state;
	backend_under_test = TRANSPORT_EPOLL;
	return 0;
}

static inline struct side *side(uint32_t slot)
{
	return &place.side[slot];
}

/* Byte number k of the stream of a key. */
static inline unsigned char stream_byte(unsigned key, uint64_t k)
{
	return (unsigned char)(k * 131 + (k >> 8) * 29 + (k >> 16) * 7 + key * 13);
}

static inline void stream_fill(char *data, size_t bytes, unsigned key, uint64_t from)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)stream_byte(key, from + i);
}

static inline void stream_check(const char *data, size_t bytes, unsigned key, uint64_t from)
{
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)data[i] != stream_byte(key, from + i))
			fail_msg("byte %llu is not that of the stream", (unsigned long long)(from + i));
}

/* The key of a stream: the client's port; 0 of a Unix socket. */
static inline unsigned key_of_address(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	return address->ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)address)->sin6_port) : 0;
}

static inline unsigned key_of_client(int fd)
{
	struct sockaddr_storage own = {0};
	socklen_t bytes = sizeof own;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &bytes), 0);
	return key_of_address(&own);
}

/* ---- the server ---- */

static inline void side_close(uint32_t slot, bool linger)
{
	side(slot)->closing = true;
	transport_close(&place.transport, slot, linger);
}

static inline void side_send_back(uint32_t slot)
{
	struct side *one = side(slot);
	if (one->sending != NULL || one->echo_bytes == 0 || one->closing)
		return;
	one->sending = one->echo;
	size_t bytes = one->echo_bytes;
	one->echo = NULL;
	one->echo_bytes = one->echo_room = 0;
	transport_send(&place.transport, slot, one->sending, bytes);
}

static inline void side_opened(void *user, uint32_t slot, unsigned listener, const struct sockaddr_storage *peer)
{
	assert_ptr_equal(user, &place);
	assert_true(slot < place.transport.settings.max_connections);
	struct side *one = side(slot);
	assert_false(one->open);
	*one = (struct side){.open = true, .listener = listener, .peer = *peer, .n_opened = one->n_opened + 1, .n_closed = one->n_closed};
	place.n_open++;
	place.n_opened++;
}

static inline void side_received(void *user, uint32_t slot, char *data, size_t bytes)
{
	struct side *one = side(slot);
	assert_ptr_equal(user, &place);
	assert_true(one->open && !one->closing && one->n_ended == 0 && one->n_failed == 0);
	assert_true(bytes > 0 && bytes <= place.transport.settings.buffer_bytes);
	if (!place.ignore)
		stream_check(data, bytes, key_of_address(&one->peer), one->received);
	one->received += bytes;
	if (place.echo) {
		if (one->echo_bytes + bytes > one->echo_room) {
			one->echo_room = 2 * (one->echo_bytes + bytes);
			one->echo = realloc(one->echo, one->echo_room);
			assert_non_null(one->echo);
		}
		memcpy(one->echo + one->echo_bytes, data, bytes);
		one->echo_bytes += bytes;
		side_send_back(slot);
	}
	if (place.on_received != NULL)
		place.on_received(slot, data, bytes);
	memset(data, 0xdd, bytes); /* it is the callee's */
}

static inline void side_sent(void *user, uint32_t slot)
{
	struct side *one = side(slot);
	assert_ptr_equal(user, &place);
	assert_true(one->open && !one->closing && one->n_failed == 0);
	one->n_sent++;
	free(one->sending);
	one->sending = NULL;
	side_send_back(slot);
	if (place.echo && one->n_ended > 0 && one->sending == NULL)
		side_close(slot, false);
}

static inline void side_ended(void *user, uint32_t slot, bool failed)
{
	struct side *one = side(slot);
	assert_ptr_equal(user, &place);
	assert_true(one->open && !one->closing && one->n_failed == 0);
	if (failed)
		one->n_failed++;
	else
		assert_int_equal(++one->n_ended, 1);
	if (place.on_ended != NULL)
		place.on_ended(slot);
	else if (place.echo && (failed || one->sending == NULL))
		side_close(slot, false);
}

static inline void side_closed(void *user, uint32_t slot)
{
	struct side *one = side(slot);
	assert_ptr_equal(user, &place);
	assert_true(one->open && one->closing);
	if (one->sending != NULL) {
		memset(one->sending, 0xee, 1); /* nobody may look at it any more */
		free(one->sending);
	}
	free(one->echo);
	one->sending = one->echo = NULL;
	one->open = false;
	one->n_closed++;
	place.n_open--;
	place.n_closed++;
}

static const struct transport_events side_events = {
        .opened = side_opened,
        .received = side_received,
        .sent = side_sent,
        .ended = side_ended,
        .closed = side_closed,
};

/* One turn of the loop: what there is is handled, or what comes within a millisecond is waited for. */
static inline bool turn(void)
{
	bool any = transport_poll(&place.transport);
	if (!any)
		transport_wait(&place.transport, NS_PER_MS);
	return any;
}

static inline void turns(unsigned n)
{
	while (n-- > 0)
		(void)turn();
}

/* All that has happened so far is handled. */
static inline void settle(void)
{
	for (unsigned quiet = 0; quiet < 3;)
		quiet = turn() ? 0 : quiet + 1;
}

#define until(condition)                                                                                               \
	do {                                                                                                           \
		uint64_t end_ns = clock_monotonic_ns() + PLACE_LIMIT_NS;                                               \
		while (!(condition)) {                                                                                 \
			(void)turn();                                                                                  \
			if (clock_monotonic_ns() > end_ns)                                                             \
				fail_msg("never: %s", #condition);                                                     \
		}                                                                                                      \
	} while (0)

/* ---- whole ---- */

/* A listening socket on a free port of the loopback address, or on a name that is in no directory. -1: there is no such family here. */
static inline int place_listen(unsigned k)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	void *address = k == TCP4 ? (void *)&v4 : k == TCP6 ? (void *)&v6 : (void *)&local;
	socklen_t bytes = k == TCP4 ? sizeof v4 : k == TCP6 ? sizeof v6 : sizeof local.sun_family; /* the kernel names it */
	int fd = socket(((struct sockaddr *)address)->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, address, bytes) != 0) {
		assert_int_equal(k, TCP6);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (k != UNIX) {
		int on = 1;
		assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
	}
	assert_int_equal(listen(fd, 4096), 0);
	place.address_bytes[k] = sizeof place.address[k];
	assert_int_equal(getsockname(fd, (struct sockaddr *)&place.address[k], &place.address_bytes[k]), 0);
	return fd;
}

/* The transport over the sockets that are there. Returns 0 or -errno. */
static inline int place_begin(enum transport_backend backend, uint32_t max_connections, uint32_t buffers, uint32_t buffer_bytes)
{
	struct shm_error error = {""};
	place.transport = (struct transport){
	        .settings = {.backend = backend,
	                     .max_connections = max_connections,
	                     .buffers = buffers,
	                     .buffer_bytes = buffer_bytes,
	                     .batch_wait_ns = batch_wait_under_test},
	        .events = &side_events,
	        .user = &place,
	};
	for (unsigned k = 0; k < PLACE_LISTENERS; k++)
		if (place.listener[k] >= 0)
			place.transport.socket[place.transport.n_sockets++] = place.listener[k];
	int result = transport_open(&place.transport, &error);
	if (result != 0)
		printf("%s\n", error.text);
	place.in_use = result == 0;
	return result;
}

static inline void place_open(uint32_t max_connections, uint32_t buffers, uint32_t buffer_bytes)
{
	memset(&place, 0, sizeof place);
	for (unsigned k = 0; k < PLACE_LISTENERS; k++)
		place.listener[k] = place_listen(k);
	assert_int_equal(place_begin(backend_under_test, max_connections, buffers, buffer_bytes), 0);
	assert_string_equal(place.transport.ops->name, backend_under_test == TRANSPORT_URING ? "uring" : "epoll");
}

static inline void place_shut(void)
{
	transport_shut(&place.transport);
	place.in_use = false;
	for (uint32_t slot = 0; slot < PLACE_SLOTS; slot++) {
		free(side(slot)->sending);
		free(side(slot)->echo);
		side(slot)->sending = side(slot)->echo = NULL;
		side(slot)->open = false;
	}
	place.n_open = 0;
}

static inline void place_close(void)
{
	for (uint32_t slot = 0; slot < PLACE_SLOTS; slot++)
		assert_int_equal(side(slot)->n_opened, side(slot)->n_closed + side(slot)->open);
	place_shut();
	for (unsigned k = 0; k < PLACE_LISTENERS; k++)
		if (place.listener[k] >= 0)
			close(place.listener[k]);
}

/* A cmocka teardown: ends what a failed test has left. */
static inline int place_clean(void **state)
{
	(void)state;
	if (place.in_use)
		place_shut();
	batch_wait_under_test = 0;
	return 0;
}

/* ---- clients ---- */

static inline int client_connect_sized(unsigned k, int receive_buffer)
{
	int fd = socket(place.address[k].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (receive_buffer > 0)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&place.address[k], place.address_bytes[k]), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline int client_connect(unsigned k)
{
	return client_connect_sized(k, 0);
}

/* The slot of a client's connection, once it is open. SLOT_UNKNOWN: it is not (yet). Of a Unix socket: the one that is open. */
#define SLOT_UNKNOWN UINT32_MAX
static inline uint32_t find_slot(int fd)
{
	struct sockaddr_storage own = {0};
	socklen_t bytes = sizeof own;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &bytes), 0);
	for (uint32_t slot = 0; slot < PLACE_SLOTS; slot++)
		if (side(slot)->open && side(slot)->peer.ss_family == own.ss_family && key_of_address(&side(slot)->peer) == key_of_address(&own))
			return slot;
	return SLOT_UNKNOWN;
}

static inline uint32_t slot_of(int fd)
{
	until(find_slot(fd) != SLOT_UNKNOWN);
	return find_slot(fd);
}

/* As many bytes of its stream as the kernel takes now. Returns how many. */
static inline size_t client_send(int fd, uint64_t from, size_t bytes)
{
	char data[16384];
	size_t done = 0;
	unsigned key = key_of_client(fd);
	while (done < bytes) {
		size_t part = bytes - done < sizeof data ? bytes - done : sizeof data;
		stream_fill(data, part, key, from + done);
		ssize_t n = send(fd, data, part, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

/* Reads what is there, at most `most`, as its stream from byte `from` on. Returns how many; *over: the connection is. */
static inline size_t client_read(int fd, uint64_t from, size_t most, bool *over)
{
	char data[16384];
	size_t done = 0;
	unsigned key = key_of_client(fd);
	while (done < most) {
		ssize_t n = recv(fd, data, most - done < sizeof data ? most - done : sizeof data, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			*over = true;
		if (n <= 0)
			break;
		stream_check(data, (size_t)n, key, from + done);
		done += (size_t)n;
	}
	return done;
}

/* True when the server has ended the connection; nothing else may have come. */
static inline bool client_over(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	assert_true(n <= 0);
	return n == 0 || errno != EAGAIN;
}

/* Closes with a reset instead of an end. */
static inline void client_reset(int fd)
{
	struct linger none = {.l_onoff = 1};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none), 0);
	close(fd);
}

/* The server sends `bytes` of the connection's stream; the memory is given back when it is sent or the slot is closed. */
static inline void side_send(uint32_t slot, size_t bytes)
{
	char *data = malloc(bytes);
	assert_non_null(data);
	stream_fill(data, bytes, key_of_address(&side(slot)->peer), 0);
	side(slot)->sending = data;
	transport_send(&place.transport, slot, data, bytes);
}

#endif
