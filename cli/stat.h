/* What `millrace stat` makes of a snapshot: JSON for programs, tables for people.
 *
 *     snapshot_take --> struct snapshot --.--> stat_json   one object, keys fixed (millrace-stat(1))
 *                                         '--> stat_table  aligned columns; with an earlier snapshot, rates too
 */
#ifndef CLI_STAT_H
#define CLI_STAT_H

#include <stdio.h>

#include "look/snapshot.h"

/* Writes one JSON object and a newline: on one line, or indented. Returns 0, also when out fails
 * (fflush tells), or -ENOMEM. */
int stat_json(const struct snapshot *snapshot, const char *instance, bool one_line, FILE *out);

struct stat_table_options {
	const char *instance;
	bool metrics; /* every metric of every stage, with its help */
};

/* Writes the tables. before (may be NULL): an earlier snapshot of the same instance; then rates are
 * shown. */
void stat_table(const struct snapshot *snapshot, const struct snapshot *before,
                const struct stat_table_options *options, FILE *out);

#endif
