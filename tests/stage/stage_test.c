/* The life of a stage: start, loop, drain, death, and what its command line says. */
#include "tests/fixture/stage.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static void a_failing_init_exits_1_with_one_line_that_says_why(void **state)
{
	struct stage_fixture *stage = *state;
	stage->work->fail_init = 1;
	pid_t pid = start_stage(stage);
	assert_int_equal(status_of(pid), 1);
	char expected[200];
	snprintf(
	        expected, sizeof expected,
	        "error echo[%d] cannot start role=echo.0 reason=the work of echo.0 cannot be found; look under the sofa\n",
	        (int)pid);
	assert_string_equal(output_of(stage, "err"), expected);
	assert_int_equal(stage->control->state, STAGE_FAILED);
}

static void what_cannot_start_says_why_in_one_line(void **state)
{
	struct stage_fixture *stage = *state;
	static const struct {
		const char *instance, *role, *socket, *why;
	} cases[] = {
	        {"none", ROLE, "0", "is not running"},
	        {"../x", ROLE, "0", "a name has 1 to 31"},
	        {"test", "echo.7", "0", "the instance has no role \"echo.7\""},
	        {"test", "echo", "0", "the instance has no role \"echo\""},
	        {"test", "other.0", "0", "the role \"other.0\" is for the program other"},
	        {"test", ROLE, "77", "--socket 77: Bad file descriptor"},
	        {"test", "echo.1", "0", "echo.1.stage"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		unsigned before = lines_of(output_of(stage, "err"));
		pid_t pid = start_with(stage, "--instance", cases[i].instance, "--role", cases[i].role,
		                       "--socket", cases[i].socket);
		assert_int_equal(status_of(pid), 1);
		const char *said = output_of(stage, "err");
		assert_int_equal(lines_of(said), before + 1);
		if (strstr(said, cases[i].why) == NULL)
			fail_msg("no \"%s\" in:\n%s", cases[i].why, said);
	}
}

static void a_broken_configuration_is_told_line_by_line(void **state)
{
	struct stage_fixture *stage = *state;
	write_file(stage->sandbox.directory, "config.yaml", "data_dir: []\nbogus: 1\n");
	assert_int_equal(status_of(start_stage(stage)), 1);
	const char *said = output_of(stage, "err");
	assert_int_equal(lines_of(said), 3);
	assert_non_null(strstr(said, "config.yaml:1: data_dir: is a list"));
	assert_non_null(strstr(said, "config.yaml:2: bogus: unknown key"));
}

static void sigterm_finishes_the_work_at_hand_and_exits_0(void **state)
{
	struct stage_fixture *stage = *state;
	char note[CONTROL_NOTE_BYTES];
	stage->work->jobs = 300;
	control_note(stage->control, "of a former life");
	pid_t pid = start_stage(stage);
	wait_until(stage->work->done > 0);
	kill(pid, SIGTERM);
	wait_until(stage->control->state == STAGE_DRAINING);
	assert_true(stage->work->jobs > 0);
	assert_int_equal(status_of(pid), 0);
	assert_int_equal(stage->work->jobs, 0);
	assert_int_equal(stage->work->done, 300);
	assert_int_equal(stage->work->finis, 1);
	assert_int_equal(stage->control->state, STAGE_ENDED);
	control_read_note(stage->control, note);
	assert_string_equal(note, "");
	/* started, draining, ended; and what the kernel lacks for the sandbox, if anything */
	const char *said = output_of(stage, "err");
	assert_int_equal(lines_of(said), strstr(said, "the sandbox is not complete") == NULL ? 3 : 4);
}

static void a_draining_stage_stays_until_it_says_that_it_has_drained(void **state)
{
	struct stage_fixture *stage = *state;
	stage->work->hold = 1;
	pid_t pid = start_stage(stage);
	wait_running(stage);
	kill(pid, SIGTERM);
	wait_until(stage->control->state == STAGE_DRAINING);
	sleep_ms(100);
	assert_int_equal(kill(pid, 0), 0);
	stage->work->jobs = 3; /* the last ones come from the stages before it */
	stage->work->hold = 0;
	assert_int_equal(status_of(pid), 0);
	assert_int_equal(stage->work->jobs, 0);
}

static void a_wish_is_kept_until_the_stage_can_take_it(void **state)
{
	struct stage_fixture *stage = *state;
	sigset_t wish;
	sigemptyset(&wish);
	sigaddset(&wish, SIGUSR1);
	/* As the supervisor starts it: blocked until the handler is there. */
	sigprocmask(SIG_BLOCK, &wish, NULL);
	pid_t pid = start_stage(stage);
	kill(pid, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &wish, NULL);
	wait_running(stage);
	wait_until(stage->work->requests == 1);
	kill(pid, SIGUSR1);
	wait_until(stage->work->requests == 2);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
}

/* Removes the folder of a running stage; true when the stage has said so within a second and a
 * half. */
static bool says_that_its_folder_went(const struct stage_fixture *stage)
{
	tree_remove(stage->sandbox.directory);
	for (unsigned waited_ms = 0; waited_ms < 1500; waited_ms += 10) {
		if (strstr(output_of(stage, "err"), "folder was removed") != NULL)
			return true;
		sleep_ms(10);
	}
	return false;
}

static void a_stage_whose_folder_goes_finishes_says_so_and_exits_3(void **state)
{
	struct stage_fixture *stage = *state;
	stage->work->jobs = 100;
	pid_t pid = start_stage(stage); /* no supervisor stands in the page: it ends by itself */
	wait_running(stage);
	assert_true(says_that_its_folder_went(stage));
	assert_int_equal(status_of(pid), 3);
	assert_int_equal(stage->work->jobs, 0);
	assert_int_equal(stage->control->state, STAGE_ENDED);
}

static void a_stage_that_only_reads_waits_for_its_supervisor_when_its_folder_goes(void **state)
{
	struct stage_fixture *stage = *state;
	struct instance_page *page = stage->instance.page_segment.body;
	atomic_store(&page->supervisor_pid, (uint32_t)getpid());
	pid_t pid = start_stage(stage);
	wait_running(stage);
	assert_true(says_that_its_folder_went(stage));
	stage->work->jobs = 3; /* what the stages before it had taken */
	sleep_ms(600);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(stage->control->state, STAGE_RUNNING);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 3);
	assert_int_equal(stage->work->jobs, 0);
}

static void another_life_under_the_same_name_is_not_taken_for_a_new_page(void **state)
{
	struct stage_fixture *stage = *state;
	struct shm_error error;
	pid_t pid = start_stage(stage);
	wait_running(stage);
	assert_int_equal(segment_destroy(stage->sandbox.directory, "instance"), 0);
	assert_int_equal(segment_create(stage->sandbox.directory, "instance", SEGMENT_INSTANCE, 8,
	                                sizeof(struct instance_page), NULL, NULL, &error),
	                 0);
	assert_int_equal(status_of(pid), 3);
	assert_non_null(strstr(output_of(stage, "err"), "another life"));
}

static void sigterm_ends_a_wait_at_once(void **state)
{
	struct stage_fixture *stage = *state;
	uint64_t best_ns = UINT64_MAX;
	/* The one moment just before the wait is the bounded wait's to catch; the best of three is
	 * not that. */
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = start_stage(stage);
		wait_until(stage->control->pid == (uint32_t)pid && stage->control->state == STAGE_RUNNING);
		sleep_ms(150);
		uint64_t begin_ns = clock_monotonic_ns();
		kill(pid, SIGTERM);
		assert_int_equal(status_of(pid), 0);
		uint64_t took_ns = clock_monotonic_ns() - begin_ns;
		best_ns = took_ns < best_ns ? took_ns : best_ns;
	}
	assert_true(best_ns < 150 * NS_PER_MS);
}

static void sigint_and_sighup_are_the_supervisors_business(void **state)
{
	struct stage_fixture *stage = *state;
	pid_t pid = start_stage(stage);
	wait_running(stage);
	kill(pid, SIGINT);
	kill(pid, SIGHUP);
	kill(pid, SIGPIPE);
	sleep_ms(50);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(stage->control->state, STAGE_RUNNING);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
}

static void an_idle_stage_beats_and_hardly_wakes(void **state)
{
	struct stage_fixture *stage = *state;
	pid_t pid = start_stage(stage);
	wait_running(stage);
	sleep_ms(200);
	uint64_t polls = stage->work->polls, beat_ns = stage->control->heartbeat_ns;
	sleep_ms(1500);
	assert_in_range(stage->work->polls - polls, 1, 4);
	assert_true(stage->control->heartbeat_ns > beat_ns + 500 * NS_PER_MS);
	assert_true(clock_monotonic_ns() - stage->control->heartbeat_ns < NS_PER_SEC);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
}

static void a_busy_stage_ticks_ten_times_a_second(void **state)
{
	struct stage_fixture *stage = *state;
	stage->work->jobs = 100000;
	pid_t pid = start_stage(stage);
	wait_until(stage->work->done > 0);
	uint64_t ticks = stage->work->ticks, beat_ns = stage->control->heartbeat_ns;
	sleep_ms(600);
	assert_in_range(stage->work->ticks - ticks, 3, 7);
	assert_true(stage->control->heartbeat_ns > beat_ns);
	kill(pid, SIGKILL); /* it has minutes of work left */
	assert_int_equal(status_of(pid), 1000 + SIGKILL);
}

static void a_bell_wakes_an_idle_stage_at_once(void **state)
{
	struct stage_fixture *stage = *state;
	pid_t pid = start_stage(stage);
	wait_running(stage);
	uint64_t best_ns = UINT64_MAX;
	for (unsigned i = 1; i <= 5; i++) {
		sleep_ms(120);
		uint64_t begin_ns = clock_monotonic_ns();
		stage->work->jobs = 1;
		bell_ring(&stage->work->bell);
		wait_until(stage->work->done == i);
		uint64_t took_ns = clock_monotonic_ns() - begin_ns;
		best_ns = took_ns < best_ns ? took_ns : best_ns;
	}
	assert_true(best_ns < 50 * NS_PER_MS);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
}

static void counters_go_on_after_a_kill_and_gauges_begin_anew(void **state)
{
	struct stage_fixture *stage = *state;
	for (unsigned life = 1; life <= 3; life++) {
		stage->work->jobs = 10;
		pid_t pid = start_stage(stage);
		wait_until(stage->control->pid == (uint32_t)pid && stage->control->state == STAGE_RUNNING);
		wait_until(stage->work->jobs == 0);
		wait_until(stage->control->metric[METRIC_JOBS] == 10 * life);
		kill(pid, SIGKILL);
		assert_int_equal(status_of(pid), 1000 + SIGKILL);
		assert_false(control_alive(stage->sandbox.directory, ROLE, NULL));
		/* nobody was left to say otherwise */
		assert_int_equal(stage->control->state, STAGE_RUNNING);
	}
	assert_int_equal(stage->control->n_metrics, 2 + STAGE_METRIC_COUNT);
	assert_string_equal(stage->control->description[METRIC_LEFT].name, "left");
	assert_true(stage->control->metric[METRIC_LEFT] >= 5);
	control_declare(stage->control, echo_metrics, 2);
	assert_int_equal(stage->control->metric[METRIC_JOBS], 30);
	assert_int_equal(stage->control->metric[METRIC_LEFT], 0);
}

static void counters_keep_their_names_when_an_upgrade_moves_them(void **state)
{
	struct stage_fixture *stage = *state;
	static const struct metric_description newer[] = {METRIC_ROW(fresh, COUNTER, "new")
	                                                          METRIC_ROW(jobs, COUNTER, "moved")};
	control_declare(stage->control, echo_metrics, 2);
	metric_add(stage->control, METRIC_JOBS, 7);
	control_declare(stage->control, newer, 2);
	assert_int_equal(stage->control->metric[0], 0);
	assert_int_equal(stage->control->metric[1], 7);
	assert_string_equal(stage->control->description[1].help, "moved");
	control_declare(stage->control, NULL, 0);
	assert_int_equal(stage->control->n_metrics, 0);
}

static void a_histogram_goes_on_while_its_bounds_stay(void **state)
{
	struct stage_fixture *stage = *state;
	static const struct metric_description
	        first[] = {HISTOGRAM_ROW(took_ns, "how long", 10, 100) METRIC_ROW(jobs, COUNTER, "done")},
	        moved[] = {METRIC_ROW(jobs, COUNTER, "done") HISTOGRAM_ROW(took_ns, "how long", 10, 100)},
	        other[] = {METRIC_ROW(jobs, COUNTER, "done") HISTOGRAM_ROW(took_ns, "how long", 10, 200)};
	assert_int_equal(control_stage_word(first, 2), 5);
	control_declare(stage->control, first, 2);
	for (unsigned word = 0; word < 5; word++)
		metric_set(stage->control, word, word + 1);
	control_declare(stage->control, moved, 2);
	assert_int_equal(stage->control->metric[0], 5);
	for (unsigned word = 1; word < 5; word++)
		assert_int_equal(stage->control->metric[word], word);
	control_declare(stage->control, other, 2);
	assert_int_equal(stage->control->metric[0], 5);
	for (unsigned word = 1; word < 5; word++)
		assert_int_equal(stage->control->metric[word], 0);
}

static void the_death_of_the_parent_ends_the_stage(void **state)
{
	struct stage_fixture *stage = *state;
	/* Orphans come here, so that the stage can be waited for. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid_t middle = fork();
	if (middle == 0) {
		start_stage(stage);
		pause();
		_exit(0);
	}
	wait_running(stage);
	kill(middle, SIGKILL);
	assert_int_equal(status_of(middle), 1000 + SIGKILL);
	assert_int_equal(status_of((pid_t)stage->control->pid), 0);
	assert_int_equal(stage->control->state, STAGE_ENDED);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void another_supervisor_ends_the_stage(void **state)
{
	struct stage_fixture *stage = *state;
	struct instance_page *page = stage->instance.page_segment.body;
	page->supervisor_pid = (uint32_t)getpid();
	pid_t pid = start_stage(stage);
	wait_running(stage);
	sleep_ms(50);
	page->supervisor_pid = 1;
	assert_int_equal(status_of(pid), 0);
	assert_non_null(strstr(output_of(stage, "err"), "the supervisor is gone"));
}

static void a_stage_whose_supervisor_died_before_it_began_ends(void **state)
{
	struct stage_fixture *stage = *state;
	struct instance_page *page = stage->instance.page_segment.body;
	pid_t dead = fork();
	if (dead == 0)
		_exit(0);
	assert_int_equal(status_of(dead), 0);
	page->supervisor_pid = (uint32_t)dead;
	assert_int_equal(status_of(start_stage(stage)), 0);
	assert_non_null(strstr(output_of(stage, "err"), "the supervisor is gone"));
}

static void sockets_are_handed_down(void **state)
{
	struct stage_fixture *stage = *state;
	char number[2][16];
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	snprintf(number[0], sizeof number[0], "%d", pair[0]);
	snprintf(number[1], sizeof number[1], "%d", pair[1]);
	pid_t pid = start_with(stage, "--instance", "test", "--role", ROLE, "--socket", number[0], "--socket",
	                       number[1]);
	wait_running(stage);
	assert_int_equal(stage->work->sockets, 2);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
	close(pair[0]);
	close(pair[1]);
}

static void sockets_of_a_card_are_handed_down_with_their_gate(void **state)
{
	struct stage_fixture *stage = *state;
	pid_t pid = start_with(stage, "--instance", "test", "--role", ROLE, "--frames", "0:7:64", "--frames",
	                       "1:9:128", "--gate", "2");
	wait_running(stage);
	assert_int_equal(stage->work->frames, 2000000 + 7000 + 64 + 9000 + 128);
	kill(pid, SIGTERM);
	assert_int_equal(status_of(pid), 0);
	assert_int_equal(status_of(start_with(stage, "--instance", "test", "--role", ROLE, "--frames",
	                                      "77:0:64", "--gate", "0")),
	                 1);
	assert_non_null(strstr(output_of(stage, "err"), "--frames 77: Bad file descriptor"));
}

static void alone_it_turns_input_into_output(void **state)
{
	struct stage_fixture *stage = *state;
	char input[160], output[160];
	write_file(stage->sandbox.root, "input", "hello");
	snprintf(input, sizeof input, "%s/input", stage->sandbox.root);
	snprintf(output, sizeof output, "%s/output", stage->sandbox.root);
	assert_int_equal(
	        status_of(start_with(stage, "--input", input, "--output", output, "--set", "data_dir=/d")),
	        0);
	assert_string_equal(output_of(stage, "output"), "/d:hello");
	assert_int_equal(status_of(start_with(stage, "--input", input)), 0);
	assert_string_equal(output_of(stage, "out"), "millrace-data:hello");
	assert_int_equal(status_of(start_with(stage, "--input", "/nonexistent")), 1);
	assert_int_equal(status_of(start_with(stage, "--input", input, "--output", "/dev/full")), 1);
	assert_int_equal(status_of(start_with(stage, "--input", input, "--set", "bogus=1")), 1);
	assert_int_equal(lines_of(output_of(stage, "err")), 3);
}

static void help_tells_command_line_options_and_metrics(void **state)
{
	struct stage_fixture *stage = *state;
	assert_int_equal(status_of(start_with(stage, "--help")), 0);
	const char *help = output_of(stage, "out");
	static const char *const parts[] = {"echo: does jobs\n", "--instance NAME --role ROLE",
	                                    "--input FILE",      "tally.commit_interval\n",
	                                    "default 1s",        "jobs (counter)",
	                                    "left (gauge)"};
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (strstr(help, parts[i]) == NULL)
			fail_msg("no \"%s\" in:\n%s", parts[i], help);
	assert_null(strstr(help, "ingest.udp"));
	assert_int_equal(status_of(start_with(stage, "--version")), 0);
	assert_non_null(strstr(output_of(stage, "out"), "echo (millrace) "));
}

static void wrong_usage_exits_2_with_one_line(void **state)
{
	struct stage_fixture *stage = *state;
	static const char *const cases[][6] = {
	        {"--bogus"},
	        {"--instance"},
	        {"word"},
	        {"--instance", "test"},
	        {"--role", ROLE},
	        {"--output", "x"},
	        {"--instance", "test", "--role", ROLE, "--input"},
	        {"--input", "-", "--role", ROLE},
	        {"--instance", "test", "--role", ROLE, "--socket=x"},
	        {"--instance", "test", "--role", ROLE, "--socket=-1"},
	        {"--instance", "test", "--role", ROLE, "--frames=0:0:64"},
	        {"--instance", "test", "--role", ROLE, "--gate=0"},
	        {"--instance=test", "--role", ROLE, "--gate=0", "--frames=0:64"},
	        {"--instance=test", "--role", ROLE, "--gate=x", "--frames=0:0:64"},
	        {"--input", "-", "--frames=0:0:64", "--gate=0"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		unsigned before = lines_of(output_of(stage, "err"));
		assert_int_equal(status_of(start_program(stage, cases[i])), 2);
		assert_int_equal(lines_of(output_of(stage, "err")), before + 1);
	}
}

#define life(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        life(a_failing_init_exits_1_with_one_line_that_says_why),
	        life(what_cannot_start_says_why_in_one_line),
	        life(a_broken_configuration_is_told_line_by_line),
	        life(sigterm_finishes_the_work_at_hand_and_exits_0),
	        life(a_draining_stage_stays_until_it_says_that_it_has_drained),
	        life(a_wish_is_kept_until_the_stage_can_take_it),
	        life(a_stage_whose_folder_goes_finishes_says_so_and_exits_3),
	        life(a_stage_that_only_reads_waits_for_its_supervisor_when_its_folder_goes),
	        life(another_life_under_the_same_name_is_not_taken_for_a_new_page),
	        life(sigterm_ends_a_wait_at_once),
	        life(sigint_and_sighup_are_the_supervisors_business),
	        life(an_idle_stage_beats_and_hardly_wakes),
	        life(a_busy_stage_ticks_ten_times_a_second),
	        life(a_bell_wakes_an_idle_stage_at_once),
	        life(counters_go_on_after_a_kill_and_gauges_begin_anew),
	        life(counters_keep_their_names_when_an_upgrade_moves_them),
	        life(a_histogram_goes_on_while_its_bounds_stay),
	        life(the_death_of_the_parent_ends_the_stage),
	        life(another_supervisor_ends_the_stage),
	        life(a_stage_whose_supervisor_died_before_it_began_ends),
	        life(sockets_are_handed_down),
	        life(sockets_of_a_card_are_handed_down_with_their_gate),
	        life(alone_it_turns_input_into_output),
	        life(help_tells_command_line_options_and_metrics),
	        life(wrong_usage_exits_2_with_one_line),
	};
	if (argc > 1)
		return stage_main(argc, argv, &echo_stage);
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
