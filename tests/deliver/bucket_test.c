/* The rate of a host: no more than it allows, and no less, however long it runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "deliver/bucket.h"
#include "tests/fixture/draw.h"

#define S NS_PER_SEC

static void a_bucket_neither_drifts_nor_bursts(void **state)
{
	(void)state;
	static const uint64_t rates[] = {1, 3, 7, 999, 30000, 1000003, 10000000};
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		struct bucket bucket = {0};
		uint64_t rate = rates[i], burst = 10, begun_ns = 3600 * S, now_ns = begun_ns;
		enum { TAKES = 20000 };
		/* Seen late each time, by less than the burst makes up for. */
		for (unsigned k = 0; k < TAKES; k++) {
			uint64_t due_ns = bucket_due_ns(&bucket, rate, burst);
			if (due_ns > now_ns)
				now_ns = due_ns + draw_below((unsigned)(5 * S / rate) + 1);
			bucket_take(&bucket, rate, now_ns);
			/* Never more than burst + time * rate. */
			double most = (double)burst + (double)(now_ns - begun_ns) * (double)rate / 1e9;
			assert_true((double)(k + 1) <= most + 1e-3);
		}
		double least = (double)(now_ns - begun_ns) * (double)rate / 1e9;
		assert_true(TAKES >= least - 6);
		/* After a pause: burst at once, and no more. */
		now_ns += 3600 * S;
		for (unsigned k = 0; k < burst; k++) {
			assert_true(bucket_due_ns(&bucket, rate, burst) <= now_ns);
			bucket_take(&bucket, rate, now_ns);
		}
		assert_true(bucket_due_ns(&bucket, rate, burst) > now_ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_bucket_neither_drifts_nor_bursts),
	};
	draw_init(clock_real_ns());
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
