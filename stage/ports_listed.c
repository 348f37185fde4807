/* Alone in this file, so that a program that does not need the configuration does not link it. */
#include <stdio.h>

#include "flow/flow.h"
#include "stage/ports.h"

void ports_declare_listed(struct ports_wanted *wanted, const struct config *config)
{
	const struct flow_stage *stage = flow_stage_of_role(wanted->role);
	char section[SHM_NAME_MAX + 16];
	const char *topic;
	long entry = stage == NULL ? -1 : flow_entry(stage, config, wanted->role);
	unsigned n = 0;
	if (entry < 0)
		return;
	snprintf(section, sizeof section, "%s[%ld]", stage->section, entry);
	for (size_t i = 0; n < PORTS_READS_MAX; i++) {
		topic = flow_reads(stage, config, section, i);
		if (topic == NULL)
			return;
		if (instance_topic_index(wanted->instance, topic) >= 0 &&
		    topic_has_required(wanted->instance, topic, wanted->group))
			wanted->listed[n++] = topic;
	}
}
