/* The io_uring transport under load: connections that are polled instead of armed. Clients and
 * server take turns in one thread, so what is looked at when is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/transport.h"

#define CLIENTS    64u
#define BYTES      60u
#define ROUNDS     300u
#define BATCH_WAIT (200 * NS_PER_US)

struct client {
	int fd;
	uint64_t sent, read;
};
static struct client client[CLIENTS];

static void open_clients(uint32_t buffers)
{
	batch_wait_under_test = BATCH_WAIT;
	fixture_open(CLIENTS, buffers, 4096);
	fixture.echo = true;
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = (struct client){.fd = client_connect(TCP4)};
		(void)slot_of(client[i].fd);
	}
}

static void close_clients(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		close(client[i].fd);
	until(fixture.n_open == 0);
	fixture_close();
}

static void client_asks(struct client *one)
{
	assert_int_equal(client_send(one->fd, one->sent, BYTES), BYTES);
	one->sent += BYTES;
}

static bool client_is_answered(struct client *one)
{
	bool over = false;
	one->read += client_read(one->fd, one->read, one->sent - one->read, &over);
	assert_false(over);
	return one->read == one->sent;
}

/* Until a turn finds nothing, and the wait that follows. */
static void serve(void)
{
	while (transport_poll(&fixture.transport))
		;
	transport_wait(&fixture.transport, NS_PER_MS);
}

/* Each client sends one request, in this order, and is answered. */
static void round_of(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		client_asks(&client[i]);
	for (unsigned i = 0; i < n; i++)
		until(client_is_answered(&client[i]));
}

/* Requests of n clients from number `first` on come in the order of the answers, as from clients
 * that wait for them. */
static void load_of(unsigned first, unsigned n, unsigned rounds)
{
	for (unsigned k = 0; k < rounds; k++) {
		for (unsigned i = first; i < first + n; i++)
			client_asks(&client[i]);
		serve();
		for (unsigned i = first; i < first + n; i++)
			until(client_is_answered(&client[i]));
	}
}

static void load(unsigned rounds)
{
	load_of(0, CLIENTS, rounds);
}

static void under_load_most_requests_are_found_by_looking(void **state)
{
	(void)state;
	open_clients(256);
	load(ROUNDS);
	const struct transport_counts *counts = &fixture.transport.counts;
	assert_true(counts->polls > ROUNDS * CLIENTS / 2);
	assert_true(counts->empty_polls < counts->polls);
	close_clients();
}

static void with_fewer_buffers_than_connections_looking_loses_nothing(void **state)
{
	(void)state;
	open_clients(TRANSPORT_BUFFERS_MIN);
	load(ROUNDS);
	assert_true(fixture.transport.counts.polls > 0);
	close_clients();
}

static void without_batch_wait_nothing_is_polled(void **state)
{
	(void)state;
	open_clients(256);
	fixture.transport.settings.batch_wait_ns = 0;
	load(ROUNDS);
	assert_int_equal(fixture.transport.counts.polls + fixture.transport.counts.empty_polls, 0);
	close_clients();
}

/* Who stays away is armed, and heard when it comes back. */
static void clients_that_pause_for_a_while_are_heard_again(void **state)
{
	(void)state;
	open_clients(256);
	for (unsigned k = 0; k < 30; k++) {
		load(10);
		for (unsigned few = 0; few < 20; few++)
			round_of(1 + draw_below(CLIENTS));
	}
	assert_true(fixture.transport.counts.polls > 0 && fixture.transport.counts.empty_polls > 0);
	close_clients();
}

static void when_the_load_ends_looking_ends_and_the_process_sleeps(void **state)
{
	(void)state;
	open_clients(256);
	load(ROUNDS);
	assert_true(fixture.transport.counts.polls > 0);
	turns(100);
	uint64_t looked = fixture.transport.counts.polls + fixture.transport.counts.empty_polls;
	uint64_t begin_ns = clock_monotonic_ns();
	unsigned n = 0;
	for (; clock_monotonic_ns() - begin_ns < 120 * NS_PER_MS; n++) {
		assert_false(transport_poll(&fixture.transport));
		transport_wait(&fixture.transport, 40 * NS_PER_MS);
	}
	assert_true(n <= 8);
	assert_int_equal(fixture.transport.counts.polls + fixture.transport.counts.empty_polls, looked);
	round_of(CLIENTS);
	close_clients();
}

/* One by one through all that can happen to a connection that nobody has armed. */
static void a_polled_connection_ends_like_any_other(void **state)
{
	(void)state;
	for (unsigned what = 0; what < 4; what++) {
		open_clients(256);
		load(100);
		uint32_t slot = slot_of(client[0].fd);
		if (what == 0)
			close(client[0].fd);
		else if (what == 1)
			client_reset(client[0].fd);
		else
			side_close(slot, what == 2);
		until(!side(slot)->open || client_over(client[0].fd));
		if (what >= 2)
			close(client[0].fd);
		until(!side(slot)->open);
		client[0] = (struct client){.fd = client_connect(TCP4)};
		load(100);
		close_clients();
	}
}

static void a_paused_connection_is_not_looked_at(void **state)
{
	(void)state;
	open_clients(256);
	load(100);
	uint32_t slot = slot_of(client[0].fd);
	transport_pause(&fixture.transport, slot);
	uint64_t before = side(slot)->received;
	client_asks(&client[0]);
	load_of(1, CLIENTS - 1, 100);
	assert_int_equal(side(slot)->received, before);
	while (transport_poll(&fixture.transport))
		;
	/* It is looked at at once, however long the next wait may be. */
	uint64_t begin_ns = clock_monotonic_ns();
	transport_resume(&fixture.transport, slot);
	while (side(slot)->received == before)
		if (!transport_poll(&fixture.transport))
			transport_wait(&fixture.transport, FIXTURE_LIMIT_NS);
	assert_true(clock_monotonic_ns() - begin_ns < FIXTURE_LIMIT_NS / 2);
	until(client_is_answered(&client[0]));
	load(100);
	close_clients();
}

/* One request in a turn is no load by itself; whether it is depends on who asked lately. */
static bool calm_after_one(void)
{
	client_asks(&client[0]);
	until(client_is_answered(&client[0]));
	while (transport_poll(&fixture.transport))
		;
	return fixture.transport.calm;
}

static void it_is_the_busy_connections_that_count_not_the_open_ones(void **state)
{
	(void)state;
	open_clients(256);
	const struct transport_counts *counts = &fixture.transport.counts;
	for (unsigned k = 0; k < 2; k++) {
		uint64_t looked = counts->polls + counts->empty_polls;
		load_of(0, 16, ROUNDS);
		assert_true(calm_after_one());
		assert_true(counts->polls + counts->empty_polls - looked <= (k == 0 ? 0 : 2 * ROUNDS));
		looked = counts->polls;
		load_of(16, CLIENTS - 16, ROUNDS);
		assert_false(calm_after_one());
		assert_true(counts->polls - looked > ROUNDS);
	}
	close_clients();
}

#define URING(test)                                                              \
	{#test, test, transport_use_uring, fixture_clean, NULL},                 \
	{                                                                        \
#test " (plain)", test, transport_use_plain, fixture_clean, NULL \
	}

int main(void)
{
	alarm(120);
	log_init("test", LOG_ERROR, LOG_TEXT);
	draw_init(20261126);
	const struct CMUnitTest tests[] = {
	        URING(under_load_most_requests_are_found_by_looking),
	        URING(with_fewer_buffers_than_connections_looking_loses_nothing),
	        URING(without_batch_wait_nothing_is_polled),
	        URING(clients_that_pause_for_a_while_are_heard_again),
	        URING(when_the_load_ends_looking_ends_and_the_process_sleeps),
	        URING(a_polled_connection_ends_like_any_other),
	        URING(a_paused_connection_is_not_looked_at),
	        URING(it_is_the_busy_connections_that_count_not_the_open_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
