/* When a process looks again before it sleeps, and that this becomes rare where it finds nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ingest/http/spin.h"

#define WAITS 10000u

/* Of n waits, those that spun; something is found in `good` of `in` spins. */
static unsigned spins_of(struct spin *spin, unsigned n, unsigned good, unsigned in)
{
	unsigned spun = 0;
	for (unsigned i = 0; i < n; i++)
		if (spin_begins(spin))
			spin_ended(spin, spun++ % in < good);
	return spun;
}

static void where_nothing_is_found_spins_become_rare(void **state)
{
	(void)state;
	struct spin spin = {0};
	unsigned spun = spins_of(&spin, WAITS, 0, 1);
	assert_in_range(spun, WAITS / (SPIN_REST + 1), WAITS / (SPIN_REST + 1) + 9);
}

static void after_a_rest_every_wait_spins_again_soon(void **state)
{
	(void)state;
	struct spin spin = {0};
	(void)spins_of(&spin, WAITS, 0, 1);
	unsigned spun = spins_of(&spin, WAITS, 1, 1);
	assert_in_range(spun, WAITS - SPIN_REST, WAITS);
}

static void a_spin_in_vain_now_and_then_costs_few_of_the_others(void **state)
{
	(void)state;
	struct spin spin = {0};
	assert_in_range(spins_of(&spin, WAITS, 9, 10), WAITS * 3 / 4, WAITS);
	/* ... but of spins that mostly fail few are left */
	assert_in_range(spins_of(&spin, WAITS, 1, 4), 1, WAITS / 20);
}

static bool comes_with_the_third_look(void *of)
{
	return ++*(unsigned *)of == 3;
}

static bool never_comes(void *of)
{
	++*(unsigned *)of;
	return false;
}

static void a_spin_ends_with_what_it_waits_for_or_when_its_time_is_up(void **state)
{
	(void)state;
	struct spin spin = {0};
	unsigned looks = 0;
	uint64_t begin_ns = clock_monotonic_ns();
	assert_false(spin_until(&spin, never_comes, &looks));
	assert_true(clock_monotonic_ns() - begin_ns >= SPIN_NS);
	assert_true(looks > 0);
	assert_false(spin_begins(&spin));
	assert_true(spin_begins(&spin));
	looks = 2;
	assert_true(spin_until(&spin, comes_with_the_third_look, &looks));
	assert_int_equal(looks, 3);
	assert_true(spin_begins(&spin));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(where_nothing_is_found_spins_become_rare),
	        cmocka_unit_test(after_a_rest_every_wait_spins_again_soon),
	        cmocka_unit_test(a_spin_in_vain_now_and_then_costs_few_of_the_others),
	        cmocka_unit_test(a_spin_ends_with_what_it_waits_for_or_when_its_time_is_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
