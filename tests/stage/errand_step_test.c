/* Each side of an errand stepped one instruction at a time while it decides: before each
 * instruction, in a run of its own, the other side acts, or the stepped one is killed. Whatever the
 * asker is told, it is so.
 *
 *     asker    asked, its time is over: looks      | stage takes it up and does it; takes it and dies before it has looked again
 *     stage    takes what is asked, does it        | asker gives it up; the stage is killed there and has another life, before or after
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fixture/errand.h"
#include "tests/fixture/stepped.h"

#define TOLD_NOTHING  1
#define MOMENTS_MOST  2000u /* instructions of one run */
#define MOMENTS_LEAST 50u

/* What the processes of a run share, besides the segments. */
struct shared {
	_Atomic uint64_t done; /* the store: the errand that was done last */
	_Atomic int told;      /* what the asker learned */
	_Atomic bool finished; /* the stepped process has nothing left to do but to end */
};

static struct errand_fixture f;
static struct shared *shared;
static struct errand errand; /* of the run */

static int set_up(void **state)
{
	(void)state;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? -1 : errand_fixture_make(&f);
}

static int tear_down(void **state)
{
	(void)state;
	errand_fixture_remove(&f);
	munmap(shared, sizeof *shared);
	return 0;
}

/* The stage does what it has taken. A life of it begins with what the last one left. */
static void do_errand(uint64_t id)
{
	if (id == 0)
		return;
	atomic_store(&shared->done, id);
	errand_done(&f.errands, id, (uint64_t[ERRAND_ANSWERS]){1, id});
}

static void live(uint64_t now_ns)
{
	uint64_t taken = errand_taken(&f.errands);
	if (taken != 0 && atomic_load(&shared->done) == taken)
		do_errand(taken);
	/* The first look may do no more than take back what is void. */
	do_errand(errand_take(&f.errands, now_ns));
	do_errand(errand_take(&f.errands, now_ns));
}

/* An errand that was asked, and whose time is over when this returns. */
static void ask(void)
{
	uint64_t answer[ERRAND_ANSWERS];
	struct shm_error error;
	do { /* a slow machine may be late for so short a time */
		assert_int_equal(errand_begin(&errand, f.sandbox.directory, ERRAND_FIXTURE_ROLE,
		                              NS_PER_MS / 2, &error),
		                 0);
		(void)errand_look(&errand, answer);
		if (errand.id == 0)
			errand_end(&errand);
	} while (errand.id == 0);
	errand.end_ns = 0; /* it learns what is known by then */
	while (clock_monotonic_ns() < errand.until_ns)
		;
	atomic_store(&shared->told, TOLD_NOTHING);
}

static void look(void)
{
	uint64_t answer[ERRAND_ANSWERS];
	atomic_store(&shared->told, errand_look(&errand, answer));
}

/* One that was killed says no more. */
static void leave(void)
{
	if (atomic_load(&shared->told) != TOLD_NOTHING) {
		errand_end(&errand);
		return;
	}
	close(errand.file);
	segment_detach(&errand.page_segment);
	segment_detach(&errand.control_segment);
}

/* What the asker was told is what came of it once the stage has had another life, whenever that
 * is. */
static void check(const char *run, unsigned moment)
{
	uint64_t id = errand.id;
	leave();
	live(0);
	bool done = atomic_load(&shared->done) == id;
	int told = atomic_load(&shared->told);
	if ((told == -EBUSY && done) || ((told == -EINPROGRESS || told == 0) && !done))
		fail_msg("%s, before instruction %u: told %d, and it was %sdone", run, moment, told,
		         done ? "" : "not ");
	/* The way is free for the next. */
	ask();
	live(0);
	look();
	assert_int_equal(atomic_load(&shared->told), 0);
	errand_end(&errand);
}

/* What happens before that instruction; the stepped process goes on, or not. */
struct variant {
	const char *name;
	void (*stepped)(void); /* the process that is stepped */
	void (*other)(void);   /* what the other side does; NULL: nothing */
	bool killed;           /* the stepped process is, and then comes `after` */
	void (*after)(void);
};

static void step_to(pid_t child, unsigned moment, int *status)
{
	for (unsigned i = 0; i < moment && !atomic_load(&shared->finished); i++) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		assert_int_equal(waitpid(child, status, 0), child);
	}
}

/* False when the process has ended before that instruction. */
static bool run(const struct variant *variant, unsigned moment)
{
	int status;
	ask();
	atomic_store(&shared->finished, false);
	pid_t child = fork();
	if (child == 0) {
		stepped_begin();
		variant->stepped();
		atomic_store(&shared->finished, true);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == STEPPED_NOT_ALLOWED)
		skip();
	step_to(child, moment, &status);
	bool before_its_end = !atomic_load(&shared->finished);
	if (variant->other != NULL)
		variant->other();
	if (variant->killed)
		kill(child, SIGKILL);
	else
		assert_int_equal(ptrace(PTRACE_DETACH, child, NULL, NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(variant->killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	if (variant->after != NULL)
		variant->after();
	check(variant->name, moment);
	return before_its_end;
}

static void at_every_moment(const struct variant *variant)
{
	if (stepped_instrumented())
		skip();
	unsigned moment = 0;
	stepped_on_one_processor();
	while (moment < MOMENTS_MOST && run(variant, moment))
		moment++;
	printf("%s: %u moments\n", variant->name, moment);
	assert_in_range(moment, MOMENTS_LEAST, MOMENTS_MOST - 1);
}

/* ---- the asker, stepped ---- */

/* Its clock was read before the asker's time was over. */
static void stage_acts(void)
{
	live(0);
}

static void stage_dies_over_it(void)
{
	if (errand_asked_state(&f) == ERRAND_ASKED)
		atomic_store(&f.control->errand, errand_word(errand.id, ERRAND_TAKEN));
}

/* It has looked at the asker's word, and then stopped: for longer than the errand's time. */
static void stage_takes_late(void)
{
	atomic_store(&f.control->errand, errand_word(errand.id, ERRAND_TAKEN));
	live(UINT64_MAX);
}

static void an_asker_that_gives_up_learns_what_is_so(void **state)
{
	(void)state;
	at_every_moment(&(struct variant){"the stage takes it and does it", look, stage_acts, false, NULL});
	at_every_moment(
	        &(struct variant){"the stage takes it and dies", look, stage_dies_over_it, false, NULL});
	at_every_moment(&(struct variant){"the stage takes it late", look, stage_takes_late, false, NULL});
}

static void an_asker_that_is_killed_is_in_nobodys_way(void **state)
{
	(void)state;
	at_every_moment(&(struct variant){"the asker is killed", look, NULL, true, NULL});
	at_every_moment(&(struct variant){"the asker is killed over what was taken", look, stage_dies_over_it,
	                                  true, NULL});
}

/* ---- the stage, stepped ---- */

static void live_in_time(void)
{
	live(0);
}

static void a_stage_does_what_its_asker_was_told(void **state)
{
	(void)state;
	at_every_moment(&(struct variant){"the asker gives up", live_in_time, look, false, NULL});
	at_every_moment(
	        &(struct variant){"the asker gives up, the stage is killed", live_in_time, look, true, NULL});
	at_every_moment(
	        &(struct variant){"the stage is killed, the asker gives up", live_in_time, NULL, true, look});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(an_asker_that_gives_up_learns_what_is_so),
	        TEST(an_asker_that_is_killed_is_in_nobodys_way),
	        TEST(a_stage_does_what_its_asker_was_told),
	};
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
