/* The tables of `millrace stat`, for people; look/json.h has the JSON for programs. */
#ifndef CLI_STAT_H
#define CLI_STAT_H

#include <stdio.h>

#include "look/rates.h"

struct stat_table_options {
	const char *instance;
	bool metrics; /* every metric of every stage, and the histograms */
};

/* Writes the tables of rates->now; with an earlier snapshot, rates too. */
void stat_table(const struct rates *rates, const struct stat_table_options *options, FILE *out);

#endif
