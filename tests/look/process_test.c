/* What the kernel tells of a process. */
#include "look/process.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define BYTES (64u << 20)

static void the_time_and_the_memory_of_another_process_are_told(void **state)
{
	(void)state;
	int ready[2];
	char byte;
	struct process_cost first, second;
	char *shared = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED && pipe(ready) == 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char *own = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (own == MAP_FAILED)
			_exit(1);
		memset(own, 1, BYTES);
		memset(shared, 1, BYTES / 2);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			own[0]++;
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	process_ask((uint32_t)pid, &first);
	assert_true(first.known);
	assert_true(first.own_bytes >= BYTES && first.own_bytes < 4ull * BYTES);
	assert_true(first.shared_bytes >= BYTES / 2);
	do
		process_ask((uint32_t)pid, &second);
	while (second.cpu_ns < first.cpu_ns + 20 * NS_PER_MS);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(shared, BYTES);
	close(ready[0]);
	close(ready[1]);
}

static void a_process_that_has_gone_is_not_known(void **state)
{
	(void)state;
	struct process_cost cost;
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	process_ask((uint32_t)pid, &cost);
	assert_false(cost.known);
	process_ask(0, &cost);
	assert_false(cost.known);
	assert_int_equal(cost.cpu_ns + cost.own_bytes + cost.shared_bytes, 0);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_time_and_the_memory_of_another_process_are_told),
	        cmocka_unit_test(a_process_that_has_gone_is_not_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
