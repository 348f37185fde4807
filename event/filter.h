/* Filters of events: key=value; all must match. `millrace tap` and the sinks take them.
 *
 *     ip=10.0.0.1            a field of the event (docs/EVENTS.md), compared as text
 *     params.color=red       a parameter of a tracking call, decoded; of several with this name, one is enough
 *     data.mascot=Gopher     a member of a postback's data
 *
 * Values must match exactly, except that case and spelling of hexadecimal digits and addresses do
 * not matter.
 */
#ifndef EVENT_FILTER_H
#define EVENT_FILTER_H

#include "event/event.h"

#define FILTERS_MAX 16u

/* Room for an explanation. */
struct filters_why {
	char text[512];
};

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

/* Compiles the filters for the events of a topic, whose records have this type (EVENT_NONE: any,
 * and then every key is taken); the topic's name is for people. Returns 0, or -EINVAL with the
 * fault in why: too many, no "=", or a key that these events do not have. In both cases the caller
 * calls filters_fini. Aborts when out of memory. */
int filters_init(struct filters *filters, uint16_t type, const char *topic, const char *const *text, size_t n,
                 struct filters_why *why);

/* True when all filters match. Aborts when out of memory. */
bool filters_hold(struct filters *filters, const struct record *record);

void filters_fini(struct filters *filters);

#endif
