/* Secrets in the data of a configuration: masked, written apart for the role whose section has
 * them, and put back.
 *
 *     data --config_secrets_mask---> a document with "***"         config.yaml, check --effective
 *          --config_secrets_write--> {"kafka.bus": {"password": "..."}}
 *     data with "***", and that document --config_secrets_take--> data with the section's values
 *
 * Keys are those below the section: the document stays good when the entry takes another place in
 * its list. It names its role, and no other takes it.
 */
#ifndef CONFIG_SECRETS_H
#define CONFIG_SECRETS_H

#include "config/data.h"

/* Writes all of the data with CONFIG_MASK for each secret that is not empty; those of the section
 * `except` (NULL: none) as they are. Returns 0 or -errno. */
int config_secrets_mask(const struct config_data *data, const char *except, FILE *out);

/* Whether a secret in the section is not empty, is CONFIG_MASK. */
bool config_secrets_any(const struct config_data *data, const char *section);
bool config_secrets_masked(const struct config_data *data, const char *section);

/* Writes the role's document. Returns 0 or -errno. */
int config_secrets_write(const struct config_data *data, const char *section, const char *role, FILE *out);

/* Takes the role's document. It must have exactly the secrets that are masked in the section, and
 * each as its option takes it: otherwise adds errors, which have no value in them. name stands for
 * the file there. */
void config_secrets_take(struct config_data *data, const char *section, const char *role, const char *name,
                         const char *text, size_t bytes, struct config_errors *errors);

/* Where those that are neither empty nor credential:NAME were written: the strongest of the sources
 * (enum config_rank). */
unsigned config_secrets_rank(const struct config_data *data, const struct config_node *tree);

/* Adds an error for each secret that somebody wrote as CONFIG_MASK into the completed tree. */
void config_secrets_refuse_masks(const struct config_data *data, const struct config_node *tree,
                                 struct config_errors *errors);

#endif
