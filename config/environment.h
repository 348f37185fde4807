/* The environment as a source of values: variables that people set for the programs that this one
 * replaces (environment.def), so that they need not learn options first.
 *
 *     the file's tree, with the default's sections --config_environment_apply--> + values of the environment --> --set
 *
 * Only for a start (config_load_to_start): config.yaml of a running instance has the values, and
 * the environment of whoever reads it must not change them.
 *
 * Some of the names are in many environments by chance. So:
 *   - ADDR and PORT name the first HTTP listener alone, and give way to a file that says where it listens
 *   - credentials and names of buckets count only when STORAGE (or three names of the old program at
 *     once) says that they are meant
 *   - what counts, and what does not, is told: config_environment_note
 * The others are stronger than the file, as MILLRACE_INSTANCE is. Empty means not set.
 */
#ifndef CONFIG_ENVIRONMENT_H
#define CONFIG_ENVIRONMENT_H

#include "config/tree.h"

/* What came of the variables, one line each: "PORT=3000 -> ingest.http[0].listen=[::]:3000".
 * Secrets are "***". */
struct config_environment {
	char **note;
	size_t n;
};

struct config_variable {
	const char *name, *help;
};

/* All variables in the order of the documents; *n is set to their number. */
const struct config_variable *config_variables(size_t *n);

/* Puts the values of the environment into the tree, or adds errors that name the variable. said
 * begins as {0}. */
void config_environment_apply(struct config_node *tree, struct config_errors *errors,
                              struct config_environment *said);

void config_environment_fini(struct config_environment *said);

#endif
