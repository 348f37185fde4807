#include "cli/sink.h"

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

static const struct snapshot_metric *find(const struct snapshot_stage *stage, const char *name)
{
	for (unsigned i = 0; i < stage->n_metrics; i++)
		if (strcmp(stage->metric[i].about.name, name) == 0)
			return &stage->metric[i];
	return NULL;
}

bool sink_has_metric(const struct snapshot_stage *stage, const char *name)
{
	return find(stage, name) != NULL;
}

uint64_t sink_metric(const struct snapshot_stage *stage, const char *name)
{
	const struct snapshot_metric *metric = find(stage, name);
	return metric == NULL ? 0 : metric->value;
}
