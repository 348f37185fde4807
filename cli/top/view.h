/* How a person wants to see the model: which table, in which order, what is left out. Keys change
 * it (keys.h), the layout follows it (layout.h).
 */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H

#include <stdint.h>

#include "cli/top/columns.h"
#include "look/average.h"

#define VIEW_FLOW_ORDER      (-1)
#define VIEW_FILTER_MAX      40u
#define VIEW_INTERVAL_MIN_NS 100000000ull
#define VIEW_INTERVAL_MAX_NS 3600000000000ull

struct view {
	enum table focus; /* the table that keys are for */
	struct {
		int sort;        /* its column, or VIEW_FLOW_ORDER */
		bool reversed;   /* smallest number, or last name, first */
		unsigned scroll; /* rows above the first one shown; the layout limits it */
	} table[TABLES];
	bool zoomed; /* the focused table alone */
	bool help, paused, mouse;
	unsigned help_scroll;
	char filter[VIEW_FILTER_MAX]; /* "": none */
	bool typing;                  /* the filter */
	char filter_before[VIEW_FILTER_MAX];
	enum average_window window;
	uint64_t interval_ns;
};

/* Flow order, the stages focused, no filter, means over 10 s. */
void view_init(struct view *view, uint64_t interval_ns);

/* Whether a row is to be shown: its name, or that of its topic, has the filter in it, whatever the
 * case. */
bool view_has(const struct view *view, const char *name, const char *topic);

#endif
