/* Doorbells: a wait ends when it should, and not before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/bell.h"
#include "base/clock.h"
#include "tests/fixture/deny.h"

#define BELLS 4u

static struct bell *bell; /* BELLS of them; most tests use the first */

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

/* ---- several bells ---- */

static uint64_t wait_any_ms(const uint32_t seen[BELLS], uint64_t timeout_ms, bool *rung)
{
	struct bell *const bells[BELLS] = {&bell[0], &bell[1], &bell[2], &bell[3]};
	uint64_t begin_ns = clock_monotonic_ns();
	*rung = bell_wait_any(bells, seen, BELLS, timeout_ms * NS_PER_MS);
	return (clock_monotonic_ns() - begin_ns) / NS_PER_MS;
}

static void take_values(uint32_t seen[BELLS])
{
	for (unsigned i = 0; i < BELLS; i++)
		seen[i] = bell_value(&bell[i]);
}

/* Another process rings the i-th; 0 is well. */
static int each_of_several_wakes(void)
{
	for (unsigned i = 0; i < BELLS; i++) {
		uint32_t seen[BELLS];
		bool rung;
		take_values(seen);
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			usleep(50000);
			bell_ring(&bell[i]);
			_exit(0);
		}
		uint64_t took_ms = wait_any_ms(seen, 5000, &rung);
		waitpid(pid, NULL, 0);
		if (!rung || took_ms < 40 || took_ms > 1000)
			return 1;
		/* rung before the wait */
		if (wait_any_ms(seen, 5000, &rung) > 100 || !rung)
			return 2;
	}
	uint32_t seen[BELLS];
	bool rung;
	take_values(seen);
	uint64_t took_ms = wait_any_ms(seen, 50, &rung);
	return rung || took_ms < 49 || took_ms > 300 ? 3 : 0;
}

static void each_of_several_bells_ends_the_wait(void **state)
{
	(void)state;
	assert_int_equal(each_of_several_wakes(), 0);
}

static void several_bells_are_heard_without_futex_waitv(void **state)
{
	(void)state;
	int status;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(deny_system_call(SYS_futex_waitv) != 0 ? 9 : each_of_several_wakes());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_wait_ends_at_its_time_out),
	        cmocka_unit_test(a_ring_before_the_wait_is_not_lost),
	        cmocka_unit_test(a_ring_by_another_process_wakes),
	        cmocka_unit_test(a_signal_ends_the_wait),
	        cmocka_unit_test(each_of_several_bells_ends_the_wait),
	        cmocka_unit_test(several_bells_are_heard_without_futex_waitv),
	};
	alarm(60);
	bell = mmap(NULL, BELLS * sizeof *bell, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bell == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("bell", tests, NULL, NULL);
}
