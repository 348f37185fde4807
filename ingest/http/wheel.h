/* A timer wheel (G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP 1987): one
 * deadline per connection, moved at no cost.
 *
 *     slot:  0    1    2   ...  WHEEL_SLOTS - 1      a slot is WHEEL_TICK_NS long and holds a list of connections
 *            |    |
 *            7    3 - 12
 *
 * A deadline that moves later, as with every request, or is taken out, is one store: the connection
 * stays in its list, and when its slot comes round it is put where it belongs by then. One that
 * moves earlier is moved at once; one beyond a whole turn of the wheel waits in the farthest slot.
 * Lists are doubly linked by index: no memory but the array, and of it only what is used.
 */
#ifndef INGEST_HTTP_WHEEL_H
#define INGEST_HTTP_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_SLOTS   512u
#define WHEEL_TICK_NS (250ull * 1000 * 1000) /* deadlines are kept to this: never early, at most this late */

struct wheel_entry {
	uint64_t deadline_ns;    /* 0: none */
	uint32_t next, previous; /* entry + 1; 0: none */
	uint32_t list;           /* slot + 1, or WHEEL_DUE; 0: in none */
};

#define WHEEL_DUE (WHEEL_SLOTS + 1) /* the list of those that wheel_turn is looking at */

struct wheel {
	struct wheel_entry *entry; /* n, by connection */
	uint32_t n;
	uint32_t head[WHEEL_SLOTS + 2]; /* by list: entry + 1; 0: empty */
	uint64_t now_tick;              /* slots before it have been looked at */
};

/* Returns 0 or -ENOMEM. now_ns is any clock that does not go back, the same for all calls. */
int wheel_init(struct wheel *wheel, uint32_t n, uint64_t now_ns);

/* Does nothing to a wheel that is all zero. */
void wheel_fini(struct wheel *wheel);

/* Sets the deadline of entry i < n; 0 takes it out. One that is past already comes with the next
 * tick. */
void wheel_set(struct wheel *wheel, uint32_t i, uint64_t deadline_ns);

/* Calls expired(user, i) for each entry whose deadline has come, in no particular order; it has
 * none then. The callee may set it anew, and may set or take out any others. Called at least once a
 * tick, no deadline is kept more than a tick late. */
void wheel_turn(struct wheel *wheel, uint64_t now_ns, void (*expired)(void *user, uint32_t i), void *user);

#endif
