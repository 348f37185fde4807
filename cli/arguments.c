#include "cli/arguments.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/word.h"

int arguments_error(const struct arguments *arguments, const char *text, ...)
{
	va_list list;
	va_start(list, text);
	fprintf(stderr, "millrace %s: ", arguments->command);
	vfprintf(stderr, text, list);
	fprintf(stderr, "; see: millrace %s --help\n", arguments->command);
	va_end(list);
	return EXIT_USAGE;
}

static void help_line(const struct argument *argument)
{
	char left[64];
	int n = argument->letter != 0 ? snprintf(left, sizeof left, "-%c, ", argument->letter)
	                              : snprintf(left, sizeof left, "    ");
	snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", argument->name,
	         argument->value_name != NULL ? " " : "",
	         argument->value_name != NULL ? argument->value_name : "");
	/* Further lines of a help text are aligned with its first line. */
	const char *text = argument->help;
	for (const char *head = left; text != NULL; head = "") {
		const char *end = strchr(text, '\n');
		int length = end != NULL ? (int)(end - text) : (int)strlen(text);
		printf("  %-24s %.*s\n", head, length, text);
		text = end != NULL ? end + 1 : NULL;
	}
}

void arguments_help(const struct arguments *arguments)
{
	printf("Usage: millrace %s %s\n\n%s\n\nOptions:\n", arguments->command, arguments->usage,
	       arguments->purpose);
	for (size_t i = 0; i < arguments->n; i++)
		help_line(&arguments->table[i]);
	printf("      --help               this text\n\nExit codes:\n"
	       "  0  done\n  1  failed; one line on standard error says why\n  2  wrong use\n");
	if (arguments->exit_codes != NULL)
		printf("%s\n", arguments->exit_codes);
	printf("\nExample:\n%s\n\nmillrace-%.*s(1) is the whole manual page.\n", arguments->example,
	       (int)strcspn(arguments->command, " "), arguments->command);
}

static bool parse_count(const char *text, uint64_t *value)
{
	if (!isdigit((unsigned char)text[0]))
		return false;
	uint64_t number = 0;
	for (; isdigit((unsigned char)*text) || *text == '_'; text++)
		if (*text != '_' && (__builtin_mul_overflow(number, 10u, &number) ||
		                     __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number)))
			return false;
	uint64_t unit = 1;
	if (*text == 'k')
		unit = 1000;
	else if (*text == 'M')
		unit = 1000000;
	else if (*text == 'G')
		unit = 1000000000;
	if (unit != 1)
		text++;
	return *text == 0 && !__builtin_mul_overflow(number, unit, value);
}

static bool parse_decimal(const char *text, double *value, const char **rest)
{
	char *end;
	if (!isdigit((unsigned char)text[0]) && text[0] != '.')
		return false;
	*value = strtod(text, &end);
	*rest = end;
	return end != text && *value < 1e15;
}

static bool parse_duration(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
	double number;
	const char *rest;
	if (!parse_decimal(text, &number, &rest))
		return false;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (strcmp(rest, units[i].name) == 0 && number * units[i].ns < 9e18) {
			*ns = (uint64_t)(number * units[i].ns);
			return true;
		}
	return false;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t length = strchr(text, ' ') == NULL ? strlen(text) : 0;
	for (const char *at = choices; length > 0 && (at = strstr(at, text)) != NULL; at++)
		if ((at == choices || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
			return true;
	return false;
}

static int add_item(const struct arguments *arguments, const struct argument *argument, const char *text)
{
	struct argument_list *list = argument->target;
	if (list->n == ARGUMENT_LIST_MAX)
		return arguments_error(arguments, "--%s can be given %u times", argument->name,
		                       ARGUMENT_LIST_MAX);
	list->item[list->n++] = text;
	return ARGUMENTS_GO_ON;
}

static int store_count(const struct arguments *arguments, const struct argument *argument, const char *text)
{
	uint64_t value = 0;
	if (!parse_count(text, &value) || value < argument->min || value > argument->max) {
		if (argument->max == UINT64_MAX)
			return arguments_error(arguments, "--%s %s: must be a whole number of at least %llu",
			                       argument->name, text, (unsigned long long)argument->min);
		return arguments_error(arguments, "--%s %s: must be a whole number from %llu to %llu",
		                       argument->name, text, (unsigned long long)argument->min,
		                       (unsigned long long)argument->max);
	}
	*(uint64_t *)argument->target = value;
	return ARGUMENTS_GO_ON;
}

static int store_percent(const struct arguments *arguments, const struct argument *argument, const char *text)
{
	double value = 0;
	const char *rest;
	if (!parse_decimal(text, &value, &rest) || (*rest != 0 && strcmp(rest, "%") != 0) || value > 100)
		return arguments_error(arguments, "--%s %s: must be a percentage from 0 to 100",
		                       argument->name, text);
	*(double *)argument->target = value;
	return ARGUMENTS_GO_ON;
}

static int store_duration(const struct arguments *arguments, const struct argument *argument,
                          const char *text)
{
	uint64_t value = 0;
	if (!parse_duration(text, &value))
		return arguments_error(
		        arguments,
		        "--%s %s: must be a time such as 10, 0.5, 100ms or 2m (seconds when without a unit)",
		        argument->name, text);
	if (value < argument->min || value > argument->max)
		return arguments_error(arguments, "--%s %s: must be from %g to %g seconds", argument->name,
		                       text, (double)argument->min / 1e9, (double)argument->max / 1e9);
	*(uint64_t *)argument->target = value;
	return ARGUMENTS_GO_ON;
}

static int store(const struct arguments *arguments, const struct argument *argument, const char *text)
{
	switch (argument->kind) {
	case ARGUMENT_FLAG:
		*(bool *)argument->target = true;
		break;
	case ARGUMENT_STRING:
		*(const char **)argument->target = text;
		break;
	case ARGUMENT_COUNT:
		return store_count(arguments, argument, text);
	case ARGUMENT_PERCENT:
		return store_percent(arguments, argument, text);
	case ARGUMENT_DURATION:
		return store_duration(arguments, argument, text);
	case ARGUMENT_CHOICE:
		if (!is_choice(argument->choices, text))
			return arguments_error(arguments, "--%s %s: must be one of: %s", argument->name, text,
			                       argument->choices);
		*(const char **)argument->target = text;
		break;
	case ARGUMENT_LIST:
		return add_item(arguments, argument, text);
	}
	return ARGUMENTS_GO_ON;
}

static int unknown(const struct arguments *arguments, const char *word, size_t length)
{
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int)length, word);
	const char *names[64] = {"help"};
	size_t n = 1;
	for (size_t i = 0; i < arguments->n && n < 64; i++)
		names[n++] = arguments->table[i].name;
	const char *nearest = word_nearest(name, names, n);
	if (nearest != NULL)
		return arguments_error(arguments, "unknown option --%s; did you mean --%s?", name, nearest);
	return arguments_error(arguments, "unknown option --%s", name);
}

/* Handles the long option at argv[*i]; advances *i when its value is the next word. */
static int parse_long(const struct arguments *arguments, int argc, char **argv, int *i)
{
	const char *word = argv[*i] + 2;
	size_t length = strcspn(word, "=");
	if (length == 4 && memcmp(word, "help", 4) == 0) {
		arguments_help(arguments);
		return 0;
	}
	for (size_t k = 0; k < arguments->n; k++) {
		const struct argument *argument = &arguments->table[k];
		if (strlen(argument->name) != length || memcmp(argument->name, word, length) != 0)
			continue;
		if (argument->kind == ARGUMENT_FLAG) {
			if (word[length] == '=')
				return arguments_error(arguments, "--%s takes no value", argument->name);
			return store(arguments, argument, NULL);
		}
		if (word[length] == '=')
			return store(arguments, argument, word + length + 1);
		if (*i + 1 >= argc)
			return arguments_error(arguments, "--%s needs a value: %s", argument->name,
			                       argument->value_name);
		return store(arguments, argument, argv[++*i]);
	}
	return unknown(arguments, word, length);
}

static int parse_short(const struct arguments *arguments, int argc, char **argv, int *i)
{
	const char *word = argv[*i] + 1;
	if (*word == 'h' && word[1] == 0) {
		arguments_help(arguments);
		return 0;
	}
	for (size_t k = 0; k < arguments->n; k++) {
		const struct argument *argument = &arguments->table[k];
		if (argument->letter == 0 || argument->letter != *word)
			continue;
		if (argument->kind == ARGUMENT_FLAG && word[1] == 0)
			return store(arguments, argument, NULL);
		if (argument->kind == ARGUMENT_FLAG)
			break;
		if (word[1] != 0)
			return store(arguments, argument, word + 1);
		if (*i + 1 >= argc)
			return arguments_error(arguments, "-%c needs a value: %s", *word,
			                       argument->value_name);
		return store(arguments, argument, argv[++*i]);
	}
	return arguments_error(arguments, "unknown option -%s", word);
}

int arguments_parse(const struct arguments *arguments, int argc, char **argv, struct operands *operands)
{
	bool only_operands = false; /* after "--" */
	*operands = (struct operands){.item = argv + 1};
	for (int i = 1; i < argc; i++) {
		int status = ARGUMENTS_GO_ON;
		if (strcmp(argv[i], "--") == 0 && arguments->program) {
			operands->program = argv + i + 1;
			break;
		} else if (strcmp(argv[i], "--") == 0 && !only_operands) {
			only_operands = true;
		} else if (!only_operands && strncmp(argv[i], "--", 2) == 0 && argv[i][2] != 0) {
			status = parse_long(arguments, argc, argv, &i);
		} else if (!only_operands && argv[i][0] == '-' && argv[i][1] != 0 && argv[i][1] != '-') {
			status = parse_short(arguments, argc, argv, &i);
		} else if (operands->n == arguments->operands_max) {
			return arguments_error(arguments, "one word too many: %s", argv[i]);
		} else {
			operands->item[operands->n++] = argv[i];
		}
		if (status != ARGUMENTS_GO_ON)
			return status;
	}
	if (operands->n < arguments->operands_min)
		return arguments_error(arguments, "something is missing; usage: millrace %s %s",
		                       arguments->command, arguments->usage);
	return ARGUMENTS_GO_ON;
}
