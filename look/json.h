/* A snapshot as JSON: what `millrace stat --json` prints. millrace-stat(1) lists the keys; they do
 * not change.
 */
#ifndef LOOK_JSON_H
#define LOOK_JSON_H

#include <jansson.h>

#include "look/rates.h"

/* Returns the snapshot rates->now as one object; the caller frees it with json_decref. NULL when
 * out of memory. With an earlier snapshot, lanes, groups and the ledger have rates too. */
json_t *look_json(const struct rates *rates, const char *instance);

/* The same for who looks each second: without files, metrics and reasons of rejections that are 0,
 * and histograms but those that are named (NULL-ended list). */
json_t *look_json_lean(const struct rates *rates, const char *instance, const char *const *histograms);

#endif
