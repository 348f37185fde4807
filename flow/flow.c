#include "flow/flow.h"

#include <stdio.h>
#include <string.h>

#include "event/event.h"

static const struct flow_stage *find(const char *name, size_t bytes)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++)
		if (strlen(stages[i].name) == bytes && memcmp(stages[i].name, name, bytes) == 0)
			return &stages[i];
	return NULL;
}

const struct flow_stage *flow_stage_find(const char *name)
{
	return find(name, strlen(name));
}

const struct flow_stage *flow_stage_of_role(const char *role)
{
	const char *dot = strrchr(role, '.');
	return find(role, dot != NULL ? (size_t)(dot - role) : strlen(role));
}

const char *const *flow_writes(const struct flow_stage *stage, const char *format)
{
	static const char *const nothing[] = {NULL};
	if (stage->formats == NULL)
		return stage->writes != NULL ? stage->writes : nothing;
	for (const struct flow_format *row = stage->formats; row->name != NULL; row++)
		if (format != NULL && strcmp(row->name, format) == 0)
			return row->writes;
	return nothing;
}

const char *flow_group(const struct flow_stage *stage, const char *role, char group[SHM_NAME_MAX])
{
	const char *dot = strrchr(role, '.');
	const char *name = stage->processes != FLOW_ENTRIES      ? stage->name
	                   : stage->kinds != NULL && dot != NULL ? dot + 1
	                                                         : role;
	snprintf(group, SHM_NAME_MAX, "%s", name);
	return group;
}

static bool common(const char *const *a, const char *const *b)
{
	for (FLOW_EACH(one, a))
		for (FLOW_EACH(other, b))
			if (strcmp(*one, *other) == 0)
				return true;
	return false;
}

/* Whether reader may read or take what writer writes or puts. */
static bool feeds(const struct flow_stage *writer, const struct flow_stage *reader)
{
	bool any = reader->processes == FLOW_ENTRIES;
	for (const struct flow_format *row = writer->formats; row != NULL && row->name != NULL; row++)
		if (any || common(row->writes, reader->reads))
			return true;
	return (any && writer->writes != NULL) || common(writer->writes, reader->reads) ||
	       common(writer->puts, reader->takes);
}

unsigned flow_rank(const struct flow_stage *stage)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	bool takes_in = stage->processes == FLOW_DATAGRAMS || stage->processes == FLOW_CONNECTIONS;
	unsigned rank = takes_in ? 0 : 1;
	bool last = stage->processes == FLOW_LISTENS;
	for (const struct flow_stage *above = stages; above < stage; above++)
		if ((last || feeds(above, stage)) && flow_rank(above) >= rank)
			rank = flow_rank(above) + 1;
	return rank;
}

unsigned flow_ranks(void)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	unsigned ranks = 0;
	for (size_t i = 0; i < n; i++)
		if (flow_rank(&stages[i]) >= ranks)
			ranks = flow_rank(&stages[i]) + 1;
	return ranks;
}

uint16_t flow_topic_type(const char *topic)
{
	size_t n;
	const struct flow_topic *topics = flow_topics(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(topics[i].name, topic) == 0)
			return topics[i].type;
	return EVENT_NONE;
}
