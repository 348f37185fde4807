#include "supervisor/change.h"

#include <string.h>

/* Merged topics keep their indexes, so the page in force, the plan and the next plan have the same
 * topic in the same place. Lanes that come are no change for a reader: it follows the page; a topic
 * that comes, or comes back, is one. */
static bool topics_changed(const struct supervisor *supervisor, const char *role)
{
	const struct instance_page *old = supervisor->segments.old;
	const struct plan *next = supervisor->next_plan, *now = supervisor->plan;
	for (unsigned i = 0; i < next->n_topics; i++) {
		const struct plan_topic *topic = &next->topic[i];
		if (!plan_writes(topic, role) && !plan_reads(topic, role))
			continue;
		if (i >= old->n_topics || old->topic[i].size_bytes != topic->page.size_bytes ||
		    old->topic[i].when_full != topic->page.when_full)
			return true;
		if (plan_reads(topic, role) && (i >= now->n_topics || !plan_reads(&now->topic[i], role)))
			return true;
	}
	return false;
}

/* The same of the queues that it uses, and of its name there. */
static bool queues_changed(const struct supervisor *supervisor, const struct plan_role *now,
                           const struct plan_role *role)
{
	const struct instance_page *old = supervisor->segments.old;
	const struct plan *next = supervisor->next_plan;
	if (now->n_queues != role->n_queues || (role->n_queues != 0 && now->number != role->number))
		return true;
	for (unsigned i = 0; i < role->n_queues; i++) {
		int index = plan_queue_index(next, role->queue[i]);
		if (strcmp(now->queue[i], role->queue[i]) != 0 || index < 0 ||
		    (unsigned)index >= old->n_queues ||
		    old->queue[index].slots != next->queue[index].page.slots ||
		    old->queue[index].slot_bytes != next->queue[index].page.slot_bytes)
			return true;
	}
	return false;
}

static bool other_options_changed(const struct supervisor *supervisor, const struct flow_stage *stage)
{
	for (FLOW_EACH(option, stage->other_options))
		if (!config_same(supervisor->config, supervisor->next_config, *option))
			return true;
	return false;
}

bool change_of_role(const struct supervisor *supervisor, const struct plan_role *now)
{
	const char *name = now->page.name;
	int index = plan_role_index(supervisor->next_plan, name);
	if (index < 0)
		return true;
	const struct plan_role *role = &supervisor->next_plan->role[index];
	/* A role that is named after its entry goes with it to another place in the list. */
	bool moved = role->stage->kinds == NULL && strcmp(role->section, now->section) != 0;
	return moved || role->process != now->process || role->private_bytes != now->private_bytes ||
	       !config_same_entry(supervisor->config, now->section, supervisor->next_config, role->section) ||
	       other_options_changed(supervisor, role->stage) || topics_changed(supervisor, name) ||
	       queues_changed(supervisor, now, role);
}

bool change_of_section(const struct supervisor *supervisor, const char *section)
{
	const struct plan *next = supervisor->next_plan, *now = supervisor->plan;
	for (unsigned i = 0; i < next->n_roles; i++) {
		if (strcmp(next->role[i].section, section) != 0)
			continue;
		int index = plan_role_index(now, next->role[i].page.name);
		if (index < 0 || change_of_role(supervisor, &now->role[index]))
			return true;
	}
	return false;
}

bool change_ends_role(const struct supervisor *supervisor, const char *role)
{
	const struct plan *next = supervisor->next_plan, *now = supervisor->plan;
	if (plan_role_index(next, role) < 0)
		return true;
	for (unsigned i = 0; i < next->n_topics; i++)
		if (plan_writes(&next->topic[i], role) !=
		    (i < now->n_topics && plan_writes(&now->topic[i], role)))
			return true;
	return false;
}
