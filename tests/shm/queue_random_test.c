/* The queue against a list of what each message's fate must be: many users in one thread do what
 * chance tells them, and some die. MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/queue.h"
#include "tests/fixture/draw.h"

#define USERS    6u
#define HOLD_MAX 5u
#define STEPS    40000u

enum fate { NEVER, READY_NOW, HELD, DONE };

struct actor {
	struct queue queue;
	unsigned role;
	struct queue_slot filling[HOLD_MAX], holding[HOLD_MAX];
	uint64_t number[HOLD_MAX]; /* in holding[] */
	unsigned n_filling, n_holding;
};

struct world {
	struct queue_shared *shared;
	size_t bytes;
	uint64_t slots;
	struct actor actor[USERS];
	unsigned char fate[STEPS + 1];
	uint64_t numbers, ready, claimed;
};

static void reserve(struct world *world, struct actor *actor)
{
	struct queue_slot *slot = &actor->filling[actor->n_filling];
	if (actor->n_filling == HOLD_MAX)
		return;
	if (queue_reserve(&actor->queue, slot)) {
		actor->n_filling++;
		world->claimed++;
	} else { /* only when all is claimed, or something is ready that has been overtaken */
		assert_true(world->ready > 0 || world->claimed == world->slots);
	}
}

static void commit_or_cancel(struct world *world, struct actor *actor)
{
	if (actor->n_filling == 0)
		return;
	unsigned i = draw_below(actor->n_filling);
	struct queue_slot slot = actor->filling[i];
	actor->filling[i] = actor->filling[--actor->n_filling];
	world->claimed--;
	if (draw_below(8) == 0) {
		assert_int_equal(queue_cancel(&actor->queue, &slot), 0);
		return;
	}
	uint64_t number = ++world->numbers;
	memcpy(slot.data, &number, sizeof number);
	assert_int_equal(queue_commit(&actor->queue, &slot, sizeof number), 0);
	world->fate[number] = READY_NOW;
	world->ready++;
}

static void take(struct world *world, struct actor *actor)
{
	struct queue_slot *slot = &actor->holding[actor->n_holding];
	if (actor->n_holding == HOLD_MAX)
		return;
	if (!queue_take(&actor->queue, slot)) {
		assert_int_equal(world->ready, 0);
		return;
	}
	uint64_t number;
	memcpy(&number, slot->data, sizeof number);
	assert_in_range(number, 1, world->numbers);
	assert_int_equal(world->fate[number], READY_NOW);
	world->fate[number] = HELD;
	world->ready--;
	world->claimed++;
	actor->number[actor->n_holding++] = number;
}

static void finish(struct world *world, struct actor *actor)
{
	if (actor->n_holding == 0)
		return;
	unsigned i = draw_below(actor->n_holding);
	struct queue_slot slot = actor->holding[i];
	uint64_t number = actor->number[i];
	actor->holding[i] = actor->holding[--actor->n_holding];
	actor->number[i] = actor->number[actor->n_holding];
	world->claimed--;
	if (draw_below(4) == 0) {
		assert_int_equal(queue_give_back(&actor->queue, &slot), 0);
		world->fate[number] = READY_NOW;
		world->ready++;
	} else {
		assert_int_equal(queue_done(&actor->queue, &slot), 0);
		world->fate[number] = DONE;
	}
}

/* Dies, is repaired by another, and joins again. */
static void die(struct world *world, struct actor *actor)
{
	struct queue_repaired repaired = queue_repair(&world->actor[draw_below(USERS)].queue, actor->role);
	assert_int_equal(repaired.dropped, actor->n_filling);
	assert_int_equal(repaired.given_back, actor->n_holding);
	for (unsigned i = 0; i < actor->n_holding; i++)
		world->fate[actor->number[i]] = READY_NOW;
	world->ready += actor->n_holding;
	world->claimed -= actor->n_holding + actor->n_filling;
	actor->n_holding = actor->n_filling = 0;
	assert_int_equal(queue_join(&actor->queue, world->shared, world->bytes, actor->role), 0);
}

static void step(struct world *world)
{
	struct actor *actor = &world->actor[draw_below(USERS)];
	unsigned what = draw_below(100);
	/* favour one side for a while, so that the queue runs full and empty */
	bool filling_time = world->numbers / 64 % 2 == 0;
	if (what == 0)
		die(world, actor);
	else if (what < (filling_time ? 35 : 20))
		reserve(world, actor);
	else if (what < 55)
		commit_or_cancel(world, actor);
	else if (what < (filling_time ? 70 : 85))
		take(world, actor);
	else
		finish(world, actor);
}

static void expect_rest(struct world *world)
{
	for (unsigned i = 0; i < USERS; i++)
		while (world->actor[i].n_filling + world->actor[i].n_holding > 0)
			die(world, &world->actor[i]);
	for (struct actor *last = &world->actor[0]; world->ready > 0;) {
		take(world, last);
		world->fate[last->number[0]] = DONE;
		assert_int_equal(queue_done(&last->queue, &last->holding[0]), 0);
		last->n_holding = 0;
		world->claimed--;
	}
	for (uint64_t number = 1; number <= world->numbers; number++)
		assert_int_equal(world->fate[number], DONE);
	struct queue_counts counts;
	queue_count(&world->actor[0].queue, &counts);
	assert_int_equal(counts.free, world->slots);
}

static void whatever_users_do_each_message_has_one_fate(void **state)
{
	(void)state;
	static struct world world;
	for (uint64_t slots = 2; slots <= 512; slots *= 2) {
		memset(&world, 0, sizeof world);
		world.slots = slots;
		world.bytes = queue_bytes(slots, 8);
		world.shared = aligned_alloc(SHM_LINE, world.bytes);
		assert_non_null(world.shared);
		memset(world.shared, 0, world.bytes);
		assert_int_equal(queue_init(world.shared, world.bytes, slots, 8), 0);
		for (unsigned i = 0; i < USERS; i++) {
			world.actor[i].role = i + 1;
			assert_int_equal(queue_join(&world.actor[i].queue, world.shared, world.bytes, i + 1),
			                 0);
		}
		for (unsigned i = 0; i < STEPS; i++)
			step(&world);
		assert_true(world.numbers > STEPS / 100);
		expect_rest(&world);
		free(world.shared);
	}
}

int main(void)
{
	alarm(30);
	draw_init((uint64_t)time(NULL));
	const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_users_do_each_message_has_one_fate)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
