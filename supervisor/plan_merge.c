#include "supervisor/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/queue.h"

/* The lanes of `topic` take the places they had in `old`; those that the configuration no longer
 * has are retired. */
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
			        "topic \"%s\": lanes of former configurations and new ones are more than %u; end this instance once (SIGTERM), which removes the old ones",
			        page->name, STREAM_LANES_MAX);
			return -ENOSPC;
		} else if (!placed[i]) {
			memcpy(page->lane_role[page->n_lanes++], wanted[i], SHM_NAME_MAX);
		}
	return 0;
}

static int merge_topics(struct plan *plan, const struct instance_page *old, struct shm_error *error)
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
			shm_explain(
			        error,
			        "topics of former configurations and new ones are more than %u; end this instance once (SIGTERM), which removes the old ones",
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

/* What a queue becomes that no role uses any more and that is empty. */
static struct plan_queue retired_queue(const char *name)
{
	struct plan_queue queue = {
	        .page = {.slots = QUEUE_SLOTS_MIN, .slot_bytes = SHM_LINE},
	        .retired = true,
	};
	snprintf(queue.page.name, sizeof queue.page.name, "%s", name);
	return queue;
}

static int merge_queues(struct plan *plan, const struct instance_page *old, struct shm_error *error)
{
	struct plan_queue merged[INSTANCE_QUEUES_MAX];
	bool placed[INSTANCE_QUEUES_MAX] = {false};
	unsigned n = 0;
	for (; n < old->n_queues && n < INSTANCE_QUEUES_MAX; n++) {
		int index = plan_queue_index(plan, old->queue[n].name);
		merged[n] = index >= 0 ? plan->queue[index] : retired_queue(old->queue[n].name);
		if (index >= 0)
			placed[index] = true;
	}
	for (unsigned i = 0; i < plan->n_queues; i++) {
		if (placed[i])
			continue;
		if (n == INSTANCE_QUEUES_MAX) {
			shm_explain(
			        error,
			        "queues of former configurations and new ones are more than %u; end this instance once (SIGTERM), which removes the old ones",
			        INSTANCE_QUEUES_MAX);
			return -ENOSPC;
		}
		merged[n++] = plan->queue[i];
	}
	memcpy(plan->queue, merged, n * sizeof merged[0]);
	plan->n_queues = n;
	return 0;
}

/* A claim in a queue names a role by its place. A role that keeps its place need not end when
 * others come or go. */
static void merge_roles(struct plan *plan, const struct instance_page *old)
{
	struct plan_role *merged = calloc(INSTANCE_ROLES_MAX, sizeof *merged);
	bool taken[INSTANCE_ROLES_MAX] = {false}, placed[INSTANCE_ROLES_MAX] = {false};
	if (merged == NULL)
		abort();
	for (unsigned i = 0; i < old->n_roles && i < plan->n_roles; i++) {
		int index = plan_role_index(plan, old->role[i].name);
		if (index < 0)
			continue;
		merged[i] = plan->role[index];
		taken[i] = placed[index] = true;
	}
	for (unsigned i = 0, place = 0; i < plan->n_roles; i++) {
		if (placed[i])
			continue;
		while (taken[place])
			place++;
		taken[place] = true;
		merged[place] = plan->role[i];
	}
	for (unsigned i = 0; i < plan->n_roles; i++)
		merged[i].number = i + 1;
	memcpy(plan->role, merged, sizeof plan->role);
	free(merged);
}

int plan_merge(struct plan *plan, const struct instance_page *old, struct shm_error *error)
{
	int result = merge_topics(plan, old, error);
	if (result == 0)
		result = merge_queues(plan, old, error);
	if (result == 0)
		merge_roles(plan, old);
	return result;
}

void plan_fill_page(const struct plan *plan, struct instance_page *page)
{
	memset(page->topic, 0, sizeof page->topic);
	memset(page->queue, 0, sizeof page->queue);
	memset(page->role, 0, sizeof page->role);
	page->n_topics = plan->n_topics;
	page->n_queues = plan->n_queues;
	page->n_roles = plan->n_roles;
	for (unsigned i = 0; i < plan->n_topics; i++)
		page->topic[i] = plan->topic[i].page;
	for (unsigned i = 0; i < plan->n_queues; i++)
		page->queue[i] = plan->queue[i].page;
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

static bool same_queue(const struct instance_queue *a, const struct instance_queue *b)
{
	return strcmp(a->name, b->name) == 0 && a->slots == b->slots && a->slot_bytes == b->slot_bytes;
}

bool plan_fits_page(const struct plan *plan, const struct instance_page *page)
{
	if (plan->n_topics != page->n_topics || plan->n_queues != page->n_queues ||
	    plan->n_roles != page->n_roles)
		return false;
	for (unsigned i = 0; i < plan->n_topics; i++)
		if (!same_topic(&plan->topic[i].page, &page->topic[i]))
			return false;
	for (unsigned i = 0; i < plan->n_queues; i++)
		if (!same_queue(&plan->queue[i].page, &page->queue[i]))
			return false;
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (strcmp(plan->role[i].page.name, page->role[i].name) != 0 ||
		    strcmp(plan->role[i].page.program, page->role[i].program) != 0)
			return false;
	return true;
}
