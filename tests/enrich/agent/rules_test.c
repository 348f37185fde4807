/* regexes.yaml: what is read, and what each kind of mistake is called. */
#include "enrich/agent/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enrich/agent/agent.h"
#include "tests/fixture/agent_cases.h"

static char folder[] = "/tmp/millrace-agent-rules-XXXXXX";
static char path[sizeof folder + 16];
static char error[RULES_ERROR_BYTES];

static void write_rules(const char *text, size_t bytes)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

/* Loads text; the error without the path in front is in what_is_wrong. */
static const char *what_is_wrong(const char *text, int expected)
{
	struct rules rules;
	write_rules(text, strlen(text));
	int result = rules_load(&rules, path, error);
	if (result != expected)
		fail_msg("%s: %d, %s", text, result, error);
	assert_int_equal(rules.n, 0);
	assert_null(rules.rule);
	assert_int_equal(strncmp(error, path, strlen(path)), 0);
	assert_null(strchr(error, '\n'));
	return error + strlen(path);
}

static void the_three_lists_are_read_in_the_order_of_the_file(void **state)
{
	(void)state;
	static const char text[] = "os_parsers:\n"
	                           "  - regex: '(Win)(\\d)'\n"
	                           "    os_v1_replacement: 'x$2'\n"
	                           "  - regex: \"a\\x41\"\n"
	                           "user_agent_parsers:\n"
	                           "  # comment\n"
	                           "  - regex: 'it''s'\n"
	                           "    family_replacement: 'F'\n"
	                           "    v1_replacement: '1'\n"
	                           "    v2_replacement: '2'\n"
	                           "    v3_replacement: '3'\n"
	                           "device_parsers:\n"
	                           "  - regex: 'd'\n"
	                           "    regex_flag: 'i'\n"
	                           "    device_replacement: 'D'\n"
	                           "    brand_replacement: 'B'\n"
	                           "    model_replacement: 'M'\n";
	struct rules rules;
	write_rules(text, sizeof text - 1);
	assert_int_equal(rules_load(&rules, path, error), 0);
	assert_string_equal(error, "");
	assert_int_equal(rules.n, 4);
	assert_int_equal(rules.first[RULE_AGENT], 0);
	assert_int_equal(rules.first[RULE_OS], 1);
	assert_int_equal(rules.first[RULE_DEVICE], 3);
	assert_int_equal(rules.first[RULE_LISTS], 4);
	const struct rule *rule = rules.rule;
	assert_string_equal(rule[0].regex, "it's");
	assert_int_equal(rule[0].line, 7);
	assert_string_equal(rule[0].replacement[0], "F");
	assert_string_equal(rule[0].replacement[3], "3");
	assert_null(rule[0].replacement[4]);
	assert_string_equal(rule[1].regex, "(Win)(\\d)");
	assert_null(rule[1].replacement[0]);
	assert_string_equal(rule[1].replacement[1], "x$2");
	assert_string_equal(rule[2].regex, "aA");
	assert_int_equal(rule[2].number, 2);
	assert_false(rule[2].caseless);
	assert_true(rule[3].caseless);
	assert_int_equal(rule[3].list, RULE_DEVICE);
	assert_string_equal(rule[3].replacement[1], "B");
	assert_string_equal(rule[3].replacement[2], "M");
	rules_fini(&rules);
	assert_int_equal(rules.n, 0);
}

static void each_mistake_names_its_line_and_rule(void **state)
{
	(void)state;
	static const struct {
		const char *text, *error;
	} cases[] = {
	        {"agents:\n  - regex: 'x'\n",
	         ":1: \"agents\" is not a list; allowed: user_agent_parsers, os_parsers, device_parsers"},
	        {"os_parsers:\n  - regex: 'x'\n    colour: 'y'\n",
	         ":3: os_parsers rule 1: \"colour\" is not a key; allowed: regex, regex_flag, os_replacement, os_v1_replacement, os_v2_replacement, os_v3_replacement, os_v4_replacement"},
	        {"device_parsers:\n  - regex: 'x'\n  - regex: 'y'\n    regex_flag: 'x'\n",
	         ":3: device_parsers rule 2: regex_flag: \"x\" is not a flag; allowed: i"},
	        {"os_parsers:\n  - os_replacement: 'x'\n", ":2: os_parsers rule 1: regex: missing"},
	        {"os_parsers:\n  - regex: 'x'\n    regex: 'y'\n",
	         ":3: os_parsers rule 1: regex: there twice"},
	        {"os_parsers:\n  - regex: ['x']\n", ":2: os_parsers rule 1: regex: a text expected"},
	        {"os_parsers:\n  - regex: \"a\\0b\"\n", ":2: os_parsers rule 1: regex: holds a zero byte"},
	        {"os_parsers:\n  - 'x'\n", ":2: os_parsers rule 1: a section with regex expected"},
	        {"os_parsers:\n  - [1]: 'x'\n", ":2: os_parsers rule 1: a key expected"},
	        {"os_parsers:\n  - regex: 'x'\nos_parsers:\n  - regex: 'y'\n", ":3: os_parsers: there twice"},
	        {"os_parsers: 'x'\n", ":1: a list of rules expected"},
	        {"- 'x'\n", ":1: user_agent_parsers, os_parsers or device_parsers expected"},
	        {"os_parsers: []\n", ": no rule in it"},
	        {"os_parsers:\n  - regex: 'x'\n---\nmore\n", ":3: the end of the file expected"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(what_is_wrong(cases[i].text, -EINVAL), cases[i].error);
}

static void what_is_no_yaml_is_refused_with_its_line(void **state)
{
	(void)state;
	static const char *const texts[] = {"os_parsers:\n  - regex: 'open\n",
	                                    "os_parsers:\n  - regex: \"\\q\"\n",
	                                    "os_parsers: [}\n",
	                                    "\x01\n",
	                                    "os_parsers:\n  - regex: '\xff'\n",
	                                    ""};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_non_null(strchr(what_is_wrong(texts[i], -EINVAL), ':'));
}

static void a_file_cut_anywhere_is_read_or_refused(void **state)
{
	(void)state;
	static const char text[] = "user_agent_parsers:\n  - regex: '(a)'\n    family_replacement: \"b\"\n"
	                           "device_parsers:\n  - regex: 'c'\n    regex_flag: 'i'\n";
	for (size_t bytes = 0; bytes < sizeof text; bytes++) {
		struct rules rules;
		write_rules(text, bytes);
		int result = rules_load(&rules, path, error);
		assert_int_equal(result == 0, rules.n > 0);
		assert_int_equal(result == 0, error[0] == 0);
		rules_fini(&rules);
	}
}

static void a_file_that_is_not_there_or_no_file_is_an_error(void **state)
{
	(void)state;
	struct rules rules;
	char missing[sizeof path + 16];
	snprintf(missing, sizeof missing, "%s/missing", folder);
	assert_int_equal(rules_load(&rules, missing, error), -ENOENT);
	assert_non_null(strstr(error, "No such file"));
	assert_int_equal(rules_load(&rules, folder, error), -EISDIR);
	assert_non_null(strstr(error, "not a file"));
	assert_int_equal(mkfifo(missing, 0600), 0); /* no process writes to it: reading must not wait */
	assert_int_equal(rules_load(&rules, missing, error), -EISDIR);
	unlink(missing);
	assert_null(rules.rule);
}

static void an_expression_that_does_not_compile_names_its_rule(void **state)
{
	(void)state;
	static const char text[] = "os_parsers:\n  - regex: 'fine'\n  - regex: '(open'\n";
	write_rules(text, sizeof text - 1);
	assert_null(agent_engine_create(path, AGENT_LONGEST, error));
	assert_int_equal(strncmp(error, path, strlen(path)), 0);
	assert_string_equal(error + strlen(path),
	                    ":3: os_parsers rule 2: regex: at byte 5: missing closing parenthesis");
}

static void uap_cores_own_file_is_read(void **state)
{
	(void)state;
	struct rules rules;
	const char *real = agent_cases_rules();
	if (!real) {
		printf("no regexes.yaml (make data)\n");
		skip();
	}
	assert_int_equal(rules_load(&rules, real, error), 0);
	printf("%s: %u, %u and %u rules\n", real, rules.first[1] - rules.first[0],
	       rules.first[2] - rules.first[1], rules.first[3] - rules.first[2]);
	assert_true(rules.n > 1000);
	for (uint32_t i = 1; i < rules.n; i++)
		assert_true(rules.rule[i].list > rules.rule[i - 1].list ||
		            rules.rule[i].line > rules.rule[i - 1].line);
	rules_fini(&rules);
}

static int begin(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/regexes.yaml", folder);
	return 0;
}

static int end(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_three_lists_are_read_in_the_order_of_the_file),
	        cmocka_unit_test(each_mistake_names_its_line_and_rule),
	        cmocka_unit_test(what_is_no_yaml_is_refused_with_its_line),
	        cmocka_unit_test(a_file_cut_anywhere_is_read_or_refused),
	        cmocka_unit_test(a_file_that_is_not_there_or_no_file_is_an_error),
	        cmocka_unit_test(an_expression_that_does_not_compile_names_its_rule),
	        cmocka_unit_test(uap_cores_own_file_is_read),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, begin, end);
}
