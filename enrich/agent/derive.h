/* The fields that are derived from uap-core's and from words in the agent; the rules are in
 * agent.h. */
#ifndef ENRICH_AGENT_DERIVE_H
#define ENRICH_AGENT_DERIVE_H

#include "enrich/agent/agent.h"

/* Sets type, draws, version, browser and os. uap-core's fields are there, and the matcher has
 * passed over the text. */
void derive(const struct matcher *matcher, const char *text, size_t bytes, struct agent *agent);

/* Appends text to the agent and makes it the field: cut at AGENT_FIELD_MAX between characters. */
void derive_append(struct agent *agent, enum agent_field field, const char *text, size_t bytes);

#endif
