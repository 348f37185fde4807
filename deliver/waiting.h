/* What waits for a later attempt, and what is dead: the SQLite database <data_dir>/deliver.db.
 *
 *                                .--due------------------------------.
 *     put LATER (due) --> later -'                                    v
 *     put PARKED ------------------------------------------------> parked --claim--> claimed by a role --+--> done: deleted
 *                                  ^                                                                     |
 *                                  '---put LATER, put PARKED---------------------------------------------+--> put dead
 *     dead --replay (dead.h)--> parked
 *
 *     postback  seq, id (32 hexadecimal digits), state, owner (role), due_ms, endpoint, origin, method, arrival_ns, source, source_port,
 *               attempts, first_ms, dead_ms, reason, url, data, history: one row for each, whatever its state
 *     gone      endpoint, until_ms: answered 410
 *     total     state -> rows, kept by triggers: counting costs nothing
 *     waiting, dead: views of the same with names for states, for other tools
 *
 *     later     index over due_ms where state is later
 *     parked    index over (endpoint, due_ms) where state is parked; so one endpoint's backlog is never searched for another's
 *     claimed   index over owner where state is claimed
 *     dead      index over dead_ms where state is dead
 *
 * history: a JSON array, {"at": ms, "status": 503, "error": "...", "ms": 12} for each attempt that
 * had an outcome; the oldest WAITING_HISTORY are kept, and the last.
 *
 * Several processes (K roles, the millrace command) write to it: write-ahead log, each commit under
 * BEGIN IMMEDIATE with a busy time-out. What puts, deletes and dead letters write is
 * synchronous=FULL: the queue's slot is freed after it, so the promise holds over a power cut.
 * Claims alone are NORMAL: one that is lost is claimed again. The log is copied into the database
 * by the commit that makes it long; one that cannot start over, because some program reads on and
 * on, grows to its limit.
 *
 * A claimed row belongs to its role until the role puts or deletes it. The next life of the role
 * takes all its rows back to parked (waiting_open), and roles that are no longer planned are taken
 * back by waiting_adopt. A role is one process, by <role>.lock below data_dir: the same role of
 * another instance is refused.
 *
 * One file for all roles: deliver.db, application_id "mill", user_version WAITING_VERSION, mode
 * 0600 (URLs can hold secrets). A file that is gone or another is seen by inode before each
 * transaction and after it: -ESTALE. Then close, open again, and put what is in memory.
 */
#ifndef DELIVER_WAITING_H
#define DELIVER_WAITING_H

#include <stdbool.h>
#include <stdint.h>

#include "event/event.h"
#include "shm/segment.h"

#define WAITING_FILE    "deliver.db"
#define WAITING_VERSION 1
#define WAITING_HISTORY 32u

#define WAITING_LOG_BYTES (1ull << 30)

struct waiting; /* opaque; one thread */

/* A postback as the database has it. Texts are the caller's when it puts, and the database's until
 * the next call when it gives one. */
struct waiting_row {
	/* with its texts: id, method, url, data, arrival, source */
	const struct event_postback *postback;
	uint32_t bytes;
	const char *endpoint, *origin; /* of its target; "" when its URL does not compile */
	unsigned attempts;
	int64_t first_ms, due_ms; /* CLOCK_REALTIME */
	const char *history;      /* "" none */
};

/* Opens data_dir/deliver.db, made when it is not there, and gives back what the last life of the
 * role had claimed. Returns 0, to be closed with waiting_close; otherwise -errno with a line in
 * error: -EPROTO the file is something else or of another version; -EOPNOTSUPP the file system
 * takes no write-ahead log; -EBUSY another process of that role has it open, or others hold it for
 * too long; -EACCES, -ENOSPC, -EIO, ... role "": one that claims nothing
 * (the command); then a file that is not there is not made: -ENOENT. */
int waiting_open(struct waiting **waiting, const char *data_dir, const char *role, struct shm_error *error);
void waiting_close(struct waiting *waiting);

/* Opens it to look: read-only, for dead_list, dead_show, known_json and waiting_count alone. Makes
 * nothing, claims nothing and waits busy_ms at most for others. Returns as waiting_open, -ENOENT
 * when there is no such file. */
int waiting_open_to_read(struct waiting **waiting, const char *data_dir, unsigned busy_ms,
                         struct shm_error *error);

/* deliver.log_limit: no transaction is begun while the write-ahead log holds so many bytes and
 * cannot start over. Without this call WAITING_LOG_BYTES. */
void waiting_limit_log(struct waiting *waiting, uint64_t bytes);

/* Why the last call that returned -errno without an error of its own did. Until the next call. */
const char *waiting_reason(const struct waiting *waiting);

/* Could waiting_open take the file as it is? Makes and changes nothing. Not seen: a file system
 * that takes no write-ahead log. Not for a process that has it open (SQLite's locks would go). */
int waiting_try(const char *data_dir, struct shm_error *error);

/* ---- one transaction: everything from waiting_begin to waiting_commit, or nothing ---- */

/* durable: commit waits for the disk. Returns 0; -EBUSY when another writes for longer than the
 * time-out (short from the second time on, so that the caller has time for other things), or the
 * log is at its limit; -ESTALE when the file is gone or another; -errno. */
int waiting_begin(struct waiting *waiting, bool durable, struct shm_error *error);
/* Returns 0; or -errno, and then nothing may be settled on it: the transaction has not happened, or
 * its file is no longer the database (-ESTALE), or (rare: -EIO) it may yet have reached the disk.
 * What was put may be put again. */
int waiting_commit(struct waiting *waiting, struct shm_error *error);
void waiting_cancel(struct waiting *waiting);

/* Each of these may be repeated for the same id: the last counts. 0 or -errno; after an error only
 * waiting_cancel. */
int waiting_put_later(struct waiting *waiting, const struct waiting_row *row); /* due at row->due_ms */
int waiting_put_parked(struct waiting *waiting,
                       const struct waiting_row *row); /* due_ms orders it within its endpoint */
int waiting_put_dead(struct waiting *waiting, const struct waiting_row *row, const char *reason,
                     int64_t now_ms);
int waiting_delete(struct waiting *waiting, const struct event_postback *postback);
int waiting_put_gone(struct waiting *waiting, const char *endpoint, int64_t until_ms); /* 0: no longer */

/* Rows whose time has come become parked, at most `most`. Returns how many, or -errno. */
int waiting_promote(struct waiting *waiting, int64_t now_ms, unsigned most);

/* Is it there, in whatever state? For a queue's slot whose life ended between the commit and the
 * freeing. 1, 0 or -errno. */
int waiting_has(struct waiting *waiting, const struct event_postback *postback);

/* Claims parked rows for this role, in turns over endpoints from the last one on: at most `looks`
 * endpoints are asked about by `room` (0: nothing now), at most `most` rows in all; give is called
 * for each row, within the transaction: what it got counts once waiting_commit has returned 0, and
 * is to be let go otherwise. A row that makes no sense becomes a dead letter. Returns how many were
 * claimed, or -errno. */
typedef unsigned waiting_room(void *argument, const char *origin, const char *endpoint);
typedef void waiting_give(void *argument, const struct waiting_row *row);
int waiting_claim(struct waiting *waiting, unsigned looks, unsigned most, waiting_room *room,
                  waiting_give *give, void *argument);

/* What others claimed whose role is not planned any more: is_gone says whether a role has no
 * process and gets none. Returns rows, or -errno. */
int waiting_adopt(struct waiting *waiting, bool (*is_gone)(void *argument, const char *role), void *argument);

/* Dead letters older than keep_ms (0: any age), and the oldest over `most` (0: any number), are
 * deleted, about WAITING_EXPIRE_MOST a call; so are endpoints that are gone no longer. Returns how
 * many dead letters, at least so many when there may be more; or -errno. */
#define WAITING_EXPIRE_MOST 1000
int waiting_expire_dead(struct waiting *waiting, int64_t now_ms, int64_t keep_ms, uint64_t most);

/* ---- looking, outside of a transaction too ---- */

struct waiting_counts {
	uint64_t later, parked, claimed, dead;
};
int waiting_count(struct waiting *waiting, struct waiting_counts *counts);

/* The earliest due_ms of rows that are later, INT64_MAX when there are none. */
int64_t waiting_next_due_ms(struct waiting *waiting);

/* Whether another process has written since the last call (PRAGMA data_version); true when that
 * cannot be told. */
bool waiting_changed(struct waiting *waiting);

/* Calls each for every endpoint that is gone now. */
int waiting_each_gone(struct waiting *waiting, int64_t now_ms,
                      void (*each)(void *argument, const char *endpoint, int64_t until_ms), void *argument);

/* Is it gone now? 1, 0 or -errno. */
int waiting_is_gone(struct waiting *waiting, const char *endpoint, int64_t now_ms);

/* Appends an attempt to a history (malloced JSON array, or NULL): returns the new one, the old one
 * is freed; NULL: no memory, and the old one stays. */
char *waiting_history(char *history, int64_t at_ms, unsigned status, const char *error, uint32_t total_us);

#endif
