#include "bench/options.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* False: not a number, or out of the row's range. */
static bool put_number(const struct option_row *row, const char *text)
{
	char *end;
	double number = strtod(text, &end);
	bool whole = row->kind != OPTION_REAL;
	if (end == text || *end != '\0' || !(number >= row->least && number <= row->most) ||
	    (whole && number != (double)(uint64_t)number))
		return false;
	if (row->kind == OPTION_COUNT)
		*(unsigned *)row->value = (unsigned)number;
	else if (row->kind == OPTION_BYTES)
		*(uint64_t *)row->value = (uint64_t)number;
	else
		*(double *)row->value = number;
	return true;
}

static bool put(const struct option_row *row, const char *text)
{
	if (row->kind == OPTION_ON || row->kind == OPTION_OFF)
		*(bool *)row->value = row->kind == OPTION_ON;
	else if (row->kind == OPTION_TEXT)
		*(const char **)row->value = text;
	else
		return put_number(row, text);
	return true;
}

int options_read(int argc, char **argv, const char *program, const struct option_row *rows, size_t n,
                 void (*help)(void))
{
	struct option known[OPTIONS_MAX + 2] = {0};
	if (n > OPTIONS_MAX)
		abort();
	for (size_t i = 0; i < n; i++)
		known[i] = (struct option){.name = rows[i].name,
		                           .has_arg = rows[i].kind > OPTION_OFF ? required_argument
		                                                                : no_argument,
		                           .val = 256 + (int)i};
	known[n] = (struct option){.name = "help", .val = 'h'};
	for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
		if (c == 'h') {
			help();
			return 0;
		}
		if (c < 256)
			return 2; /* getopt has said why */
		const struct option_row *row = &rows[c - 256];
		if (!put(row, optarg)) {
			fprintf(stderr, "%s: --%s %s: from %.16g to %.16g is allowed; see --help\n", program,
			        row->name, optarg, row->least, row->most);
			return 2;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "%s: %s: no argument but options is allowed; see --help\n", program, argv[optind]);
	return 2;
}
