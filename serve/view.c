#include "serve/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int view_init(struct view *view, const char *instance)
{
	*view = (struct view){.instance = instance,
	                      .source = calloc(1, sizeof *view->source),
	                      .now = calloc(1, sizeof *view->now),
	                      .peaks = calloc(1, sizeof *view->peaks)};
	if (view->source != NULL && view->now != NULL && view->peaks != NULL)
		return 0;
	view_fini(view);
	return -ENOMEM;
}

size_t view_bytes(void)
{
	return sizeof(struct snapshot_source) + sizeof(struct snapshot) + sizeof(struct peaks);
}

void view_fini(struct view *view)
{
	if (view->open)
		snapshot_close(view->source);
	free(view->source);
	free(view->now);
	free(view->peaks);
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

void view_scraped(struct view *view, uint64_t now_ns)
{
	view->scraped_ns = now_ns;
}

uint64_t view_sample(struct view *view, uint64_t now_ns)
{
	if (view->scraped_ns == 0 || now_ns - view->scraped_ns > VIEW_SCRAPE_NS || !view->open)
		return UINT64_MAX;
	uint64_t since_ns = now_ns - view->sampled_ns;
	if (since_ns < PEAKS_SAMPLE_NS)
		return PEAKS_SAMPLE_NS - since_ns;
	peaks_sample(view->peaks, view->source, now_ns);
	view->sampled_ns = now_ns;
	return PEAKS_SAMPLE_NS;
}
