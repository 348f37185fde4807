/* millrace clean, called again and again in one process: whatever it finds, it leaves no descriptor
 * open. */
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "event/event.h"
#include "base/log.h"
#include "tests/fixture/descriptors.h"
#include "tests/fixture/lock_holder.h"
#include "tests/fixture/segments.h"

#define TIMES 20u
#define SPARE 12u /* descriptors: more than are needed at one time */

static const char config[] = "ingest: {udp: [{listen: ':1', buffers: 16}]}\ntopics: {ip: {size: 64KiB}}";

/* ---- what the command needs of its program ---- */

int command_fail(const char *name, const char *text, ...)
{
	(void)name;
	(void)text;
	return 1;
}

const char *command_instance(void)
{
	return "test";
}

int command_no_instance(const char *command, const char *name, int result, const struct shm_error *error)
{
	(void)command;
	(void)name;
	(void)result;
	(void)error;
	return 1;
}

/* ---- calling it ---- */

/* What it prints goes to /dev/null. */
static int clean(bool force)
{
	char *argv[] = {(char *)(uintptr_t) "clean", (char *)(uintptr_t) "--force", NULL};
	fflush(stdout);
	fflush(stderr);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), output = dup(1), errors = dup(2);
	assert_true(null >= 0 && output >= 0 && errors >= 0);
	dup2(null, 1);
	dup2(null, 2);
	int status = command_clean(force ? 2 : 1, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(output, 1);
	dup2(errors, 2);
	close(null);
	close(output);
	close(errors);
	return status;
}

/* The same with few descriptors left. */
static void clean_with(unsigned spare)
{
	struct rlimit limit = descriptors_limit(spare + 3);
	(void)clean(false);
	descriptors_unlimit(&limit);
}

static void instance_with_nothing_in_it(void)
{
	struct segments segments = {0};
	must_apply(&segments, config);
	segments_fini(&segments);
}

static void write_a_record(void)
{
	struct instance instance;
	struct topic_writer writer;
	struct shm_error error = {""};
	if (instance_attach(&instance, "test", SEGMENT_READ, &error) != 0 ||
	    topic_writer_attach(&writer, &instance, "ip", "ingest-udp.0", &error) != 0)
		fail_msg("%s", error.text);
	char *at = stream_reserve(&writer.stream, record_bytes(64));
	assert_non_null(at);
	memset(record_put(at, EVENT_OUTSIDE, 64), 0, 64);
	stream_commit(&writer.stream, record_bytes(64), 1);
	topic_writer_detach(&writer);
	instance_detach(&instance);
}

/* ---- the tests ---- */

static void expect_refusals_that_leave_nothing_open(void)
{
	unsigned before = descriptors_open();
	for (unsigned i = 0; i < TIMES; i++)
		assert_int_equal(clean(false), 1);
	assert_int_equal(descriptors_open(), before);
	for (unsigned spare = 0; spare < SPARE; spare++) {
		clean_with(spare);
		assert_int_equal(descriptors_open(), before);
	}
}

static void of_an_instance_that_has_left_nothing(void **state)
{
	(void)state;
	assert_int_equal(rmdir(sandbox.directory), 0);
	expect_refusals_that_leave_nothing_open();
}

static void of_an_instance_that_runs_or_is_read(void **state)
{
	(void)state;
	static const char *const file[] = {"lock", "tally.0.role"};
	instance_with_nothing_in_it();
	for (unsigned i = 0; i < 2; i++) {
		pid_t child = lock_holder_start(sandbox.directory, file[i]);
		expect_refusals_that_leave_nothing_open();
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

static void of_an_instance_in_which_something_waits(void **state)
{
	(void)state;
	instance_with_nothing_in_it();
	write_a_record();
	expect_refusals_that_leave_nothing_open();
	assert_int_equal(clean(true), 0);
}

static void of_an_instance_whose_page_is_damaged(void **state)
{
	(void)state;
	char path[160];
	instance_with_nothing_in_it();
	snprintf(path, sizeof path, "%s/instance", sandbox.directory);
	assert_int_equal(truncate(path, 100), 0);
	expect_refusals_that_leave_nothing_open();
	assert_int_equal(clean(true), 0);
}

static void of_an_instance_that_is_removed(void **state)
{
	(void)state;
	unsigned before = descriptors_open();
	for (unsigned i = 0; i < TIMES; i++) {
		(void)mkdir(sandbox.directory, 0700);
		instance_with_nothing_in_it();
		assert_int_equal(clean(i % 2 == 0), 0);
		assert_int_equal(access(sandbox.directory, F_OK), -1);
		assert_int_equal(descriptors_open(), before);
	}
	for (unsigned spare = 0; spare < SPARE; spare++) {
		(void)mkdir(sandbox.directory, 0700);
		instance_with_nothing_in_it();
		clean_with(spare);
		assert_int_equal(descriptors_open(), before);
	}
}

int main(void)
{
	alarm(60);
	log_init("clean_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(of_an_instance_that_has_left_nothing, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(of_an_instance_that_runs_or_is_read, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(of_an_instance_in_which_something_waits, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(of_an_instance_whose_page_is_damaged, segments_set_up,
	                                        segments_tear_down),
	        cmocka_unit_test_setup_teardown(of_an_instance_that_is_removed, segments_set_up,
	                                        segments_tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
