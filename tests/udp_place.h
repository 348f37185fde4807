/* What tests of the UDP stage share: an instance with a private segment, sockets on free ports, IpEvents by number.
 *
 *     udp_place_make(&place, "ip", ...)   topic, lane for "ingest-udp.0", private segment
 *     udp_place_open(&place, ...)         the stage's functions in this process
 *     make_event(out, i)                  a valid IpEvent whose sha and ip tell i
 *     udp_look_events(&look, seen, n)     reads the lane; counts how often each number occurs
 */
#ifndef TESTS_UDP_PLACE_H
#define TESTS_UDP_PLACE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "ingest/udp/udp.h"
#include "tests/instance_place.h"

#define UDP_ROLE       "ingest-udp.0"
#define UDP_EVENT_BYTES 71u
#define UDP_GENERATION 7u

struct udp_place {
	struct place place;
	struct instance instance;
	struct control *control; /* shared with children */
};

/* The lane(s) of one format; required is the group that holds writers back, or NULL. Returns 0 or -errno. */
static inline int udp_place_fill(struct udp_place *place, enum batch_format format, uint64_t size_bytes, unsigned n_buffers,
                                 const char *required)
{
	struct shm_error error = {0};
	struct test_topic topic[BATCH_LANES_MAX];
	char name[SEGMENT_NAME_MAX];
	unsigned n = 0;
	for (; n < BATCH_LANES_MAX && batch_topic(format, n) != NULL; n++)
		topic[n] = (struct test_topic){batch_topic(format, n), size_bytes, 1, {UDP_ROLE}, required};
	int result = instance_make(place->place.directory, topic, n, &error);
	if (result == 0)
		result = segment_create(place->place.directory, instance_private_name(name, UDP_ROLE), SEGMENT_PRIVATE,
		                        UDP_GENERATION, udp_private_bytes(n_buffers), NULL, NULL, &error);
	if (result == 0)
		result = segment_create(place->place.directory, "drops", SEGMENT_DROPS, UDP_GENERATION, sizeof(struct drops_page), NULL,
		                        NULL, &error);
	if (result == 0)
		result = instance_attach(&place->instance, "test", SEGMENT_READ, &error);
	if (result != 0)
		printf("%s\n", error.text);
	return result;
}

/* The place in use, for the clean-up after a test that failed half-way. */
static const struct udp_place *udp_place_in_use;

static inline int udp_place_make(struct udp_place *place, enum batch_format format, uint64_t size_bytes, unsigned n_buffers,
                                 const char *required)
{
	memset(place, 0, sizeof *place);
	udp_place_in_use = place;
	place->control = mmap(NULL, sizeof *place->control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (place->control == MAP_FAILED || place_make(&place->place) != 0)
		return -errno;
	return udp_place_fill(place, format, size_bytes, n_buffers, required);
}

static inline void udp_place_remove(struct udp_place *place)
{
	instance_detach(&place->instance);
	place_remove(&place->place);
	munmap(place->control, sizeof *place->control);
	memset(place, 0, sizeof *place);
	udp_place_in_use = NULL;
}

/* A cmocka teardown: removes what a failed test has left. */
static inline int udp_place_clean(void **state)
{
	(void)state;
	const char *root = getenv("MILLRACE_SHM");
	if (udp_place_in_use != NULL && root != NULL)
		place_clear(root);
	udp_place_in_use = NULL;
	return 0;
}

static inline int udp_place_open(struct udp_place *place, struct udp *udp, enum batch_format format,
                                 enum receive_backend backend, const int *socket, unsigned n_sockets)
{
	struct shm_error error = {0};
	struct udp_settings settings = {.format = format, .backend = backend, .batch_wait_ns = 200000};
	int result = udp_open(udp, &settings, &place->instance, UDP_ROLE, socket, n_sockets, place->control, &error);
	if (result != 0)
		printf("%s\n", error.text);
	return result;
}

static inline uint64_t udp_metric_value(const struct udp_place *place, enum udp_metric metric)
{
	return atomic_load_explicit(&place->control->metric[metric], memory_order_relaxed);
}

/* A bound socket on a free port of the loopback address; *port is set. Returns the descriptor or -errno. */
static inline int udp_listen(int family, int buffer_bytes, uint16_t *port)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	void *address = family == AF_INET ? (void *)&v4 : (void *)&v6;
	socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
	*port = 0;
	if (fd < 0)
		return -errno;
	if (buffer_bytes > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) != 0)
		return -errno;
	if (bind(fd, address, length) != 0 || getsockname(fd, address, &length) != 0)
		return -errno;
	*port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
	return fd;
}

/* A socket connected to that port. */
static inline int udp_connect(int family, uint16_t port)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
	if (fd < 0)
		return -errno;
	if (connect(fd, family == AF_INET ? (void *)&v4 : (void *)&v6, family == AF_INET ? sizeof v4 : sizeof v6) != 0)
		return -errno;
	return fd;
}

/* Sends one buffer, cut by the kernel into datagrams of `segment` bytes (0: as one). */
static inline ssize_t udp_send(int fd, const void *data, size_t bytes, uint16_t segment)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof segment)] = {0};
	struct iovec iov = {(void *)(uintptr_t)data, bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (segment != 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_UDP;
		head->cmsg_type = UDP_SEGMENT;
		head->cmsg_len = CMSG_LEN(sizeof segment);
		memcpy(CMSG_DATA(head), &segment, sizeof segment);
	}
	return sendmsg(fd, &message, 0);
}

#define UDP_IP_BASE 0x08000000u /* four bytes as a varint, which makes the typical 71 */

/* UDP_EVENT_BYTES of a valid IpEvent: sha is i in 64 digits, ip UDP_IP_BASE + i; i < UDP_IP_BASE. */
static inline void make_event(unsigned char *out, uint32_t i)
{
	char sha[65];
	snprintf(sha, sizeof sha, "%064x", i);
	out[0] = 0x0a;
	out[1] = 64;
	memcpy(out + 2, sha, 64);
	out[66] = 0x10;
	uint32_t ip = UDP_IP_BASE + i;
	for (unsigned k = 0; k < 4; k++, ip >>= 7)
		out[67 + k] = (unsigned char)((ip & 0x7f) | (k < 3 ? 0x80 : 0));
}

/* The number that an event was made from, or UINT32_MAX when sha and ip do not tell the same. */
static inline uint32_t event_number(const struct event_ip *event)
{
	uint32_t i = (uint32_t)event->sha[28] << 24 | (uint32_t)event->sha[29] << 16 | (uint32_t)event->sha[30] << 8 |
	             event->sha[31];
	return event->ip == UDP_IP_BASE + i ? i : UINT32_MAX;
}

/* A reader of lane 0 of a topic that nobody knows of, from its beginning. */
struct udp_look {
	struct stream_reader reader;
	struct stream_cursor cursor;
};

static inline int udp_look_open(struct udp_look *look, const struct udp_place *place, const char *topic)
{
	struct shm_error error = {0};
	char name[SEGMENT_NAME_MAX];
	memset(look, 0, sizeof *look);
	int result = stream_reader_attach(&look->reader, place->place.directory, instance_lane_name(name, topic, 0),
	                                  &look->cursor, false, STREAM_FROM_CURSOR, &error);
	if (result != 0)
		printf("%s\n", error.text);
	return result;
}

/* Counts in seen[i] how often the event i < n lies in the lane of topic ip since the last look. Returns the events that are none of
 * those. */
static inline uint64_t udp_look_events(struct udp_look *look, uint8_t *seen, uint32_t n)
{
	struct record_batch batch;
	uint64_t foreign = 0;
	while (stream_peek(&look->reader, &batch)) {
		const struct record *record;
		uint64_t records = 0;
		for (; (record = record_next(&batch)) != NULL; records++) {
			const struct event_ip *event = (const void *)record->payload;
			uint32_t i = record->type == EVENT_IP && record->length == sizeof *event ? event_number(event) : UINT32_MAX;
			if (i < n && seen[i] < UINT8_MAX)
				seen[i]++;
			else
				foreign++;
		}
		stream_advance(&look->reader, &batch, records);
		if (batch.corrupt)
			foreign++;
	}
	return foreign;
}

/* received = rejected + dropped + refused + written. */
static inline bool udp_balanced(const struct stream_shared *shared)
{
	const struct ledger *ledger = &shared->ledger;
	uint64_t sum = shared->records + ledger->dropped + ledger->refused;
	for (unsigned reason = 0; reason < LEDGER_REASONS_MAX; reason++)
		sum += ledger->rejected[reason];
	return sum == ledger->received;
}

#endif
