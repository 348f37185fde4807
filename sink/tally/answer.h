/* What readers of tally.db answer: JSON whose strings come from the network. */
#ifndef SINK_TALLY_ANSWER_H
#define SINK_TALLY_ANSWER_H

#include <stddef.h>

#include <jansson.h>

#include "shm/segment.h"

/* A string of these bytes; those that are no UTF-8 become U+0080 .. U+00FF, one for each, as in
 * every event (event.h). NULL without memory. */
json_t *answer_string(const char *bytes, size_t length);

/* One line without a newline, malloced, as json_dumps with these flags; what a terminal would obey
 * is escaped (text_control). NULL without memory. */
char *answer_print(const json_t *json, size_t flags);

/* "No memory" in error; returns -ENOMEM. */
int answer_no_memory(struct shm_error *error);

/* Prints an answer and takes it over; NULL: there was no memory to make it. Returns 0 with *json,
 * or -ENOMEM with the reason in error. */
int answer_give(json_t *answer, size_t flags, char **json, struct shm_error *error);

#endif
