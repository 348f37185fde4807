/* Entries of several kinds in one list, sections within entries, secrets. The options and the rows
 * of checks.def are this program's own besides those of sinks that the product has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture/config.h"

const struct config_option *built_in_options(size_t *n);

#define config_options built_in_options
#include "config/options.c"
#undef config_options

static const struct config_option more_options[] = {
        OPTION("sinks[].place.bucket.name", STRING, "", "0", "60", "", "where")        //
        OPTION("sinks[].place.bucket.secret_word", SECRET, "", "0", "20", "", "a key") //
        OPTION("sinks[].place.folder", PATH, "", "0", "60", "", "a folder")            //
        OPTION("sinks[].place.after", DURATION, "60m", "1s", "1d", "", "a time")       //
};

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

const struct config_option *config_options(size_t *n)
{
	static struct config_option all[512];
	const struct config_option *some = built_in_options(n);
	assert_true(*n + N_OF(more_options) <= N_OF(all));
	memcpy(all, some, *n * sizeof *some);
	memcpy(all + *n, more_options, sizeof more_options);
	*n += N_OF(more_options);
	return all;
}

static char *written(const struct config *config, const char *section)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	assert_non_null(out);
	assert_int_equal(config_write(config, section, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_same_after_writing(const struct config *config)
{
	char *text = written(config, "");
	struct config *again = load(text, "");
	assert_true(config_same(config, again, ""));
	config_free(again);
	free(text);
}

static void a_section_within_an_entry_has_its_values(void **state)
{
	(void)state;
	struct config *config = load("sinks:\n"
	                             "- {name: a, kind: null, topics: log, place: {bucket: {name: b}}}\n"
	                             "- {name: c, kind: 'null', topics: log}\n",
	                             "sinks[1].place.after=5m");
	assert_string_equal(config_string(config, "sinks[0].place.bucket.name"), "b");
	assert_string_equal(config_string(config, "sinks[1].place.bucket.name"), "");
	assert_int_equal(config_ns(config, "sinks[0].place.after"), 3600000000000);
	assert_int_equal(config_ns(config, "sinks[%d].place.after", 1), 300000000000);
	assert_same_after_writing(config);
	config_free(config);
}

static void an_option_of_another_kind_is_refused_with_what_is_allowed(void **state)
{
	(void)state;
	assert_one_error(
	        "sinks:\n"
	        "- {name: a, kind: file, topics: [log],\n"
	        "   key: x}\n",
	        "",
	        "f.yaml:3: sinks[0].key: is for kind objects kafka, this entry is of kind file; allowed: name, kind, topics, filter, format");
	/* The default is a kind, too. */
	struct config *config = load("sinks: [{name: a, topics: [log], key: '{date}'}]\n", "");
	assert_string_equal(config_string(config, "sinks[0].key"), "{date}");
	config_free(config);
	/* A kind that there is not is one error, not one for each option. */
	assert_one_error("sinks: [{name: a, kind: files, topics: [log], key: x}]\n", "",
	                 "f.yaml:1: sinks[0].kind: \"files\" is not a kind; allowed: objects, kafka, file");
}

static void what_an_entry_of_a_kind_does_not_have_is_not_there(void **state)
{
	(void)state;
	struct config *config = load("sinks:\n"
	                             "- {name: a, kind: file, topics: [log]}\n"
	                             "- {name: b, kind: objects, topics: [log]}\n",
	                             "");
	char *text = written(config, "");
	const char *first = strstr(text, "name: \"a\""), *second = strstr(text, "name: \"b\"");
	assert_non_null(first);
	assert_non_null(second);
	assert_null(memmem(first, (size_t)(second - first), "key:", 4));
	assert_non_null(strstr(second, "key: \"\""));
	free(text);
	assert_same_after_writing(config);
	pid_t pid = fork();
	if (pid == 0) {
		(void)freopen("/dev/null", "w", stderr);
		(void)config_string(config, "sinks[0].key"); /* our own bug */
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	config_free(config);
}

static void entries_can_be_compared_at_other_places(void **state)
{
	(void)state;
	struct config *a = load("sinks: [{name: x, kind: file, topics: log}, {name: y, topics: log}]\n", "");
	struct config *b = load("sinks: [{name: y, topics: log}, {name: x, kind: file, topics: log}]\n", "");
	assert_true(config_same_entry(a, "sinks[0]", b, "sinks[1]"));
	assert_true(config_same_entry(a, "sinks[1]", b, "sinks[0]"));
	assert_false(config_same_entry(a, "sinks[0]", b, "sinks[0]"));
	assert_false(config_same_entry(b, "sinks[0]", a, "sinks[0]"));
	assert_false(config_same_entry(a, "sinks[0]", b, "sinks[2]"));
	config_free(a);
	config_free(b);
}

static void names_of_entries_are_checked(void **state)
{
	(void)state;
	assert_one_error("sinks:\n- {name: 'A b', topics: log}\n", "",
	                 "f.yaml:2: sinks[0].name: \"A b\" cannot be a name; allowed: a-z 0-9 _ -");
	assert_one_error("sinks:\n- {name: a.b, topics: log}\n", "",
	                 "f.yaml:2: sinks[0].name: \"a.b\" cannot be a name; allowed: a-z 0-9 _ -");
	assert_one_error(
	        "sinks:\n- {name: a, topics: log}\n- {name: b, topics: log}\n- {name: a, topics: ip}\n", "",
	        "f.yaml:4: sinks[2].name: \"a\" is the name of sinks[0] too; allowed: each name once");
	assert_one_error(
	        "sinks:\n- {name: a23456789012345678901, topics: log}\n", "",
	        "f.yaml:2: sinks[0].name: above the greatest value, 20 bytes; allowed: 1 to 20 bytes");
	assert_errors("sinks:\n- {kind: file}\n", "",
	              "f.yaml:2: sinks[0].name: is missing; allowed: 1 to 20 bytes\n"
	              "f.yaml:2: sinks[0].topics: is missing; allowed: 1 to 16 items\n");
	assert_one_error("sinks:\n- {name: '', topics: log}\n", "",
	                 "f.yaml:2: sinks[0].name: is empty; allowed: 1 to 20 bytes");
}

static void paths_become_absolute_for_programs_that_run_elsewhere(void **state)
{
	(void)state;
	char *error = NULL;
	struct config *config =
	        load("sinks: [{name: a, topics: log, place: {folder: here/there}},\n"
	             "        {name: b, topics: log, place: {folder: /there}}, {name: c, topics: log}]",
	             "");
	assert_int_equal(config_make_absolute(config, "/home", &error), 0);
	assert_string_equal(config_string(config, "sinks[0].place.folder"), "/home/here/there");
	assert_string_equal(config_string(config, "sinks[1].place.folder"), "/there");
	assert_string_equal(config_string(config, "sinks[2].place.folder"), "");
	config_free(config);
}

#define ONE_SECRET \
	"sinks: [{name: a, kind: 'null', topics: log, place: {bucket: {name: b, secret_word: hush}}}]\n"

static void a_secret_is_written_for_its_section_and_masked_for_all_others(void **state)
{
	(void)state;
	struct config *config = load(ONE_SECRET, "");
	assert_string_equal(config_string(config, "sinks[0].place.bucket.secret_word"), "hush");
	char *masked = written(config, NULL), *whole = written(config, "");
	assert_null(strstr(masked, "hush"));
	assert_non_null(strstr(masked, "secret_word: \"***\""));
	assert_non_null(strstr(whole, "secret_word: \"hush\""));
	free(masked);
	free(whole);
	config_free(config);
	/* Whether there is one may be known. */
	config = load("sinks: [{name: a, kind: 'null', topics: log}]\n", "");
	masked = written(config, NULL);
	assert_non_null(strstr(masked, "secret_word: \"\""));
	free(masked);
	config_free(config);
}

static void no_error_shows_a_secret(void **state)
{
	(void)state;
	static const char *const sets[] = {
	        "sinks[0].place.bucket.secret_word=hush-that-is-longer-than-twenty-bytes",
	        "sinks[0].place.bucket.secret_word=[hush]",
	        "sinks[0].place={bucket: {secret_word: hush-that-is-longer-than-twenty-bytes}}",
	        "sinks=[{secret_word: hush}]",
	        "sinks[7].place.bucket.secret_word=hush",
	};
	for (size_t i = 0; i < N_OF(sets); i++) {
		char *errors = errors_of(ONE_SECRET, sets[i]);
		if (strstr(errors, "hush") != NULL || strstr(errors, "=***: ") == NULL)
			fail_msg("%s", errors);
		free(errors);
	}
	assert_one_error(
	        "sinks: [{name: a, topics: log, place: {bucket: {secret_word: 'hush hush hush hush!!'}}}]\n",
	        "", "f.yaml:1: sinks[0].place.bucket.secret_word: above the greatest value, 20 bytes");
	/* A value that only resembles one is shown. */
	char *errors = errors_of(ONE_SECRET, "data_dir=[a_secret_words]");
	assert_non_null(strstr(errors, "a_secret_words"));
	free(errors);
}

static void what_nobody_wrote_is_known(void **state)
{
	(void)state;
	struct config *config = load(NULL, "tally.log_limit=32MiB");
	assert_false(config_written(config, "ingest.udp[0].listen"));
	assert_false(config_written(config, "ingest"));
	assert_true(config_written(config, "tally.log_limit"));
	assert_false(config_written(config, "tally.commit_interval"));
	assert_false(config_written(config, "ingest.udp[7].listen"));
	config_free(config);
	config = load("ingest: {udp: [{format: raw}]}\n", "");
	assert_true(config_written(config, "ingest.udp[0].format"));
	assert_true(config_written(config, "ingest.%s", "udp"));
	assert_false(config_written(config, "ingest.udp[0].listen"));
	config_free(config);
}

static void an_empty_list_of_entries_is_still_empty_after_writing(void **state)
{
	(void)state;
	struct config *config = load("sinks: []\ningest: {udp: []}\n", "");
	assert_int_equal(config_count(config, "sinks"), 0);
	char *text = written(config, "");
	assert_non_null(strstr(text, "sinks: []"));
	assert_non_null(strstr(text, "udp: []"));
	free(text);
	assert_same_after_writing(config);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_section_within_an_entry_has_its_values),
	        cmocka_unit_test(an_option_of_another_kind_is_refused_with_what_is_allowed),
	        cmocka_unit_test(what_an_entry_of_a_kind_does_not_have_is_not_there),
	        cmocka_unit_test(entries_can_be_compared_at_other_places),
	        cmocka_unit_test(names_of_entries_are_checked),
	        cmocka_unit_test(paths_become_absolute_for_programs_that_run_elsewhere),
	        cmocka_unit_test(a_secret_is_written_for_its_section_and_masked_for_all_others),
	        cmocka_unit_test(no_error_shows_a_secret),
	        cmocka_unit_test(what_nobody_wrote_is_known),
	        cmocka_unit_test(an_empty_list_of_entries_is_still_empty_after_writing),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
