#include "cli/top/view.h"

#include <string.h>

void view_init(struct view *view, uint64_t interval_ns)
{
	*view = (struct view){.interval_ns = interval_ns, .mouse = true, .window = AVERAGE_10};
	for (enum table table = 0; table < TABLES; table++)
		view->table[table].sort = VIEW_FLOW_ORDER;
}

bool view_has(const struct view *view, const char *name, const char *topic)
{
	return strcasestr(name, view->filter) != NULL ||
	       (topic != NULL && strcasestr(topic, view->filter) != NULL);
}
