#include "sink/objects/gate.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define TELL_NS (10 * NS_PER_SEC) /* between two lines of the log */

void gate_init(struct gate *gate, uint64_t first_ns, uint64_t most_ns, uint64_t seed)
{
	*gate = (struct gate){.first_ns = first_ns, .most_ns = most_ns, .random = seed | 1};
}

bool gate_open(const struct gate *gate, unsigned under_way, uint64_t now_ns)
{
	bool one = gate->failing_since_ns != 0 || !gate->probed;
	return now_ns >= gate->until_ns && (!one || under_way == 0);
}

/* xorshift64* (Vigna 2016). Below `most`. */
static uint64_t draw(struct gate *gate, uint64_t most)
{
	uint64_t x = gate->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	gate->random = x;
	return most == 0 ? 0 : x * 0x2545f4914f6cdd1du % most;
}

static uint64_t bound_ns(const struct gate *gate)
{
	uint64_t bound = gate->first_ns;
	for (unsigned i = 1; i < gate->failures && bound < gate->most_ns; i++)
		bound *= 2;
	return bound < gate->most_ns ? bound : gate->most_ns;
}

void gate_failed(struct gate *gate, int result, bool probe, const char *reason, uint64_t wait_ns,
                 uint64_t now_ns)
{
	gate->failures++;
	uint64_t wait = draw(gate, bound_ns(gate));
	if (result == -EACCES) {
		wait = gate->most_ns / 2 + draw(gate, gate->most_ns / 2);
		gate->probed = false;
	}
	gate->until_ns = now_ns + (wait > wait_ns ? wait : wait_ns);
	gate->probe_failed = probe;
	snprintf(gate->reason, sizeof gate->reason, "%s", reason);
	if (gate->failing_since_ns != 0)
		return;
	gate->failing_since_ns = clock_real_ns();
	/* one that fails and works in turn is not worth a line each time */
	gate->told = gate->told_ns == 0 || now_ns - gate->told_ns >= TELL_NS;
	if (!gate->told)
		return;
	gate->told_ns = now_ns;
	log_error("the store fails, what is not in it is kept and tried again", "reason=\"%s\"", reason);
}

void gate_worked(struct gate *gate, bool probe, uint64_t now_ns)
{
	if (now_ns < gate->until_ns)
		return; /* it was under way before the other one failed */
	if (probe) {
		gate->probed = true;
		gate->until_ns = 0;
		if (!gate->probe_failed)
			return; /* what failed has still to show that it works */
	}
	if (gate->failing_since_ns != 0 && gate->told)
		log_info("the store works again", NULL);
	gate->failures = 0;
	gate->until_ns = 0;
	gate->failing_since_ns = 0;
	gate->reason[0] = '\0';
}
