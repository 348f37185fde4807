/* What the configuration says of entries. Alone in this file, so that a program that does not need
 * the configuration does not link it. */
#include <stdlib.h>
#include <string.h>

#include "flow/flow.h"

bool flow_serves(const struct flow_stage *stage, const struct config *config, size_t i)
{
	if (stage->kinds == NULL)
		return true;
	const char *kind = config_string(config, "%s[%zu].kind", stage->section, i);
	for (FLOW_EACH(one, stage->kinds))
		if (strcmp(*one, kind) == 0)
			return true;
	return false;
}

long flow_entry(const struct flow_stage *stage, const struct config *config, const char *role)
{
	const char *dot = strrchr(role, '.'), *name = dot == NULL ? role : dot + 1;
	size_t n = config_count(config, "%s", stage->section);
	if (stage->kinds == NULL) {
		size_t number = strtoul(name, NULL, 10);
		return number < n ? (long)number : -1;
	}
	for (size_t i = 0; i < n; i++)
		if (flow_serves(stage, config, i) &&
		    strcmp(config_string(config, "%s[%zu].name", stage->section, i), name) == 0)
			return (long)i;
	return -1;
}

const char *flow_reads(const struct flow_stage *stage, const struct config *config, const char *section,
                       size_t i)
{
	if (stage->processes == FLOW_ENTRIES)
		return i < config_count(config, "%s.topics", section)
		               ? config_item(config, i, "%s.topics", section)
		               : NULL;
	for (FLOW_EACH(topic, stage->reads))
		if (i-- == 0)
			return *topic;
	return NULL;
}
