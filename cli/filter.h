/* Filters of tap: key=value, all of which must hold.
 *
 *     ip=10.0.0.1            a field of the event (docs/EVENTS.md), compared as text
 *     params.color=red       a parameter of a tracking call, decoded; one of several of this name is enough
 *     data.mascot=Gopher     a member of a postback's data
 *
 * Values are compared exactly, except that hexadecimal digits and addresses have no case and no
 * second form.
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
	char *field; /* room for the field that is looked at */
	size_t room;
};

/* Reads the filters of a topic's events. Returns ARGUMENTS_GO_ON, or EXIT_USAGE having said what is
 * wrong: no "=", or a key that the events of this topic do not have. Whatever it returns,
 * filters_fini frees them. Out of memory: aborts. */
int filters_init(struct filters *filters, const struct arguments *arguments, const struct argument_list *list,
                 const char *topic);

/* True when all hold. Out of memory: aborts. */
bool filters_hold(struct filters *filters, const struct record *record);

void filters_fini(struct filters *filters);

#endif
