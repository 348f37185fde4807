/* Doorbells: a wait ends when it should, and not before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bell.h"
#include "base/clock.h"

static struct bell *bell;

static uint64_t wait_ms(uint32_t seen, uint64_t timeout_ms, bool *rung)
{
	uint64_t begin_ns = clock_monotonic_ns();
	*rung = bell_wait(bell, seen, timeout_ms * NS_PER_MS);
	return (clock_monotonic_ns() - begin_ns) / NS_PER_MS;
}

static void a_wait_ends_at_its_time_out(void **state)
{
	(void)state;
	bool rung;
	assert_in_range(wait_ms(bell_value(bell), 0, &rung), 0, 5);
	assert_false(rung);
	assert_in_range(wait_ms(bell_value(bell), 50, &rung), 49, 300);
	assert_false(rung);
	assert_in_range(wait_ms(bell_value(bell), 1200, &rung), 1199, 1500);
	assert_false(rung);
}

static void a_ring_before_the_wait_is_not_lost(void **state)
{
	(void)state;
	bool rung;
	uint32_t seen = bell_value(bell);
	bell_ring(bell);
	assert_in_range(wait_ms(seen, 5000, &rung), 0, 100);
	assert_true(rung);
}

static void a_ring_by_another_process_wakes(void **state)
{
	(void)state;
	bool rung;
	uint32_t seen = bell_value(bell);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		usleep(50000);
		bell_ring(bell);
		_exit(0);
	}
	uint64_t took_ms = wait_ms(seen, 5000, &rung);
	waitpid(pid, NULL, 0);
	assert_true(rung);
	assert_in_range(took_ms, 40, 1000);
}

static void nothing(int number)
{
	(void)number;
}

static void a_signal_ends_the_wait(void **state)
{
	(void)state;
	bool rung;
	struct sigaction act = {.sa_handler = nothing};
	sigaction(SIGUSR1, &act, NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		usleep(50000);
		kill(parent, SIGUSR1);
		_exit(0);
	}
	uint64_t took_ms = wait_ms(bell_value(bell), 5000, &rung);
	waitpid(pid, NULL, 0);
	assert_false(rung);
	assert_in_range(took_ms, 40, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_wait_ends_at_its_time_out),
	        cmocka_unit_test(a_ring_before_the_wait_is_not_lost),
	        cmocka_unit_test(a_ring_by_another_process_wakes),
	        cmocka_unit_test(a_signal_ends_the_wait),
	};
	alarm(60);
	bell = mmap(NULL, sizeof *bell, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bell == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("bell", tests, NULL, NULL);
}
