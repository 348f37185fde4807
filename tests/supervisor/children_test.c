/* What dead roles had claimed in queues: kept for a next life that comes soon, or given to others.
 * The stage is this program, started under another name; LIFE says what each life does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/queue.h"
#include "supervisor/children.h"
#include "tests/fixture/instance.h"

#define ROLE   "taker.0"
#define NUMBER 5u

static struct {
	struct sandbox sandbox;
	struct children children;
	struct queue queue; /* of this process, role NUMBER + 1 */
	struct shm_error error;
} f;

/* ---- the stage ---- */

/* LIFE: "stay", "die" once it runs and has taken a message, "fail" when it has taken one and does
 * not run yet. */
static int live(void)
{
	struct shm_error error;
	struct segment control = {0};
	struct queue queue;
	struct queue_slot slot;
	const char *life = getenv("MILLRACE_TEST_LIFE"), *directory = getenv("MILLRACE_TEST_SEGMENTS");
	if (life == NULL || directory == NULL ||
	    segment_attach(&control, directory, ROLE ".stage", SEGMENT_STAGE, SEGMENT_WRITE, &error) != 0 ||
	    queue_attach(&queue, directory, "postback.queue", SEGMENT_WRITE, NUMBER, &error) != 0)
		return 1;
	struct control *own = control.body;
	atomic_store(&own->state, STAGE_STARTING);
	atomic_store(&own->pid, (uint32_t)getpid());
	if (strcmp(life, "stay") != 0 && !queue_take(&queue, &slot))
		return 1;
	if (strcmp(life, "fail") == 0)
		raise(SIGKILL);
	atomic_store(&own->state, STAGE_RUNNING);
	if (strcmp(life, "die") == 0)
		raise(SIGKILL);
	for (;;)
		pause();
}

/* ---- the supervisor's part ---- */

static const char *const postback[] = {"postback", NULL};
static const struct flow_stage takes = {.name = "taker", .takes = postback},
                               only_puts = {.name = "taker", .puts = postback};

static int set_up(void **state)
{
	(void)state;
	static const struct test_queue queues[] = {{"postback", 16, 64}};
	char link[128], own[PATH_MAX] = "";
	memset(&f, 0, sizeof f);
	if (sandbox_make(&f.sandbox) != 0 || readlink("/proc/self/exe", own, sizeof own - 1) < 0)
		return -1;
	snprintf(link, sizeof link, "%s/taker", f.sandbox.root);
	if (symlink(own, link) != 0 || setenv("MILLRACE_TEST_SEGMENTS", f.sandbox.directory, 1) != 0 ||
	    instance_make_queues(f.sandbox.directory, NULL, 0, queues, 1, &f.error) != 0 ||
	    segment_create(f.sandbox.directory, ROLE ".stage", SEGMENT_STAGE, 7, sizeof(struct control), NULL,
	                   NULL, &f.error) != 0 ||
	    queue_attach(&f.queue, f.sandbox.directory, "postback.queue", SEGMENT_WRITE, NUMBER + 1,
	                 &f.error) != 0)
		return -1;
	snprintf(f.children.directory, sizeof f.children.directory, "%s", f.sandbox.directory);
	snprintf(f.children.instance, sizeof f.children.instance, "test");
	snprintf(f.children.libexec, sizeof f.children.libexec, "%s", f.sandbox.root);
	f.children.backoff_ns = f.children.backoff_max_ns = 500 * NS_PER_MS;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	children_start_none(&f.children);
	for (unsigned i = 0; i < f.children.n; i++)
		if (f.children.child[i].pid > 0)
			(void)kill(f.children.child[i].pid, SIGKILL);
	while (!children_all(&f.children, -1, CHILD_DOWN)) {
		children_step(&f.children, clock_monotonic_ns());
		(void)poll(NULL, 0, 1);
	}
	children_fini(&f.children);
	queue_detach(&f.queue);
	sandbox_remove(&f.sandbox);
	return 0;
}

static struct child *child(void)
{
	return &f.children.child[0];
}

static uint64_t count(enum queue_phase phase)
{
	struct queue_counts counts;
	queue_count(&f.queue, &counts);
	return phase == QUEUE_TAKEN ? counts.taken : counts.ready;
}

/* Starts the role on a life of this kind; three messages wait. */
static void begin(const struct flow_stage *stage, const char *life)
{
	struct plan_role role = {.number = NUMBER, .stage = stage, .n_queues = 1, .queue = {"postback"}};
	snprintf(role.page.name, sizeof role.page.name, ROLE);
	snprintf(role.page.program, sizeof role.page.program, "taker");
	for (uint64_t i = 0; i < 3; i++)
		assert_true(queue_push(&f.queue, &i, sizeof i));
	assert_int_equal(children_add(&f.children, &role, NULL, 0, &f.error), 0);
	assert_int_equal(setenv("MILLRACE_TEST_LIFE", life, 1), 0);
	children_start(&f.children, 0, clock_monotonic_ns());
}

/* Answers the death of the life that there is; the next one is of this kind. */
static void bury(const char *next)
{
	int last = child()->pid;
	assert_int_equal(setenv("MILLRACE_TEST_LIFE", next, 1), 0);
	while (child()->pid == last) { /* bounded by alarm() */
		children_step(&f.children, clock_monotonic_ns());
		(void)poll(NULL, 0, 1);
	}
}

static void wait_for_life(void)
{
	while (child()->phase != CHILD_UP) {
		children_step(&f.children, clock_monotonic_ns());
		(void)poll(NULL, 0, 1);
	}
}

static void what_it_had_taken_is_kept_for_a_life_that_comes_at_once(void **state)
{
	(void)state;
	begin(&takes, "die");
	bury("stay");
	assert_int_not_equal(child()->pid, 0);
	wait_for_life();
	assert_int_equal(count(QUEUE_TAKEN), 1);
	assert_int_equal(count(QUEUE_READY), 2);
}

static void a_death_closes_the_gates_of_the_role(void **state)
{
	(void)state;
	unsigned long long gate[3] = {1, 1, 1};
	int map = open("/dev/null", O_RDONLY | O_CLOEXEC), socket = open("/dev/null", O_RDONLY | O_CLOEXEC);
	begin(&only_puts, "stay");
	const struct child_packets packets = {
	        .n = 2,
	        .gate = map,
	        .frames = {{.socket = socket, .queue = 3, .count = 64},
	                   {.socket = socket, .queue = 5, .count = 64}},
	        .open = {&gate[0], &gate[2]},
	};
	children_hand_packets(&f.children, &packets);
	wait_for_life();
	assert_int_equal(gate[0] + gate[1] + gate[2], 3);
	assert_int_equal(kill(child()->pid, SIGKILL), 0);
	bury("stay");
	assert_int_equal(gate[0], 0);
	assert_int_equal(gate[1], 1); /* another role's */
	assert_int_equal(gate[2], 0);
	wait_for_life();
	close(map);
	close(socket);
}

static void it_is_kept_through_a_short_pause_too(void **state)
{
	(void)state;
	begin(&takes, "die");
	bury("die");
	bury("stay");
	assert_int_equal(child()->phase, CHILD_WAITING);
	assert_int_equal(count(QUEUE_TAKEN), 2);
	wait_for_life();
	assert_int_equal(count(QUEUE_TAKEN), 2);
}

static void others_get_it_when_the_next_life_comes_late(void **state)
{
	(void)state;
	f.children.backoff_ns = f.children.backoff_max_ns = 60 * NS_PER_SEC;
	begin(&takes, "die");
	bury("die");
	bury("stay");
	assert_int_equal(child()->phase, CHILD_WAITING);
	assert_int_equal(count(QUEUE_TAKEN), 0);
	assert_int_equal(count(QUEUE_READY), 3);
}

static void others_get_it_when_a_life_dies_before_it_runs(void **state)
{
	(void)state;
	begin(&takes, "fail");
	bury("stay");
	assert_int_not_equal(child()->pid, 0);
	assert_int_equal(count(QUEUE_TAKEN), 0);
	assert_int_equal(count(QUEUE_READY), 3);
}

static void others_get_it_when_the_role_ends(void **state)
{
	(void)state;
	begin(&takes, "die");
	bury("die");
	bury("stay");
	assert_int_equal(child()->phase, CHILD_WAITING);
	assert_int_equal(count(QUEUE_TAKEN), 2);
	children_kill(&f.children, 0);
	assert_int_equal(child()->phase, CHILD_DOWN);
	assert_int_equal(count(QUEUE_TAKEN), 0);
	assert_int_equal(count(QUEUE_READY), 3);
}

static void others_get_it_when_a_living_role_is_killed(void **state)
{
	(void)state;
	begin(&takes, "die");
	bury("stay");
	wait_for_life();
	assert_int_equal(count(QUEUE_TAKEN), 1);
	children_kill(&f.children, 0);
	while (child()->phase != CHILD_DOWN) {
		children_step(&f.children, clock_monotonic_ns());
		(void)poll(NULL, 0, 1);
	}
	assert_int_equal(count(QUEUE_READY), 3);
}

static void others_get_it_when_nothing_is_started_any_more(void **state)
{
	(void)state;
	begin(&takes, "die");
	bury("die");
	bury("stay");
	assert_int_equal(count(QUEUE_TAKEN), 2);
	children_start_none(&f.children);
	assert_int_equal(child()->phase, CHILD_DOWN);
	assert_int_equal(count(QUEUE_READY), 3);
}

static void claims_of_a_role_that_takes_nothing_are_repaired_at_once(void **state)
{
	(void)state;
	begin(&only_puts, "die");
	bury("stay");
	wait_for_life();
	assert_int_equal(count(QUEUE_TAKEN), 0);
	assert_int_equal(count(QUEUE_READY), 3);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--role") == 0)
			return live();
	alarm(30);
	const struct CMUnitTest tests[] = {
	        T(what_it_had_taken_is_kept_for_a_life_that_comes_at_once),
	        T(it_is_kept_through_a_short_pause_too),
	        T(a_death_closes_the_gates_of_the_role),
	        T(others_get_it_when_the_next_life_comes_late),
	        T(others_get_it_when_a_life_dies_before_it_runs),
	        T(others_get_it_when_the_role_ends),
	        T(others_get_it_when_a_living_role_is_killed),
	        T(others_get_it_when_nothing_is_started_any_more),
	        T(claims_of_a_role_that_takes_nothing_are_repaired_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
