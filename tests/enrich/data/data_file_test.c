/* Where the files are looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enrich/data/data_file.h"

/* The folder above the one that this program lies in. */
static void find_root(char root[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", root, PATH_MAX - 1);
	assert_true(n > 0);
	root[n] = '\0';
	for (unsigned i = 0; i < 2; i++)
		*strrchr(root, '/') = '\0';
}

static void a_configured_path_is_taken_as_it_is(void **state)
{
	(void)state;
	char path[PATH_MAX];
	assert_int_equal(data_file_find(path, sizeof path, "/nowhere/at/all.mmdb", DATA_FILE_COUNTRY), 0);
	assert_string_equal(path, "/nowhere/at/all.mmdb");
	assert_int_equal(data_file_find(path, 10, "/nowhere/at/all.mmdb", DATA_FILE_COUNTRY), -ENAMETOOLONG);
}

static void without_one_it_is_below_the_tree_that_the_program_lies_in(void **state)
{
	(void)state;
	char root[PATH_MAX], path[PATH_MAX], expected[PATH_MAX + 64];
	find_root(root);
	static const char *const files[] = {DATA_FILE_COUNTRY, DATA_FILE_AGENTS};
	for (unsigned i = 0; i < 2; i++) {
		snprintf(expected, sizeof expected, "%s/share/millrace/%s", root, files[i]);
		int result = data_file_find(path, sizeof path, "", files[i]);
		if (access(expected, R_OK) == 0)
			assert_int_equal(result, 0);
		if (result == 0)
			assert_int_equal(access(path, R_OK), 0);
		if (result != 0 || access(expected, R_OK) == 0)
			assert_string_equal(path, expected);
	}
}

static void what_is_nowhere_is_looked_for_there_later(void **state)
{
	(void)state;
	char root[PATH_MAX], path[PATH_MAX], expected[PATH_MAX + 64];
	find_root(root);
	snprintf(expected, sizeof expected, "%s/share/millrace/no-such-file", root);
	assert_int_equal(data_file_find(path, sizeof path, NULL, "no-such-file"), -ENOENT);
	assert_string_equal(path, expected);
	assert_int_equal(data_file_find(path, 20, NULL, "no-such-file"), -ENAMETOOLONG);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_configured_path_is_taken_as_it_is),
	        cmocka_unit_test(without_one_it_is_below_the_tree_that_the_program_lies_in),
	        cmocka_unit_test(what_is_nowhere_is_looked_for_there_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
