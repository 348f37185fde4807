/* A limit of time for what reads SQLite: each connection that is opened while it is set is ended
 * when the time is over (sqlite3_progress_handler), whichever reader opened it.
 *
 *     limit_begin(2 s);  report_json(...) ... -ETIMEDOUT;  limit_end()
 *
 * One thread. It does not end waits for a lock; who waits bounds them. A reader waits only while
 * another process recovers the log after a crash: 200 ms for deliver.db, 2 s for tally.db. A replay
 * waits up to 1 s while others write deliver.db, and up to 5 s while they recover its log.
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
