/* What objects are called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sink/objects/name.h"

static struct store_traits traits = {.name_max = 1024, .component_max = 255};

static const char *name(const char *key, const char *suffix, unsigned attempt)
{
	static char out[JOURNAL_KEY_MAX + 1];
	out[name_make(out, &traits, key, strlen(key), suffix, attempt)] = '\0';
	return out;
}

static void attempts_have_different_names(void **state)
{
	(void)state;
	assert_string_equal(name("chat/a", "i-1", 0), "chat/a");
	assert_string_equal(name("chat/a", "i-1", 1), "chat/a_i-1");
	assert_string_equal(name("chat/a", "i-1", 2), "chat/a_i-1.2");
}

static void long_parts_are_cut_and_stay_apart(void **state)
{
	(void)state;
	char a[400], b[400], first[JOURNAL_KEY_MAX + 1];
	snprintf(a, sizeof a, "in/%0300u/x", 1);
	snprintf(b, sizeof b, "in/%0300u/x", 2);
	strcpy(first, name(a, "", 0));
	assert_int_equal(strlen(first), 3 + 255 + 2);
	assert_string_not_equal(first, name(b, "", 0));
	assert_string_equal(first, name(a, "", 0));
	assert_memory_equal(first, "in/000", 6);
	assert_string_equal(first + strlen(first) - 2, "/x");
}

static void the_suffix_is_never_cut(void **state)
{
	(void)state;
	char key[300], made[JOURNAL_KEY_MAX + 1];
	snprintf(key, sizeof key, "in/%0250u", 1);
	strcpy(made, name(key, "instance-0123456789abcdef-log-0-4096", 1));
	assert_int_equal(strlen(made), 3 + 255);
	assert_non_null(strstr(made, "_instance-0123456789abcdef-log-0-4096"));
	assert_non_null(strchr(made, '~'));
}

static void an_escape_is_never_cut_in_two(void **state)
{
	(void)state;
	char key[400];
	for (unsigned before = 0; before < 3; before++) {
		snprintf(key, sizeof key, "%.*s", (int)before, "xx");
		while (strlen(key) < 290)
			strcat(key, "%2F");
		const char *made = name(key, "", 0), *tilde = strchr(made, '~');
		assert_non_null(tilde);
		assert_int_equal((tilde - made - before) % 3, 0);
	}
}

static void a_name_that_cannot_be_made_so_short_is_none(void **state)
{
	(void)state;
	char key[JOURNAL_KEY_MAX];
	memset(key, 'x', sizeof key);
	for (unsigned i = 1; i < sizeof key; i += 2)
		key[i] = '/';
	key[sizeof key - 1] = 'x';
	struct store_traits small = {.name_max = 100};
	char out[JOURNAL_KEY_MAX];
	assert_int_equal(name_make(out, &small, key, sizeof key, "", 0), 0);
}

static void shortening_keeps_what_fits(void **state)
{
	(void)state;
	char text[] = "0123456789012345678901234567890123456789", other[sizeof text];
	assert_int_equal(name_shorten(text, 40, 40), 40);
	memcpy(other, text, sizeof text);
	other[39] = 'x';
	assert_int_equal(name_shorten(text, 40, 30), 30);
	assert_int_equal(name_shorten(other, 40, 30), 30);
	assert_memory_equal(text, "0123456789012~", 14);
	assert_memory_not_equal(text, other, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(attempts_have_different_names),
	        cmocka_unit_test(long_parts_are_cut_and_stay_apart),
	        cmocka_unit_test(the_suffix_is_never_cut),
	        cmocka_unit_test(an_escape_is_never_cut_in_two),
	        cmocka_unit_test(a_name_that_cannot_be_made_so_short_is_none),
	        cmocka_unit_test(shortening_keeps_what_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
