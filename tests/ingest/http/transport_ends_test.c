/* The HTTP transport with both back-ends: ends of connections of every kind, and chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/transport.h"

/* ---- closing ---- */

/* True when so much time has gone by that the lingering may be over: then the machine was too slow
 * for this round. */
static bool too_late(uint64_t begin_ns)
{
	return clock_monotonic_ns() - begin_ns > TRANSPORT_LINGER_NS / 2;
}

/* One connection whose client keeps sending while it is answered. False: too late to tell. */
static bool linger_round(unsigned k, int receive_buffer, bool paused, size_t total)
{
	int fd = client_connect_sized(k, receive_buffer);
	uint32_t slot = slot_of(fd);
	uint64_t sent = client_send(fd, 0, 1u << 20);
	until(side(slot)->received > 0);
	if (paused)
		transport_pause(&fixture.transport, slot);
	side_send(slot, total);
	uint64_t begin_ns = clock_monotonic_ns();
	side_close(slot, true);
	bool over = false;
	size_t read = 0;
	while (!over) {
		sent += client_send(fd, sent, 1u << 16);
		(void)turn();
		size_t now = client_read(fd, read, SIZE_MAX, &over);
		if (now > 0 && !too_late(begin_ns))
			begin_ns = clock_monotonic_ns(); /* it goes on as long as the answer does */
		read += now;
	}
	/* It was an end, no reset, and bytes are taken until the client ends too. */
	int error = 0;
	socklen_t bytes = sizeof error;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes), 0);
	bool more = false;
	while (!more && !too_late(begin_ns)) {
		(void)turn();
		more = client_send(fd, sent, 10000) > 0;
	}
	turns(3);
	bool in_time = !too_late(begin_ns);
	if (in_time) {
		assert_int_equal(read, total);
		assert_int_equal(error, 0);
		assert_true(more);
		assert_true(side(slot)->open);
	}
	close(fd);
	until(!side(slot)->open);
	return in_time;
}

static void lingering_delivers_the_answer_although_the_peer_is_still_sending(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	fixture.ignore = true;
	for (unsigned round = 0, tries = 0; round < 6; tries++) {
		assert_true(tries < 60);
		round += linger_round(round % 2 == 0 ? TCP4 : UNIX, round < 4 ? 0 : 8192, round >= 2,
		                      round < 2 ? 100 : 700000);
	}
	fixture_close();
}

/* Both back-ends wait at the same time, for a second is long. */
static void lingering_ends_after_a_second_although_the_peer_does_not(void **state)
{
	(void)state;
	static struct transport_fixture other;
	backend_under_test = TRANSPORT_EPOLL;
	fixture_open(4, 16, 4096);
	fixture.ignore = true;
	int fd[2], idle[2];
	uint64_t begin_ns[2], end_ns[2] = {0};
	for (unsigned i = 0; i < 2; i++) {
		if (i == 1) { /* the events are of one place: the first one sleeps while it is put away */
			other = fixture;
			backend_under_test = TRANSPORT_URING;
			fixture_open(4, 16, 4096);
			fixture.ignore = true;
		}
		fd[i] = client_connect(TCP4);
		idle[i] = client_connect(UNIX);
		uint32_t slot = slot_of(fd[i]), unread = slot_of(idle[i]);
		begin_ns[i] = clock_monotonic_ns();
		side_close(slot, true);
		side_send(unread, 8u << 20);
		side_close(unread, true);
		turns(3);
		assert_true(client_over(fd[i]));
	}
	for (unsigned left = 2, i = 0; left > 0; i = 1 - i) {
		uint64_t now_ns = clock_monotonic_ns();
		assert_true(now_ns < begin_ns[0] + FIXTURE_LIMIT_NS);
		if (end_ns[1 - i] == 0) {
			(void)client_send(fd[1 - i], 0, 100);
			(void)turn();
			if (fixture.n_open == 0) {
				end_ns[1 - i] = clock_monotonic_ns();
				left--;
			}
		}
		struct transport_fixture this = fixture;
		fixture = other;
		other = this;
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_true(end_ns[i] - begin_ns[i] >= TRANSPORT_LINGER_NS);
		close(fd[i]);
		close(idle[i]);
	}
	fixture_close();
	fixture = other;
	fixture_close();
}

static void lingering_can_be_cut_short(void **state)
{
	(void)state;
	fixture_open(8, 16, 4096);
	for (unsigned round = 0; round < 4; round++) {
		int fd = client_connect(round % 2 == 0 ? TCP4 : UNIX);
		uint32_t slot = slot_of(fd);
		uint64_t begin_ns = clock_monotonic_ns();
		if (round >= 2)
			side_send(slot, 8u << 20);
		side_close(slot, true);
		turns(3);
		if (!too_late(begin_ns)) {
			assert_true(side(slot)->open);
			transport_close(&fixture.transport, slot, false);
			turns(5);
			if (!too_late(begin_ns)) /* less than it would have lingered */
				assert_false(side(slot)->open);
		}
		until(!side(slot)->open);
		close(fd);
	}
	fixture_close();
}

static void closing_gives_up_a_send_under_way_and_its_memory(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	for (unsigned round = 0; round < 6; round++) {
		int fd = client_connect_sized(round % 2 == 0 ? TCP4 : UNIX, 8192);
		uint32_t slot = slot_of(fd);
		size_t total = 16u << 20, read = 0;
		bool over = false;
		side_send(slot, total);
		turns(round); /* not yet let go; a part of it has left */
		if (round >= 4)
			read += client_read(fd, 0, 50000, &over);
		side_close(slot, false);
		until(!side(slot)->open); /* frees the memory: a sanitizer sees who still uses it */
		while (!over)
			read += client_read(fd, read, SIZE_MAX, &over); /* what came is of the stream */
		assert_true(read < total);
		close(fd);
	}
	fixture_close();
}

static void close_at_once(uint32_t slot, char *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	side_close(slot, draw_one_in(2));
}

static void no_event_but_closed_comes_after_closing(void **state)
{
	(void)state;
	enum { N = 20 };
	int client[N];
	fixture_open(N, 16, 256);
	/* with more bytes behind, in buffers already filled: side_received would notice */
	fixture.on_received = close_at_once;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < N; i++) {
			client[i] = client_connect(i % 3 == 0 ? UNIX : TCP4);
			(void)client_send(client[i], 0, 5000);
			if (draw_one_in(2))
				assert_int_equal(shutdown(client[i], SHUT_WR), 0);
		}
		until(fixture.n_opened == (round + 1) * N);
		turns(draw_below(4));
		for (unsigned i = 0; i < N; i++)
			close(client[i]);
		until(fixture.n_closed == (round + 1) * N);
	}
	fixture_close();
}

/* ---- resets ---- */

static void close_it(uint32_t slot)
{
	if (side(slot)->n_failed > 0 || side(slot)->sending == NULL)
		side_close(slot, false);
}

enum reset_state {
	RESET_BEFORE_ACCEPT,
	RESET_IDLE,
	RESET_UNREAD,
	RESET_PAUSED,
	RESET_SENDING,
	RESET_SENDING_PAUSED,
	RESET_ENDED_SENDING,
	RESET_LINGERING,
	RESET_LINGERING_SENDING,
	RESET_CLOSING,
	RESET_STATES
};

static void bring_into(enum reset_state wanted, int fd, uint32_t slot)
{
	if (wanted == RESET_UNREAD)
		(void)client_send(fd, 0, 100000);
	if (wanted == RESET_PAUSED || wanted == RESET_SENDING_PAUSED) {
		transport_pause(&fixture.transport, slot);
		(void)client_send(fd, 0, 1000);
	}
	if (wanted == RESET_ENDED_SENDING)
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
	if (wanted == RESET_SENDING || wanted == RESET_SENDING_PAUSED || wanted == RESET_ENDED_SENDING ||
	    wanted == RESET_LINGERING_SENDING)
		side_send(slot, 16u << 20);
	if (wanted == RESET_LINGERING || wanted == RESET_LINGERING_SENDING)
		side_close(slot, true);
	if (wanted == RESET_CLOSING)
		side_close(slot, false);
	if (wanted == RESET_ENDED_SENDING)
		until(side(slot)->n_ended == 1);
	if (wanted != RESET_UNREAD && wanted != RESET_CLOSING)
		turns(4);
}

static void a_reset_by_the_peer_ends_the_connection_in_every_state(void **state)
{
	(void)state;
	fixture_open(8, 16, 4096);
	fixture.ignore = true;
	fixture.on_ended = close_it;
	for (unsigned round = 0; round < 3 * RESET_STATES; round++) {
		enum reset_state wanted = round % RESET_STATES;
		unsigned opened = fixture.n_opened;
		int fd = client_connect_sized(TCP4, 8192);
		if (wanted == RESET_BEFORE_ACCEPT) {
			client_reset(fd);
			settle(); /* the kernel may pass it on or not */
			until(fixture.n_open == 0);
			continue;
		}
		uint32_t slot = slot_of(fd);
		bring_into(wanted, fd, slot);
		client_reset(fd);
		if (wanted == RESET_PAUSED) {
			turns(3);
			assert_true(side(slot)->open);
			transport_resume(&fixture.transport, slot);
		}
		until(fixture.n_open == 0);
		assert_int_equal(fixture.n_opened, opened + 1);
		assert_int_equal(fixture.n_closed, fixture.n_opened);
		if (wanted != RESET_LINGERING && wanted != RESET_LINGERING_SENDING && wanted != RESET_CLOSING)
			assert_int_equal(side(slot)->n_failed, 1);
	}
	/* And the slots are all there. */
	int client[8];
	for (unsigned i = 0; i < 8; i++)
		client[i] = client_connect(TCP4);
	until(fixture.n_open == 8);
	for (unsigned i = 0; i < 8; i++)
		close(client[i]);
	until(fixture.n_open == 0);
	fixture_close();
}

/* ---- chance ---- */

/* Clients and server do what chance tells them; the place notices what must not happen. */
#define CHANCE_CLIENTS 56u
#define CHANCE_SLOTS   44u /* some are turned away */
#define CHANCE_STEPS   15000u

struct chance_client {
	int fd; /* -1: none */
	uint64_t sent, read;
	bool over, quiet; /* quiet: sends no more */
};

static void chance_client_acts(struct chance_client *client)
{
	if (client->fd < 0) {
		*client = (struct chance_client){.fd = client_connect_sized(TCP4, draw_one_in(3) ? 4096 : 0)};
		return;
	}
	switch (draw_below(20)) {
	case 0:
		client_reset(client->fd);
		client->fd = -1;
		break;
	case 1:
		close(client->fd);
		client->fd = -1;
		break;
	case 2:
		(void)shutdown(client->fd, SHUT_WR);
		client->quiet = true;
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		client->read += client_read(client->fd, client->read, draw_below(100000), &client->over);
		break;
	default:
		if (!client->quiet)
			client->sent += client_send(client->fd, client->sent, 1 + draw_below(20000));
	}
	if (client->fd >= 0 && client->over) {
		close(client->fd);
		client->fd = -1;
	}
}

static void chance_server_acts(uint32_t slot)
{
	if (!side(slot)->open)
		return;
	unsigned what = draw_below(40);
	if (what == 0)
		transport_close(&fixture.transport, slot, false);
	else if (what == 1 && !side(slot)->closing)
		transport_close(&fixture.transport, slot, true);
	else if (what < 8 && !side(slot)->closing)
		transport_pause(&fixture.transport, slot);
	else if (!side(slot)->closing)
		transport_resume(&fixture.transport, slot);
	if (what <= 1)
		side(slot)->closing = true;
}

static void chance(unsigned one_wait_in)
{
	struct chance_client client[CHANCE_CLIENTS];
	fixture_open(CHANCE_SLOTS, 16, 700);
	fixture.echo = true;
	for (unsigned i = 0; i < CHANCE_CLIENTS; i++)
		client[i].fd = -1;
	for (unsigned step = 0; step < CHANCE_STEPS; step++) {
		chance_client_acts(&client[draw_below(CHANCE_CLIENTS)]);
		chance_server_acts(draw_below(CHANCE_SLOTS));
		if (draw_one_in(one_wait_in))
			(draw_one_in(2) ? transport_wait : transport_rest)(&fixture.transport, 0);
		else if (draw_one_in(5))
			transport_flush(&fixture.transport);
		else
			(void)transport_poll(&fixture.transport);
	}
	for (unsigned i = 0; i < CHANCE_CLIENTS; i++)
		if (client[i].fd >= 0)
			close(client[i].fd);
	for (uint32_t slot = 0; slot < CHANCE_SLOTS; slot++)
		if (side(slot)->open) {
			side(slot)->closing = true;
			transport_close(&fixture.transport, slot, false);
		}
	settle();
	for (uint32_t slot = 0; slot < CHANCE_SLOTS; slot++) /* accepted meanwhile */
		if (side(slot)->open && !side(slot)->closing)
			side_close(slot, false);
	until(fixture.n_open == 0);
	assert_true(fixture.n_opened > CHANCE_STEPS / 100);
	assert_int_equal(fixture.n_opened, fixture.n_closed);
}

static void whatever_clients_and_server_do_by_chance_every_connection_ends_once_and_keeps_its_bytes(
        void **state)
{
	(void)state;
	chance(6);
	fixture_close();
}

static void the_same_while_connections_are_polled(void **state)
{
	(void)state;
	batch_wait_under_test = 100 * NS_PER_US;
	chance(40);
	assert_true(fixture.transport.counts.polls > 100);
	assert_true(fixture.transport.counts.empty_polls > 100);
	fixture_close();
}

int main(void)
{
	alarm(120);
	log_init("test", LOG_ERROR, LOG_TEXT);
	draw_init(20261121);
	const struct CMUnitTest tests[] = {
	        BOTH(lingering_delivers_the_answer_although_the_peer_is_still_sending),
	        BOTH(lingering_can_be_cut_short),
	        BOTH(closing_gives_up_a_send_under_way_and_its_memory),
	        BOTH(no_event_but_closed_comes_after_closing),
	        BOTH(a_reset_by_the_peer_ends_the_connection_in_every_state),
	        BOTH(whatever_clients_and_server_do_by_chance_every_connection_ends_once_and_keeps_its_bytes),
	        {"the_same_while_connections_are_polled (io_uring)", the_same_while_connections_are_polled,
	         transport_use_uring, fixture_clean, NULL},
	        {"the_same_while_connections_are_polled (io_uring, plain)",
	         the_same_while_connections_are_polled, transport_use_plain, fixture_clean, NULL},
	        cmocka_unit_test_teardown(lingering_ends_after_a_second_although_the_peer_does_not,
	                                  fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
