#include "deliver/circuit.h"

#include <math.h>

#define PAUSE_JITTER 0.1

enum circuit_leave circuit_leave(const struct circuit *circuit, uint64_t now_ns)
{
	switch (circuit->state) {
	case CIRCUIT_CLOSED:
		return CIRCUIT_PASSES;
	case CIRCUIT_OPEN:
		return now_ns >= circuit->until_ns ? CIRCUIT_PROBE_DUE : CIRCUIT_WAITS;
	case CIRCUIT_GONE:
		return now_ns >= circuit->until_ns ? CIRCUIT_PROBE_DUE : CIRCUIT_IS_GONE;
	case CIRCUIT_PROBING:
		break;
	}
	return CIRCUIT_WAITS;
}

void circuit_probe(struct circuit *circuit)
{
	circuit->state = CIRCUIT_PROBING;
}

void circuit_unprobe(struct circuit *circuit, uint64_t now_ns)
{
	if (circuit->state != CIRCUIT_PROBING)
		return;
	circuit->state = CIRCUIT_OPEN;
	circuit->until_ns = now_ns;
}

void circuit_good(struct circuit *circuit)
{
	*circuit = (struct circuit){.state = CIRCUIT_CLOSED};
}

static void pause_for(struct circuit *circuit, const struct policy_circuit *policy, uint64_t now_ns,
                      uint64_t chance)
{
	uint64_t most_ns =
	        policy->pause_most_ns > policy->pause_ns ? policy->pause_most_ns : policy->pause_ns;
	uint64_t pause_ns = circuit->pause_ns == 0 ? policy->pause_ns : circuit->pause_ns * 2;
	circuit->pause_ns = pause_ns < most_ns ? pause_ns : most_ns;
	double part = ldexp((double)(chance >> 11), -52) - 1;
	circuit->until_ns = now_ns + (uint64_t)((double)circuit->pause_ns * (1 + PAUSE_JITTER * part));
	circuit->state = CIRCUIT_OPEN;
}

bool circuit_failed(struct circuit *circuit, const struct policy_circuit *policy, bool probe, uint64_t now_ns,
                    uint64_t chance)
{
	if (circuit->failures < UINT32_MAX)
		circuit->failures++;
	if (circuit->state == CIRCUIT_PROBING && probe) {
		pause_for(circuit, policy, now_ns, chance);
		return false;
	}
	/* What was under way when it opened says nothing new. */
	if (circuit->state != CIRCUIT_CLOSED || policy->failures == 0 || circuit->failures < policy->failures)
		return false;
	pause_for(circuit, policy, now_ns, chance);
	return true;
}

void circuit_gone(struct circuit *circuit, uint64_t until_ns)
{
	circuit->state = CIRCUIT_GONE;
	circuit->until_ns = until_ns;
}
