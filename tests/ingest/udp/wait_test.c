/* The UDP stage over loopback, with both back-ends: waiting, ending, and what its promises rest
 * on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "tests/fixture/deny.h"
#include "tests/fixture/udp_backends.h"

/* ---- waiting and ending ---- */

static void an_idle_stage_sleeps(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct rusage before, after;
	int listener, sender;
	open_one(&fixture, &udp, "raw", &listener, &sender, N_BUFFERS, 0);
	uint64_t begin_ns = clock_monotonic_ns();
	getrusage(RUSAGE_THREAD, &before);
	for (unsigned i = 0; i < 5; i++) {
		assert_false(udp_poll(&udp));
		udp_idle(&udp, 50 * NS_PER_MS);
	}
	getrusage(RUSAGE_THREAD, &after);
	assert_true(clock_monotonic_ns() - begin_ns >= 240 * NS_PER_MS);
	long used_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
	                before.ru_stime.tv_sec) *
	                       1000000l +
	               after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
	               before.ru_stime.tv_usec;
	assert_true(used_us < 20000);
	assert_true(after.ru_nvcsw - before.ru_nvcsw <= 8);
	close_one(&fixture, &udp, listener, sender);
}

static void *send_later(void *argument)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 50 * NS_PER_MS}, NULL);
	return udp_send(*(int *)argument, "hello", 5, 0) == 5 ? argument : NULL;
}

static void a_datagram_wakes_an_idle_stage_at_once(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	pthread_t thread;
	int listener, sender;
	open_one(&fixture, &udp, "raw", &listener, &sender, N_BUFFERS, 0);
	uint64_t begin_ns = clock_monotonic_ns();
	assert_int_equal(pthread_create(&thread, NULL, send_later, &sender), 0);
	udp_idle(&udp, 5 * NS_PER_SEC);
	assert_true(udp_poll(&udp));
	assert_true(clock_monotonic_ns() - begin_ns < NS_PER_SEC);
	pthread_join(thread, NULL);
	close_one(&fixture, &udp, listener, sender);
}

static void draining_takes_what_is_queued_and_leaves_the_rest_to_the_next_life(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	int listener, sender;
	open_one(&fixture, &udp, "raw", &listener, &sender, BUFFERS_MIN, 1 << 20);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(udp_send(sender, "before", 6, 0), 6);
	for (unsigned turns = 0; turns < 1000; turns++)
		if (!udp_poll(&udp) && udp_drained(&udp, clock_monotonic_ns()))
			break;
	assert_true(udp_drained(&udp, clock_monotonic_ns()));
	assert_int_equal(ledger_of(&udp, 0)->received, 100);
	assert_int_equal(udp_send(sender, "after", 5, 0), 5);
	udp_idle(&udp, NS_PER_MS);
	assert_false(udp_poll(&udp));
	udp_close(&udp);
	struct pollfd readable = {.fd = listener, .events = POLLIN};
	assert_int_equal(poll(&readable, 1, 0), 1);

	assert_int_equal(udp_fixture_open(&fixture, &udp, "raw", udp_backend, &listener, 1), 0);
	run_until(&fixture, &udp, 101);
	assert_int_equal(ledger_of(&udp, 0)->received, 101);
	assert_int_equal(udp.ports.writer[0].stream.shared->records, 101);
	close_one(&fixture, &udp, listener, sender);
}

static void draining_ends_although_datagrams_keep_coming(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	int listener, sender;
	open_one(&fixture, &udp, "raw", &listener, &sender, N_BUFFERS, 1 << 20);
	uint64_t begin_ns = clock_monotonic_ns();
	assert_false(udp_drained(&udp, begin_ns + 1) && udp.stopped);
	udp.stopped = false;
	udp.drain_until_ns = begin_ns;
	assert_int_equal(udp_send(sender, "x", 1, 0), 1);
	assert_false(udp_drained(&udp, begin_ns));
	assert_true(udp.stopped);
	while (udp_poll(&udp))
		;
	assert_true(udp_drained(&udp, begin_ns));
	close_one(&fixture, &udp, listener, sender);
}

/* ---- what the promises rest on ---- */

/* A thread watches the word that says "filled" while the kernel fills the buffer, and looks at the
 * data's end and the control message the moment it appears. */
struct watch {
	struct buffers *buffers;
	_Atomic unsigned next;    /* the buffer that the kernel takes in this round */
	_Atomic uint64_t round;   /* what the sender writes into each word */
	_Atomic uint64_t checked; /* the last round that the watcher has seen */
	_Atomic uint64_t torn;
	/* rounds in which the watcher saw data before the word: it does look while the kernel
	 * copies */
	_Atomic uint64_t early;
	_Atomic bool end;
};

#define WATCH_BYTES   60000u
#define WATCH_SEGMENT 1000u
#define WATCH_ROUNDS  400u

static int find_filled(const struct buffers *buffers)
{
	for (unsigned i = 0; i < buffers->n_buffers; i++) {
		if (udp_backend == RECEIVE_RECVMMSG
		            ? *(volatile unsigned *)&buffers->message[i].msg_len != BUFFER_UNFILLED
		            : buffer_filled(&buffers->buffer[i]))
			return (int)i;
	}
	return -1;
}

static void *watch_buffers(void *argument)
{
	struct watch *watch = argument;
	uint64_t early_round = 0;
	while (!watch->end) {
		uint64_t round =
		        /* first: what is filled after it is of this round, the one before was
		         * cleared */
		        watch->round;
		const volatile uint64_t *ahead =
		        (const volatile void *)watch->buffers->buffer[watch->next].data;
		bool begun = *ahead == round && early_round != round;
		int i = find_filled(watch->buffers);
		if (i < 0 && begun) {
			early_round = round;
			watch->early++;
		}
		if (i < 0 || watch->checked == round)
			continue;
		const volatile struct buffer *buffer = &watch->buffers->buffer[i];
		const volatile uint64_t *last =
		        (const volatile void *)(buffer->data + WATCH_BYTES - sizeof(uint64_t));
		const volatile uint64_t *first = (const volatile void *)buffer->data;
		const volatile struct cmsghdr *control = (const volatile void *)buffer->control;
		if (*last != round || *first != round || control->cmsg_type != UDP_GRO ||
		    *(const volatile int *)(buffer->control + CMSG_LEN(0)) !=
		            (int)WATCH_SEGMENT + (int)(round & 1))
			watch->torn++;
		watch->checked = round;
	}
	return NULL;
}

static void the_kernel_says_filled_only_after_data_and_control_are_there(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	pthread_t thread;
	int listener, sender;
	static uint64_t data[WATCH_BYTES / sizeof(uint64_t)];
	open_one(&fixture, &udp, "raw", &listener, &sender, BUFFERS_MIN, 1 << 20);
	struct watch watch = {.buffers = &udp.buffers};
	assert_int_equal(pthread_create(&thread, NULL, watch_buffers, &watch), 0);
	for (uint64_t round = 1; round <= WATCH_ROUNDS; round++) {
		for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
			data[i] = round;
		if (udp_backend == RECEIVE_URING)
			watch.next =
			        /* they come back in order */
			        (unsigned)((round - 1) % udp.buffers.n_buffers);
		watch.round = round;
		assert_int_equal(udp_send(sender, data, sizeof data, (uint16_t)(WATCH_SEGMENT + (round & 1))),
		                 sizeof data);
		uint64_t end_ns = clock_monotonic_ns() + NS_PER_SEC;
		udp_idle(&udp, 10 * NS_PER_MS);
		if (udp_backend == RECEIVE_RECVMMSG) { /* its take adopts at once: receive apart */
			assert_int_equal(recvmmsg(listener, udp.buffers.message, 1, 0, NULL), 1);
			while (watch.checked != round && clock_monotonic_ns() < end_ns)
				;
			(void)buffers_adopt(&udp.buffers, 0);
			udp.buffers.buffer[0].mark = 0;
		} else {
			while (watch.checked != round && clock_monotonic_ns() < end_ns)
				;
			assert_true(udp_poll(&udp));
		}
		assert_int_equal(watch.checked, round);
	}
	watch.end = true;
	pthread_join(thread, NULL);
	printf("looked at %u buffers, %llu of them while the kernel was writing\n", WATCH_ROUNDS,
	       (unsigned long long)watch.early);
	assert_int_equal(watch.torn, 0);
	close_one(&fixture, &udp, listener, sender);
}

static int receive_where_io_uring_is_denied(struct udp_fixture *fixture, int listener, int sender)
{
	struct udp udp;
	if (deny_system_call(SYS_io_uring_setup) != 0)
		return 2;
	if (udp_fixture_open(fixture, &udp, "raw", RECEIVE_URING, &listener, 1) != -EPERM)
		return 3;
	if (udp_fixture_open(fixture, &udp, "raw", RECEIVE_AUTO, &listener, 1) != 0)
		return 4;
	if (udp.receive.ops != &receive_mmsg || udp_metric_value(fixture, UDP_uring_in_use) != 0)
		return 5;
	if (udp_send(sender, "hello", 5, 0) != 5)
		return 6;
	run_until(fixture, &udp, 1);
	bool received = ledger_of(&udp, 0)->received == 1;
	udp_close(&udp);
	return received ? 0 : 7;
}

static void where_io_uring_is_denied_recvmmsg_serves(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	uint16_t port;
	int status;
	assert_int_equal(udp_fixture_make(&fixture, "raw", LANE_BYTES, N_BUFFERS, NULL), 0);
	int listener = udp_listen(AF_INET, 0, &port);
	int sender = udp_connect(AF_INET, port);
	pid_t child = fork();
	if (child == 0)
		_exit(receive_where_io_uring_is_denied(&fixture, listener, sender));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(listener);
	close(sender);
	udp_fixture_remove(&fixture);
}

int main(void)
{
	alarm(60);
	log_init("udp_wait_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        BOTH(an_idle_stage_sleeps),
	        BOTH(a_datagram_wakes_an_idle_stage_at_once),
	        BOTH(draining_takes_what_is_queued_and_leaves_the_rest_to_the_next_life),
	        BOTH(draining_ends_although_datagrams_keep_coming),
	        BOTH(the_kernel_says_filled_only_after_data_and_control_are_there),
	        cmocka_unit_test_teardown(where_io_uring_is_denied_recvmmsg_serves, udp_fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
