/* The requests that a sender has: those under way with the times when they are late, and those that
 * have ended and wait to be given back.
 *
 *     under_way_begin --> busy --under_way_due, under_way_late--> busy
 *                           '--under_way_leave--> under_way_ended --under_way_next--> the caller's again
 *
 * What ended first is given back first. The times are on the caller's clock, in ns. A request is
 * linked by members of its own, so nothing here takes memory, or fails.
 */
#ifndef DELIVER_UNDER_WAY_H
#define DELIVER_UNDER_WAY_H

#include "deliver/sender.h"

struct under_way {
	struct list busy, ended;
	unsigned n_busy;
	/* Not after the first due_ns of busy ones. It may lie before all of them: then a look at
	 * all finds nothing and moves it. As requests end long before they are due, that is about
	 * once a time-out. */
	uint64_t due_ns;
};

void under_way_open(struct under_way *all);
/* Those that have ended are the caller's again. None is busy. */
void under_way_close(struct under_way *all);

/* The request is busy from now on; own, which is not NULL, is the sender's. It is due when its
 * sender says so. */
void under_way_begin(struct under_way *all, struct sender_request *request, void *own, uint64_t now_ns);

/* What a busy request does next has timeout_ns from now, but not longer than the whole request. */
void under_way_due(struct under_way *all, struct sender_request *request, uint64_t timeout_ns,
                   uint64_t now_ns);

/* The request, busy or ended, is the caller's again; its own is NULL. */
void under_way_leave(struct under_way *all, struct sender_request *request);

/* A request that was busy, and has left, or never was, has ended. */
void under_way_ended(struct under_way *all, struct sender_request *request);

bool under_way_any_ended(const struct under_way *all);

/* The first that has ended, which is the caller's again; NULL: none. */
struct sender_request *under_way_next(struct under_way *all);

/* Any busy one; NULL: none. */
struct sender_request *under_way_busy(const struct under_way *all);

/* Calls late for each busy request that is due, which ends it, or says when it is due next. It does
 * nothing to others. */
void under_way_late(struct under_way *all, uint64_t now_ns, void (*late)(struct sender_request *request));

/* How long a sender with these may sleep: timeout_ns at most, and not at all when one has ended. */
uint64_t under_way_timeout(const struct under_way *all, uint64_t timeout_ns, uint64_t now_ns);

#endif
