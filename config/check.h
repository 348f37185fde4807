/* Values of a completed tree: each by its option, then what they say together. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/tree.h"

/* Adds an error for each value that its option does not take, each listen address that is none or
 * stands twice, and each other pair of values that cannot be together. */
void config_check(const struct config_node *tree, struct config_errors *errors);

#endif
