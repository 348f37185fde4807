/* The gate before a store: when may the next request go?
 *
 *     OPEN --a request fails--> SHUT until a time drawn between 0 and the bound --> TRIAL: one request at a time
 *      ^                          ^        the bound doubles each time                |
 *      '------- it works ---------'---------------- it fails -------------------------'
 *
 * Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): many sinks that lost the
 * same store do not come back at once. What a person must mend (-EACCES) waits for half the longest
 * bound at least, and is probed first, as is a store at the start.
 */
#ifndef SINK_OBJECTS_GATE_H
#define SINK_OBJECTS_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate {
	uint64_t first_ns, most_ns; /* the bound at first, and at most */
	uint64_t random;            /* state, not 0 */
	unsigned failures;          /* in a row */
	uint64_t until_ns;          /* CLOCK_MONOTONIC; no request before */
	bool probed;                /* the store has answered a probe since it was last refused */
	bool probe_failed;          /* what failed last was a probe */
	uint64_t failing_since_ns;  /* CLOCK_REALTIME; 0: OPEN */
	char reason[256];
	uint64_t told_ns; /* when the log said so last; CLOCK_MONOTONIC */
	bool told;        /* of the present failure */
};

void gate_init(struct gate *gate, uint64_t first_ns, uint64_t most_ns, uint64_t seed);

/* May a request go, while so many are under way? Of an unprobed store: a probe alone may. */
bool gate_open(const struct gate *gate, unsigned under_way, uint64_t now_ns);

/* A request has failed: result is -EAGAIN, -EACCES or -EINPROGRESS. wait_ns: what the store asked
 * for. */
void gate_failed(struct gate *gate, int result, bool probe, const char *reason, uint64_t wait_ns,
                 uint64_t now_ns);

/* A request was answered. One that was under way when another failed does not open the gate. */
void gate_worked(struct gate *gate, bool probe, uint64_t now_ns);

#endif
