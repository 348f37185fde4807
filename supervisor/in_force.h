/* What the instance's folder says of the configuration in force.
 *
 *     configuration, plan --in_force_write--> config.yaml      for all processes of the instance: "***" in the place of each secret
 *                                             <role>.secrets   for each role whose section has secrets: those, for it alone
 *     config.yaml --config_load_instance--> configuration --in_force_read_secrets--> the same with all secrets
 *
 * Each file is written under another name and renamed: a process that starts meanwhile reads the
 * old one or the new one. The secrets come first, so that what config.yaml masks is there.
 */
#ifndef SUPERVISOR_IN_FORCE_H
#define SUPERVISOR_IN_FORCE_H

#include "config/config.h"
#include "supervisor/plan.h"

/* Writes them into the plan's folder, and removes the files of roles that have no secrets or are
 * not in the plan. Returns 0, or -errno with the reason: then each file is the old or the new
 * one. */
int in_force_write(const struct plan *plan, const struct config *config, struct shm_error *error);

/* For the supervisor's next program, which goes on with what is in force: puts the secrets of all
 * roles of the plan into the configuration that the folder has. Returns 0, or -EINVAL with every
 * error, one a line, in *errors (malloced). */
int in_force_read_secrets(const struct plan *plan, struct config *config, char **errors);

#endif
