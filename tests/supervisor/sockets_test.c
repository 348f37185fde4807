/* The supervisor's sockets: bound, shared, kept over a new configuration, taken from a service
 * manager. */
#include "tests/fixture/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Sends n datagrams, each from a port of its own, so that SO_REUSEPORT spreads them. */
static void send_some(unsigned port, unsigned n)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	for (unsigned i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
		close(fd);
	}
}

static unsigned receive_all(int fd)
{
	char byte[8];
	unsigned n = 0;
	while (recv(fd, byte, sizeof byte, MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

static int foreign_socket(unsigned *port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof any;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &length), 0);
	*port = ntohs(any.sin_port);
	return fd;
}

static void a_socket_is_as_a_stage_expects_it(void **state)
{
	(void)state;
	struct plan *plan = plan_of("ingest: {udp: [{listen: '127.0.0.1:0', receive_buffer: 128KiB}]}");
	struct sockets *sockets = new_sockets();
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 1);
	int fd = sockets->entry[0].fd;
	assert_true(address_port(&sockets->entry[0].bound) != 0);
	assert_int_equal(option_of(fd, IPPROTO_UDP, UDP_GRO), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 0);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
	assert_true(option_of(fd, SOL_SOCKET, SO_RCVBUF) >= 2 * 128 * 1024);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	sockets_end(sockets, plan);
}

static void processes_share_a_port_that_the_kernel_chose(void **state)
{
	(void)state;
	struct plan *plan =
	        plan_of("ingest: {udp: [{listen: ['127.0.0.1:0', '127.0.0.1:0'], processes: 3}]}");
	struct sockets *sockets = new_sockets();
	int fd[STAGE_SOCKETS_MAX];
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 6);
	unsigned first = address_port(&sockets->entry[0].bound),
	         second = address_port(&sockets->entry[3].bound);
	assert_int_not_equal(first, second);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(address_port(&sockets->entry[i].bound), i < 3 ? first : second);
	send_some(first, 100);
	unsigned sum = 0;
	for (unsigned role = 0; role < 3; role++) {
		assert_int_equal(sockets_of(sockets, &plan->role[role], fd), 2);
		sum += receive_all(fd[0]);
		assert_int_equal(receive_all(fd[1]), 0);
	}
	assert_int_equal(sum, 100);
	assert_int_equal(sockets_of(sockets, &plan->role[3], fd), 0); /* tally */
	sockets_end(sockets, plan);
}

static void an_ipv6_wildcard_takes_ipv4(void **state)
{
	(void)state;
	struct plan *plan = plan_of("ingest: {udp: [{listen: '[::]:0'}]}");
	struct sockets *sockets = new_sockets();
	must_open(sockets, plan);
	send_some(address_port(&sockets->entry[0].bound), 5);
	assert_int_equal(receive_all(sockets->entry[0].fd), 5);
	sockets_end(sockets, plan);
}

static void a_port_in_use_is_refused_by_name_after_a_while(void **state)
{
	(void)state;
	unsigned port;
	int foreign = foreign_socket(&port);
	struct plan *plan = plan_of(
	        "ingest: {udp: [{listen: '127.0.0.1:0'}, {listen: '127.0.0.1:%u', processes: 2}]}", port);
	struct sockets *sockets = new_sockets();
	struct shm_error error = {""};
	char address[40];
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	uint64_t began_ns = clock_monotonic_ns();
	assert_int_equal(sockets_open(sockets, plan, &error), -EADDRINUSE);
	assert_true(clock_monotonic_ns() - began_ns >= 400 * NS_PER_MS);
	assert_int_equal(sockets->n, 0);
	assert_non_null(strstr(error.text, address));
	assert_non_null(strstr(error.text, "ingest.udp[1].listen"));
	assert_non_null(strstr(error.text, strerror(EADDRINUSE)));
	close(foreign);
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 3);
	sockets_end(sockets, plan);
}

static void a_port_that_becomes_free_meanwhile_is_taken(void **state)
{
	(void)state;
	unsigned port;
	int foreign = foreign_socket(&port);
	pid_t child = fork();
	if (child == 0) {
		poll(NULL, 0, 150);
		_exit(0); /* the last one that has the socket */
	}
	close(foreign);
	struct plan *plan = plan_of("ingest: {udp: [{listen: '127.0.0.1:%u'}]}", port);
	struct sockets *sockets = new_sockets();
	must_open(sockets, plan);
	assert_int_equal(waitpid(child, NULL, 0), child);
	sockets_end(sockets, plan);
}

static void a_new_configuration_keeps_what_fits_and_closes_the_rest(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {udp: [{listen: ['127.0.0.1:0', '127.0.0.2:0']}]}");
	must_open(sockets, before);
	int kept = sockets->entry[0].fd, gone = sockets->entry[1].fd;
	unsigned port = address_port(&sockets->entry[0].bound);
	struct plan *after = plan_of(
	        "ingest: {udp: [{listen: '127.0.0.3:0'}, {listen: '127.0.0.1:0', processes: 2, receive_buffer: 1MiB}]}");
	must_open(sockets, after);
	int fd[STAGE_SOCKETS_MAX];
	assert_int_equal(sockets_of(sockets, &after->role[1], fd), 1);
	assert_int_equal(fd[0], kept);
	assert_int_equal(address_port(&sockets->entry[0].bound), port);
	assert_true(fcntl(gone, F_GETFD) >= 0);
	sockets_close_unused(sockets);
	assert_int_equal(fcntl(gone, F_GETFD), -1);
	assert_int_equal(sockets->n, 3);
	send_some(port, 60);
	assert_int_equal(sockets_of(sockets, &after->role[2], fd), 1);
	assert_int_equal(receive_all(kept) + receive_all(fd[0]), 60);
	plan_free(before);
	sockets_end(sockets, after);
}

static void a_socket_that_goes_takes_in_no_more_and_can_be_emptied(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {udp: [{listen: '0.0.0.0:0', processes: 2}]}");
	struct plan *after = plan_of("ingest: {udp: [{listen: '0.0.0.0:0'}]}");
	must_open(sockets, before);
	int kept = sockets->entry[0].fd, gone = sockets->entry[1].fd;
	unsigned port = address_port(&sockets->entry[0].bound);
	send_some(port, 100);
	must_open(sockets, after);
	sockets_quiet(sockets, false);
	unsigned queued = receive_all(gone);
	assert_in_range(queued, 1, 99);
	assert_int_equal(receive_all(kept), 100 - queued);
	send_some(port, 50);
	assert_int_equal(receive_all(gone), 0);
	assert_int_equal(receive_all(kept), 50);
	/* back to two, as when the change cannot be put in force */
	must_open(sockets, before);
	send_some(port, 100);
	queued = receive_all(gone);
	assert_true(queued > 0);
	assert_int_equal(receive_all(kept) + queued, 100);
	sockets_quiet(sockets, true);
	send_some(port, 10);
	assert_int_equal(receive_all(kept) + receive_all(gone), 0);
	plan_free(after);
	sockets_end(sockets, before);
}

static void a_wider_address_on_the_same_port_replaces_a_narrower_one(void **state)
{
	(void)state;
	unsigned port;
	close(foreign_socket(&port));
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {udp: [{listen: '127.0.0.1:%u'}]}", port);
	must_open(sockets, before);
	struct plan *after = plan_of("ingest: {udp: [{listen: '[::]:%u'}]}", port);
	must_open(sockets, after);
	sockets_close_unused(sockets);
	assert_int_equal(sockets->n, 1);
	send_some(port, 3);
	assert_int_equal(receive_all(sockets->entry[0].fd), 3);
	plan_free(before);
	sockets_end(sockets, after);
}

static void a_failed_change_leaves_everything_as_it_was(void **state)
{
	(void)state;
	unsigned port;
	int foreign = foreign_socket(&port);
	struct shm_error error;
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {udp: [{listen: '127.0.0.1:0'}]}");
	must_open(sockets, before);
	int fd[STAGE_SOCKETS_MAX], kept = sockets->entry[0].fd;
	struct plan *after =
	        plan_of("ingest: {udp: [{listen: '127.0.0.2:0'}, {listen: '127.0.0.1:%u'}]}", port);
	assert_int_equal(sockets_open(sockets, after, &error), -EADDRINUSE);
	assert_int_equal(sockets->n, 1);
	assert_int_equal(sockets_of(sockets, &before->role[0], fd), 1);
	assert_int_equal(fd[0], kept);
	close(foreign);
	plan_free(after);
	sockets_end(sockets, before);
}

/* In a process of its own: descriptors 3 and 4 are what a service manager passes. Returns an exit
 * status. */
static int take_passed(int passed, int stray, const struct plan *plan)
{
	char pid[16];
	struct shm_error error;
	struct sockets *sockets = calloc(1, sizeof *sockets);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (sockets == NULL || setenv("LISTEN_PID", pid, 1) != 0 || setenv("LISTEN_FDS", "2", 1) != 0)
		return 1;
	int high = fcntl(passed, F_DUPFD, 20), high_stray = fcntl(stray, F_DUPFD, 20);
	if (dup2(high, 3) != 3 || dup2(high_stray, 4) != 4)
		return 2;
	if (sockets_take_passed(sockets) != 2 || getenv("LISTEN_FDS") != NULL)
		return 3;
	if (sockets_open(sockets, plan, &error) != 0)
		return 4;
	if (sockets->n != 1 || sockets->entry[0].fd != 3 || (fcntl(3, F_GETFD) & FD_CLOEXEC) == 0 ||
	    (fcntl(3, F_GETFL) & O_NONBLOCK) == 0)
		return 5;
	sockets_close_unused(sockets); /* closes the one that no listener wants */
	return fcntl(4, F_GETFD) == -1 && fcntl(3, F_GETFD) != -1 ? 0 : 6;
}

static void passed_sockets_are_taken_by_their_address(void **state)
{
	(void)state;
	unsigned port, stray_port;
	int status, passed = foreign_socket(&port), stray = foreign_socket(&stray_port);
	struct plan *plan = plan_of("ingest: {udp: [{listen: '127.0.0.1:%u'}]}", port);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(take_passed(passed, stray, plan));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(passed);
	close(stray);
	plan_free(plan);
}

static void sockets_passed_to_another_process_are_left_alone(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "2", 1);
	assert_int_equal(sockets_take_passed(sockets), 0);
	assert_null(getenv("LISTEN_PID"));
	free(sockets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_socket_is_as_a_stage_expects_it),
	        cmocka_unit_test(processes_share_a_port_that_the_kernel_chose),
	        cmocka_unit_test(an_ipv6_wildcard_takes_ipv4),
	        cmocka_unit_test(a_port_in_use_is_refused_by_name_after_a_while),
	        cmocka_unit_test(a_port_that_becomes_free_meanwhile_is_taken),
	        cmocka_unit_test(a_new_configuration_keeps_what_fits_and_closes_the_rest),
	        cmocka_unit_test(a_socket_that_goes_takes_in_no_more_and_can_be_emptied),
	        cmocka_unit_test(a_wider_address_on_the_same_port_replaces_a_narrower_one),
	        cmocka_unit_test(a_failed_change_leaves_everything_as_it_was),
	        cmocka_unit_test(passed_sockets_are_taken_by_their_address),
	        cmocka_unit_test(sockets_passed_to_another_process_are_left_alone),
	};
	alarm(30);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
