/* The loop of a stage, its signals, and the watch over its parent.
 *
 *     work:     poll poll poll | tick | poll poll ...          a tick every 100 ms
 *     no work:  poll idle(to the next tick) | tick | poll idle(500 ms) | tick | ...
 *
 * An idle stage wakes twice a second: once for its tick, which is also its heartbeat. At each tick
 * the loop looks whether the instance's page is the one that is mapped (one stat(2)): after a
 * reload it takes the new one; when there is none the stage is lost.
 */
#ifndef STAGE_LOOP_H
#define STAGE_LOOP_H

#include <sys/types.h>

#include "stage/stage.h"

/* Whose child the process is. */
struct loop_parent {
	pid_t pid;           /* at the start of the process */
	uint32_t supervisor; /* of the instance when the stage joined; 0 when it has none */
};

/* Asks the kernel for SIGTERM when the parent dies. Call it early: a parent that dies before is
 * noticed by loop_parent_gone only. */
void loop_watch_parent(struct loop_parent *parent);

/* True when the parent has died, also when that was before loop_watch_parent could ask, or when the
 * instance has another supervisor than the one that the stage joined. */
bool loop_parent_gone(const struct loop_parent *parent, const struct instance_page *page);

/* SIGTERM sets stage->draining from now on, without restarting what it interrupts; SIGUSR1 sets
 * stage->requested, also one that came while it was blocked; SIGINT, SIGHUP and SIGPIPE are
 * ignored. */
void loop_signals(struct stage *stage);

/* Brings the metrics that every stage has up to date; the loop does it at each tick. */
void loop_count(struct stage *stage);

/* Runs until the stage has drained; without a supervisor for drain_timeout at most. */
void loop_run(struct stage *stage, const struct loop_parent *parent);

#endif
