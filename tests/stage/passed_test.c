/* Sockets of a service manager: how many there may be, and whose they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage/passed.h"

static const struct stage_ops ops = {.name = "ingest-udp"};
static struct shm_error error;

/* What passed_take says to so many sockets, passed to that process. Nothing of the configuration is
 * asked before the number is right. */
static int take(const char *n, long pid)
{
	struct stage stage = {.ops = &ops, .role = "ingest-udp.0"};
	char text[24];
	snprintf(text, sizeof text, "%ld", pid);
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDS", n, 1);
	error.text[0] = '\0';
	int result = passed_take(&stage, &error);
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	assert_int_equal(stage.n_sockets, 0);
	return result;
}

static void more_than_a_stage_can_have_are_refused(void **state)
{
	(void)state;
	assert_int_equal(take("17", getpid()), -EINVAL);
	assert_string_equal(error.text,
	                    "ingest-udp.0: the service manager passed 17 sockets; allowed: at most 16");
	assert_int_equal(take("18446744073709551615", getpid()), -EINVAL);
	assert_non_null(strstr(error.text, "allowed: at most 16"));
	assert_int_equal(STAGE_SOCKETS_MAX, 16);
}

static void none_and_those_of_another_process_are_nothing(void **state)
{
	(void)state;
	assert_int_equal(take("0", getpid()), 0);
	assert_int_equal(take("17", getpid() + 1), 0);
	assert_string_equal(error.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(more_than_a_stage_can_have_are_refused),
	        cmocka_unit_test(none_and_those_of_another_process_are_nothing),
	};
	alarm(10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
