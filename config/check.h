/* Checks the values of a completed tree: each by its option, then against each other. */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/tree.h"

/* Adds an error for each value that its option does not take, for each listen address that is not
 * one or overlaps another, and for each other combination that is not allowed. */
void config_check(const struct config_node *tree, struct config_errors *errors);

#endif
