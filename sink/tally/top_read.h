/* What a list of the most frequent keys (top_store.h) says, for who only reads the database. */
#ifndef SINK_TALLY_TOP_READ_H
#define SINK_TALLY_TOP_READ_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "sink/tally/reader.h"

struct sqlite3_stmt;

#define TOP_LIMIT     1000u  /* keys in an answer, unless told */
#define TOP_LIMIT_MAX 10000u /* at most */

/* What an answer has of what there is. */
struct top_page {
	uint64_t limit;  /* at most so many keys */
	uint64_t offset; /* after so many */
	bool sums;       /* averages with the sums that they came from */
};

struct top_read {
	uint64_t total;    /* of all additions */
	uint64_t keys;     /* that have a count */
	uint64_t smallest; /* what one that has none can have occurred at most */
	/* [{member: key, "count": n, "error": n}], the largest count first, equal ones in the order
	 * of their keys' bytes; the caller's */
	json_t *list;
};

/* Reads a part of the list of this name. member: what the key is called, "key". Returns 0; -ENOENT
 * when there is no such list, with *read empty; other -errno with the reason in error, and *read
 * is not to be used. */
int top_read(const struct reader *reader, const char *name, const char *member, struct top_page page,
             struct top_read *read, struct shm_error *error);

/* Appends what a row says, its first columns being key, count and error. False without memory. */
bool top_read_append(json_t *list, const char *member, struct sqlite3_stmt *row);

#endif
