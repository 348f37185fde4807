/* Each test of the UDP stage runs with both back-ends: BOTH(test) makes two of it.
 *
 *     open_one(&place, &udp, format, &listener, &sender, n_buffers, socket_bytes)   one socket, one sender
 *     run_until(&place, &udp, n)                                                   until n datagrams are in the books
 */
#ifndef TESTS_UDP_BACKENDS_H
#define TESTS_UDP_BACKENDS_H

#include "stage/clock.h"
#include "tests/udp_place.h"

#define LANE_BYTES (8u * 1024 * 1024)
#define N_BUFFERS  32u

#define BOTH(test)                                                                                                     \
	{#test " (io_uring)", test, use_uring, udp_place_clean, NULL},                                                 \
	{                                                                                                              \
		#test " (recvmmsg)", test, use_recvmmsg, udp_place_clean, NULL                                         \
	}

static enum receive_backend backend_under_test;

static inline int use_uring(void **state)
{
	(void)state;
	backend_under_test = RECEIVE_URING;
	return 0;
}

static inline int use_recvmmsg(void **state)
{
	(void)state;
	backend_under_test = RECEIVE_RECVMMSG;
	return 0;
}

/* Polls and waits until `received` datagrams are in the books or a second has passed. */
static inline void run_until(struct udp_place *place, struct udp *udp, uint64_t received)
{
	uint64_t end_ns = clock_monotonic_ns() + NS_PER_SEC;
	while (udp_metric_value(place, UDP_received_datagrams) < received && clock_monotonic_ns() < end_ns)
		if (!udp_poll(udp))
			udp_idle(udp, 10 * NS_PER_MS);
}

static inline void open_one(struct udp_place *place, struct udp *udp, enum batch_format format, int *listener,
                     int *sender, unsigned n_buffers, int socket_bytes)
{
	uint16_t port;
	assert_int_equal(udp_place_make(place, format, LANE_BYTES, n_buffers, NULL), 0);
	*listener = udp_listen(AF_INET, socket_bytes, &port);
	assert_true(*listener >= 0);
	*sender = udp_connect(AF_INET, port);
	assert_true(*sender >= 0);
	assert_int_equal(udp_place_open(place, udp, format, backend_under_test, listener, 1), 0);
}

static inline void close_one(struct udp_place *place, struct udp *udp, int listener, int sender)
{
	udp_close(udp);
	close(listener);
	close(sender);
	udp_place_remove(place);
}

static inline const struct ledger *ledger_of(const struct udp *udp, unsigned lane)
{
	return &udp->writer[lane].stream.shared->ledger;
}

#endif
