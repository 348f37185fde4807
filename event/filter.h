/* Filters of tap: key=value; all must match.
 *
 *     ip=10.0.0.1            a field of the event (docs/EVENTS.md), compared as text
 *     params.color=red       a parameter of a tracking call, decoded; of several with this name, one is enough
 *     data.mascot=Gopher     a member of a postback's data
 *
 * Values must match exactly, except that case and spelling of hexadecimal digits and addresses do
 * not matter.
 */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include "cli/arguments.h"
#include "event/event.h"

#define FILTERS_MAX 16u

struct filter {
	char key[48]; /* of the field, without a member's name */
	char *member; /* "color" of "params.color", or NULL */
	size_t member_bytes;
	char *value;
};

struct filters {
	struct filter filter[FILTERS_MAX];
	unsigned n;
	char *field; /* buffer for the current field */
	size_t room;
};

/* Reads the filters for a topic's events. Returns ARGUMENTS_GO_ON, or EXIT_USAGE after it printed
 * the fault: no "=", or a key that events of this topic do not have. In both cases the caller calls
 * filters_fini. Aborts when out of memory. */
int filters_init(struct filters *filters, const struct arguments *arguments, const struct argument_list *list,
                 const char *topic);

/* True when all filters match. Aborts when out of memory. */
bool filters_hold(struct filters *filters, const struct record *record);

void filters_fini(struct filters *filters);

#endif
