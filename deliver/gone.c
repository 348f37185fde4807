#include "deliver/gone.h"

#include <stdio.h>

#include "deliver/deliver.h"

#define BACK_MOST 16u /* endpoints that come back in one go */

struct learning {
	struct deliver *deliver;
	int64_t now_ms;
	unsigned n_back;
	char back[BACK_MOST][TARGET_ENDPOINT_MAX];
};

static void set(void *argument, const char *endpoint, int64_t until_ms)
{
	struct learning *learning = argument;
	struct deliver *deliver = learning->deliver;
	uint64_t left_ms = until_ms > learning->now_ms ? (uint64_t)(until_ms - learning->now_ms) : 0;
	hosts_set_gone(deliver->hosts, endpoint, deliver->now_ns + left_ms * NS_PER_MS, deliver->now_ns);
}

static void look_for_back(void *argument, const struct endpoint *endpoint)
{
	struct learning *learning = argument;
	struct waiting *waiting = learning->deliver->writing.waiting;
	if (endpoint->circuit.state == CIRCUIT_GONE && learning->n_back < BACK_MOST &&
	    waiting_is_gone(waiting, endpoint->name, learning->now_ms) == 0)
		snprintf(learning->back[learning->n_back++], TARGET_ENDPOINT_MAX, "%s", endpoint->name);
}

void gone_learn(struct deliver *deliver)
{
	struct learning learning = {.deliver = deliver, .now_ms = clock_real_ms()};
	(void)waiting_each_gone(deliver->writing.waiting, learning.now_ms, set, &learning);
	do {
		learning.n_back = 0;
		hosts_each_open(deliver->hosts, UINT32_MAX, look_for_back, &learning);
		for (unsigned i = 0; i < learning.n_back; i++)
			hosts_close_circuit(deliver->hosts, learning.back[i], deliver->now_ns);
	} while (learning.n_back == BACK_MOST);
}
