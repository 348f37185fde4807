/* One live process per role. */
#include "tests/fixture/stage.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

static void a_second_process_of_the_role_is_refused_with_the_pid_of_the_first(void **state)
{
	struct stage_fixture *stage = *state;
	pid_t first = start_stage(stage);
	wait_running(stage);
	int owner = 0;
	assert_true(control_alive(stage->sandbox.directory, ROLE, &owner));
	assert_int_equal(owner, first);
	uint64_t begin_ns = clock_monotonic_ns();
	pid_t second = start_stage(stage);
	assert_int_equal(status_of(second), 1);
	/* the first might have been dying */
	assert_true(clock_monotonic_ns() - begin_ns >= 4 * NS_PER_SEC);
	char expected[200];
	snprintf(
	        expected, sizeof expected,
	        "error echo[%d] cannot start role=echo.0 reason=the role \"echo.0\" belongs to process %d, which is alive\n",
	        (int)second, (int)first);
	assert_non_null(strstr(output_of(stage, "err"), expected));
	/* The first noticed nothing. */
	assert_int_equal(stage->control->pid, first);
	assert_int_equal(stage->control->state, STAGE_RUNNING);
	kill(first, SIGTERM);
	assert_int_equal(status_of(first), 0);
	assert_false(control_alive(stage->sandbox.directory, ROLE, NULL));
}

static void a_successor_waits_for_a_predecessor_that_is_dying(void **state)
{
	struct stage_fixture *stage = *state;
	stage->work->hold = 1;
	pid_t first = start_stage(stage);
	wait_running(stage);
	kill(first, SIGTERM);
	pid_t second = start_stage(stage);
	sleep_ms(200);
	assert_int_equal(stage->control->pid, first);
	stage->work->hold = 0;
	assert_int_equal(status_of(first), 0);
	wait_until(stage->control->pid == (uint32_t)second && stage->control->state == STAGE_RUNNING);
	kill(second, SIGTERM);
	assert_int_equal(status_of(second), 0);
}

static void a_role_that_never_was_is_not_alive(void **state)
{
	struct stage_fixture *stage = *state;
	assert_false(control_alive(stage->sandbox.directory, "never.0", NULL));
	struct rlimit limit, none;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int alive = control_alive(stage->sandbox.directory, ROLE, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(alive, -EMFILE);
	assert_string_equal(stage_state_name(STAGE_DRAINING), "draining");
	assert_string_equal(stage_state_name((enum stage_state)99), "unknown");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                a_second_process_of_the_role_is_refused_with_the_pid_of_the_first, stage_set_up,
	                stage_tear_down),
	        cmocka_unit_test_setup_teardown(a_successor_waits_for_a_predecessor_that_is_dying,
	                                        stage_set_up, stage_tear_down),
	        cmocka_unit_test_setup_teardown(a_role_that_never_was_is_not_alive, stage_set_up,
	                                        stage_tear_down),
	};
	if (argc > 1)
		return stage_main(argc, argv, &echo_stage);
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
