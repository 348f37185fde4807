#include "look/flow.h"

#include <string.h>

#include "flow/flow.h"

static void add_node(json_t *nodes, const char *id, const char *kind, const char *program)
{
	json_array_append_new(nodes,
	                      json_pack("{s:s, s:s, s:s*}", "id", id, "kind", kind, "program", program));
}

static void add_edge(json_t *edges, const char *from, const char *to, const char *group)
{
	json_array_append_new(edges, json_pack("{s:s, s:s, s:s*}", "from", from, "to", to, "group", group));
}

/* As a writer of some lane. */
static bool writes(const struct snapshot_topic *topic, const char *role)
{
	for (unsigned i = 0; i < topic->n_lanes; i++)
		if (strcmp(topic->lane[i].role, role) == 0)
			return true;
	return false;
}

static bool has_group(const struct snapshot_topic *topic, const char *name)
{
	for (unsigned i = 0; i < topic->n_lanes; i++)
		for (unsigned k = 0; k < topic->lane[i].n_groups; k++)
			if (topic->lane[i].group[k].configured &&
			    strcmp(topic->lane[i].group[k].name, name) == 0)
				return true;
	return false;
}

static bool listed(const char *const *list, const char *name)
{
	for (FLOW_EACH(one, list))
		if (strcmp(*one, name) == 0)
			return true;
	return false;
}

static void add_edges(json_t *edges, const struct snapshot *snapshot, const char *role)
{
	const struct flow_stage *stage = flow_stage_of_role(role);
	char group[SHM_NAME_MAX];
	for (unsigned i = 0; i < snapshot->n_topics; i++) {
		const struct snapshot_topic *topic = &snapshot->topic[i];
		if (writes(topic, role))
			add_edge(edges, role, topic->name, NULL);
		if (stage != NULL && has_group(topic, flow_group(stage, role, group)))
			add_edge(edges, topic->name, role, group);
	}
	for (unsigned i = 0; stage != NULL && i < snapshot->n_queues; i++) {
		const char *queue = snapshot->queue[i].name;
		if (listed(stage->puts, queue))
			add_edge(edges, role, queue, NULL);
		if (listed(stage->takes, queue))
			add_edge(edges, queue, role, NULL);
	}
}

json_t *look_flow(const struct snapshot *snapshot)
{
	json_t *nodes = json_array(), *edges = json_array();
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		add_node(nodes, snapshot->stage[i].name, "stage", snapshot->stage[i].program);
		add_edges(edges, snapshot, snapshot->stage[i].name);
	}
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		add_node(nodes, snapshot->topic[i].name, "topic", NULL);
	for (unsigned i = 0; i < snapshot->n_queues; i++)
		add_node(nodes, snapshot->queue[i].name, "queue", NULL);
	return json_pack("{s:o, s:o}", "nodes", nodes, "edges", edges);
}
