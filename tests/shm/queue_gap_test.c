/* A process dies in every gap of the queue's code, between a claim and what must follow it. Then:
 * the others go on at once although nothing has been repaired; after repair every message that was
 * published has been found once, what was being filled never, and all slots are free. Messages that
 * are published as one are all found or none. queue.c is compiled in with its gaps opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *fatal_gap = "";
static unsigned survived; /* so often it is passed before */

static void queue_test_gap(const char *name)
{
	if (strcmp(name, fatal_gap) == 0 && survived-- == 0)
		raise(SIGKILL);
}

#define QUEUE_TEST_HOOKS
#include "shm/queue.c"

#define SLOTS         16u
#define NUMBERS       2000u
#define FROM_THE_DEAD 1000u /* the dying process numbers its messages from here */

#define AS_ONE 5u /* messages that are published as one */

enum role { PARENT = 1, DYING, THIRD };

struct field {
	_Atomic uint32_t turn;          /* 1: the dying process is ready; 2: it may go on */
	_Atomic uint8_t acked[NUMBERS]; /* its pushes that returned */
	_Atomic uint64_t decided;       /* of the dying one, or of THIRD */
	alignas(SHM_LINE) struct queue_shared queue;
};

struct scene {
	const char *gap;
	void (*prepare)(struct scene *);   /* parent, before the fork */
	void (*script)(struct scene *);    /* the dying process */
	void (*meanwhile)(struct scene *); /* parent, when turn is 1 */
	void (*after)(struct scene *);     /* parent, after the repair */
	/* number that must be found although its push never returned */
	unsigned extra;
	unsigned extras;   /* and so many after it */
	unsigned survived; /* passes of the gap before the fatal one */
	unsigned gone;     /* with the numbers 1 .. gone the dead was done */
	struct field *field;
	struct queue parent, dying, third;
	struct queue_slot slot;
	unsigned next;
	unsigned seen[NUMBERS];
};

static struct queue join(struct scene *scene, unsigned role)
{
	struct queue queue;
	size_t bytes = queue_bytes(SLOTS, sizeof(uint64_t));
	assert_int_equal(queue_join(&queue, &scene->field->queue, bytes, role), 0);
	return queue;
}

static uint64_t number_in(const struct queue_slot *slot)
{
	uint64_t number;
	memcpy(&number, slot->data, sizeof number);
	return number;
}

static bool take_one(struct scene *scene)
{
	struct queue_slot slot;
	if (!queue_take(&scene->parent, &slot))
		return false;
	uint64_t number = number_in(&slot);
	assert_in_range(number, 1, NUMBERS - 1);
	scene->seen[number]++;
	assert_int_equal(queue_done(&scene->parent, &slot), 0);
	return true;
}

static void parent_pushes(struct scene *scene)
{
	uint64_t number = scene->next;
	assert_true(queue_push(&scene->parent, &number, sizeof number));
	scene->next++;
}

/* n messages through the queue, one at a time. */
static void parent_moves(struct scene *scene, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		parent_pushes(scene);
		assert_true(take_one(scene));
	}
}

static void wait_for_turn(struct scene *scene, uint32_t turn)
{
	while (atomic_load(&scene->field->turn) != turn)
		sched_yield(); /* bounded by alarm() */
}

/* ---- what the dying process does ---- */

static void dying_pushes(struct scene *scene)
{
	uint64_t number = FROM_THE_DEAD;
	if (queue_push(&scene->dying, &number, sizeof number))
		atomic_store(&scene->field->acked[number], 1);
}

static void dying_commits_late(struct scene *scene)
{
	struct queue_slot slot;
	if (!queue_reserve(&scene->dying, &slot))
		return;
	atomic_store(&scene->field->turn, 1);
	wait_for_turn(scene, 2);
	uint64_t number = FROM_THE_DEAD;
	memcpy(slot.data, &number, sizeof number);
	queue_commit(&scene->dying, &slot, sizeof number);
}

static void dying_goes_many_laps(struct scene *scene)
{
	for (uint64_t number = FROM_THE_DEAD; number < FROM_THE_DEAD + 10 * SLOTS; number++) {
		struct queue_slot slot;
		if (!queue_push(&scene->dying, &number, sizeof number) || !queue_take(&scene->dying, &slot))
			return;
		queue_done(&scene->dying, &slot);
	}
}

static void dying_takes(struct scene *scene)
{
	struct queue_slot slot;
	if (queue_take(&scene->dying, &slot))
		queue_done(&scene->dying, &slot);
}

static void dying_gives_back(struct scene *scene)
{
	struct queue_slot slot;
	if (queue_take(&scene->dying, &slot))
		queue_give_back(&scene->dying, &slot);
}

static void dying_cancels(struct scene *scene)
{
	struct queue_slot slot;
	if (queue_reserve(&scene->dying, &slot))
		queue_cancel(&scene->dying, &slot);
}

/* Makes a message ready as give_back does, forgets to announce it, and fills the queue up to it. */
static void dying_pays_a_debt(struct scene *scene)
{
	struct queue_slot slot;
	uint64_t word;
	if (!queue_take(&scene->dying, &slot) ||
	    leave(&scene->dying, &slot, QUEUE_TAKEN, QUEUE_READY, &word) != 0)
		return;
	for (uint64_t number = FROM_THE_DEAD; number < FROM_THE_DEAD + 2 * SLOTS; number++)
		if (queue_push(&scene->dying, &number, sizeof number))
			atomic_store(&scene->field->acked[number], 1);
}

static void claim_as_one(struct queue *queue, struct queue_slot slot[AS_ONE])
{
	for (uint64_t i = 0; i < AS_ONE; i++) {
		uint64_t number = FROM_THE_DEAD + i;
		if (!queue_reserve(queue, &slot[i]))
			_exit(1);
		memcpy(slot[i].data, &number, sizeof number);
		slot[i].length = sizeof number;
	}
}

static void dying_publishes_as_one(struct scene *scene)
{
	struct queue_slot slot[AS_ONE];
	claim_as_one(&scene->dying, slot);
	atomic_store(&scene->field->turn, 1);
	if (scene->meanwhile != NULL)
		wait_for_turn(scene, 2);
	queue_commit_all(&scene->dying, slot, AS_ONE, &scene->field->decided);
}

/* What whoever repairs a role does. */
static void repair(struct queue *queue, struct scene *scene, unsigned role)
{
	if (atomic_load(&scene->field->decided) != 0)
		queue_commit_filled(queue, role);
	queue_repair(queue, role);
}

static void dying_repairs(struct scene *scene)
{
	repair(&scene->dying, scene, THIRD);
}

static void dying_resumes(struct scene *scene)
{
	uint32_t next = 0;
	struct queue_slot slot;
	while (queue_resume(&scene->dying, &next, &slot))
		queue_done(&scene->dying, &slot);
}

/* ---- what the parent does before and meanwhile ---- */

static void three_messages(struct scene *scene)
{
	for (unsigned i = 0; i < 3; i++)
		parent_pushes(scene);
}

static void third_holds_one(struct scene *scene)
{
	parent_pushes(scene);
	assert_true(queue_take(&scene->third, &scene->slot));
}

static void third_is_done(struct scene *scene)
{
	scene->seen[number_in(&scene->slot)]++;
	assert_int_equal(queue_done(&scene->third, &scene->slot), 0);
}

/* Taken while others went on, then dead. */
static void third_has_died(struct scene *scene)
{
	struct queue_slot slot;
	three_messages(scene);
	assert_true(queue_take(&scene->third, &slot) && queue_take(&scene->third, &slot));
	assert_true(queue_reserve(&scene->third, &slot));
	assert_true(take_one(scene));
}

static void third_is_repaired(struct scene *scene)
{
	repair(&scene->parent, scene, THIRD);
}

/* As after a death right after the decision. */
static void third_has_decided(struct scene *scene)
{
	struct queue_slot slot[AS_ONE];
	three_messages(scene);
	claim_as_one(&scene->third, slot);
	for (unsigned i = 0; i < AS_ONE; i++)
		store_length(&scene->third, &slot[i]);
	atomic_store(&scene->field->decided, 1);
}

static void third_fills_slowly(struct scene *scene)
{
	assert_true(queue_reserve(&scene->third, &scene->slot));
	for (unsigned i = 0; i < SLOTS / 2; i++)
		parent_pushes(scene);
	for (unsigned i = 0; i < SLOTS / 4 - 1; i++)
		assert_true(take_one(scene));
}

static void third_commits(struct scene *scene)
{
	uint64_t number = scene->next++;
	memcpy(scene->slot.data, &number, sizeof number);
	assert_int_equal(queue_commit(&scene->third, &scene->slot, sizeof number), 0);
}

static void last_life_held_two(struct scene *scene)
{
	struct queue_slot slot;
	three_messages(scene);
	assert_true(queue_take(&scene->dying, &slot) && queue_take(&scene->dying, &slot));
	assert_true(queue_reserve(&scene->dying, &slot));
}

static void parent_passes(struct scene *scene)
{
	parent_moves(scene, SLOTS / 2);
}

static void parent_goes_round(struct scene *scene)
{
	parent_moves(scene, 3 * SLOTS + 2);
}

/* ---- the play ---- */

static void run_dying(struct scene *scene)
{
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fatal_gap = scene->gap;
		survived = scene->survived;
		scene->script(scene);
		_exit(0); /* it never came to its gap */
	}
	if (scene->meanwhile != NULL) {
		wait_for_turn(scene, 1);
		scene->meanwhile(scene);
		atomic_store(&scene->field->turn, 2);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("nobody died at \"%s\"", scene->gap);
}

/* Four laps with the orphan in place. Where a debt has to be paid a push may fail once before it
 * succeeds. */
static void others_go_on(struct scene *scene)
{
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	unsigned refused = 0;
	for (unsigned i = 0; i < 4 * SLOTS; i++) {
		uint64_t number = scene->next;
		while (!queue_push(&scene->parent, &number, sizeof number)) {
			assert_true(++refused <= SLOTS);
			assert_true(take_one(scene));
		}
		scene->next++;
		assert_true(take_one(scene));
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - begin.tv_sec <= 1);
}

static void expect_nothing_lost_nor_leaked(struct scene *scene)
{
	for (unsigned number = 1; number < NUMBERS; number++) {
		bool extra = number >= scene->extra && number <= scene->extra + scene->extras;
		bool published = number < scene->next || (scene->extra != 0 && extra) ||
		                 atomic_load(&scene->field->acked[number]);
		unsigned expected = published && number > scene->gone;
		if (scene->seen[number] != expected)
			fail_msg("\"%s\": message %u came %u times, not %u", scene->gap, number,
			         scene->seen[number], expected);
	}
	struct queue_counts counts;
	queue_count(&scene->parent, &counts);
	assert_int_equal(counts.free, SLOTS);
}

static void play(struct scene *scene)
{
	size_t bytes = offsetof(struct field, queue) + queue_bytes(SLOTS, sizeof(uint64_t));
	scene->field = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(scene->field != MAP_FAILED);
	assert_int_equal(queue_init(&scene->field->queue, bytes - offsetof(struct field, queue), SLOTS,
	                            sizeof(uint64_t)),
	                 0);
	scene->parent = join(scene, PARENT);
	scene->dying = join(scene, DYING);
	scene->third = join(scene, THIRD);
	scene->next = 1;
	if (scene->prepare != NULL)
		scene->prepare(scene);
	run_dying(scene);
	others_go_on(scene);
	repair(&scene->parent, scene, DYING);
	if (scene->after != NULL)
		scene->after(scene);
	while (take_one(scene))
		;
	expect_nothing_lost_nor_leaked(scene);
	munmap(scene->field, bytes);
}

static void a_death_in_any_gap_stalls_nobody_and_loses_nothing(void **state)
{
	(void)state;
	static struct scene scenes[] = {
	        {.gap = "reserve: claimed", .script = dying_pushes},
	        {.gap = "reserve: went round",
	         .prepare = third_holds_one,
	         .script = dying_goes_many_laps,
	         .after = third_is_done},
	        {.gap = "reserve: debt announced", .prepare = three_messages, .script = dying_pays_a_debt},
	        {.gap = "commit: filled", .script = dying_pushes},
	        {.gap = "commit: filled", .script = dying_commits_late, .meanwhile = parent_passes},
	        {.gap = "commit: filled", .script = dying_commits_late, .meanwhile = parent_goes_round},
	        {.gap = "commit: published", .script = dying_pushes, .extra = FROM_THE_DEAD},
	        {.gap = "commit: published",
	         .script = dying_commits_late,
	         .meanwhile = parent_passes,
	         .extra = FROM_THE_DEAD},
	        {.gap = "commit: published",
	         .script = dying_commits_late,
	         .meanwhile = parent_goes_round,
	         .extra = FROM_THE_DEAD},
	        {.gap = "commit: announced", .script = dying_pushes, .extra = FROM_THE_DEAD},
	        {.gap = "commit: announced",
	         .script = dying_commits_late,
	         .meanwhile = parent_passes,
	         .extra = FROM_THE_DEAD},
	        {.gap = "cancel: freed", .script = dying_cancels},
	        {.gap = "take: claimed", .prepare = three_messages, .script = dying_takes},
	        {.gap = "take: passed",
	         .prepare = third_fills_slowly,
	         .script = dying_takes,
	         .after = third_commits},
	        {.gap = "done: before", .prepare = three_messages, .script = dying_takes},
	        {.gap = "done: freed", .prepare = three_messages, .script = dying_takes, .gone = 1},
	        {.gap = "give_back: ready", .prepare = three_messages, .script = dying_gives_back},
	        {.gap = "give_back: announced", .prepare = three_messages, .script = dying_gives_back},
	        {.gap = "repair: slot",
	         .prepare = third_has_died,
	         .script = dying_repairs,
	         .after = third_is_repaired},
	        {.gap = "repair: announced", .prepare = third_has_died, .script = dying_repairs},
	        {.gap = "done: freed", .prepare = last_life_held_two, .script = dying_resumes, .gone = 1},
	        {.gap = "cancel: freed", .prepare = last_life_held_two, .script = dying_resumes, .gone = 2},
	};
	for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
		play(&scenes[i]);
}

/* Dies at every step of publishing several, others at rest, passing its slots and going round
 * them. */
static void messages_published_as_one_are_all_there_after_a_death_or_none(void **state)
{
	(void)state;
	static const struct {
		const char *gap;
		bool all;
		unsigned times;
	} gaps[] = {
	        {"commit_all: filled", false, 1},    {"commit_all: decided", true, 1},
	        {"commit: filled", true, AS_ONE},    {"commit: published", true, AS_ONE},
	        {"commit: announced", true, AS_ONE}, {"commit_all: one", true, AS_ONE},
	        {"commit_all: done", true, 1},
	};
	static void (*const meanwhile[])(struct scene *) = {NULL, parent_passes, parent_goes_round};
	for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++)
		for (unsigned k = 0; k < gaps[i].times * 3; k++)
			play(&(struct scene){.gap = gaps[i].gap,
			                     .survived = k / 3,
			                     .script = dying_publishes_as_one,
			                     .meanwhile = meanwhile[k % 3],
			                     .extra = gaps[i].all ? FROM_THE_DEAD : 0,
			                     .extras = AS_ONE - 1});
	for (unsigned k = 0; k < AS_ONE; k++)
		play(&(struct scene){.gap = "commit_filled: slot",
		                     .survived = k,
		                     .prepare = third_has_decided,
		                     .script = dying_repairs,
		                     .after = third_is_repaired,
		                     .extra = FROM_THE_DEAD,
		                     .extras = AS_ONE - 1});
}

int main(void)
{
	alarm(30);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_death_in_any_gap_stalls_nobody_and_loses_nothing),
	        cmocka_unit_test(messages_published_as_one_are_all_there_after_a_death_or_none)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
