/* What deliver.db knows of one postback, whatever its state: for who looks a postback up by its id
 * (serve).
 *
 *     {"state": "later", "due_ts", ...}   waits for its next attempt; parked: for room; claimed: a process has it
 *     {"state": "dead", "dead_ts", "reason", ...}
 *     and, as dead_json.h has them, id, endpoint, method, url (secrets are ***), attempts, status, first_ts,
 *     postback_ts, data, history
 *
 * A postback that is not there is in the queue, under way for the first time, delivered, or purged.
 */
#ifndef DELIVER_KNOWN_H
#define DELIVER_KNOWN_H

#include <jansson.h>

#include "deliver/record.h"
#include "deliver/waiting.h"

/* id: 32 hexadecimal digits, lower case. Returns 1 with *json (json_decref); 0: it is not there;
 * -errno with error. waiting may be open for reading alone. */
int known_json(struct waiting *waiting, const struct redact *redact, const char *id, json_t **json,
               struct shm_error *error);

#endif
