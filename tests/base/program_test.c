/* Where the programs of this installation are. */
#include "base/program.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void the_environment_says_where_the_stages_are(void **state)
{
	(void)state;
	char folder[PATH_MAX];
	setenv("MILLRACE_LIBEXEC", "/srv/stages", 1);
	assert_int_equal(program_libexec(folder, sizeof folder), 0);
	assert_string_equal(folder, "/srv/stages");
	assert_int_equal(program_libexec(folder, sizeof "/srv/stages"), 0);
	assert_int_equal(program_libexec(folder, sizeof "/srv/stages" - 1), -ENAMETOOLONG);
}

static void else_they_are_in_libexec_of_the_root(void **state)
{
	(void)state;
	char root[PATH_MAX], folder[PATH_MAX], expected[PATH_MAX + 32];
	assert_int_equal(program_root(root, sizeof root), 0);
	snprintf(expected, sizeof expected, "%s/libexec/millrace", root);
	unsetenv("MILLRACE_LIBEXEC");
	assert_int_equal(program_libexec(folder, sizeof folder), 0);
	assert_string_equal(folder, expected);
	setenv("MILLRACE_LIBEXEC", "", 1);
	assert_int_equal(program_libexec(folder, sizeof folder), 0);
	assert_string_equal(folder, expected);
	assert_int_equal(program_libexec(folder, 4), -ENAMETOOLONG);
	assert_int_equal(program_root(root, 1), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_environment_says_where_the_stages_are),
	        cmocka_unit_test(else_they_are_in_libexec_of_the_root),
	};
	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
