/* Filters of tap: key=value, all of which must hold.
 *
 * Keys are the names of the event's fields (docs/EVENTS.md); values are compared as text, exactly.
 */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include "cli/arguments.h"
#include "shm/event.h"

#define FILTERS_MAX 16u

struct filter {
	char key[48];
	const char *value;
};

struct filters {
	struct filter filter[FILTERS_MAX];
	unsigned n;
	char *field; /* room for the field that is looked at */
	size_t room;
};

/* What the records of this topic, or the messages of this queue, are: enum event_type, or EVENT_NONE when it is none that millrace itself writes, whose records may be of any
 * type. */
uint16_t filters_type(const char *topic);

/* Reads the filters of a topic's events. Returns ARGUMENTS_GO_ON, or EXIT_USAGE having said what is wrong: no "=", or a key that
 * the events of this topic do not have. */
int filters_init(struct filters *filters, const struct arguments *arguments, const struct argument_list *list,
                 const char *topic);

/* True when all hold. Out of memory: aborts. */
bool filters_hold(struct filters *filters, const struct record *record);

void filters_fini(struct filters *filters);

#endif
