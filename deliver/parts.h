/* The parts of the stage, made from the configuration: guard, names, policies, hosts, templates,
 * the sender, and memory for the deliveries. */
#ifndef DELIVER_PARTS_H
#define DELIVER_PARTS_H

#include "deliver/deliver.h"

/* Returns 0, or -errno with "KEY: WHAT" in error; parts_close either way. */
int parts_open(struct deliver *deliver, const struct config *config, struct shm_error *error);

/* What is under way is left. Also for what was opened in part. */
void parts_close(struct deliver *deliver);

/* As stage_ops has them. */
int parts_check(const struct config *config, const char *section, struct shm_error *error);
uint64_t parts_memory_max(const struct config *config, const char *section);

#endif
