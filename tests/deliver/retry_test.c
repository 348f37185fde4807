/* What an attempt's end means, and when the next one is: every status, every error of a sender, and
 * waits in a time and with chances of the test's own. */
#include "deliver/retry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "tests/fixture/config.h"
#include "tests/fixture/draw.h"

#define HOUR_NS (3600 * NS_PER_SEC)

static int read_text(struct retry *retry, const char *section, const char *text, struct shm_error *error)
{
	struct config *config = load(text, "");
	int result = retry_init(retry, config, section, error);
	config_free(config);
	return result;
}

static struct retry of(const char *text)
{
	struct retry retry;
	struct shm_error error = {""};
	if (read_text(&retry, "deliver", text, &error) != 0)
		fail_msg("%s", error.text);
	return retry;
}

static void refuses(const char *text, const char *said)
{
	struct retry retry;
	struct shm_error error = {""};
	assert_int_equal(read_text(&retry, "deliver", text, &error), -EINVAL);
	if (strstr(error.text, said) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error.text, said);
}

static void each_status_has_its_meaning(void **state)
{
	(void)state;
	struct retry retry = of("deliver: {}");
	for (unsigned status = 0; status < 700; status++) {
		enum retry_outcome want = RETRY_AGAIN;
		if (status / 100 == 2)
			want = RETRY_DELIVERED;
		else if (status == 410)
			want = RETRY_GONE;
		else if (status / 100 == 3 || status == 400 || status == 405 || status == 413 ||
		         status == 414 || status == 422)
			want = RETRY_DEAD;
		assert_int_equal(retry_judge(&retry, 0, status), want);
	}
}

static void the_list_of_final_answers_is_configurable(void **state)
{
	(void)state;
	struct retry retry = of("deliver: {final: [501, 4xx, 429], gone: 0}");
	for (unsigned status = 300; status < 600; status++) {
		bool dead = status == 501 || status / 100 == 4;
		assert_int_equal(retry_judge(&retry, 0, status), dead ? RETRY_DEAD : RETRY_AGAIN);
	}
	retry = of("deliver: {final: [], gone: 0}");
	for (unsigned status = 300; status < 600; status++)
		assert_int_equal(retry_judge(&retry, 0, status), RETRY_AGAIN);
	retry = of("deliver: {final: [3xx, 5xx], gone: 1s}");
	assert_int_equal(retry_judge(&retry, 0, 399), RETRY_DEAD);
	assert_int_equal(retry_judge(&retry, 0, 400), RETRY_AGAIN);
	assert_int_equal(retry_judge(&retry, 0, 410), RETRY_GONE);
	assert_int_equal(retry_judge(&retry, 0, 500), RETRY_DEAD);
	assert_int_equal(retry_judge(&retry, 0, 599), RETRY_DEAD);
}

static void without_an_answer_it_is_tried_again(void **state)
{
	(void)state;
	static const int again[] = {-ETIMEDOUT,  -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH,
	                            -ECONNRESET, -EPROTO,       -EPIPE,        -EBADMSG,
	                            -EMSGSIZE,   -ENOMEM,       -ENOENT,       -EIO};
	struct retry retry = of("deliver: {}");
	for (size_t i = 0; i < sizeof again / sizeof again[0]; i++)
		for (unsigned status = 0; status < 600; status += 100)
			assert_int_equal(retry_judge(&retry, again[i], status), RETRY_AGAIN);
	assert_int_equal(retry_judge(&retry, -EACCES, 0), RETRY_DEAD);
	assert_int_equal(retry_judge(&retry, -EINVAL, 0), RETRY_DEAD);
}

static void waits_are_as_the_list_says(void **state)
{
	(void)state;
	static const uint64_t want_s[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
	struct retry retry = of("deliver: {}");
	assert_int_equal(retry.n, 9);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(retry.wait_ns[i], want_s[i] * NS_PER_SEC);
	/* The middle of all chances is the wait itself. */
	assert_int_equal(retry_wait_ns(&retry, 2, -1, 1ull << 63), 300 * NS_PER_SEC);
	assert_true(retry_wait_ns(&retry, 10, -1, draw()) == UINT64_MAX);
	assert_true(retry_wait_ns(&retry, 11, 60, draw()) == UINT64_MAX);
	retry = of("deliver: {retry: {schedule: []}}");
	assert_true(retry_wait_ns(&retry, 1, -1, draw()) == UINT64_MAX);
}

static void waits_grow_by_the_factor_up_to_the_cap(void **state)
{
	(void)state;
	struct retry retry =
	        of("deliver: {retry: {base: 1s, factor: 1.5, cap: 10s, attempts: 12, jitter: 0}}");
	double want_s = 1;
	assert_int_equal(retry.n, 11);
	for (unsigned i = 1; i <= 11; i++, want_s *= 1.5) {
		uint64_t want_ns = (uint64_t)((want_s < 10 ? want_s : 10) * 1e9);
		assert_in_range(retry_wait_ns(&retry, i, -1, draw()), want_ns - 1, want_ns + 1);
	}
	assert_true(retry_wait_ns(&retry, 12, -1, draw()) == UINT64_MAX);
	retry = of("deliver: {retry: {base: 1d, factor: 100, cap: 30d, attempts: 64, jitter: 1}}");
	assert_int_equal(retry.n, 63);
	for (unsigned i = 2; i <= 63; i++)
		assert_int_equal(retry_wait_ns(&retry, i, -1, 1ull << 63), 30 * 24 * HOUR_NS);
	retry = of("deliver: {retry: {base: 1s, attempts: 1}}");
	assert_true(retry_wait_ns(&retry, 1, -1, draw()) == UINT64_MAX);
}

static void jitter_stays_within_its_part_and_fills_it_evenly(void **state)
{
	(void)state;
	enum { DRAWS = 100000, PARTS = 20 };
	struct retry retry = of("deliver: {retry: {schedule: [100s], jitter: 0.2}}");
	unsigned part[PARTS] = {0};
	uint64_t least_ns = 80 * NS_PER_SEC, most_ns = 120 * NS_PER_SEC;
	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t wait_ns = retry_wait_ns(&retry, 1, -1, draw());
		assert_in_range(wait_ns, least_ns, most_ns);
		part[(wait_ns - least_ns) * PARTS / (most_ns - least_ns + 1)]++;
	}
	/* 5000 each; six standard deviations are 413. */
	for (unsigned i = 0; i < PARTS; i++)
		assert_in_range(part[i], 4500, 5500);
	assert_in_range(retry_wait_ns(&retry, 1, -1, 0), least_ns, least_ns + 1000);
	assert_in_range(retry_wait_ns(&retry, 1, -1, UINT64_MAX), most_ns - 1000, most_ns);
}

static void retry_after_lengthens_a_wait_up_to_its_most(void **state)
{
	(void)state;
	struct retry retry = of("deliver: {retry: {schedule: [10s], jitter: 0, retry_after_most: 1m}}");
	assert_int_equal(retry_wait_ns(&retry, 1, -1, draw()), 10 * NS_PER_SEC);
	assert_int_equal(retry_wait_ns(&retry, 1, 0, draw()), 10 * NS_PER_SEC);
	assert_int_equal(retry_wait_ns(&retry, 1, 9, draw()), 10 * NS_PER_SEC);
	assert_int_equal(retry_wait_ns(&retry, 1, 11, draw()), 11 * NS_PER_SEC);
	assert_int_equal(retry_wait_ns(&retry, 1, 61, draw()), 60 * NS_PER_SEC);
	assert_int_equal(retry_wait_ns(&retry, 1, INT64_MAX, draw()), 60 * NS_PER_SEC);
	retry = of("deliver: {retry: {schedule: [10s], jitter: 0, retry_after_most: 0}}");
	assert_int_equal(retry_wait_ns(&retry, 1, 3600, draw()), 10 * NS_PER_SEC);
}

/* Time as the stage would have it: each attempt fails at once. */
static void after_an_hour_of_failures_nothing_is_dead(void **state)
{
	(void)state;
	struct retry retry = of("deliver: {}");
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t now_ns = 0;
		unsigned attempts = 1;
		while (now_ns < HOUR_NS) {
			uint64_t wait_ns =
			        retry_wait_ns(&retry, attempts, (int64_t)(draw() % 100) - 1, draw());
			assert_true(wait_ns != UINT64_MAX);
			now_ns += wait_ns;
			attempts++;
		}
		assert_in_range(attempts, 4, 5);
	}
}

static void the_horizon_is_beyond_all_waits(void **state)
{
	(void)state;
	struct retry retry = of("deliver: {}");
	for (unsigned k = 0; k < 1000; k++) {
		uint64_t sum_ns = 0;
		for (unsigned i = 1; i <= retry.n; i++)
			sum_ns += retry_wait_ns(&retry, i, (int64_t)(draw() % 10000), draw());
		assert_true(sum_ns <= retry_horizon_ns(&retry));
	}
	assert_in_range(retry_horizon_ns(&retry), 75 * HOUR_NS, 100 * HOUR_NS);
	retry = of("deliver: {retry: {schedule: []}}");
	assert_int_equal(retry_horizon_ns(&retry), 24 * HOUR_NS);
}

static void what_is_wrong_is_named(void **state)
{
	(void)state;
	refuses("deliver: {retry: {schedule: [5s, soon]}}", "deliver.retry.schedule[1]: \"soon\"");
	refuses("deliver: {retry: {schedule: [0]}}", "deliver.retry.schedule[0]: ");
	refuses("deliver: {retry: {schedule: [400d]}}", "deliver.retry.schedule[0]: ");
	refuses("deliver: {retry: {factor: 0.5}}", "deliver.retry.factor: \"0.5\"");
	refuses("deliver: {retry: {factor: 0x2}}", "deliver.retry.factor: \"0x2\"");
	refuses("deliver: {retry: {factor: 1.2.3}}", "deliver.retry.factor: \"1.2.3\"");
	refuses("deliver: {retry: {jitter: 1.01}}", "deliver.retry.jitter: \"1.01\"");
	refuses("deliver: {retry: {jitter: nan}}", "deliver.retry.jitter: \"nan\"");
	refuses("deliver: {retry: {schedule: [5s], base: 1s}}", "deliver.retry.base: ");
	refuses("deliver: {final: [200]}", "deliver.final[0]: \"200\"");
	refuses("deliver: {final: [404, 6xx]}", "deliver.final[1]: \"6xx\"");
	refuses("deliver: {final: [4x4]}", "deliver.final[0]: \"4x4\"");
}

int main(void)
{
	draw_init(clock_real_ns());
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_status_has_its_meaning),
	        cmocka_unit_test(the_list_of_final_answers_is_configurable),
	        cmocka_unit_test(without_an_answer_it_is_tried_again),
	        cmocka_unit_test(waits_are_as_the_list_says),
	        cmocka_unit_test(waits_grow_by_the_factor_up_to_the_cap),
	        cmocka_unit_test(jitter_stays_within_its_part_and_fills_it_evenly),
	        cmocka_unit_test(retry_after_lengthens_a_wait_up_to_its_most),
	        cmocka_unit_test(after_an_hour_of_failures_nothing_is_dead),
	        cmocka_unit_test(the_horizon_is_beyond_all_waits),
	        cmocka_unit_test(what_is_wrong_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
