/* Command-line arguments of one command: a table that parses them, checks them and writes the help.
 *
 *     bool json = false;
 *     uint64_t count = 0;
 *     const struct argument table[] = {
 *             {"json", 0, ARGUMENT_FLAG, NULL, "print JSON", &json},
 *             {"count", 'n', ARGUMENT_COUNT, "N", "end after N records", &count, .max = UINT64_MAX},
 *     };
 *
 * It accepts --name VALUE, --name=VALUE, -n VALUE and -nVALUE. Operands may stand anywhere; "--"
 * ends the options. Every command has --help. For a wrong option it prints one line: the option,
 * the allowed values and the nearest option that exists.
 */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum argument_kind {
	ARGUMENT_FLAG,   /* bool; takes no value */
	ARGUMENT_STRING, /* const char * */
	/* uint64_t, .min to .max; digits may be grouped by _ and end in k, M or G (thousands) */
	ARGUMENT_COUNT,
	ARGUMENT_PERCENT,  /* double, 0 to 100; a final % may be given */
	ARGUMENT_DURATION, /* uint64_t nanoseconds; 10 (seconds), 100ms, 2m; .min to .max nanoseconds */
	ARGUMENT_CHOICE,   /* const char *, one of the words in .choices */
	ARGUMENT_LIST,     /* struct argument_list *; may be given up to ARGUMENT_LIST_MAX times */
};

struct argument {
	const char *name; /* without dashes */
	char letter;      /* 0 when there is none */
	enum argument_kind kind;
	const char *value_name; /* "N", "FILE"; NULL for a flag */
	const char *help;       /* what it does and the default */
	void *target;           /* of the kind's type; holds the default when the option is not given */
	uint64_t min, max;
	const char *choices; /* "json raw" */
};

#define ARGUMENT_LIST_MAX 256u

struct argument_list {
	const char *item[ARGUMENT_LIST_MAX]; /* in argv */
	size_t n;
};

struct arguments {
	const char *command;    /* "stat", "send http" */
	const char *usage;      /* what follows the command in the usage line */
	const char *purpose;    /* paragraphs; lines at most 100 wide */
	const char *exit_codes; /* other than 0, 1 and 2, one a line, or NULL */
	const char *example;    /* lines that can be typed */
	const struct argument *table;
	size_t n;
	unsigned operands_min, operands_max;
	bool program; /* after "--" comes a program with its own options */
};

/* The words left after the options. */
struct operands {
	char **item; /* argv, rearranged; operands in their order */
	size_t n;
	char **program; /* after "--", ends with NULL; NULL when not given */
};

#define ARGUMENTS_GO_ON (-1)

#define EXIT_USAGE 2

/* Parses argv[1] .. argv[argc - 1] (argv[0] is the command) and stores the values. Returns
 * ARGUMENTS_GO_ON, or an exit status: 0 after it printed the help, EXIT_USAGE after it printed an
 * error. */
int arguments_parse(const struct arguments *arguments, int argc, char **argv, struct operands *operands);

/* Prints the help text to standard output. */
void arguments_help(const struct arguments *arguments);

/* Prints "millrace COMMAND: ..." and a hint to --help. Returns EXIT_USAGE. For checks that the
 * table cannot make. */
int arguments_error(const struct arguments *arguments, const char *text, ...)
        __attribute__((format(printf, 2, 3)));

#endif
