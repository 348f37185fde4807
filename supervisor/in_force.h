/* What shared memory says of the configuration in force.
 *
 *     configuration, plan --in_force_write--> NAME/config.yaml      for all processes of the instance: "***" in the place of each secret
 *                                             .NAME.secrets/<role>  for each role whose section has secrets: those, for it alone
 *     config.yaml --config_load_instance--> configuration --in_force_read_secrets--> the same with all secrets
 *
 * The sandbox of a stage lets it read the whole folder of its instance, because lanes and groups
 * come and go there; so secrets lie beside it, where it is let in nowhere (Landlock cannot except
 * a file below a folder that it allows). A stage has read its own before.
 *
 * The folder of secrets is there as long as a role has any and the instance's folder is there. It
 * has the owner and the mode of that one, is made and removed with the instance's lock held, and
 * outlives whatever the instance outlives. Each file is written under another name and renamed: a
 * process that starts meanwhile reads the old one or the new one. The secrets come first, so that
 * what config.yaml masks is there.
 */
#ifndef SUPERVISOR_IN_FORCE_H
#define SUPERVISOR_IN_FORCE_H

#include "config/config.h"
#include "supervisor/plan.h"

/* Writes them, and removes the files of roles that have no secrets or are not in the plan, and
 * those that an older program left in the instance's folder. Returns 0, or -errno with the reason:
 * then each file is the old or the new one. */
int in_force_write(const struct plan *plan, const struct config *config, struct shm_error *error);

/* For the supervisor's next program, which goes on with what is in force: puts the secrets of all
 * roles of the plan into the configuration that the folder has. Returns 0, or -EINVAL with every
 * error, one a line, in *errors (malloced). */
int in_force_read_secrets(const struct plan *plan, struct config *config, char **errors);

/* Removes the instance's folder of secrets with all that is in it; does nothing when there is none,
 * or it is another user's. With the instance's lock held. */
void in_force_remove_secrets(const char *directory);

/* The same of an instance whose folder was removed while it ran, unless there is another of its
 * name: then they are that one's. */
void in_force_remove_orphaned(const char *directory);

#endif
