/* Files that options name (stage/file.h), with a stage that keeps what it loads as text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "stage/stage.h"

#define KEY "enrich.agent_rules"

static char folder[] = "/tmp/millrace-stage-file.XXXXXX";
static char path[64];

static struct {
	struct stage stage;
	struct control control;
	char in_force[64];
	unsigned replaced;
} place;

/* A file is good when it begins with "good". */
static int load(const struct config *config, const char *file_path, void **loaded, struct shm_error *error)
{
	char text[64] = "";
	(void)config;
	FILE *file = fopen(file_path, "re");
	if (file == NULL) {
		int result = -errno;
		shm_explain(error, "%s: %s", file_path, strerror(-result));
		return result;
	}
	size_t n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = '\0';
	if (strncmp(text, "good", 4) != 0) {
		shm_explain(error, "%s:1: is \"%s\"", file_path, text);
		return -EINVAL;
	}
	*loaded = strdup(text);
	return *loaded == NULL ? -ENOMEM : 0;
}

static void replace(struct stage *stage, void *loaded)
{
	assert_ptr_equal(stage, &place.stage);
	snprintf(place.in_force, sizeof place.in_force, "%s", (char *)loaded);
	free(loaded);
	place.replaced++;
}

static const struct stage_file files[] = {
        {.option = "agent_rules", .load = load, .discard = free, .replace = replace},
        {.option = "country_database", .dispensable = true, .load = load, .discard = free},
};
static const struct stage_ops ops = {.name = "enrich", .files = files, .n_files = 2};

static void write_file(const char *text)
{
	char new_path[80];
	snprintf(new_path, sizeof new_path, "%s.new", path);
	FILE *file = fopen(new_path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(new_path, path), 0);
}

static struct config *configure(const char *rules, const char *database)
{
	char text[256], *errors = NULL;
	snprintf(text, sizeof text, "enrich: {agent_rules: \"%s\", country_database: \"%s\"}\n", rules,
	         database);
	struct config *config = config_load_text("f.yaml", text, strlen(text), NULL, 0, &errors);
	assert_non_null(config);
	return config;
}

/* As stage.c does it; init_reason is why init could not read the file, NULL if it could. */
static void start(const char *rules, const char *init_reason)
{
	struct shm_error error;
	memset(&place, 0, sizeof place);
	place.stage = (struct stage){
	        .ops = &ops, .role = "enrich.0", .control = &place.control, .config = configure(rules, "")};
	assert_int_equal(stage_files_begin(&place.stage, &error), 0);
	if (init_reason != NULL)
		stage_file_report(&place.stage, "agent_rules", false, init_reason);
	stage_files_started(&place.stage);
}

static int end(void **state)
{
	(void)state;
	stage_files_end(&place.stage);
	config_free(place.stage.config);
	place.stage.config = NULL;
	unlink(path);
	return 0;
}

static struct control_file shown(void)
{
	struct control_file file;
	assert_true(control_read_file(&place.control, 0, &file));
	assert_string_equal(file.option, KEY);
	return file;
}

static void tick(uint64_t ms_later)
{
	place.stage.now_ns += ms_later * NS_PER_MS;
	stage_files_tick(&place.stage);
}

static void reload(void)
{
	atomic_fetch_add(&place.control.reloads, 1);
	tick(100);
}

static void what_is_named_at_the_start_is_in_force_and_shown(void **state)
{
	(void)state;
	struct control_file none;
	write_file("good 1");
	start(path, NULL);
	struct control_file file = shown();
	assert_string_equal(file.path, path);
	assert_string_equal(file.refusal, "");
	assert_true(file.in_force_ns != 0 && clock_real_ns() - file.in_force_ns < 60 * NS_PER_SEC);
	assert_int_equal(file.refused_ns, 0);
	assert_false(control_read_file(&place.control, 1, &none)); /* the database is not named */
}

static void a_file_is_read_again_when_it_changed_and_that_is_asked_for(void **state)
{
	(void)state;
	write_file("good 1");
	start(path, NULL);
	uint64_t first_ns = shown().in_force_ns;
	reload();
	assert_int_equal(place.replaced, 0);
	assert_int_equal(shown().in_force_ns, first_ns);
	write_file("good 2");
	for (unsigned i = 0; i < 50; i++)
		tick(100);
	assert_int_equal(place.replaced, 0); /* nobody asked */
	reload();
	assert_int_equal(place.replaced, 1);
	assert_string_equal(place.in_force, "good 2");
	assert_true(shown().in_force_ns > first_ns);
	tick(5000);
	reload();
	assert_int_equal(place.replaced, 1);
}

static void a_broken_file_is_refused_with_the_reason_and_the_old_one_goes_on(void **state)
{
	(void)state;
	char reason[100];
	write_file("good 1");
	start(path, NULL);
	uint64_t first_ns = shown().in_force_ns;
	write_file("bad\x1b[1m");
	reload();
	snprintf(reason, sizeof reason, "%s:1: is \"bad?[1m\"", path);
	assert_string_equal(shown().refusal, reason);
	assert_true(shown().refused_ns != 0);
	assert_int_equal(shown().in_force_ns, first_ns);
	tick(5000); /* something is in force: nothing is tried without being asked */
	write_file("good 3");
	reload();
	assert_string_equal(place.in_force, "good 3");
	assert_string_equal(shown().refusal, "");
	assert_int_equal(shown().refused_ns, 0);
	assert_int_equal(unlink(path), 0);
	reload();
	snprintf(reason, sizeof reason, "%s: %s", path, strerror(ENOENT));
	assert_string_equal(shown().refusal, reason);
	assert_string_equal(place.in_force, "good 3");
	assert_int_equal(place.replaced, 1);
}

static void what_the_start_could_not_read_is_tried_again_until_it_is_good(void **state)
{
	(void)state;
	char reason[100];
	write_file("bad");
	snprintf(reason, sizeof reason, KEY ": %s:1: is \"bad\"", path);
	start(path, reason);
	assert_string_equal(shown().refusal, reason + strlen(KEY ": "));
	assert_int_equal(shown().in_force_ns, 0);
	for (unsigned i = 0; i < 30; i++)
		tick(100);
	assert_int_equal(place.replaced, 0);
	write_file("good at last");
	for (unsigned i = 0; i < 11; i++)
		tick(100);
	assert_int_equal(place.replaced, 1);
	assert_string_equal(place.in_force, "good at last");
	assert_true(shown().in_force_ns != 0);
}

static void a_file_that_changes_between_the_start_and_its_reading_is_read_again(void **state)
{
	(void)state;
	struct shm_error error;
	memset(&place, 0, sizeof place);
	write_file("good 1");
	place.stage = (struct stage){
	        .ops = &ops, .role = "enrich.0", .control = &place.control, .config = configure(path, "")};
	assert_int_equal(stage_files_begin(&place.stage, &error), 0);
	write_file("good 2"); /* init reads either */
	atomic_fetch_add(&place.control.reloads, 1);
	stage_files_started(&place.stage);
	tick(100);
	assert_int_equal(place.replaced, 1);
	assert_string_equal(place.in_force, "good 2");
}

/* What --check prints for the section. */
static char *findings(const char *rules, const char *database)
{
	char *text = NULL;
	size_t bytes;
	struct config *config = configure(rules, database);
	FILE *out = open_memstream(&text, &bytes);
	assert_int_equal(stage_files_check(&ops, config, "enrich", out), 0);
	fclose(out);
	config_free(config);
	return text;
}

static void expect_findings(const char *rules, const char *database, const char *expected)
{
	char *text = findings(rules, database);
	assert_string_equal(text, expected);
	free(text);
}

static void a_check_tells_what_cannot_start_what_is_done_without_and_what_may_come(void **state)
{
	(void)state;
	char expected[300];
	write_file("good");
	expect_findings("", "", "");
	expect_findings(path, path, "");
	snprintf(expected, sizeof expected, "refused " KEY ": /nowhere/file: %s\n", strerror(ENOENT));
	expect_findings("/nowhere/file", path, expected);
	snprintf(expected, sizeof expected, "missing enrich.country_database: /nowhere/file: %s\n",
	         strerror(ENOENT));
	expect_findings(path, "/nowhere/file", expected);
	write_file("bad");
	snprintf(expected, sizeof expected,
	         "refused " KEY ": %s:1: is \"bad\"\nwithout enrich.country_database: %s:1: is \"bad\"\n",
	         path, path);
	char *text = findings(path, path);
	assert_true(strstr(text, "refused " KEY) != NULL &&
	            strstr(text, "without enrich.country_database") != NULL);
	assert_int_equal(strlen(text), strlen(expected));
	free(text);
}

/* Whose unit has them: not this process. */
static void a_credential_that_is_elsewhere_is_taken_as_set(void **state)
{
	(void)state;
	char expected[300];
	write_file("bad");
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	expect_findings(
	        "credential:rules", "credential:database",
	        "unseen enrich.country_database: the credential database is not here, so nobody has looked at it\n"
	        "unseen " KEY ": the credential rules is not here, so nobody has looked at it\n");
	/* One that is here is looked at. */
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
	snprintf(expected, sizeof expected, "credential:%s", strrchr(path, '/') + 1);
	char *text = findings(expected, "");
	snprintf(expected, sizeof expected, "refused " KEY ": %s:1: is \"bad\"\n", path);
	assert_string_equal(text, expected);
	free(text);
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static int check_else(const struct config *config, const char *section, struct shm_error *error)
{
	if (config_string(config, "enrich.pod")[0] == '\0')
		return 0;
	shm_explain(error, "%s.pod: cannot be opened", section);
	return -EACCES;
}

static void a_check_tries_what_else_the_stage_opens(void **state)
{
	(void)state;
	static const struct stage_ops more = {
	        .name = "enrich", .files = files, .n_files = 2, .check = check_else};
	static const char *const pod[] = {"enrich.pod=x"};
	for (unsigned bad = 0; bad < 2; bad++) {
		char *errors = NULL, *text = NULL;
		size_t bytes;
		struct config *config = config_load_text("f.yaml", "{}\n", 3, pod, bad, &errors);
		assert_non_null(config);
		FILE *out = open_memstream(&text, &bytes);
		assert_int_equal(stage_files_check(&more, config, "enrich", out), 0);
		fclose(out);
		assert_string_equal(text, bad ? "refused enrich.pod: cannot be opened\n" : "");
		free(text);
		config_free(config);
	}
}

/* The text cites the file. */
static void a_file_cannot_forge_a_finding(void **state)
{
	(void)state;
	write_file("bad\nmissing enrich.pod: forged\x1b[2J");
	char *text = findings(path, "");
	assert_int_equal(strncmp(text, "refused " KEY, strlen("refused " KEY)), 0);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_null(strchr(text, '\x1b'));
	free(text);
}

static int make_folder(void **state)
{
	(void)state;
	log_init("stage_file_test", LOG_ERROR + 1, LOG_TEXT);
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/file", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(what_is_named_at_the_start_is_in_force_and_shown, end),
	        cmocka_unit_test_teardown(a_file_is_read_again_when_it_changed_and_that_is_asked_for, end),
	        cmocka_unit_test_teardown(a_broken_file_is_refused_with_the_reason_and_the_old_one_goes_on,
	                                  end),
	        cmocka_unit_test_teardown(what_the_start_could_not_read_is_tried_again_until_it_is_good, end),
	        cmocka_unit_test_teardown(a_file_that_changes_between_the_start_and_its_reading_is_read_again,
	                                  end),
	        cmocka_unit_test_teardown(
	                a_check_tells_what_cannot_start_what_is_done_without_and_what_may_come, end),
	        cmocka_unit_test_teardown(a_credential_that_is_elsewhere_is_taken_as_set, end),
	        cmocka_unit_test_teardown(a_check_tries_what_else_the_stage_opens, end),
	        cmocka_unit_test_teardown(a_file_cannot_forge_a_finding, end),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
