/* A dead letter as JSON: what `millrace dead --json` and the stage `serve` show. Secrets in its URL
 * are "***" (deliver.redact).
 *
 *     {"id", "dead_ts", "reason", "endpoint", "method", "url", "attempts", "status", "first_ts", "postback_ts"}
 *     whole: and {"data", "history": [{"at", "status", "error", "ms"}]}
 *
 * millrace-dead(1) explains the keys.
 */
#ifndef DELIVER_DEAD_JSON_H
#define DELIVER_DEAD_JSON_H

#include <jansson.h>

#include "deliver/dead.h"
#include "deliver/record.h"

/* The caller frees it with json_decref. NULL: no memory. */
json_t *dead_json(const struct dead_letter *letter, const struct redact *redact, bool whole);

#endif
