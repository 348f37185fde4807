/* The HTTP transport when its caller rests: what is let go leaves with the wait itself, and `sent`
 * comes with what happens next. With both back-ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/transport.h"

#define REST_NS (20 * NS_PER_MS)
#define ROUNDS  8u

static uint64_t rested_ns(uint64_t timeout_ns)
{
	uint64_t begin_ns = clock_monotonic_ns();
	transport_rest(&fixture.transport, timeout_ns);
	return clock_monotonic_ns() - begin_ns;
}

/* Polls until the slot has received so much, and no further: its answer is to be let go. */
static void poll_until_received(uint32_t slot, uint64_t bytes)
{
	uint64_t end_ns = clock_monotonic_ns() + FIXTURE_LIMIT_NS;
	while (side(slot)->received < bytes) {
		assert_true(clock_monotonic_ns() < end_ns);
		if (!transport_poll(&fixture.transport))
			transport_wait(&fixture.transport, NS_PER_MS);
	}
}

static void the_answer_leaves_and_does_not_end_the_rest(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	fixture.echo = true;
	int fd = client_connect(TCP4);
	uint32_t slot = slot_of(fd);
	settle();
	unsigned whole = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool over = false;
		assert_int_equal(client_send(fd, 10 * round, 10), 10);
		poll_until_received(slot, 10 * round + 10);
		assert_true(fixture.transport.calm);
		whole += rested_ns(REST_NS) >= REST_NS / 2;
		assert_int_equal(client_read(fd, 10 * round, 10, &over), 10);
		assert_int_equal(side(slot)->n_sent, round);
		assert_true(transport_poll(&fixture.transport));
		assert_int_equal(side(slot)->n_sent, round + 1);
	}
	/* The end of an earlier test's ring may interrupt one or two. */
	assert_true(whole >= ROUNDS / 2);
	assert_int_equal(fixture.transport.counts.sent_bytes, 10 * ROUNDS);
	close(fd);
	until(fixture.n_open == 0);
	fixture_close();
}

static unsigned sent_before;

static void note_sent(uint32_t slot, char *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	sent_before = side(slot)->n_sent;
}

static void the_next_bytes_end_the_rest_and_come_after_sent(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	fixture.echo = true;
	fixture.on_received = note_sent;
	int fd = client_connect(TCP4);
	uint32_t slot = slot_of(fd);
	for (unsigned round = 0; round < 50; round++) {
		assert_int_equal(client_send(fd, 10 * round, 10), 10);
		if (round > 0)
			assert_true(rested_ns(FIXTURE_LIMIT_NS) < FIXTURE_LIMIT_NS / 2);
		poll_until_received(slot, 10 * round + 10);
		assert_int_equal(sent_before, round);
	}
	close(fd);
	until(fixture.n_open == 0);
	fixture_close();
}

static bool resting_turn(void)
{
	bool any = transport_poll(&fixture.transport);
	if (!any || (fixture.transport.calm && draw_one_in(2)))
		transport_rest(&fixture.transport, NS_PER_MS);
	return any;
}

static void an_answer_without_room_leaves_in_parts(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	for (unsigned k = TCP4; k <= UNIX; k += UNIX - TCP4) {
		int fd = client_connect_sized(k, 8192);
		uint32_t slot = slot_of(fd);
		size_t total = 3u * 1024 * 1024 + 7, read = 0;
		bool over = false;
		settle();
		for (unsigned n = 1; n <= 2; n++) {
			uint64_t end_ns = clock_monotonic_ns() + FIXTURE_LIMIT_NS;
			/* first large, then small: the second finds room again */
			side_send(slot, n == 1 ? total : 100);
			for (read = 0; side(slot)->n_sent < n || read < (n == 1 ? total : 100);) {
				read += client_read(fd, read, 100000, &over);
				(void)resting_turn();
				assert_false(over);
				assert_true(clock_monotonic_ns() < end_ns);
			}
		}
		side_close(slot, false);
		until(!side(slot)->open);
		close(fd);
	}
	fixture_close();
}

/* The first client reads nothing, so its answer stays; the second one is served meanwhile. */
static void a_client_that_reads_nothing_delays_no_other(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	int deaf = client_connect_sized(TCP4, 8192), fd = client_connect(TCP4);
	uint32_t slot_deaf = slot_of(deaf), slot = slot_of(fd);
	settle();
	fixture.echo = true;
	uint64_t begin_ns = clock_monotonic_ns();
	assert_int_equal(client_send(fd, 0, 10), 10);
	for (unsigned round = 0; round < 5; round++) {
		bool over = false;
		poll_until_received(slot, 10 * round + 10);
		if (round == 2)
			side_send(slot_deaf, 5u * 1024 * 1024);
		assert_int_equal(client_send(fd, 10 * round + 10, 10), 10);
		transport_rest(&fixture.transport, FIXTURE_LIMIT_NS);
		assert_int_equal(client_read(fd, 10 * round, 10, &over), 10);
	}
	assert_true(clock_monotonic_ns() - begin_ns < FIXTURE_LIMIT_NS / 2);
	assert_int_equal(side(slot_deaf)->n_sent, 0);
	close(deaf);
	close(fd);
	until(fixture.n_open == 0);
	fixture_close();
}

/* Closing right after the answer was given: the end follows it without a further event. */
static void an_end_follows_the_answer(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	for (unsigned round = 0; round < 10; round++) {
		int fd = client_connect(TCP4);
		uint32_t slot = slot_of(fd);
		bool over = false;
		size_t read = 0;
		settle();
		side_send(slot, 100);
		side_close(slot, true);
		for (unsigned n = 0; !over; n++) {
			assert_true(n < 4);
			transport_rest(&fixture.transport, NS_PER_MS);
			(void)transport_poll(&fixture.transport);
			read += client_read(fd, read, 1000, &over);
		}
		assert_int_equal(read, 100);
		close(fd);
		until(!side(slot)->open);
	}
	fixture_close();
}

int main(void)
{
	alarm(120);
	log_init("test", LOG_ERROR, LOG_TEXT);
	draw_init(20261128);
	const struct CMUnitTest tests[] = {
	        BOTH(the_answer_leaves_and_does_not_end_the_rest),
	        BOTH(the_next_bytes_end_the_rest_and_come_after_sent),
	        BOTH(an_answer_without_room_leaves_in_parts),
	        BOTH(a_client_that_reads_nothing_delays_no_other),
	        BOTH(an_end_follows_the_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
