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
#include "tests/fixture/errand.h"

#define SHORT (200 * NS_PER_MS)
#define LONG  (20 * NS_PER_SEC)

static struct errand_fixture f;
static struct shm_error error;

static int set_up(void **state)
{
	(void)state;
	return errand_fixture_make(&f);
}

static int tear_down(void **state)
{
	(void)state;
	errand_fixture_remove(&f);
	return 0;
}

static int look_until_known(struct errand *errand, uint64_t answer[ERRAND_ANSWERS])
{
	int result;
	while ((result = errand_look(errand, answer)) == -EAGAIN)
		usleep(ERRAND_LOOK_NS / NS_PER_US);
	return result;
}

static void begin(struct errand *errand, uint64_t timeout_ns)
{
	assert_int_equal(errand_begin(errand, f.sandbox.directory, ERRAND_FIXTURE_ROLE, timeout_ns, &error),
	                 0);
}

static int run_for(const char *role, uint64_t timeout_ns, uint64_t answer[ERRAND_ANSWERS],
                   struct shm_error *why)
{
	struct errand errand;
	int result = errand_begin(&errand, f.sandbox.directory, role, timeout_ns, why);
	if (result != 0)
		return result;
	result = look_until_known(&errand, answer);
	errand_end(&errand);
	return result;
}

static int run(uint64_t timeout_ns, uint64_t answer[ERRAND_ANSWERS])
{
	return run_for(ERRAND_FIXTURE_ROLE, timeout_ns, answer, &error);
}

static uint64_t take(void)
{
	return errand_take(&f.errands, clock_monotonic_ns());
}

/* Asks one that may be taken for the given time. */
static void ask_one(struct errand *errand, uint64_t timeout_ns)
{
	uint64_t answer[ERRAND_ANSWERS];
	begin(errand, timeout_ns);
	assert_int_equal(errand_look(errand, answer), -EAGAIN);
	assert_int_equal(errand_asked_state(&f), ERRAND_ASKED);
}

/* As the kernel leaves it when the asker is killed. */
static void kill_asker(struct errand *errand)
{
	close(errand->file);
	segment_detach(&errand->page_segment);
	segment_detach(&errand->control_segment);
}

/* A stage's life: takes `errands` of them and does them. */
static void *live(void *errands)
{
	for (uint64_t n = 1; n <= *(const unsigned *)errands;) {
		uint64_t id = take();
		if (id != 0) {
			assert_int_equal(errand_taken(&f.errands), id);
			errand_done(&f.errands, id, (uint64_t[ERRAND_ANSWERS]){n, 10 * n});
			assert_int_equal(take(), 0); /* not the same again */
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
	}
	assert_int_equal(pthread_join(stage, NULL), 0);
}

static void *ask(void *result)
{
	uint64_t answer[ERRAND_ANSWERS];
	struct shm_error own;
	*(int *)result = run_for(ERRAND_FIXTURE_ROLE, LONG, answer, &own);
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
}

static void what_nobody_takes_is_revoked(void **state)
{
	(void)state;
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(run(SHORT, answer), -EBUSY);
	assert_int_equal(errand_asked_state(&f), ERRAND_REVOKED);
	assert_int_equal(errand_take(&f.errands, 0), 0); /* however slow the stage's clock */
	assert_int_equal(errand_taken(&f.errands), 0);
}

static void what_was_taken_stays_taken_until_it_is_done(void **state)
{
	(void)state;
	struct errand errand;
	uint64_t answer[ERRAND_ANSWERS];
	ask_one(&errand, SHORT);
	uint64_t id = take();
	assert_true(id != 0);
	assert_int_equal(look_until_known(&errand, answer), -EINPROGRESS);
	errand_end(&errand);
	assert_int_equal(errand_asked_state(&f), ERRAND_CONFIRMED);
	assert_int_equal(errand_taken(&f.errands), id);
	assert_int_equal(run(SHORT, answer), -EBUSY); /* another waits for it */
	assert_int_equal(errand_take(&f.errands, UINT64_MAX), id);
	errand_done(&f.errands, id, (uint64_t[ERRAND_ANSWERS]){1, 2});
	assert_int_equal(errand_take(&f.errands, 0), 0);
	assert_int_equal(run(SHORT, answer), -EBUSY); /* no longer in the way */
	assert_int_equal(errand_asked_state(&f), ERRAND_REVOKED);
}

static void a_next_life_does_what_is_confirmed_and_not_what_was_revoked(void **state)
{
	(void)state;
	struct errand errand;
	uint64_t answer[ERRAND_ANSWERS];
	/* The stage said TAKEN and died before it looked again: the asker saw it, or did not. */
	ask_one(&errand, SHORT);
	atomic_store(&f.control->errand, errand_word(errand.id, ERRAND_TAKEN));
	assert_int_equal(errand_take(&f.errands, errand.id), 0); /* late: its asker decides */
	assert_int_equal(errand_taken(&f.errands), errand.id);
	assert_int_equal(look_until_known(&errand, answer), -EINPROGRESS);
	assert_int_equal(errand_take(&f.errands, UINT64_MAX), errand.id);
	errand_done(&f.errands, errand.id, (uint64_t[ERRAND_ANSWERS]){1, 2});
	assert_int_equal(errand_look(&errand, answer), 0);
	errand_end(&errand);

	ask_one(&errand, SHORT);
	assert_int_equal(look_until_known(&errand, answer), -EBUSY);
	atomic_store(&f.control->errand, errand_word(errand.id, ERRAND_TAKEN));
	assert_int_equal(errand_take(&f.errands, 0), 0);
	assert_int_equal(errand_stage_state(&f), ERRAND_NONE);
	errand_end(&errand);
}

static void while_its_asker_decides_a_stage_waits(void **state)
{
	(void)state;
	uint64_t id = clock_monotonic_ns() + LONG;
	atomic_store(&f.control->errand, errand_word(id, ERRAND_TAKEN));
	atomic_store(&f.page->asked, errand_word(id, ERRAND_DECIDING));
	assert_int_equal(errand_take(&f.errands, 0), 0);
	assert_int_equal(errand_stage_state(&f), ERRAND_TAKEN);
	/* What is asked anew while the asker decides is not taken. */
	atomic_store(&f.control->errand, 0);
	assert_int_equal(errand_take(&f.errands, 0), 0);
	assert_int_equal(errand_stage_state(&f), ERRAND_NONE);
}

static void an_errand_whose_asker_has_died_is_in_nobodys_way(void **state)
{
	(void)state;
	for (int asked = ERRAND_ASKED; asked <= ERRAND_CONFIRMED; asked++) {
		for (int taken = 0; taken < 3; taken++) {
			struct errand dead, next;
			uint64_t answer[ERRAND_ANSWERS], word = 0;
			ask_one(&dead, LONG);
			if (taken > 0)
				assert_int_equal(take(), dead.id);
			if (taken == 2)
				errand_done(&f.errands, dead.id, (uint64_t[ERRAND_ANSWERS]){7, 7});
			atomic_store(&f.page->asked, errand_word(dead.id, (enum errand_state)asked));
			kill_asker(&dead);
			begin(&next, LONG);
			assert_int_equal(errand_look(&next, answer), -EAGAIN);
			word = atomic_load(&f.page->asked);
			if (asked == ERRAND_CONFIRMED && taken == 1) {
				/* Somebody may have been told that it will be done. */
				assert_int_equal(word, errand_word(dead.id, ERRAND_CONFIRMED));
				assert_int_equal(errand_take(&f.errands, UINT64_MAX), dead.id);
				errand_done(&f.errands, dead.id, (uint64_t[ERRAND_ANSWERS]){7, 7});
				assert_int_equal(errand_look(&next, answer), -EAGAIN);
			}
			assert_true(next.id != 0 && next.id != dead.id);
			for (unsigned looks = 0; looks < 2 && errand_taken(&f.errands) != next.id; looks++)
				(void)take(); /* the first takes the dead one's TAKEN back */
			assert_int_equal(take(), next.id);
			errand_done(&f.errands, next.id, (uint64_t[ERRAND_ANSWERS]){8, 9});
			assert_int_equal(errand_look(&next, answer), 0);
			assert_int_equal(answer[1], 9);
			errand_end(&next);
		}
	}
}

static void an_errand_whose_time_is_over_is_not_taken(void **state)
{
	(void)state;
	struct errand dead;
	ask_one(&dead, LONG);
	kill_asker(&dead);
	assert_int_equal(errand_take(&f.errands, dead.until_ns), 0);
	assert_int_equal(errand_taken(&f.errands), 0);
	assert_int_equal(errand_take(&f.errands, dead.until_ns - 1), dead.id);
}

static void one_whose_asker_leaves_is_not_taken_and_one_that_was_stays(void **state)
{
	(void)state;
	struct errand errand;
	begin(&errand, LONG);
	errand_end(&errand); /* before it has asked */
	for (unsigned taken = 0; taken < 3; taken++) {
		ask_one(&errand, LONG);
		uint64_t id = errand.id;
		if (taken > 0)
			assert_int_equal(take(), id);
		if (taken == 1)
			errand_done(&f.errands, id, (uint64_t[ERRAND_ANSWERS]){1, 2});
		errand_end(&errand);
		assert_int_equal(errand_take(&f.errands, 0), taken == 2 ? id : 0);
		assert_int_equal(errand_taken(&f.errands), taken == 2 ? id : 0);
	}
}

static void ids_differ_in_the_half_of_a_word_that_is_slept_on(void **state)
{
	(void)state;
	struct errand errand;
	uint64_t answer[ERRAND_ANSWERS];
	begin(&errand, LONG);
	/* What was asked before looks the same to a futex; what the stage has is the next. */
	uint64_t alike = errand.until_ns + (1ull << 40), next = errand.until_ns + 1;
	atomic_store(&f.page->asked, errand_word(alike, ERRAND_REVOKED));
	atomic_store(&f.control->errand, errand_word(next, ERRAND_DONE));
	assert_int_equal(errand_look(&errand, answer), -EAGAIN);
	assert_int_equal(errand.id, errand.until_ns + 2);
	assert_int_equal(take(), errand.id);
	errand_end(&errand);
}

struct sleeper {
	struct sleep_word call; /* noted */
	uint64_t slept_ns;
	bool woken;
};

static void *sleep_on_it(void *argument)
{
	struct sleeper *sleeper = argument;
	uint64_t begun_ns = clock_monotonic_ns();
	sleeper->woken = sleep_any(&sleeper->call, 1, 10 * NS_PER_SEC);
	sleeper->slept_ns = clock_monotonic_ns() - begun_ns;
	return NULL;
}

static void asking_and_deciding_wake_a_stage_that_sleeps(void **state)
{
	(void)state;
	pthread_t stage;
	struct errand errand;
	for (unsigned i = 0; i < 2; i++) {
		struct sleeper sleeper = {.call = errand_call(&f.errands)};
		sleep_note(&sleeper.call, 1);
		assert_int_equal(pthread_create(&stage, NULL, sleep_on_it, &sleeper), 0);
		usleep(100000);
		if (i == 0)
			ask_one(&errand, LONG);
		else
			errand_end(&errand);
		assert_int_equal(pthread_join(stage, NULL), 0);
		assert_true(sleeper.woken && sleeper.slept_ns < 5 * NS_PER_SEC);
	}
}

/* Whether this process could write there, seen by the kernel. */
static bool writable(const void *address)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "", 1), 1);
	ssize_t n = read(ends[0], (void *)(uintptr_t)address, 1);
	assert_true(n == 1 || errno == EFAULT);
	close(ends[0]);
	close(ends[1]);
	return n == 1;
}

static void neither_side_can_write_the_others_word(void **state)
{
	(void)state;
	struct errand errand;
	begin(&errand, LONG);
	assert_false(writable(f.errands.page));
	assert_true(writable(f.errands.control));
	assert_false(writable(errand.control));
	assert_true(writable(errand.page));
	errand_end(&errand);
}

static void a_role_that_does_not_exist_is_told(void **state)
{
	(void)state;
	char name[SEGMENT_NAME_MAX];
	uint64_t answer[ERRAND_ANSWERS];
	assert_int_equal(run_for("other.0", SHORT, answer, &error), -ENOENT);
	assert_true(error.text[0] != '\0');
	/* One that takes no errands has the one segment without the other. */
	assert_int_equal(segment_create(f.sandbox.directory, instance_stage_name(name, "other.0"),
	                                SEGMENT_STAGE, 7, sizeof(struct control), NULL, NULL, &error),
	                 0);
	assert_int_equal(run_for("other.0", SHORT, answer, &error), -ENOENT);
	assert_non_null(strstr(error.text, "other.0.errand"));
}

int main(void)
{
	alarm(120);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(askers_get_an_answer_each),
	        TEST(several_at_a_time_have_their_turns),
	        TEST(what_nobody_takes_is_revoked),
	        TEST(what_was_taken_stays_taken_until_it_is_done),
	        TEST(a_next_life_does_what_is_confirmed_and_not_what_was_revoked),
	        TEST(while_its_asker_decides_a_stage_waits),
	        TEST(an_errand_whose_asker_has_died_is_in_nobodys_way),
	        TEST(an_errand_whose_time_is_over_is_not_taken),
	        TEST(one_whose_asker_leaves_is_not_taken_and_one_that_was_stays),
	        TEST(ids_differ_in_the_half_of_a_word_that_is_slept_on),
	        TEST(asking_and_deciding_wake_a_stage_that_sleeps),
	        TEST(neither_side_can_write_the_others_word),
	        TEST(a_role_that_does_not_exist_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
