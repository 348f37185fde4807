/* What a stage says of itself on --help: its command line, its options, its metrics, all from the
 * tables. */
#ifndef STAGE_HELP_H
#define STAGE_HELP_H

#include "stage/stage.h"

/* Writes the whole text. */
void help_write(const struct stage_ops *ops, FILE *out);

/* The section of the configuration that the stage's options begin with; returns buffer. */
char *help_section(const struct stage_ops *ops, char *buffer, size_t size);

/* True when the option's key is in the section: "tally.addresses" in "tally", "ingest.udp[].format"
 * in "ingest.udp". */
bool help_in_section(const struct config_option *option, const char *section);

#endif
