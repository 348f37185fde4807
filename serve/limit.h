/* A limit of time for what reads SQLite: each connection that is opened while it is set is ended
 * when the time is over (sqlite3_progress_handler), whichever reader opened it.
 *
 *     limit_begin(2 s);  report_json(...) ... -ETIMEDOUT;  limit_end()
 *
 * One thread. Waits for a lock are the readers' own, and short.
 */
#ifndef SERVE_LIMIT_H
#define SERVE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* Once, before a database is opened. Returns false when SQLite refuses. */
bool limit_init(void);

void limit_begin(uint64_t timeout_ns);

/* Whether the time was over in between. */
bool limit_end(void);

#endif
