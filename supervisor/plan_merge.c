#include "supervisor/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The lanes of `topic` take the places they had in `old`; what the configuration does not have any more is retired. */
static int merge_lanes(struct plan_topic *topic, const struct instance_topic *old, struct shm_error *error)
{
	struct instance_topic *page = &topic->page;
	char wanted[STREAM_LANES_MAX][SHM_NAME_MAX];
	bool placed[STREAM_LANES_MAX] = {false};
	unsigned n_wanted = page->n_lanes;
	memcpy(wanted, page->lane_role, sizeof wanted);
	memcpy(page->lane_role, old->lane_role, sizeof page->lane_role);
	page->n_lanes = old->n_lanes;
	for (unsigned lane = 0; lane < old->n_lanes; lane++) {
		unsigned i = 0;
		bool outside = strcmp(old->lane_role[lane], PLAN_RETIRED_LANE) == 0;
		const char *role = outside ? "" : old->lane_role[lane];
		while (i < n_wanted && (placed[i] || strcmp(wanted[i], role) != 0))
			i++;
		topic->retired[lane] = i == n_wanted;
		if (i < n_wanted)
			placed[i] = true;
		if (*role == '\0')
			snprintf(page->lane_role[lane], SHM_NAME_MAX, "%s",
			         i == n_wanted ? PLAN_RETIRED_LANE : "");
	}
	for (unsigned i = 0; i < n_wanted; i++)
		if (!placed[i] && page->n_lanes == STREAM_LANES_MAX) {
			shm_explain(
			        error,
			        "topic \"%s\": lanes of former configurations and new ones are more than %u; "
			        "end this instance once (SIGTERM), which removes the old ones",
			        page->name, STREAM_LANES_MAX);
			return -ENOSPC;
		} else if (!placed[i]) {
			memcpy(page->lane_role[page->n_lanes++], wanted[i], SHM_NAME_MAX);
		}
	return 0;
}

int plan_merge(struct plan *plan, const struct instance_page *old, struct shm_error *error)
{
	struct plan_topic *merged = calloc(INSTANCE_TOPICS_MAX, sizeof *merged);
	bool placed[INSTANCE_TOPICS_MAX] = {false};
	unsigned n = 0;
	int result = 0;
	if (merged == NULL)
		abort();
	for (; result == 0 && n < old->n_topics; n++) {
		int index = plan_topic_index(plan, old->topic[n].name);
		if (index >= 0) {
			merged[n] = plan->topic[index];
			placed[index] = true;
		} else {
			merged[n].page = old->topic[n];
			merged[n].page.n_lanes = 0;
		}
		result = merge_lanes(&merged[n], &old->topic[n], error);
	}
	for (unsigned i = 0; result == 0 && i < plan->n_topics; i++) {
		if (!placed[i] && n == INSTANCE_TOPICS_MAX) {
			shm_explain(error,
			            "topics of former configurations and new ones are more than %u; end this "
			            "instance once (SIGTERM), which removes the old ones",
			            INSTANCE_TOPICS_MAX);
			result = -ENOSPC;
		} else if (!placed[i]) {
			merged[n++] = plan->topic[i];
		}
	}
	if (result == 0) {
		memcpy(plan->topic, merged, sizeof plan->topic);
		plan->n_topics = n;
	}
	free(merged);
	return result;
}

void plan_fill_page(const struct plan *plan, struct instance_page *page)
{
	memset(page->topic, 0, sizeof page->topic);
	memset(page->role, 0, sizeof page->role);
	page->n_topics = plan->n_topics;
	page->n_queues = 0;
	page->n_roles = plan->n_roles;
	for (unsigned i = 0; i < plan->n_topics; i++)
		page->topic[i] = plan->topic[i].page;
	for (unsigned i = 0; i < plan->n_roles; i++)
		page->role[i] = plan->role[i].page;
}

static bool same_topic(const struct instance_topic *a, const struct instance_topic *b)
{
	if (strcmp(a->name, b->name) != 0 || a->size_bytes != b->size_bytes || a->when_full != b->when_full ||
	    a->n_lanes != b->n_lanes)
		return false;
	for (unsigned lane = 0; lane < a->n_lanes; lane++)
		if (strcmp(a->lane_role[lane], b->lane_role[lane]) != 0)
			return false;
	return true;
}

bool plan_fits_page(const struct plan *plan, const struct instance_page *page)
{
	if (plan->n_topics != page->n_topics || plan->n_roles != page->n_roles)
		return false;
	for (unsigned i = 0; i < plan->n_topics; i++)
		if (!same_topic(&plan->topic[i].page, &page->topic[i]))
			return false;
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (strcmp(plan->role[i].page.name, page->role[i].name) != 0 ||
		    strcmp(plan->role[i].page.program, page->role[i].program) != 0)
			return false;
	return true;
}
