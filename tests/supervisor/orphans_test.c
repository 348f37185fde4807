/* Waiting for the stages of the last supervisor: what ends the wait, and that nothing is left open
 * by it. */
#include "supervisor/orphans.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/fixture/descriptors.h"
#include "tests/fixture/lock_holder.h"
#include "tests/fixture/sandbox.h"

#define TIMES   50u
#define SPARE   8u /* descriptors: more than are needed at one time */
#define LONG_NS (60 * NS_PER_SEC)

static struct sandbox sandbox;
static struct instance_page page;
static int signal_fd;

/* Three roles: one may be held by a child, one has a lock that nobody holds, one has never been. */
static int set_up(void **state)
{
	(void)state;
	static const char *const role[] = {"udp.0", "tally.0", "enrich.0"};
	sigset_t signals;
	memset(&page, 0, sizeof page);
	if (sandbox_make(&sandbox) != 0)
		return -1;
	for (page.n_roles = 0; page.n_roles < 3; page.n_roles++)
		snprintf(page.role[page.n_roles].name, SHM_NAME_MAX, "%s", role[page.n_roles]);
	int lock = instance_lock(sandbox.directory, "tally.0.role", 0, NULL);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	return lock < 0 || close(lock) != 0 || signal_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(signal_fd);
	sandbox_remove(&sandbox);
	return 0;
}

/* A child that holds the first role's lock until it is killed. */
static pid_t start_stage(void)
{
	return lock_holder_start(sandbox.directory, "udp.0.role");
}

static int wait_for_them(uint64_t timeout_ns, bool *reload)
{
	struct shm_error error = {""};
	return orphans_wait(sandbox.directory, &page, timeout_ns, signal_fd, reload, &error);
}

static void with_no_stage_alive_there_is_nothing_to_wait_for(void **state)
{
	(void)state;
	bool reload = false;
	unsigned before = descriptors_open();
	for (unsigned i = 0; i < TIMES; i++)
		assert_int_equal(wait_for_them(LONG_NS, &reload), 0);
	assert_int_equal(descriptors_open(), before);
	assert_false(reload);
}

static void a_stage_that_does_not_end_in_time_is_killed(void **state)
{
	(void)state;
	bool reload = false;
	unsigned before = descriptors_open();
	for (unsigned i = 0; i < 5; i++) {
		int status;
		pid_t child = start_stage();
		assert_int_equal(wait_for_them(0, &reload), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	assert_int_equal(descriptors_open(), before);
}

static void a_signal_ends_the_wait_and_another_is_kept_for_later(void **state)
{
	(void)state;
	pid_t child = start_stage();
	unsigned before = descriptors_open();
	for (unsigned i = 0; i < TIMES; i++) {
		bool reload = false;
		raise(SIGHUP);
		raise(SIGTERM);
		assert_int_equal(wait_for_them(LONG_NS, &reload), -EINTR);
		assert_true(reload);
	}
	assert_int_equal(descriptors_open(), before);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* The signal is there from the start: it ends the wait also where it cannot be told who lives. */
static void without_descriptors_the_wait_leaves_none_open(void **state)
{
	(void)state;
	bool reload = false;
	pid_t child = start_stage();
	unsigned before = descriptors_open();
	for (unsigned spare = 0; spare < SPARE; spare++) {
		raise(SIGTERM);
		struct rlimit limit = descriptors_limit(spare);
		int result = wait_for_them(LONG_NS, &reload);
		descriptors_unlimit(&limit);
		assert_int_equal(result, -EINTR);
		assert_int_equal(descriptors_open(), before);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(void)
{
	alarm(60);
	log_init("orphans_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(with_no_stage_alive_there_is_nothing_to_wait_for, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_stage_that_does_not_end_in_time_is_killed, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_signal_ends_the_wait_and_another_is_kept_for_later, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(without_descriptors_the_wait_leaves_none_open, set_up,
	                                        tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
