/* The command line: what is accepted, what is refused, what is suggested. */
#include "cli/arguments.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct values {
	bool flag;
	const char *text, *choice;
	uint64_t count, ns;
	double percent;
	struct argument_list list;
	struct operands operands;
};

/* Parses words, a list that ends with NULL, after "test". */
static int parse(struct values *values, bool program, const char *const *words)
{
	static char *argv[16];
	int argc = 1;
	argv[0] = (char *)"test";
	for (; *words != NULL; words++)
		argv[argc++] = (char *)*words;
	argv[argc] = NULL;
	*values = (struct values){.choice = "json", .count = 7};
	const struct argument table[] = {
	        {"flag", 'f', ARGUMENT_FLAG, NULL, "", &values->flag, 0, 0, NULL},
	        {"text", 't', ARGUMENT_STRING, "TEXT", "", &values->text, 0, 0, NULL},
	        {"choice", 0, ARGUMENT_CHOICE, "WORD", "", &values->choice, 0, 0, "json raw jsonl"},
	        {"count", 'n', ARGUMENT_COUNT, "N", "", &values->count, 2, 5000000, NULL},
	        {"time", 0, ARGUMENT_DURATION, "T", "", &values->ns, 1000, 3600000000000, NULL},
	        {"percent", 0, ARGUMENT_PERCENT, "P", "", &values->percent, 0, 0, NULL},
	        {"list", 'l', ARGUMENT_LIST, "X", "", &values->list, 0, 0, NULL},
	};
	const struct arguments arguments = {.command = "test",
	                                    .usage = "",
	                                    .purpose = "",
	                                    .example = "",
	                                    .table = table,
	                                    .n = sizeof table / sizeof table[0],
	                                    .operands_min = 0,
	                                    .operands_max = 2,
	                                    .program = program};
	return arguments_parse(&arguments, argc, argv, &values->operands);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void values_may_stand_behind_a_space_an_equals_sign_or_the_letter(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("--text", "a", "--count=12", "-f", "--choice", "raw")),
	                 ARGUMENTS_GO_ON);
	assert_string_equal(values.text, "a");
	assert_int_equal(values.count, 12);
	assert_true(values.flag);
	assert_string_equal(values.choice, "raw");
	assert_int_equal(parse(&values, false, WORDS("-ta=b", "-n", "1_000k", "--text=")), ARGUMENTS_GO_ON);
	assert_string_equal(values.text, "");
	assert_int_equal(values.count, 1000000);
}

static void what_is_not_given_keeps_its_default(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("one")), ARGUMENTS_GO_ON);
	assert_int_equal(values.count, 7);
	assert_string_equal(values.choice, "json");
	assert_null(values.text);
	assert_int_equal(values.operands.n, 1);
}

static void operands_may_stand_between_options(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("one", "--flag", "two", "-n", "3")), ARGUMENTS_GO_ON);
	assert_int_equal(values.operands.n, 2);
	assert_string_equal(values.operands.item[0], "one");
	assert_string_equal(values.operands.item[1], "two");
	assert_int_equal(parse(&values, false, WORDS("one", "two", "three")), EXIT_USAGE);
	assert_int_equal(parse(&values, false, WORDS("--", "--flag", "-x")), ARGUMENTS_GO_ON);
	assert_false(values.flag);
	assert_string_equal(values.operands.item[0], "--flag");
	assert_int_equal(parse(&values, false, WORDS("-")), ARGUMENTS_GO_ON);
	assert_string_equal(values.operands.item[0], "-");
}

static void what_follows_two_dashes_is_a_program_where_one_is_wanted(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, true, WORDS("topic", "--", "sh", "--flag")), ARGUMENTS_GO_ON);
	assert_false(values.flag);
	assert_int_equal(values.operands.n, 1);
	assert_string_equal(values.operands.program[0], "sh");
	assert_string_equal(values.operands.program[1], "--flag");
	assert_null(values.operands.program[2]);
	assert_int_equal(parse(&values, true, WORDS("topic")), ARGUMENTS_GO_ON);
	assert_null(values.operands.program);
}

static void a_list_keeps_the_order(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("--list", "a=1", "-lb", "--list=c")), ARGUMENTS_GO_ON);
	assert_int_equal(values.list.n, 3);
	assert_string_equal(values.list.item[0], "a=1");
	assert_string_equal(values.list.item[1], "b");
	assert_string_equal(values.list.item[2], "c");
}

static void times_have_units_and_are_seconds_without(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t ns;
	} cases[] = {{"1", 1000000000}, {"0.5", 500000000}, {"100ms", 100000000},  {"2m", 120000000000},
	             {"5us", 5000},     {"2000ns", 2000},   {"1h", 3600000000000}, {"1.5s", 1500000000}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct values values;
		assert_int_equal(parse(&values, false, WORDS("--time", cases[i].text)), ARGUMENTS_GO_ON);
		assert_int_equal(values.ns, cases[i].ns);
	}
}

static void percentages_may_have_their_sign(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("--percent", "30%")), ARGUMENTS_GO_ON);
	assert_true(values.percent == 30);
	assert_int_equal(parse(&values, false, WORDS("--percent", "0.5")), ARGUMENTS_GO_ON);
	assert_true(values.percent == 0.5);
}

static void wrong_words_are_refused(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	        {"--flagg"},
	        {"--flag=1"},
	        {"--text"},
	        {"-x"},
	        {"-fx"},
	        {"--count", "1"},
	        {"--count", "5000001"},
	        {"--count", "-3"},
	        {"--count", "3x"},
	        {"--count", ""},
	        {"--count", "99999999999999999999"},
	        {"--count", "9999999999999999999k"},
	        {"--time", "3 s"},
	        {"--time", "999ns"},
	        {"--time", "2h"},
	        {"--time", "s"},
	        {"--time", "1e99"},
	        {"--percent", "101"},
	        {"--percent", "-1"},
	        {"--percent", "x"},
	        {"--choice", "jso"},
	        {"--choice", ""},
	        {"--choice", "json raw"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct values values;
		const char *const words[] = {cases[i][0], cases[i][1], NULL};
		if (parse(&values, false, words) != EXIT_USAGE)
			fail_msg("%s %s was accepted", words[0], words[1] != NULL ? words[1] : "");
	}
}

static void help_ends_with_success(void **state)
{
	(void)state;
	struct values values;
	assert_int_equal(parse(&values, false, WORDS("--help")), 0);
	assert_int_equal(parse(&values, false, WORDS("-h")), 0);
}

int main(void)
{
	alarm(20);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(values_may_stand_behind_a_space_an_equals_sign_or_the_letter),
	        cmocka_unit_test(what_is_not_given_keeps_its_default),
	        cmocka_unit_test(operands_may_stand_between_options),
	        cmocka_unit_test(what_follows_two_dashes_is_a_program_where_one_is_wanted),
	        cmocka_unit_test(a_list_keeps_the_order),
	        cmocka_unit_test(times_have_units_and_are_seconds_without),
	        cmocka_unit_test(percentages_may_have_their_sign),
	        cmocka_unit_test(wrong_words_are_refused),
	        cmocka_unit_test(help_ends_with_success),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
