/* What readers of tally.db answer: JSON whose strings come from the network. */
#ifndef SINK_TALLY_ANSWER_H
#define SINK_TALLY_ANSWER_H

#include <stddef.h>

#include <jansson.h>

/* A string of these bytes; those that are no UTF-8 become U+0080 .. U+00FF, one for each, as in
 * every event (event.h). NULL without memory. */
json_t *answer_string(const char *bytes, size_t length);

/* One line without a newline, malloced; what a terminal would obey is escaped (text_control). NULL
 * without memory. */
char *answer_print(const json_t *json);

#endif
