/* A snapshot as JSON: what `millrace stat --json` prints. The keys are in millrace-stat(1) and
 * stay.
 */
#ifndef LOOK_JSON_H
#define LOOK_JSON_H

#include <jansson.h>

#include "look/rates.h"

/* The snapshot rates->now as one object, which the caller frees with json_decref; NULL when out of
 * memory. With an earlier snapshot, lanes, groups and the ledger have their rates too. */
json_t *look_json(const struct rates *rates, const char *instance);

#endif
