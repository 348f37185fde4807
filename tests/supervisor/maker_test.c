/* The program that made the segments, kept beside them: it is a copy of the running one, is asked
 * for when the segments are of another layout, and is run with the arguments that it is given. */
#include "supervisor/maker.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/folder.h"
#include "tests/fixture/sandbox.h"

#define AS_COPY     "--as-the-copy"
#define COPY_STATUS 42
#define FAILED      7

static struct sandbox sandbox;

static int set_up(void **state)
{
	(void)state;
	return sandbox_make(&sandbox);
}

static int tear_down(void **state)
{
	(void)state;
	sandbox_remove(&sandbox);
	return 0;
}

static void make_page(void)
{
	struct shm_error error = {""};
	assert_int_equal(
	        segment_create(sandbox.directory, "instance", SEGMENT_INSTANCE, 1, 64, NULL, NULL, &error),
	        0);
}

/* As another build would have made it. */
static void change_layout(void)
{
	uint64_t layout = ~segment_layout_hash();
	int fd = folder_open(sandbox.directory, "instance", O_WRONLY, 0);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &layout, sizeof layout, offsetof(struct segment_header, layout_hash)),
	                 sizeof layout);
	close(fd);
	assert_true(segment_layout_of(sandbox.directory, "instance") == layout);
}

static void test_it_is_needed_only_for_another_layout(void **state)
{
	struct shm_error error = {""};
	(void)state;
	assert_false(maker_is_kept(sandbox.directory));
	assert_false(maker_is_needed(sandbox.directory));
	assert_int_equal(maker_keep(sandbox.directory, &error), 0);
	assert_true(maker_is_kept(sandbox.directory));
	assert_false(maker_is_needed(sandbox.directory)); /* there are no segments */
	make_page();
	assert_false(maker_is_needed(sandbox.directory));
	change_layout();
	assert_true(maker_is_needed(sandbox.directory));
	maker_forget(sandbox.directory);
	assert_false(maker_is_needed(sandbox.directory));
}

static int run(const char *folder)
{
	static char *const argv[] = {"maker_test", AS_COPY, "word", NULL};
	struct shm_error error = {""};
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(maker_become(folder, argv, &error) < 0 && error.text[0] != '\0' ? FAILED : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_it_is_run_from_memory_with_its_arguments(void **state)
{
	struct shm_error error = {""};
	(void)state;
	assert_int_equal(maker_keep(sandbox.directory, &error), 0);
	assert_int_equal(run(sandbox.directory), COPY_STATUS);
	assert_int_equal(maker_keep(sandbox.directory, &error), 0); /* again, in the place of the first */
	assert_int_equal(run(sandbox.directory), COPY_STATUS);
}

static void test_what_others_could_have_written_or_what_is_no_program_is_not_run(void **state)
{
	char path[300];
	struct shm_error error = {""};
	(void)state;
	assert_int_equal(run(sandbox.directory), FAILED); /* none is there */
	assert_int_equal(maker_keep(sandbox.directory, &error), 0);
	snprintf(path, sizeof path, "%s/maker", sandbox.directory);
	assert_int_equal(chmod(path, 0520), 0);
	assert_int_equal(run(sandbox.directory), FAILED);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(truncate(path, 10), 0);
	assert_int_equal(run(sandbox.directory), FAILED);
}

/* It was asked since the layouts differ; a copy that finds the same would ask for ever. */
static void test_a_copy_becomes_no_copy(void **state)
{
	struct shm_error error = {""};
	static char *const argv[] = {"maker_test", NULL};
	(void)state;
	assert_int_equal(maker_keep(sandbox.directory, &error), 0);
	assert_int_equal(setenv("MILLRACE_MAKER", "1", 1), 0);
	assert_int_equal(maker_become(sandbox.directory, argv, &error), -EPROTO);
	assert_int_equal(unsetenv("MILLRACE_MAKER"), 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], AS_COPY) == 0)
		return strcmp(argv[2], "word") == 0 && getenv("MILLRACE_MAKER") != NULL ? COPY_STATUS : 1;
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_it_is_needed_only_for_another_layout, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_it_is_run_from_memory_with_its_arguments, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(
	                test_what_others_could_have_written_or_what_is_no_program_is_not_run, set_up,
	                tear_down),
	        cmocka_unit_test_setup_teardown(test_a_copy_becomes_no_copy, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
