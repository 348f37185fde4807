/* The supervisor's sockets that take connections: bound, shared, kept over a new configuration,
 * made quiet, taken from a service manager. */
#include "tests/fixture/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define CLIENTS    40u
#define PATIENT_NS (20 * NS_PER_SEC)

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/millrace-sockets-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder); /* fails when something was left in it */
}

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
	                            .sin_port = htons((uint16_t)port),
	                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A socket that connects to the port, as far as it comes without waiting. */
static int client_of(unsigned port)
{
	struct sockaddr_in to = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS);
	return fd;
}

static int unix_client(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	int failed = -errno;
	close(fd);
	return failed;
}

/* Accepts all that wait, answers each with a byte and closes it. Returns how many. */
static unsigned serve_all(int listener)
{
	unsigned n = 0;
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; n++) {
		assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
		close(fd);
	}
	assert_int_equal(errno, EAGAIN);
	return n;
}

/* Waits until the byte is there, and closes. */
static void expect_answer(int client)
{
	struct pollfd readable = {.fd = client, .events = POLLIN};
	char byte;
	assert_int_equal(poll(&readable, 1, 20000), 1);
	assert_int_equal(recv(client, &byte, 1, 0), 1);
	close(client);
}

static int foreign_listener(unsigned *port)
{
	struct sockaddr_in any = loopback(0);
	socklen_t length = sizeof any;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
	assert_int_equal(listen(fd, 10), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &length), 0);
	*port = ntohs(any.sin_port);
	return fd;
}

/* ---- TCP ---- */

static void a_listening_socket_is_as_a_stage_expects_it(void **state)
{
	(void)state;
	struct plan *plan = plan_of("ingest: {http: [{listen: '127.0.0.1:0'}]}");
	struct sockets *sockets = new_sockets();
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 1);
	int fd = sockets->entry[0].fd;
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	int client = client_of(address_port(&sockets->entry[0].bound)), taken = accept(fd, NULL, NULL);
	assert_true(taken >= 0);
	assert_true(option_of(taken, IPPROTO_TCP, TCP_NODELAY) != 0);
	close(taken);
	close(client);
	sockets_end(sockets, plan);
}

static void processes_share_a_port_that_the_kernel_chose(void **state)
{
	(void)state;
	struct plan *plan = plan_of("ingest: {http: [{listen: '127.0.0.1:0', processes: 3}]}");
	struct sockets *sockets = new_sockets();
	int fd[STAGE_SOCKETS_MAX], client[CLIENTS];
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 3);
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = client_of(address_port(&sockets->entry[0].bound));
	unsigned sum = 0;
	for (unsigned role = 0; role < 3; role++) {
		assert_int_equal(sockets_of(sockets, &plan->role[role], fd), 1);
		sum += serve_all(fd[0]);
	}
	assert_int_equal(sum, CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++)
		expect_answer(client[i]);
	sockets_end(sockets, plan);
}

static void a_port_on_which_another_program_listens_is_refused_by_name(void **state)
{
	(void)state;
	unsigned port;
	int foreign = foreign_listener(&port);
	struct plan *plan = plan_of(
	        "ingest: {http: [{listen: '127.0.0.1:0'}, {listen: '127.0.0.1:%u', processes: 2}]}", port);
	struct sockets *sockets = new_sockets();
	struct shm_error error = {""};
	char address[40];
	snprintf(address, sizeof address, "tcp 127.0.0.1:%u", port);
	assert_int_equal(sockets_open(sockets, plan, &error), -EADDRINUSE);
	assert_int_equal(sockets->n, 0);
	assert_non_null(strstr(error.text, address));
	assert_non_null(strstr(error.text, "ingest.http[1].listen"));
	/* UDP has ports of its own */
	struct plan *datagrams = plan_of("ingest: {udp: [{listen: '127.0.0.1:%u'}]}", port);
	must_open(sockets, datagrams);
	sockets_close(sockets);
	close(foreign);
	must_open(sockets, plan);
	assert_int_equal(sockets->n, 3);
	plan_free(datagrams);
	sockets_end(sockets, plan);
}

static void a_port_is_free_again_although_connections_ended_a_moment_ago(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: '127.0.0.1:0'}]}");
	must_open(sockets, plan);
	unsigned port = address_port(&sockets->entry[0].bound);
	int client = client_of(port);
	assert_int_equal(serve_all(sockets->entry[0].fd),
	                 1); /* the side that closes first keeps the port in TIME_WAIT */
	expect_answer(client);
	sockets_close(sockets);
	plan_free(plan);
	plan = plan_of("ingest: {http: [{listen: '127.0.0.1:%u'}]}", port);
	must_open(sockets, plan);
	sockets_end(sockets, plan);
}

static void a_new_configuration_keeps_a_listener_with_all_that_waits_there(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {http: [{listen: ['127.0.0.1:0', '127.0.0.2:0']}]}");
	must_open(sockets, before);
	int kept = sockets->entry[0].fd, gone = sockets->entry[1].fd;
	int client = client_of(address_port(&sockets->entry[0].bound));
	struct plan *after =
	        plan_of("ingest: {http: [{listen: '127.0.0.3:0'}, {listen: '127.0.0.1:0', backlog: 9}]}");
	must_open(sockets, after);
	int fd[STAGE_SOCKETS_MAX];
	assert_int_equal(sockets_of(sockets, &after->role[1], fd), 1);
	assert_int_equal(fd[0], kept);
	assert_string_equal(sockets->entry[0].section, "ingest.http[1]");
	sockets_close_unused(sockets);
	assert_int_equal(fcntl(gone, F_GETFD), -1);
	assert_int_equal(sockets->n, 2);
	assert_int_equal(serve_all(kept), 1);
	expect_answer(client);
	plan_free(before);
	sockets_end(sockets, after);
}

/* What came before is emptied by its stage; what comes later reaches the other process, if only
 * when its SYN is sent again. */
static void a_listener_that_goes_takes_no_connection_with_it(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *before = plan_of("ingest: {http: [{listen: '127.0.0.1:0', processes: 2}]}");
	struct plan *after = plan_of("ingest: {http: [{listen: '127.0.0.1:0'}]}");
	must_open(sockets, before);
	int client[2 * CLIENTS], kept = sockets->entry[0].fd, gone = sockets->entry[1].fd;
	unsigned port = address_port(&sockets->entry[0].bound);
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = client_of(port);
	must_open(sockets, after);
	sockets_quiet(sockets, false);
	unsigned served = serve_all(gone);
	assert_in_range(served, 1, CLIENTS - 1);
	for (unsigned i = CLIENTS; i < 2 * CLIENTS; i++)
		client[i] = client_of(port);
	unsigned late = serve_all(gone);
	assert_in_range(late, 0, 1);
	served += late;
	sockets_close_unused(sockets);
	uint64_t deadline_ns = clock_monotonic_ns() + PATIENT_NS;
	while ((served += serve_all(kept)) < 2 * CLIENTS) {
		struct pollfd readable = {.fd = kept, .events = POLLIN};
		assert_true(clock_monotonic_ns() < deadline_ns);
		(void)poll(&readable, 1, 1000);
	}
	for (unsigned i = 0; i < 2 * CLIENTS; i++)
		expect_answer(client[i]);
	plan_free(before);
	sockets_end(sockets, after);
}

static void a_quiet_listener_that_stays_after_all_takes_connections_again(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: '127.0.0.1:0', backlog: 100}]}");
	must_open(sockets, plan);
	int client[CLIENTS];
	sockets_quiet(sockets, true);
	assert_true(sockets->entry[0].quiet);
	must_open(sockets, plan);
	assert_false(sockets->entry[0].quiet);
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = client_of(address_port(&sockets->entry[0].bound));
	assert_int_equal(serve_all(sockets->entry[0].fd), CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++)
		expect_answer(client[i]);
	sockets_end(sockets, plan);
}

/* ---- Unix sockets ---- */

static void a_unix_socket_has_a_file_that_all_may_use_and_that_goes_with_it(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan =
	        plan_of("ingest: {http: [{listen: ['unix:%s/a', '127.0.0.1:0', 'unix:%s/b'], processes: 3}]}",
	                folder, folder);
	char path[100];
	struct stat status;
	int fd[3][STAGE_SOCKETS_MAX];
	must_open(sockets, plan);
	snprintf(path, sizeof path, "%s/a", folder);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0666);
	/* one socket for all processes, three for the port */
	assert_int_equal(sockets->n, 5);
	for (unsigned role = 0; role < 3; role++)
		assert_int_equal(sockets_of(sockets, &plan->role[role], fd[role]), 3);
	assert_int_equal(fd[0][0], fd[2][0]);
	assert_int_not_equal(fd[0][1], fd[2][1]);
	assert_int_equal(fd[0][2], fd[1][2]);
	int client = unix_client(path);
	assert_int_equal(serve_all(fd[1][0]), 1);
	expect_answer(client);
	sockets_close(sockets);
	assert_int_equal(access(path, F_OK), -1);
	sockets_end(sockets, plan);
}

static void only_a_file_on_which_nobody_listens_is_replaced(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets(), *second = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: 'unix:%s/a'}]}", folder);
	struct shm_error error = {""};
	char path[100];
	snprintf(path, sizeof path, "%s/a", folder);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) /* a supervisor that is killed */
		_exit(sockets_open(sockets, plan, &error) == 0 ? 0 : 1);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(unix_client(path), -ECONNREFUSED);
	must_open(sockets, plan);
	assert_int_equal(sockets_open(second, plan, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, path));
	int client = unix_client(path);
	assert_true(client >= 0);
	/* those that only looked whether somebody listens come first */
	for (int fd; (fd = accept(sockets->entry[0].fd, NULL, NULL)) >= 0; close(fd))
		(void)send(fd, "x", 1, MSG_NOSIGNAL);
	expect_answer(client);
	free(second);
	sockets_end(sockets, plan);
}

static void a_file_of_somebody_else_is_left_alone(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: 'unix:%s/a'}]}", folder);
	struct shm_error error = {""};
	char path[100];
	snprintf(path, sizeof path, "%s/a", folder);
	must_open(sockets, plan);
	assert_int_equal(unlink(path), 0);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	sockets_close(sockets);
	assert_int_equal(sockets_open(sockets, plan, &error), -EADDRINUSE);
	assert_int_equal(unlink(path), 0);
	sockets_end(sockets, plan);
}

static void a_folder_that_is_missing_is_said(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: 'unix:%s/no/a'}]}", folder);
	struct shm_error error = {""};
	assert_int_equal(sockets_open(sockets, plan, &error), -ENOENT);
	assert_non_null(strstr(error.text, "folder must exist"));
	sockets_end(sockets, plan);
}

static void a_quiet_unix_socket_refuses_and_what_waits_is_served(void **state)
{
	(void)state;
	struct sockets *sockets = new_sockets();
	struct plan *plan = plan_of("ingest: {http: [{listen: 'unix:%s/a'}]}", folder);
	char path[100];
	snprintf(path, sizeof path, "%s/a", folder);
	must_open(sockets, plan);
	int client = unix_client(path);
	sockets_quiet(sockets, true);
	assert_int_equal(unix_client(path), -ENOENT);
	assert_int_equal(serve_all(sockets->entry[0].fd), 1);
	expect_answer(client);
	/* it stays after all: its file is there again */
	must_open(sockets, plan);
	sockets_close_unused(sockets);
	assert_int_equal(sockets->n, 1);
	client = unix_client(path);
	assert_int_equal(serve_all(sockets->entry[0].fd), 1);
	expect_answer(client);
	sockets_end(sockets, plan);
}

/* ---- passed sockets ---- */

/* In a process of its own: descriptors 3 to 5 are what a service manager passes. Returns an exit
 * status. */
static int take_passed(const int passed[3], const struct plan *plan)
{
	char pid[16];
	struct shm_error error;
	int high[3], fd[STAGE_SOCKETS_MAX];
	struct sockets *sockets = calloc(1, sizeof *sockets);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (sockets == NULL || setenv("LISTEN_PID", pid, 1) != 0 || setenv("LISTEN_FDS", "3", 1) != 0)
		return 1;
	for (int i = 0; i < 3; i++)
		high[i] = fcntl(passed[i], F_DUPFD, 20);
	for (int i = 0; i < 3; i++)
		if (dup2(high[i], 3 + i) != 3 + i)
			return 2;
	if (sockets_take_passed(sockets) != 3 || sockets_open(sockets, plan, &error) != 0)
		return 3;
	/* the datagram socket of the same port is nobody's; both processes have both others */
	if (sockets->n != 2 || sockets_of(sockets, &plan->role[1], fd) != 2 || fd[0] != 4 || fd[1] != 5)
		return 4;
	if ((fcntl(4, F_GETFL) & O_NONBLOCK) == 0 || (fcntl(5, F_GETFD) & FD_CLOEXEC) == 0)
		return 5;
	sockets_close_unused(sockets);
	if (fcntl(3, F_GETFD) != -1)
		return 6;
	sockets_quiet(sockets, true); /* nothing: the service manager goes on queueing */
	sockets_close(sockets);
	return 0;
}

static void passed_sockets_are_shared_by_all_processes_and_left_as_they_are(void **state)
{
	(void)state;
	unsigned port;
	int status, passed[3];
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	snprintf(local.sun_path, sizeof local.sun_path, "%s/passed", folder);
	passed[1] = foreign_listener(&port);
	struct sockaddr_in same = loopback(port);
	passed[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(passed[0], (struct sockaddr *)&same, sizeof same), 0);
	passed[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(passed[2], (struct sockaddr *)&local, sizeof local), 0);
	assert_int_equal(listen(passed[2], 10), 0);
	struct plan *plan = plan_of("ingest: {http: [{listen: ['127.0.0.1:%u', 'unix:%s'], processes: 2}]}",
	                            port, local.sun_path);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(take_passed(passed, plan));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	int client[2] = {client_of(port), unix_client(local.sun_path)};
	for (int i = 0; i < 2; i++) {
		assert_int_equal(serve_all(passed[1 + i]), 1);
		expect_answer(client[i]);
	}
	for (int i = 0; i < 3; i++)
		close(passed[i]);
	assert_int_equal(unlink(local.sun_path), 0);
	plan_free(plan);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_listening_socket_is_as_a_stage_expects_it),
	        cmocka_unit_test(processes_share_a_port_that_the_kernel_chose),
	        cmocka_unit_test(a_port_on_which_another_program_listens_is_refused_by_name),
	        cmocka_unit_test(a_port_is_free_again_although_connections_ended_a_moment_ago),
	        cmocka_unit_test(a_new_configuration_keeps_a_listener_with_all_that_waits_there),
	        cmocka_unit_test(a_listener_that_goes_takes_no_connection_with_it),
	        cmocka_unit_test(a_quiet_listener_that_stays_after_all_takes_connections_again),
	        IN_FOLDER(a_unix_socket_has_a_file_that_all_may_use_and_that_goes_with_it),
	        IN_FOLDER(only_a_file_on_which_nobody_listens_is_replaced),
	        IN_FOLDER(a_file_of_somebody_else_is_left_alone),
	        IN_FOLDER(a_folder_that_is_missing_is_said),
	        IN_FOLDER(a_quiet_unix_socket_refuses_and_what_waits_is_served),
	        IN_FOLDER(passed_sockets_are_shared_by_all_processes_and_left_as_they_are),
	};
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
