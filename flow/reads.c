/* Alone in this file, so that a program that does not need the configuration does not link it. */
#include "flow/flow.h"

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
