/* Loading configurations from text in tests. */
#ifndef TESTS_CONFIG_PLACE_H
#define TESTS_CONFIG_PLACE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stage/config.h"

/* Loads text (NULL: the embedded default) with one set ("" for none); it must be without errors. */
static inline struct config *load(const char *text, const char *set)
{
	char *errors = NULL;
	const char *const sets[] = {set};
	size_t n = set[0] != '\0';
	struct config *config = text == NULL ? config_load(NULL, sets, n, &errors)
	                                     : config_load_text("f.yaml", text, strlen(text), sets, n, &errors);
	if (config == NULL)
		print_error("%s", errors);
	assert_non_null(config);
	assert_null(errors);
	return config;
}

/* Errors of text with one set; there must be some. Free them. */
static inline char *errors_of(const char *text, const char *set)
{
	char *errors = NULL;
	const char *const sets[] = {set};
	struct config *config = config_load_text("f.yaml", text, strlen(text), sets, set[0] != '\0', &errors);
	assert_null(config);
	assert_non_null(errors);
	return errors;
}

/* The text has exactly these errors, one a line. */
static inline void assert_errors(const char *text, const char *set, const char *expected)
{
	char *errors = errors_of(text, set);
	assert_string_equal(errors, expected);
	free(errors);
}

/* The first error begins so, and there is only one. */
static inline void assert_one_error(const char *text, const char *set, const char *beginning)
{
	char *errors = errors_of(text, set);
	if (strncmp(errors, beginning, strlen(beginning)) != 0)
		print_error("expected %s\nhave     %s", beginning, errors);
	assert_memory_equal(errors, beginning, strlen(beginning));
	if (strcspn(errors, "\n") + 1 != strlen(errors))
		print_error("more than one: %s", errors);
	assert_int_equal(strcspn(errors, "\n") + 1, strlen(errors));
	free(errors);
}

#endif
