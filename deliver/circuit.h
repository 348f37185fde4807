/* The circuit of an endpoint: when an endpoint that fails is sent nothing but now and then a probe.
 *
 *     closed --`failures` in a row--> open --pause--> probing: one request --good--> closed
 *        ^                             ^                 |--failed--> open, the pause doubled up to pause_most
 *        '--any success----------------'                 '--nothing was learnt--> open, the next probe is due
 *     any --410--> gone --its time is over--> probing, as if it were open
 *
 * Each pause is longer or shorter by up to a tenth of it, by chance, so that processes and
 * endpoints do not probe together. Everything here is a function of its arguments.
 */
#ifndef DELIVER_CIRCUIT_H
#define DELIVER_CIRCUIT_H

#include <stdbool.h>
#include <stdint.h>

#include "deliver/policy.h"

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_PROBING, CIRCUIT_GONE };

/* Zero at first: closed. */
struct circuit {
	enum circuit_state state;
	unsigned failures; /* in a row */
	uint64_t pause_ns; /* the last one, without its jitter; 0 none */
	uint64_t until_ns; /* open: probed then; gone: until then */
};

/* May one be sent? A probe is due: it may, and circuit_probe is to be called. */
enum circuit_leave { CIRCUIT_PASSES, CIRCUIT_PROBE_DUE, CIRCUIT_WAITS, CIRCUIT_IS_GONE };
enum circuit_leave circuit_leave(const struct circuit *circuit, uint64_t now_ns);

/* A probe is on its way. */
void circuit_probe(struct circuit *circuit);
/* It came back without an attempt, or with one that says nothing: the next one is due. */
void circuit_unprobe(struct circuit *circuit, uint64_t now_ns);

/* An attempt was good. */
void circuit_good(struct circuit *circuit);
/* An attempt failed; probe: it was the probe. chance: any 64 random bits. True when it opened by
 * it: from closed, not again after a probe. */
bool circuit_failed(struct circuit *circuit, const struct policy_circuit *policy, bool probe, uint64_t now_ns,
                    uint64_t chance);
void circuit_gone(struct circuit *circuit, uint64_t until_ns);

#endif
