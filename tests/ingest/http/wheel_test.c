/* The wheel against a model that looks at every deadline; MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "ingest/http/wheel.h"
#include "tests/fixture/draw.h"

#define N     500u
#define STEPS 30000u

static struct wheel wheel;
static uint64_t now_ns;
static uint64_t deadline_ns[N]; /* the model: 0 is none */
static uint64_t set_ns[N];      /* when it was set */
static uint64_t n_expired;

static void set(uint32_t i, uint64_t at_ns)
{
	wheel_set(&wheel, i, at_ns);
	deadline_ns[i] = at_ns;
	set_ns[i] = now_ns;
}

/* Mostly within seconds, some within minutes, a few far beyond a turn of the wheel (128 s), a few
 * past. */
static uint64_t draw_deadline(void)
{
	static const uint64_t span[] = {WHEEL_TICK_NS, 8 * WHEEL_TICK_NS, 200 * WHEEL_TICK_NS,
	                                WHEEL_SLOTS * WHEEL_TICK_NS, 20 * WHEEL_SLOTS * WHEEL_TICK_NS};
	if (draw_one_in(20))
		return draw_one_in(2) ? 1 : now_ns;
	return now_ns + draw() % span[draw_below(5)];
}

/* By chance the callee sets it anew, or moves or takes out others: also such as are due in the same
 * turn. */
static void expired(void *user, uint32_t i)
{
	assert_ptr_equal(user, &wheel);
	assert_true(deadline_ns[i] != 0);
	assert_true(deadline_ns[i] <= now_ns);
	deadline_ns[i] = 0;
	n_expired++;
	if (draw_one_in(3))
		set(i, draw_deadline());
	if (draw_one_in(3))
		set(draw_below(N), draw_deadline());
	if (draw_one_in(3))
		set(draw_below(N), 0);
}

/* After a turn none is late by more than a tick; for what was past when it was set, that counts
 * from then on. */
static void assert_none_late(void)
{
	for (uint32_t i = 0; i < N; i++) {
		uint64_t from_ns = deadline_ns[i] > set_ns[i] ? deadline_ns[i] : set_ns[i];
		if (deadline_ns[i] != 0)
			assert_true(from_ns + WHEEL_TICK_NS > now_ns);
	}
}

static void turn(uint64_t ns)
{
	now_ns += ns;
	wheel_turn(&wheel, now_ns, expired, &wheel);
	assert_none_late();
}

static void no_deadline_comes_early_or_more_than_a_tick_late(void **state)
{
	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		for (unsigned n = draw_below(4); n > 0; n--)
			set(draw_below(N), draw_one_in(5) ? 0 : draw_deadline());
		if (draw_one_in(2000))
			turn((1 + draw_below(3)) * WHEEL_SLOTS * WHEEL_TICK_NS + draw() % WHEEL_TICK_NS);
		else
			turn(draw() % (draw_one_in(10) ? 40 * WHEEL_TICK_NS : 2 * WHEEL_TICK_NS));
	}
	assert_true(n_expired > STEPS / 4);
	/* In the end all of them come. */
	for (unsigned k = 0; k < 1000000; k++) {
		bool any = false;
		for (uint32_t i = 0; i < N; i++)
			any |= deadline_ns[i] != 0;
		if (!any)
			return;
		turn(100 * WHEEL_TICK_NS);
		for (uint32_t i = 0; i < N; i++) /* the callee sets new ones */
			if (deadline_ns[i] > now_ns && draw_one_in(2))
				set(i, 0);
	}
	fail_msg("deadlines remain");
}

static unsigned alone_expired;

static void alone(void *user, uint32_t i)
{
	(void)user;
	assert_int_equal(i, 3);
	alone_expired++;
}

/* Every tick is one call, as the stage's loop does it. */
static void assert_expires_at(uint64_t at_ns)
{
	alone_expired = 0;
	for (; now_ns < at_ns; now_ns += WHEEL_TICK_NS / 2) {
		wheel_turn(&wheel, now_ns, alone, NULL);
		assert_int_equal(alone_expired, 0);
	}
	now_ns = at_ns + WHEEL_TICK_NS;
	wheel_turn(&wheel, now_ns, alone, NULL);
	assert_int_equal(alone_expired, 1);
}

static void a_deadline_of_an_hour_comes_after_an_hour(void **state)
{
	(void)state;
	uint64_t hour_ns = 3600ull * 1000 * 1000 * 1000;
	wheel_set(&wheel, 3, now_ns + hour_ns);
	assert_expires_at(now_ns + hour_ns);
}

static void a_deadline_that_moves_counts_as_it_was_moved_last(void **state)
{
	(void)state;
	uint64_t begin_ns = now_ns;
	wheel_set(&wheel, 3, begin_ns + 4 * WHEEL_TICK_NS);
	wheel_set(&wheel, 3, begin_ns + 700 * WHEEL_TICK_NS);
	wheel_set(&wheel, 3, begin_ns + 300 * WHEEL_TICK_NS);
	assert_expires_at(begin_ns + 300 * WHEEL_TICK_NS);
	wheel_set(&wheel, 3, now_ns + 9 * WHEEL_TICK_NS);
	wheel_set(&wheel, 3, 0);
	alone_expired = 0;
	for (unsigned n = 0; n < 3 * WHEEL_SLOTS; n++)
		wheel_turn(&wheel, now_ns += WHEEL_TICK_NS, alone, NULL);
	assert_int_equal(alone_expired, 0);
	/* And taken out it can be put in again, earlier than it was. */
	wheel_set(&wheel, 3, now_ns + 400 * WHEEL_TICK_NS);
	wheel_set(&wheel, 3, 0);
	wheel_set(&wheel, 3, now_ns + 2 * WHEEL_TICK_NS);
	assert_expires_at(now_ns + 2 * WHEEL_TICK_NS);
}

static void moving_a_deadline_later_touches_no_other_connection(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < N; i++)
		wheel_set(&wheel, i, now_ns + 5 * WHEEL_TICK_NS);
	struct wheel_entry before[N];
	memcpy(before, wheel.entry, sizeof before);
	for (uint32_t i = 0; i < N; i++)
		wheel_set(&wheel, i, now_ns + (6 + i) * WHEEL_TICK_NS);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(wheel.entry[i].next, before[i].next);
		assert_int_equal(wheel.entry[i].previous, before[i].previous);
		assert_int_equal(wheel.entry[i].list, before[i].list);
	}
}

static int open_wheel(void **state)
{
	(void)state;
	now_ns = 1 + draw() % (1ull << 50);
	memset(deadline_ns, 0, sizeof deadline_ns);
	return wheel_init(&wheel, N, now_ns);
}

static int close_wheel(void **state)
{
	(void)state;
	wheel_fini(&wheel);
	wheel_fini(&wheel);
	return 0;
}

int main(void)
{
	alarm(60);
	draw_init(20261121);
#define WITH_WHEEL(test) cmocka_unit_test_setup_teardown(test, open_wheel, close_wheel)
	const struct CMUnitTest tests[] = {
	        WITH_WHEEL(no_deadline_comes_early_or_more_than_a_tick_late),
	        WITH_WHEEL(a_deadline_of_an_hour_comes_after_an_hour),
	        WITH_WHEEL(a_deadline_that_moves_counts_as_it_was_moved_last),
	        WITH_WHEEL(moving_a_deadline_later_touches_no_other_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
