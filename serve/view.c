#include "serve/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int view_init(struct view *view, const char *instance)
{
	*view = (struct view){.instance = instance,
	                      .source = calloc(1, sizeof *view->source),
	                      .now = calloc(1, sizeof *view->now)};
	if (view->source != NULL && view->now != NULL)
		return 0;
	view_fini(view);
	return -ENOMEM;
}

void view_fini(struct view *view)
{
	if (view->open)
		snapshot_close(view->source);
	free(view->source);
	free(view->now);
	memset(view, 0, sizeof *view);
}

const struct snapshot *view_take(struct view *view, struct shm_error *error)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (view->taken_ns != 0 && now_ns - view->taken_ns < VIEW_FRESH_NS)
		return view->now;
	view->taken_ns = 0;
	if (!view->open && snapshot_open(view->source, view->instance, error) != 0)
		return NULL;
	view->open = true;
	if (snapshot_take(view->source, view->now, error) != 0)
		return NULL;
	view->taken_ns = clock_monotonic_ns();
	return view->now;
}
