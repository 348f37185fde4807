/* Accounts that have sent events of topic metric (known.h), from the database alone.
 *
 *     {"username": "kodingbot", "first_seen": "2026-11-27T10:00:00.123Z", "first_seen_ms": 1795773600123}
 */
#ifndef SINK_TALLY_ACCOUNTS_H
#define SINK_TALLY_ACCOUNTS_H

#include <stdint.h>

#include "shm/segment.h"

/* One account, by its name. Returns 0 with *json, one line without a newline, malloced; otherwise
 * -errno with a line for a person in error: -ENOENT no event of this account came, as far as is
 * known: error has the number of events of accounts that were not told apart because of
 * tally.accounts or the length of their names; -ENODATA there is no database yet; -EPROTO the
 * file is not ours or of another version; -EACCES, -EBUSY, -EIO, -ENOMEM. */
int accounts_json(const char *data_dir, const char *username, char **json, struct shm_error *error);

#endif
