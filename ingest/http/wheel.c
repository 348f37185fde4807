#include "ingest/http/wheel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put(struct wheel *wheel, uint32_t i, uint32_t list)
{
	struct wheel_entry *entry = &wheel->entry[i];
	entry->list = list;
	entry->previous = 0;
	entry->next = wheel->head[list];
	if (entry->next != 0)
		wheel->entry[entry->next - 1].previous = i + 1;
	wheel->head[list] = i + 1;
}

static void take_out(struct wheel *wheel, uint32_t i)
{
	struct wheel_entry *entry = &wheel->entry[i];
	if (entry->previous != 0)
		wheel->entry[entry->previous - 1].next = entry->next;
	else
		wheel->head[entry->list] = entry->next;
	if (entry->next != 0)
		wheel->entry[entry->next - 1].previous = entry->previous;
	entry->list = 0;
}

/* Ticks from now until the slot of a deadline is looked at; of one that is past or far away, the
 * next and the farthest slot. */
static uint32_t distance(const struct wheel *wheel, uint64_t deadline_ns)
{
	uint64_t tick = deadline_ns / WHEEL_TICK_NS;
	if (tick <= wheel->now_tick)
		return 0;
	return tick - wheel->now_tick < WHEEL_SLOTS ? (uint32_t)(tick - wheel->now_tick) : WHEEL_SLOTS - 1;
}

static uint32_t list_at(const struct wheel *wheel, uint32_t ticks)
{
	return (uint32_t)((wheel->now_tick + ticks) % WHEEL_SLOTS) + 1;
}

/* Ticks from now until the list that an entry is in is looked at. */
static uint32_t distance_of_list(const struct wheel *wheel, uint32_t list)
{
	return (list - 1 + WHEEL_SLOTS - (uint32_t)(wheel->now_tick % WHEEL_SLOTS)) % WHEEL_SLOTS;
}

void wheel_set(struct wheel *wheel, uint32_t i, uint64_t deadline_ns)
{
	struct wheel_entry *entry = &wheel->entry[i];
	entry->deadline_ns = deadline_ns;
	if (deadline_ns == 0 || entry->list == WHEEL_DUE)
		return; /* it will be looked at anyway */
	uint32_t ticks = distance(wheel, deadline_ns);
	if (entry->list != 0) {
		if (distance_of_list(wheel, entry->list) <= ticks)
			return;
		take_out(wheel, i);
	}
	put(wheel, i, list_at(wheel, ticks));
}

/* All slots that have expired go into one list first. So whatever the callee does, each of their
 * entries is looked at once, and one that is put anew is not met again in this turn. */
static void collect_due(struct wheel *wheel, uint64_t tick)
{
	for (unsigned n = 0; wheel->now_tick < tick; wheel->now_tick++, n++) {
		if (n == WHEEL_SLOTS) { /* a whole turn: all have been seen */
			wheel->now_tick = tick;
			return;
		}
		uint32_t list = list_at(wheel, 0);
		while (wheel->head[list] != 0) {
			uint32_t i = wheel->head[list] - 1;
			take_out(wheel, i);
			put(wheel, i, WHEEL_DUE);
		}
	}
}

void wheel_turn(struct wheel *wheel, uint64_t now_ns, void (*expired)(void *user, uint32_t i), void *user)
{
	collect_due(wheel, now_ns / WHEEL_TICK_NS);
	while (wheel->head[WHEEL_DUE] != 0) {
		uint32_t i = wheel->head[WHEEL_DUE] - 1;
		struct wheel_entry *entry = &wheel->entry[i];
		take_out(wheel, i);
		if (entry->deadline_ns > now_ns) {
			put(wheel, i, list_at(wheel, distance(wheel, entry->deadline_ns)));
		} else if (entry->deadline_ns != 0) {
			entry->deadline_ns = 0;
			expired(user, i);
		}
	}
}

int wheel_init(struct wheel *wheel, uint32_t n, uint64_t now_ns)
{
	memset(wheel, 0, sizeof *wheel);
	wheel->entry = calloc(n, sizeof *wheel->entry);
	if (wheel->entry == NULL)
		return -ENOMEM;
	wheel->n = n;
	wheel->now_tick = now_ns / WHEEL_TICK_NS;
	return 0;
}

void wheel_fini(struct wheel *wheel)
{
	free(wheel->entry);
	memset(wheel, 0, sizeof *wheel);
}
