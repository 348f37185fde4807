/* The HTTP transport with both back-ends: slots, descriptors, and what the machine does not
 * allow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/fixture/deny.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/transport.h"

/* ---- limits ---- */

static void connections_over_the_limit_are_closed_and_a_freed_slot_is_usable_at_once(void **state)
{
	(void)state;
	enum { MOST = 4, N = 7 };
	int client[N];
	fixture_open(MOST, 16, 4096);
	fixture.echo = true;
	for (unsigned i = 0; i < N; i++)
		client[i] = client_connect(TCP4);
	until(fixture.transport.counts.turned_away == N - MOST);
	assert_int_equal(fixture.n_opened, MOST);
	unsigned over = 0;
	for (unsigned i = 0; i < N; i++) {
		if (find_slot(client[i]) != SLOT_UNKNOWN)
			continue;
		until(client_over(client[i]));
		over++;
	}
	assert_int_equal(over, N - MOST);
	for (unsigned round = 0; round < 100; round++) {
		unsigned i = draw_below(N);
		uint32_t slot = find_slot(client[i]);
		if (slot == SLOT_UNKNOWN)
			continue;
		side_close(slot, draw_one_in(2));
		close(client[i]);
		until(fixture.n_open == MOST - 1);
		client[i] = client_connect(TCP4);
		bool ended = false;
		assert_int_equal(client_send(client[i], 0, 5), 5);
		until(client_read(client[i], 0, 5, &ended) == 5);
		assert_false(ended);
		assert_int_equal(fixture.n_open, MOST);
	}
	assert_int_equal(fixture.transport.counts.turned_away, N - MOST);
	for (unsigned i = 0; i < N; i++)
		close(client[i]);
	fixture_close();
}

static void close_listeners(void)
{
	for (unsigned k = 0; k < FIXTURE_LISTENERS; k++)
		if (fixture.listener[k] >= 0)
			close(fixture.listener[k]);
}

static void refusing_leaves_new_clients_to_the_next_life(void **state)
{
	(void)state;
	fixture_open(64, 16, 4096);
	fixture.echo = true;
	int first = client_connect(TCP4);
	(void)slot_of(first);
	transport_refuse(&fixture.transport);
	settle();
	int second = client_connect(TCP4);
	assert_int_equal(client_send(second, 0, 3), 3);
	settle();
	assert_int_equal(fixture.n_opened, 1);
	bool over = false;
	assert_int_equal(client_send(first, 0, 1000), 1000);
	until(client_read(first, 0, 1000, &over) == 1000);
	fixture_shut();
	/* What was open is ended, what waited is served. */
	struct pollfd ended = {.fd = first, .events = POLLIN};
	assert_int_equal(poll(&ended, 1, 30000), 1);
	assert_true(client_over(first));
	assert_int_equal(fixture_begin(backend_under_test, 64, 16, 4096), 0);
	until(client_read(second, 0, 3, &over) == 3);
	assert_false(over);
	close(first);
	close(second);
	fixture_shut();
	close_listeners();
}

/* ---- what the machine allows ---- */

/* Runs a function in a child, whose limits may then be changed; 0 is well. */
static void in_a_child(int (*function)(void))
{
	int status;
	(void)fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(function());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int open_with_few_files(void)
{
	struct rlimit few = {.rlim_cur = 80, .rlim_max = 100};
	if (setrlimit(RLIMIT_NOFILE, &few) != 0)
		return 1;
	for (unsigned k = 0; k < FIXTURE_LISTENERS; k++)
		fixture.listener[k] = -1;
	if (fixture_begin(backend_under_test, 5000, 16, 1024) != 0)
		return 2;
	struct rlimit now;
	uint32_t possible = fixture.transport.settings.max_connections;
	if (getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur != 100 || possible == 0 || possible > 100)
		return 3;
	transport_shut(&fixture.transport);
	/* And what the soft limit alone forbade is possible. */
	return fixture_begin(backend_under_test, 30, 16, 1024) == 0 &&
	                       fixture.transport.settings.max_connections == 30
	               ? 0
	               : 4;
}

static void a_low_limit_of_open_files_makes_fewer_connections(void **state)
{
	(void)state;
	in_a_child(open_with_few_files);
}

/* More than a few when it spins. */
static unsigned turns_in_150_ms(void)
{
	uint64_t begin_ns = clock_monotonic_ns();
	unsigned n = 0;
	for (; clock_monotonic_ns() - begin_ns < 150 * NS_PER_MS; n++)
		if (!transport_poll(&fixture.transport))
			transport_wait(&fixture.transport, 50 * NS_PER_MS);
	return n;
}

/* The limit is reached while the process runs: connections are turned away by the reserve, without
 * spinning. */
static int accept_without_files(void)
{
	alarm(60);
	for (unsigned i = 0; i < 4; i++)
		(void)client_connect(TCP4);
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	if (turns_in_150_ms() > 40 || fixture.n_opened != 0)
		return 2;
	limit.rlim_cur = 1000;
	limit.rlim_max = 1000;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0; /* only root may raise it again */
	while (fixture.n_opened + fixture.transport.counts.turned_away < 4)
		(void)turn();
	return 0;
}

static void without_descriptors_accepting_does_not_spin(void **state)
{
	(void)state;
	backend_under_test = TRANSPORT_EPOLL; /* direct descriptors need none */
	fixture_open(8, 16, 4096);
	in_a_child(accept_without_files);
	fixture_close();
}

/* A ring is one process's: all of it in the child. There is no reserve: clients wait. */
static int accept_plain_without_files(void)
{
	alarm(60);
	backend_under_test = TRANSPORT_URING_PLAIN;
	fixture_open(8, 16, 4096);
	for (unsigned i = 0; i < 4; i++)
		(void)client_connect(TCP4);
	struct rlimit limit, none = {.rlim_cur = 3};
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	none.rlim_max = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &none) != 0)
		return 1;
	if (turns_in_150_ms() > 40 || fixture.n_opened != 0 || fixture.transport.counts.failures == 0)
		return 2;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 3;
	while (fixture.n_opened < 4)
		(void)turn();
	return 0;
}

static void without_descriptors_accepting_plain_ones_does_not_spin(void **state)
{
	(void)state;
	in_a_child(accept_plain_without_files);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 500; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Shutting the transport closes what is open, what is about to close and what waits to be
 * accepted. */
static void no_descriptor_is_left_open(void **state)
{
	(void)state;
	int client[30];
	fixture_open(16, 16, 4096);
	fixture_shut();
	unsigned before = open_descriptors();
	assert_int_equal(fixture_begin(backend_under_test, 16, 16, 4096), 0);
	for (unsigned i = 0; i < 30; i++)
		client[i] = client_connect(i % 2 == 0 ? TCP4 : UNIX);
	until(fixture.n_open == 16);
	for (uint32_t slot = 0; slot < 4; slot++)
		side_close(slot, slot % 2 == 0);
	transport_flush(&fixture.transport);
	fixture_shut();
	for (unsigned i = 0; i < 30; i++)
		close(client[i]);
	assert_int_equal(open_descriptors(), before);
	close_listeners();
}

static int serve_where_io_uring_is_denied(void)
{
	if (deny_system_call(SYS_io_uring_setup) != 0)
		return 1;
	for (unsigned k = 0; k < FIXTURE_LISTENERS; k++)
		fixture.listener[k] = -1;
	if (fixture_begin(TRANSPORT_URING, 10, 16, 1024) != -EPERM)
		return 2;
	if (fixture_begin(TRANSPORT_AUTO, 10, 16, 1024) != 0)
		return 3;
	char text[160];
	transport_tell(&fixture.transport, text, sizeof text);
	if (strcmp(text, "epoll, no io_uring: io_uring_setup: Operation not permitted") != 0)
		return 5;
	return strcmp(fixture.transport.ops->name, "epoll") == 0 ? 0 : 4;
}

static void where_io_uring_is_denied_epoll_serves(void **state)
{
	(void)state;
	in_a_child(serve_where_io_uring_is_denied);
}

static void settings_that_are_none_are_refused(void **state)
{
	(void)state;
	memset(&fixture, 0, sizeof fixture);
	for (unsigned k = 0; k < FIXTURE_LISTENERS; k++)
		fixture.listener[k] = -1;
	assert_int_equal(fixture_begin(TRANSPORT_AUTO, 10, 15, 1024), -EINVAL);
	assert_int_equal(fixture_begin(TRANSPORT_AUTO, 10, 48, 1024), -EINVAL);
	assert_int_equal(fixture_begin(TRANSPORT_AUTO, 10, 65536, 1024), -EINVAL);
	assert_int_equal(fixture_begin(TRANSPORT_AUTO, 0, 16, 1024), -EINVAL);
	assert_int_equal(fixture_begin(TRANSPORT_AUTO, 10, 16, 0), -EINVAL);
}

int main(void)
{
	alarm(120);
	log_init("test", LOG_ERROR, LOG_TEXT);
	draw_init(20261121);
	const struct CMUnitTest tests[] = {
	        BOTH(connections_over_the_limit_are_closed_and_a_freed_slot_is_usable_at_once),
	        BOTH(refusing_leaves_new_clients_to_the_next_life),
	        BOTH(a_low_limit_of_open_files_makes_fewer_connections),
	        cmocka_unit_test_teardown(without_descriptors_accepting_does_not_spin, fixture_clean),
	        cmocka_unit_test_teardown(without_descriptors_accepting_plain_ones_does_not_spin,
	                                  fixture_clean),
	        BOTH(no_descriptor_is_left_open),
	        cmocka_unit_test_teardown(where_io_uring_is_denied_epoll_serves, fixture_clean),
	        cmocka_unit_test_teardown(settings_that_are_none_are_refused, fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
