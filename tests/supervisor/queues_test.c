/* Queues of an instance: made, taken over by the next supervisor, resized when empty, and freed of
 * what the dead had claimed. */
#include "tests/fixture/segments.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/private.h"
#include "supervisor/queues.h"

static const char http[] = "ingest: {http: [{listen: ':1', processes: 2}]}\n"
                           "topics: {metric: {size: 64KiB}, log: {size: 64KiB}, track.raw: {size: 64KiB}}\n"
                           "queues: {postback: {slots: 64, slot_size: 64}}";
static const char longer[] = "ingest: {http: [{listen: ':1', processes: 2}]}\n"
                             "topics: {metric: {size: 64KiB}, log: {size: 64KiB}, track.raw: {size: 64KiB}}\n"
                             "queues: {postback: {slots: 128, slot_size: 256}}";

static const char udp[] = "ingest: {udp: [{listen: ':1', buffers: 16}]}\ntopics: {ip: {size: 64KiB}}";

static struct queue_state look_at_queue(void)
{
	struct queue_state queue_state;
	struct shm_error error = {""};
	if (queues_look(sandbox.directory, "postback", &queue_state, &error) != 0)
		fail_msg("%s", error.text);
	return queue_state;
}

static void attach_queue(struct queue *queue, unsigned role)
{
	struct shm_error error = {""};
	if (queue_attach(queue, sandbox.directory, "postback.queue", SEGMENT_WRITE, role, &error) != 0)
		fail_msg("%s", error.text);
}

static void push_messages(unsigned n)
{
	struct queue queue;
	attach_queue(&queue, 1);
	for (unsigned i = 0; i < n; i++)
		assert_true(queue_push(&queue, &i, sizeof i));
	queue_detach(&queue);
}

/* Takes and finishes all there is; the messages must be numbered from 0. Returns how many. */
static unsigned take_messages(void)
{
	struct queue queue;
	struct queue_slot slot;
	unsigned n = 0;
	attach_queue(&queue, 2);
	for (; queue_take(&queue, &slot); n++) {
		assert_memory_equal(slot.data, &n, sizeof n);
		assert_int_equal(queue_done(&queue, &slot), 0);
	}
	queue_detach(&queue);
	return n;
}

static void a_queue_is_made_and_its_messages_wait_for_the_next_supervisor(void **state)
{
	(void)state;
	struct segments first, second;
	char *text = NULL;
	size_t size;
	must_apply(&first, http);
	assert_int_equal(first.old->n_queues, 1);
	assert_int_equal(look_at_queue().counts.free, 64);
	assert_int_equal(segments_waiting(&first, NULL), 0);
	push_messages(5);
	must_apply(&second, http);
	FILE *out = open_memstream(&text, &size);
	assert_int_equal(segments_waiting(&second, out), 5);
	fclose(out);
	assert_string_equal(text, "queue postback: 5 messages\n");
	free(text);
	assert_int_equal(take_messages(), 5);
	assert_int_equal(segments_waiting(&second, NULL), 0);
	assert_int_equal(segments_remove(&second), 0);
	segments_fini(&first);
	segments_fini(&second);
}

static void an_empty_queue_takes_its_new_size_and_a_full_one_keeps_its_own(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, http);
	push_messages(3);
	segments_fini(&segments);
	must_apply(&segments, longer);
	assert_int_equal(look_at_queue().counts.slots, 64);
	assert_int_equal(take_messages(), 3);
	segments_fini(&segments);
	must_apply(&segments, longer);
	assert_int_equal(look_at_queue().counts.slots, 128);
	assert_int_equal(look_at_queue().slot_bytes, 256);
	push_messages(128);
	assert_int_equal(take_messages(), 128);
	segments_fini(&segments);
	must_apply(&segments, http);
	assert_int_equal(look_at_queue().counts.free, 64);
	segments_fini(&segments);
}

static void a_queue_that_nobody_uses_shrinks_once_it_is_empty(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, http);
	push_messages(2);
	segments_fini(&segments);
	must_apply(&segments, udp);
	assert_int_equal(segments.old->n_queues, 1);
	assert_int_equal(look_at_queue().counts.slots, 64);
	assert_int_equal(segments_waiting(&segments, NULL), 2);
	assert_int_equal(take_messages(), 2);
	segments_fini(&segments);
	must_apply(&segments, udp);
	assert_int_equal(look_at_queue().counts.slots, QUEUE_SLOTS_MIN);
	segments_fini(&segments);
	must_apply(&segments, http);
	assert_int_equal(look_at_queue().counts.free, 64);
	segments_fini(&segments);
}

/* In a process of its own: claims two slots as `role`, and takes a message where it shall, and
 * stays; says so by a byte. */
static pid_t claim(unsigned role, bool takes)
{
	int ready[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct queue queue;
		struct queue_slot slot;
		struct shm_error error;
		bool claimed = queue_attach(&queue, sandbox.directory, "postback.queue", SEGMENT_WRITE, role,
		                            &error) == 0 &&
		               queue_reserve(&queue, &slot) && queue_reserve(&queue, &slot) &&
		               (!takes || queue_take(&queue, &slot));
		if (!claimed || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

static pid_t claim_and_stay(unsigned role)
{
	return claim(role, true);
}

static pid_t claim_and_stay_filling(unsigned role)
{
	return claim(role, false);
}

/* In a process of its own: fills two slots as the role, decides to publish them, and stays. Returns
 * when it has. */
static pid_t decide_and_stay(const struct plan_role *role)
{
	int ready[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct queue queue;
		struct queue_slot slot;
		struct instance instance;
		struct segment private = {0};
		struct redo redo = {0};
		struct shm_error error;
		bool joined = instance_attach(&instance, "test", SEGMENT_READ, &error) == 0 &&
		              private_attach(&private, &redo, &instance, role->page.name, &error) == 0 &&
		              queue_attach(&queue, sandbox.directory, "postback.queue", SEGMENT_WRITE,
		                           role->number, &error) == 0;
		for (unsigned i = 0; joined && i < 2; i++) {
			uint32_t length = sizeof i;
			joined = queue_reserve(&queue, &slot);
			memcpy((char *)slot.data - QUEUE_LENGTH_BYTES, &length, sizeof length);
			memcpy(slot.data, &i, sizeof i);
		}
		if (!joined)
			_exit(1);
		atomic_store(&((struct private_note *)private.body)->decided, 1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

static uint64_t decided_of(const struct plan_role *role)
{
	char name[SEGMENT_NAME_MAX];
	struct segment private = {0};
	struct shm_error error;
	assert_int_equal(segment_attach(&private, sandbox.directory,
	                                instance_private_name(name, role->page.name), SEGMENT_PRIVATE,
	                                SEGMENT_READ, &error),
	                 0);
	uint64_t decided = atomic_load(private_decided(&private));
	segment_detach(&private);
	return decided;
}

static void kill_and_bury(pid_t child)
{
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void what_a_dead_role_had_claimed_is_given_back_and_nobody_elses(void **state)
{
	(void)state;
	struct segments segments;
	must_apply(&segments, http);
	struct plan *plan = plan_of(http);
	push_messages(3);
	pid_t dead = claim_and_stay(plan->role[0].number), alive = claim_and_stay(plan->role[1].number);
	struct queue_counts counts = look_at_queue().counts;
	assert_int_equal(counts.filling, 4);
	assert_int_equal(counts.taken, 2);
	kill_and_bury(dead);
	queues_repair(sandbox.directory, &plan->role[0]);
	counts = look_at_queue().counts;
	assert_int_equal(counts.filling, 2);
	assert_int_equal(counts.taken, 1);
	assert_int_equal(counts.ready, 2);
	/* the other one dies with its supervisor, whose successor knows only that nobody lives */
	kill_and_bury(alive);
	segments_fini(&segments);
	struct shm_error error = {""};
	assert_int_equal(segments_look(&segments, sandbox.directory, &error), 0);
	assert_int_equal(queues_repair_all(&segments, &error), 0);
	counts = look_at_queue().counts;
	assert_int_equal(counts.filling + counts.taken, 0);
	assert_int_equal(counts.ready, 3);
	plan_free(plan);
	segments_fini(&segments);
}

static void what_a_dead_role_had_decided_to_publish_is_published(void **state)
{
	(void)state;
	struct segments segments;
	struct shm_error error = {""};
	must_apply(&segments, http);
	struct plan *plan = plan_of(http);
	pid_t first = decide_and_stay(&plan->role[0]), second = claim_and_stay_filling(plan->role[1].number);
	kill_and_bury(first);
	assert_int_equal(decided_of(&plan->role[0]), 1);
	queues_repair(sandbox.directory, &plan->role[0]);
	assert_int_equal(decided_of(&plan->role[0]), 0);
	assert_int_equal(look_at_queue().counts.ready, 2);
	assert_int_equal(look_at_queue().counts.filling, 2);
	assert_int_equal(take_messages(), 2);
	/* and the next supervisor does it for all that died with the last one */
	kill_and_bury(decide_and_stay(&plan->role[0]));
	kill_and_bury(second);
	segments_fini(&segments);
	assert_int_equal(segments_look(&segments, sandbox.directory, &error), 0);
	assert_int_equal(queues_repair_all(&segments, &error), 0);
	assert_int_equal(decided_of(&plan->role[0]), 0);
	assert_int_equal(look_at_queue().counts.filling, 0);
	assert_int_equal(take_messages(), 2);
	plan_free(plan);
	segments_fini(&segments);
}

/* Who sleeps because no message was ready must learn that one is again. */
static void giving_back_wakes_who_waits(void **state)
{
	(void)state;
	struct segments segments;
	struct queue queue;
	struct shm_error error = {""};
	char name[SEGMENT_NAME_MAX];
	must_apply(&segments, http);
	struct plan *plan = plan_of(http);
	push_messages(1);
	instance_queue_name(name, plan->queue[0].page.name);
	assert_int_equal(queue_attach(&queue, sandbox.directory, name, SEGMENT_READ, 0, &error), 0);
	uint32_t seen = bell_value(&queue.shared->pushed);
	kill_and_bury(claim_and_stay(plan->role[0].number));
	queues_repair(sandbox.directory, &plan->role[0]);
	assert_int_not_equal(bell_value(&queue.shared->pushed), seen);
	queue_detach(&queue);
	plan_free(plan);
	segments_fini(&segments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_queue_is_made_and_its_messages_wait_for_the_next_supervisor,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(
	                an_empty_queue_takes_its_new_size_and_a_full_one_keeps_its_own, segments_set_up,
	                segments_tear_down),
	        cmocka_unit_test_setup_teardown(a_queue_that_nobody_uses_shrinks_once_it_is_empty,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(what_a_dead_role_had_claimed_is_given_back_and_nobody_elses,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(what_a_dead_role_had_decided_to_publish_is_published,
	                                        segments_set_up, segments_tear_down),
	        cmocka_unit_test_setup_teardown(giving_back_wakes_who_waits, segments_set_up,
	                                        segments_tear_down),
	};
	alarm(30);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
