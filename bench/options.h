/* The command line of a benchmark: a table says which options there are, where their values go and
 * what is allowed.
 *
 *     struct options options = {.turns = 9};
 *     const struct option_row rows[] = {{"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
 *                                       {"json", OPTION_ON, &options.json}};
 *     int done = options_read(argc, argv, "bench-x", rows, 2, help);
 *     if (done >= 0)
 *             return done;
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stddef.h>

enum option_kind {
	OPTION_ON,    /* no value; a bool becomes true */
	OPTION_OFF,   /* no value; a bool becomes false */
	OPTION_COUNT, /* a whole number; an unsigned */
	OPTION_BYTES, /* a whole number; an uint64_t */
	OPTION_REAL,  /* a number; a double */
	OPTION_TEXT,  /* a const char * */
};

struct option_row {
	const char *name; /* without the dashes */
	enum option_kind kind;
	void *value;        /* of the kind; holds the default before */
	double least, most; /* of numbers; both count */
};

#define OPTIONS_MAX 16u /* rows of a table */

/* Reads the command line; --help and -h call help. Returns -1 when there is something to measure,
 * else the exit status: 0 after help, 2 for wrong usage, which is explained on standard error in
 * one line. */
int options_read(int argc, char **argv, const char *program, const struct option_row *rows, size_t n,
                 void (*help)(void));

#endif
