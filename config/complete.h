/* Turns what people write into what the schema takes: adds missing sections and defaults, makes
 * lists of single values, applies --set.
 *
 *     file's tree --config_complete_sections--> + top-level sections of the embedded default that the file does not have
 *                 --config_set--> each --set in order
 *                 --config_complete--> every option has a value, every list is a list
 *
 * What does not fit the schema is left as it is; config_data_load reports it.
 */
#ifndef CONFIG_COMPLETE_H
#define CONFIG_COMPLETE_H

#include "config/schema.h"

/* Moves children of defaults that tree does not have into tree. Both are maps. The caller
 * frees defaults afterwards. */
void config_complete_sections(struct config_node *tree, struct config_node *defaults);

/* Applies one "KEY=VALUE" to the tree; origin says which set it is. */
void config_set(struct config_node *tree, const char *set, const struct config_origin *origin,
                struct config_errors *errors);

/* Sets key to the text itself, which is not read as YAML. */
void config_set_text(struct config_node *tree, const char *key, const char *text,
                     const struct config_origin *origin, struct config_errors *errors);

/* Completes the tree in place. Adds errors for scalars without a value and for names that
 * are not allowed. */
void config_complete(struct config_node *tree, const struct config_origin *defaults,
                     struct config_errors *errors);

#define CONFIG_PATH_MAX 600

/* Writes the path of a key below parent ("" for the root), or of entry i of parent, into
 * CONFIG_PATH_MAX bytes. */
void config_path_key(char *path, const char *parent, const char *name);
void config_path_entry(char *path, const char *parent, size_t i);

#endif
