/* Which keys an entry of a list takes, where the entries are of several kinds.
 *
 *     sinks:
 *       - {name: logs, kind: objects, tails: 512MiB}     tails is for objects alone
 *       - {name: bus, kind: kafka, brokers: [a:9092]}    brokers for kafka alone
 *
 * All keys lie in one schema; the rows ONLY of a checks.def (config/check.h) say which of them are
 * for some kinds only. A key that an entry's kind does not have is an error when somebody wrote it;
 * otherwise it is not there: it has no default, it is not written, and asking for it is our own
 * bug.
 */
#ifndef CONFIG_KINDS_H
#define CONFIG_KINDS_H

#include "config/tree.h"

/* Whether an entry takes the key. path is the entry's ("sinks[0]"); true for whatever is no entry
 * of a list with kinds, and for an entry whose kind is none that there is. */
bool config_kinds_take(const char *path, const struct config_node *entry, const char *key);

/* Says that the key is for other kinds, and what this entry takes: "is for kind kafka, this entry
 * is of kind file; allowed: name, kind, ...". Returns buffer. */
char *config_kinds_explain(const char *path, const struct config_node *entry, const char *key, char *buffer,
                           size_t size);

#endif
