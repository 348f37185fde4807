/* An errand is done once or not at all, and its asker learns which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "stage/errand.h"
#include "tests/fixture/sandbox.h"

#define ROLE  "test.0"
#define SHORT (200 * NS_PER_MS)
#define LONG  (20 * NS_PER_SEC)

static struct sandbox sandbox;
static struct segment segment;
static struct shm_error error;

static int set_up(void **state)
{
	char name[SEGMENT_NAME_MAX];
	(void)state;
	return sandbox_make(&sandbox) != 0 ||
	       segment_create(sandbox.directory, instance_stage_name(name, ROLE), SEGMENT_STAGE, 7,
	                      sizeof(struct control), NULL, NULL, &error) != 0 ||
	       segment_attach(&segment, sandbox.directory, name, SEGMENT_STAGE, SEGMENT_WRITE, &error) != 0;
}

static int tear_down(void **state)
{
	(void)state;
	segment_detach(&segment);
	sandbox_remove(&sandbox);
	return 0;
}

static struct control *control(void)
{
	return segment.body;
}

static int run_for(const char *role, uint64_t timeout_ns, uint64_t answer[ERRAND_ANSWERS],
                   struct shm_error *why)
{
	struct errand errand;
	int result = errand_begin(&errand, sandbox.directory, role, timeout_ns, why);
	if (result != 0)
		return result;
	while ((result = errand_look(&errand, answer)) == -EAGAIN)
		usleep(ERRAND_LOOK_NS / NS_PER_US);
	errand_end(&errand);
	return result;
}

static int run(uint64_t timeout_ns, uint64_t answer[ERRAND_ANSWERS])
{
	return run_for(ROLE, timeout_ns, answer, &error);
}

/* A stage's life: takes `errands` of them and does them. */
static void *live(void *errands)
{
	for (uint64_t n = 1; n <= *(const unsigned *)errands;) {
		uint64_t id = errand_asked(control(), clock_monotonic_ns());
		if (id != 0 && errand_take(control(), id)) {
			assert_int_equal(errand_asked(control(), clock_monotonic_ns()), 0);
			assert_int_equal(errand_taken(control()), id);
			errand_done(control(), id, (uint64_t[ERRAND_ANSWERS]){n, 10 * n});
			n++;
		}
		usleep(100);
	}
	return NULL;
}

static void askers_get_an_answer_each(void **state)
{
	(void)state;
	pthread_t stage;
	unsigned errands = 20;
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(pthread_create(&stage, NULL, live, &errands), 0);
	for (uint64_t n = 1; n <= errands; n++) {
		assert_int_equal(run(LONG, answer), 0);
		assert_int_equal(answer[0], n);
		assert_int_equal(answer[1], 10 * n);
		assert_int_equal(atomic_load(&control()->errand), 0);
	}
	assert_int_equal(pthread_join(stage, NULL), 0);
}

static void *ask(void *result)
{
	uint64_t answer[ERRAND_ANSWERS];
	struct shm_error own;
	*(int *)result = run_for(ROLE, LONG, answer, &own);
	return NULL;
}

static void several_at_a_time_have_their_turns(void **state)
{
	(void)state;
	enum { N = 8 };
	pthread_t stage, asker[N];
	unsigned errands = N;
	int result[N];
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(pthread_create(&asker[i], NULL, ask, &result[i]), 0);
	assert_int_equal(pthread_create(&stage, NULL, live, &errands), 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(pthread_join(asker[i], NULL), 0);
		assert_int_equal(result[i], 0);
	}
	assert_int_equal(pthread_join(stage, NULL), 0);
	assert_int_equal(atomic_load(&control()->errand), 0);
}

static void what_nobody_takes_is_given_up(void **state)
{
	(void)state;
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(run(SHORT, answer), -EBUSY);
	assert_int_equal(atomic_load(&control()->errand), 0);
	assert_int_equal(errand_asked(control(), clock_monotonic_ns()), 0);
}

static void *take_only(void *id)
{
	uint64_t found;
	while ((found = errand_asked(control(), clock_monotonic_ns())) == 0 || !errand_take(control(), found))
		usleep(100);
	*(uint64_t *)id = found;
	return NULL;
}

static void what_was_taken_stays_taken_until_it_is_done(void **state)
{
	(void)state;
	pthread_t stage;
	uint64_t id = 0, answer[ERRAND_ANSWERS];
	assert_int_equal(pthread_create(&stage, NULL, take_only, &id), 0);
	assert_int_equal(run(SHORT, answer), -EINPROGRESS);
	assert_int_equal(pthread_join(stage, NULL), 0);
	assert_int_equal(errand_taken(control()), id);
	assert_int_equal(run(SHORT, answer), -EBUSY); /* another waits for it */
	assert_int_equal(errand_taken(control()), id);
	errand_done(control(), id, (uint64_t[ERRAND_ANSWERS]){1, 2});
	assert_int_equal(run(SHORT, answer), -EBUSY); /* its asker has gone: no longer in the way */
	assert_int_equal(atomic_load(&control()->errand), 0);
}

static void an_errand_whose_asker_has_died_is_in_nobodys_way_for_long(void **state)
{
	(void)state;
	pthread_t stage;
	unsigned errands = 1;
	uint64_t answer[ERRAND_ANSWERS], until_ns = clock_monotonic_ns() + SHORT;
	atomic_store(&control()->errand, until_ns << ERRAND_STATE_BITS | ERRAND_ASKED);
	assert_int_equal(errand_asked(control(), until_ns), 0);
	assert_true(errand_asked(control(), until_ns - 1) != 0);
	while (clock_monotonic_ns() < until_ns)
		usleep(1000);
	assert_int_equal(pthread_create(&stage, NULL, live, &errands), 0);
	assert_int_equal(run(LONG, answer), 0);
	assert_int_equal(answer[0], 1);
	assert_int_equal(pthread_join(stage, NULL), 0);
}

static void one_whose_asker_leaves_is_not_taken_and_one_that_was_stays(void **state)
{
	(void)state;
	struct errand errand;
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(errand_begin(&errand, sandbox.directory, ROLE, LONG, &error), 0);
	errand_end(&errand); /* before it has asked */
	for (unsigned taken = 0; taken < 3; taken++) {
		assert_int_equal(errand_begin(&errand, sandbox.directory, ROLE, LONG, &error), 0);
		assert_int_equal(errand_look(&errand, answer), -EAGAIN);
		uint64_t id = errand_asked(control(), clock_monotonic_ns());
		assert_true(id != 0);
		if (taken > 0)
			assert_true(errand_take(control(), id));
		if (taken == 1)
			errand_done(control(), id, (uint64_t[ERRAND_ANSWERS]){1, 2});
		errand_end(&errand);
		assert_int_equal(errand_asked(control(), clock_monotonic_ns()), 0);
		assert_int_equal(errand_taken(control()), taken == 2 ? id : 0);
		assert_true((atomic_load(&control()->errand) == 0) == (taken < 2));
	}
}

static void a_role_that_does_not_exist_is_told(void **state)
{
	(void)state;
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(run_for("other.0", SHORT, answer, &error), -ENOENT);
	assert_true(error.text[0] != '\0');
}

int main(void)
{
	alarm(120);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(askers_get_an_answer_each),
	        TEST(several_at_a_time_have_their_turns),
	        TEST(what_nobody_takes_is_given_up),
	        TEST(what_was_taken_stays_taken_until_it_is_done),
	        TEST(an_errand_whose_asker_has_died_is_in_nobodys_way_for_long),
	        TEST(one_whose_asker_leaves_is_not_taken_and_one_that_was_stays),
	        TEST(a_role_that_does_not_exist_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
