#include "sink/tally/networks.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "sink/tally/space.h"

#define SLOTS_MIN        4096u
#define SLOTS_PER_RECORD 4u /* moved: the old table is through before a third as many could be added */
#define GIVE_BACK_BYTES  (4u << 20) /* of the old table at a time */

static uint64_t table_bytes(uint64_t n_slots)
{
	return (n_slots + NETWORKS_PROBE_MAX) * sizeof(struct network);
}

/* Pages come when they are first touched, so a new table costs nothing yet. Huge pages are not
 * asked for: lookups in 10 M networks were no faster with them, and each took 9 ms to come. */
static struct network *map_table(uint64_t n_slots)
{
	return space_reserve(table_bytes(n_slots));
}

static uint64_t slots_for(uint64_t networks)
{
	uint64_t slots = networks + networks / 2 + 1;
	return slots < SLOTS_MIN ? SLOTS_MIN : slots;
}

int networks_init(struct networks *networks, uint64_t max, uint64_t expected,
                  const uint64_t secret[NETWORKS_SECRETS])
{
	uint64_t n_slots = slots_for(expected < max ? expected : max);
	*networks = (struct networks){
	        .slot = map_table(n_slots),
	        .n_slots = n_slots,
	        .max_slots = slots_for(max),
	        .secret = {secret[0], secret[1] | 1, secret[2] | 1, secret[3] | 1},
	};
	return networks->slot == NULL ? -ENOMEM : 0;
}

void networks_fini(struct networks *networks)
{
	space_release(networks->slot, table_bytes(networks->n_slots));
	space_release(networks->old, table_bytes(networks->n_old));
	*networks = (struct networks){0};
}

void networks_forget(struct networks *networks)
{
	space_release(networks->old, table_bytes(networks->n_old));
	networks->old = NULL;
	space_empty(networks->slot, table_bytes(networks->n_slots));
	networks->n = 0;
}

/* No memory for a larger table is not an error yet: the present one goes on filling, and
 * networks_at says full when probes get long. It is tried again at the next network. */
static void begin_to_grow(struct networks *networks)
{
	uint64_t n_slots = networks->n_slots * 2;
	if (n_slots > networks->max_slots)
		n_slots = networks->max_slots;
	struct network *slot = map_table(n_slots);
	if (slot == NULL)
		return;
	networks->old = networks->slot;
	networks->n_old = networks->n_slots;
	networks->frontier = 0;
	networks->given_back = 0;
	networks->slot = slot;
	networks->n_slots = n_slots;
}

void networks_added(struct networks *networks)
{
	networks->n++;
	if (networks->n * 3 > networks->n_slots * 2 && networks->n_slots < networks->max_slots &&
	    networks->old == NULL)
		begin_to_grow(networks);
}

static void move_one(struct networks *networks, const struct network *from)
{
	struct network *to =
	        networks->slot + networks_home(networks_hash(networks, network_key(from)), networks->n_slots);
	for (unsigned i = 0; i < NETWORKS_PROBE_MAX; i++, to++) {
		if (to->hosts == 0) {
			*to = *from;
			return;
		}
	}
	/* A chain this long in a table half empty: the next life draws other secrets. */
	fprintf(stderr, "tally: no place for a network in a larger table\n");
	abort();
}

void networks_step(struct networks *networks, uint64_t records)
{
	if (networks->old == NULL)
		return;
	uint64_t end = networks->n_old + NETWORKS_PROBE_MAX;
	uint64_t at = networks->frontier;
	uint64_t stop = at + records * SLOTS_PER_RECORD;
	/* On to an empty slot: a key whose home is past the frontier may lie in a run of full
	 * slots that reaches over it. */
	for (; at < end && (at < stop || networks->old[at].hosts != 0); at++)
		if (networks->old[at].hosts != 0)
			move_one(networks, &networks->old[at]);
	networks->frontier = at;
	if (at == end) {
		space_release(networks->old, table_bytes(networks->n_old));
		networks->old = NULL;
		return;
	}
	uint64_t passed = at * sizeof(struct network) & ~(uint64_t)(GIVE_BACK_BYTES - 1);
	if (passed > networks->given_back) {
		space_empty((char *)networks->old + networks->given_back, passed - networks->given_back);
		networks->given_back = passed;
	}
}

uint64_t networks_bytes_max(uint64_t max)
{
	return table_bytes(slots_for(max)) + 2 * GIVE_BACK_BYTES;
}
