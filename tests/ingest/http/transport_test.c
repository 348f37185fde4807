/* The HTTP transport over loopback and Unix sockets, with both back-ends: bytes there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/transport.h"

/* A client that sends `total` bytes and reads them back. */
struct echo_client {
	int fd;
	uint64_t sent, read, total;
	bool over;
};

static void echo_go_on(struct echo_client *client)
{
	if (client->sent < client->total) {
		client->sent += client_send(client->fd, client->sent, client->total - client->sent);
		if (client->sent == client->total)
			assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
	}
	client->read += client_read(client->fd, client->read, SIZE_MAX, &client->over);
}

static void echo_all(struct echo_client *client, unsigned n)
{
	for (unsigned left = n; left > 0;) {
		left = 0;
		for (unsigned i = 0; i < n; i++) {
			echo_go_on(&client[i]);
			left += !client[i].over;
		}
		(void)turn();
	}
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(client[i].sent, client[i].total);
		assert_int_equal(client[i].read, client[i].total);
		close(client[i].fd);
	}
}

/* ---- there and back ---- */

static void bytes_come_back_over_each_kind_of_socket(void **state)
{
	(void)state;
	fixture_open(16, 64, 4096);
	fixture.echo = true;
	unsigned listener = 0;
	for (unsigned k = 0; k < FIXTURE_LISTENERS; k++) {
		if (fixture.listener[k] < 0)
			continue;
		struct echo_client client = {.fd = client_connect(k), .total = 300001};
		uint32_t slot = slot_of(client.fd);
		assert_int_equal(side(slot)->listener, listener++);
		assert_int_equal(side(slot)->peer.ss_family, fixture.address[k].ss_family);
		echo_all(&client, 1);
		until(fixture.n_open == 0);
	}
	assert_int_equal(fixture.transport.counts.received_bytes, listener * 300001u);
	assert_int_equal(fixture.transport.counts.sent_bytes, listener * 300001u);
	assert_int_equal(fixture.transport.counts.accepted, listener);
	fixture_close();
}

static void an_end_right_behind_the_bytes_is_noticed(void **state)
{
	(void)state;
	fixture_open(16, 64, 4096);
	fixture.echo = true;
	for (unsigned round = 0; round < 60; round++) {
		unsigned k = round % FIXTURE_LISTENERS;
		if (fixture.listener[k] < 0)
			continue;
		/* Before or after the receive is armed, and exactly a buffer or not. */
		struct echo_client client = {.fd = client_connect(k),
		                             .total = round % 5 == 0 ? 4096 : 1 + round};
		if (round % 2 == 0)
			(void)slot_of(client.fd);
		echo_all(&client, 1);
	}
	until(fixture.n_open == 0);
	fixture_close();
}

static void many_connections_at_once_keep_their_bytes_apart(void **state)
{
	(void)state;
	enum { N = 150 };
	static struct echo_client client[N];
	fixture_open(N, 64, 2048);
	fixture.echo = true;
	for (unsigned i = 0; i < N; i++) {
		unsigned k = i % 2 == 0 || fixture.listener[TCP6] < 0 ? TCP4 : TCP6;
		client[i] = (struct echo_client){.fd = client_connect(k), .total = 1 + draw_below(40000)};
	}
	echo_all(client, N);
	until(fixture.n_open == 0);
	assert_int_equal(fixture.n_opened, N);
	assert_int_equal(fixture.n_closed, N);
	fixture_close();
}

static void each_of_200_connections_opened_at_once_has_its_own_address(void **state)
{
	(void)state;
	enum { N = 200 };
	static int client[N];
	fixture_open(N, 64, 4096);
	for (unsigned i = 0; i < N; i++)
		client[i] = client_connect(i % 3 == 0 && fixture.listener[TCP6] >= 0 ? TCP6 : TCP4);
	/* The first bytes tell the server who it is (stream_check compares with what `opened`
	 * said). */
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(client_send(client[i], 0, 64), 64);
	until(fixture.n_opened == N);
	for (unsigned i = 0; i < N; i++) {
		struct sockaddr_storage own = {0};
		socklen_t bytes = sizeof own;
		assert_int_equal(getsockname(client[i], (struct sockaddr *)&own, &bytes), 0);
		uint32_t slot = find_slot(client[i]);
		assert_int_not_equal(slot, SLOT_UNKNOWN);
		assert_memory_equal(&side(slot)->peer, &own, bytes);
		until(side(slot)->received == 64);
	}
	for (unsigned i = 0; i < N; i++)
		close(client[i]);
	fixture_close();
}

/* ---- slow ones ---- */

static void a_slow_reader_gets_a_large_answer_whole(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	for (unsigned k = TCP4; k <= UNIX; k += UNIX - TCP4) {
		int fd = client_connect_sized(k, 8192);
		uint32_t slot = slot_of(fd);
		size_t total = 5u * 1024 * 1024 + 3, read = 0;
		bool over = false;
		side_send(slot, total);
		turns(5);
		assert_int_equal(side(slot)->n_sent, 0);
		while (read < total) {
			read += client_read(fd, read, 100000, &over);
			assert_false(over);
			(void)turn();
		}
		until(side(slot)->n_sent == 1);
		side_close(slot, false);
		until(!side(slot)->open);
		assert_true(client_over(fd));
		close(fd);
	}
	fixture_close();
}

static unsigned pauses;

static void pause_each_time(uint32_t slot, char *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	transport_pause(&fixture.transport, slot);
	if (draw_one_in(3)) /* twice is once, and taken back is not at all */
		transport_pause(&fixture.transport, slot);
	if (draw_one_in(5))
		transport_resume(&fixture.transport, slot);
	pauses++;
}

static void pausing_and_resuming_lose_no_byte_and_keep_the_order(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	fixture.on_received = pause_each_time;
	pauses = 0;
	for (unsigned k = TCP4; k <= UNIX; k += UNIX - TCP4) {
		int fd = client_connect(k);
		uint32_t slot = slot_of(fd);
		uint64_t sent = 0, total = 1u << 20;
		while (side(slot)->received < total) {
			sent += client_send(fd, sent, total - sent);
			turns(draw_below(3));
			transport_resume(&fixture.transport, slot);
			(void)turn();
		}
		assert_int_equal(side(slot)->received, total);
		close(fd);
		transport_resume(&fixture.transport, slot);
		until(side(slot)->n_ended + side(slot)->n_failed > 0);
		side_close(slot, false);
		until(!side(slot)->open);
	}
	assert_true(pauses > 20);
	fixture_close();
}

static void a_paused_connection_slows_its_peer_down(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	int fd = client_connect(TCP4), other = client_connect(TCP4);
	uint32_t slot = slot_of(fd);
	(void)slot_of(other);
	transport_pause(&fixture.transport, slot);
	settle();
	uint64_t sent = 0, before;
	do { /* until the kernel takes no more of it */
		before = sent;
		sent += client_send(fd, sent, 1u << 20);
		settle();
	} while (sent > before);
	assert_int_equal(side(slot)->received, 0);
	/* The others go on. */
	assert_int_equal(client_send(other, 0, 100), 100);
	until(side(find_slot(other))->received == 100);
	transport_resume(&fixture.transport, slot);
	until(side(slot)->received == sent);
	/* Again, now with bytes under way: what the kernel had taken comes, and then no more. */
	sent += client_send(fd, sent, 1u << 20);
	transport_pause(&fixture.transport, slot);
	settle();
	uint64_t received = side(slot)->received;
	sent += client_send(fd, sent, 1u << 20);
	settle();
	assert_int_equal(side(slot)->received, received);
	transport_resume(&fixture.transport, slot);
	until(side(slot)->received == sent);
	close(fd);
	close(other);
	fixture_close();
}

static void few_buffers_and_many_senders_lose_nothing(void **state)
{
	(void)state;
	enum { N = 60, BYTES = 30000 };
	int client[N];
	uint64_t sent[N] = {0};
	fixture_open(N, 16, 1024);
	for (unsigned i = 0; i < N; i++)
		client[i] = client_connect(TCP4);
	until(fixture.n_opened == N);
	/* First all of them at once, then the rest as it goes. */
	for (unsigned left = N; left > 0;) {
		left = 0;
		for (unsigned i = 0; i < N; i++) {
			sent[i] += client_send(client[i], sent[i], BYTES - sent[i]);
			left += side(slot_of(client[i]))->received < BYTES;
		}
		(void)turn();
	}
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(side(slot_of(client[i]))->received, BYTES);
		close(client[i]);
	}
	if (backend_under_test != TRANSPORT_EPOLL)
		assert_true(fixture.transport.counts.enobufs > 0);
	fixture_close();
}

/* ---- when things leave ---- */

static bool readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void poll_until_received(uint32_t slot, uint64_t bytes)
{
	uint64_t end_ns = clock_monotonic_ns() + FIXTURE_LIMIT_NS;
	while (side(slot)->received < bytes) {
		assert_true(clock_monotonic_ns() < end_ns);
		if (!transport_poll(&fixture.transport) && side(slot)->received < bytes)
			transport_wait(&fixture.transport, NS_PER_MS);
	}
}

static void no_answer_leaves_before_it_is_let_go(void **state)
{
	(void)state;
	fixture_open(4, 16, 4096);
	fixture.echo = true;
	int fd = client_connect(TCP4);
	uint32_t slot = slot_of(fd);
	for (unsigned round = 0; round < 3; round++) {
		bool over = false;
		assert_int_equal(client_send(fd, 10 * round, 10), 10);
		poll_until_received(slot, 10 * round + 10);
		/* Loopback delivers within the call that sends: what has left is there. */
		assert_false(readable(fd, 0));
		if (round == 0)
			transport_flush(&fixture.transport);
		else if (round == 1)
			(void)transport_poll(&fixture.transport);
		else
			transport_wait(&fixture.transport, 0);
		assert_true(readable(fd, 30000));
		assert_int_equal(client_read(fd, 10 * round, 10, &over), 10);
		until(side(slot)->n_sent == round + 1);
	}
	close(fd);
	until(fixture.n_open == 0);
	fixture_close();
}

/* Counted page by page: the kernel's running sum (statm) is some pages off. */
static long resident_bytes(void)
{
	char line[256];
	long kib = -1;
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	assert_non_null(file);
	while (kib < 0 && fgets(line, sizeof line, file) != NULL)
		(void)sscanf(line, "Rss: %ld kB", &kib);
	fclose(file);
	assert_true(kib > 0);
	return kib * 1024;
}

/* More connections than requests fit into the ring at once. */
static void thousands_of_connections_are_answered_in_one_turn_and_closed_in_another(void **state)
{
	(void)state;
	enum { N = 2600 };
	static int client[N];
	fixture_open(6 * N, 4096, 512); /* large arrays, of which a part is used */
	if (fixture.transport.settings.max_connections < 6 * N) {
		fixture_close();
		skip(); /* the machine's limit of open files */
	}
	long before = resident_bytes();
	for (unsigned i = 0; i < N; i++) {
		client[i] = client_connect(TCP4);
		if (i % 500 == 499)
			settle();
	}
	until(fixture.n_opened == N);
	settle();
	long used = (resident_bytes() - before) / N;
	printf("%s: %ld bytes of the process for each idle connection\n", fixture.transport.ops->name, used);
	assert_true(used < 1024);
	fixture.echo = true;
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(client_send(client[i], 0, 8), 8);
	unsigned leaving = 0;
	while (leaving <
	       /* a turn handles a bounded number of events, so what is there is let go in
	        * between */
	       N / 2) {
		(void)transport_poll(&fixture.transport);
		leaving = 0;
		for (unsigned i = 0; i < N; i++)
			leaving += side(i)->received == 8;
	}
	for (unsigned i = 0; i < N; i++) {
		bool over = false;
		until(client_read(client[i], 0, 8, &over) == 8);
	}
	settle();
	for (unsigned i = 0; i < N; i++)
		side_close(i, i % 2 == 0);
	for (unsigned i = 0; i < N; i++) {
		until(client_over(client[i]));
		close(client[i]);
	}
	until(fixture.n_closed == N);
	fixture_close();
}

/* ---- sleeping ---- */

static void an_idle_transport_sleeps(void **state)
{
	(void)state;
	struct rusage before, after;
	unsigned n = 0;
	fixture_open(4, 16, 4096);
	int fd = client_connect(TCP4);
	(void)slot_of(fd);
	settle();
	uint64_t begin_ns = clock_monotonic_ns();
	getrusage(RUSAGE_THREAD, &before);
	/* The end of an earlier test's ring may still interrupt a wait or two. */
	for (; clock_monotonic_ns() - begin_ns < 120 * NS_PER_MS; n++) {
		assert_false(transport_poll(&fixture.transport));
		transport_wait(&fixture.transport, 40 * NS_PER_MS);
	}
	getrusage(RUSAGE_THREAD, &after);
	assert_true(n >= 1 && n <= 8);
	assert_true(after.ru_nvcsw - before.ru_nvcsw <= 10);
	close(fd);
	fixture_close();
}

static void *send_later(void *argument)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 30 * NS_PER_MS}, NULL);
	return send(*(int *)argument, "x", 1, MSG_NOSIGNAL) == 1 ? argument : NULL;
}

static void a_byte_wakes_a_sleeping_transport(void **state)
{
	(void)state;
	pthread_t thread;
	fixture_open(4, 16, 4096);
	fixture.ignore = true;
	int fd = client_connect(TCP4);
	uint32_t slot = slot_of(fd);
	settle();
	uint64_t begin_ns = clock_monotonic_ns();
	assert_int_equal(pthread_create(&thread, NULL, send_later, &fd), 0);
	while (side(slot)->received == 0)
		if (!transport_poll(&fixture.transport))
			transport_wait(&fixture.transport, FIXTURE_LIMIT_NS);
	assert_true(clock_monotonic_ns() - begin_ns < FIXTURE_LIMIT_NS / 2);
	pthread_join(thread, NULL);
	close(fd);
	fixture_close();
}

int main(void)
{
	alarm(120);
	log_init("test", LOG_ERROR, LOG_TEXT);
	draw_init(20261121);
	mallopt(M_MMAP_THRESHOLD,
	        /* for the measurement of memory: large arrays are new memory, of which nothing is
	         * resident */
	        65536);
	const struct CMUnitTest tests[] = {
	        BOTH(bytes_come_back_over_each_kind_of_socket),
	        BOTH(an_end_right_behind_the_bytes_is_noticed),
	        BOTH(many_connections_at_once_keep_their_bytes_apart),
	        BOTH(each_of_200_connections_opened_at_once_has_its_own_address),
	        BOTH(a_slow_reader_gets_a_large_answer_whole),
	        BOTH(pausing_and_resuming_lose_no_byte_and_keep_the_order),
	        BOTH(a_paused_connection_slows_its_peer_down),
	        BOTH(few_buffers_and_many_senders_lose_nothing),
	        BOTH(no_answer_leaves_before_it_is_let_go),
	        BOTH(thousands_of_connections_are_answered_in_one_turn_and_closed_in_another),
	        BOTH(an_idle_transport_sleeps),
	        BOTH(a_byte_wakes_a_sleeping_transport),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
