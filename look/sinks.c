#include "look/sinks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/flow.h"

bool sink_is(const struct snapshot_stage *stage)
{
	const struct flow_stage *row = flow_stage_of_role(stage->name);
	return row != NULL && row->kinds != NULL && strcmp(row->section, "sinks") == 0;
}

const char *sink_name(const struct snapshot_stage *stage)
{
	const char *dot = strchr(stage->name, '.');
	return dot == NULL ? stage->name : dot + 1;
}

bool sink_has_metric(const struct snapshot_stage *stage, const char *name)
{
	return snapshot_metric_find(stage, name) != NULL;
}

uint64_t sink_metric(const struct snapshot_stage *stage, const char *name)
{
	const struct snapshot_metric *metric = snapshot_metric_find(stage, name);
	return metric == NULL ? 0 : metric->value;
}

/* ---- uploads that were lost ---- */

json_t *sink_abandoned(const char *data_dir, const char *sink, char path[PATH_MAX])
{
	json_t *all = NULL;
	char *line = NULL;
	size_t room = 0;
	snprintf(path, PATH_MAX, "%s/sinks/%s.abandoned", data_dir, sink);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return NULL;
	while (getline(&line, &room, file) > 0 && json_array_size(all) < SINKS_ABANDONED_MAX) {
		json_t *one = json_loads(line, 0, NULL);
		if (all == NULL)
			all = json_array();
		if (json_is_object(one))
			json_array_append(all, one);
		json_decref(one);
	}
	free(line);
	fclose(file);
	return all;
}

/* ---- as JSON ---- */

static void add_metric(json_t *object, const struct snapshot_stage *stage, const char *name)
{
	if (sink_has_metric(stage, name))
		json_object_set_new(object, name, json_integer((json_int_t)sink_metric(stage, name)));
}

static json_t *sink_json(const struct snapshot_stage *stage, const char *data_dir)
{
	static const char *const names[] = {
	        "open_objects",  "waiting_bytes", "waiting_records",  "uncommitted_records",
	        "objects",       "object_bytes",  "last_object_time", "oldest_unsafe_seconds",
	        "failing_since", "abandoned",     "spool_parts",      "spool_bytes",
	        "spooled"};
	char path[PATH_MAX];
	json_t *one = json_object();
	bool failing = sink_metric(stage, "failing") != 0;
	json_object_set_new(one, "name", json_string(sink_name(stage)));
	json_object_set_new(one, "stage", json_string(stage->name));
	json_object_set_new(one, "program", json_string(stage->program));
	json_object_set_new(one, "state", json_string(snapshot_state(stage)));
	json_object_set_new(one, "pid", json_integer(stage->pid));
	json_object_set_new(one, "failing", json_boolean(failing));
	json_object_set_new(one, "note", json_string(stage->note));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		add_metric(one, stage, names[i]);
	json_t *abandoned = data_dir[0] != '\0' ? sink_abandoned(data_dir, sink_name(stage), path) : NULL;
	if (abandoned != NULL) {
		json_object_set_new(one, "abandoned_uploads", abandoned);
		json_object_set_new(one, "abandoned_file", json_string(path));
		json_object_set_new(one, "abandoned_remedy", json_string(SINKS_REMEDY));
	}
	return one;
}

json_t *sinks_json(const struct snapshot *snapshot, const char *instance, const char *data_dir)
{
	json_t *sinks = json_array();
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		if (sink_is(&snapshot->stage[i]))
			json_array_append_new(sinks, sink_json(&snapshot->stage[i], data_dir));
	return json_pack("{s:s, s:o}", "instance", instance, "sinks", sinks);
}
