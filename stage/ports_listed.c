/* Alone in this file, so that a program that does not need the configuration does not link it. */
#include <stdbool.h>
#include <stdio.h>

#include "flow/flow.h"
#include "stage/ports.h"

/* The section whose option `topics` says what the role reads; any text where its row does. */
static bool find_section(const struct flow_stage *stage, const struct config *config, const char *role,
                         char section[SHM_NAME_MAX + 16])
{
	long entry = 0;
	if (stage->processes == FLOW_ENTRIES)
		entry = flow_entry(stage, config, role);
	snprintf(section, SHM_NAME_MAX + 16, "%s[%ld]", stage->section, entry);
	return entry >= 0;
}

void ports_declare_listed(struct ports_wanted *wanted, const struct config *config)
{
	const struct flow_stage *stage = flow_stage_of_role(wanted->role);
	char section[SHM_NAME_MAX + 16];
	const char *topic;
	unsigned n = 0;
	if (stage == NULL || !find_section(stage, config, wanted->role, section))
		return;
	wanted->reads = NULL;
	for (size_t i = 0; n < PORTS_READS_MAX; i++) {
		topic = flow_reads(stage, config, section, i);
		if (topic == NULL)
			return;
		if (instance_topic_index(wanted->instance, topic) >= 0 &&
		    topic_has_required(wanted->instance, topic, wanted->group))
			wanted->listed[n++] = topic;
	}
}
