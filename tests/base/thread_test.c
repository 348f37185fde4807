/* Threads beside a stage's loop. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/thread.h"

#define STACK_BYTES (256u * 1024)

struct seen {
	sigset_t blocked;
	size_t stack_bytes;
};

static void *look(void *argument)
{
	struct seen *seen = argument;
	pthread_attr_t attributes;
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
	if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
		pthread_attr_getstacksize(&attributes, &seen->stack_bytes);
		pthread_attr_destroy(&attributes);
	}
	return NULL;
}

static void signals_are_for_the_loop_and_refusals_for_who_asked(void **state)
{
	(void)state;
	struct seen seen;
	sigset_t before, after;
	pthread_t thread;
	sigemptyset(&seen.blocked);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(thread_start(&thread, 0, look, &seen), 0);
	pthread_join(thread, NULL);
	assert_int_equal(sigismember(&seen.blocked, SIGTERM), 1);
	assert_int_equal(sigismember(&seen.blocked, SIGUSR1), 1);
	assert_int_equal(sigismember(&seen.blocked, SIGSYS), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

static void its_stack_is_what_was_asked_for(void **state)
{
	(void)state;
	struct seen seen = {.stack_bytes = 0};
	pthread_t thread;
	assert_int_equal(thread_start(&thread, STACK_BYTES, look, &seen), 0);
	pthread_join(thread, NULL);
	assert_true(seen.stack_bytes >= STACK_BYTES && seen.stack_bytes < 2 * STACK_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(signals_are_for_the_loop_and_refusals_for_who_asked),
	        cmocka_unit_test(its_stack_is_what_was_asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
