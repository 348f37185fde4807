/* What is due when, against a walk over all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "deliver/due.h"
#include "tests/fixture/draw.h"

static void what_is_due_comes_in_its_order(void **state)
{
	(void)state;
	enum { N = 300 };
	static struct due due[N];
	struct dues dues;
	memset(due, 0, sizeof due);
	assert_int_equal(dues_init(&dues, N), 0);
	for (unsigned i = 0; i < 20000; i++) {
		struct due *one = &due[draw_below(N)];
		if (draw_one_in(3))
			dues_remove(&dues, one);
		else
			dues_set(&dues, one, draw_below(1000));
		uint64_t least_ns = UINT64_MAX;
		for (unsigned k = 0; k < N; k++)
			if (due[k].place != 0 && due[k].at_ns < least_ns)
				least_ns = due[k].at_ns;
		const struct due *first = dues_first(&dues);
		assert_true((first == NULL ? UINT64_MAX : first->at_ns) == least_ns);
	}
	for (const struct due *before = NULL, *first; (first = dues_first(&dues)) != NULL; before = first) {
		assert_true(before == NULL || before->at_ns <= first->at_ns);
		dues_remove(&dues, (struct due *)first);
	}
	dues_fini(&dues);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_due_comes_in_its_order),
	};
	draw_init(clock_real_ns());
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
