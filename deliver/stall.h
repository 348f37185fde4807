/* Whether the queue waits for a host that is full.
 *
 *     full --the host took STALL_LEAST in the last STALL_WINDOW_NS--> wait: the queue is its backlog
 *      '--it took fewer--> slow: what comes for it goes to deliver.db, for a second, then two, four ...
 *
 * A host that takes thousands a second frees a place in less than a millisecond, and writing to a
 * database what it would take by then costs more than sending it. For a slow host nobody waits: its
 * postbacks would hold up those for others behind them. The longest that a slow host holds the
 * queue up is one window, each time that it is tried again.
 */
#ifndef DELIVER_STALL_H
#define DELIVER_STALL_H

#include <stdbool.h>
#include <stdint.h>

#define STALL_WINDOW_NS (100 * 1000000ull)
#define STALL_LEAST     150u /* in a window: 1,500 a second */
#define STALL_HOSTS     64u  /* two that fall on one place are taken for one: no harm */

/* Zero at first. */
struct stalls {
	struct stall_host {
		uint64_t hash;      /* of its origin; 0 none */
		uint64_t window_ns; /* when the window began; 0 none is open */
		unsigned taken;     /* in the window */
		unsigned slow;      /* times in a row that it was found so */
		uint64_t slow_ns;   /* until then it is slow */
	} host[STALL_HOSTS];
	bool any; /* a window is open */
};

/* The host of this origin is full: shall the queue wait for it? */
bool stall_waits(struct stalls *stalls, const char *origin, uint64_t now_ns);

/* It took one. */
void stall_passed(struct stalls *stalls, const char *origin);

#endif
