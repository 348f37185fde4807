/* A database on its way into use: a file is copied into private memory and checked, in small steps.
 *
 *     source_begin --> COPY --> TREE --> RECORDS --> TRIAL --> a base
 *                        '---------'--------'----------'-----> refused, with the reason, or the file changed meanwhile
 */
#ifndef ENRICH_GEO_SOURCE_H
#define ENRICH_GEO_SOURCE_H

#include "enrich/geo/base.h"
#include "stage/signature.h"

enum source_phase { SOURCE_COPY, SOURCE_TREE, SOURCE_RECORDS, SOURCE_TRIAL };

enum source_result { SOURCE_GOES_ON, SOURCE_GOOD, SOURCE_REFUSED, SOURCE_CHANGED };

struct source {
	const char *path;
	struct signature signature;
	enum source_phase phase;
	int file, memory;
	uint64_t copied;
	struct geo_base *base;
	uint32_t node; /* next to be checked */
	/* a bit for each byte of the data section at which a record begins that is still to be
	 * checked */
	uint64_t *marks;
	size_t word;      /* of marks, next to be looked at */
	uint32_t records; /* checked */
	uint64_t values;  /* looked at in them */
	unsigned places;  /* where they have something */
	char reason[160]; /* why it was refused */
};

/* Begins with the file at path (kept, not copied), which had this signature. */
void source_begin(struct source *source, const char *path, const struct signature *signature);

/* Works for some milliseconds. SOURCE_GOES_ON: call it again; SOURCE_GOOD: *base is the caller's;
 * SOURCE_REFUSED: see reason. After all but SOURCE_GOES_ON the source holds nothing any more. */
enum source_result source_step(struct source *source, struct geo_base **base);

/* Gives up. */
void source_fini(struct source *source);

#endif
